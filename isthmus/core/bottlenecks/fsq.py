r"""Finite scalar quantisation: every number of the code takes one of a few values.

.. math:: z = \mathrm{round}\left(\tfrac{L-1}{2} \tanh(W h + b)\right) \Big/ \tfrac{L-1}{2}

with a shift of one half for even L, and the gradient passed straight through the rounding.

References:
    Mentzer et al., Finite Scalar Quantization: VQ-VAE Made Simple, 2023, https://arxiv.org/abs/2309.15505
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Bottleneck, Code, Shape


class FSQ(Bottleneck):
    """``dim`` numbers of ``levels`` evenly spaced values in [-1, 1]. The rate is that of an even code, dim · log L."""

    rated = True

    def __init__(self, in_shape: Shape, dim: int, *, levels: int = 8, spatial: bool = False):
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels is at least 2, got {levels}")
        self.levels = levels
        self.code_shape = (dim, *in_shape[1:]) if spatial else (dim,)
        self.head = Head(in_shape, self.code_shape)

    def forward(self, h: Tensor) -> Code:
        z = self.mode(h)
        return Code(z, z.new_full((len(z),), z[0].numel() * math.log(self.levels)))

    def mode(self, h: Tensor) -> Tensor:
        half = (self.levels - 1) / 2
        shift = 0.0 if self.levels % 2 else 0.5
        a = half * torch.tanh(self.head(h))
        # an even number of levels lies at …, -½, ½, …; the small margin keeps the ends from rounding outwards
        rounded = (a.clamp(-half + 1e-3, half - 1e-3) - shift).round() + shift
        return (a + (rounded - a).detach()) / half

    def settled(self, z: Tensor) -> Tensor:
        half = (self.levels - 1) / 2
        shift = 0.0 if self.levels % 2 else 0.5
        return ((z * half - shift).round() + shift).clamp(-half, half) / half

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        # a whitened score of ± 2 deviations fills the levels without saturating
        self.head.start_linear(body, weight / 2, bias / 2)

    def extra_repr(self) -> str:
        return f"dim={self.code_shape[0]}, levels={self.levels}"
