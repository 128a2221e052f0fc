r"""Transformer bodies: rows as tokens that look at each other.

.. math::
    h = \mathrm{stack}(E\,x_{\text{visible}} + p_{\text{visible}}) \text{ at visible places}, \quad
    \text{a learned token at the others}

A token is a patch of an image, a few steps of a series, or a column of a vector. Tokens of which nothing is
visible are *dropped*: the encoder does no work for them, and puts a learned mask token in their places at its end.

References:
    Dosovitskiy et al., An Image Is Worth 16x16 Words, 2021, https://arxiv.org/abs/2010.11929
    He et al., Masked Autoencoders Are Scalable Vision Learners, 2022, https://arxiv.org/abs/2111.06377
    Gorishniy et al., Revisiting Deep Learning Models for Tabular Data, 2021, https://arxiv.org/abs/2106.11959
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.core.networks.attention import PerToken, Stack, places
from isthmus.core.networks.dense import Head
from isthmus.core.networks.path import PathDecoder, PathEncoder
from isthmus.core.parts import Finished, Shape, size
from isthmus.core.patches import from_patches, grid_of, patch_side, to_patches


class TransformerEncoder(PathEncoder):
    """Patches (of images), steps (of series) or columns (of vectors) → a map of ``width`` channels, one place each.

    ``patch`` is the side of a patch, the steps or columns in a token; ``"auto"`` makes about 64 tokens.
    """

    takes_mask = True

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        patch: int | str = "auto",
        linear_path: bool = False,
    ):
        _check(width, depth, heads)
        patch = patch_side(patch, in_shape)
        grid = grid_of(in_shape, patch)
        super().__init__((width, *grid), in_shape, linear_path)
        self.width, self.depth, self.heads, self.patch, self.grid = width, depth, heads, patch, grid
        self.drawn = _drawn(grid, width, depth)
        n, entries = size(grid), _entries(in_shape, patch)
        # which entries are there stands beside their values: a missing one is not one that is 0
        self.embed = PerToken(n, 2 * entries, width, own=len(in_shape) == 1)
        self.place = nn.Parameter(places(grid, width))
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)
        self.stack = Stack(width, depth, heads)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        there = torch.ones_like(x) if visible is None else visible.to(x)
        x = x * there
        patches = torch.cat([to_patches(x, self.patch), to_patches(there, self.patch)], dim=-1)
        tokens = self.embed(patches) + self.place
        if visible is None:
            h = self.stack(tokens)
        else:
            seen = to_patches(there, self.patch).any(-1)
            h = self._of_the_seen(tokens, seen)
        return self.beside(h.transpose(1, 2).unflatten(-1, self.grid), x)

    def _of_the_seen(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """Only tokens that are ``seen`` (B, n) go through the stack; the others become the mask token."""
        counts = seen.sum(1)
        most = max(int(counts.max()), 1)
        # the seen ones first, in their order, and of a row with fewer some that nobody looks at
        first = seen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
        first = first[..., None].expand(-1, -1, tokens.shape[-1])
        there = None
        if int(counts.min()) < most:
            # a row of which nothing is seen looks at what it has: no answer of it is used
            there = (torch.arange(most, device=seen.device) < counts[:, None]) | (counts == 0)[:, None]
        h = torch.zeros_like(tokens).scatter(1, first, self.stack(tokens.gather(1, first), there))
        return torch.where(seen[..., None], h, self.hidden)


class TransformerDecoder(PathDecoder):
    """From a code (a vector, or a map with a place for each token) to tokens, and from these to the row."""

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        patch: int | str = "auto",
        linear_path: bool = False,
    ):
        _check(width, depth, heads)
        patch = patch_side(patch, target_shape)
        grid = grid_of(target_shape, patch)
        # it ends in the row's own shape: a head has nothing to add
        super().__init__(Finished(target_shape), in_shape, target_shape, linear_path)
        self.width, self.depth, self.heads, self.patch = width, depth, heads, patch
        self.drawn = _drawn(grid, width, depth)
        n, self.shape = size(grid), tuple(target_shape)
        self.entry = Head(in_shape, (width, *grid))
        self.place = nn.Parameter(places(grid, width))
        self.stack = Stack(width, depth, heads)
        self.to_patch = PerToken(n, width, _entries(target_shape, patch), own=len(target_shape) == 1)
        with torch.no_grad():  # begin with one answer for all rows, rather than with noise that must be unlearned
            self.to_patch.weight.mul_(0.1)

    def forward(self, z: Tensor) -> Tensor:
        tokens = self.entry(z).flatten(2).transpose(1, 2) + self.place
        patches = self.to_patch(self.stack(tokens))
        return self.beside(from_patches(patches, self.patch, self.shape), z)


def _drawn(grid: Shape, width: int, depth: int) -> str:
    return f"{size(grid)} tokens of {width}, {depth} blocks"


def _entries(shape: Shape, patch: int) -> int:
    """The numbers in one patch."""
    return patch if len(shape) == 1 else shape[0] * patch ** len(shape[1:])


def _check(width: int, depth: int, heads: int) -> None:
    if min(width, depth, heads) < 1 or width % heads:
        raise ValueError(
            f"width, depth and heads are at least 1 and heads divides width; got {width}, {depth}, {heads}"
        )
