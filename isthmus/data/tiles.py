"""Tiles: here pictures of any size become tiles of one side that overlap, and here tiles become pictures again.

.. math:: M_p = \\frac{1}{|\\{i : p \\in T_i\\}|} \\sum_{i : p \\in T_i} m_{i,\\, p - t_i}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

#: Tiles begin at multiples of so many pixels, so that maps of cells this size are put together without resizing.
GRID = 8
#: Neighbours share this part of their side: what a border cuts, another tile has whole.
OVERLAP = 0.25


@dataclass(frozen=True)
class Tiles:
    """Tiles of ``side`` × ``side`` pixels over pictures, cut only when they are looked at.

    ``pictures`` is a list of paths or an array, as :class:`~isthmus.data.rows.Rows` has them, and ``sizes`` (n, 2) how
    high and wide each is. ``places`` (m, 3) are the tiles: which picture, top and left. A tile may reach beyond the
    right and lower edge, where the picture is continued as in a mirror.
    """

    pictures: Any
    sizes: np.ndarray
    side: int
    places: np.ndarray

    @classmethod
    def cut(cls, pictures: Any, sizes: np.ndarray, side: int) -> Self:
        """The fewest tiles that hold every pixel and overlap, evenly spread, picture by picture."""
        places = [
            (i, top, left)
            for i, (height, width) in enumerate(sizes)
            for top in _begins(int(height), side)
            for left in _begins(int(width), side)
        ]
        return cls(pictures, np.asarray(sizes), side, np.array(places, np.int64).reshape(-1, 3))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: Any) -> Self:
        return replace(self, places=self.places[which])

    @property
    def picture(self) -> np.ndarray:
        """Which picture each tile is of (m,)."""
        return self.places[:, 0]

    def join(self, tiles: np.ndarray, cell: int = 1) -> list[np.ndarray]:
        """What all tiles say (m, side / cell, side / cell, ...) → a picture each, the mean where tiles overlap;
        (height / cell, width / cell, ...), rounded up.
        """
        found, ends = [], np.searchsorted(self.picture, np.arange(len(self.sizes) + 1))
        for (height, width), begin, end in zip(self.sizes, ends, ends[1:], strict=False):
            whole = np.zeros((-(-height // cell) + GRID, -(-width // cell) + GRID, *tiles.shape[3:]), np.float32)
            whole = np.pad(whole, [(0, self.side // cell)] * 2 + [(0, 0)] * (whole.ndim - 2))
            count = np.zeros(whole.shape[:2], np.float32)
            for tile, (_, top, left) in zip(tiles[begin:end], self.places[begin:end], strict=True):
                here = np.s_[top // cell : (top + self.side) // cell, left // cell : (left + self.side) // cell]
                whole[here] += tile
                count[here] += 1
            inside = np.s_[: -(-height // cell), : -(-width // cell)]
            shared = count[inside].reshape(*count[inside].shape, *[1] * (whole.ndim - 2))
            found.append(whole[inside] / np.maximum(shared, 1))
        return found


def worst_of(tiles: Tiles, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest of the tiles' scores of each picture, and which tile has it."""
    begins = np.searchsorted(tiles.picture, np.arange(len(tiles.sizes)))
    which = np.array([b + int(some.argmax()) for b, some in zip(begins, np.split(scores, begins[1:]), strict=True)])
    return scores[which], which


def _begins(length: int, side: int) -> Sequence[int]:
    """Where tiles begin along an edge.

    >>> _begins(500, 256), _begins(100, 256)
    ([0, 128, 248], [0])
    """
    # in units of the grid; the last one reaches the edge, and if need be a few pixels beyond
    last, step = -(-max(0, length - side) // GRID), int(side * (1 - OVERLAP)) // GRID
    return [int(at) * GRID for at in np.linspace(0, last, 1 + -(-last // step)).round()]
