r"""What noise pictures have, found without clean ones: its level, its likeness from pixel to pixel, its way with light.

.. math:: \hat\sigma = \mathrm{median}|HH| / 0.6745, \qquad
    \rho_k = \frac{\sum r_i r_{i+k}}{\sum r_i^2} \text{ on flat patches}, \qquad \sigma^2(m) \approx a\,m + b

HH is the finest diagonal band of a wavelet transform, in which pictures have little and noise has its share.

References:
    Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, 1994 (the median of the finest band).
    Foi, Trimeche, Katkovnik, Egiazarian, Practical Poissonian-Gaussian noise modeling, 2008 (variance and mean).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Daubechies' high-pass filter with two vanishing moments: planes and ramps leave nothing in it.
_HIGH = np.array([-0.48296291, 0.83651630, -0.22414387, -0.12940952])
#: A patch's side, the share of patches that count as flat, and the fewest of them.
_PATCH, _FLAT, _FEWEST = 16, 0.03, 12
#: From here on neighbours are alike; how many pixels are looked at; a level below which a picture counts as clean.
_ALIKE, _FURTHEST, _CLEAN = 0.15, 6, 0.008
#: Steps of a stretch of a signal.
_STRETCH = 32
#: The variance in the brightest tenth ÷ that in the darkest, from which on noise goes with light.
_GROWS = 2.0


@dataclass(frozen=True)
class Noise:
    """Levels in shares of the range. ``across`` and ``down`` are how many pixels along rows and columns noise is alike,
    ``alike`` how much the nearest ones are; ``grows`` the variance in light places ÷ that in dark ones, None where
    pictures have no such places; ``impulses`` the share of lone black or white pixels; ``blocks`` how much steeper the
    steps between JPEG's blocks are than others.
    """

    sigma: float
    alike: float
    across: int
    down: int
    grows: float | None
    impulses: float
    blocks: float

    @property
    def clean(self) -> bool:
        return self.sigma < _CLEAN and self.impulses < 0.005

    @property
    def independent(self) -> bool:
        """Whether a pixel's noise says nothing about its neighbours'."""
        return self.across == self.down == 0

    def words(self, unit: float = 255.0) -> list[str]:
        """What a person should know, a sentence a line; ``unit`` is what white is in the pictures' own numbers."""
        lines = [
            f"noise: a level of {self.sigma * unit:.3g} in the pictures' own numbers ({self.sigma:.1%} of the range)"
        ]
        if self.clean:
            lines[0] += ", so they are as good as clean"
        elif self.independent:
            lines.append("noise: independent from pixel to pixel")
        else:
            ways = [f"{n} pixel(s) along {what}" for n, what in ((self.across, "rows"), (self.down, "columns")) if n]
            lines.append(f"noise: alike over {' and '.join(ways)} (correlation {self.alike:.2f})")
        if not self.clean and self.grows is not None and self.grows >= _GROWS:
            lines.append(
                f"noise: its variance is {self.grows:.1f} times as large in light places as in dark ones, as that of "
                "photon noise and speckle"
            )
        if self.impulses >= 0.005:
            lines.append(f"noise: {self.impulses:.1%} of the pixels are lone black or white ones")
        if self.blocks >= 1.3:
            lines.append(f"noise: steps between blocks of 8 × 8 are {self.blocks:.1f} times as steep as others (JPEG)")
        return lines

    def to_json(self) -> dict[str, float | int | bool | None]:
        names = ("sigma", "alike", "across", "down", "grows", "impulses", "blocks", "clean")
        return {name: getattr(self, name) for name in names}


def level(picture: np.ndarray) -> float:
    """σ of white noise in one channel (h, w), by the median of the finest diagonal band; of a signal (1, time) by that
    of its finest band.
    """
    axes = [axis for axis, side in enumerate(picture.shape) if side > 1]
    if not axes or min(picture.shape[axis] for axis in axes) < len(_HIGH):
        return float(picture.std())
    band = picture.astype(np.float64)
    for axis in axes:
        band = _high_pass(band, axis)
    inside = band[np.abs(band) > 0]  # places without any noise at all are saturated, or painted
    return float(np.median(np.abs(inside)) / 0.6745) if inside.size > 0.1 * band.size else 0.0


def diagnose(pictures: Sequence[np.ndarray]) -> Noise:
    """The noise of pictures (h, w, c) in shares of their range: black is 0, white is 1. Signals are one pixel high."""
    if all(len(picture) == 1 for picture in pictures):
        return _diagnose_signals(pictures)
    channels = [picture[..., k] for picture in pictures for k in range(picture.shape[2])]
    sigma = float(np.median([level(c) for c in channels]))
    left = _flat_patches(channels)
    across, down, alike = 0, 0, 0.0
    if left is not None:
        # flat places have no fine texture that would be taken for noise
        fine = _high_pass(_high_pass(left, 1), 2)
        sigma = min(sigma, float(np.median(np.abs(fine)) / 0.6745))
        rows, columns = (_correlations(left, axis) for axis in (2, 1))
        across, down = _reach(rows), _reach(columns)
        alike = float(max(rows[0], columns[0]))
        if across or down:  # neighbours that are alike leave less in the finest band than they are worth
            sigma = float(np.sqrt(np.median(left.var(axis=(1, 2)))))
    return Noise(
        sigma=sigma,
        alike=alike,
        across=across,
        down=down,
        grows=_growth(channels),
        impulses=float(np.mean([_impulses(c) for c in channels])),
        blocks=float(np.median([_blocks(c) for c in channels])),
    )


def _diagnose_signals(signals: Sequence[np.ndarray]) -> Noise:
    """The same of signals (1, time, c): on their quietest stretches, less the line that fits each best."""
    channels = [signal[0, :, k].astype(np.float64) for signal in signals for k in range(signal.shape[2])]
    sigma = float(np.median([level(c[None]) for c in channels]))
    cut = [c[: len(c) // _STRETCH * _STRETCH].reshape(-1, _STRETCH) for c in channels]
    stretches = np.concatenate(cut)
    across, alike = 0, 0.0
    if len(stretches) >= 2 * _FEWEST:
        coarse = stretches.reshape(len(stretches), 4, -1).mean(2).var(1)
        n = max(_FEWEST, round(_FLAT * len(stretches)))
        quiet = stretches[np.argsort(coarse, kind="stable")[:n]]
        at = np.arange(_STRETCH) - (_STRETCH - 1) / 2
        quiet = quiet - quiet.mean(1, keepdims=True)
        left = quiet - (quiet @ at / (at**2).sum())[:, None] * at
        sigma = min(sigma, float(np.median(np.abs(_high_pass(left, 1))) / 0.6745))
        correlations = _correlations(left[:, None], 2)
        across, alike = _reach(correlations), float(correlations[0])
        if across:
            sigma = float(np.sqrt(np.median(left.var(axis=1))))
    return Noise(sigma=sigma, alike=alike, across=across, down=0, grows=None, impulses=0.0, blocks=1.0)


def _high_pass(picture: np.ndarray, axis: int) -> np.ndarray:
    n = picture.shape[axis] - len(_HIGH) + 1
    return sum(w * np.take(picture, range(i, i + n), axis) for i, w in enumerate(_HIGH))


def _patches(channel: np.ndarray) -> np.ndarray:
    """(n, side, side) patches side by side, without those that are saturated."""
    h, w = (side // _PATCH * _PATCH for side in channel.shape)
    cut = channel[:h, :w].astype(np.float64)
    found = cut.reshape(h // _PATCH, _PATCH, w // _PATCH, _PATCH).swapaxes(1, 2).reshape(-1, _PATCH, _PATCH)
    edge = (found <= 0.004) | (found >= 0.996)
    return found[edge.mean((1, 2)) < 0.02]


def _coarse(patches: np.ndarray) -> np.ndarray:
    """How much patches (n, side, side) change from quarter to quarter: the picture's share, nearly without noise."""
    means = patches.reshape(-1, 4, _PATCH // 4, 4, _PATCH // 4).mean((2, 4))
    return means.var((1, 2))


def _flat_patches(channels: Sequence[np.ndarray]) -> np.ndarray | None:
    """The flattest patches of all, less the plane that fits each best; None where there are too few to choose from."""
    found = [patches for c in channels if len(patches := _patches(c))]
    patches = np.concatenate(found) if found else np.zeros((0, _PATCH, _PATCH))
    if len(patches) < 2 * _FEWEST:
        return None
    n = max(_FEWEST, round(_FLAT * len(patches)))
    chosen = patches[np.argsort(_coarse(patches), kind="stable")[:n]]
    at = np.arange(_PATCH) - (_PATCH - 1) / 2
    rise = at / (_PATCH * (at**2).sum())
    chosen = chosen - chosen.mean((1, 2), keepdims=True)
    down = np.einsum("nij,i->n", chosen, rise)[:, None, None] * at[None, :, None]
    right = np.einsum("nij,j->n", chosen, rise)[:, None, None] * at[None, None, :]
    return chosen - down - right


def _correlations(left: np.ndarray, axis: int) -> list[float]:
    """ρ at 1, 2, … pixels along an axis."""
    whole = (left**2).mean()
    if whole <= 0:
        return [0.0] * _FURTHEST
    n = left.shape[axis]
    found = []
    for k in range(1, _FURTHEST + 1):
        a, b = np.take(left, range(n - k), axis), np.take(left, range(k, n), axis)
        found.append(float((a * b).mean() / whole))
    return found


def _reach(correlations: Sequence[float]) -> int:
    for k, rho in enumerate(correlations):
        if abs(rho) < _ALIKE:
            return k
    return len(correlations)


def _growth(channels: Sequence[np.ndarray]) -> float | None:
    """The noise's variance in the lightest quarter of flat places ÷ that in the darkest."""
    patches = [p for c in channels if len(p := _patches(c))]
    if not patches:
        return None
    found = np.concatenate(patches)
    found = found[np.argsort(_coarse(found), kind="stable")[: max(1, len(found) // 2)]]
    if len(found) < 4 * _FEWEST:
        return None
    fine = _high_pass(_high_pass(found, 1), 2)
    variance, mean = (np.median(np.abs(fine), axis=(1, 2)) / 0.6745) ** 2, found.mean((1, 2))
    order = np.argsort(mean, kind="stable")
    dark, light = (order[: len(order) // 4], order[-(len(order) // 4) :])
    if mean[light].mean() - mean[dark].mean() < 0.15:
        return None
    return float(np.median(variance[light]) / max(np.median(variance[dark]), 1e-12))


def _impulses(channel: np.ndarray) -> float:
    """The share of pixels at an end of the range that stand far from the median of those around them."""
    if min(channel.shape) < 3:
        return 0.0
    inner = channel[1:-1, 1:-1]
    h, w = inner.shape
    around = [channel[i : i + h, j : j + w] for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    middle = np.median(np.stack(around), axis=0)
    ends = (inner <= 0.004) | (inner >= 0.996)
    # a picture whose ends are everyday values has edges there, not impulses
    spread = np.median(np.abs(inner - middle))
    return float((ends & (np.abs(inner - middle) > max(0.2, 6 * spread))).mean())


def _blocks(channel: np.ndarray) -> float:
    """The mean step across every eighth line ÷ the mean of all others."""
    ratios = []
    for axis in (0, 1):
        steps = np.abs(np.diff(channel.astype(np.float64), axis=axis)).mean(1 - axis)
        at = np.arange(len(steps)) % 8 == 7
        if at.sum() >= 2 and steps[~at].mean() > 1e-4:
            ratios.append(steps[at].mean() / steps[~at].mean())
    return float(np.mean(ratios)) if ratios else 1.0
