r"""Pictures of any size into few bytes, with a loss that is chosen by its quality, or by the bits that it may cost.

.. math:: \text{bits per pixel} = 8 \cdot \text{bytes} / (\text{height} \cdot \text{width})

Every picture is a chunk that stands by itself: how it is coded, its quality and size, what beside pixels is kept
(transparency, EXIF, colour profile), and the code. Where a lossless WebP is no longer than the code, it is
kept instead. Every chunk is decoded again before anything is written.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import devices
from isthmus.core.bottlenecks.hyperprior import Hyperprior
from isthmus.core.picture_code import QUALITIES, PictureCode
from isthmus.data.container import MAX_RATIO, SMALL, Container, pack, pack_one, write
from isthmus.data.images import Page
from isthmus.data.listing import watched
from isthmus.data.rows import Rows
from isthmus.errors import DataError, FileError, SpecError
from isthmus.files import write_atomic
from isthmus.tasks.base import Result
from isthmus.tasks.compression.codec import Codec, losses, read
from isthmus.tasks.compression.packing import safe_names

if TYPE_CHECKING:
    from isthmus.model import Model

#: How a picture may be coded; the number is the first byte of its chunk.
WAYS = ("network", "WebP lossless")
#: What is chosen where nobody says.
USUAL = 50
#: Pictures that are held against other formats, and pixels of all of them together.
_BESIDE, _PIXELS = 8, 8 << 20
#: What beside pixels is kept, by its name in Pillow, and how many bytes of it.
_KEPT, _MOST_KEPT = ("exif", "icc_profile"), 16 << 20
#: Largest sides.
_SIDE = 1 << 20
_ALPHA, _MORE = 1, 2


def packs_pictures(model: Model) -> bool:
    """Whether a model was fitted for this."""
    return isinstance(model.net.bottleneck, Hyperprior)


@dataclass(frozen=True)
class Whole:
    """One picture: ``pixels`` (h, w, channels) of 8 bits, its ``alpha`` (h, w), and what else the file held."""

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    more: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, page: Page, name: str) -> Whole:
        """A page as it can be kept.

        Raises:
            DataError: it has other than 8 bits, or other than one or three channels.
        """
        pixels = page.read()
        if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
            raise DataError(
                f"{name} has {pixels.shape[2]} channel(s) of {pixels.dtype}, and pictures are compressed with 8 bits, "
                "grey or in colour. Convert it, or keep it as PNG or TIFF."
            )
        if page.path is None or page.path.suffix.lower() in (".tif", ".tiff", ".dcm", ".dicom"):
            return cls(pixels)
        from isthmus.data.pictures import open_picture

        with open_picture(page.path) as picture:
            info = {name: picture.info.get(name) for name in _KEPT}
            if not info["exif"] and picture.format != "BMP" and (exif := picture.getexif()):
                info["exif"] = exif.tobytes()
            alpha = None
            if picture.mode in ("LA", "RGBA", "PA", "RGBa", "La") or "transparency" in picture.info:
                alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        more = {name: bytes(data) for name, data in info.items() if data and len(data) <= _MOST_KEPT // 2}
        return cls(pixels, alpha, more)


class PictureCoder:
    """A model as a coder of pictures."""

    def __init__(self, model: Model):
        if not packs_pictures(model):
            raise FileError("It holds pictures, and this model is none that compresses them. Bring the one that did.")
        net = model.net
        self.code = PictureCode(net)
        self.work = sum(p.numel() for p in net.parameters())

    def encode(self, picture: Whole, quality: int | None, bpp: float | None) -> tuple[bytes, np.ndarray]:
        """The chunk of a picture, and the pixels that come back."""
        exact = _lossless(picture.pixels)
        with devices.threads_for(self.work * picture.pixels[..., 0].size / 64, devices.torch.device("cpu")):
            head = _head(picture)
            body, quality = self._coded(picture.pixels, quality, bpp, 2 + len(head))
            if len(exact) <= len(body):
                return bytes([1, 0]) + head + exact, picture.pixels
            short = picture.pixels.size // (MAX_RATIO * 8) - len(body)
            body += bytes(max(0, short))  # so that a file that is read may be held against its size
            chunk = bytes([0, quality]) + head + body
            return chunk, self.decode(chunk).pixels

    def _coded(self, pixels: np.ndarray, quality: int | None, bpp: float | None, before: int) -> tuple[bytes, int]:
        """The code at a quality, or the best that is no longer than ``bpp`` bits a pixel, found by halving; ``before``
        it stand so many bytes.
        """
        planes = self._planes(pixels)
        if bpp is None:
            quality = USUAL if quality is None else quality
            return self._joined(planes, quality), quality
        most, low, high = bpp * pixels[..., 0].size / 8 - before, 1, QUALITIES
        best = self._joined(planes, 1)
        while low < high:
            middle = (low + high + 1) // 2
            tried = self._joined(planes, middle)
            if len(tried) <= most:
                low, best = middle, tried
            else:
                high = middle - 1
        return best, low

    def _joined(self, planes: list[np.ndarray], quality: int) -> bytes:
        parts = [self.code.encode(plane, quality) for plane in planes]
        return b"".join([*(_number(len(part)) for part in parts[:-1]), *parts])

    def _planes(self, pixels: np.ndarray) -> list[np.ndarray]:
        """As the network takes them: itself, grey in each colour, or brightness and two colours as three of grey."""
        if pixels.shape[2] == self.code.channels:
            return [pixels]
        if pixels.shape[2] == 1:
            return [np.repeat(pixels, self.code.channels, axis=2)]
        return [plane[..., None] for plane in _to_luma(pixels)]

    def decode(self, chunk: bytes, most: int | None = None) -> Whole:
        """A chunk → the picture.

        Raises:
            ValueError: no coder wrote it.
        """
        way, quality, (height, width, channels), alpha, more, body = _parse(chunk)
        if way == 1:
            pixels = _from_lossless(body, (height, width, channels))
        else:
            n = 3 if channels == 3 and self.code.channels == 1 else 1
            sizes = []
            for _ in range(n - 1):
                size, body = _take_number(body)
                sizes.append(size)
            planes = []
            for size in [*sizes, len(body) - sum(sizes)]:
                if not 0 <= size <= len(body):
                    raise ValueError("its planes are not as long as they say")
                part, body = body[:size], body[size:]
                planes.append(self.code.decode(part, height, width, quality))
            pixels = planes[0] if n == 1 else _from_luma([plane[..., 0] for plane in planes])
            if channels == 1 and pixels.shape[2] > 1:
                pixels = ((pixels.astype(np.uint16).sum(2, keepdims=True) * 2 + 3) // 6).astype(np.uint8)
        return Whole(pixels, alpha, more)


def _to_luma(pixels: np.ndarray) -> list[np.ndarray]:
    """Brightness and two colour differences (BT.601, as JPEG has them), 8 bits each."""
    r, g, b = (pixels[..., k].astype(np.float64) for k in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return [np.floor(x + 0.5).clip(0, 255).astype(np.uint8) for x in (y, (b - y) / 1.772 + 128, (r - y) / 1.402 + 128)]


def _from_luma(planes: Sequence[np.ndarray]) -> np.ndarray:
    """The way back, a single IEEE step after the other: the same on every machine."""
    y, cb, cr = (plane.astype(np.float64) for plane in planes)
    cb, cr = cb - 128.0, cr - 128.0
    red = y + 1.402 * cr
    blue = y + 1.772 * cb
    down = 0.344136 * cb
    also = 0.714136 * cr
    green = y - down
    green = green - also
    return np.stack([np.floor(x + 0.5).clip(0, 255).astype(np.uint8) for x in (red, green, blue)], axis=2)


def _number(n: int) -> bytes:
    """A whole number, seven bits a byte."""
    found = bytearray()
    while n > 127:
        found.append(n & 127 | 128)
        n >>= 7
    return bytes([*found, n])


def _take_number(data: bytes) -> tuple[int, bytes]:
    n = 0
    for i, byte in enumerate(data[:6]):
        n |= (byte & 127) << 7 * i
        if byte < 128:
            return n, data[i + 1 :]
    raise ValueError("a number in it has no end")


def _head(picture: Whole) -> bytes:
    height, width, channels = picture.pixels.shape
    flags = channels << 4 | _ALPHA * (picture.alpha is not None) | _MORE * bool(picture.more)
    parts = [bytes([flags]), _number(height), _number(width)]
    if picture.alpha is not None:
        coded = _lossless(picture.alpha[..., None])
        parts += [_number(len(coded)), coded]
    if picture.more:
        coded = _zstd().compress(
            json.dumps({k: base64.b64encode(v).decode() for k, v in picture.more.items()}).encode()
        )
        parts += [_number(len(coded)), coded]
    return b"".join(parts)


def _parse(chunk: bytes) -> tuple[int, int, tuple[int, int, int], np.ndarray | None, dict[str, bytes], bytes]:
    """Way, quality, shape, alpha, what else was kept, and the code."""
    if len(chunk) < 5 or chunk[0] >= len(WAYS):
        raise ValueError("its way of coding is unknown")
    way, quality, flags = chunk[0], chunk[1], chunk[2]
    height, rest = _take_number(chunk[3:])
    width, rest = _take_number(rest)
    channels = flags >> 4
    if channels not in (1, 3) or not (0 < height <= _SIDE and 0 < width <= _SIDE):
        raise ValueError("its size is impossible")
    if height * width * channels > max(SMALL, 8 * MAX_RATIO * len(chunk)):
        raise ValueError(f"it claims {width} x {height} pixels in {len(chunk):,} bytes")
    if way == 0 and not 1 <= quality <= QUALITIES:
        raise ValueError("its quality is impossible")
    alpha, more = None, {}
    if flags & _ALPHA:
        size, rest = _take_number(rest)
        alpha, rest = _from_lossless(rest[:size], (height, width, 1))[..., 0], rest[size:]
    if flags & _MORE:
        size, rest = _take_number(rest)
        more, rest = _more(rest[:size]), rest[size:]
    return way, quality, (height, width, channels), alpha, more, rest


def _more(coded: bytes) -> dict[str, bytes]:
    import zstandard

    said = zstandard.frame_content_size(coded)
    if not 0 <= said <= 2 * _MOST_KEPT:
        raise ValueError("what it keeps beside pixels claims an impossible size")
    found = json.loads(zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(coded))
    return {name: base64.b64decode(found[name]) for name in _KEPT if name in found}


def _zstd() -> Any:
    import zstandard

    return zstandard.ZstdCompressor(level=19)


#: The largest side of a WebP.
_WEBP_SIDE = 16383


def _lossless(pixels: np.ndarray) -> bytes:
    """(h, w, channels) as a lossless WebP, or as PNG where it is too large for one."""
    from PIL import Image

    file = io.BytesIO()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if max(pixels.shape[:2]) > _WEBP_SIDE:
        picture.save(file, "PNG", optimize=True)
    else:
        picture.save(file, "WEBP", lossless=True, quality=80, method=4, exact=True)
    return file.getvalue()


def _from_lossless(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("WEBP", "PNG")) as picture:
        if picture.size != (shape[1], shape[0]):
            raise ValueError("the picture in it has another size than it says")
        pixels = np.atleast_3d(np.asarray(picture.convert("L" if shape[2] == 1 else "RGB")))
    return pixels


# --- what others need ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Equal:
    """What a format needs to come as near: bytes over some pictures, and ours over the same ones."""

    name: str
    size: int
    ours: int

    def __str__(self) -> str:
        return f"{self.name} {self.size:,} ({self.ours / self.size - 1:+.0%})"


FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {"optimize": True},
    "WebP": {"method": 6},
    "AVIF": {"speed": 6},
}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise of grey levels, dB; infinite where they are the same."""
    error = float(np.square(one.astype(np.float64) - other).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def coded_by(pixels: np.ndarray, name: str, quality: int) -> tuple[int, float]:
    """The bytes of a picture in another format, and its PSNR."""
    from PIL import Image

    file = io.BytesIO()
    grey = pixels.shape[2] == 1
    Image.fromarray(pixels[..., 0] if grey else pixels).save(file, name, quality=quality, **FORMATS[name])
    with Image.open(file) as picture:
        back = np.atleast_3d(np.asarray(picture.convert("L" if grey else "RGB")))
    return len(file.getvalue()), psnr(pixels, back)


def equal(pixels: np.ndarray, wanted: float, name: str) -> int | None:
    """The fewest bytes with which a format comes as near, by halving its quality; None where it never does."""
    low, high, best = 1, 100, None
    while low <= high:
        middle = (low + high) // 2
        size, found = coded_by(pixels, name, middle)
        if found >= wanted:
            best, high = size, middle - 1
        else:
            low = middle + 1
    return best


# --- the task -----------------------------------------------------------------------------------------------


@dataclass
class PackedPictures(Result):
    """Compressed pictures: ``data`` is the file; of each picture its bytes, quality, PSNR and size."""

    data: bytes
    pictures: list[dict[str, Any]]
    raw_bytes: int
    beside: list[Equal]
    model_bytes: int
    remarks: list[str]
    #: Coding and reading back, without what other formats need.
    seconds: float

    def to_table(self) -> Any:
        import pyarrow as pa

        return pa.Table.from_pylist(self.pictures)

    def save(self, path: Path) -> list[Path]:
        path = Path(path)
        if path.suffix.lower() != ".isz":
            raise FileError(f"Compressed pictures are written as .isz, not {path.name!r}.")
        write(path, self.data)
        return [path]

    @property
    def bpp(self) -> float:
        return 8 * len(self.data) / sum(one["height"] * one["width"] for one in self.pictures)

    def summary(self) -> list[str]:
        n, size = len(self.pictures), len(self.data)
        lossy = [one for one in self.pictures if one["way"] == WAYS[0]]
        said = [f"{n:,} picture(s): {self.raw_bytes:,} bytes of pixels became {size:,}, {self.raw_bytes / size:.1f} "
                f"times fewer, {self.bpp:.3f} bits per pixel"]  # fmt: skip
        if lossy:
            qualities = [one["quality"] for one in lossy]
            span = str(min(qualities)) if len(set(qualities)) == 1 else f"{min(qualities)} to {max(qualities)}"
            said.append(f"quality {span} of {QUALITIES}, PSNR {np.mean([one['psnr'] for one in lossy]):.2f} dB")
        if len(lossy) < n:
            said.append(f"{n - len(lossy)} come(s) back exactly: a lossless WebP was no larger")
        if self.beside:
            said.append(
                f"as near, by others: {', '.join(map(str, self.beside))}; in brackets what this file is to them"
            )
            best = min(self.beside, key=lambda one: one.size / one.ours)
            if best.size <= best.ours:
                said.append(f"! {best.name} is {1 - best.size / best.ours:.0%} smaller at the same error")
        said.append(f"to read it, the model is needed too ({self.model_bytes:,} bytes of numbers)")
        return [*said, *(f"! {remark}" for remark in self.remarks)]

    def to_json(self) -> dict[str, Any]:
        return {
            "pictures": len(self.pictures),
            "raw_bytes": self.raw_bytes,
            "bytes": len(self.data),
            "bpp": self.bpp,
            "each": self.pictures,
            "beside": {one.name: {"bytes": one.size, "ours": one.ours} for one in self.beside},
            "model_bytes": self.model_bytes,
            "remarks": self.remarks,
        }


def pack_pictures(model: Model, chunks: list[bytes], rows: Rows, raw: int) -> bytes:
    """One file: with a short head for one picture, and with names for several."""
    if len(chunks) == 1:
        return pack_one(model.fingerprint, chunks[0])
    names = None if rows.names is None else list(rows.names)
    # raw bytes are claimed by each chunk for itself
    header = {"codec": "pictures", "model": model.fingerprint, "kind": "pixels", "rows": len(chunks),
              "cells_per_row": 0, "raw_bytes": 0, "names": names, "origin": rows.origin}  # fmt: skip
    return pack(header, [(1, chunk) for chunk in chunks])


def _writes(name: str) -> bool:
    from PIL import features

    return name == "JPEG" or bool(features.check(name.lower()))


@dataclass
class BackPictures(Result):
    """Pictures that came back, ``rows`` as arrays (h, w) or (h, w, channels)."""

    pictures: list[Whole]
    names: tuple[str, ...] | None
    remark: str | None = None

    @property
    def rows(self) -> list[np.ndarray]:
        return [one.pixels[..., 0] if one.pixels.shape[2] == 1 else one.pixels for one in self.pictures]

    def save(self, path: Path) -> list[Path]:
        """A single picture at ``path``, whose ending chooses a lossless format; several into the folder ``path``, each
        under its name as PNG.
        """
        path = Path(path)
        if len(self.pictures) == 1 and path.suffix and not path.is_dir():
            self._write(self.pictures[0], path)
            return [path]
        if (path.exists() and not path.is_dir()) or path.suffix:
            raise FileError(f"{len(self.pictures)} picture(s) are written into a folder; {path} is none.")
        names = self.names or tuple(f"{i:0{len(str(len(self.pictures)))}}" for i in range(len(self.pictures)))
        as_png = [str(Path(name).with_suffix(".png")) for name in names]
        twice = {name for name, n in Counter(as_png).items() if n > 1}
        files = []
        for name, short, picture in zip(names, as_png, self.pictures, strict=True):
            file = path / (f"{name}.png" if short in twice else short)
            file.parent.mkdir(parents=True, exist_ok=True)
            self._write(picture, file)
            files.append(file)
        return files

    def _write(self, picture: Whole, path: Path) -> None:
        from PIL import Image

        kinds = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
        kind = kinds.get(path.suffix.lower())
        if kind is None:
            raise FileError(f"Pictures come back as {' '.join(kinds)}, without a second loss; got {path.name!r}.")
        pixels = picture.pixels
        if picture.alpha is not None and kind != "BMP":
            pixels = np.concatenate([pixels, picture.alpha[..., None]], axis=2)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        more: dict[str, Any] = {} if kind == "BMP" else dict(picture.more)
        if kind == "WEBP":
            more |= {"lossless": True, "exact": True}
        write_atomic(path, lambda file: image.save(file, kind, **more))

    def summary(self) -> list[str]:
        return [f"{len(self.pictures):,} picture(s) came back", *([f"! {self.remark}"] if self.remark else [])]

    def to_json(self) -> dict[str, Any]:
        return {"pictures": len(self.pictures), **({"remark": self.remark} if self.remark else {})}


@dataclass(frozen=True)
class InspectedPictures:
    """What a file of pictures says of itself, for which no model is needed."""

    container: Container
    pictures: list[tuple[int, int, tuple[int, int, int], int]]
    damaged: int

    @classmethod
    def of(cls, container: Container) -> InspectedPictures:
        found, damaged = [], 0
        for chunk in container.chunks:
            data = container.read(chunk)
            if data is None:
                damaged += 1
                continue
            try:
                way, quality, shape, *_ = _parse(data)
            except Exception as error:
                raise FileError(f"{container.origin} holds a picture that no isthmus wrote: {error}.") from error
            found.append((way, quality, shape, len(data)))
        return cls(container, found, damaged)

    def summary(self) -> list[str]:
        size, n = len(self.container.data), len(self.container.chunks)
        pixels = sum(h * w for _, _, (h, w, _), _ in self.pictures)
        raw = sum(h * w * c for _, _, (h, w, c), _ in self.pictures)
        said = [f"compressed  {n:,} picture(s), {size:,} bytes for {raw:,} of pixels ({raw / size:.1f} times fewer)"]
        if pixels:
            said.append(f"rate        {8 * size / pixels:.3f} bits per pixel")
        for (height, width, channels), count in Counter(shape for _, _, shape, _ in self.pictures).most_common(4):
            said.append(f"pictures    {count:,} of {width} x {height}, {'grey' if channels == 1 else 'colour'}")
        qualities = sorted({quality for way, quality, _, _ in self.pictures if way == 0})
        if qualities:
            said.append(f"quality     {qualities[0]}" + (f" to {qualities[-1]}" if len(qualities) > 1 else "")
                        + f" of {QUALITIES}")  # fmt: skip
        ways = Counter(WAYS[way] for way, *_ in self.pictures)
        whole = "all whole" if not self.damaged else f"{self.damaged} DAMAGED"
        said.append(f"chunks      {n} ({whole}); " + ", ".join(f"{way} {k}" for way, k in ways.items()))
        said.append(f"model       {self.container.header['model'][:16]}…: isthmus decompress asks for it")
        return [*said, *(f"! {remark}" for remark in self.container.remarks)]

    def to_json(self) -> dict[str, Any]:
        each = [{"way": WAYS[way], "quality": quality or None, "height": h, "width": w, "channels": c, "bytes": size}
                for way, quality, (h, w, c), size in self.pictures]  # fmt: skip
        return {"codec": "pictures", "pictures": len(self.container.chunks), "bytes": len(self.container.data),
                "model": self.container.header["model"], "each": each, "damaged": self.damaged,
                "remarks": list(self.container.remarks)}  # fmt: skip


def _check_wishes(quality: int | None, bpp: float | None) -> None:
    if quality is not None and bpp is not None:
        raise SpecError("Say quality (--quality) or bpp (--bpp), not both.")
    if quality is not None and not 1 <= quality <= QUALITIES:
        raise SpecError(f"quality is a number from 1 (small) to {QUALITIES} (near), got {quality}.")
    if bpp is not None and not bpp > 0:
        raise SpecError(f"bpp is a number of bits per pixel above 0, got {bpp}.")


def _as_near(some: Sequence[tuple[Whole, float, int]]) -> list[Equal]:
    """What every format needs for pictures of which PSNR and our bytes are known."""
    beside = []
    for name in filter(_writes, FORMATS):
        sizes = [(equal(whole.pixels, near, name), size) for whole, near, size in some]
        there = [(size, ours) for size, ours in sizes if size is not None]
        if there:
            beside.append(Equal(name, sum(size for size, _ in there), sum(ours for _, ours in there)))
    return beside


def _too_long(told: Sequence[Mapping[str, Any]], bpp: float | None) -> list[str]:
    """The pictures that take more bits than was asked for, as a remark."""
    over = [one for one in told if bpp is not None and 8 * one["bytes"] > bpp * one["height"] * one["width"]]
    if not over:
        return []
    most = f"{len(over)} of them take more than {bpp:g} bits per pixel even at quality 1"
    return [f"{most}, {over[0]['name']!r} first"]


class Pictures(Codec):
    """Pictures of any size, by a model that was fitted for them; each is a chunk."""

    name = "pictures"
    refusal = "Pictures take quality or bpp, and are a chunk each: leave max_error and chunk_rows out."

    def packs(self, model: Model, rows: Rows) -> bool:
        return packs_pictures(model)

    def reads(self, model: Model, container: Container) -> bool:
        return True

    def pack(
        self, model: Model, rows: Rows, *, compare: bool, quality: int | None = None, bpp: float | None = None
    ) -> PackedPictures:
        """Pictures → a file of few bytes, from which this model makes the same pixels on any machine."""
        _check_wishes(quality, bpp)
        coder = PictureCoder(model)
        names = [rows.names[i] if rows.names else f"picture {i}" for i in range(len(rows))]
        chunks, told, some, raw, seconds = [], [], [], 0, 0.0
        step, n = max(1, len(rows) // _BESIDE), len(rows)
        for i, page in enumerate(watched(rows.data, f"{rows.origin}: coded and read back", "pictures", n, every=1)):
            whole = Whole.of(page, names[i])
            began = perf_counter()
            chunk, back = coder.encode(whole, quality, bpp)
            seconds += perf_counter() - began
            way, used = chunk[0], chunk[1]
            found = psnr(whole.pixels, back)
            height, width, _ = whole.pixels.shape
            told.append({
                "name": names[i], "way": WAYS[way], "quality": used or None, "bytes": len(chunk),
                "height": height, "width": width, "psnr": found if math.isfinite(found) else None,
            })  # fmt: skip
            chunks.append(chunk)
            raw += whole.pixels.nbytes
            fits = sum(one.pixels[..., 0].size for one, _, _ in some) + height * width <= _PIXELS
            if compare and way == 0 and i % step == 0 and len(some) < _BESIDE and fits:
                some.append((whole, found, len(chunk)))
        data = pack_pictures(model, chunks, rows, raw)
        weight = sum(t.numel() * t.element_size() for t in model.net.state_dict().values())
        return PackedPictures(data, told, raw, _as_near(some), weight, _too_long(told, bpp), seconds)

    def unpack(self, model: Model, container: Container, salvage: bool) -> BackPictures:
        coder, names = PictureCoder(model), safe_names(container.header.get("names"), container.rows)
        kept, lost, found = [], [], []
        for number, chunk in enumerate(container.chunks):
            picture = read(container, chunk, coder.decode, "picture")
            if picture is None:
                lost.append((number, number + 1))
                continue
            found.append(picture)
            kept.append(number)
        remark = losses(container, lost, salvage, bool(found), "pictures")
        return BackPictures(found, None if names is None else tuple(names[i] for i in kept), remark)

    def inspect(self, container: Container) -> InspectedPictures:
        return InspectedPictures.of(container)
