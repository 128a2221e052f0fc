"""What other packers make of the same rows, kept as exactly: the sizes that a person would get without a model."""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from isthmus.tasks.compression.packing import Form

#: Pictures, and bytes, that are packed to see how small they become; more are judged by these.
_PICTURES, _BYTES = 2000, 24 << 20


@dataclass(frozen=True)
class Beside:
    """A packer and the bytes that it needs; ``about`` where it was tried on some of the rows."""

    name: str
    size: int
    about: bool = False

    def __str__(self) -> str:
        return f"{self.name} {'about ' if self.about else ''}{self.size:,}"


def besides(
    data: Any, form: Form, lay: Callable[[Any], tuple[list[bytes], Any]], zstd: int, exact: bool, n: int | None = None
) -> list[Beside]:
    """zstd and xz of the whole numbers (differences where these are smaller), Parquet, and PNG and WebP of pictures.

    ``lay`` gives some rows as bytes, in the ways that packers do best with, and as they come back; ``zstd`` was
    measured along the way; ``n`` is how many rows there are where ``data`` is the first of them.
    """
    n = n or len(data)
    some = max(1, int(len(data) * min(1.0, _BYTES / max(1, data.nbytes))))
    layouts, back = lay(data[:some] if isinstance(data, np.ndarray) else data.slice(0, some))
    found = [
        Beside("zstd", zstd),
        _judged("xz", min(len(lzma.compress(one, preset=6)) for one in layouts), some, n),
        _judged("Parquet", _parquet(back), some, n),
    ]
    if exact and form.shape is not None and len(form.shape) in (2, 3) and data.dtype == np.uint8:
        few = data[:: max(1, len(data) // _PICTURES)][:_PICTURES]
        for name, options in (("PNG", {"optimize": True}), ("WebP", {"lossless": True, "quality": 100, "method": 6})):
            found.append(_judged(name, _pictures(few, name, options), len(few), n))
    return found


def _judged(name: str, size: int, of: int, n: int) -> Beside:
    return Beside(name, size) if of == n else Beside(name, round(size * n / of), about=True)


def _parquet(rows: Any) -> int:
    from pyarrow import parquet

    from isthmus.data.sink import as_table

    file = io.BytesIO()
    parquet.write_table(as_table(rows), file, compression="zstd", compression_level=9)
    return file.tell()


def _pictures(pictures: np.ndarray, kind: str, options: dict[str, Any]) -> int:
    from PIL import Image

    total = 0
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture).save(
            file, kind, **options
        )
        total += file.tell()
    return total
