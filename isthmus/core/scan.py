r"""The rows whose codes point most nearly where a query's does, exactly, a block of rows at a time.

.. math:: \cos(q, r) = \frac{q \cdot r}{\|q\| \|r\|}

Codes are kept as unit vectors, in float32 or in eight bits a number: of these the direction is kept, and the length is
worked out again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

#: Cosines that are held together: 16 MB; and rows that are looked at together.
_AT_ONCE, _BLOCK = 1 << 22, 1 << 14
#: Numbers of candidates that are compared together.
_NUMBERS = 1 << 23


def unit(codes: np.ndarray) -> np.ndarray:
    """Codes (n, …) as rows of length 1, float32 (n, d); a code of zeros stays one."""
    flat = np.asarray(codes, np.float32).reshape(len(codes), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True).clip(1e-12)


def eight_bits(codes: np.ndarray) -> np.ndarray:
    """Unit rows as int8: multiples of the largest number of each ÷ 127."""
    largest = np.abs(codes).max(1, keepdims=True).clip(1e-12)
    return np.rint(codes * (127 / largest)).astype(np.int8)


class Kept:
    """Unit rows (n, d) as they are kept, float32 or int8, and as they are compared, float32."""

    def __init__(self, numbers: np.ndarray):
        assert numbers.dtype in (np.float32, np.int8)
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def width(self) -> int:
        return self.numbers.shape[1]

    def take(self, places: np.ndarray | slice) -> Tensor:
        """Rows at any ``places`` (…) → float32 (…, d)."""
        some = self.numbers[places]
        if some.dtype == np.float32:
            return torch.from_numpy(some)
        return torch.nn.functional.normalize(torch.from_numpy(some.astype(np.float32)), dim=-1)

    def blocks(self, among: np.ndarray | None = None, size: int = _BLOCK) -> Iterator[tuple[int, Tensor]]:
        """All rows, or those at the places ``among``, and where each block begins."""
        for begin in range(0, len(self) if among is None else len(among), size):
            there = slice(begin, begin + size)
            yield begin, self.take(there if among is None else among[there])


@torch.no_grad()
def best(queries: np.ndarray, kept: Kept, k: int, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` rows of ``kept`` with the largest cosine to each of ``queries`` (m, d), unit rows.

    Args:
        among: places of the rows to choose from; all of them if None.

    Returns:
        cosines (m, k) and places (m, k), largest first; as many as there are if that is fewer.

    >>> best(np.float32([[1, 0]]), Kept(np.float32([[0, 1], [1, 0], [0.6, 0.8]])), 2)[1]
    array([[1, 2]])
    """
    asked, n = torch.from_numpy(np.ascontiguousarray(queries)), len(kept) if among is None else len(among)
    k = min(k, n)
    step = max(1, _AT_ONCE // _BLOCK)
    found = [_best(some, kept, k, among) for some in asked.split(step)] if k else []
    if not found:
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    cosines, places = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return cosines, places if among is None else among[places]


def _best(asked: Tensor, kept: Kept, k: int, among: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    cosines, places = torch.zeros(len(asked), 0), torch.zeros(len(asked), 0, dtype=torch.long)
    for begin, rows in kept.blocks(among):
        here = (asked @ rows.T).topk(min(k, len(rows)), dim=1)
        cosines = torch.cat([cosines, here.values], 1)
        places = torch.cat([places, here.indices + begin], 1)
        if cosines.shape[1] > k:
            cosines, at = cosines.topk(k, dim=1)
            places = places.gather(1, at)
    order = cosines.argsort(dim=1, descending=True, stable=True)
    return cosines.gather(1, order).numpy(), places.gather(1, order).numpy()


@torch.no_grad()
def again(queries: np.ndarray, kept: Kept, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the ``candidates`` (m, c) of each query, places of rows or −1 for none, the ``k`` best by their cosine."""
    cosines, places = [], []
    step = max(1, _NUMBERS // max(1, candidates.shape[1] * kept.width))
    for at in range(0, len(queries), step):
        some = candidates[at : at + step]
        found = torch.bmm(kept.take(some), torch.from_numpy(queries[at : at + step])[:, :, None])[:, :, 0]
        found[torch.from_numpy(some < 0)] = -torch.inf
        first = found.topk(min(k, some.shape[1]), dim=1)
        cosines.append(first.values.numpy())
        places.append(np.take_along_axis(some, first.indices.numpy(), 1))
    return np.concatenate(cosines), np.concatenate(places)
