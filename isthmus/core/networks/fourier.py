r"""Waves: a decoder for codes of two or three numbers, which sees them at many frequencies.

.. math:: h = \mathrm{mlp}([\cos B z, \sin B z]), \quad B_{ij} \sim N(0, s^2 \cdot 2 / d)

A dense network turns a place on a map into a row only slowly: what it makes of near places is nearly the same. Waves of
the place make the same network learn fine detail as fast as coarse.

References:
    Tancik et al., Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains, 2020,
    https://arxiv.org/abs/2006.10739
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from isthmus.core.networks.dense import ACTIVATIONS, chain
from isthmus.core.parts import Body, Shape, one_of, size


class Fourier(Body):
    """``waves`` of a code, up to about ``scale`` radians a unit, and dense layers behind them."""

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        waves: int = 64,
        scale: float = 3.0,
        widths: Sequence[int] = (128, 128),
        activation: str = "gelu",
    ):
        super().__init__()
        one_of("activation", activation, list(ACTIVATIONS))
        self.widths, self.activation, self.scale = [int(w) for w in widths], activation, scale
        if not self.widths or min(self.widths) < 1 or waves < 1 or not scale > 0:
            raise ValueError(f"waves, scale and widths are above 0, got {waves}, {scale} and {list(widths)}")
        n_in = size(in_shape)
        self.register_buffer("frequencies", torch.randn(n_in, waves) * scale * (2 / n_in) ** 0.5)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([2 * waves, *self.widths]))
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"))
            nn.init.zeros_(layer.bias)
        self.out_shape = (self.widths[-1],)

    def forward(self, x: Tensor) -> Tensor:
        angles = x.flatten(1) @ self.frequencies
        return chain(torch.cat([angles.cos(), angles.sin()], dim=1), list(self.layers), self.activation)

    def extra_repr(self) -> str:
        return (
            f"waves={self.frequencies.shape[1]}, scale={self.scale:g}, widths={self.widths}, "
            f"activation={self.activation!r}"
        )
