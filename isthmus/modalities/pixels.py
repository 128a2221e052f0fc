"""Pictures that keep their size: a network for pixels is trained on crops of them, and applied to them whole.

.. math:: x = (pixels - low) / (high - low), \\quad \\text{crops of } side \\times side
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.data.images import Page, in_dtype
from isthmus.data.rows import Rows
from isthmus.errors import DataError, SpecError
from isthmus.modalities.base import Modality, Symmetry

#: Side of a crop unless ``side`` says otherwise, and what it is a multiple of, so that networks may halve it.
SIDE, GRID = 64, 8
#: Crops of all pictures together may have so many numbers, and a crop is taken for every so many sides² of a picture.
MOST_NUMBERS, _EACH = 1 << 27, 0.25
#: Pictures that are looked at to learn their range.
_SAMPLE = 24


class Pixels(Modality):
    """Pictures of any size and 1 to N channels, of 8 or 16 bits or floats, never resized.

    Arguments:
        side: of the crops that a network is trained on.
        channels: of the network. Pictures of other channels go through a network of one channel by channel.
        dtype: NumPy name of the type that the pictures came in.
        low, high: The raw values that are 0 and 1 inside. Other values may be, too: nothing is cut off.
        seen: The choices made while fitting, for :meth:`describe`.
        turned: Are they learned lying on their side too? What is always in mirrors is.
    """

    kind = "pixels"
    grid, usual_side = GRID, SIDE

    def __init__(
        self, side: int, channels: int, dtype: str, low: float, high: float, seen: list[str], turned: bool = False
    ):
        self.side, self.channels, self.dtype = int(side), int(channels), np.dtype(dtype)
        self.low, self.high, self.seen, self.turned = float(low), float(high), list(seen), bool(turned)

    @classmethod
    def fit(cls, rows: Rows, *, side: int | str = "auto", channels: int | str = "auto", turned: bool = False) -> Self:
        """Choose the crops' side, the channels and the range.

        Arguments:
            rows: Pages of pictures (:func:`isthmus.data.images.open_pages`).
            side: A multiple of 8, or ``"auto"``: 64, or less where all pictures are smaller.
            channels: A number, or ``"auto"``: that of the pictures, and 1 where they differ.
            turned: Learn them lying on their side, too: not where the noise that they came with has a direction.
        """
        pages = _pages(rows)
        if side != "auto" and (not isinstance(side, int | np.integer) or side < GRID or side % GRID):
            raise SpecError(f"side is a multiple of {GRID} or 'auto', got {side!r}.")
        if channels != "auto" and (not isinstance(channels, int | np.integer) or channels < 1):
            raise SpecError(f"channels is a whole number of at least 1 or 'auto', got {channels!r}.")
        known, types = {page.shape[2] for page in pages}, {page.dtype for page in pages}
        seen = []
        if channels == "auto":
            channels = next(iter(known)) if len(known) == 1 else 1
            if len(known) > 1:
                seen.append("Pictures differ in their channels, so each channel is taken for a picture of its own.")
        if len(types) > 1:
            named = " and ".join(sorted(t.name for t in types))
            raise DataError(f"Pictures of {rows.origin} are {named}. Fit on those of one type; others may be used.")
        most = max(max(page.shape[:2]) for page in pages)
        side = min(SIDE, -(-most // GRID) * GRID) if side == "auto" else int(side)
        dtype = types.pop()
        some = [pages[i] for i in np.unique(np.linspace(0, len(pages) - 1, _SAMPLE).round().astype(int))]
        low, high = _range(some, dtype)
        return cls(side, int(channels), dtype.name, low, high, seen, turned)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.side, self.side)

    @property
    def names(self) -> list[str]:
        return []

    @property
    def symmetries(self) -> tuple[Symmetry, ...]:
        """Mirrors, and with ``turned`` the same of a picture that lies on its side."""
        return tuple(_Moved(*how) for how in product((False, True)[: 1 + self.turned], (False, True), (False, True)))

    def samples(self, rows: Rows) -> Rows:
        """Refused: at use a picture goes through the network whole, and no task on crops of it would say anything."""
        raise SpecError(
            "A model of pixels makes pictures of pictures, whatever their size, and no codes or scores: "
            "isthmus denoise MODEL PICTURES -o FOLDER, or isthmus compress, whichever it was fitted for. For those fit "
            "without --for."
        )

    def to_tensors(self, rows: Rows) -> dict[str, Tensor]:
        """Crops (n, channels, side, side) at random places, which depend on the pictures' sizes alone: those of rows
        and of their targets belong together.
        """
        pages = _pages(rows)
        counts = [max(1, round(page.shape[0] * page.shape[1] / (_EACH * self.side**2))) for page in pages]
        each = self._planes(pages[0])
        most = max(1, MOST_NUMBERS // (self.channels * self.side**2 * each))
        if sum(counts) > most:
            counts = [max(1, round(n * most / sum(counts))) for n in counts]
        counts = [1 if max(page.shape[:2]) <= self.side else n for page, n in zip(pages, counts, strict=True)]
        x = torch.empty(sum(n * self._planes(page) for n, page in zip(counts, pages, strict=True)), *self.shape)
        at = 0
        for i, (page, n) in enumerate(zip(pages, counts, strict=True)):
            for crop in self._crops(page, n, np.random.default_rng((i, *page.shape[:2]))):
                x[at] = crop
                at += 1
        return {"x": x}

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> np.ndarray:
        """(n, h, w) for one channel, else (n, h, w, c), in the raw type and range."""
        pictures = self.raw(x.detach().cpu().movedim(1, 3).numpy(), self.low, self.high)
        pictures = in_dtype(pictures, self.dtype)
        return pictures[..., 0] if self.channels == 1 else pictures

    def parts(self) -> dict[str, Any]:
        return {
            "encoder": {"kind": "conv"},
            "decoder": {"kind": "conv"},
            # one noise level: a place in a crop is no place in a picture
            "likelihood": {"kind": "gaussian", "per": "all"},
            "detector": {"kind": "likelihood"},
        }

    def describe(self) -> list[str]:
        colour = {1: "one channel", 3: "colour"}.get(self.channels, f"{self.channels} channels")
        return [
            f"Pictures keep their size and are learned from crops of {self.side} x {self.side}, {colour} "
            f"({self.dtype}); {self.low:g} to {self.high:g} became 0 to 1.",
            *self.seen,
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "side": self.side,
            "channels": self.channels,
            "dtype": self.dtype.name,
            "low": self.low,
            "high": self.high,
            "seen": self.seen,
            "turned": self.turned,
        }

    def __repr__(self) -> str:
        return f"Pixels(side={self.side}, channels={self.channels}, dtype={self.dtype.name})"

    def range_of(self, dtype: np.dtype) -> tuple[float, float]:
        """The raw values that are 0 and 1 in pictures of a type: the fitted ones, or all of another type."""
        if dtype == self.dtype:
            return self.low, self.high
        return (0.0, float(np.iinfo(dtype).max)) if dtype.kind in "iu" else (0.0, 1.0)

    @staticmethod
    def raw(x: np.ndarray, low: float, high: float) -> np.ndarray:
        """Numbers of the network as they are in the file, still floats."""
        return x * np.float32(high - low) + np.float32(low)

    def _planes(self, page: Page) -> int:
        """How often a page goes through the network: once, or once for each of its channels."""
        if page.shape[2] == self.channels:
            return 1
        if self.channels == 1:
            return page.shape[2]
        raise DataError(
            f"The pictures have {page.shape[2]} channel(s), and the model was fitted on {self.channels}. Bring such "
            "pictures, or fit with modality.channels=1, which takes each channel by itself."
        )

    def _crops(self, page: Page, n: int, generator: np.random.Generator) -> list[Tensor]:
        low, high = self.range_of(page.dtype)
        pixels, (height, width, _) = page.read(), page.shape
        found = []
        for _ in range(n):
            top = int(generator.integers(max(1, height - self.side + 1)))
            left = int(generator.integers(max(1, width - self.side + 1)))
            flips = [axis for axis in (0, 1) if generator.random() < 0.5]
            crop = pixels[top : top + self.side, left : left + self.side]
            short = [(0, self.side - have) for have in crop.shape[:2]]
            crop = np.flip(np.pad(crop, [*short, (0, 0)], mode="symmetric"), flips)
            scaled = (crop.astype(np.float32) - np.float32(low)) / np.float32(high - low)
            planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, 2, 0)))
            found += [planes] if len(planes) == self.channels else list(planes[:, None])
        return found


@dataclass(frozen=True)
class _Moved:
    """(B, C, h, w) with its axes changed and then mirrored. ``back`` undoes it."""

    turned: bool
    down: bool
    across: bool

    @property
    def _axes(self) -> list[int]:
        return [2] * self.down + [3] * self.across

    def __call__(self, x: Tensor) -> Tensor:
        return (x.transpose(2, 3) if self.turned else x).flip(self._axes)

    def back(self, x: Tensor) -> Tensor:
        x = x.flip(self._axes)
        return x.transpose(2, 3) if self.turned else x


def _pages(rows: Rows) -> list[Page]:
    if rows.of_one_length().kind != "pixels":
        raise DataError(
            f"{rows.origin} holds rows of kind {rows.kind!r}, and pictures that keep their size are opened as such: "
            "open_rows(source, kind='pixels')."
        )
    return rows.data


def _range(pages: list[Page], dtype: np.dtype) -> tuple[float, float]:
    """What is 0 and what is 1: all of eight bits, and of wider types nearly what the pictures use."""
    if dtype == np.uint8:
        return 0.0, 255.0
    some = np.concatenate([page.read()[::4, ::4].ravel() for page in pages]).astype(np.float64)
    some = some[np.isfinite(some)]
    if not len(some):
        raise DataError("The pictures hold no finite number.")
    low, high = np.quantile(some, (0.001, 0.999))
    low = 0.0 if dtype.kind == "u" else float(low)
    return low, float(high) if high > low else low + 1.0
