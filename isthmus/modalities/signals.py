"""Signals that keep their length: a network is trained on crops of them, and applied to them whole.

.. math:: x = (value - low) / (high - low), \\quad high - low = \\text{a channel's deviation}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.data.images import Page, in_dtype
from isthmus.data.rows import Rows
from isthmus.errors import DataError, SpecError
from isthmus.modalities.base import Modality

#: Steps of a crop unless ``side`` says otherwise, and what it is a multiple of, so that networks may halve it.
SIDE, GRID = 512, 16
#: All crops together may have so many numbers, and a crop is taken for every so many sides of a signal.
MOST_NUMBERS, _EACH = 1 << 26, 0.5
#: Signals that are looked at to learn their range.
_SAMPLE = 200


class Signals(Modality):
    """Signals of any length and 1 to N channels, never resampled.

    Arguments:
        side: Steps of the crops that a network is trained on.
        channels: of the network. Signals of other channels go through a network of one channel by channel.
        dtype: NumPy name of the type that the signals came in.
        low, high: The raw values that are 0 and 1 inside, a pair for each channel.
    """

    kind = "signals"
    grid, usual_side = GRID, SIDE

    def __init__(self, side: int, channels: int, dtype: str, low: Sequence[float], high: Sequence[float]):
        self.side, self.channels, self.dtype = int(side), int(channels), np.dtype(dtype)
        self.low, self.high = np.asarray(low, np.float64), np.asarray(high, np.float64)

    @classmethod
    def fit(cls, rows: Rows, *, side: int | str = "auto", channels: int | str = "auto") -> Self:
        """Choose the crops' length, the channels and the range.

        Arguments:
            rows: Signals (:func:`isthmus.data.signals.open_signals`).
            side: A multiple of 16, or ``"auto"``: 512, or less where all signals are shorter.
            channels: A number, or ``"auto"``: that of the signals, and 1 where they differ.
        """
        pages = _pages(rows)
        if side != "auto" and (not isinstance(side, int | np.integer) or side < GRID or side % GRID):
            raise SpecError(f"side is a multiple of {GRID} or 'auto', got {side!r}.")
        known = {page.shape[2] for page in pages}
        if channels == "auto":
            channels = next(iter(known)) if len(known) == 1 else 1
        if isinstance(channels, bool) or not isinstance(channels, int | np.integer) or channels < 1:
            raise SpecError(f"channels is a whole number of at least 1 or 'auto', got {channels!r}.")
        longest = max(page.shape[1] for page in pages)
        side = min(SIDE, -(-longest // GRID) * GRID) if side == "auto" else int(side)
        some = [pages[i] for i in np.unique(np.linspace(0, len(pages) - 1, _SAMPLE).round().astype(int))]
        low, high = _range(some, int(channels))
        return cls(side, int(channels), pages[0].dtype.name, low.tolist(), high.tolist())

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.side)

    @property
    def names(self) -> list[str]:
        return []

    def samples(self, rows: Rows) -> Rows:
        """Refused: at use a signal goes through the network whole, and no task on crops of it would say anything."""
        raise SpecError(
            "A model of signals makes signals of signals, whatever their length, and no codes or scores: "
            "isthmus denoise MODEL SIGNALS -o FOLDER. For those fit without --for."
        )

    def to_tensors(self, rows: Rows) -> dict[str, Tensor]:
        """Crops (n, channels, side) at random places, which depend on the signals' lengths alone: those of rows and of
        their targets belong together.
        """
        pages = _pages(rows)
        counts = [max(1, round(page.shape[1] / (_EACH * self.side))) for page in pages]
        most = max(1, MOST_NUMBERS // (self.side * max(page.shape[2] for page in pages)))
        if sum(counts) > most:
            counts = [max(1, round(n * most / sum(counts))) for n in counts]
        found = [
            crop
            for i, (page, n) in enumerate(zip(pages, counts, strict=True))
            for crop in self._crops(page, n, np.random.default_rng((i, page.shape[1])))
        ]
        return {"x": torch.from_numpy(np.stack(found))}

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> np.ndarray:
        """(n, time) for one channel, else (n, time, channels), in the raw type and range."""
        signals = self.raw(x.detach().cpu().movedim(1, 2).numpy(), self.low, self.high)
        signals = in_dtype(signals, self.dtype)
        return signals[..., 0] if self.channels == 1 else signals

    def parts(self) -> dict[str, Any]:
        return {
            "encoder": {"kind": "mlp"},
            "decoder": {"kind": "mlp"},
            # one noise level: a place in a crop is no place in a signal
            "likelihood": {"kind": "gaussian", "per": "all"},
            "detector": {"kind": "likelihood"},
        }

    def describe(self) -> list[str]:
        many = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return [
            f"Signals keep their length and are learned from crops of {self.side} steps, {many} ({self.dtype}); each "
            "was scaled by its mean and deviation."
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "side": self.side,
            "channels": self.channels,
            "dtype": self.dtype.name,
            "low": self.low.tolist(),
            "high": self.high.tolist(),
        }

    def __repr__(self) -> str:
        return f"Signals(side={self.side}, channels={self.channels}, dtype={self.dtype.name})"

    def range_of(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """The raw values that are 0 and 1 in signals of a type: sounds of other whole numbers have other ranges."""
        if dtype == self.dtype or dtype.kind not in "iu" or self.dtype.kind not in "iu":
            return self.low, self.high
        times = np.iinfo(dtype).max / np.iinfo(self.dtype).max
        return self.low * times, self.high * times

    @staticmethod
    def raw(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Numbers of the network as they are in the file, still floats."""
        return x * (high - low) + low

    def _crops(self, page: Page, n: int, generator: np.random.Generator) -> list[np.ndarray]:
        if page.shape[2] != self.channels != 1:
            raise DataError(
                f"The signals have {page.shape[2]} channel(s), and the model was fitted on {self.channels}. Bring such "
                "signals, or fit with modality.channels=1, which takes each channel by itself."
            )
        low, high = self.range_of(page.dtype)
        signal = (bridged(page.read())[0] - low) / (high - low)
        length, found = len(signal), []
        for _ in range(n):
            begin = int(generator.integers(max(1, length - self.side + 1)))
            crop = signal[begin : begin + self.side]
            crop = np.pad(crop, [(0, self.side - len(crop)), (0, 0)], mode="symmetric").T.astype(np.float32)
            found += [crop] if len(crop) == self.channels else list(crop[:, None])
        return found


def bridged(page: np.ndarray) -> np.ndarray:
    """A page one pixel high (1, time, channels) as floats, with a straight line over what is missing."""
    values = page.astype(np.float64)
    steps = np.arange(values.shape[1])
    for k in range(values.shape[2]):
        there = np.isfinite(values[0, :, k])
        if not there.all():
            line = np.interp(steps, steps[there], values[0, there, k]) if there.any() else np.zeros(len(steps))
            values[0, :, k] = line
    return values


def _pages(rows: Rows) -> list[Page]:
    if rows.of_one_length().kind != "signals":
        raise DataError(
            f"{rows.origin} holds rows of kind {rows.kind!r}, and signals that keep their length are opened as such: "
            "open_rows(source, kind='signals')."
        )
    return rows.data


def _range(pages: Sequence[Page], channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean + deviation of every channel; of all together where the network takes them one by one."""
    values = [page.read()[0].astype(np.float64) for page in pages]
    cells = np.concatenate([v if v.shape[1] == channels else v.reshape(-1, 1) for v in values])
    if not np.isfinite(cells).any():
        raise DataError("The signals hold no finite number.")
    cells = np.where(np.isfinite(cells), cells, np.nan)
    low, spread = np.nanmean(cells, 0), np.nanstd(cells, 0)
    return low, low + np.where(spread > 1e-12 * (1 + np.abs(low)), spread, 1.0)
