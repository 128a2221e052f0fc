"""TIFF files and stacks, through tifffile: read page by page and written page by page, whatever the axes are called.

References:
    Gohlke, tifffile, https://github.com/cgohlke/tifffile
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from isthmus.data.images import Change, ImageFile, check_size, in_dtype
from isthmus.errors import FileError
from isthmus.files import write_atomic

# what it frowns at is nobody's business, and what is damaged raises
logging.getLogger("tifffile").addHandler(logging.NullHandler())

#: Tags that are handed on as they are: names, devices, dates, rights, XMP, IPTC, Photoshop, places on the earth.
_KEPT = (269, 271, 272, 285, 315, 316, 700, 33432, 33550, 33723, 33922, 34264, 34377, 34735, 34736, 34737, 42112, 42113)
#: Codings that tifffile can write without further packages; what was coded otherwise comes back deflated.
_WRITABLE = (1, 8, 32946)
_BIG = 3_900_000_000


@dataclass
class _Series:
    """The pages of one shape. A frame is what belongs to one picture: planes of its channels, one or several."""

    number: int
    axes: str
    shape: tuple[int, ...]
    #: (planes of each frame), numbers in the file's order.
    frames: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        inner = [axis for axis in self.axes if axis not in "YXS"]
        sizes = [self.shape[self.axes.index(axis)] for axis in inner]
        order = np.arange(math.prod(sizes)).reshape(sizes)
        if "C" in inner and "S" not in self.axes:
            order = np.moveaxis(order, inner.index("C"), -1)
            self.frames = order.reshape(-1, order.shape[-1]).tolist()
        else:
            self.frames = order.reshape(-1, 1).tolist()


class Tiff(ImageFile):
    """A TIFF file of one page or many, of whole numbers or floats."""

    def __init__(self, path: Path):
        self.path = path
        with tifffile.TiffFile(path) as tif:
            self.series = [_Series(i, s.axes, tuple(s.shape)) for i, s in enumerate(tif.series)]
            self.dtype = np.dtype(tif.series[0].dtype)
            self.shapes, self.where = [], []
            for known, series in zip(self.series, tif.series, strict=True):
                page = series.keyframe
                if not {"Y", "X"} <= set(series.axes):
                    raise FileError(f"a TIFF whose axes are {series.axes!r}, without Y and X")
                if series.dtype is None or np.dtype(series.dtype).kind not in "iuf" or page.bitspersample < 8:
                    raise FileError(f"a TIFF of {series.dtype or page.bitspersample} pixels; save it as 8 or 16 bits")
                if page.photometric == 3:
                    raise FileError("a TIFF with a palette; save it as RGB")
                height, width = (series.shape[series.axes.index(axis)] for axis in "YX")
                check_size(height, width)
                channels = page.samplesperpixel - _alphas(page)
                for frame in known.frames:
                    self.shapes.append((height, width, channels * len(frame)))
                    self.where.append((known, frame))
            if any(np.dtype(s.dtype) != self.dtype for s in tif.series):
                raise FileError("a TIFF whose pages differ in their type; save them one by one")
            if any(len(s.levels) > 1 for s in tif.series):
                self.remarks = ("its smaller copies (a pyramid) are left out",)

    def _read(self, index: int) -> np.ndarray:
        series, frame = self.where[index]
        with tifffile.TiffFile(self.path) as tif:
            return np.concatenate([_plane(tif, series, k)[0] for k in frame], axis=2)

    def _copy(self, path: Path, change: Change) -> None:
        with tifffile.TiffFile(self.path) as tif:

            def write(file: Any) -> None:
                imagej = bool(tif.is_imagej) and len(tif.series) == 1
                big = tif.is_bigtiff or sum(s.nbytes for s in tif.series) > _BIG
                at = 0
                # a name, because a temporary file has a number for one
                handle = tifffile.FileHandle(file, name=path.name, size=0)
                with tifffile.TiffWriter(
                    handle, bigtiff=big and not imagej, byteorder=tif.byteorder, imagej=imagej
                ) as out:
                    for known, series in zip(self.series, tif.series, strict=True):
                        planes = self._changed(tif, known, at, change)
                        out.write(planes, shape=known.shape, dtype=self.dtype, **_beside(tif, series, imagej))
                        at += len(known.frames)

            write_atomic(path, write)

    def _changed(self, tif: tifffile.TiffFile, series: _Series, at: int, change: Change) -> Iterator[np.ndarray]:
        """The planes in the order of the file, each as it was laid out; a frame is changed when its first is due."""
        of = {k: (i, j) for i, frame in enumerate(series.frames) for j, k in enumerate(frame)}
        ready: dict[int, list[np.ndarray]] = {}
        for k in range(len(of)):
            i, j = of[k]
            if i not in ready:
                planes = [_plane(tif, series, plane) for plane in series.frames[i]]
                new = in_dtype(change(at + i, np.concatenate([colour for colour, _, _ in planes], axis=2)), self.dtype)
                ends = list(itertools.accumulate(colour.shape[2] for colour, _, _ in planes))
                ready[i] = [
                    _laid_out(new[..., end - colour.shape[2] : end], rest, axes)
                    for (colour, rest, axes), end in zip(planes, ends, strict=True)
                ]
            yield ready[i][j]
            if k == max(series.frames[i]):
                del ready[i]


def _alphas(page: Any) -> int:
    """The channels of a page that say how opaque it is; they stay as they are."""
    return sum(int(kind) in (1, 2) for kind in page.extrasamples) if page.samplesperpixel > 1 else 0


def _plane(tif: tifffile.TiffFile, series: _Series, k: int) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Plane ``k``: its colours (h, w, c), the channels that are none, and the axes in which the file has it."""
    found = tif.series[series.number]
    page = found.keyframe
    axes = "".join(axis for axis in page.axes if axis in "YXS") or "YX"
    try:
        if len(found.pages) == sum(map(len, series.frames)):
            one = found.pages[k]
            array = np.zeros(page.shape, found.dtype) if one is None else one.asarray()
        else:  # planes without a page each, as ImageJ writes long stacks: they lie one after the other
            whole = tifffile.memmap(tif.filehandle.path, series=series.number, mode="r")
            array = np.array(whole.reshape(-1, *page.shape[-len(axes) :])[k])
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        array = _by_pillow(tif, found.pages[k], error)
    array = np.moveaxis(array.reshape(page.shape[-len(axes) :]), [axes.index(a) for a in axes if a in "YX"], [0, 1])
    array = array[..., None] if array.ndim == 2 else array
    n = array.shape[2] - _alphas(page)
    return array[..., :n], (array[..., n:] if n < array.shape[2] else None), axes


def _by_pillow(tif: tifffile.TiffFile, page: Any, error: ValueError) -> np.ndarray:
    """A page in a coding that tifffile needs another package for, such as LZW, if Pillow knows it."""
    from PIL import Image

    try:
        with Image.open(tif.filehandle.path, formats=("TIFF",)) as picture:
            picture.seek(page.index)
            array = np.asarray(picture)
    except (OSError, EOFError, ValueError) as other:
        raise FileError(f"coded in a way that needs imagecodecs (pip install imagecodecs): {other}") from error
    if array.dtype != page.dtype or array.size != math.prod(page.shape):
        raise FileError("coded in a way that needs imagecodecs (pip install imagecodecs)") from error
    return np.moveaxis(array, -1, 0) if page.axes.startswith("S") else array


def _laid_out(colour: np.ndarray, rest: np.ndarray | None, axes: str) -> np.ndarray:
    array = colour if rest is None else np.concatenate([colour, rest], axis=2)
    if "S" not in axes:
        return np.ascontiguousarray(array[..., 0])
    return np.ascontiguousarray(np.moveaxis(array, 2, axes.index("S")))


def _beside(tif: tifffile.TiffFile, series: Any, imagej: bool) -> dict[str, Any]:
    """What else the pages hold, as options of ``TiffWriter.write``."""
    page = series.keyframe
    kept: dict[str, Any] = {"photometric": page.photometric}
    if page.samplesperpixel > 1:
        kept |= {"planarconfig": page.planarconfig, "extrasamples": page.extrasamples or None}
    if page.compression != 1 and not imagej:
        kept["compression"] = page.compression if page.compression in _WRITABLE else 8
    tags = page.tags
    if "XResolution" in tags and "YResolution" in tags:
        kept["resolution"] = (tags["XResolution"].value, tags["YResolution"].value)
        kept["resolutionunit"] = tags["ResolutionUnit"].value if "ResolutionUnit" in tags else None
    if "InterColorProfile" in tags:
        kept["iccprofile"] = tags["InterColorProfile"].value
    if imagej:
        own = ("ImageJ", "images", "channels", "slices", "frames", "hyperstack", "version")
        said = {name: value for name, value in (tif.imagej_metadata or {}).items() if name not in own}
        kept["metadata"] = {**said, "axes": series.axes}
        return kept
    # as it was written, be it words, OME-XML or tifffile's own shape: the pages come in the same order
    kept |= {"metadata": None, "description": page.description or None, "software": page.software or False}
    if "DateTime" in tags:
        kept["datetime"] = tags["DateTime"].value
    kept["extratags"] = [
        (tag.code, tag.dtype, tag.count, tag.value, True) for tag in tags if tag.code in _KEPT and tag.value is not None
    ]
    return kept
