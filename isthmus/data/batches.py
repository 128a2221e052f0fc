"""Batches: named tensors with one row per sample, cut into steps.

A batch is a mapping of names to tensors, and the names are the keyword arguments of the network:
``x``, ``observed``, ``target``, ``condition``. Anything that yields such mappings, epoch by epoch and
in an order that a seed fixes, can be trained on; this file holds the one for rows in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from isthmus.data.sparse import Sparse, dense

Batch = dict[str, Tensor]


class Batches(Protocol):
    """What the training loop asks of its rows."""

    n_rows: int

    def __len__(self) -> int:
        """Steps per epoch."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``number`` from step ``start`` on, always in the same order."""


class InMemory:
    """Rows in memory: an epoch is a permutation, a batch is a slice of it.

    Every row is seen once per epoch. Batches differ by at most one row, so none is too small to learn from.
    """

    def __init__(self, tensors: Mapping[str, Tensor | Sparse], batch_size: int, seed: int = 0):
        self.tensors, self.seed = dict(tensors), seed
        self.n_rows = len(next(iter(self.tensors.values())))
        self.steps = max(1, -(-self.n_rows // batch_size))

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        # the epoch's number is in the seed, so that a resumed run needs no state to find its place
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(self.n_rows, generator=generator)
        order = order.to(next(iter(self.tensors.values())).device)
        for rows in order.tensor_split(self.steps)[start:]:
            yield dense({name: t.index_select(0, rows) for name, t in self.tensors.items()})


def in_order(tensors: Mapping[str, Tensor | Sparse], size: int) -> Iterator[Batch]:
    """The rows as they stand, ``size`` at a time, without copying; sparse ones become dense here."""
    n_rows = len(next(iter(tensors.values())))
    for start in range(0, n_rows, size):
        yield dense({name: t[start : start + size] for name, t in tensors.items()})
