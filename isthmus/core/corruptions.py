"""Corruptions: what is done to x before the encoder sees it. In training only.

References:
    Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, 2008.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.parts import Corrupted, Corruption


class Identity(Corruption):
    """Nothing."""

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        return Corrupted(x)


class Gaussian(Corruption):
    """x̃ = x + σ s ε with ε ~ N(0, I) and s the standard deviation of the batch, over all its entries.

    So ``sigma`` is noise to signal, and means the same for pixels of a narrow range as for standardised columns.
    """

    def __init__(self, *, sigma: float = 0.3):
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"sigma is above 0, got {sigma}")
        self.sigma = sigma

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        return Corrupted(x + self.sigma * x.std(correction=0) * torch.randn_like(x))

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"


class Masking(Corruption):
    """Every entry is hidden with probability ``rate``: it becomes 0 and the encoder is told."""

    def __init__(self, *, rate: float = 0.3):
        super().__init__()
        self.rate = _share(rate)

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        hidden = torch.rand_like(x) < self.rate
        return Corrupted(x.masked_fill(hidden, 0.0), hidden)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class SaltAndPepper(Corruption):
    """Every entry becomes the lowest or the highest value of its batch with probability ``rate``."""

    def __init__(self, *, rate: float = 0.1):
        super().__init__()
        self.rate = _share(rate)

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        drawn = torch.rand_like(x)
        x = torch.where(drawn < self.rate / 2, x.min(), x)
        return Corrupted(torch.where(drawn > 1 - self.rate / 2, x.max(), x))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class Swap(Corruption):
    """Every entry is replaced, with probability ``rate``, by the same column's entry of another row: noise that is
    always a plausible value, also of a category. What was missing stays missing.
    """

    def __init__(self, *, rate: float = 0.15):
        super().__init__()
        self.rate = _share(rate)

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        # each entry takes a row of its own, so that no second row shows through
        rows = torch.randint(len(x), x.shape, device=x.device)
        swapped = torch.rand_like(x) < self.rate
        if observed is not None:
            swapped &= observed & observed.gather(0, rows)
        return Corrupted(torch.where(swapped, x.gather(0, rows), x))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def _share(rate: float) -> float:
    if not 0 < rate < 1:
        raise ValueError(f"rate is in (0, 1), got {rate}")
    return rate


CORRUPTIONS: dict[str, type[Corruption]] = {
    "gaussian": Gaussian,
    "identity": Identity,
    "masking": Masking,
    "salt_and_pepper": SaltAndPepper,
    "swap": Swap,
}
