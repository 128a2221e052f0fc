r"""Attention: the blocks that transformers are made of, and how tokens begin.

.. math::
    t \leftarrow t + \mathrm{attention}(\mathrm{norm}(t)), \quad t \leftarrow t + \mathrm{mlp}(\mathrm{norm}(t)), \quad
    \mathrm{attention} = \mathrm{softmax}(Q K^\top / \sqrt{d}) V

References:
    Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762
    Xiong et al., On Layer Normalization in the Transformer Architecture, 2020, https://arxiv.org/abs/2002.04745
    (the norm before, not behind).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core.parts import Shape


class Block(nn.Module):
    """Attention and a small mlp, each behind a norm and beside a way around it. (B, n, width) → the same."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, t: Tensor, there: Tensor | None = None) -> Tensor:
        """``there`` (B, n) says which tokens may be looked at."""
        each = self.query_key_value(self.before_attention(t)).unflatten(-1, (3, self.heads, -1))
        q, k, v = each.permute(2, 0, 3, 1, 4)
        mask = None if there is None else there[:, None, None]
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        t = t + self.out(a.transpose(1, 2).flatten(2))
        return t + self.down(F.gelu(self.up(self.before_mlp(t))))


class Stack(nn.Module):
    """``depth`` blocks and a last norm."""

    def __init__(self, width: int, depth: int, heads: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, t: Tensor, there: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            t = block(t, there)
        return self.norm(t)


class PerToken(nn.Module):
    """A linear map (B, n, in) → (B, n, out): one for all patches, or for columns each its own, as no two are alike."""

    def __init__(self, n: int, n_in: int, n_out: int, own: bool):
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(torch.empty(n if own else 1, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n if own else 1, n_out))

    def forward(self, t: Tensor) -> Tensor:
        if len(self.weight) == 1:
            return t @ self.weight[0] + self.bias
        return torch.einsum("bni,nio->bno", t, self.weight) + self.bias


def places(grid: Shape, width: int) -> Tensor:
    """(places, width): sines and cosines of where a token lies along each axis, from which its place is learned on.

    Near places begin alike, and the nearest apart by as much as tokens differ by what is in them.
    """
    axes = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    channels = torch.arange(width)
    axis, step = channels % len(grid), channels // len(grid)
    where = torch.stack([a.flatten() for a in axes], dim=1)[:, axis]
    waves = 100.0 ** (-(step // 2) * 2 * len(grid) / width)
    return torch.sin(where * waves + (step % 2) * math.pi / 2)
