r"""Rows into few bytes and back: exactly, with a promised error, or (pictures) with a loss that is chosen.

.. math:: \text{decompress}(\text{compress}(x)) = x, \quad \text{or as near to it as was promised}

A codec of the menu does it: which one, the model and the rows say, and later the header of the file.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from isthmus.data.container import Container, unpack
from isthmus.errors import FileError, SpecError
from isthmus.tasks.base import Result
from isthmus.tasks.compression.codec import Codec, Inspection
from isthmus.tasks.compression.compress_large import InStretches
from isthmus.tasks.compression.pictures_packed import PackedPictures, Pictures
from isthmus.tasks.compression.rows_packed import InMemory, Packed

if TYPE_CHECKING:
    from isthmus.model import Model

#: The first that suits is taken.
CODECS: tuple[Codec, ...] = (Pictures(), InStretches(), InMemory())


def compress(
    model: Model,
    rows: Any,
    *,
    max_error: str | None = None,
    quality: int | None = None,
    bpp: float | None = None,
    chunk_rows: int | None = None,
    compare: bool = True,
) -> Result:
    """Rows → a file of few bytes, which this model reads on any machine. Of rows that are read in stretches a chunk is
    written as soon as it is coded, so nothing is done before it is known where to.

    A model that was fitted ``--for compress`` takes pictures of any size, with a loss.

    Args:
        max_error: the largest error of any number: 0.01 in the column's units, 1% of its spread, or price=0.5,1%
            for single columns; without it all comes back exactly.
        quality: of pictures, from 1 (small) to 100 (near); 50 where nothing is said.
        bpp: the most bits per pixel that each picture may take; it gets the best quality that is no longer.
        chunk_rows: rows (of recordings: steps) that are lost together where the file is damaged; by default about a
            million cells.
        compare: hold the size against zstd, xz, Parquet, PNG and WebP; of pictures against JPEG, WebP and AVIF that
            come as near.
    """
    rows = model.open(rows)
    codec = next(codec for codec in CODECS if codec.packs(model, rows))
    said = {"max_error": max_error, "quality": quality, "bpp": bpp, "chunk_rows": chunk_rows}
    asked = {option: value for option, value in said.items() if value is not None}
    if not asked.keys() <= inspect.signature(codec.pack).parameters.keys():
        raise SpecError(codec.refusal)
    return codec.pack(model, rows, compare=compare, **asked)


def decompress(model: Model, packed: Any, *, salvage: bool = False) -> Result:
    """A file that compress wrote (its path, or its bytes) → the rows that went into it; a table that memory should not
    hold is written chunk by chunk.

    Args:
        salvage: bring back the rows of undamaged chunks where others are damaged, instead of refusing the file.
    """
    if isinstance(packed, Packed | PackedPictures):
        packed = packed.data
    container = unpack(packed)
    codecs, name = _named(container), container.header["model"]
    # the short head of a single picture has the beginning of it
    if not name or not model.fingerprint.startswith(name):
        raise FileError(
            f"{container.origin} was compressed with another model (it begins {name[:12]}, this one "
            f"{model.fingerprint[:12]}). Bring the model file that compressed it."
        )
    codec = next(codec for codec in codecs if codec.reads(model, container))
    return codec.unpack(model, container, salvage)


class Inspected:
    """What a compressed file says of itself, for which no model is needed."""

    @staticmethod
    def of(source: Any) -> Inspection:
        container = unpack(source)
        return _named(container)[0].inspect(container)


def _named(container: Container) -> list[Codec]:
    """The codecs of the name that stands in a file."""
    name = container.header["codec"]
    found = [codec for codec in CODECS if codec.name == name]
    if not found:
        raise FileError(f"{container.origin} uses the codec {name[:30]!r}, which this isthmus lacks.")
    return found
