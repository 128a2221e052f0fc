"""Pictures in files that are more than memory should hold: known by their paths, decoded a few at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from isthmus.data.large import Large
from isthmus.data.pictures import open_picture
from isthmus.errors import FileError

#: Pictures of a block: few, so that a buffer mixes many places of a folder.
_BLOCK = 8
#: Pictures whose size stands for that of all; and no side counts for more, because larger ones are resized.
_SAMPLE, _SIDE = 32, 256


class Folder(Large):
    """Paths of pictures, block by block; whoever takes them decodes them."""

    kind: ClassVar[str] = "image"

    def __init__(self, paths: Sequence[Path], names: Sequence[str]):
        self.paths, self.names = list(paths), tuple(names)
        n = len(self.paths)
        super().__init__([min(_BLOCK, n - at) for at in range(0, n, _BLOCK)])
        some = self.paths[:: max(1, n // _SAMPLE)]
        self._width = int(np.mean([_numbers(path) for path in some]))

    @property
    def width(self) -> int:
        return self._width

    @property
    def n_bytes(self) -> float:
        """Bytes of all pictures as a network sees them, about."""
        return 4.0 * len(self) * self.width

    def mark(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for path, name in zip(self.paths, self.names, strict=True):
            try:
                seen = path.stat()
            except OSError as error:
                raise FileError(f"The picture {str(path)!r} can no longer be read: {error.strerror}.") from error
            digest.update(f"{name}\0{seen.st_size}\0{seen.st_mtime_ns}\0".encode())
        return digest.hexdigest()

    def read(self, block: int) -> Iterator[list[Path]]:
        begin = int(self.begins[block])
        yield self.paths[begin : begin + int(self.counts[block])]


def _numbers(path: Path) -> int:
    """Entries of a picture, from its header."""
    with open_picture(path) as picture:
        width, height = picture.size
        grey = picture.mode in ("1", "L") or picture.mode.startswith("I")
    shrink = min(1.0, _SIDE / max(width, height))
    return max(1, round(width * shrink)) * max(1, round(height * shrink)) * (1 if grey else 3)
