"""Noise taken off pictures and signals: of any size and type, written back as they came. Originals are only read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from isthmus import devices
from isthmus.core.tiling import TILE, tiled
from isthmus.data.images import Page, in_dtype
from isthmus.data.rows import Rows
from isthmus.data.sink import save_rows, to_pandas
from isthmus.errors import DataError, FileError, SpecError
from isthmus.modalities.signals import bridged
from isthmus.tasks.base import Result
from isthmus.tasks.denoising.classical import NAMES, Denoiser, named
from isthmus.tasks.denoising.noise import Noise, diagnose

if TYPE_CHECKING:
    from isthmus.model import Model
    from isthmus.tasks.denoising.yolo import Dataset

#: Pictures that the scorecard looks at, the side of the piece of each, and the steps of a piece of a signal.
_LOOKED_AT, _PIECE, _STEPS = 8, 256, 1 << 15
#: Signals go through a network so many steps at a time.
_SIGNAL_TILE = 1 << 15


class Cleaner:
    """A model as a function of pictures or signals: the network, or the classical method that did better on those held
    out. A signal is a picture one pixel high.
    """

    def __init__(self, model: Model, method: str = "auto", tile: int = TILE, tta: bool = False):
        body = model.net.decoder
        if model.modality.kind not in ("pixels", "signals") or body.reach is None:
            raise SpecError(
                "This model is none for pictures or signals of any size, so it cannot clean any. Fit one that is: "
                "isthmus fit PICTURES --for denoise -o clean.isthmus"
            )
        self.signals = model.modality.kind == "signals"
        job = model.record.job or {}
        self.model, self.tile = model, tile
        self.judged = method == "auto"
        self.name = (job.get("best") or "network") if self.judged else method
        self.stride, self.reach = body.stride, body.reach
        self._ways = model.modality.symmetries if tta else ()
        if tta and not self._ways:
            raise SpecError("Signals are not looked at from other sides: leave tta (--tta) out.")
        self._classical = None
        if self.name != "network":
            strength = float(job.get("methods", {}).get(self.name, {}).get("strength", 0.8))
            self._classical = named(self.name, strength, self.signals)
            self.reach = self._classical.reach

    def __call__(self, page: np.ndarray) -> np.ndarray:
        """(h, w, c) in the numbers of a file → the same without noise, as floats of the same unit."""
        low, high = self.model.modality.range_of(page.dtype)
        holes = ~np.isfinite(page) if page.dtype.kind == "f" else None
        if holes is not None and holes.any():
            page = whole(page, low)
        out = self.scaled(page, low, high)
        out = out * (high - low) + low if self.signals else _unscaled(out, low, high)
        if holes is not None:
            out[holes] = np.nan
        return out

    def scaled(self, page: np.ndarray, low: Any = 0.0, high: Any = 1.0) -> np.ndarray:
        """(h, w, c) → clean (h, w, c), where ``low`` to ``high`` became 0 to 1, in all channels or in each."""
        channels, n = self.model.modality.channels, page.shape[2]
        if n not in (channels, 1) and channels != 1:
            raise DataError(
                f"{'A signal' if self.signals else 'A picture'} has {n} channels, and the model was fitted on "
                f"{channels}. Fit with modality.channels=1, which takes each channel by itself."
            )
        if self.signals:  # each channel has a range of its own, which float32 might not tell from 0
            page, low, high = (page - low) / (high - low), 0.0, 1.0

        def run(x: torch.Tensor) -> torch.Tensor:
            x = (x - low) / (high - low)
            if self.signals:
                x = x[:, :, :1]  # a tile is as high as the grid
            if self._classical is not None:
                return torch.from_numpy(self._classical(x[0].movedim(0, 2).numpy()).astype(np.float32)).movedim(2, 0)[
                    None
                ]
            # channels of their own are rows of a batch; grey in a model of colours is grey in each
            x = (x.movedim(1, 0) if channels == 1 else x.expand(-1, channels, -1, -1)).to(self.model.device)
            y = self._through(x)
            return y.movedim(0, 1) if channels == 1 else y if n == channels else y.mean(1, keepdim=True)

        tile = _SIGNAL_TILE if self.signals else self.tile
        work = (tile if self.signals else tile**2) * sum(p.numel() for p in self.model.net.parameters()) / 4
        with torch.inference_mode(), devices.threads_for(work, self.model.device):
            return tiled(run, page, stride=self.stride, reach=self.reach, tile=tile)

    def _through(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) through the network, which of a signal sees a line alone."""
        if self._ways:
            return sum(way.back(self._once(way(x))) for way in self._ways) / len(self._ways)
        return self._once(x)

    def _once(self, x: torch.Tensor) -> torch.Tensor:
        if not self.signals:
            return self.model.net.decode(self.model.net.encode(x)).mean
        return self.model.net.decode(self.model.net.encode(x[:, :, 0].contiguous())).mean[:, :, None]


@dataclass
class Scorecard:
    """How well noise came off, over pieces of pictures. Without clean ones: the level before and after (in the
    pictures' own numbers), how alike neighbours are in what was taken off, and how much that is like the picture; with
    them PSNR (dB) and SSIM, before and after.
    """

    level_before: float
    level_after: float
    residual_alike: float
    residual_signal: float
    psnr: tuple[float, float] | None = None
    ssim: tuple[float, float] | None = None
    #: Signal to noise (dB), before and after, of signals that have clean ones beside them.
    snr: tuple[float, float] | None = None

    def words(self) -> list[str]:
        said = []
        if self.snr:
            gain = self.snr[1] - self.snr[0]
            said.append(
                f"against the clean signals: signal to noise {self.snr[0]:.2f} → {self.snr[1]:.2f} dB ({gain:+.2f})"
            )
        if self.psnr and self.ssim:
            said.append(
                f"against the clean pictures: PSNR {self.psnr[0]:.2f} → {self.psnr[1]:.2f} dB, "
                f"SSIM {self.ssim[0]:.3f} → {self.ssim[1]:.3f}"
            )
        said.append(f"noise level {self.level_before:.3g} → {self.level_after:.3g}")
        signal = abs(self.residual_signal)
        judged = (
            "hardly any of the picture went with it" if signal < 0.1 else "! some of the picture went with the noise"
        )
        said.append(
            f"what was taken off: neighbours alike by {self.residual_alike:+.2f}, like the picture by "
            f"{self.residual_signal:+.2f}: {judged}"
        )
        return said

    def to_json(self) -> dict[str, Any]:
        return {
            "level_before": self.level_before,
            "level_after": self.level_after,
            "residual_alike": self.residual_alike,
            "residual_signal": self.residual_signal,
            "psnr": self.psnr and list(self.psnr),
            "ssim": self.ssim and list(self.ssim),
            "snr": self.snr and list(self.snr),
        }


@dataclass
class Denoised(Result):
    """Pictures that are cleaned as they are asked for, so that memory holds one page at a time."""

    cleaner: Cleaner
    rows: Rows
    scorecard: Scorecard
    dataset: Dataset | None = None
    failed: list[str] = field(default_factory=list)
    #: Called with how many pages are done, and how many there are, while files are written.
    watched: Callable[[int, int], Any] = lambda done, of: None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> np.ndarray:
        """Picture ``i`` without noise, in its own type: (h, w), or (h, w, c); signal ``i``: (time,), or (time, c)."""
        page = self.rows.data[i].read()
        clean = in_dtype(self.cleaner(page), page.dtype)
        clean = clean[..., 0] if clean.shape[2] == 1 else clean
        return clean[0] if self.cleaner.signals else clean

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def summary(self) -> list[str]:
        name = self.cleaner.name
        used = "the network" if name == "network" else NAMES[name]
        used += ", better than the network" if self.cleaner.judged and name != "network" else ""
        what = "signal" if self.cleaner.signals else "picture"
        lines = [f"{len(self.rows):,} {what}(s), cleaned by {used}", *self.scorecard.words()]
        if self.dataset is not None:
            lines.append(
                "! a detector that was trained on the noisy pictures may get worse on clean ones: train it again on "
                "the new root, and compare both on its validation part"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        return {
            "signals" if self.cleaner.signals else "pictures": len(self.rows),
            "method": self.cleaner.name,
            "scorecard": self.scorecard.to_json(),
            "failed": self.failed,
        }

    def to_frame(self) -> Any:
        import pyarrow as pa

        return to_pandas(pa.table({name: [value] for name, value in self.scorecard.to_json().items()}))

    def save(self, path: Path) -> list[Path]:
        """Every file under its own name in the folder ``path``, in its own format, type and with its metadata; a single
        file at ``path`` itself; arrays as ``.npy`` or in a folder. What was read is never written to.
        """
        path = Path(path)
        if self.dataset is not None:
            return self.dataset.write(path, self._write)
        if self.rows.data[0].path is None:
            if len({page.shape for page in self.rows.data}) > 1:
                raise FileError("Arrays of several sizes are no array together: take them one by one, result[i].")
            return save_rows(np.stack(list(self)), path)
        files = list(self._files())
        if path.suffix and not path.is_dir():
            if len(files) > 1:
                raise FileError(f"{len(files)} files do not go into one, {path}: name a folder.")
            if path.suffix.lower() != files[0][0].suffix.lower():
                raise FileError(
                    f"Files come back as what they were: {files[0][0].name} is no {path.suffix}. "
                    f"Say {path.with_suffix(files[0][0].suffix)}."
                )
            return self._write([(files[0][0], path)])
        if path.exists() and not path.is_dir():
            raise FileError(f"{path} is a file, not a folder. Give a folder for what is cleaned.")
        return self._write([(source, path / name) for source, name in files])

    def _files(self) -> Iterator[tuple[Path, str]]:
        """The files and their names, each once, however many pages it has."""
        names = self.rows.names or tuple(str(page.path) for page in self.rows.data)
        for source, pages in groupby(zip(self.rows.data, names, strict=True), key=lambda pair: pair[0].path):
            page, name = next(pages)
            stacked = name.endswith(f"[{page.index}]")
            yield source, name.removesuffix(f"[{page.index}]") if stacked else name

    def _write(self, pairs: Sequence[tuple[Path, Path]]) -> list[Path]:
        """Clean every first path to the second; one that cannot be read any more is told, and the others go on."""
        read = {source.resolve() for source, _ in pairs}
        for _, target in pairs:
            if target.resolve() in read or (target.is_symlink() and target.exists()):
                raise FileError(f"{target} is one of the originals themselves, or a link. Choose another folder.")
        written, done = [], 0

        def clean(_: int, page: np.ndarray) -> np.ndarray:
            nonlocal done
            done += 1
            found = self.cleaner(page)
            self.watched(done, len(self.rows))
            return found

        for source, target in pairs:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._opener(source).copy(target, clean)
                written.append(target)
            except FileError as error:
                self.failed.append(f"{source}: {error}")
        if self.failed and not written:
            raise FileError(f"Nothing could be cleaned. {self.failed[0]}")
        return written

    def _opener(self, path: Path) -> Any:
        return self.rows.data[0].opener(path)


def denoise(
    model: Model,
    rows: Any = None,
    *,
    target: str | None = None,
    method: Literal["auto", "network", "nlm", "wavelet"] = "auto",
    yolo: Path | None = None,
    tile: int = TILE,
    tta: bool = False,
) -> Denoised:
    """Take the noise off pictures, or off signals.

    Args:
        target: clean pictures, one for each: the scorecard then knows PSNR and SSIM; of signals, signal to noise.
        method: what cleans them; auto is what did best on held-out pictures when the model was fitted.
        yolo: the data.yaml of a YOLO data set, in place of DATA: a new root is written, with labels and a data.yaml.
        tile: side of the pieces that go through the network at once, in pixels; the result does not depend on it.
        tta: test-time augmentation: the mean over pictures in mirrors and on their side, which takes 4 or 8 times as
            long and is nearer to the truth by about 0.1 dB.
    """
    dataset = None
    if yolo is not None:
        from isthmus.tasks.denoising.yolo import Dataset

        if rows is not None:
            raise SpecError("Say DATA or --yolo data.yaml, not both.")
        dataset = Dataset.open(Path(yolo))
        rows = model.open([str(path) for path in dataset.images])
    if rows is None:
        raise SpecError("Nothing is said to be cleaned. Say isthmus denoise MODEL PICTURES, or --yolo data.yaml.")
    cleaner, rows = Cleaner(model, method, tile, tta), model.open(rows)
    clean = None if target is None else model.open(target)
    if clean is not None:
        check_pairs(rows, clean)
    return Denoised(cleaner, rows, scored(cleaner, rows, clean), dataset)


def check_pairs(rows: Rows, target: Rows) -> None:
    """Refuse pictures and clean ones that cannot belong together."""
    if len(rows) != len(target):
        raise DataError(
            f"Each needs its clean one: there are {len(rows):,} ({rows.origin}) and {len(target):,} "
            f"({target.origin}). Bring as many of both, under the same names."
        )
    for i, (page, other) in enumerate(zip(rows.data, target.data, strict=True)):
        if page.shape != other.shape:
            name = rows.names[i] if rows.names else f"{rows.kind}, number {i},"
            raise DataError(f"{name} is {page.shape} (height, width, channels) and its clean one {other.shape}.")


def scored(cleaner: Cleaner, rows: Rows, clean: Rows | None) -> Scorecard:
    """The scorecard of a cleaner on pieces from the middle of pictures, or with clean ones of whole pictures."""
    chosen = np.unique(
        np.linspace(0, len(rows) - 1, len(rows) if clean is not None else _LOOKED_AT).round().astype(int)
    )
    before, after, truth = [], [], []
    low, high = cleaner.model.modality.range_of(rows.data[0].dtype)
    unit = float(np.mean(high - low))
    for i in chosen:
        page = rows.data[i] if clean is not None else middle(rows.data[i])
        low, high = cleaner.model.modality.range_of(page.dtype)
        noisy = whole(page.read())
        before.append((noisy - low) / (high - low))
        after.append(cleaner.scaled(noisy, low, high))
        if clean is not None:
            truth.append((clean.data[i].read().astype(np.float32) - low) / (high - low))
    alike, signal = zip(*(_residual(b, a) for b, a in zip(before, after, strict=True)), strict=True)
    levels = [diagnose([crop(x) for x in pictures[:_LOOKED_AT]]).sigma * unit for pictures in (before, after)]
    psnrs = ssims = None
    if clean is not None and cleaner.signals:
        snrs = tuple(float(np.mean([snr(x, t) for x, t in zip(xs, truth, strict=True)])) for xs in (before, after))
        return Scorecard(*levels, float(np.mean(alike)), float(np.mean(signal)), snr=snrs)
    if clean is not None:
        cut = [np.clip(a, 0, 1) for a in after]
        psnrs = tuple(float(np.mean([psnr(x, t) for x, t in zip(xs, truth, strict=True)])) for xs in (before, cut))
        ssims = tuple(float(np.mean([ssim(x, t) for x, t in zip(xs, truth, strict=True)])) for xs in (before, cut))
    return Scorecard(*levels, float(np.mean(alike)), float(np.mean(signal)), psnrs, ssims)


def middle(page: Page) -> Page:
    """A piece from the middle of a picture."""
    height, width = _piece(page.shape)
    return page.cut((page.shape[0] - height) // 2, (page.shape[1] - width) // 2, height, width)


def _piece(shape: Sequence[int]) -> tuple[int, int]:
    """The height and width of a piece."""
    return (1, min(shape[1], _STEPS)) if shape[0] == 1 else (min(shape[0], _PIECE), min(shape[1], _PIECE))


def whole(page: np.ndarray, low: Any = 0.0) -> np.ndarray:
    """Numbers (h, w, c) as floats without holes: black in pictures, a straight line over them in signals."""
    if page.dtype.kind == "f" and len(page) == 1:
        return bridged(page)
    page = page.astype(np.float32)
    return np.where(np.isfinite(page), page, np.float32(low)) if page.dtype.kind == "f" else page


def _unscaled(out: np.ndarray, low: float, high: float) -> np.ndarray:
    out *= np.float32(high - low)
    out += np.float32(low)
    return out


def crop(picture: np.ndarray) -> np.ndarray:
    """A piece from the middle of an array."""
    height, width = _piece(picture.shape)
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def _residual(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """How alike neighbours are in what was taken off, and how much it is like what stayed."""
    left = before - after
    left = left - left.mean((0, 1))
    power = float(np.square(left).sum())
    if power < 1e-12:
        return 0.0, 0.0
    beside = float((left[:, 1:] * left[:, :-1]).sum())
    if len(left) > 1:
        beside = (beside + float((left[1:] * left[:-1]).sum())) / 2
    stayed = after - after.mean((0, 1))
    return beside / power, float((left * stayed).sum()) / math.sqrt(power * max(float(np.square(stayed).sum()), 1e-12))


def psnr(picture: np.ndarray, clean: np.ndarray) -> float:
    """Peak signal to noise, dB, of pictures between 0 and 1."""
    return -10 * math.log10(max(float(np.square(picture - clean).mean()), 1e-10))


def snr(signal: np.ndarray, clean: np.ndarray) -> float:
    """Signal to noise, dB: the clean signal's variance ÷ the mean squared error."""
    return 10 * math.log10(max(float(clean.var()), 1e-12) / max(float(np.square(signal - clean).mean()), 1e-12))


def ssim(picture: np.ndarray, clean: np.ndarray) -> float:
    """Structural similarity of pictures between 0 and 1, the mean over channels, in gaussian windows of 11 pixels.

    References:
        Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to structural similarity, 2004.
    """
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    kernel = torch.from_numpy(np.outer(window, window) / window.sum() ** 2).float()[None, None]
    x, y = (torch.from_numpy(np.ascontiguousarray(np.moveaxis(p, 2, 0), np.float32))[:, None] for p in (picture, clean))
    if min(x.shape[2:]) < 11:
        kernel = torch.ones(1, 1, *x.shape[2:]) / (x.shape[2] * x.shape[3])

    def mean(t: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(t, kernel)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    a, b = 0.01**2, 0.03**2
    return float(((2 * mx * my + a) * (2 * cov + b) / ((mx**2 + my**2 + a) * (vx + vy + b))).mean())


def as_noise(said: Mapping[str, Any]) -> Noise:
    """The diagnosis that a model file holds."""
    return Noise(**{name: value for name, value in said.items() if name != "clean"})


__all__ = ["Cleaner", "Denoised", "Denoiser", "Scorecard", "denoise", "psnr", "ssim"]
