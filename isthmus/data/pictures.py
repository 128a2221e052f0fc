"""Open picture files: which are sound, in which order, and never a decompression bomb."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.errors import FileError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Endings of the files that are taken for pictures.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
ALLOWED = " ".join(SUFFIXES)

# Pillow can read some forty formats, a few through outside programs: only these are ever tried.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")

#: Pillow only warns from here on; isthmus refuses.
MAX_PIXELS = 89_000_000

THREADS = 8


def natural(name: str) -> list[tuple[int, int, str]]:
    """Key that sorts ``img2`` before ``img10``.

    >>> sorted(["img10.png", "img2.png"], key=natural)
    ['img2.png', 'img10.png']
    """
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part
    ]


def open_picture(path: Path) -> Image:
    """The picture at ``path``, not yet decoded.

    Raises:
        FileError: It is no picture of an allowed format, or has more than ``MAX_PIXELS`` pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        raise FileError(f"not a picture in one of the formats {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise FileError(f"larger than {MAX_PIXELS:,} pixels") from None
    width, height = picture.size
    if width * height > MAX_PIXELS:
        picture.close()
        raise FileError(f"larger than {MAX_PIXELS:,} pixels ({width} x {height})")
    return picture


def check_pictures(paths: Sequence[Path]) -> list[str | None]:
    """For each path why it cannot be used, or None. Every file is decoded once: cut ones are found."""
    with warnings.catch_warnings():
        # Pillow warns of bombs and odd metadata: the first is refused below, the second is harmless
        warnings.simplefilter("ignore")
        if len(paths) < 4:
            return [_why_not(path) for path in paths]
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(_why_not, paths))


def _why_not(path: Path) -> str | None:
    try:
        with open_picture(path) as picture:
            # a JPEG may be decoded at an eighth of its size, which still reads the file to its end
            picture.draft(None, (1, 1))
            picture.load()
            if picture.mode == "F":
                return "a picture of floats, whose range is unknown; open it as an array"
    except FileError as error:
        return str(error)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, IndexError, TypeError) as error:
        why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        return f"damaged ({why})"
    return None
