r"""Many codes in lists around centres, of which a query looks through the nearest ones; every code in four bits for two
numbers.

.. math:: q \cdot x \approx q \cdot c(x) + \sum_m q_m \cdot b_m(x), \qquad
    b_m = \text{the nearest of 16 codewords to part } m \text{ of } x - c(x)

What is found so is compared again by the codes themselves. All of it is plain arrays: faiss does the searching, and
nothing that faiss has written is ever read.

References:
    Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, 2011.
    André, Kermarrec, Le Scouarnec, Quicker ADC: Unlocking the hidden potential of Product Quantization with SIMD, 2021.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from isthmus.core.scan import Kept

#: Rows that centres and codewords are learned from, for each centre.
_PER_CENTRE = 32
_CODEWORDS = 16
_BLOCK = 1 << 16


def faiss_is_here() -> bool:
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def n_lists(n: int) -> int:
    """About 4 √n, a power of two.

    >>> n_lists(100_000), n_lists(1_000_000)
    (1024, 4096)
    """
    return 1 << round(np.log2(4 * n**0.5) - 0.01)


def n_parts(width: int) -> int:
    """Parts of a code: two numbers each, or more so that there are at most 64.

    >>> n_parts(64), n_parts(128), n_parts(31), n_parts(512)
    (32, 64, 31, 64)
    """
    fits = [m for m in range(1, width + 1) if width % m == 0 and m <= max(1, min(64, width // 2))]
    return fits[-1] if 4 * fits[-1] >= min(width, 128) else width


class Lists:
    """Which list every row is in (n,), and its code within (n, ⌈parts ÷ 2⌉); ``centres`` (l, d), ``codewords``
    (parts, 16, d ÷ parts).
    """

    def __init__(self, centres: np.ndarray, codewords: np.ndarray, cell: np.ndarray, packed: np.ndarray):
        self.centres, self.codewords, self.cell, self.packed = centres, codewords, cell, packed
        self._index = None

    @classmethod
    def fit(cls, kept: Kept, told: Callable[[str], object] = lambda line: None) -> Lists:
        """Learn centres and codewords from some rows, then place all."""
        import faiss

        n, width, lists = len(kept), kept.width, n_lists(len(kept))
        some = np.sort(np.random.default_rng(0).choice(n, min(n, _PER_CENTRE * lists), replace=False))
        told(f"learning {lists:,} lists from {len(some):,} rows")
        rows = np.concatenate([block.numpy() for _, block in kept.blocks(some, _BLOCK)])
        clustering = faiss.Kmeans(width, lists, niter=8, seed=1, spherical=True, min_points_per_centroid=1)
        clustering.train(rows)
        empty = np.zeros((n_parts(width), _CODEWORDS, width // n_parts(width)), np.float32)
        bare = cls(clustering.centroids, empty, np.zeros(0, "<u2"), np.zeros((0, 0), np.uint8))
        index = bare._bare()
        index.pq.cp.niter = 10
        index.is_trained = False
        index.train(rows)
        codewords = faiss.vector_to_array(index.pq.centroids).reshape(empty.shape)
        made = cls(clustering.centroids, codewords, bare.cell, np.zeros((0, index.code_size), np.uint8))
        return made.with_rows(kept, range(0, n))

    def with_rows(self, kept: Kept, places: range) -> Lists:
        """The same with the rows of ``kept`` at ``places`` behind the others."""
        index = self._bare()
        cells, packed = [self.cell], [self.packed]
        for begin in range(places.start, places.stop, _BLOCK):
            rows = kept.take(slice(begin, min(begin + _BLOCK, places.stop))).numpy()
            said = index.sa_encode(np.ascontiguousarray(rows))
            wide = said.shape[1] - index.code_size  # the list's number comes first, in as many bytes as it needs
            cells.append(sum(said[:, j].astype("<u2") << (8 * j) for j in range(wide)).astype("<u2"))
            packed.append(said[:, wide:])
        return Lists(self.centres, self.codewords, np.concatenate(cells), np.concatenate(packed))

    def take(self, places: np.ndarray) -> Lists:
        return Lists(self.centres, self.codewords, self.cell[places], self.packed[places])

    def _bare(self):
        """faiss' index without rows."""
        import faiss

        lists, width = self.centres.shape
        coarse = faiss.IndexFlatIP(width)
        coarse.add(np.ascontiguousarray(self.centres))
        index = faiss.IndexIVFPQ(coarse, width, lists, len(self.codewords), 4, faiss.METRIC_INNER_PRODUCT)
        coarse.this.disown()
        index.own_fields = True
        index.is_trained = True
        faiss.copy_array_to_vector(np.ascontiguousarray(self.codewords).ravel(), index.pq.centroids)
        return index

    @property
    def ready(self) -> bool:
        """Whether faiss holds them already."""
        return self._index is not None

    def _searched(self):
        """faiss' index with all rows, made when it is first asked for."""
        if self._index is None:
            import faiss

            bare = self._bare()
            order = np.argsort(self.cell, kind="stable")
            ends = np.searchsorted(self.cell[order], np.arange(len(self.centres) + 1))
            packed, order = np.ascontiguousarray(self.packed[order]), order.astype(np.int64)
            for i in np.flatnonzero(np.diff(ends)):
                some = slice(ends[i], ends[i + 1])
                bare.invlists.add_entries(
                    int(i), int(ends[i + 1] - ends[i]), faiss.swig_ptr(order[some]), faiss.swig_ptr(packed[some])
                )
            bare.ntotal = len(order)
            self._index, self._bare_kept = faiss.IndexIVFPQFastScan(bare), bare
        return self._index

    def nearest(self, queries: np.ndarray, k: int, looked: int) -> np.ndarray:
        """Places (m, k) of rows that are near ``queries`` (m, d), from ``looked`` lists each, nearest first; −1 where
        there are no more.
        """
        index = self._searched()
        index.nprobe = looked
        return index.search(np.ascontiguousarray(queries), k)[1]

    def n_bytes(self) -> int:
        """Bytes that are in memory while searching, row numbers included."""
        return self.packed.nbytes + 8 * len(self.packed) + self.centres.nbytes + self.codewords.nbytes
