r"""What a network takes for noise: shown a clean row, it should find none.

.. math:: s(x) = \log \frac{1}{F} \sum_j \frac{g(x)_j^2}{\sigma_j^2}, \qquad
    g = \arg\min E \, \| g(x + \sigma \epsilon) - \epsilon \|^2

References:
    Vincent, A Connection Between Score Matching and Denoising Autoencoders, 2011.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.detectors.taught import Taught
from isthmus.core.parts import Shape


class Denoising(Taught):
    """``sigma`` is the noise of the training, in deviations of each column."""

    def __init__(
        self,
        shape: Shape,
        features_shape: Shape,
        *,
        sigma: float = 0.5,
        members: int = 4,
        width: int = 128,
        bag: float = 0.6,
        steps: int = 1500,
    ):
        super().__init__(shape, features_shape, 1, members, width, bag, steps)
        if not sigma > 0:
            raise ValueError(f"sigma is above 0, got {sigma}")
        self.sigma = sigma

    def errors(self, x: Tensor, there: Tensor | None) -> Tensor:
        noise = torch.randn(self.members, *x.shape, device=x.device)
        errors = (self.nets(x + self.sigma * noise) - noise).square()
        return errors if there is None else errors * there

    def looked(self, x: Tensor, there: Tensor | None) -> Tensor:
        found = self.nets(x.expand(self.members, *x.shape)).square()
        return found if there is None else found * there

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}, {super().extra_repr()}"
