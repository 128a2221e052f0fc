"""Plain bottleneck: the code is one layer on what the encoder found. The only constraint is its size.

.. math:: z = a(W h + b)

With a linear encoder and decoder this is the one-layer autoencoder, ``z = a(W x + b)``, whose squared Jacobian has
a closed form:

.. math:: \\|J\\|_F^2 = \\sum_j a'(W h + b)_j^2 \\sum_i W_{ji}^2

References:
    Rifai, Vincent, Muller, Glorot and Bengio, Contractive Auto-Encoders, 2011,
    https://icml.cc/2011/papers/455_icmlpaper.pdf
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.networks.dense import ACTIVATIONS, Head
from isthmus.core.parts import Body, Bottleneck, Code, Shape, one_of


class Plain(Bottleneck):
    """A code of ``dim`` numbers, or ``dim`` channels of a feature map with ``spatial``. Its rate is zero."""

    def __init__(self, in_shape: Shape, dim: int, *, activation: str = "identity", spatial: bool = False):
        super().__init__()
        self.activation = one_of("activation", activation, list(ACTIVATIONS))
        self.code_shape = (dim, *in_shape[1:]) if spatial else (dim,)
        self.head = Head(in_shape, self.code_shape)

    def forward(self, h: Tensor) -> Code:
        a = self.head(h)
        return Code(ACTIVATIONS[self.activation][0](a), h.new_zeros(len(h)), {"a": a})

    def mode(self, h: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation][0](self.head(h))

    def squared_jacobian(self, code: Code) -> Tensor | None:
        if self.head.layer is None or self.head.pointwise:
            return None
        with torch.enable_grad():  # on held-out rows too, where no gradient is kept
            a = code.aux["a"] if code.z.requires_grad else code.aux["a"].detach().requires_grad_()
            z = ACTIVATIONS[self.activation][0](a)
            (slope,) = torch.autograd.grad(z, a, torch.ones_like(z), create_graph=True)
        return slope.square() @ self.head.layer.weight.square().sum(1)

    @property
    def starts_linear(self) -> bool:
        return self.activation == "identity"

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        assert self.starts_linear
        self.head.start_linear(body, weight, bias)

    def extra_repr(self) -> str:
        return f"dim={self.code_shape[0]}, activation={self.activation!r}"
