r"""Temporal convolutions: dilated, so that a few layers see the whole of a series.

.. math::
    h \leftarrow h + W_2 * a(W_1 *_{d} a(h)), \quad d = 1, 2, 4, \dots; \qquad
    \text{reach of the output} = 1 + (k-1) \cdot \Bigl(1 + \sum_i d_i\Bigr)

Steps behind the last one that is there do not exist: they stay 0 in every layer, as if the series ended, so that a
ragged batch gives what each row alone gives. Missing steps before it are filled from both sides.

References:
    van den Oord et al., WaveNet, 2016, https://arxiv.org/abs/1609.03499
    Bai, Kolter, Koltun, An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
    Modeling, 2018, https://arxiv.org/abs/1803.01271
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core.networks.dense import Head
from isthmus.core.networks.path import PathDecoder, PathEncoder
from isthmus.core.networks.recurrent import check_series
from isthmus.core.parts import Shape


class _Layer(nn.Module):
    """One dilated convolution and one over single steps, beside a way around both."""

    def __init__(self, width: int, kernel: int, dilation: int):
        super().__init__()
        self.wide = nn.Conv1d(width, width, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
        self.single = nn.Conv1d(width, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.single(F.gelu(self.wide(F.gelu(h))))


class _Temporal(nn.Module):
    """(B, channels, time) → (B, width, time), every step from the ``reach`` steps around it."""

    def __init__(self, channels: int, steps: int, width: int, kernel: int, depth: int | str):
        super().__init__()
        if depth == "auto":  # until the first step sees the last
            depth = 1
            while reach(kernel, depth) < 2 * steps - 1:
                depth += 1
        if not (isinstance(depth, int) and depth >= 1):
            raise ValueError(f"depth is a whole number of at least 1 or 'auto', got {depth!r}")
        self.entry = nn.Conv1d(channels, width, kernel, padding=(kernel - 1) // 2)
        self.layers = nn.ModuleList(_Layer(width, kernel, 1 << i) for i in range(depth))

    def forward(self, x: Tensor, exists: Tensor | None = None) -> Tensor:
        h = self.entry(x)
        for layer in self.layers:
            h = layer(h if exists is None else h * exists)
        return F.gelu(h if exists is None else h * exists)


def _check(shape: Shape, what: str, width: int, kernel: int) -> None:
    check_series(shape, what)
    if width < 1 or kernel < 3 or kernel % 2 == 0:
        raise ValueError(f"width is at least 1 and kernel an odd number of at least 3, got {width} and {kernel}")


def reach(kernel: int, depth: int) -> int:
    """How many steps one step of the output depends on.

    >>> reach(3, 1), reach(3, 4), reach(5, 2)
    (5, 33, 17)
    """
    return 1 + (kernel - 1) * (1 + sum(1 << i for i in range(depth)))


class TemporalEncoder(PathEncoder):
    """A map (``width``, time); ``depth="auto"`` takes as many layers as it needs for every step to see all."""

    takes_mask = True

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        width: int = 32,
        kernel: int = 5,
        depth: int | str = "auto",
        linear_path: bool = False,
    ):
        _check(in_shape, "a temporal encoder", width, kernel)
        channels, steps = in_shape
        super().__init__((width, steps), in_shape, linear_path)
        self.net = _Temporal(2 * channels, steps, width, kernel, depth)
        self.width, self.kernel, self.depth = width, kernel, len(self.net.layers)
        self.drawn = f"{self.depth} dilations of {width} maps {kernel}"

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        there = torch.ones_like(x) if visible is None else visible.to(x)
        x = x * there
        exists = None
        if visible is not None:
            exists = there.amax(1, keepdim=True).flip(-1).cummax(-1).values.flip(-1)
        return self.beside(self.net(torch.cat([x, there], dim=1), exists), x)


class TemporalDecoder(PathDecoder):
    """From a code to a map (``width``, time): a dense layer to every step, then dilated convolutions over them."""

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        width: int = 32,
        kernel: int = 5,
        depth: int | str = "auto",
        linear_path: bool = False,
    ):
        _check(target_shape, "a temporal decoder", width, kernel)
        steps = target_shape[1]
        super().__init__((width, steps), in_shape, target_shape, linear_path)
        self.entry = Head(in_shape, (width, steps))
        self.net = _Temporal(width, steps, width, kernel, depth)
        self.width, self.kernel, self.depth = width, kernel, len(self.net.layers)
        self.drawn = f"{self.depth} dilations of {width} maps {kernel}"

    def forward(self, z: Tensor) -> Tensor:
        return self.beside(self.net(self.entry(z)), z)
