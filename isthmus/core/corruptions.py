"""Corruptions: what is done to x before the encoder sees it. In training only.

References:
    Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, 2008.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.noises import Impulses, Jpeg, PoissonGaussian, Speckle, White
from isthmus.core.parts import Corrupted, Corruption, size
from isthmus.core.patches import grid_of, hide_some, patch_side, spread
from isthmus.core.self_supervised import BlindSpot, Neighbours
from isthmus.errors import SpecError


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

    hides = True

    def __init__(self, *, rate: float = 0.3):
        super().__init__()
        self.rate = _share(rate)

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        hidden = torch.rand_like(x) < self.rate
        return Corrupted(x.masked_fill(hidden, 0.0), hidden)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class Words(Corruption):
    """Every entry that is not zero is dropped with probability ``rate``, and the rest brought to the row's length.

    The encoder is not told: a word that is not there looks the same whether it was dropped or never written.

    References:
        Chen et al., Marginalized Denoising Autoencoders for Domain Adaptation, 2012 (dropping words of a bag).
    """

    def __init__(self, *, rate: float = 0.5):
        super().__init__()
        self.rate = _share(rate)

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        rows = x.flatten(1)
        at = rows.nonzero(as_tuple=True)  # few are: to draw for the others would take longer than the network
        kept = torch.rand(len(at[0]), device=x.device) >= self.rate
        left = torch.zeros_like(rows)
        left[at] = rows[at] * kept
        length = rows.norm(dim=1, keepdim=True) / left.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return Corrupted((left * length.clamp(max=1e6)).reshape(x.shape))

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class Patches(Corruption):
    """Square patches of ``patch`` pixels (blocks of time, of columns) are hidden, all channels of them together.

    Exactly as many in every row, so that an encoder which drops hidden patches has rows of one length.

    References:
        He et al., Masked Autoencoders Are Scalable Vision Learners, 2022, https://arxiv.org/abs/2111.06377
    """

    hides = True

    def __init__(self, *, rate: float = 0.75, patch: int | str = "auto"):
        super().__init__()
        patch_side(patch, (1, 1))
        self.rate, self.patch = _share(rate), patch

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        shape = tuple(x.shape[1:])
        patch = patch_side(self.patch, shape)
        drawn = hide_some(len(x), size(grid_of(shape, patch)), self.rate, x.device)
        hidden = spread(drawn, patch, shape)
        return Corrupted(x.masked_fill(hidden, 0.0), hidden)

    def extra_repr(self) -> str:
        return f"rate={self.rate}, patch={self.patch!r}"


class Spans(Corruption):
    """Spans of ``length`` steps of a series are hidden, all channels of them together: ``rate`` of the time.

    They lie anywhere and never upon each other, so that every row loses the same number of steps.

    References:
        Joshi et al., SpanBERT, 2020, https://arxiv.org/abs/1907.10529
    """

    hides = True

    def __init__(self, *, rate: float = 0.3, length: int | str = "auto"):
        super().__init__()
        if length != "auto" and not (isinstance(length, int) and length >= 1):
            raise ValueError(f"length is a whole number of at least 1 or 'auto', got {length!r}")
        self.rate, self.length = _share(rate), length

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        if x.ndim != 3:
            raise SpecError(
                f"The corruption 'spans' hides spans of time in rows (channels, time), got {tuple(x.shape[1:])}. "
                "Say 'patches' for images, 'masking' for columns."
            )
        steps = x.shape[2]
        # long enough that a span is not filled in by drawing a line across it
        length = max(1, steps // 16) if self.length == "auto" else min(int(self.length), steps)
        spans = max(1, min(round(self.rate * steps / length), steps // length))
        free = steps - spans * length
        # sorted places among the steps that stay; each span pushes the later ones on by its own length
        starts = torch.randint(free + 1, (len(x), spans), device=x.device).sort(1).values
        starts = starts + length * torch.arange(spans, device=x.device)
        inside = torch.arange(steps, device=x.device) - starts[..., None]
        hidden = ((inside >= 0) & (inside < length)).any(1)[:, None].expand_as(x)
        return Corrupted(x.masked_fill(hidden, 0.0), hidden)

    def extra_repr(self) -> str:
        return f"rate={self.rate}, length={self.length!r}"


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
    "blind_spot": BlindSpot,
    "gaussian": Gaussian,
    "identity": Identity,
    "impulses": Impulses,
    "jpeg": Jpeg,
    "masking": Masking,
    "neighbours": Neighbours,
    "patches": Patches,
    "poisson_gaussian": PoissonGaussian,
    "salt_and_pepper": SaltAndPepper,
    "spans": Spans,
    "speckle": Speckle,
    "swap": Swap,
    "white": White,
    "words": Words,
}
