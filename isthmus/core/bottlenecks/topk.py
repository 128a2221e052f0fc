r"""Top-k bottlenecks: the strongest latents pass, as many as one wants, and no penalty shrinks them.

.. math:: z = \mathrm{TopK}_k\bigl(\max(W h + c, 0)\bigr)

References:
    Makhzani and Frey, k-Sparse Autoencoders, 2014, https://arxiv.org/abs/1312.5663
    Gao et al., Scaling and evaluating sparse autoencoders, 2024, https://arxiv.org/abs/2406.04093
    Bussmann, Leask, Nanda, BatchTopK Sparse Autoencoders, 2024, https://arxiv.org/abs/2412.06410
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.bottlenecks.sparse import Sparse
from isthmus.core.parts import Shape

#: How far the threshold moves towards each batch's smallest kept activation.
_PACE = 0.01


def _count(k: int | str, dim: int) -> int:
    """The number of latents a row may have: an eighth at most of few, 32 of many."""
    if k == "auto":
        return min(dim, max(4, min(32, dim // 8)))
    if isinstance(k, str | bool) or k != int(k) or k < 1:
        raise ValueError(f"k is a whole number of at least 1 or 'auto', got {k!r}")
    return min(int(k), dim)


class TopK(Sparse):
    """The ``k`` strongest latents of every row; ``"auto"`` is an eighth of them, but at least 4 and at most 32."""

    def __init__(self, in_shape: Shape, dim: int, *, k: int | str = "auto"):
        super().__init__(in_shape, dim)
        self.k = _count(k, dim)

    def activate(self, pre: Tensor) -> Tensor:
        values, at = self.strongest(pre)
        return torch.zeros_like(pre).scatter(1, at, values)

    def strongest(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """The kept activations (B, k) and the latents (B, k) that they belong to."""
        values, at = pre.topk(self.k, dim=1, sorted=False)
        return values.relu(), at

    def settled(self, z: Tensor) -> Tensor:
        return self.activate(z)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, k={self.k}"


class BatchTopK(Sparse):
    """The ``k`` · B strongest activations of a batch of B rows: hard rows may have more than easy ones.

    At use a row stands alone: there whatever exceeds a threshold passes, the running mean of the smallest
    activation that a training batch kept.
    """

    threshold: Tensor

    def __init__(self, in_shape: Shape, dim: int, *, k: int | str = "auto"):
        super().__init__(in_shape, dim)
        self.k = _count(k, dim)
        self.register_buffer("threshold", torch.zeros(()))

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu() * (pre > self.threshold)

    def choose(self, pre: Tensor) -> Tensor:
        values, at = self.strongest(pre)
        return torch.zeros_like(pre).flatten().scatter(0, at, values).view_as(pre)

    def strongest(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """The kept activations (k · B,) and where in the flat ``pre`` they stand."""
        flat, n = pre.flatten(), self.k * len(pre)
        # a batch is much like the last one: what is far below the threshold need not be sorted
        likely = (flat.detach() > self.threshold / 2).nonzero().squeeze(1)
        if len(likely) < n:
            values, at = flat.topk(n, sorted=False)
        else:
            values, among = flat[likely].topk(n, sorted=False)
            at = likely[among]
        return values.relu(), at

    def note(self, z: Tensor) -> None:
        super().note(z)
        self.follow(z[z > 0])

    @torch.no_grad()
    def follow(self, kept: Tensor) -> None:
        """Move the threshold towards the smallest of the activations that a batch has kept."""
        if len(kept):
            first = self.threshold == 0
            self.threshold.copy_(torch.where(first, kept.min(), self.threshold.lerp(kept.min(), _PACE)))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, k={self.k}"
