r"""Sparse bottlenecks: more numbers than the row has, of which few are not zero.

.. math:: \pi = W (h - m) + c, \qquad z = a(\pi)

What all of them share: the head, the memory of which latents have not fired for how long, and a start tied to a
dictionary, :math:`\pi = D (x - m)` with the median m of the rows. Here stand the two in which only a penalty makes
the code sparse; :mod:`~isthmus.core.bottlenecks.topk` and :mod:`~isthmus.core.bottlenecks.jumprelu` choose.

References:
    Olshausen and Field, Emergence of simple-cell receptive field properties by learning a sparse code, 1996.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from isthmus.core.networks.dense import Head
from isthmus.core.networks.dictionary import Dictionary
from isthmus.core.parts import Bottleneck, Code, Shape, Trace


class Sparse(Bottleneck):
    """``dim`` numbers that are never below 0. In training the code's ``aux`` holds what revives the dead:
    ``pre`` (B, dim), the numbers before :meth:`activate`; ``idle`` (dim,), the rows since each last fired; and
    ``seen``, the rows in all.
    """

    expansion = 4.0
    center: Tensor
    idle: Tensor
    seen: Tensor

    def __init__(self, in_shape: Shape, dim: int):
        super().__init__()
        self.code_shape = (dim,)
        self.head = Head(in_shape, self.code_shape)
        # taken off before the weights, not folded into c: a column far from 0 would dwarf every other's gradient
        self.register_buffer("center", torch.zeros(in_shape))
        self.register_buffer("idle", torch.zeros(dim, dtype=torch.long))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @abstractmethod
    def activate(self, pre: Tensor) -> Tensor:
        """(B, dim) → the code (B, dim) at use, where no row knows its neighbours."""

    def choose(self, pre: Tensor) -> Tensor:
        """The same in training, where they may."""
        return self.activate(pre)

    def rate(self, pre: Tensor) -> Tensor:
        """What the code costs (B,)."""
        return pre.new_zeros(len(pre))

    def forward(self, h: Tensor) -> Code:
        pre = self.head(h - self.center)
        if not self.training:
            return Code(self.activate(pre), self.rate(pre), {"pre": pre})
        z = self.choose(pre)
        if torch.is_grad_enabled():  # held-out rows are scored in training mode too, and teach nothing
            self.note(z.detach())
        return Code(z, self.rate(pre), {"pre": pre, "idle": self.idle, "seen": self.seen})

    def mode(self, h: Tensor) -> Tensor:
        return self.activate(self.head(h - self.center))

    def settled(self, z: Tensor) -> Tensor:
        return z.clamp(min=0)

    @torch.no_grad()
    def note(self, z: Tensor) -> None:
        """Remember what a training batch (B, dim) has fired."""
        self.remember((z > 0).any(0), len(z))

    @torch.no_grad()
    def remember(self, fired: Tensor, n_rows: int) -> None:
        """The latents that ``fired`` (dim,) among ``n_rows``."""
        self.idle.add_(n_rows).masked_fill_(fired, 0)
        self.seen.add_(n_rows)

    @torch.no_grad()
    def start_from(self, trace: Trace) -> None:
        """Begin tied to the dictionary, where there is one: every latent looks for what it will write."""
        atoms, body = trace.decoder, trace.encoder
        if not isinstance(atoms, Dictionary) or body.linear is None or self.head.layer is None:
            return
        n, n_features = atoms.weight.shape
        weight = atoms.weight.new_zeros(n, body.linear.stop - body.linear.start)
        weight[:, :n_features] = atoms.weight  # what is told about missing entries comes behind
        self.head.start_linear(body, weight, weight.new_zeros(n))
        self.center[body.linear][:n_features] = atoms.bias

    def extra_repr(self) -> str:
        return f"dim={self.code_shape[0]}"


class ReLU(Sparse):
    """z = max(π, 0), for the penalties ``l1`` and ``kl``."""

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu()


class Sigmoid(Sparse):
    """z = sigmoid(π): probabilities of firing, for the penalty ``kl``."""

    def activate(self, pre: Tensor) -> Tensor:
        return pre.sigmoid()
