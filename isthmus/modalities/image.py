"""Pictures: files or integer arrays of any size, as ``(channels, height, width)`` between 0 and 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.data.pictures import THREADS, open_picture
from isthmus.data.rows import Rows
from isthmus.errors import DataError, FileError, SpecError
from isthmus.modalities.array import cast
from isthmus.modalities.base import Modality

if TYPE_CHECKING:
    from PIL import Image as PIL

#: Longest side unless ``size`` says otherwise.
MAX_SIDE = 256
#: Up to this many numbers a picture is a vector for an mlp; beyond, convolutions pay.
SMALL = 4096
#: Pictures decoded at once may take this much memory.
MAX_BYTES = 8 << 30

# pictures looked at for an alpha channel that says nothing
_SAMPLE = 16
_SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_GREY = ("1", "L", "LA", "La", *_SIXTEEN)
_ALPHA = ("RGBA", "RGBa", "PA", "LA", "La")


class Image(Modality):
    """Pictures of one size and one number of channels, whatever the files were.

    Arguments:
        size: ``[height, width]``.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        dtype: NumPy name of what :meth:`from_tensors` gives back: ``"uint8"``, ``"uint16"`` or a float.
        high: The raw value that is 1 inside.
        channel_axis: Whether grey pictures came as ``(n, h, w, 1)``.
        seen: The choices made while fitting, for :meth:`describe`.
    """

    kind = "image"

    def __init__(self, size: list[int], channels: int, dtype: str, high: float, channel_axis: bool, seen: list[str]):
        self.size = (int(size[0]), int(size[1]))
        self.channels = channels
        self.dtype = np.dtype(dtype)
        self.high = float(high)
        self.channel_axis = channel_axis
        self.seen = list(seen)

    @classmethod
    def fit(cls, rows: Rows, *, size: int | Sequence[int] | None = None, channels: int | str = "auto") -> Self:
        """Choose size and channels.

        Arguments:
            rows: Picture files, or an array ``(n, h, w)`` or ``(n, h, w, c)`` of integers, or of floats
                within [0, 1] or [0, 255].
            size: ``(height, width)``, or one number for both. By default the size that most pictures
                have, else the median size, with no side above 256.
            channels: 1, 3, 4 or ``"auto"``: grey only if all are grey, RGBA only if all have an alpha
                channel that is not everywhere opaque, else RGB.
        """
        if channels not in ("auto", 1, 3, 4):
            raise SpecError(f"channels is 'auto', 1, 3 or 4; got {channels!r}.")
        given = None if size is None else _size(size)
        if isinstance(rows.of_one_length().data, list):
            with ThreadPoolExecutor(THREADS) as pool:
                heads = list(pool.map(_head, rows.data))
            sizes, modes = Counter(head[0] for head in heads), [head[1] for head in heads]
            dtype, channel_axis = (
                ("uint16" if 2 * sum(m in _SIXTEEN for m in modes) > len(modes) else "uint8"),
                False,
            )
            high = float(np.iinfo(dtype).max)
            auto = _channels(rows.data, modes)
        else:
            array = _as_pictures(rows)
            sizes = Counter({array.shape[1:3]: len(array)})
            dtype, channel_axis, high = array.dtype.name, rows.data.ndim == 4, _high(array, rows.origin)
            auto = array.shape[3]
        chosen, why = (given, "as you said") if given else _choose_size(sizes)
        seen = []
        if len(sizes) > 1 or chosen not in sizes:
            seen.append(f"Pictures are resized to {chosen[0]} x {chosen[1]} (height x width), {why}.")
        return cls(list(chosen), auto if channels == "auto" else int(channels), dtype, high, channel_axis, seen)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, *self.size)

    @property
    def names(self) -> list[str]:
        return []

    def to_tensors(self, rows: Rows) -> dict[str, Tensor]:
        n, bytes_ = len(rows), 4 * len(rows) * int(np.prod(self.shape))
        if bytes_ > MAX_BYTES:
            raise DataError(
                f"{n:,} pictures of {self.size[0]} x {self.size[1]} x {self.channels} take "
                f"{bytes_ / 2**30:.1f} GiB when "
                f"decoded, more than {MAX_BYTES >> 30} GiB. Take them in chunks "
                "(rows.chunks(1024)), or fit with a smaller size."
            )
        x = np.empty((n, *self.shape), np.float32)
        if isinstance(rows.of_one_length().data, list):
            _spread(lambda i: self._decode(rows.data[i], x[i]), n)
            return {"x": torch.from_numpy(x)}
        array = _as_pictures(rows)
        high = _high(array, rows.origin) if array.dtype != self.dtype else self.high
        if array.dtype.kind == "f" and not (array.min() >= 0 and array.max() <= high * (1 + 1e-6)):
            raise DataError(
                f"The pictures in {rows.origin} range from {array.min():g} to {array.max():g}; "
                f"the model was trained on 0 to {high:g}. Bring them to that range first."
            )
        if array.shape[1:] == (*self.size, self.channels):
            np.divide(np.moveaxis(array, 3, 1), np.float32(high), out=x, dtype=np.float32, casting="unsafe")
        else:
            _spread(lambda i: self._place(array[i] / np.float32(high), x[i]), n)
        return {"x": torch.from_numpy(x)}

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> np.ndarray:
        """``(n, h, w)`` for grey, else ``(n, h, w, c)``, in the raw type and range."""
        pictures = x.detach().cpu().clamp(0, 1).permute(0, 2, 3, 1).numpy() * self.high
        pictures = self.cast(pictures)
        return pictures[..., 0] if self.channels == 1 and not self.channel_axis else pictures

    def cast(self, pictures: np.ndarray) -> np.ndarray:
        """Numbers in the raw range → the raw type."""
        return np.ascontiguousarray(cast(pictures, self.dtype))

    def parts(self) -> dict[str, Any]:
        body = "mlp" if int(np.prod(self.shape)) <= SMALL else "conv"
        return {
            "encoder": {"kind": body},
            "decoder": {"kind": body},
            "likelihood": {"kind": "gaussian"},
            "detector": {"kind": "patches"},
        }

    def describe(self) -> list[str]:
        colour = {1: "grey", 3: "RGB", 4: "RGBA"}[self.channels]
        height, width = self.size
        return [
            f"{colour[0].upper()}{colour[1:]} pictures of {height} x {width} ({self.dtype}); 0 to "
            f"{self.high:g} became 0 to 1.",
            *self.seen,
        ]

    def remarks(self, rows: Rows) -> list[str]:
        if isinstance(rows.data, list):
            return []
        height, width, channels = _as_pictures(rows).shape[1:]
        said = []
        if (height, width) != self.size:
            said.append(f"The pictures are {height} x {width}; they are resized to {self.size[0]} x {self.size[1]}.")
        if channels != self.channels:
            said.append(f"The pictures have {channels} channel(s); they are converted to {self.channels}.")
        return said

    def to_json(self) -> dict[str, Any]:
        return {
            "size": list(self.size),
            "channels": self.channels,
            "dtype": self.dtype.name,
            "high": self.high,
            "channel_axis": self.channel_axis,
            "seen": self.seen,
        }

    def __repr__(self) -> str:
        return f"Image(size={self.size}, channels={self.channels}, dtype={self.dtype.name})"

    def _decode(self, path: Path, out: np.ndarray) -> None:
        from PIL import ImageOps

        try:
            with open_picture(path) as picture:
                if picture.format == "JPEG":
                    # a large JPEG is decoded at a half, a quarter or an eighth, but not below what is needed
                    picture.draft(None, (2 * max(self.size), 2 * max(self.size)))
                picture = ImageOps.exif_transpose(picture)
                if picture.mode in _SIXTEEN:
                    pixels = np.clip(np.asarray(picture, np.float32) / 65535, 0, 1)[..., None]
                    self._place(pixels, out)
                    return
                if picture.mode == "P" and "transparency" in picture.info:
                    # straight to grey or RGB, Pillow warns that the transparency is lost
                    picture = picture.convert("RGBA")
                picture = picture.convert({1: "L", 3: "RGB", 4: "RGBA"}[self.channels])
                if picture.size != self.size[::-1]:
                    picture = picture.resize(self.size[::-1], _filter(picture.size[::-1], self.size))
                pixels = np.asarray(picture, np.float32)
                np.divide(np.moveaxis(np.atleast_3d(pixels), 2, 0), 255, out=out)
        except (FileError, OSError, ValueError, SyntaxError) as error:
            raise FileError(f"The picture {str(path)!r} can no longer be read: {error}.") from error

    def _place(self, pixels: np.ndarray, out: np.ndarray) -> None:
        """``(h, w, c)`` floats between 0 and 1 of any size and channels → ``out`` ``(channels, *size)``."""
        from PIL import Image as PIL

        planes = np.moveaxis(pixels, 2, 0)
        c = len(planes)
        if c != self.channels:
            if self.channels == 1:
                # the weights of ITU-R 601, as Pillow uses for "L"
                planes = np.tensordot(np.float32([0.299, 0.587, 0.114]), planes[:3], 1)[None] if c >= 3 else planes[:1]
            else:
                colour = planes[:3] if c >= 3 else np.repeat(planes[:1], 3, axis=0)
                planes = colour if self.channels == 3 else np.concatenate([colour, np.ones_like(colour[:1])])
        if planes.shape[1:] == self.size:
            out[:] = planes
            return
        resample = _filter(planes.shape[1:], self.size)
        for plane, target in zip(planes, out, strict=True):
            resized = PIL.fromarray(np.ascontiguousarray(plane, np.float32)).resize(self.size[::-1], resample)
            np.clip(np.asarray(resized), 0, 1, out=target)


def _spread(work: Callable[[int], None], n: int) -> None:
    """Do ``work(i)`` for all i in threads: Pillow lets go of the interpreter while it decodes."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(work, range(n)):
            pass


def _filter(old: tuple[int, int], new: tuple[int, int]) -> PIL.Resampling:
    from PIL import Image as PIL

    # an area average when shrinking, which keeps the mean; bicubic when enlarging, which is smooth
    return PIL.Resampling.BOX if new[0] <= old[0] and new[1] <= old[1] else PIL.Resampling.BICUBIC


def sizes_of(rows: Rows) -> np.ndarray:
    """How high and wide each picture is, (n, 2), from the headers alone."""
    if isinstance(rows.of_one_length().data, list):
        with ThreadPoolExecutor(THREADS) as pool:
            return np.array([size for size, _ in pool.map(_head, rows.data)]).reshape(-1, 2)
    return np.tile(_as_pictures(rows).shape[1:3], (len(rows), 1))


def _head(path: Path) -> tuple[tuple[int, int], str]:
    """Size as it is looked at, and mode, from the header alone."""
    with open_picture(path) as picture:
        width, height = picture.size
        # orientations 5 to 8 stand on their side
        turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        mode = "RGBA" if picture.mode == "P" and "transparency" in picture.info else picture.mode
        return ((width, height) if turned else (height, width)), mode


def _channels(paths: list[Path], modes: list[str]) -> int:
    if all(mode in _GREY for mode in modes):
        return 1
    if not all(mode in _ALPHA for mode in modes):
        return 3
    for path in paths[:: max(1, len(paths) // _SAMPLE)]:
        with open_picture(path) as picture:
            if picture.convert("RGBA").getextrema()[3][0] < 255:
                return 4
    return 3


def _choose_size(sizes: Counter[tuple[int, int]]) -> tuple[tuple[int, int], str]:
    (size, n), total = sizes.most_common(1)[0], sizes.total()
    why = "the size that all of them have" if len(sizes) == 1 else f"the size that {n:,} of {total:,} have"
    if 2 * n < total:
        size = tuple(int(np.median([s[axis] for s in sizes.elements()])) for axis in (0, 1))
        why = f"the median of {len(sizes):,} different sizes"
    if max(size) > MAX_SIDE:
        why = (
            f"smaller than {size[0]} x {size[1]}, {why}; say size=… to override, or look for small things in tiles, at "
            "the pictures' own size (--tile 256)"
        )
        size = tuple(max(1, round(side * MAX_SIDE / max(size))) for side in size)
    return size, why


def _size(said: int | Sequence[int]) -> tuple[int, int]:
    size = said if isinstance(said, (list, tuple)) else (said, said)
    if len(size) != 2 or not all(isinstance(side, (int, np.integer)) and 1 <= side <= 8192 for side in size):
        raise SpecError(f"size is one number or (height, width), each from 1 to 8192; got {said!r}.")
    size = (int(size[0]), int(size[1]))
    return size


def _as_pictures(rows: Rows) -> np.ndarray:
    """An array of pictures as ``(n, h, w, c)``."""
    array = rows.data
    if rows.kind == "table" or array.ndim not in (3, 4):
        shape = (len(rows), array.num_columns) if rows.kind == "table" else array.shape
        raise DataError(
            "Pictures are files or an array (n, height, width) or (n, height, width, channels); "
            f"{rows.origin} has shape "
            f"{shape}. Reshape it, for instance X.reshape(-1, 28, 28)."
        )
    array = array[..., None] if array.ndim == 3 else array
    if array.shape[3] not in (1, 3, 4):
        hint = " Its channels come first: use np.moveaxis(X, 1, 3)." if array.shape[1] in (1, 3, 4) else ""
        raise DataError(
            f"Pictures have 1, 3 or 4 channels on the last axis; {rows.origin} has shape {rows.data.shape}.{hint}"
        )
    return array


def _high(array: np.ndarray, origin: str) -> float:
    """The raw value that means white."""
    if array.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(array.dtype).max)
    low, high = float(array.min()), float(array.max())
    # NaN fails both comparisons
    if not (low >= 0 and high <= 255):
        raise DataError(
            f"Pictures of {array.dtype} lie within [0, 1] or [0, 255]; {origin} ranges from "
            f"{low:g} to {high:g}. "
            "Rescale them, or use kind='array'."
        )
    return 1.0 if high <= 1 and array.dtype.kind == "f" else 255.0
