r"""Noises of cameras, sensors and files: what is added to clean pictures so that a network learns to take it off again.

.. math:: \tilde x = x + \sigma \varepsilon, \quad
    x + \sqrt{x / N + \sigma^2}\,\varepsilon, \quad
    x\,(1 + \sigma \varepsilon), \quad
    \mathrm{JPEG}_q(x), \qquad \sigma \sim U(low, high) \text{ anew for every row}

A level that is drawn for every row teaches a network that is blind to it: it works from the picture alone. Levels are
in units of x, in which black is 0 and white is 1.

References:
    Foi, Trimeche, Katkovnik, Egiazarian, Practical Poissonian-Gaussian noise modeling and fitting for single-image
    raw-data, 2008.
    Zhang, Zuo, Chen, Meng, Zhang, Beyond a Gaussian Denoiser (DnCNN), 2017, https://arxiv.org/abs/1608.03981 (blind)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isthmus.core.parts import Corrupted, Corruption
from isthmus.errors import SpecError


class _Level(Corruption):
    """A noise whose level is drawn for every row, evenly between ``low`` and ``high``."""

    most: float = math.inf

    def __init__(self, *, low: float, high: float):
        super().__init__()
        if not 0 <= low <= high or not 0 < high <= self.most:
            raise ValueError(f"levels go from low to high, 0 ≤ low ≤ high ≤ {self.most:g}, got {low} and {high}")
        self.low, self.high = low, high

    def drawn(self, x: Tensor) -> Tensor:
        """A level for every row, (B, 1, …)."""
        at = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype)
        return self.low + (self.high - self.low) * at

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}"


class White(_Level):
    """Gaussian noise, independent in every entry: x + σ ε. A fixed σ is one from ``low`` to the same ``high``."""

    def __init__(self, *, low: float = 0.0, high: float = 0.2):
        super().__init__(low=low, high=high)

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        return Corrupted(x + self.drawn(x) * torch.randn_like(x))


class PoissonGaussian(_Level):
    """Photon noise and read-out noise: the variance is x ÷ photons + sigma². The level is 1 ÷ √photons, the deviation
    that photon noise has at white.
    """

    def __init__(self, *, low: float = 0.02, high: float = 0.25, sigma: float = 0.01):
        super().__init__(low=low, high=high)
        self.sigma = sigma

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        variance = self.drawn(x).square() * x.clamp(min=0) + self.sigma**2
        return Corrupted(x + variance.sqrt() * torch.randn_like(x))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, sigma={self.sigma}"


class Speckle(_Level):
    """Noise in proportion to the signal, as of radar and ultrasound: x (1 + σ ε)."""

    def __init__(self, *, low: float = 0.02, high: float = 0.4):
        super().__init__(low=low, high=high)

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        return Corrupted(x * (1 + self.drawn(x) * torch.randn_like(x)))


class Impulses(_Level):
    """Entries are lost, a share of them between ``low`` and ``high``: to white with probability ``white``, else to
    black.
    """

    most = 1.0

    def __init__(self, *, low: float = 0.01, high: float = 0.3, white: float = 0.5):
        super().__init__(low=low, high=high)
        self.white = white

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        lost = torch.rand_like(x) < self.drawn(x)
        return Corrupted(torch.where(lost, (torch.rand_like(x) < self.white).to(x), x))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, white={self.white}"


#: The luminance table of JPEG's annex K, for quality 50.
_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


class Jpeg(_Level):
    """What JPEG does to pictures: the cosine transform of every 8 × 8 block, rounded. The level is the quality, 1 to
    100; every channel is taken for brightness.

    References:
        ITU-T T.81, 1992.
    """

    most = 100.0

    def __init__(self, *, low: float = 10.0, high: float = 60.0):
        super().__init__(low=low, high=high)
        at = torch.arange(8, dtype=torch.float64)
        cosines = torch.cos(math.pi * (2 * at[None] + 1) * at[:, None] / 16) / 2
        cosines[0] /= math.sqrt(2)
        self.register_buffer("cosines", cosines.float(), persistent=False)
        self.register_buffer("table", torch.tensor(_TABLE, dtype=torch.float32).reshape(8, 8), persistent=False)

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        if x.ndim != 4 or x.shape[2] % 8 or x.shape[3] % 8:
            raise SpecError(
                f"The corruption 'jpeg' needs pictures whose sides are multiples of 8, got rows {tuple(x.shape[1:])}."
            )
        quality = self.drawn(x).clamp(min=1)
        scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)[..., None, None]
        steps = (self.table.to(x) * scale + 0.5).floor().clamp(1, 255) / 255  # halves go up, as in every encoder
        cosines = self.cosines.to(x)
        blocks = x.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4) - 0.5
        rounded = ((cosines @ blocks @ cosines.T) / steps).round() * steps
        back = (cosines.T @ rounded @ cosines + 0.5).transpose(3, 4).flatten(4, 5).flatten(2, 3)
        return Corrupted(back.clamp(0, 1))
