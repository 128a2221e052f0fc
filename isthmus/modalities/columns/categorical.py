"""Categories: one entry, the number of a level, of which a network sees one-hot.

.. math:: x = 1 + \\text{place of the category among the levels}, \\quad 0 \\text{ for one that was never seen}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from isthmus.modalities.columns.arrow import arrow_type, as_text, listed, returned
from isthmus.modalities.columns.base import Column, Studied
from isthmus.modalities.columns.numeric import NUMBER

if TYPE_CHECKING:
    import pyarrow as pa

#: Conversions of odd cells that are remembered per column.
_MOST = 10_000


class Categorical(Column):
    """``levels`` are the categories 1, 2, …; 0 is whatever was not seen in training."""

    kind = "categorical"

    def __init__(self, name: str, dtype: str, levels: Iterable[str] = ()):
        self.name, self.dtype, self.levels = name, dtype, tuple(levels)

    @classmethod
    def fit(cls, name: str, raw: pa.Array, studied: Studied) -> Self:
        dtype = returned(raw.type)
        levels, lost = ranked(studied.counts(name, raw, dtype), studied.max_levels)
        if lost:
            many = studied.how_many(name, len(levels) + len(lost))
            studied.seen.append(
                f"The column {name!r} has {many} categories; the {studied.max_levels} most frequent are kept, and "
                f"{sum(lost.values()):,} row(s) of the others count as unseen (max_levels={studied.max_levels})."
            )
        return cls(name, dtype, levels)

    @property
    def laws(self) -> list[int]:
        return [len(self.levels) + 1]

    def numbers(self, raw: pa.Array, origin: str, remarks: list[str], folder: str | None = None) -> np.ndarray:
        number = {level: i + 1 for i, level in enumerate(self.levels)}
        found, texts = each_text(raw, self.dtype, lambda text: number.get(text, 0))
        if unseen := [text for text in texts if text not in number]:
            n = int((found == 0).sum())
            remarks.append(
                f"The column {self.name!r} holds {n:,} cell(s) of categories that were not kept in "
                f"training: {listed(unseen)}."
            )
        return found

    def cells(self, values: np.ndarray) -> pa.Array:
        return taken([None, *self.levels], values[:, 0], self.dtype)

    def reader(self) -> Callable[[Any], float]:
        number = {level: float(i + 1) for i, level in enumerate(self.levels)}
        return Remembered(lambda cell: level_of(cell, self.dtype, number, lambda text: 0.0))

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), **({"levels": list(self.levels)} if self.levels else {})}


def ranked(found: Mapping[str, int], most: int) -> tuple[list[str], dict[str, int]]:
    """The most frequent categories, and the others with how often each stands."""
    # by count, then by name, so that the order of the rows does not matter
    levels = sorted(found, key=lambda level: (-found[level], level))
    return levels[:most], {level: found[level] for level in levels[most:]}


def each_text(raw: pa.Array, dtype: str, number: Callable[[str], float]) -> tuple[np.ndarray, list[str]]:
    """Every cell's number, asked once for each text, NaN where missing; and the texts."""
    encoded = as_text(raw, dtype).dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    numbers = np.array([float(number(text)) for text in texts] + [np.nan])
    # the last entry is for missing cells
    return numbers[encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)], texts


def taken(levels: list[str | None], values: np.ndarray, dtype: str) -> pa.Array:
    """The levels at rounded places, as a column of ``dtype``."""
    import pyarrow as pa

    places = np.clip(np.rint(values), 0, len(levels) - 1).astype(np.int64)
    return pa.array(levels, pa.string()).take(pa.array(places)).cast(arrow_type(dtype))


def level_of(cell: Any, dtype: str, number: dict[str, float], other: Callable[[str], float]) -> float:
    """One cell's number, NaN where missing; ``other`` says that of a text that is no level."""
    if cell is None or cell == "" or cell != cell:
        return float("nan")
    if cell.__class__ is str and cell in number:
        return number[cell]
    text = _cell_text(cell, dtype)
    return other(text) if text is not None and text not in number else number.get(text or "", float("nan"))


def _cell_text(cell: Any, dtype: str) -> str | None:
    """One cell as the text that levels are: 3, 3.0 and "03" are "3" among whole numbers."""
    import pyarrow as pa

    whole = dtype.lstrip("u").startswith("int")
    if isinstance(cell, str) and (whole or dtype in ("double", "float", "halffloat")) and re.match(NUMBER, cell):
        cell = float(cell) if not whole or not re.match(r"^[-+]?\d+$", cell) else int(cell)
    elif isinstance(cell, str) and dtype == "bool":
        cell = cell.lower()
    text: str | None = as_text(pa.array([cell]), dtype)[0].as_py()
    return text


class Remembered:
    """A conversion that is slow and asked for the same few cells again and again."""

    def __init__(self, slow: Callable[[Any], float]):
        self.slow, self.known = slow, dict[Any, float]()

    def __call__(self, cell: Any) -> float:
        # 1, 1.0 and True are one key of a dictionary, and different cells
        key = cell if cell.__class__ is str else (cell.__class__, cell)
        found = self.known.get(key)
        if found is None:
            if len(self.known) >= _MOST:
                self.known.clear()
            found = self.known[key] = self.slow(cell)
        return found
