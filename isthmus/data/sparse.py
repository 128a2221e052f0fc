"""Rows of which nearly all entries are zero, kept as the few that are not; a batch of them is dense.

.. math:: x_{ij} = v_k \\iff j = c_k, \\; r_i \\le k < r_{i+1}

It stands among named tensors where a tensor would stand, with as much of a tensor's face as cutting batches takes.
Only what is fed to a network at once is ever dense, never a whole corpus.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Sparse:
    """A matrix (n, width), float32: ``starts`` (n + 1,), and the ``columns`` and ``values`` of what is not zero."""

    dtype = torch.float32

    def __init__(self, starts: Tensor, columns: Tensor, values: Tensor, width: int):
        assert len(columns) == len(values) == int(starts[-1])
        self.starts, self.columns, self.values, self.width = starts, columns, values, width

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), self.width))

    @property
    def device(self) -> torch.device:
        return self.values.device

    def to(self, device: torch.device) -> Sparse:
        return Sparse(self.starts.to(device), self.columns.to(device), self.values.to(device), self.width)

    def index_select(self, dim: int, rows: Tensor) -> Sparse:
        """The rows at these places, in that order."""
        assert dim == 0
        begin, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        # place k of row i of the answer is place begin[i] + (k − starts[i]) here
        at = torch.arange(int(starts[-1]), device=self.device) + (begin - starts[:-1]).repeat_interleave(lengths)
        return Sparse(starts, self.columns[at], self.values[at], self.width)

    def __getitem__(self, rows: slice) -> Sparse:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            return self.index_select(0, torch.arange(start, stop, step, device=self.device))
        stop = max(start, stop)
        first, last = int(self.starts[start]), int(self.starts[stop])
        return Sparse(
            self.starts[start : stop + 1] - first, self.columns[first:last], self.values[first:last], self.width
        )

    def dense(self) -> Tensor:
        """(n, width)."""
        x = torch.zeros(len(self), self.width, device=self.device)
        rows = torch.arange(len(self), device=self.device).repeat_interleave(self.starts.diff())
        x[rows, self.columns.long()] = self.values
        return x

    @classmethod
    def cat(cls, matrices: Sequence[Sparse]) -> Sparse:
        """The rows of one below those of another, all of one width."""
        ends = torch.tensor([0, *(len(m.values) for m in matrices)]).cumsum(0).tolist()
        starts = [m.starts[:-1] + end for m, end in zip(matrices, ends, strict=False)]
        last = matrices[-1].starts[-1:] + ends[-2]
        columns, values = (torch.cat([getattr(m, name) for m in matrices]) for name in ("columns", "values"))
        return cls(torch.cat([*starts, last]), columns, values, matrices[0].width)

    def parts(self) -> list[Tensor]:
        """Everything that it is made of."""
        return [self.starts, self.columns, self.values]

    def __repr__(self) -> str:
        share = len(self.values) / max(1, math.prod(self.shape))
        return f"Sparse(rows={len(self)}, width={self.width}, not zero={share:.2%})"


def dense(tensors: Mapping[str, Tensor | Sparse]) -> dict[str, Tensor]:
    """Named rows with every sparse one made dense: of a batch, never of a corpus."""
    return {name: t.dense() if isinstance(t, Sparse) else t for name, t in tensors.items()}


def joined(pieces: Sequence[Any]) -> Any:
    """Raw rows that came piece by piece, lists or sparse matrices, as one."""
    if isinstance(pieces[0], list):
        return [row for piece in pieces for row in piece]
    import scipy.sparse

    return scipy.sparse.vstack(pieces, format="csr")
