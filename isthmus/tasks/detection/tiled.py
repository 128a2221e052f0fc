"""Anomalies in pictures that are looked at in tiles: a picture is as strange as its strangest tile.

.. math:: s(x) = \\max_i s(T_i), \\qquad M = \\text{the tiles' heat maps, put together}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.rows import Rows
from isthmus.data.tiles import GRID, worst_of
from isthmus.tasks.detection import regions
from isthmus.tasks.detection.detection import Detection
from isthmus.tasks.detection.pictures import pixels

if TYPE_CHECKING:
    from isthmus.model import Model


@dataclass
class ByTile(Detection):
    """What is found in pictures by their tiles: ``contributions`` are of the strangest tile of each, which lies at
    ``places`` (n, 2), top and left; ``maps`` are of whole pictures, a number for each cell of 8 × 8 pixels.
    """

    maps: list[np.ndarray] = field(default_factory=list)
    places: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), int))

    @property
    def heat_maps(self) -> list[np.ndarray]:
        return [self.heat_map(i) for i in range(len(self.scores))]

    def heat_map(self, i: int) -> np.ndarray:
        (rows, columns), (height, width) = self.maps[i].shape, pixels(self.rows, i).shape[:2]
        return regions.resized(self.maps[i], rows * GRID, columns * GRID)[:height, :width]

    def place(self, i: int) -> Sequence[int]:
        return self.places[i]


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
        "maps": maps,
        "places": np.concatenate(places),
    }
