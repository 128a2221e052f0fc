"""Pictures of any size, looked at in tiles at the size that they have: for what is too small to survive a resizing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.data.pictures import THREADS
from isthmus.data.rows import Rows
from isthmus.data.tiles import GRID, Tiles
from isthmus.errors import SpecError
from isthmus.modalities.base import Modality
from isthmus.modalities.image import Image, sizes_of

#: Side of a tile unless ``side`` says otherwise.
SIDE = 256
#: What is learned from holds so many numbers at most: evenly spread tiles of all pictures.
MOST_NUMBERS = 1 << 27


class Tiled(Modality):
    """Pictures in tiles of ``side`` × ``side`` pixels; every picture may have a size of its own.

    Arguments:
        side: of a tile, in pixels.
        image: The state of the :class:`~isthmus.modalities.image.Image` that a tile is.
    """

    kind = "tiles"

    def __init__(self, side: int, image: dict[str, Any]):
        self.side, self.image = int(side), Image(**image)

    @classmethod
    def fit(cls, rows: Rows, *, side: int = SIDE, channels: int | str = "auto") -> Self:
        """Choose the channels.

        Arguments:
            rows: Pictures, as for :class:`~isthmus.modalities.image.Image`.
            side: of a tile: a multiple of 8, at least 32. What is to be found should fit in it several times.
            channels: 1, 3, 4 or ``"auto"``.
        """
        if isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 32 or side % GRID:
            raise SpecError(f"The side of a tile is a multiple of {GRID} from 32 on, in pixels; got {side!r}. Say 256.")
        one = Image.fit(rows, size=side, channels=channels).to_json()
        return cls(side, one | {"seen": []})

    @property
    def shape(self) -> tuple[int, ...]:
        return self.image.shape

    @property
    def names(self) -> list[str]:
        return []

    def samples(self, rows: Rows) -> Rows:
        """Pictures → their tiles, as rows."""
        if rows.kind == "tiles":
            return rows
        rows = rows.listed()
        return Rows("tiles", Tiles.cut(rows.data, sizes_of(rows), self.side), rows.origin)

    def some(self, rows: Rows) -> Rows:
        """Tiles to learn from, as many as memory should hold, evenly spread over all pictures."""
        tiles = self.samples(rows)
        most = max(1, MOST_NUMBERS // int(np.prod(self.shape)))
        if len(tiles) <= most:
            return tiles
        return tiles.take(np.linspace(0, len(tiles) - 1, most).round().astype(np.int64))

    def wholes(self, rows: Rows) -> np.ndarray:
        return self.some(rows).data.picture

    def to_tensors(self, rows: Rows) -> dict[str, Tensor]:
        """Of tiles all, of pictures some (:meth:`some`)."""
        tiles: Tiles = self.some(rows).data if rows.kind != "tiles" else rows.data
        x = np.empty((len(tiles), *self.shape), np.float32)
        which, begins = np.unique(tiles.picture, return_index=True)
        cuts = list(zip(which, begins, [*begins[1:], len(tiles)], strict=True))  # tiles stand picture by picture

        def read(cut: tuple[int, int, int]) -> None:
            i, begin, end = cut
            picture = self._read(tiles, int(i))
            for k in range(begin, end):
                top, left = (int(at) for at in tiles.places[k, 1:])
                piece = picture[:, top : top + self.side, left : left + self.side]
                beyond = [(0, self.side - length) for length in piece.shape[1:]]
                x[k] = np.pad(piece, [(0, 0), *beyond], mode="symmetric")

        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(read, cuts):
                pass
        return {"x": torch.from_numpy(x)}

    def _read(self, tiles: Tiles, i: int) -> np.ndarray:
        """A picture as it is, (channels, height, width), between 0 and 1."""
        height, width = (int(n) for n in tiles.sizes[i])
        whole = Image(**self.image.to_json() | {"size": [height, width]})
        return whole.to_tensors(Rows("image", tiles.pictures[i : i + 1]))["x"][0].numpy()

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> Any:
        """Tiles as pictures; or put together again to pictures as large as those of ``like``."""
        found = self.image.from_tensors(x)
        if like is None or like.kind == "tiles":
            return found
        tiles: Tiles = self.samples(like).data
        back = [self.image.cast(whole) for whole in tiles.join(found.astype(np.float32))]
        return np.stack(back) if isinstance(like.data, np.ndarray) else back

    def parts(self) -> dict[str, Any]:
        return self.image.parts()

    def pictures(self, rows: Rows, most: int) -> Iterator[tuple[Rows, Rows]]:
        """Pictures, some at a time, and all their tiles: so many pictures that these are about ``most``."""
        rows = rows.listed()
        tiles: Tiles = self.samples(rows).data
        each = max(1, most * len(rows) // max(len(tiles), 1))
        for some in rows.chunks(each):
            yield some, self.samples(some)

    def describe(self) -> list[str]:
        first, *rest = self.image.describe()
        size = f"{self.side} x {self.side}"
        told = first.replace(f"pictures of {size}", f"pictures in tiles of {size}")
        return [f"{told} None is resized.", *rest]

    def remarks(self, rows: Rows) -> list[str]:
        return []

    def to_json(self) -> dict[str, Any]:
        return {"side": self.side, "image": self.image.to_json()}

    def __repr__(self) -> str:
        return f"Tiled(side={self.side}, channels={self.image.channels}, dtype={self.image.dtype.name})"
