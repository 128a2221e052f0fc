"""Windows of recordings: here a recording becomes windows, and here windows become steps of time again.

.. math:: y_t = \\frac{1}{|\\{i : t \\in W_i\\}|} \\sum_{i : t \\in W_i} y_{i,\\, t - s_i}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

#: A window counts as the share of it that is there, to this power.
_SURE = 4
#: At most so many stretches of time are held out, each at least as long as two windows.
_STRETCHES = 8


@dataclass(frozen=True)
class Recorded:
    """What was recorded, on an even grid of time, and where in it every row that a person brought stands.

    ``pieces`` are unbroken stretches ``(steps, channels)``, NaN where a value is missing. Row ``i`` stands in
    ``pieces[piece[i]]`` at ``at[i]`` steps from its beginning, which is no whole number where stamps are uneven.
    """

    pieces: tuple[np.ndarray, ...]
    piece: np.ndarray
    at: np.ndarray
    remarks: tuple[str, ...] = ()

    def at_rows(self, pieces: Iterable[np.ndarray]) -> np.ndarray:
        """Numbers of every step, ``(steps, ...)`` a piece → those of every row, in the order that was brought."""
        flat = np.concatenate(list(pieces))
        lengths = np.array([len(piece) for piece in self.pieces])
        first = (np.cumsum(lengths) - lengths)[self.piece]
        low = np.floor(self.at).astype(np.int64)
        share = (self.at - low).reshape(-1, *[1] * (flat.ndim - 1))
        before, after = flat[first + low], flat[first + np.minimum(low + 1, lengths[self.piece] - 1)]
        return np.where(share == 0, before, (1 - share) * before + share * after)


@dataclass(frozen=True)
class Paid:
    """What steps (or rows) pay: ``channels`` (steps, channels) and ``rest`` (steps,), NaN where nothing is known."""

    channels: np.ndarray
    rest: np.ndarray

    def filled(self, usual: Paid) -> Paid:
        """What is not known costs what is usual."""
        rest = np.where(np.isnan(self.rest), usual.rest, self.rest)
        return Paid(np.where(np.isnan(self.channels), usual.channels, self.channels), rest)

    def at_rows(self, recorded: Recorded) -> Paid:
        """The same for every row that was brought."""
        ends = np.cumsum([len(piece) for piece in recorded.pieces])[:-1]
        return Paid(*(recorded.at_rows(np.split(values, ends)) for values in (self.channels, self.rest)))

    @property
    def score(self) -> np.ndarray:
        return self.channels.sum(1) + self.rest


@dataclass(frozen=True)
class Windows:
    """Windows of one length over recordings, cut only when they are looked at.

    ``flat`` are the pieces one behind the other, each filled up with NaN to a window's length at least;
    ``begins`` are where in it the windows begin.
    """

    recorded: Recorded
    length: int
    flat: np.ndarray
    begins: np.ndarray

    @classmethod
    def cut(cls, recorded: Recorded, length: int, stride: int) -> Self:
        """All windows ``stride`` steps apart, and one more where the end of a piece would be left over."""
        return cls.at(recorded, length, [starts(len(piece), length, stride) for piece in recorded.pieces])

    @classmethod
    def at(cls, recorded: Recorded, length: int, places: Iterable[np.ndarray]) -> Self:
        """The windows that begin at these places of each piece."""
        pieces, begins, first = [], [], 0
        for piece, places_in in zip(recorded.pieces, places, strict=True):
            begins.append(first + places_in)
            pieces.append(np.pad(piece, ((0, max(0, length - len(piece))), (0, 0)), constant_values=np.nan))
            first += len(pieces[-1])
        return cls(recorded, length, np.concatenate(pieces), np.concatenate(begins))

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, which: Any) -> Self:
        return replace(self, begins=self.begins[which])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """(n, length, channels)."""
        array = self.flat[self.begins[:, None] + np.arange(self.length)]
        return array if dtype is None else array.astype(dtype)

    @property
    def stride(self) -> int:
        """Steps between neighbouring windows."""
        return int(np.diff(self.begins).min()) if len(self) > 1 else self.length

    def steps(self) -> np.ndarray:
        """(steps, channels): every step that any of the windows holds, once."""
        return np.concatenate(self.recorded.pieces)[np.concatenate(self.cover()) > 0]

    def join(self, values: np.ndarray, weights: np.ndarray | None = None) -> list[np.ndarray]:
        """What windows say ``(n, length, ...)`` → the mean of what is said of every step, ``(steps, ...)`` a piece.

        ``weights`` like ``values`` say how much each counts; NaN where nobody says anything.
        """
        total = np.zeros((len(self.flat), *values.shape[2:]))
        weight = np.zeros_like(total)
        # no two windows begin at one step, so each line adds every number once
        for j in range(self.length):
            there = 1.0 if weights is None else weights[:, j]
            total[self.begins + j] += values[:, j] * there
            weight[self.begins + j] += there
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._pieces(total / weight)

    def paid(self, channels: np.ndarray, rest: np.ndarray) -> Paid:
        """What windows pay, for each of their ``channels`` (n, channels) and beside (n,) → what each step pays.

        A step pays what the windows that hold it pay on average. That is as sharp as a window is long, and far surer
        than each step's own entries: on 23 labelled series their average precision is 25, and this has 44. Windows of
        which much is missing count little, and a step of which nothing is known is left open.
        """
        there = self._there()
        sure = there.mean(1) ** _SURE
        each = (len(self), self.length)
        paid = self.join(
            np.broadcast_to(channels[:, None], (*each, channels.shape[1])),
            np.broadcast_to((sure[:, None] * (there > 0))[:, None], (*each, channels.shape[1])),
        )
        rests = self.join(np.broadcast_to(rest[:, None], each), np.broadcast_to(sure[:, None], each))
        known = np.isfinite(np.concatenate(self.recorded.pieces))
        return Paid(
            np.where(known, np.concatenate(paid), np.nan), np.where(known.any(1), np.concatenate(rests), np.nan)
        )

    def _there(self) -> np.ndarray:
        """The share of every window that is there, channel by channel, (n, channels)."""
        count = np.concatenate([np.zeros((1, self.flat.shape[1])), np.cumsum(np.isfinite(self.flat), axis=0)])
        return (count[self.begins + self.length] - count[self.begins]) / self.length

    def cover(self) -> list[np.ndarray]:
        """How many windows hold each step, (steps,) a piece."""
        ends = np.zeros(len(self.flat) + 1, np.int64)
        ends[self.begins] += 1
        np.subtract.at(ends, self.begins + self.length, 1)
        return self._pieces(np.cumsum(ends))

    def _pieces(self, flat: np.ndarray) -> list[np.ndarray]:
        """Numbers of every step of ``flat``, piece by piece and without what filled them up."""
        found, first = [], 0
        for piece in self.recorded.pieces:
            found.append(flat[first : first + len(piece)])
            first += max(len(piece), self.length)
        return found

    def enough(self, n: int) -> int:
        """``n``, or more where that would be less than a few whole windows and a quarter allows it."""
        return max(n, min(2 * -(-self.length // self.stride), len(self) // 4), 1)

    def hold_out(self, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which windows to fit and which, about ``n``, to hold out: whole stretches of time, because neighbours
        share most of their steps. Windows that share any with a held-out one are in neither.
        """
        n_windows = len(self)
        across = -(-self.length // self.stride)  # windows that share a step with a given one, on each side
        stretches = max(1, min(n // across, _STRETCHES))
        each = max(1, round(n / stretches))
        held = np.zeros(n_windows, bool)
        # one somewhere in every part of the time, so that the held-out ones are like all others
        for part in np.array_split(np.arange(n_windows), stretches):
            begin = part[0] + generator.integers(max(1, len(part) - each + 1))
            held[begin : begin + each] = True
        out = np.sort(self.begins[held])
        behind = np.searchsorted(out, self.begins - self.length, side="right")
        near = (behind < len(out)) & (out[np.minimum(behind, len(out) - 1)] < self.begins + self.length)
        return np.flatnonzero(~near), np.flatnonzero(held)


def starts(steps: int, length: int, stride: int, begin: int = 0, end: int | None = None) -> np.ndarray:
    """Where windows begin in a piece of so many steps, from ``begin`` to before ``end``: ``stride`` apart, and one more
    where the end of the piece would be left over.

    >>> starts(23, 10, 4).tolist(), starts(23, 10, 4, 8, 13).tolist()
    ([0, 4, 8, 12, 13], [8, 12])
    """
    last = max(0, steps - length)
    end = last + 1 if end is None else min(end, last + 1)
    found = np.arange(-(-begin // stride) * stride, end, stride)
    return np.append(found, last) if last % stride and begin <= last < end else found


def period(pieces: Sequence[np.ndarray], most: int) -> int | None:
    """The period in steps, of at most ``most``, where autocorrelation has its highest peak; None without a clear one.

    Averaged over channels and pieces, each weighed by its length; a trend is taken off first, because beside it
    every autocorrelation only falls.

    >>> t = np.arange(400)
    >>> period([np.sin(2 * np.pi * t / 24)[:, None]], 100)
    24
    """
    total, weight = np.zeros(most + 2), 0.0
    for piece in pieces:
        x = piece[:_LONG]
        n = len(x)
        if n < 3 * _SHORTEST:
            continue
        x = np.where(np.isfinite(x), x, np.nanmean(np.where(np.isfinite(x), x, np.nan), axis=0, keepdims=True))
        x = x[:, np.isfinite(x).all(0)]
        x = _without_trend(x)
        spectrum = np.fft.rfft(x, 2 * n, axis=0)
        correlation = np.fft.irfft(spectrum * spectrum.conj(), axis=0)[:n]
        varies = correlation[0] > 1e-9 * n
        # a sum over fewer and fewer steps, made a mean again
        correlation = (correlation[:, varies] / correlation[0, varies]) * (n / np.arange(n, 0, -1))[:, None]
        reach = min(most, n // 3)
        total[: reach + 1] += n * correlation[: reach + 1].sum(1)
        weight += n * varies.sum()
    if weight == 0:
        return None
    mean = total / weight
    lags = np.arange(_SHORTEST, most)
    peaks = lags[(mean[lags] > mean[lags - 1]) & (mean[lags] >= mean[lags + 1]) & (mean[lags] > _CLEAR)]
    if not len(peaks):
        return None
    # the first that is nearly as high as the highest: the others are its multiples; and the top of that hill
    first = peaks[np.argmax(mean[peaks] >= 0.9 * mean[peaks].max())]
    hill = peaks[(peaks >= first) & (peaks <= 1.2 * first)]
    return int(hill[mean[hill].argmax()])


#: Steps that the period is looked for in; the shortest period; an autocorrelation that is one.
_LONG, _SHORTEST, _CLEAR = 20_000, 4, 0.2


def _without_trend(x: np.ndarray) -> np.ndarray:
    t = np.arange(len(x)) - (len(x) - 1) / 2
    x = x - x.mean(0)
    return x - t[:, None] * (t @ x / (t @ t))
