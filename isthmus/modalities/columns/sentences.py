"""Text that rides along: the words of a cell, weighed by how rare they are, beside the row's other columns.

.. math:: x = w \\cdot \\text{TF-IDF}(\\text{cell}), \\qquad
    -\\log p(x \\mid z) = -n \\sum_j s_j \\log \\mathrm{softmax}(z)_j

w lets the words of a row vary as much as all its columns of one entry together. The law is a multinomial of its own
(:mod:`isthmus.modalities.text`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from isthmus.data.rows import Rows
from isthmus.errors import DataError
from isthmus.modalities.columns.base import Column, Studied
from isthmus.modalities.text import Text, words_of

if TYPE_CHECKING:
    import pyarrow as pa

#: Words of a vocabulary: at most so many, fewer where rows are many, so that these entries stay below a gigabyte.
_MOST_WORDS, _LEAST_WORDS, _MOST_ENTRIES = 1_000, 200, 1 << 28
#: Cells that are looked at to tell text from names and codes.
_LOOKED = 1_000
#: Text has so many words in a cell on average, and this share of them stands in another cell too.
_WORDS, _AGAIN = 4, 0.5
#: Letters of a cell that are shown.
_SHOWN = 60


class Sentences(Column):
    """The state of a :class:`~isthmus.modalities.text.Text` of words alone, and the ``weight`` of its entries."""

    kind = "text"
    alone = True

    def __init__(self, name: str, dtype: str, text: Mapping[str, Any], weight: float = 1.0):
        self.name, self.dtype, self.text, self.weight = name, dtype, Text(**text), float(weight)

    @classmethod
    def fit(cls, name: str, raw: pa.Array, studied: Studied) -> Self:
        words = int(np.clip(_MOST_ENTRIES // max(studied.n_rows, 1), _LEAST_WORDS, _MOST_WORDS))
        try:
            text = Text.fit(_documents(raw.drop_null(), name), words=words, letters=0)
        except DataError:
            raise DataError(
                f"The column {name!r} of {studied.origin} holds no word, so it is no text. Leave it out: {name}=ignore."
            ) from None
        return cls(name, str(raw.type), text.to_json(), studied.weight)

    @property
    def names(self) -> list[str]:
        return [f"{self.name}: {word}" for word in self.text.names]

    @property
    def width(self) -> int:
        return self.text.shape[0]

    def likelihood(self) -> dict[str, Any]:
        return {"kind": "multinomial"}

    def numbers(self, raw: pa.Array, origin: str, remarks: list[str], folder: str | None = None) -> np.ndarray:
        found = self.text.to_tensors(_documents(raw, self.name))["x"].dense().numpy()
        found *= self.weight
        if raw.null_count:
            found[raw.is_null().to_numpy(zero_copy_only=False)] = np.nan
        return found

    def remarks(self, raw: pa.Array) -> list[str]:
        return [f"In the column {self.name!r}: {said}" for said in self.text.remarks(_documents(raw, self.name))]

    def cells(self, values: np.ndarray) -> pa.Array:
        """The strongest words of each row."""
        import pyarrow as pa

        return pa.array(self.text.from_tensors(torch.from_numpy(np.ascontiguousarray(values))), pa.string())

    def reader(self) -> Callable[[Any], float | Sequence[float]]:
        import pyarrow as pa

        return lambda cell: self.numbers(pa.array([cell or None], pa.string()), "the stream", [])[0].tolist()

    def told(self, observed: Any, expected: Any) -> tuple[str, str] | None:
        words = str(expected or "").split()
        return repr(str(observed)[:_SHOWN]), f"words such as {', '.join(words[:3])}" if words else "other words"

    def describe(self) -> list[str]:
        return [
            f"The column {self.name!r} is text: {len(self.text.words):,} words ride along in the row; what comes back "
            "is the words that are expected."
        ]

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "text": self.text.to_json(), "weight": self.weight}


def reads_as_text(raw: pa.Array) -> bool:
    """Whether cells are sentences: several words each, many of which stand in other cells too."""
    cells = raw.drop_null()
    some = [set(words_of(cell)) for cell in cells[:: max(1, -(-len(cells) // _LOOKED))].to_pylist()]
    often: dict[str, int] = {}
    for words in some:
        for word in words:
            often[word] = often.get(word, 0) + 1
    total = sum(often.values())
    return total >= _WORDS * len(some) and sum(n for n in often.values() if n > 1) >= _AGAIN * total


def _documents(raw: pa.Array, name: str) -> Rows:
    import pyarrow as pa

    return Rows("text", [cell or "" for cell in raw.cast(pa.string()).to_pylist()], f"the column {name!r}")
