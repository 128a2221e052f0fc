r"""A residual U: what it gives is the picture (or signal) less the noise that it has found in it, at any size.

.. math:: \hat x = x - n(x), \qquad
    z = [h_L,\; h_1, \dots, h_{L-1},\; x] \quad \text{(the code: the narrowest map, the maps beside it, the picture)}

The encoder halves height and width once per entry of ``widths``, first by folding 2 × 2 pixels into channels, so that
no layer works at full resolution. The maps that U-nets pass across travel in the code, folded to its grid: the decoder
needs nothing else. So the code is no narrower than the picture, and what keeps the network from copying is noise. Of
signals the same is done along time alone.

No layer has a bias: the network of a picture twice as bright and twice as noisy is twice its result, and noise
levels that it was not trained on are met nearly as well.

References:
    Ronneberger, Fischer, Brox, U-Net, 2015, https://arxiv.org/abs/1505.04597
    Zhang, Zuo, Zhang, FFDNet, 2018, https://arxiv.org/abs/1710.04026 (folded pixels)
    Zhang et al., Plug-and-Play Image Restoration with Deep Denoiser Prior, 2021, https://arxiv.org/abs/2008.13751
    Mohan, Kadkhodaie, Simoncelli, Fernandez-Granda, Robust and Interpretable Blind Image Denoising via Bias-Free
    Convolutional Neural Networks, 2020, https://arxiv.org/abs/1906.05478
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core.parts import Body, Finished, Shape

#: Channels by scale, and residual blocks of each scale and side.
WIDTHS, BLOCKS = (32, 48, 64), 1


class _Block(nn.Module):
    """h + conv(relu(conv(h)))."""

    def __init__(self, width: int, axes: int):
        super().__init__()
        self.one, self.two = _conv(axes, width, width), _conv(axes, width, width, gain=0.3)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.two(F.relu(self.one(h)))


class UEncoder(Body):
    """The way down. Its output is the whole code, on the grid of the narrowest map (B, channels, H/2ᴸ, W/2ᴸ); of
    signals (B, channels, T/2ᴸ).
    """

    coarse = True  # what it says is noise, of which three digits are enough

    def __init__(self, in_shape: Shape, target_shape: Shape, *, widths: Sequence[int] = WIDTHS, blocks: int = BLOCKS):
        super().__init__()
        self.widths, self.blocks = _checked(in_shape, widths), blocks
        channels, *sides = in_shape
        axes = len(sides)
        self.stem = _conv(axes, 2**axes * channels, self.widths[0])
        self.scales = nn.ModuleList(nn.Sequential(*(_Block(w, axes) for _ in range(blocks))) for w in self.widths)
        self.downs = nn.ModuleList(_conv(axes, a, b, kernel=2, stride=2) for a, b in pairwise(self.widths))
        self.out_shape = (sum(_folded(channels, self.widths, axes)), *(side // self.stride for side in sides))

    @property
    def stride(self) -> int:
        """What height and width are divided by."""
        return 2 ** len(self.widths)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(_laid(_fold(x, 2)))
        passed = []
        for i, scale in enumerate(self.scales):
            h = scale(h)
            passed.append(_fold(h, 2 ** (len(self.widths) - 1 - i)))
            if i < len(self.downs):
                h = self.downs[i](h)
        return torch.cat([*passed[::-1], _fold(x, self.stride)], dim=1)

    @property
    def drawn(self) -> str:
        return f"U {'-'.join(map(str, self.widths))}"

    def extra_repr(self) -> str:
        return f"widths={self.widths}, blocks={self.blocks}"


class UDecoder(Body):
    """The way up: from the code to the picture without its noise."""

    coarse = True

    def __init__(self, in_shape: Shape, target_shape: Shape, *, widths: Sequence[int] = WIDTHS, blocks: int = BLOCKS):
        super().__init__()
        self.widths, self.blocks = _checked(target_shape, widths), blocks
        axes = len(target_shape) - 1
        self.parts = _folded(target_shape[0], self.widths, axes)
        if tuple(in_shape)[:1] != (sum(self.parts),):
            raise ValueError(
                f"the way up needs the {sum(self.parts)} channels that the way down gives, got {tuple(in_shape)}; "
                "say encoder='unet', bottleneck='open' and the same widths"
            )
        up = self.widths[::-1]
        self.ups = nn.ModuleList(_conv(axes, a, 2**axes * b, kernel=1) for a, b in pairwise(up))
        self.scales = nn.ModuleList(nn.Sequential(*(_Block(w, axes) for _ in range(blocks))) for w in up[1:])
        # small at first: the picture as it is, is where a denoiser begins
        self.tail = _conv(axes, self.widths[0], 2**axes * target_shape[0], gain=0.002)
        self.out_shape = Finished(target_shape)

    @property
    def stride(self) -> int:
        return 2 ** len(self.widths)

    @property
    def reach(self) -> int:
        """No pixel of the result sees further than so many pixels, both ways taken together."""
        scales = [2 ** (i + 1) for i in range(len(self.widths))]
        both = 2 * sum(scales) - scales[-1]  # the narrowest scale has one set of blocks, the others two
        return 2 * scales[0] + 2 * self.blocks * both + self.stride - 1

    def forward(self, z: Tensor) -> Tensor:
        h, *passed, x = z.split(self.parts, dim=1)
        h = _laid(h)
        for i, (up, scale) in enumerate(zip(self.ups, self.scales, strict=True)):
            h = scale(_unfold(up(h), 2) + _unfold(passed[i], 2 ** (i + 1)))
        return _unfold(x, self.stride) - _unfold(self.tail(h), 2)

    @property
    def drawn(self) -> str:
        return f"U {'-'.join(map(str, self.widths[::-1]))}"

    def extra_repr(self) -> str:
        return f"widths={self.widths}, blocks={self.blocks}"


def _conv(axes: int, a: int, b: int, kernel: int = 3, stride: int = 1, gain: float = 1.0) -> nn.Module:
    make = nn.Conv2d if axes == 2 else nn.Conv1d
    conv = make(a, b, kernel, stride=stride, padding=kernel // 2 if stride == 1 else 0, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    with torch.no_grad():
        conv.weight.mul_(gain)
    return conv


def _laid(h: Tensor) -> Tensor:
    """As convolutions like it best."""
    return h.contiguous(memory_format=torch.channels_last) if h.ndim == 4 else h.contiguous()


def _fold(x: Tensor, by: int) -> Tensor:
    """(B, C, H, W) → (B, C · by², H / by, W / by); (B, C, T) → (B, C · by, T / by)."""
    if x.ndim == 4:
        return F.pixel_unshuffle(x, by)
    return x.unflatten(2, (-1, by)).movedim(3, 2).flatten(1, 2)


def _unfold(x: Tensor, by: int) -> Tensor:
    """The way back."""
    if x.ndim == 4:
        return F.pixel_shuffle(x, by)
    return x.unflatten(1, (-1, by)).movedim(2, 3).flatten(2, 3)


def _folded(channels: int, widths: Sequence[int], axes: int) -> list[int]:
    """The channels of the code: of each map from the narrowest up, folded to one grid, and of the rows themselves.

    >>> _folded(1, (32, 48, 64), 2), _folded(1, (32, 48, 64), 1)
    ([64, 192, 512, 64], [64, 96, 128, 8])
    """
    return [w * 2 ** (axes * i) for i, w in enumerate(widths[::-1])] + [channels * 2 ** (axes * len(widths))]


def _checked(shape: Shape, widths: Sequence[int]) -> tuple[int, ...]:
    widths = tuple(int(w) for w in widths)
    stride = 2 ** len(widths)
    if len(shape) not in (2, 3) or not widths or any(side % stride for side in shape[1:]):
        raise ValueError(
            f"a U of {len(widths)} scales needs rows (channels, height, width) or (channels, time) whose sides are "
            f"multiples of {stride}, got {tuple(shape)}"
        )
    return widths
