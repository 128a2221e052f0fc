r"""Denoisers that learn nothing, and a way to measure any denoiser on noisy pictures alone.

.. math:: E\,\|f(y)_J - y_J\|^2 = E\,\|f(y)_J - x_J\|^2 + \sigma^2
    \quad \text{where } f(y)_J \text{ does not depend on } y_J

References:
    Buades, Coll, Morel, A non-local algorithm for image denoising, 2005.
    Chang, Yu, Vetterli, Adaptive wavelet thresholding for image denoising and compression, 2000 (BayesShrink).
    Coifman and Donoho, Translation-invariant de-noising, 1995.
    Batson and Royer, Noise2Self, 2019, https://arxiv.org/abs/1901.11365 (J-invariance)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.errors import FileError
from isthmus.tasks.denoising.noise import level

#: (pixels (h, w, c), black is 0 and white is 1) → the same without noise.
Denoiser = Callable[[np.ndarray], np.ndarray]

#: Hidden pixels lie on a grid of this step; so many of its places are tried.
_STEP, _PLACES = 4, 2


@dataclass(frozen=True)
class Method:
    """A classical denoiser with its strength, which calibration chooses; how far it looks, in pixels."""

    name: str
    strength: float
    reach: int = 32

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        return np.stack([_METHODS[self.name](picture[..., k], self.strength) for k in range(picture.shape[2])], axis=2)


def _nlm(channel: np.ndarray, strength: float) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    sigma = level(channel)
    if sigma <= 0 or min(channel.shape) < 8:
        return channel
    return denoise_nl_means(
        channel.astype(np.float32), patch_size=5, patch_distance=6, h=strength * sigma, sigma=sigma, fast_mode=True
    )


def _wavelet(channel: np.ndarray, strength: float) -> np.ndarray:
    sigma = level(channel)
    signal = len(channel) == 1
    if sigma <= 0 or min(channel.shape[signal:]) < 16:
        return channel
    if signal:
        return np.mean([np.roll(_shrunk(np.roll(channel[0], by), strength * sigma), -by) for by in _SHIFTS], 0)[None]
    # thresholds are not the same when a picture moves by a pixel: the mean over shifts has no such grid
    shifts = [(0, 0), (1, 2), (2, 1), (3, 3)]
    found = [
        np.roll(_shrunk(np.roll(channel, shift, (0, 1)), strength * sigma), (-shift[0], -shift[1]), (0, 1))
        for shift in shifts
    ]
    return np.mean(found, axis=0)


def _shrunk(channel: np.ndarray, sigma: float) -> np.ndarray:
    from skimage.restoration import denoise_wavelet

    return denoise_wavelet(
        channel.astype(np.float32), sigma=sigma, wavelet="sym4", method="BayesShrink", mode="soft", rescale_sigma=False
    )


#: Shifts of a signal, in steps.
_SHIFTS = (0, 1, 2, 3, 5, 7)


_METHODS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {"nlm": _nlm, "wavelet": _wavelet}
#: What they are called for people.
NAMES = {"nlm": "non-local means", "wavelet": "wavelet shrinkage"}
#: Strengths that calibration tries, as multiples of the noise level.
_STRENGTHS = {"nlm": (0.5, 0.7, 0.9), "wavelet": (0.8, 1.2, 1.7)}


def candidates(signals: bool = False) -> dict[str, list[Method]]:
    """Every classical method with every strength; none where scikit-image is not installed. Non-local means are of
    pictures.
    """
    try:
        import pywt  # noqa: F401
        import skimage.restoration  # noqa: F401
    except ImportError:
        return {}
    return {
        name: [Method(name, strength, _REACH if signals else 32) for strength in tried]
        for name, tried in _STRENGTHS.items()
        if not signals or name != "nlm"
    }


def named(name: str, strength: float, signals: bool = False) -> Method:
    """A method of a model file.

    Raises:
        FileError: scikit-image, which has it, is not installed.
    """
    if not candidates():
        raise FileError("The classical denoisers need scikit-image: pip install 'isthmus[denoise]'.")
    return Method(name, strength, _REACH if signals else 32)


def held_out_error(denoise: Denoiser, picture: np.ndarray) -> float:
    """The mean squared difference between what a denoiser says of hidden pixels and what these are: the error of
    the clean picture, plus the noise's variance, which is the same for every denoiser.

    Hidden pixels are replaced by the mean of the four that touch them, so that nothing of them is left.
    """
    axes = [axis for axis in (0, 1) if picture.shape[axis] > 1]  # a signal has neighbours along time alone
    beside = []
    for axis in axes:
        padded = np.pad(picture, [(int(axis == k), int(axis == k)) for k in range(3)], mode="reflect")
        n = picture.shape[axis]
        beside += [np.take(padded, range(n), axis), np.take(padded, range(2, n + 2), axis)]
    around = sum(beside) / max(len(beside), 1)
    total = count = 0.0
    for place in range(_PLACES):
        hidden = np.zeros(picture.shape[:2], bool)
        rows = place % _STEP if len(picture) > 1 else 0
        hidden[rows::_STEP, (2 * place + 1) % _STEP :: _STEP] = True
        given = np.where(hidden[..., None], around, picture)
        total += float(np.square(denoise(given)[hidden] - picture[hidden]).sum())
        count += hidden.sum() * picture.shape[2]
    return total / max(count, 1.0)


def squared_error(denoise: Denoiser, picture: np.ndarray, clean: np.ndarray) -> float:
    """The mean squared error against the clean picture."""
    found = denoise(picture)
    return float(np.square((found if len(picture) == 1 else np.clip(found, 0, 1)) - clean).mean())


#: How far a method looks along a signal, in steps.
_REACH = 256


def calibrated(
    pictures: Sequence[np.ndarray], error: Callable[[Denoiser, int], float]
) -> dict[str, tuple[Method, float]]:
    """Of every classical method the strength with the least mean ``error`` over pictures, and that error."""
    found = {}
    for name, tried in candidates(signals=all(len(picture) == 1 for picture in pictures)).items():
        errors = [float(np.mean([error(method, i) for i in range(len(pictures))])) for method in tried]
        best = int(np.argmin(errors))
        found[name] = (tried[best], errors[best])
    return found
