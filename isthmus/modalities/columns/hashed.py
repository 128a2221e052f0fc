"""Categories of which there are too many for a level each: the rare ones share buckets.

.. math:: x = \\begin{cases} 1 + \\text{place} & \\text{one of the most frequent} \\\\
    1 + L + \\operatorname{crc32}(\\text{category}) \\bmod B & \\text{any other, also a new one} \\end{cases}

References:
    Weinberger, Dasgupta, Langford, Smola, Attenberg, Feature Hashing for Large Scale Multitask Learning, 2009.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from isthmus.modalities.columns.arrow import returned
from isthmus.modalities.columns.base import Column, Studied
from isthmus.modalities.columns.categorical import Remembered, each_text, level_of, ranked, taken

if TYPE_CHECKING:
    import pyarrow as pa

#: Buckets that rare categories share, at most.
_BUCKETS = 32
#: A bucket comes back as the one category that this share of its rows had.
_MOSTLY = 0.5


class Hashed(Column):
    """``levels`` are the most frequent categories; ``buckets`` say what each bucket comes back as.

    A bucket of many categories comes back as a missing cell, since nobody can tell which was meant; one that is
    nearly always the same category comes back as that.
    """

    kind = "hashed"

    def __init__(self, name: str, dtype: str, levels: Iterable[str] = (), buckets: Iterable[str | None] = ()):
        self.name, self.dtype, self.levels, self.buckets = name, dtype, tuple(levels), tuple(buckets)

    @classmethod
    def fit(cls, name: str, raw: pa.Array, studied: Studied) -> Self:
        dtype = returned(raw.type)
        levels, others = ranked(studied.counts(name, raw, dtype), studied.max_levels)
        inside: list[dict[str, int]] = [{} for _ in range(min(_BUCKETS, max(1, len(others))))]
        for category, n in others.items():
            inside[_bucket(category, len(inside))][category] = n
        strongest = [max(bucket, key=lambda c: (bucket[c], c), default=None) for bucket in inside]
        buckets = [
            top if top is not None and bucket[top] > _MOSTLY * sum(bucket.values()) else None
            for bucket, top in zip(inside, strongest, strict=True)
        ]
        many = studied.how_many(name, len(levels) + len(others))
        studied.seen.append(
            f"The column {name!r} has {many} categories: the {len(levels)} most frequent are kept, and the others, "
            f"{sum(others.values()):,} row(s), share {len(inside)} bucket(s), most of which come back as missing "
            f"(max_levels={studied.max_levels})."
        )
        return cls(name, dtype, levels, buckets)

    @property
    def laws(self) -> list[int]:
        return [1 + len(self.levels) + len(self.buckets)]

    def numbers(self, raw: pa.Array, origin: str, remarks: list[str], folder: str | None = None) -> np.ndarray:
        number = {level: float(i + 1) for i, level in enumerate(self.levels)}
        return each_text(raw, self.dtype, lambda text: number[text] if text in number else self._of(text))[0]

    def cells(self, values: np.ndarray) -> pa.Array:
        return taken([None, *self.levels, *self.buckets], values[:, 0], self.dtype)

    def reader(self) -> Callable[[Any], float]:
        number = {level: float(i + 1) for i, level in enumerate(self.levels)}
        return Remembered(lambda cell: level_of(cell, self.dtype, number, self._of))

    def told(self, observed: Any, expected: Any) -> tuple[str, str] | None:
        return (repr(observed), "one of many rare ones") if expected is None and observed is not None else None

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "levels": list(self.levels), "buckets": list(self.buckets)}

    def _of(self, category: str) -> float:
        return 1.0 + len(self.levels) + _bucket(category, len(self.buckets))


def _bucket(category: str, n: int) -> int:
    """The same everywhere: Python's own hash differs from run to run."""
    return zlib.crc32(category.encode("utf-8", "replace")) % n
