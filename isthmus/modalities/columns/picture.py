"""Pictures that ride along: cells name files, and their pixels stand beside the row's other columns.

.. math:: x = w \\cdot \\mathrm{pixels}, \\qquad p(x \\mid z) = N(\\mu(z), \\sigma^2)

w lets the pixels of a row vary as much as all its columns of one entry together. Pictures are brought to one small
size, since here every pixel is an entry of a flat row.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from isthmus.data.pictures import SUFFIXES, check_pictures
from isthmus.data.rows import Rows
from isthmus.errors import DataError
from isthmus.modalities.columns.arrow import is_text
from isthmus.modalities.columns.base import Column, Studied
from isthmus.modalities.image import Image

if TYPE_CHECKING:
    import pyarrow as pa

#: No side is longer: a picture of colour then has 3,072 entries.
_SIDE = 32
#: Pictures that their size and their usual variance are learned from, and paths that tell a column of them.
_LOOKED, _TELLING = 256, 50


class Picture(Column):
    """The state of an :class:`~isthmus.modalities.image.Image`, and the ``weight`` of its pixels."""

    kind = "image"
    alone = True

    def __init__(self, name: str, dtype: str, image: Mapping[str, Any], weight: float = 1.0):
        self.name, self.dtype, self.image, self.weight = name, dtype, Image(**image), float(weight)

    @classmethod
    def fit(cls, name: str, raw: pa.Array, studied: Studied) -> Self:
        paths = _paths(raw.drop_null(), name, studied.origin, studied.folder)
        some = paths[:: max(1, -(-len(paths) // _LOOKED))]
        rows = Rows("image", some, f"the column {name!r}")
        image = Image.fit(rows)
        height, width = (max(1, round(side * min(1, _SIDE / max(image.size)))) for side in image.size)
        if (height, width) != tuple(image.size):
            image = Image.fit(rows, size=(height, width))
        variance = float(image.to_tensors(rows)["x"].flatten(1).var(0, correction=0).sum())
        return cls(name, str(raw.type), image.to_json(), studied.weight / variance**0.5 if variance > 0 else 1.0)

    @property
    def names(self) -> list[str]:
        channels, height, width = self.image.shape
        what = ("",) if channels == 1 else (" red", " green", " blue", " alpha")
        return [
            f"{self.name}: row {i}, column {j}{what[c]}"
            for c in range(channels)
            for i in range(height)
            for j in range(width)
        ]

    @property
    def width(self) -> int:
        return int(np.prod(self.image.shape))

    def likelihood(self) -> dict[str, Any]:
        # one σ for all: a corner that held-out pictures leave black would outweigh everything else in the row
        return {"kind": "gaussian", "per": "all"}

    def numbers(self, raw: pa.Array, origin: str, remarks: list[str], folder: str | None = None) -> np.ndarray:
        found = np.full((len(raw), self.width), np.nan, np.float32)
        there = np.flatnonzero(raw.is_valid().to_numpy(zero_copy_only=False))
        if len(there):
            paths = _paths(raw.drop_null(), self.name, origin, folder)
            pixels = self.image.to_tensors(Rows("image", paths, f"the column {self.name!r}"))["x"]
            found[there] = self.weight * pixels.flatten(1).numpy()
        return found

    def cells(self, values: np.ndarray) -> pa.Array:
        """Pictures as the bytes of PNG files; where rows are written, they become files that the cells name."""
        import pyarrow as pa
        from PIL import Image as PIL

        x = torch.from_numpy(np.ascontiguousarray(values)) / self.weight
        encoded = []
        for pixels in self.image.from_tensors(x.reshape(-1, *self.image.shape)):
            data = io.BytesIO()
            PIL.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(data, "PNG")
            encoded.append(data.getvalue())
        return pa.array(encoded, pa.binary())

    def told(self, observed: Any, expected: Any) -> tuple[str, str] | None:
        return repr(observed), "another picture"

    def describe(self) -> list[str]:
        channels, height, width = self.image.shape
        return [
            f"The column {self.name!r} names pictures, which ride along as {height} x {width} x {channels} pixels of "
            "the row."
        ]

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "image": self.image.to_json(), "weight": self.weight}


def names_pictures(raw: pa.Array, folder: str | None) -> bool | str:
    """Whether cells are paths of pictures; where they look like it and the first is not there, that path."""
    cells = raw.drop_null()[:_TELLING].to_pylist()
    if not all(cell.lower().endswith(SUFFIXES) for cell in cells):
        return False
    lacking = next((cell for cell in cells if _found(cell, folder) is None), None)
    return True if lacking is None else str(lacking)


def _paths(raw: pa.Array, name: str, origin: str, folder: str | None) -> list[Path]:
    """The files that cells name, there and sound.

    Raises:
        DataError: cells that are no paths, files that are not there, and pictures that cannot be read.
    """
    if not is_text(raw.type):
        raise DataError(f"The column {name!r} of {origin} should hold paths of pictures; it is {raw.type}.")
    said = raw.to_pylist()
    found = [_found(cell, folder) for cell in said]
    if lacking := [cell for cell, path in zip(said, found, strict=True) if path is None]:
        where = f" nor in {folder!r}" if folder else ""
        raise DataError(
            f"The column {name!r} of {origin} names {len(lacking):,} of {len(said):,} pictures that are not there: "
            f"the first, {lacking[0]!r}, is neither here{where}. Leave those cells empty, or bring the files."
        )
    paths = [path for path in found if path is not None]
    if wrong := [(path, why) for path, why in zip(paths, check_pictures(paths), strict=True) if why]:
        path, why = wrong[0]
        raise DataError(
            f"The column {name!r} of {origin} names {len(wrong):,} pictures that cannot be read: the first, "
            f"{str(path)!r}, is {why}. Leave those cells empty."
        )
    return paths


def _found(cell: str, folder: str | None) -> Path | None:
    """The file, from where we are or from the folder of the table."""
    for path in (Path(cell).expanduser(), *([Path(folder) / cell] if folder else [])):
        if path.is_file():
            return path
    return None
