"""Plain bottleneck: the code is a linear map of what the encoder found. The only constraint is its size.

.. math:: z = W h + b
"""

from __future__ import annotations

from torch import Tensor

from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Bottleneck, Code, Shape


class Plain(Bottleneck):
    """A code of ``dim`` numbers, or ``dim`` channels of a feature map with ``spatial``. Its rate is zero."""

    def __init__(self, in_shape: Shape, dim: int, *, spatial: bool = False):
        super().__init__()
        self.code_shape = (dim, *in_shape[1:]) if spatial else (dim,)
        self.head = Head(in_shape, self.code_shape)

    def forward(self, h: Tensor) -> Code:
        return Code(self.mode(h), h.new_zeros(len(h)))

    def mode(self, h: Tensor) -> Tensor:
        return self.head(h)

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        self.head.start_linear(body, weight, bias)

    def extra_repr(self) -> str:
        return f"dim={self.code_shape[0]}"
