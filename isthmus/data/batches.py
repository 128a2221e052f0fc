"""Batches: named tensors with one row per sample, cut into steps.

A batch is a mapping of names to tensors, and the names are the keyword arguments of the network:
``x``, ``observed``, ``target``, ``condition``. Anything that yields such mappings, epoch by epoch and
in an order that a seed fixes, can be trained on: rows in memory, or rows of which a buffer holds some at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from isthmus.data.large import ahead
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

    Every row is seen once per epoch. Batches differ by at most one row, so none is too small to learn from. Where rows
    have ``symmetries``, one of them is drawn for every batch, and done to all that is like its ``x``.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor | Sparse],
        batch_size: int,
        seed: int = 0,
        symmetries: Sequence[Callable[[Tensor], Tensor]] = (),
    ):
        self.tensors, self.seed, self.symmetries = dict(tensors), seed, symmetries
        self.n_rows = len(next(iter(self.tensors.values())))
        self.steps = max(1, -(-self.n_rows // batch_size))

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        # the epoch's number is in the seed, so that a resumed run needs no state to find its place
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(self.n_rows, generator=generator)
        order = order.to(next(iter(self.tensors.values())).device)
        drawn = torch.randint(max(1, len(self.symmetries)), (self.steps,), generator=generator).tolist()
        for rows, which in zip(order.tensor_split(self.steps)[start:], drawn[start:], strict=True):
            batch = dense({name: t.index_select(0, rows) for name, t in self.tensors.items()})
            yield _moved(batch, self.symmetries[which]) if which else batch


class Streamed:
    """Rows that are read while they are trained on: blocks in random order fill a buffer, and its rows come out in
    random order.

    Every row is seen once per epoch, in batches as of :class:`InMemory`. Where a batch stands in an epoch is known
    without reading what is before it, so that a run which goes on in the middle reads nothing twice. While the rows of
    one buffer are trained on, the next is filled. Rows that fit in one are read once.

    Arguments:
        counts: rows of every block.
        read: a block's rows as tensors, in pieces. It is called from a thread of its own.
        buffer: rows that the buffer holds; at least one block.
        device: where batches go.
    """

    def __init__(
        self,
        counts: Sequence[int] | np.ndarray,
        read: Callable[[int], Iterator[Mapping[str, Any]]],
        batch_size: int,
        seed: int = 0,
        *,
        buffer: int = 1 << 20,
        device: torch.device | str = "cpu",
    ):
        self.counts, self.read, self.seed, self.buffer, self.device = np.asarray(counts), read, seed, buffer, device
        self.n_rows = int(self.counts.sum())
        self.steps = max(1, -(-self.n_rows // batch_size))

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        # as numpy's array_split has it: the first ones hold one row more
        each, more = divmod(self.n_rows, self.steps)
        begin = start * each + min(start, more)
        pools = self._pools(number)
        ends = np.cumsum([self.counts[pool].sum() for pool in pools])
        first = int(np.searchsorted(ends, begin, side="right"))
        over = begin - (int(ends[first - 1]) if first else 0)
        left: dict[str, Any] = {}
        filled = ahead(self._filled(pool, number, i) for i, pool in enumerate(pools) if i >= first)
        at = start
        for pool, order in filled:
            order, over = order[over:], 0
            while len(order):
                wanted = each + (at < more) - (len(next(iter(left.values()))) if left else 0)
                some = {name: t.index_select(0, order[:wanted]) for name, t in pool.items()}
                left, order = _below(left, some), order[wanted:]
                if len(some["x"]) == wanted:
                    yield dense({name: t.to(self.device) for name, t in left.items()})
                    left, at = {}, at + 1

    def _pools(self, number: int) -> list[np.ndarray]:
        """Which blocks are in the buffer together, in this epoch."""
        there = np.flatnonzero(self.counts)
        if self.n_rows <= self.buffer:
            return [there]
        order = there[torch.randperm(len(there), generator=self._generator(number, 0)).numpy()]
        pools: list[list[int]] = []
        held = 0
        for block in order:
            if not pools or held + self.counts[block] > self.buffer:
                pools.append([])
                held = 0
            pools[-1].append(int(block))
            held += self.counts[block]
        return [np.array(pool) for pool in pools]

    def _filled(self, pool: np.ndarray, number: int, which: int) -> tuple[dict[str, Any], Tensor]:
        held = self._whole if self.n_rows <= self.buffer else self._held(pool)
        return held, torch.randperm(len(held["x"]), generator=self._generator(number, which + 1))

    @cached_property
    def _whole(self) -> dict[str, Any]:
        return self._held(np.flatnonzero(self.counts))

    def _held(self, pool: np.ndarray) -> dict[str, Any]:
        """The rows of some blocks."""
        n, at, held = int(self.counts[pool].sum()), 0, dict[str, Any]()
        sparse: dict[str, list[Sparse]] = {}
        for block in pool:
            for piece in self.read(int(block)):
                rows = slice(at, at + len(piece["x"]))
                for name in held.keys() | piece.keys():
                    if isinstance(piece.get(name), Sparse):
                        sparse.setdefault(name, []).append(piece[name])
                        continue
                    if name not in held:
                        t = piece[name]
                        # where nothing is said to be missing, everything was there
                        held[name] = torch.ones(n, *t.shape[1:], dtype=t.dtype)
                    held[name][rows] = piece.get(name, 1)
                at = rows.stop
        assert at == n
        return held | {name: Sparse.cat(pieces) for name, pieces in sparse.items()}

    def _generator(self, number: int, which: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 1_000_003 + number) * 65_537 + which & (1 << 63) - 1)


def _moved(batch: Batch, symmetry: Callable[[Tensor], Tensor]) -> Batch:
    shape = batch["x"].shape
    return {name: symmetry(t) if t.shape == shape else t for name, t in batch.items()}


def _below(above: dict[str, Any], below: dict[str, Any]) -> dict[str, Any]:
    """Some rows and then others; entries of which one of them says nothing were all there."""
    if not above:
        return below
    n, m = len(above["x"]), len(below["x"])
    joined: dict[str, Any] = {}
    for name in above.keys() | below.keys():
        if isinstance(below.get(name), Sparse):
            joined[name] = Sparse.cat([above[name], below[name]])
            continue
        like = above.get(name, below.get(name))
        assert like is not None
        there = (above.get(name, like.new_ones(n, *like.shape[1:])), below.get(name, like.new_ones(m, *like.shape[1:])))
        joined[name] = torch.cat(there)
    return joined


def in_order(tensors: Mapping[str, Tensor | Sparse], size: int) -> Iterator[Batch]:
    """The rows as they stand, ``size`` at a time, without copying; sparse ones become dense here."""
    n_rows = len(next(iter(tensors.values())))
    for start in range(0, n_rows, size):
        yield dense({name: t[start : start + size] for name, t in tensors.items()})
