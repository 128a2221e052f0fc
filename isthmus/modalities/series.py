"""Series: windows of one or more channels over time, as ``(channels, time)``; rows may differ in length.

A long recording is cut into windows that overlap, and what comes back is per stamp (``recording.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.errors import DataError, SpecError, unknown
from isthmus.modalities.array import as_matrix, cast, with_missing
from isthmus.modalities.base import Modality
from isthmus.modalities.recording import Layout
from isthmus.modalities.scaling import HOWS, Scaling

#: A window that varies less than this, in deviations of its channel, is not stretched further.
_FLAT = 1e-3
#: Numbers that are scaled at once.
_AT_ONCE = 1 << 22


class Series(Modality):
    """Windows of numbers that follow each other in time.

    Arguments:
        steps: The longest series; shorter ones end earlier, and what is behind their end is not observed.
        channels: Numbers per step.
        channel_axis: Whether rows came as ``(time, channels)`` and not as ``(time,)``.
        dtype: NumPy name of the raw numbers, which :meth:`from_tensors` gives back.
        scaling: State of the :class:`~isthmus.modalities.scaling.Scaling` of the channels.
        seen: What was noticed while fitting, for :meth:`describe`.
        layout: State of the :class:`~isthmus.modalities.recording.Layout` of recordings; None where rows are windows.
        detrend: Whether each window loses its own straight line, channel by channel.
        normalise: Whether each window is brought to mean 0 and deviation 1, channel by channel.
    """

    kind = "series"

    def __init__(
        self,
        steps: int,
        channels: int,
        channel_axis: bool,
        dtype: str,
        scaling: dict[str, Any],
        seen: list[str],
        layout: dict[str, Any] | None = None,
        detrend: bool = False,
        normalise: bool = False,
    ):
        self.steps, self.channels, self.channel_axis = steps, channels, channel_axis
        self.dtype = np.dtype(dtype)
        self.scaling = Scaling(**scaling)
        self.seen = list(seen)
        self.layout = None if layout is None else Layout(**layout)
        self.detrend, self.normalise = detrend, normalise
        if len(self.scaling) != channels:
            raise SpecError(f"A series of {channels} channel(s) has a scaling of {len(self.scaling)}.")

    @classmethod
    def fit(
        cls,
        rows: Rows,
        *,
        scaling: str = "standard",
        steps: int | None = None,
        time: str | None = None,
        series_id: str | None = None,
        window: int | str | None = None,
        stride: int | str | None = None,
        kinds: Mapping[str, str] | None = None,
        detrend: bool = False,
        normalise: bool = False,
        layout: Layout | None = None,
    ) -> Self:
        """Learn the length and the scaling.

        Arguments:
            rows: Windows: an array ``(n, time)`` or ``(n, time, channels)``, a list of such rows of different
                lengths, or a table of numbers whose columns are the steps. Or recordings: a table with a column of
                time, files, or any of the above where ``window`` or ``stride`` is said: an array is then one long
                ``(time, channels)``. NaN is missing.
            scaling: ``"standard"``, ``"none"``, ``"global"``, ``"robust"`` or ``"auto"`` (standardised, through asinh
                where tails are heavy), over all steps of a channel. What is strange in a series is often a peak, and
                asinh would flatten it: on 23 labelled series average precision 46 with it, 48 without.
            steps: The longest that a series may be at use; by default the longest that there is.
            time: The column of stamps; by default the only one of such a type.
            series_id: The column that tells several series in one table apart.
            window: Steps of a window, or ``"auto"``: from the period.
            stride: Steps between windows, or ``"auto"``.
            kinds: Columns that are to be left out: ``{"note": "ignore"}``.
            detrend, normalise: Take each window's own line, and its level and spread, off: for series whose level
                says nothing. By default they stay, because a strange level is most of what there is to find.
            layout: What the rows were cut by, where they are windows of recordings already.
        """
        if scaling not in HOWS:
            raise unknown("scaling", scaling, HOWS)
        if rows.kind != "windows":
            layout = Layout.fit(rows, time=time, series_id=series_id, window=window, stride=stride, kinds=kinds)
            rows = rows if layout is None else layout.cut(rows)
        # windows of recordings are of one form
        windows = np.asarray(rows.data[:1]) if rows.kind == "windows" else _windows(rows)
        axis, channels = windows[0].ndim == 2, windows[0].shape[-1] if windows[0].ndim == 2 else 1
        lengths = [len(window) for window in windows]
        # of a recording every step counts once, however many windows hold it
        cells = (
            rows.data.steps() if rows.kind == "windows" else np.concatenate([w.reshape(-1, channels) for w in windows])
        )
        if not np.isfinite(cells).any():
            raise DataError(f"{rows.origin} holds no value at all: every cell is missing or infinite.")
        longest = rows.longest or max(lengths)
        if steps is not None and not (isinstance(steps, int) and steps >= longest):
            raise SpecError(f"steps is a whole number of at least {longest}, the longest series here; got {steps!r}.")
        seen = []
        if min(lengths) < max(lengths):
            seen.append(f"They are {min(lengths)} to {max(lengths)} steps long; the network is told where each ends.")
        dtype = cells.dtype.name if layout is None else layout.dtype
        scales = Scaling.fit(cells, scaling).to_json()
        described = None if layout is None else layout.to_json()
        return cls(steps or longest, channels, axis, dtype, scales, seen, described, detrend, normalise)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.steps)

    @property
    def names(self) -> list[str]:
        return []

    @property
    def looks_at(self) -> list[str]:
        return [] if self.layout is None else list(self.layout.channels or [])

    def samples(self, rows: Rows) -> Rows:
        if self.layout is None or rows.kind == "windows":
            return rows
        return self.layout.cut(rows.in_memory("This needs"))

    @property
    def alike(self) -> float:
        return 1.0 if self.layout is None else self.layout.window / self.layout.stride

    def to_tensors(self, rows: Rows) -> dict[str, Tensor]:
        x = self._scaled(self.samples(rows))
        if self.detrend or self.normalise:
            x -= self._level(x)
            x /= self._spread(x)
        tensors = with_missing(x)
        if self.layout is not None and "observed" in tensors:
            # a network that never saw a gap makes more of a straight line than of a fall to zero
            tensors["x"] = torch.from_numpy(_bridged(tensors["x"].numpy(), tensors["observed"].numpy()))
        return tensors

    def _scaled(self, rows: Rows) -> np.ndarray:
        """(n, channels, steps), NaN where nothing is."""
        # windows of recordings are cut some at a time, since they overlap
        windows = rows.data if rows.kind == "windows" else _windows(rows)
        one = np.asarray(windows[:1])[0] if rows.kind == "windows" else windows[0]
        longest = len(one) if rows.kind == "windows" else max(len(window) for window in windows)
        if longest > self.steps:
            raise DataError(
                f"The series in {rows.origin} are up to {longest} steps long; this model was fitted on {self.steps}. "
                f"Cut them into windows of that length, or fit with the modality's option steps={longest}, or fit on "
                "recordings: window=… (--window) cuts them by itself."
            )
        channels = one.shape[-1] if one.ndim == 2 else 1
        if channels != self.channels:
            raise DataError(f"{rows.origin} has {channels} channel(s); this model was fitted on {self.channels}.")
        x = np.full((len(windows), self.channels, self.steps), np.nan, np.float32)
        if not isinstance(windows, list):
            step = max(1, _AT_ONCE // (longest * channels))
            for at in range(0, len(windows), step):
                some = np.asarray(windows[at : at + step])
                cells = self.scaling.forward(some.reshape(-1, channels)).reshape(len(some), longest, channels)
                x[at : at + step, :, :longest] = cells.swapaxes(1, 2)
            return x
        for window, place in zip(windows, x, strict=True):
            place[:, : len(window)] = self.scaling.forward(window.reshape(-1, self.channels)).T
        return x

    def _level(self, x: np.ndarray) -> np.ndarray:
        """Each window's own mean, or its own line, like x."""
        there = np.isfinite(x)
        n = there.sum(2, keepdims=True).clip(min=1)
        t = np.where(there, np.arange(self.steps, dtype=np.float32), 0)
        t -= t.sum(2, keepdims=True) / n
        values = np.where(there, x, 0)
        mean = values.sum(2, keepdims=True) / n
        if not self.detrend:
            return mean
        along = np.where(there, t, 0)
        slope = (along * values).sum(2, keepdims=True) / np.square(along).sum(2, keepdims=True).clip(min=1e-6)
        return mean + slope * t

    def _spread(self, x: np.ndarray) -> np.ndarray:
        """Each window's own deviation, (n, channels, 1), of what is around zero already."""
        if not self.normalise:
            return np.ones((*x.shape[:2], 1), np.float32)
        there = np.isfinite(x)
        n = there.sum(2, keepdims=True).clip(min=1)
        return np.sqrt(np.square(np.where(there, x, 0)).sum(2, keepdims=True) / n).clip(min=_FLAT)

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> Any:
        """``(n, time)`` or ``(n, time, channels)``; each as long as its row in ``like``, where that is given.

        Where ``like`` are recordings, windows become recordings in that form, the mean of windows where they overlap.
        """
        found = x.detach().cpu().numpy()
        windows = None if like is None else self.samples(like)
        if windows is not None and (self.detrend or self.normalise):
            scaled = self._scaled(windows)
            level = self._level(scaled)
            found = found * self._spread(scaled - level) + level
        if windows is not None and windows.kind == "windows":
            assert self.layout is not None
            steps = windows.data.join(found.swapaxes(1, 2))
            values = windows.data.recorded.at_rows(self.scaling.inverse(piece) for piece in steps)
            return values if like is windows else self.layout.give_back(like, values, lambda v: cast(v, self.dtype))
        cells = found.swapaxes(1, 2).reshape(-1, self.channels)
        raw = cast(self.scaling.inverse(cells), self.dtype).reshape(len(x), self.steps, self.channels)
        raw = raw if self.channel_axis else raw[..., 0]
        if like is None:
            return raw
        lengths = [len(window) for window in _windows(like)]
        if isinstance(like.data, list):
            return [row[:length] for row, length in zip(raw, lengths, strict=True)]
        return raw[:, : max(lengths, default=self.steps)]

    def parts(self) -> dict[str, Any]:
        # one noise level for all steps of a channel: on heart beats AUROC 0.996, and 0.992 with one for every step
        likelihood = {"kind": "gaussian", "per": "channel"}
        return {"encoder": {"kind": "mlp"}, "decoder": {"kind": "mlp"}, "likelihood": likelihood}

    def describe(self) -> list[str]:
        many = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        said = [f"Series of {many} over {self.steps} steps ({self.dtype})."]
        said += [] if self.layout is None else self.layout.describe()
        said.append(f"Each channel was scaled by itself ({repr(self.scaling)[8:-1]}).")
        own = " and ".join(["its own line"] * self.detrend + ["its own level and spread"] * self.normalise)
        return said + ([f"Every window lost {own}."] if own else []) + self.seen

    def remarks(self, rows: Rows) -> list[str]:
        # of recordings that are read in stretches the grid tells them
        if self.layout is None or rows.kind in ("places", "windows"):
            return []
        return [remark for remark in self.layout.cut(rows).remarks if remark not in rows.remarks]

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "channels": self.channels,
            "channel_axis": self.channel_axis,
            "dtype": self.dtype.name,
            "scaling": self.scaling.to_json(),
            "seen": self.seen,
            "layout": None if self.layout is None else self.layout.to_json(),
            "detrend": self.detrend,
            "normalise": self.normalise,
        }

    def __repr__(self) -> str:
        return f"Series(steps={self.steps}, channels={self.channels}, dtype={self.dtype.name})"


def _windows(rows: Rows) -> np.ndarray | list[np.ndarray]:
    """Rows of ``(time,)`` or ``(time, channels)``, one after the other."""
    if rows.kind == "series":
        return rows.data
    if rows.kind == "windows":
        return np.asarray(rows.data)
    if rows.kind == "recordings":
        raise DataError(f"{rows.origin} are recordings; this model was fitted on windows, one a row.")
    array = as_matrix(rows)
    if array.ndim > 3:
        raise DataError(
            f"Series are an array (n, time) or (n, time, channels), or a list of such rows; {rows.origin} has shape "
            f"{array.shape}. Reshape it."
        )
    return array


def _bridged(x: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Values (n, channels, steps) with a straight line over every gap; before the first and after the last, these."""
    steps = np.arange(x.shape[2])
    before = np.maximum.accumulate(np.where(there, steps, -1), axis=2)
    after = np.minimum.accumulate(np.where(there, steps, len(steps))[..., ::-1], axis=2)[..., ::-1]
    none = (before < 0) & (after == len(steps))
    before, after = np.where(before < 0, after, before), np.where(after == len(steps), before, after)
    before, after = (np.where(none, 0, one) for one in (before, after))
    low, high = (np.take_along_axis(x, one, axis=2) for one in (before, after))
    share = (steps - before) / np.maximum(after - before, 1)
    return np.where(there, x, np.where(none, 0, low + share * (high - low))).astype(x.dtype)
