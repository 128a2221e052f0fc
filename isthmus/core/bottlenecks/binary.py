r"""Binary bottleneck: every number of the code is a coin that the row has loaded.

.. math::
    z_j = 2 b_j - 1, \; b_j \sim \mathrm{Bernoulli}(p_j), \; p = \mathrm{sigmoid}(W h + b), \qquad
    \mathrm{rate} = \sum_j \log 2 - H(p_j)

The rate is the divergence from fair coins. The gradient of a coin is that of its mean 2p − 1.

References:
    Bengio, Léonard, Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013,
    https://arxiv.org/abs/1308.3432
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Bottleneck, Code, Shape


class Binary(Bottleneck):
    """``dim`` numbers that are −1 or 1: drawn in training, the likelier of the two at use."""

    rated = True

    def __init__(self, in_shape: Shape, dim: int, *, spatial: bool = False):
        super().__init__()
        self.code_shape = (dim, *in_shape[1:]) if spatial else (dim,)
        self.head = Head(in_shape, self.code_shape)

    def forward(self, h: Tensor) -> Code:
        logits = self.head(h)
        p = logits.sigmoid()
        entropy = F.softplus(logits) - logits * p  # −p log p − (1 − p) log(1 − p), without the logarithm of 0
        rates = (math.log(2) - entropy).clamp(min=0)
        # the likelier side alone at test time, so that scores repeat
        up = torch.rand_like(p) < p if self.training else logits > 0
        return Code(_through(p, up), rates.flatten(1).sum(1), {"logits": logits, "rates": rates})

    def mode(self, h: Tensor) -> Tensor:
        logits = self.head(h)
        return _through(logits.sigmoid(), logits > 0)

    def settled(self, z: Tensor) -> Tensor:
        return torch.where(z > 0, 1.0, -1.0).to(z)

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        # 2 sigmoid(2a) − 1 = tanh a is a itself where a is small
        self.head.start_linear(body, 2 * weight, 2 * bias)

    def extra_repr(self) -> str:
        return f"dim={self.code_shape[0]}"


def _through(p: Tensor, up: Tensor) -> Tensor:
    """Exactly −1 or 1, with the gradient of the mean."""
    mean = 2 * p - 1
    return torch.where(up, 1.0, -1.0).to(p) + (mean - mean.detach())
