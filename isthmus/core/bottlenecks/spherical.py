r"""Spherical bottleneck: of what the encoder found only the direction passes.

.. math:: z = a / \|a\|, \quad a = W h + b

References:
    Xu and Durrett, Spherical Latent Spaces for Stable Variational Autoencoders, 2018,
    https://arxiv.org/abs/1808.10805
"""

from __future__ import annotations

from torch import Tensor

from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Bottleneck, Code, Shape


class Spherical(Bottleneck):
    """Codes of length 1, for search by cosine. Nothing is random, there is no von Mises–Fisher noise: the rate is
    zero, as that of the plain bottleneck. Behind feature maps with ``spatial`` every position has length 1.
    """

    at_least = 2

    def __init__(self, in_shape: Shape, dim: int, *, spatial: bool = False):
        super().__init__()
        if dim < 2:
            raise ValueError(f"a sphere needs at least 2 numbers, and the code has {dim}; say latent_dim=2 or more")
        self.code_shape = (dim, *in_shape[1:]) if spatial else (dim,)
        self.head = Head(in_shape, self.code_shape)

    def forward(self, h: Tensor) -> Code:
        return Code(self.mode(h), h.new_zeros(len(h)))

    def mode(self, h: Tensor) -> Tensor:
        a = self.head(h)
        # the small number: nothing has no direction, and its gradient stays finite
        return a * (a.square().sum(1, keepdim=True) + 1e-12).rsqrt()

    def settled(self, z: Tensor) -> Tensor:
        return z * (z.square().sum(1, keepdim=True) + 1e-12).rsqrt()

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        self.head.start_linear(body, weight, bias)

    def extra_repr(self) -> str:
        return f"dim={self.code_shape[0]}"
