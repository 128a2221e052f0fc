"""The linear path: a map of the input beside whatever else a body does, so that a network can start at PCA.

.. math:: h = [\\mathrm{deep}(x), x], \\qquad \\text{head}(h) = V\\,\\mathrm{deep}(x) + W x
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Shape, options_of, size


def _told(body: Body) -> str:
    """The choices that made a body, for its repr."""
    options = {name: getattr(body, name) for name in options_of(type(body)) if hasattr(body, name)}
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


class PathEncoder(Body):
    """An encoder whose output, with ``linear_path``, is flat and ends with the row itself."""

    def __init__(self, out_shape: Shape, in_shape: Shape, linear_path: bool):
        super().__init__()
        self.out_shape, self.linear_path = out_shape, linear_path
        if linear_path:
            deep, n_in = size(out_shape), size(in_shape)
            self.out_shape, self.linear = (deep + n_in,), slice(deep, deep + n_in)

    def beside(self, h: Tensor, x: Tensor) -> Tensor:
        return h if self.linear is None else torch.cat([h.flatten(1), x.flatten(1)], dim=1)

    def extra_repr(self) -> str:
        return _told(self)


class PathDecoder(Body):
    """A decoder that ends, with ``linear_path``, with a linear map of the code, which can start at PCA.

    Where it gives a map, these are its last channels; where it gives a vector, the code itself, for the head to map.
    """

    def __init__(self, out_shape: Shape, in_shape: Shape, target_shape: Shape, linear_path: bool):
        super().__init__()
        self.out_shape, self.linear_path, self.path = out_shape, linear_path, None
        if linear_path:
            beside = size(in_shape) if len(out_shape) == 1 else target_shape[0]
            self.path = Head(in_shape, target_shape) if len(out_shape) > 1 else nn.Flatten()
            self.linear = slice(out_shape[0], out_shape[0] + beside)
            self.out_shape = (out_shape[0] + beside, *out_shape[1:])

    def beside(self, h: Tensor, z: Tensor) -> Tensor:
        return h if self.path is None else torch.cat([h, self.path(z)], dim=1)

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A path that is a layer holds the whole map, and the head behind it has to pass its channels on."""
        if not isinstance(self.path, Head):
            return weight, bias
        assert self.path.layer is not None
        self.path.layer.weight.copy_(weight)
        self.path.layer.bias.copy_(bias)
        channels = self.path.out_shape[0]
        return torch.eye(channels), torch.zeros(channels)

    def extra_repr(self) -> str:
        return _told(self)
