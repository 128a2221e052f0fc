r"""A transform coder whose transform is learned: it begins as the discrete cosine transform of 8 × 8 blocks.

.. math:: y = g_q \odot (T x + a(x, q)), \qquad \hat x = S (\hat y \odot s_q) + b(\hat y, q)

``T`` and ``S`` are linear maps of blocks that see their neighbours too (3 × 3 blocks), and begin as the cosine
transform and its inverse; ``a`` and ``b`` are residual networks that begin at nothing. So the first step stands where
JPEG does, and training departs from there. ``g`` and ``s`` are gains and steps by channel, between knots along the
quality ``q`` from 0 to 1: one model serves all qualities. The quality of every row travels beside its code.

References:
    Ballé, Laparra, Simoncelli, End-to-end Optimized Image Compression, 2017, https://arxiv.org/abs/1611.01704
    Cui et al., Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation, 2021,
    https://arxiv.org/abs/2003.02012 (gains by quality)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core.parts import Body, Finished, Shape

#: The side of a block, and the knots between 0 and 1 that anything which depends on the quality has.
BLOCK, KNOTS = 8, 6
#: Steps at the ends of the quality, in units of white; a step is about this many deviations of the error.
STEPS = (70.0 / 255, 6.9 / 255)
#: How fast the linear maps learn beside the networks.
_PACE = 0.2


def hats(q: Tensor) -> Tensor:
    """The weights (B, KNOTS) with which knots stand for qualities ``q`` (B,) between them."""
    at = q[:, None] * (KNOTS - 1) - torch.arange(KNOTS, dtype=q.dtype, device=q.device)
    return (1 - at.abs()).clamp(min=0)


def cosines(channels: int) -> Tensor:
    """The transform of folded blocks (64 · channels, channels · 64), orthonormal, low frequencies first."""
    n = torch.arange(BLOCK, dtype=torch.float64)
    one = torch.cos(math.pi * (2 * n[None] + 1) * n[:, None] / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    one[0] /= math.sqrt(2)
    both = torch.einsum("ai,bj->abij", one, one).reshape(BLOCK * BLOCK, -1)
    order = sorted(range(BLOCK * BLOCK), key=lambda i: (i // BLOCK + i % BLOCK, i))
    # between colours: their mean, and what differs, each at its own length
    colours = torch.eye(channels, dtype=torch.float64)
    if channels == 3:
        colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]], dtype=torch.float64)
        colours = colours / colours.square().sum(1, keepdim=True).sqrt()
    return torch.einsum("fp,dc->fdcp", both[order], colours).reshape(channels * BLOCK**2, -1).float()


class Steered(nn.Module):
    """h + conv(relu(conv(h) + what the quality brings))."""

    def __init__(self, width: int):
        super().__init__()
        self.one, self.two = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.steer = nn.Parameter(torch.zeros(KNOTS, width))
        nn.init.kaiming_normal_(self.one.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.two.weight, nonlinearity="relu")
        with torch.no_grad():
            self.two.weight.mul_(0.3)
            for conv in (self.one, self.two):
                conv.bias.zero_()

    def forward(self, h: Tensor, at: Tensor) -> Tensor:
        return h + self.two(F.relu(self.one(h) + (at @ self.steer)[:, :, None, None]))


class TransformEncoder(Body):
    """Pictures (B, C, H, W) from 0 to 1 → coefficients in steps (B, 64 C, H / 8, W / 8), and their quality as a plane.

    In training every row has a quality of its own, drawn evenly; outside it that in the middle.
    """

    stride = BLOCK
    coarse = True

    def __init__(self, in_shape: Shape, target_shape: Shape, *, width: int = 16):
        super().__init__()
        self.channels, height, side = _checked(in_shape)
        self.width, n = width, self.channels * BLOCK**2
        self.register_buffer("start", cosines(self.channels), persistent=False)
        self.shift = nn.Parameter(torch.zeros(n, n, 3, 3))
        self.log_gain = nn.Parameter(-log_steps()[:, None].repeat(1, n))
        mid, wide = 4 * width, 8 * width
        self.stem = nn.Conv2d(16 * self.channels, mid, 3, padding=1)
        self.early = Steered(mid)
        self.down = nn.Conv2d(4 * mid, wide, 1)
        self.late = nn.ModuleList([Steered(wide), Steered(wide)])
        self.tail = nn.Conv2d(wide, n, 1)
        _hushed(self.tail)
        self.out_shape = (n + 1, height // BLOCK, side // BLOCK)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        q = x.new_full((n,), 0.5)
        if self.training:  # one from each n-th, so that a batch has all of them
            q = (torch.arange(n, device=x.device) + torch.rand_like(q)) / n
        y = self.analyse(x, q)
        return torch.cat([y, q[:, None, None, None].expand(n, 1, *y.shape[2:])], dim=1)

    def analyse(self, x: Tensor, q: Tensor) -> Tensor:
        """(B, C, H, W) at qualities (B,) → coefficients (B, 64 C, H / 8, W / 8)."""
        at, u = hats(q), x - 0.5
        y = whole_digits(F.pixel_unshuffle(u, BLOCK), centred(self.start, self.shift))
        h = self.early(self.stem(laid(F.pixel_unshuffle(4 * u, 4))), at)
        h = self.down(laid(F.pixel_unshuffle(h, 2)))
        for block in self.late:
            h = block(h, at)
        beside = self.tail(h).to(x.dtype)
        return (y + beside / 8) * scales(at, self.log_gain)

    @property
    def drawn(self) -> str:
        return f"transform {self.width}"

    def extra_repr(self) -> str:
        return f"width={self.width}"


class TransformDecoder(Body):
    """The way back: pictures (B, C, H, W), and behind them their quality as a plane."""

    stride = BLOCK
    coarse = True

    def __init__(self, in_shape: Shape, target_shape: Shape, *, width: int = 16):
        super().__init__()
        self.channels, height, side = _checked(target_shape)
        self.width, n = width, self.channels * BLOCK**2
        if tuple(in_shape)[:1] != (n + 1,):
            raise ValueError(f"it needs {n} coefficients and a quality per block, got {tuple(in_shape)}")
        self.register_buffer("start", cosines(self.channels).T.contiguous(), persistent=False)
        self.shift = nn.Parameter(torch.zeros(n, n, 3, 3))
        self.log_step = nn.Parameter(log_steps()[:, None].repeat(1, n))
        low, mid, wide = 2 * width, 4 * width, 8 * width
        self.head = nn.Conv2d(n, wide, 1)
        self.late = nn.ModuleList([Steered(wide), Steered(wide)])
        self.up = nn.Conv2d(wide, 4 * mid, 1)
        self.middle = nn.ModuleList([Steered(mid)])
        self.up_again = nn.Conv2d(mid, 4 * low, 1)
        self.seen = nn.Conv2d(4 * self.channels, low, 3, padding=1)
        self.last = nn.ModuleList([Steered(low), Steered(low), Steered(low)])
        self.tail = nn.Conv2d(low, 4 * self.channels, 3, padding=1)
        _hushed(self.tail)
        self.out_shape = Finished((self.channels + 1, height, side))

    def forward(self, z: Tensor) -> Tensor:
        y, q = z[:, :-1], z[:, -1, 0, 0]
        at = hats(q)
        levels = y * scales(at, self.log_step)
        linear = F.pixel_shuffle(whole_digits(levels, centred(self.start, self.shift)), BLOCK)
        h = self.head(laid(4 * levels))
        for block in self.late:
            h = block(h, at)
        h = F.pixel_shuffle(self.up(h), 2)
        for block in self.middle:
            h = block(h, at)
        h = F.pixel_shuffle(self.up_again(h), 2) + self.seen(laid(4 * F.pixel_unshuffle(linear, 2)))
        for block in self.last:
            h = block(h, at)
        beside = F.pixel_shuffle(self.tail(h), 2).to(z.dtype)
        x = linear + beside / 8 + 0.5
        return torch.cat([x, q[:, None, None, None].expand(x.shape[0], 1, *x.shape[2:])], dim=1)

    @property
    def drawn(self) -> str:
        return f"transform {self.width}"

    def extra_repr(self) -> str:
        return f"width={self.width}"


def _hushed(conv: nn.Conv2d) -> None:
    """Begin with next to nothing, which a gradient still passes."""
    with torch.no_grad():
        conv.weight.mul_(0.01)
        conv.bias.zero_()


def log_steps() -> Tensor:
    """(KNOTS,) logarithms of the steps that coefficients begin with."""
    return torch.linspace(math.log(STEPS[0]), math.log(STEPS[1]), KNOTS)


def centred(start: Tensor, shift: Tensor) -> Tensor:
    """A kernel (out, in, 3, 3) that is ``start`` in its middle, and what was learned beside it."""
    return F.pad(start[:, :, None, None], (1, 1, 1, 1)) + _PACE * shift


def whole_digits(x: Tensor, kernel: Tensor) -> Tensor:
    """A convolution in float32 whatever the networks beside it are in: a height has more digits than eight bits."""
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(x.to(kernel.dtype), kernel, padding=1)


def scales(at: Tensor, logarithms: Tensor) -> Tensor:
    """What coefficients are multiplied by at a quality, (B, n, 1, 1), in float32 too."""
    with torch.autocast(at.device.type, enabled=False):
        return (at @ logarithms).exp()[:, :, None, None]


def laid(h: Tensor) -> Tensor:
    """As convolutions like it best."""
    return h.contiguous(memory_format=torch.channels_last)


def _checked(shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3 or any(side % BLOCK for side in shape[1:]):
        raise ValueError(f"pictures (channels, height, width) have sides of multiples of {BLOCK}, got {tuple(shape)}")
    return shape[0], shape[1], shape[2]
