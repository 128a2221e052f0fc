"""A column of large rows, kept: every different cell once, and four bytes a row that say which."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from isthmus.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

#: Different cells; more are no labels.
_MOST = 1 << 20


class Gathered:
    """Cells that are added piece by piece.

    >>> import pyarrow as pa
    >>> cells = Gathered.of([pa.chunked_array([["b", None]]), pa.chunked_array([["a", "b"]])])
    >>> cells.each(lambda different: np.array([len(cell or "") for cell in different])).tolist()
    [1, 0, 1, 1]
    """

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}
        self._places: list[np.ndarray] = []

    @classmethod
    def of(cls, pieces: Iterable[pa.ChunkedArray]) -> Self:
        found = cls()
        for piece in pieces:
            found.add(piece)
        return found

    def add(self, column: pa.ChunkedArray) -> None:
        """Take in cells.

        Raises:
            DataError: there are a million different ones.
        """
        import pyarrow as pa

        if pa.types.is_dictionary(column.type):  # which may know of cells that are not there
            column = column.cast(column.type.value_type)
        encoded = column.combine_chunks().dictionary_encode()
        encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        cells = [*encoded.dictionary.to_pylist(), None]
        # NaN is unlike itself, and would be new every time
        cells = [None if cell != cell else cell for cell in cells]
        places = [self._known.setdefault(cell, len(self._known)) for cell in cells]
        if len(self._known) > _MOST:
            raise DataError(
                f"A column of more than {_MOST:,} different cells holds no labels of rows that are read in stretches. "
                "Name another, or read the rows whole if memory allows: --no-stream (stream=False)."
            )
        index = encoded.indices.fill_null(len(cells) - 1).to_numpy(zero_copy_only=False)
        self._places.append(np.array(places, np.int32)[index])

    def each(self, told: Callable[[list[Any]], np.ndarray]) -> np.ndarray:
        """What ``told`` says of every different cell, row by row (n,)."""
        places = np.concatenate(self._places) if self._places else np.zeros(0, np.int32)
        return np.asarray(told(list(self._known)))[places]
