r"""Mean-scale hyperprior: coefficients are whole steps, each with a normal of its own that is told by others.

.. math:: \hat y = \mu + \lfloor y - \mu \rceil, \qquad
    \mathrm{rate} = -\sum \log \Bigl[\Phi\bigl(\tfrac{\hat y - \mu + 1/2}{\sigma}\bigr)
    - \Phi\bigl(\tfrac{\hat y - \mu - 1/2}{\sigma}\bigr)\Bigr], \qquad
    (\mu, \sigma) = c(\hat z, \hat y_{\text{before}})

What tells them is a hyper-code on a grid four times as coarse, with a prior of its own, and the coefficients that were
coded before: low frequencies first, and of most of them the dark squares of a chessboard before the light ones. So a
picture takes seven steps, whatever its size, and none of them goes from block to block.

In training the rate is that of coefficients with even noise, and what is decoded are rounded ones, through which the
gradient passes straight.

References:
    Ballé, Minnen, Singh, Hwang, Johnston, Variational Image Compression with a Scale Hyperprior, 2018,
    https://arxiv.org/abs/1802.01436
    Minnen, Ballé, Toderici, Joint Autoregressive and Hierarchical Priors for Learned Image Compression, 2018,
    https://arxiv.org/abs/1809.02736 (means)
    Minnen, Singh, Channel-wise Autoregressive Entropy Models, 2020, https://arxiv.org/abs/2007.08739
    He et al., Checkerboard Context Model for Efficient Learned Image Compression, 2021,
    https://arxiv.org/abs/2103.15306
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core.networks.transform import BLOCK, KNOTS, hats, laid, log_steps
from isthmus.core.parts import Bottleneck, Code, Shape, Trace

#: Frequencies by stage, and in how many steps the blocks of a stage are coded.
STAGES = ((1, 2), (5, 2), (15, 2), (43, 1))
#: Frequencies whose own height tells the mean of others; of the rest it is how large they are.
TELLING = 6
#: Deviations that have a table: exp((i − 20) / 8) for i = 0 … 63, in steps.
PER_UNIT, OFFSET, TABLES = 8, 20, 64
#: Of the narrow ones it is counted in training how often each height occurs: normals are not what they quite are.
#: Heights from 0 up, of both signs, and what lies beyond; counts are forgotten with this half-life, in steps.
COUNTED, HEIGHTS, _HALF_LIFE = 32, 34, 150
#: Large coefficients tell little more than larger ones.
BEND = 2.0


def bent(y: Tensor) -> Tensor:
    """y · 2 / (2 + |y|)."""
    return y * BEND / (y.abs() + BEND)


class Stage(nn.Module):
    """What is known → mean and logarithm of the deviation of some coefficients."""

    def __init__(self, known: int, telling: int, n: int, steps: int, width: int):
        super().__init__()
        self.n, self.steps = n, steps
        self.one = nn.Conv2d(known, width, 3, padding=1)
        self.steer = nn.Parameter(torch.zeros(KNOTS, width))
        self.two, self.three = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 2 * n, 1)
        self.line = nn.Conv2d(telling, n, 3, padding=1, bias=False) if telling else None
        self.log_scale = nn.Parameter(torch.zeros(KNOTS, n))
        with torch.no_grad():
            for conv in (self.one, self.two):
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                conv.bias.zero_()
            self.three.weight.mul_(0.1)
            self.three.bias.zero_()
            if self.line is not None:
                self.line.weight.zero_()

    def forward(self, known: Tensor, telling: Tensor | None, at: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.one(laid(known)) + (at @ self.steer)[:, :, None, None])
        mean, log_scale = self.three(F.relu(self.two(h))).to(self.log_scale.dtype).chunk(2, dim=1)
        if self.line is not None and telling is not None:
            with torch.autocast(known.device.type, enabled=False):  # heights of many steps need all their digits
                mean = mean + self.line(telling.to(mean.dtype))
        return mean, log_scale + (at @ self.log_scale)[:, :, None, None]


class Hyperprior(Bottleneck):
    """Whole steps, and what they cost. ``h`` ends with the quality of the row as a plane, and so does the code."""

    expansion = 1.0
    narrows = False
    rated = coarse = True

    def __init__(self, in_shape: Shape, dim: int, *, width: int = 80, hyper: int = 32, told: int = 24):
        super().__init__()
        if len(in_shape) != 3 or (in_shape[0] - 1) % BLOCK**2:
            raise ValueError(f"it takes 64 coefficients per channel and block, and their quality; got {in_shape}")
        self.code_shape, n = tuple(in_shape), in_shape[0] - 1
        self.colours, self.width, self.hyper, self.told = n // BLOCK**2, width, hyper, told
        telling = TELLING * self.colours
        self.down = nn.Conv2d(n + telling, width, 3, stride=2, padding=1)
        self.down_again = nn.Conv2d(width, hyper, 3, stride=2, padding=1)
        self.hyper_scale = nn.Parameter(torch.full((KNOTS, hyper), -1.0))
        self.up, self.up_again = nn.Conv2d(hyper, width, 3, padding=1), nn.Conv2d(width, 16 * told, 1)
        stages, before = [], 0
        for frequencies, steps in STAGES:
            of_it, own = frequencies * self.colours, steps > 1
            line = min(before + own * of_it, telling) if before < telling else 0
            known = told + before + own * (of_it + 1)
            stages.append(Stage(known, line, of_it, steps, width))
            before += of_it
        self.stages = nn.ModuleList(stages)
        self.register_buffer("counts", torch.zeros(COUNTED, HEIGHTS))
        self._seen: Tensor | None = None
        with torch.no_grad():  # the mean height of a block is near that of its four neighbours
            for i in range(self.colours):
                for row, column in ((0, 1), (1, 0), (1, 2), (2, 1)):
                    stages[0].line.weight[i, i, row, column] = 0.25

    @torch.no_grad()
    def start_from(self, trace: Trace) -> None:
        """Begin with deviations as coefficients have them, at each quality."""
        y, at, steps = trace.h[:, :-1], hats(trace.h[:, -1, 0, 0]), log_steps().to(trace.h)
        heights = y * (at @ steps).exp()[:, None, None, None]
        # what others tell halves it, or so
        found = heights.square().mean((0, 2, 3)).clamp(min=1e-12).log() / 2 - math.log(2.0)
        begin = 0
        for stage in self.stages:
            stage.log_scale.copy_(found[begin : begin + stage.n] - steps[:, None])
            begin += stage.n

    @torch.no_grad()
    def project(self) -> None:
        """Count the heights of the step that was taken."""
        if self._seen is not None:
            self.counts.mul_(0.5 ** (1 / _HALF_LIFE)).add_(self._seen)
            self._seen = None

    def forward(self, h: Tensor) -> Code:
        y, q = h[:, :-1], h[:, -1, 0, 0]
        rounded, nats = self._pass(y, hats(q), noise=self.training)
        return Code(torch.cat([rounded, h[:, -1:]], dim=1), nats)

    def mode(self, h: Tensor) -> Tensor:
        return self.forward(h).z

    def hyper_code(self, y: Tensor) -> Tensor:
        """Coefficients (B, n, h, w) → the hyper-code before it is rounded (B, hyper, ⌈h / 4⌉, ⌈w / 4⌉)."""
        telling = y[:, : TELLING * self.colours] / 8
        h = F.relu(self.down(laid(torch.cat([bent(y), telling], dim=1))))
        return 2 * self.down_again(h).to(y.dtype)

    def _pass(self, y: Tensor, at: Tensor, noise: bool) -> tuple[Tensor, Tensor]:
        z = self.hyper_code(y)
        scale = (at @ self.hyper_scale)[:, :, None, None]
        nats = _nats(_disturbed(z, noise), scale).flatten(1).sum(1)
        seen = [_counted(z, scale)] if noise else []
        told = F.pixel_shuffle(self.up_again(F.relu(self.up(_rounded(z)))), 4).to(y.dtype)
        told = told[:, :, : y.shape[2], : y.shape[3]]
        light = chessboard(y)
        found: list[Tensor] = []
        heights: list[Tensor] = []
        begin = 0
        for stage in self.stages:
            own = y[:, begin : begin + stage.n]
            if stage.steps == 1:
                mean, log_scale = self._asked(stage, told, found, heights, None, None, at)
            else:
                nothing, dark = torch.zeros_like(own), 1 - light
                mean, log_scale = self._asked(stage, told, found, heights, nothing, torch.zeros_like(light), at)
                first = (mean + _rounded(own - mean)) * dark
                mean_light, scale_light = self._asked(stage, told, found, heights, first, dark, at)
                mean = mean * dark + mean_light * light
                log_scale = log_scale * dark + scale_light * light
            apart = own - mean
            nats = nats + _nats(_disturbed(apart, noise), log_scale).flatten(1).sum(1)
            if noise:
                seen.append(_counted(apart, log_scale))
            here = mean + _rounded(apart)
            found.append(here)
            heights.append(here)
            begin += stage.n
        if noise:
            self._seen = torch.stack(seen).sum(0)
        return torch.cat(found, dim=1), nats

    def _asked(
        self,
        stage: Stage,
        told: Tensor,
        found: list[Tensor],
        heights: list[Tensor],
        own: Tensor | None,
        there: Tensor | None,
        at: Tensor,
    ) -> tuple[Tensor, Tensor]:
        known = [told, *map(bent, found)]
        telling = list(found)
        if own is not None and there is not None:
            known += [bent(own), there.expand(own.shape[0], 1, *own.shape[2:])]
            telling.append(own)
        line = None
        if stage.line is not None:
            line = torch.cat(telling, dim=1)[:, : stage.line.in_channels]
        return stage(torch.cat(known, dim=1), line, at)

    def extra_repr(self) -> str:
        return f"width={self.width}, hyper={self.hyper}, told={self.told}"


def chessboard(y: Tensor) -> Tensor:
    """(1, 1, h, w): 1 on light squares, 0 on dark ones, which come first."""
    rows, columns = torch.arange(y.shape[2], device=y.device), torch.arange(y.shape[3], device=y.device)
    return ((rows[:, None] + columns) % 2).to(y)[None, None]


def _rounded(x: Tensor) -> Tensor:
    """To whole steps; the gradient passes straight through."""
    return x + (x.round() - x).detach()


def _disturbed(x: Tensor, noise: bool) -> Tensor:
    return x + torch.rand_like(x) - 0.5 if noise else x.round()


@torch.no_grad()
def _counted(x: Tensor, log_scale: Tensor) -> Tensor:
    """How often heights occur (COUNTED, HEIGHTS), by the table that they are coded with."""
    number = (log_scale.expand_as(x) * PER_UNIT + (OFFSET + 0.5)).floor().clamp(0, TABLES - 1).long()
    height = x.round().abs().clamp(max=HEIGHTS - 1).long()
    found = torch.bincount((number * HEIGHTS + height).flatten(), minlength=TABLES * HEIGHTS)
    return found.reshape(TABLES, HEIGHTS)[:COUNTED].to(x)


def _nats(x: Tensor, log_scale: Tensor) -> Tensor:
    """−log of the mass that N(0, σ²) has within half a step of x."""
    least, most = -OFFSET / PER_UNIT, (TABLES - 1 - OFFSET) / PER_UNIT
    sigma = log_scale.clamp(least, most).exp()
    apart = x.abs()
    mass = torch.special.ndtr((0.5 - apart) / sigma) - torch.special.ndtr((-0.5 - apart) / sigma)
    return -mass.clamp(min=1e-9).log()
