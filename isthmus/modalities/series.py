"""Series: windows of one or more channels over time, as ``(channels, time)``; rows may differ in length."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.errors import DataError, SpecError, unknown
from isthmus.modalities.array import as_matrix, cast, with_missing
from isthmus.modalities.base import Modality
from isthmus.modalities.scaling import HOWS, Scaling


class Series(Modality):
    """Windows of numbers that follow each other in time.

    Arguments:
        steps: The longest series; shorter ones end earlier, and what is behind their end is not observed.
        channels: Numbers per step.
        channel_axis: Whether rows came as ``(time, channels)`` and not as ``(time,)``.
        dtype: NumPy name of the raw numbers, which :meth:`from_tensors` gives back.
        scaling: State of the :class:`~isthmus.modalities.scaling.Scaling` of the channels.
        seen: What was noticed while fitting, for :meth:`describe`.
    """

    kind = "series"

    def __init__(
        self, steps: int, channels: int, channel_axis: bool, dtype: str, scaling: dict[str, Any], seen: list[str]
    ):
        self.steps, self.channels, self.channel_axis = steps, channels, channel_axis
        self.dtype = np.dtype(dtype)
        self.scaling = Scaling(**scaling)
        self.seen = list(seen)
        if len(self.scaling) != channels:
            raise SpecError(f"A series of {channels} channel(s) has a scaling of {len(self.scaling)}.")

    @classmethod
    def fit(cls, rows: Rows, *, scaling: str = "auto", steps: int | None = None) -> Self:
        """Learn the length and the scaling.

        Arguments:
            rows: An array ``(n, time)`` or ``(n, time, channels)``, a list of such rows of different
                lengths, or a table of numbers whose columns are the steps. NaN is missing.
            scaling: ``"auto"``, ``"none"``, ``"global"``, ``"standard"`` or ``"robust"``, over all steps of a
                channel; automatically standardised, through asinh where tails are heavy.
            steps: The longest that a series may be at use; by default the longest that there is.
        """
        if scaling not in HOWS:
            raise unknown("scaling", scaling, HOWS)
        windows = _windows(rows)
        axis, channels = windows[0].ndim == 2, windows[0].shape[-1] if windows[0].ndim == 2 else 1
        lengths = [len(window) for window in windows]
        cells = np.concatenate([window.reshape(-1, channels) for window in windows])
        if not np.isfinite(cells).any():
            raise DataError(f"{rows.origin} holds no value at all: every cell is missing or infinite.")
        longest = rows.longest or max(lengths)
        if steps is not None and not (isinstance(steps, int) and steps >= longest):
            raise SpecError(f"steps is a whole number of at least {longest}, the longest series here; got {steps!r}.")
        seen = []
        if min(lengths) < max(lengths):
            seen.append(f"They are {min(lengths)} to {max(lengths)} steps long; the network is told where each ends.")
        return cls(steps or longest, channels, axis, cells.dtype.name, Scaling.fit(cells, scaling).to_json(), seen)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.steps)

    @property
    def names(self) -> list[str]:
        return []

    def to_tensors(self, rows: Rows) -> dict[str, Tensor]:
        windows = _windows(rows)
        longest = max(len(window) for window in windows)
        if longest > self.steps:
            raise DataError(
                f"The series in {rows.origin} are up to {longest} steps long; this model was fitted on {self.steps}. "
                f"Cut them into windows of that length, or fit with the modality's option steps={longest}."
            )
        channels = windows[0].shape[-1] if windows[0].ndim == 2 else 1
        if channels != self.channels:
            raise DataError(f"{rows.origin} has {channels} channel(s); this model was fitted on {self.channels}.")
        x = np.full((len(windows), self.channels, self.steps), np.nan, np.float32)
        for window, place in zip(windows, x, strict=True):
            place[:, : len(window)] = self.scaling.forward(window.reshape(-1, self.channels)).T
        return with_missing(x)

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> np.ndarray | list[np.ndarray]:
        """``(n, time)`` or ``(n, time, channels)``; each as long as its row in ``like``, where that is given."""
        cells = x.detach().cpu().movedim(1, 2).reshape(-1, self.channels).numpy()
        raw = cast(self.scaling.inverse(cells), self.dtype).reshape(len(x), self.steps, self.channels)
        raw = raw if self.channel_axis else raw[..., 0]
        if like is None:
            return raw
        lengths = [len(window) for window in _windows(like)]
        if isinstance(like.data, list):
            return [row[:length] for row, length in zip(raw, lengths, strict=True)]
        return raw[:, : max(lengths, default=self.steps)]

    def parts(self) -> dict[str, Any]:
        return {"encoder": {"kind": "mlp"}, "decoder": {"kind": "mlp"}, "likelihood": {"kind": "gaussian"}}

    def describe(self) -> list[str]:
        many = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        scaled = f"Each channel was scaled by itself ({repr(self.scaling)[8:-1]})."
        return [f"Series of {many} over {self.steps} steps ({self.dtype}).", scaled, *self.seen]

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "channels": self.channels,
            "channel_axis": self.channel_axis,
            "dtype": self.dtype.name,
            "scaling": self.scaling.to_json(),
            "seen": self.seen,
        }

    def __repr__(self) -> str:
        return f"Series(steps={self.steps}, channels={self.channels}, dtype={self.dtype.name})"


def _windows(rows: Rows) -> np.ndarray | list[np.ndarray]:
    """Rows of ``(time,)`` or ``(time, channels)``, one after the other."""
    if rows.kind == "series":
        return rows.data
    array = as_matrix(rows)
    if array.ndim > 3:
        raise DataError(
            f"Series are an array (n, time) or (n, time, channels), or a list of such rows; {rows.origin} has shape "
            f"{array.shape}. Reshape it."
        )
    return array
