r"""Recurrent bodies: a series is read step by step into a state, and written step by step from a code.

.. math::
    h_t = \mathrm{cell}([x_t, m_t, t/T],\; h_{t-1}) \;\text{where step } t \text{ is there, else } h_{t-1};
    \qquad y_t = \mathrm{cell}([W z, c_t],\; y_{t-1})

A step of which nothing is visible leaves the state as it is. That is the same as leaving the step out, so the
visible ones are moved to the front and the state is taken after so many: a ragged batch gives what each row
alone gives. t/T tells how long a gap was.

The decoder gets the code and a clock :math:`c_t` at every step, and not the step that it wrote before. Feeding
its own output back would be slow (no fused loop), and in training it would see the true last step, from which
the next is guessed without the code: the code would be left empty.

References:
    Hochreiter and Schmidhuber, Long Short-Term Memory, 1997.
    Cho et al., Learning Phrase Representations using RNN Encoder–Decoder, 2014, https://arxiv.org/abs/1406.1078
    Srivastava, Mansimov, Salakhutdinov, Unsupervised Learning of Video Representations using LSTMs, 2015,
    https://arxiv.org/abs/1502.04681 (conditional and unconditional decoders).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from isthmus.core.networks.dense import Head
from isthmus.core.networks.path import PathDecoder, PathEncoder
from isthmus.core.parts import Shape, one_of

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}
#: The clock of a decoder: sine and cosine of 1, 2, 4, … half turns over the whole series.
_HANDS = 5


def check_series(shape: Shape, what: str) -> None:
    """Refuse rows that have no time axis."""
    if len(shape) != 2:
        raise ValueError(f"{what} needs rows of shape (channels, time), got {tuple(shape)}: say modality='series'")


class RecurrentEncoder(PathEncoder):
    """The last state of an LSTM or GRU (``cell``) of ``width`` units in ``depth`` layers.

    ``bidirectional`` reads from both ends, so that neither the first nor the last steps are long ago.
    """

    takes_mask = True

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        cell: str = "lstm",
        width: int = 64,
        depth: int = 1,
        bidirectional: bool = True,
        linear_path: bool = False,
    ):
        check_series(in_shape, "a recurrent encoder")
        super().__init__((width * (1 + bidirectional),), in_shape, linear_path)
        self.cell, self.width, self.depth, self.bidirectional = cell, width, depth, bidirectional
        self.drawn = f"{cell} of {width}{' each way' * bidirectional}{f', {depth} layers' * (depth > 1)}"
        channels, steps = in_shape
        # a loop for each end: one that knows both would have to be told where every row ends
        self.loops = nn.ModuleList(_loop(2 * channels + 1, cell, width, depth) for _ in range(1 + bidirectional))
        self.register_buffer("when", torch.arange(steps) / steps, persistent=False)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        there = torch.ones_like(x) if visible is None else visible.to(x)
        x = x * there
        steps = torch.cat([x, there, self.when.expand(x.shape[0], 1, -1)], dim=1).transpose(1, 2)
        lengths = torch.full((x.shape[0],), x.shape[2], device=x.device)
        if visible is not None:
            seen = visible.any(1)
            lengths = seen.sum(1)
            order = seen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
            steps = steps.gather(1, order[..., None].expand_as(steps))[:, : max(int(lengths.max()), 1)]
        states = [
            _state_after(loop, way, lengths) for loop, way in zip(self.loops, _ways(steps, lengths), strict=False)
        ]
        return self.beside(torch.cat(states, dim=1), x)


def _ways(steps: Tensor, lengths: Tensor) -> Iterator[Tensor]:
    """The first ``lengths`` of the steps (B, time, in) as they are, and from last to first."""
    yield steps
    back = (lengths[:, None] - 1 - torch.arange(steps.shape[1], device=steps.device)).clamp(min=0)
    yield steps.gather(1, back[..., None].expand_as(steps))


def _state_after(loop: nn.Module, steps: Tensor, lengths: Tensor) -> Tensor:
    """(B, width): the state of the top layer after so many steps; 0, in which all begin, after none."""
    states, _ = loop(steps)
    last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[2])
    return states.gather(1, last)[:, 0] * (lengths > 0)[:, None]


class RecurrentDecoder(PathDecoder):
    """A series of ``width`` channels from a code, which the LSTM or GRU is shown at every step beside a clock."""

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        cell: str = "lstm",
        width: int = 64,
        depth: int = 1,
        bidirectional: bool = True,
        linear_path: bool = False,
    ):
        check_series(target_shape, "a recurrent decoder")
        steps = target_shape[1]
        super().__init__((width * (1 + bidirectional), steps), in_shape, target_shape, linear_path)
        self.cell, self.width, self.depth, self.bidirectional = cell, width, depth, bidirectional
        self.drawn = f"{cell} of {width}{' each way' * bidirectional}{f', {depth} layers' * (depth > 1)}"
        self.entry = Head(in_shape, (width,))
        self.loop = _loop(width + 2 * _HANDS, cell, width, depth, bidirectional)
        self.register_buffer("clock", clock(steps), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        said = self.entry(z)[:, None].expand(-1, len(self.clock), -1)
        written, _ = self.loop(torch.cat([said, self.clock.expand(z.shape[0], -1, -1)], dim=-1))
        return self.beside(written.transpose(1, 2), z)


def clock(steps: int) -> Tensor:
    """(time, 2 · hands): where in the series a step is."""
    angles = torch.arange(steps)[:, None] / steps * math.pi * 2.0 ** torch.arange(_HANDS)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _loop(n_in: int, cell: str, width: int, depth: int, bidirectional: bool = False) -> nn.LSTM | nn.GRU:
    one_of("cell", cell, list(_CELLS))
    if min(width, depth) < 1:
        raise ValueError(f"width and depth are at least 1, got {width} and {depth}")
    loop = _CELLS[cell](n_in, width, depth, batch_first=True, bidirectional=bidirectional)
    for name, values in loop.named_parameters():
        if "weight_hh" in name:  # orthogonal steps neither swell nor fade a state over many of them
            for gate in values.data.split(width):
                nn.init.orthogonal_(gate)
        elif cell == "lstm" and "bias_ih" in name:
            values.data[width : 2 * width] = 1.0  # the gate that forgets begins open
    return loop
