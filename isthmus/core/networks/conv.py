"""Convolutional bodies for any image size: every size follows from the input, none is a magic multiple.

The encoder halves height and width (rounding up) once per entry of ``widths``; the decoder walks the
same sizes back, so that 28 × 28, 31 × 17 and 1 × 5 all come out as they went in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from isthmus.core.networks.dense import Head
from isthmus.core.networks.path import PathDecoder, PathEncoder
from isthmus.core.parts import Shape

_MODULES = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


def _sizes(height: int, width: int, halvings: int) -> list[tuple[int, int]]:
    """The sizes from the image down.

    >>> _sizes(28, 17, 3)
    [(28, 17), (14, 9), (7, 5), (4, 3)]
    """
    sizes = [(height, width)]
    for _ in range(halvings):
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


def _check_image(shape: Shape) -> None:
    if len(shape) != 3:
        raise ValueError(f"convolutions need rows of shape (channels, height, width), got {shape}; use 'mlp' instead")


def _activation(name: str) -> nn.Module:
    if name not in _MODULES:
        raise ValueError(f"activation is one of {', '.join(_MODULES)}, got {name!r}")
    return _MODULES[name]()


def _auto_widths(height: int, width: int) -> list[int]:
    """Halve until the shorter side is 7 or less; channels double on the way.

    >>> _auto_widths(28, 28), _auto_widths(112, 92)
    ([16, 32], [16, 32, 64, 128])
    """
    halvings = max(1, math.ceil(math.log2(min(height, width) / 7))) if min(height, width) > 7 else 1
    return [min(16 << i, 256) for i in range(halvings)]


class ConvEncoder(PathEncoder):
    """Strided 3 × 3 convolutions, one per entry of ``widths``. With ``linear_path`` the output is flat and
    ends with the image itself, so that the head behind it can start at PCA.
    """

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        widths: Sequence[int] | str = "auto",
        activation: str = "gelu",
        linear_path: bool = False,
    ):
        _check_image(in_shape)
        channels, height, width = in_shape
        widths = [int(w) for w in (_auto_widths(height, width) if widths == "auto" else widths)]
        super().__init__((widths[-1], *_sizes(height, width, len(widths))[-1]), in_shape, linear_path)
        self.widths = widths
        stages: list[nn.Module] = []
        for wide in self.widths:
            stages += [nn.Conv2d(channels, wide, 3, stride=2, padding=1), _activation(activation)]
            channels = wide
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.beside(self.stages(x), x)


class ConvDecoder(PathDecoder):
    """From a code (a vector or a feature map) up to the image's size by transposed 4 × 4 convolutions.

    With ``linear_path`` the last channels are a linear map of the code, an image that can start at PCA.
    """

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        widths: Sequence[int] | str = "auto",
        activation: str = "gelu",
        linear_path: bool = False,
    ):
        _check_image(target_shape)
        _, height, width = target_shape
        widths = [int(w) for w in (_auto_widths(height, width)[::-1] if widths == "auto" else widths)]
        super().__init__((widths[-1], height, width), in_shape, target_shape, linear_path)
        self.widths, self.sizes = widths, _sizes(height, width, len(widths))[::-1]
        self.entry = Head(in_shape, (self.widths[0], *self.sizes[0]))
        self.activation = _activation(activation)
        # each step doubles the size, and an odd size is cut from the even one above it
        self.steps = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in pairwise([*self.widths, self.widths[-1]])
        )

    def forward(self, z: Tensor) -> Tensor:
        h = self.entry(z)
        for step, (height, width) in zip(self.steps, self.sizes[1:], strict=True):
            h = step(self.activation(h))[..., :height, :width]
        return self.beside(self.activation(h), z)
