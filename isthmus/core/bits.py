r"""Codes as bits, to be looked through in little memory: on which side of random planes a code lies.

.. math:: b_j = [\,(x - \bar x) \cdot w_j > 0\,], \qquad
    P(b_j(x) \neq b_j(y)) = \mathrm{angle}(x - \bar x, y - \bar x) / \pi

The planes are those of random rotations, one after the other, so that they are spread evenly. Rows that differ in few
bits are candidates, which are then compared by their codes.

References:
    Charikar, Similarity Estimation Techniques from Rounding Algorithms, 2002.
"""

from __future__ import annotations

import numpy as np

#: Bits of a code of few numbers.
LEAST = 128
#: Differences that are held together.
_AT_ONCE = 1 << 22


class Bits:
    """Bits of rows (n, b ÷ 8) beside the planes (d, b) and the middle (d,) that they come from."""

    def __init__(self, bits: np.ndarray, planes: np.ndarray, middle: np.ndarray):
        self.bits, self.planes, self.middle = bits, planes, middle

    @classmethod
    def fit(cls, some: np.ndarray) -> Bits:
        """Planes for rows like ``some`` (n, d), and no rows yet."""
        width = some.shape[1]
        n = max(LEAST, -(-width // 64) * 64)
        generator = np.random.default_rng(0)
        turns = [np.linalg.qr(generator.normal(size=(width, width)))[0] for _ in range(-(-n // width))]
        planes = np.concatenate(turns, axis=1)[:, :n].astype(np.float32)
        return cls(np.zeros((0, n // 8), np.uint8), planes, some.mean(0))

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, d) → bits (n, b ÷ 8)."""
        return np.packbits((rows - self.middle) @ self.planes > 0, axis=1)

    def nearest(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Places of the ``k`` rows that differ from each of ``queries`` (m, d) in the fewest bits, in any order."""
        asked, k = self.of(queries), min(k, len(self.bits))
        if (faiss := _faiss()) is not None:
            return faiss.knn_hamming(asked, np.ascontiguousarray(self.bits), k)[1].astype(np.int64)
        rows = np.ascontiguousarray(self.bits).view(np.uint64)
        found = np.empty((len(asked), k), np.int64)
        for i, one in enumerate(np.ascontiguousarray(asked).view(np.uint64)):
            differing = _differing(rows, one)
            found[i] = np.argpartition(differing, k - 1)[:k] if k < len(rows) else np.arange(len(rows))
        return found


def _differing(rows: np.ndarray, one: np.ndarray) -> np.ndarray:
    """In how many bits each row differs from one."""
    if hasattr(np, "bitwise_count"):  # from numpy 2 on
        return sum(np.bitwise_count(rows[:, j] ^ one[j]).astype(np.uint16) for j in range(len(one)))
    return np.unpackbits((rows ^ one).view(np.uint8), axis=1).sum(1, dtype=np.uint16)


def _faiss():
    try:
        import faiss
    except ImportError:
        return None
    return faiss
