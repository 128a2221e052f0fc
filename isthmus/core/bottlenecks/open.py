"""Open bottleneck: everything passes. For networks with skips, whose codes hold the row itself.

.. math:: z = h
"""

from __future__ import annotations

from torch import Tensor

from isthmus.core.parts import Bottleneck, Code, Shape


class Open(Bottleneck):
    """The code is what the encoder found, whatever its size: what has to be narrowed is the row's noise."""

    expansion = 1.0
    narrows = False

    def __init__(self, in_shape: Shape, dim: int):
        super().__init__()
        self.code_shape = tuple(in_shape)

    def forward(self, h: Tensor) -> Code:
        return Code(h, h.new_zeros(len(h)))

    def mode(self, h: Tensor) -> Tensor:
        return h
