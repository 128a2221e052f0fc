r"""What noisy pictures alone can teach: two views of one picture whose noise is not the same.

.. math:: \min_f E \, \|f(g_1(y)) - g_2(y)\|^2 \;\text{(neighbours)}, \qquad
    \min_f E \sum_{i \in J} (f(y_{J^c})_i - y_i)^2 \;\text{(blind spot)}

Where the noise of the second view has the mean 0 given the first, both have the least loss where f is the clean
picture's expectation: what noise there is in the target is in no way to be guessed.

References:
    Lehtinen et al., Noise2Noise, 2018, https://arxiv.org/abs/1803.04189
    Huang, Li, Jia, Lu, Liu, Neighbor2Neighbor, 2021, https://arxiv.org/abs/2101.02824
    Krull, Buchholz, Jug, Noise2Void, 2019, https://arxiv.org/abs/1811.10980
    Höck, Buchholz, Brachmann, Jug, Freytag, N2V2, 2022, https://arxiv.org/abs/2211.08512 (the median of the neighbours)
    Broaddus, Krull, Weigert, Schmidt, Myers, Removing Structured Noise with Self-Supervised Blind-Spot Networks, 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from isthmus.core.parts import Corrupted, Corruption
from isthmus.errors import SpecError

#: Of the four pixels of a 2 × 2 cell (0 1 / 2 3), the ordered pairs that touch by a side; of signals two steps.
_PAIRS = {2: ((0, 1), (0, 2), (1, 0), (1, 3), (2, 0), (2, 3), (3, 1), (3, 2)), 1: ((0, 1), (1, 0))}


class Neighbours(Corruption):
    """Of every 2 × 2 pixels one is shown and one that touches it is asked for, in pictures of half the size; of every
    two steps of a signal one, and the other.

    For noise that is independent from pixel to pixel.
    """

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        _check(x, "neighbours")
        if any(side % 2 for side in x.shape[2:]):
            raise SpecError(f"The corruption 'neighbours' halves all sides; got rows {tuple(x.shape[1:])}.")
        if x.ndim == 4:
            cells = F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4))  # (B, C, 4, H/2, W/2)
        else:
            cells = x.unflatten(2, (-1, 2)).movedim(3, 2)  # (B, C, 2, T/2)
        pairs = torch.tensor(_PAIRS[x.ndim - 2], device=x.device)
        drawn = pairs[torch.randint(len(pairs), (len(x), 1, 1, *cells.shape[3:]), device=x.device)]
        wide = (-1, cells.shape[1], *[-1] * (cells.ndim - 2))
        shown, asked = (cells.gather(2, drawn[..., i].expand(wide))[:, :, 0] for i in (0, 1))
        return Corrupted(shown, target=asked)


class BlindSpot(Corruption):
    """A share of the pixels, ``rate``, is replaced by the median of those around it, and asked for.

    ``across`` and ``down`` are how many pixels to each side noise is alike along a row and along a column: so many are
    replaced too, by a pixel nearby, so that they cannot tell what noise the asked one has. With the objective
    ``masked``.
    """

    def __init__(self, *, rate: float = 0.02, across: int = 0, down: int = 0):
        super().__init__()
        if not 0 < rate < 0.5:
            raise ValueError(f"rate is in (0, 0.5), got {rate}")
        if min(across, down) < 0:
            raise ValueError(f"across and down are at least 0, got {across} and {down}")
        self.rate, self.across, self.down = rate, int(across), int(down)

    def forward(self, x: Tensor, observed: Tensor | None) -> Corrupted:
        _check(x, "blind_spot")
        if x.ndim == 3:  # a signal is a picture one pixel high
            found = self.forward(x[:, :, None], None)
            assert found.asked is not None
            return Corrupted(found.x[:, :, 0], asked=found.asked[:, :, 0])
        asked = torch.rand_like(x[:, :1]) < self.rate
        wide = asked.to(x)
        if self.across:
            wide = torch.maximum(wide, F.max_pool2d(asked.to(x), (1, 2 * self.across + 1), 1, (0, self.across)))
        if self.down:
            wide = torch.maximum(wide, F.max_pool2d(asked.to(x), (2 * self.down + 1, 1), 1, (self.down, 0)))
        replaced = wide > 0
        # no asked pixel has a share in what replaces another: else they could be told from each other
        known = x.masked_fill(replaced, float("nan"))
        around = _around(known, 1 + self.across, 1 + self.down)
        shown = torch.where(replaced, torch.where(around.isnan(), x.mean(), around), x)
        return Corrupted(shown, asked=asked.expand_as(x))

    def extra_repr(self) -> str:
        return f"rate={self.rate}, across={self.across}, down={self.down}"


def _around(x: Tensor, across: int, down: int) -> Tensor:
    """The median of the eight pixels that stand around each one, ``across`` and ``down`` pixels away, or of the two in
    a single line; NaN is none.
    """
    height, width = x.shape[2:]
    down = down if height > 1 else 0
    padded = F.pad(x, (across, across, down, down), mode="reflect")
    places = {(i, j) for i in (0, down, 2 * down) for j in (0, across, 2 * across)} - {(down, across)}
    return torch.stack([padded[..., i : i + height, j : j + width] for i, j in sorted(places)]).nanmedian(0).values


def _check(x: Tensor, name: str) -> None:
    if x.ndim not in (3, 4):
        raise SpecError(
            f"The corruption {name!r} looks at neighbours in pictures or signals, got rows {tuple(x.shape[1:])}."
        )
