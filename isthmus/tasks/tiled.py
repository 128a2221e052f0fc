"""Anomalies in pictures that are looked at in tiles: a picture is as strange as its strangest tile.

.. math:: s(x) = \\max_i s(T_i), \\qquad M = \\text{the tiles' heat maps, put together}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.rows import Rows
from isthmus.data.tiles import GRID, worst_of
from isthmus.tasks import regions

if TYPE_CHECKING:
    from isthmus.model import Model


@dataclass
class Whole:
    """Heat maps of whole pictures, a number for each cell of 8 × 8 pixels, and where the strangest tile of each lies
    (n, 2): top and left.
    """

    maps: list[np.ndarray]
    places: np.ndarray

    def own_size(self, i: int, height: int, width: int) -> np.ndarray:
        """The heat map of picture ``i`` in its own size."""
        rows, columns = self.maps[i].shape
        return regions.resized(self.maps[i], rows * GRID, columns * GRID)[:height, :width]


def by_tile(model: Model, bare: Rows, rows: Rows) -> dict[str, Any]:
    """What the strangest tile of every picture brings to its score, and the heat maps of the whole pictures. ``bare``
    are the rows that the model takes.
    """
    maps: list[np.ndarray] = []
    entries, rest, places = [], [], []
    for _, some in model.pictures(bare):
        brought, beside, _ = model.contributions(some, expected=False)
        tiles = some.data
        cells = brought.sum(1).reshape(len(tiles), tiles.side // GRID, GRID, tiles.side // GRID, GRID).mean((2, 4))
        maps += tiles.join(cells, GRID)
        scores = brought.reshape(len(tiles), -1).sum(1, dtype=np.float64) + beside
        which = worst_of(tiles, scores)[1]
        entries.append(brought[which])
        rest.append(beside[which])
        places.append(tiles.places[which, 1:])
    usual, usual_rest = model.usual
    return {
        "contributions": np.concatenate(entries),
        "rest": np.concatenate(rest),
        "usual": usual,
        "usual_rest": usual_rest,
        "rows": rows,
        "whole": Whole(maps, np.concatenate(places)),
    }
