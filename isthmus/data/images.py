"""Picture files as people have them: opened page by page in their own numbers, and written back with all that is not
pixels: EXIF, colour profile, resolution, text.

.. math:: copy(file, change) = \\{(pixels_i \\to change(pixels_i))\\} \\cup \\text{everything else as it was}
"""

from __future__ import annotations

import glob
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.pictures import MAX_PIXELS, natural, open_picture
from isthmus.data.rows import Rows, Skipped
from isthmus.errors import DataError, FileError, UserError
from isthmus.files import open_file, write_atomic

if TYPE_CHECKING:
    from PIL.Image import Image

#: (page's number, its pixels (height, width, channels)) → new pixels of the same shape, whose numbers may be floats.
Change = Callable[[int, np.ndarray], np.ndarray]
#: path → the file.
Opener = Callable[[Path], "ImageFile"]


class ImageFile(ABC):
    """One file: pages of pixels, and everything beside them. Alpha is no channel; it stays as it is.

    ``shapes`` are those of the pages, (height, width, channels) each; ``remarks`` say what cannot come back.
    """

    path: Path
    shapes: list[tuple[int, int, int]]
    dtype: np.dtype
    remarks: tuple[str, ...] = ()

    def read(self, index: int) -> np.ndarray:
        """The pixels of one page, (height, width, channels).

        Raises:
            FileError: the file is damaged.
        """
        with _sound():
            return self._read(index)

    def copy(self, path: Path, change: Change) -> None:
        """Write the file anew at ``path``, whole or not at all, with every page changed, one after the other.

        Raises:
            FileError: the file is damaged, or cannot be written. What ``change`` raises passes through.
        """
        wrong: list[Exception] = []

        def changed(index: int, page: np.ndarray) -> np.ndarray:
            try:
                return change(index, page)
            except Exception as error:
                wrong.append(error)
                raise

        try:
            with _sound():
                self._copy(path, changed)
        except FileError as error:
            if wrong and error is not wrong[0]:  # not the file's fault
                raise wrong[0] from None
            raise

    def check(self) -> None:
        """Find out now whether the pixels can be read."""
        self.read(0)

    @abstractmethod
    def _read(self, index: int) -> np.ndarray: ...

    @abstractmethod
    def _copy(self, path: Path, change: Change) -> None: ...


@contextmanager
def _sound() -> Iterator[None]:
    """Whatever a reader stumbles over is a damaged file, in words; what it only frowns at is nobody's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (UserError, ModuleNotFoundError):
            raise
        except Exception as error:  # on bytes that no writer has written, readers raise what they like
            why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise FileError(f"damaged ({why})") from error


def in_dtype(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers as the file's own: whole ones are rounded, and stay within the range.

    >>> in_dtype(np.array([-3.0, 7.6, 300.0]), np.dtype("uint8"))
    array([  0,   8, 255], dtype=uint8)
    """
    if dtype.kind not in "iu":
        return pixels.astype(dtype)
    limits = np.iinfo(dtype)
    return np.rint(pixels).clip(limits.min, limits.max).astype(dtype)


# --- PNG, JPEG and the like, through Pillow ---------------------------------------------------------


class Still(ImageFile):
    """A file that holds one picture, of 8 bits a channel or 16 bits of grey."""

    def __init__(self, path: Path):
        self.path = path
        with self._open() as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise FileError("an animation; save its frames as pictures of their own")
            if picture.format == "PNG" and _is_deep_colour(path):
                raise FileError("a PNG of 16 bits a colour, of which Pillow reads eight; save it as TIFF")
            mode = _mode(picture)
            if picture.mode in ("P", "PA") or picture.format == "GIF":
                self.remarks = ("its palette is made anew",)
            channels = {"RGB": 3, "RGBA": 3, "CMYK": 4}.get(mode, 1)
            self.shapes = [(picture.size[1], picture.size[0], channels)]
            self.dtype = np.dtype(np.uint16 if mode.startswith("I") else np.uint8)

    def _read(self, index: int) -> np.ndarray:
        with self._open() as picture:
            return self._pixels(picture)[0]

    def _copy(self, path: Path, change: Change) -> None:
        from PIL import Image

        with self._open() as picture:
            pixels, alpha = self._pixels(picture)
            new = in_dtype(change(0, pixels), self.dtype)
            new = new if alpha is None else np.concatenate([new, alpha], axis=2)
            mode = _mode(picture)
            image = Image.fromarray(new[..., 0] if new.shape[2] == 1 else new, "CMYK" if mode == "CMYK" else None)
            if mode == "1":
                image = image.point(lambda value: 255 * (value >= 128)).convert("1")
            if picture.format == "GIF":
                image = image.convert("RGB").quantize(256)
            kind, kept = picture.format, _beside(picture)
            write_atomic(path, lambda file: image.save(file, kind, **kept))

    def _open(self) -> Image:
        return open_picture(self.path)

    def _pixels(self, picture: Image) -> tuple[np.ndarray, np.ndarray | None]:
        """Colours (h, w, c), and alpha (h, w, 1) where there is one."""
        mode = _mode(picture)
        array = np.asarray(picture if mode.startswith("I") else picture.convert("L" if mode == "1" else mode))
        array = np.atleast_3d(array)
        if mode.startswith("I"):
            array = array.clip(0, 65535).astype(np.uint16)
        return (array[..., :-1], array[..., -1:]) if mode in ("LA", "RGBA") else (array, None)


def _mode(picture: Image) -> str:
    """The mode whose channels are looked at."""
    if picture.mode in ("1", "L", "LA", "RGB", "RGBA", "CMYK") or picture.mode.startswith("I"):
        return picture.mode
    transparent = picture.mode in ("PA", "RGBa", "La") or "transparency" in picture.info
    if picture.mode in ("P", "PA") and picture.getpalette() is not None:
        colours = np.asarray(picture.getpalette("RGB")).reshape(-1, 3)
        if not transparent and (colours == colours[:, :1]).all():
            return "L"
    return "RGBA" if transparent else "RGB"


def _is_lossless(webp: Path) -> bool:
    """Whether the pixels of a WebP lie in a chunk that says so."""
    with open_file(webp) as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            if head[:4] in (b"VP8L", b"VP8 "):
                return head[:4] == b"VP8L"
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, os.SEEK_CUR)
    return False


def _is_deep_colour(path: Path) -> bool:
    with open_file(path) as file:
        head = file.read(26)
    return head[24:25] == b"\x10" and head[25:26] != b"\x00"


def _beside(picture: Image) -> dict[str, Any]:
    """What else the file holds, as options of Pillow's ``save``."""
    info = picture.info
    kept = {name: info[name] for name in ("icc_profile", "dpi", "xmp", "comment") if info.get(name)}
    exif = info.get("exif") or (picture.getexif().tobytes() if picture.format != "BMP" and picture.getexif() else None)
    if exif and picture.format != "GIF":
        kept["exif"] = exif
    if picture.format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        for name, text in getattr(picture, "text", {}).items():
            if name != "XML:com.adobe.xmp":
                texts.add_itxt(name, text) if not text.isascii() else texts.add_text(name, text)
            else:
                texts.add_itxt(name, text)
        kept.pop("xmp", None)
        kept["pnginfo"] = texts
        if "transparency" in info and picture.mode in ("L", "RGB", "1"):
            kept["transparency"] = info["transparency"]
    if picture.format == "JPEG":
        # nearly what it was: to be coded a second time costs little at this quality, and no colour is halved
        kept |= {"quality": 95, "subsampling": 0, "progressive": bool(info.get("progressive"))}
    if picture.format == "WEBP":
        kept |= {"quality": 95, "lossless": _is_lossless(Path(picture.filename)), "exact": True}
    return kept


# --- the menu ---------------------------------------------------------------------------------------

#: Ending → the class that opens it, and what of ``pip install isthmus[…]`` brings it.
FORMATS: dict[str, tuple[str, str]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"), ("isthmus.data.images:Still", "")),
    **dict.fromkeys((".tif", ".tiff"), ("isthmus.data.tiff:Tiff", "denoise")),
    **dict.fromkeys((".dcm", ".dicom"), ("isthmus.data.dicom:Dicom", "medical")),
}
ALLOWED = " ".join(FORMATS)


def open_image(path: Path) -> ImageFile:
    """The file at ``path``, of whatever kind it is.

    Raises:
        FileError: it is missing, damaged, or no picture that isthmus reads.
    """
    path = Path(path)
    with open_file(path):
        suffix = path.suffix.lower()
    if suffix not in FORMATS and _is_dicom(path):
        suffix = ".dcm"
    if suffix not in FORMATS:
        raise FileError(f"not a picture ({ALLOWED})")
    where, extra = FORMATS[suffix]
    module, _, name = where.partition(":")
    try:
        with _sound():
            return getattr(import_module(module), name)(path)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("isthmus"):
            raise
        raise FileError(f"{suffix} needs {error.name}: pip install 'isthmus[{extra}]'") from error


def _is_dicom(path: Path) -> bool:
    """Whether a file without an ending of its own says that it is DICOM, as those of scanners do."""
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    with open_file(path) as file:
        return file.read(132)[128:] == b"DICM"


@lru_cache(maxsize=4)
def _opened(path: Path, changed: int, opener: Opener) -> ImageFile:
    return opener(path)


@lru_cache(maxsize=1)
def _last(path: Path, changed: int, index: int, opener: Opener) -> np.ndarray:
    """The page that was read last: pieces of one are asked for one after the other."""
    return _opened(path, changed, opener).read(index)


# --- rows -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """One picture, or a rectangle of it, that is read when it is asked for: a page of a file, or an array.

    A signal is a page one pixel high.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    path: Path | None = None
    index: int = 0
    array: np.ndarray | None = None
    #: Where it begins in the page: top, left.
    corner: tuple[int, int] = (0, 0)
    #: What opens its file.
    opener: Opener = open_image

    def read(self) -> np.ndarray:
        """The pixels (height, width, channels), in the numbers of the file."""
        if self.path is None:
            assert self.array is not None
            page = self.array
        else:
            try:
                page = _last(self.path, self.path.stat().st_mtime_ns, self.index, self.opener)
            except OSError as error:
                raise FileError(f"The file {str(self.path)!r} can no longer be read: {error.strerror}.") from error
        (top, left), (height, width, _) = self.corner, self.shape
        return page[top : top + height, left : left + width]

    def cut(self, top: int, left: int, height: int, width: int) -> Page:
        """A rectangle of this one."""
        corner = (self.corner[0] + top, self.corner[1] + left)
        return replace(self, corner=corner, shape=(height, width, self.shape[2]))


def open_pages(source: Any, strict: bool = False) -> Rows:
    """Pictures as rows that keep their size: files, a folder, a glob, or arrays.

    Arrays are (n, height, width), (n, height, width, channels), or a list of (height, width[, channels]).
    """
    if (files := listed(source)) is not None:
        return of_files(*files, strict)
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    pages = [_of_array(np.asarray(one)) for one in source]
    return Rows("pixels", pages, "the pictures" if isinstance(source, list | tuple) else "the array")


def _of_array(one: np.ndarray) -> Page:
    if one.ndim not in (2, 3) or 0 in one.shape or one.dtype.kind not in "iuf":
        raise DataError(
            f"A picture is an array of numbers (height, width) or (height, width, channels), got {one.dtype} of shape "
            f"{one.shape}. Several are an array (n, height, width) or a list."
        )
    one = one[..., None] if one.ndim == 2 else one
    return Page(one.shape, one.dtype, array=one)


def listed(source: Any) -> tuple[list[Path], list[str], str] | None:
    """Paths, their names (below the folder), and how messages call them; None where ``source`` names no files."""
    if isinstance(source, list | tuple) and source and all(isinstance(one, str | os.PathLike) for one in source):
        paths = [Path(one).expanduser() for one in source]
        names = [path.name for path in paths]
        names = names if len(set(names)) == len(names) else [str(path) for path in paths]
        return paths, names, f"the list of {len(paths)} files"
    if not isinstance(source, str | os.PathLike):
        return None
    said = os.fspath(source)
    path = Path(said).expanduser()
    if path.is_dir():
        found = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".") and p.name != "Thumbs.db"]
        names = sorted((p.relative_to(path).as_posix() for p in found), key=natural)
        return [path / name for name in names], names, str(path)
    if not path.exists() and glob.has_magic(said):
        paths = [Path(p) for p in sorted(glob.glob(os.path.expanduser(said), recursive=True), key=natural)]
        paths = [p for p in paths if p.is_file()]
        above = Path(os.path.commonpath([p.parent for p in paths])) if paths else path
        return paths, [p.relative_to(above).as_posix() for p in paths], said
    with open_file(path):  # a missing file is said in words
        return [path], [path.name], path.name


def of_files(
    paths: Sequence[Path],
    names: Sequence[str],
    origin: str,
    strict: bool,
    kind: str = "pixels",
    opener: Opener = open_image,
    allowed: str = ALLOWED,
) -> Rows:
    """The pages of files as rows; a file that cannot be read is skipped and told."""
    pages: list[Page] = []
    called: list[str] = []
    skipped: list[Skipped] = []
    remarks: dict[str, list[str]] = {}
    for path, name in zip(paths, names, strict=True):
        try:
            file = opener(path)
            file.check()
        except FileError as error:
            skipped.append(Skipped(name, str(error)))
            continue
        for i, shape in enumerate(file.shapes):
            pages.append(Page(shape, file.dtype, path, i, opener=opener))
            called.append(name if len(file.shapes) == 1 else f"{name}[{i}]")
        for remark in file.remarks:
            remarks.setdefault(remark, []).append(name)
    if skipped and strict:
        raise FileError(f"{skipped[0].name!r} in {origin} cannot be used: {skipped[0].reason}. Remove it.")
    if not pages:
        why = f": {skipped[0].name!r} is {skipped[0].reason}" if skipped else f" (looked for {allowed})"
        raise FileError(f"No {'picture' if kind == 'pixels' else 'signal'} in {origin} can be read{why}.")
    said = (f"{which[0]}{f' and {len(which) - 1} more' * (len(which) > 1)}: {r}" for r, which in remarks.items())
    return Rows(kind, pages, origin, tuple(called), tuple(skipped), tuple(said))


def check_size(height: int, width: int) -> None:
    """Refuse what no person means to bring, before memory is taken for it."""
    if height * width > 4 * MAX_PIXELS:
        raise FileError(f"larger than {4 * MAX_PIXELS:,} pixels ({width} x {height})")
