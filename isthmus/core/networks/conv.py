"""Convolutional bodies for any image size: every size follows from the input, none is a magic multiple.

The encoder halves height and width (rounding up) once per entry of ``widths``; the decoder walks the
same sizes back, so that 28 × 28, 31 × 17 and 1 × 5 all come out as they went in.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Shape

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


class ConvEncoder(Body):
    """Strided 3 × 3 convolutions, one per entry of ``widths``."""

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        widths: Sequence[int] = (32, 64, 128),
        activation: str = "silu",
    ):
        super().__init__()
        _check_image(in_shape)
        channels, height, width = in_shape
        self.widths = [int(w) for w in widths]
        stages: list[nn.Module] = []
        for wide in self.widths:
            stages += [nn.Conv2d(channels, wide, 3, stride=2, padding=1), _activation(activation)]
            channels = wide
        self.stages = nn.Sequential(*stages)
        self.out_shape = (channels, *_sizes(height, width, len(self.widths))[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)


class ConvDecoder(Body):
    """From a code (a vector or a feature map) up to the image's size: enlarge, convolve, repeat."""

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        widths: Sequence[int] = (128, 64, 32),
        activation: str = "silu",
    ):
        super().__init__()
        _check_image(target_shape)
        self.widths = [int(w) for w in widths]
        sizes = _sizes(*target_shape[1:], len(self.widths))[::-1]
        self.entry = Head(in_shape, (self.widths[0], *sizes[0]))
        stages: list[nn.Module] = []
        channels = self.widths[0]
        for wide, to in zip(self.widths, sizes[1:], strict=True):
            stages += [
                _activation(activation),
                nn.Upsample(size=to),
                nn.Conv2d(channels, wide, 3, padding=1),
            ]
            channels = wide
        self.stages = nn.Sequential(*stages, _activation(activation))
        self.out_shape = (channels, *target_shape[1:])

    def forward(self, z: Tensor) -> Tensor:
        return self.stages(self.entry(z))
