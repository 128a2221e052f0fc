r"""Wide matrices of which nearly all cells are zero: counts, ratings, one-hot columns; never dense but in a batch.

.. math:: x_{ij} \propto \log(1 + v_{ij}) \left(1 + \log \frac{1 + N}{1 + N_j}\right), \quad \|x_i\| = 1
    \qquad \text{or, where some } v < 0, \qquad x_{ij} = v_{ij} / s_j

N_j is in how many of the N rows column j is not zero, and s_j the root mean square of what it then holds. What is not
negative divides among the columns (a multinomial); signed numbers are normal around what is expected.

References:
    Salton and Buckley, Term-weighting approaches in automatic text retrieval, 1988.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.data.sparse import Sparse
from isthmus.errors import DataError
from isthmus.modalities.array import cast
from isthmus.modalities.base import Modality
from isthmus.modalities.scaling import LIMIT

if TYPE_CHECKING:
    import scipy.sparse

#: Rows with fewer entries than this on average are not torn in two.
_TEARABLE = 8


class Matrix(Modality):
    """Rows of a sparse matrix.

    Arguments:
        dtype: NumPy name of the raw numbers, which come back.
        signed: Whether some are negative.
        weights: What each column is multiplied by.
        norm: The root mean square length of a row before it was brought to 1; 1 where it is not.
        filled: The entries of a row that are not zero, on average: as many come back.
        seen: What was noticed while fitting, for :meth:`describe`.
    """

    kind = "sparse"
    sparse = True

    def __init__(self, dtype: str, signed: bool, weights: list[float], norm: float, filled: float, seen: list[str]):
        self.dtype, self.signed, self.seen = np.dtype(dtype), bool(signed), list(seen)
        self.weights, self.norm, self.filled = np.asarray(weights, np.float32), float(norm), float(filled)
        self._names: list[str] = []

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        """Learn how rare columns are, or how large what stands in them is."""
        matrix = _csr(rows)
        n, width = matrix.shape
        if not matrix.nnz:
            raise DataError(f"{rows.origin} holds no value that is not zero: there is nothing to learn.")
        counts = np.bincount(matrix.indices, minlength=width)
        signed = bool(matrix.data.min() < 0)
        if signed:
            squares = np.bincount(matrix.indices, matrix.data.astype(np.float64) ** 2, minlength=width)
            weights = 1 / np.sqrt(np.where(counts > 0, squares / np.maximum(counts, 1), 1))
        else:
            weights = np.log((1 + n) / (1 + counts)) + 1
        seen = []
        if empty := int((np.diff(matrix.indptr) == 0).sum()):
            seen.append(f"{empty:,} of {n:,} rows hold nothing but zeros.")
        if never := int((counts == 0).sum()):
            seen.append(f"{never:,} of {width:,} columns hold nothing but zeros.")
        weights = weights.astype(np.float32).tolist()
        found = cls(matrix.dtype.name, signed, weights, 1.0, matrix.nnz / n, seen)
        if not signed:
            found.norm = float(np.sqrt((found._weighed(matrix)[1] ** 2).mean()))
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.weights),)

    @property
    def names(self) -> list[str]:
        if not self._names:  # there may be a million, and who asks for one asks for all again and again
            self._names = [f"x{j}" for j in range(len(self.weights))]
        return self._names

    def to_tensors(self, rows: Rows) -> dict[str, Tensor | Sparse]:
        matrix = self._fitting(rows)
        values, norms = self._weighed(matrix)
        if not self.signed:
            values = values / np.repeat(np.maximum(norms, 1e-12), np.diff(matrix.indptr))
        pieces = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), values.astype(np.float32)
        return {"x": Sparse(*map(torch.from_numpy, pieces), *self.shape)}

    def _weighed(self, matrix: scipy.sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        """Entries times their column's weight, and the length of each row (n,)."""
        raw = matrix.data.astype(np.float64)
        raw = np.clip(raw * self.weights[matrix.indices], -LIMIT, LIMIT) if self.signed else np.log1p(
            raw) * self.weights[matrix.indices]  # fmt: skip
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        return raw, np.sqrt(np.bincount(rows, raw**2, minlength=matrix.shape[0]))

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> scipy.sparse.csr_array:
        """As many entries as a row has (of ``like``, else on average), the largest; whole numbers are rounded."""
        import scipy.sparse

        n, width = len(x), self.shape[0]
        norms, filled = np.full(n, self.norm), np.full(n, max(1, round(self.filled)))
        if like is not None:
            matrix = self._fitting(like)
            norms, filled = self._weighed(matrix)[1], np.diff(matrix.indptr)
        x = x.detach().cpu()
        most = int(min(filled.max(initial=1), width))
        _, at = (x.abs() if self.signed else x).topk(max(most, 1), dim=1)
        values = torch.gather(x, 1, at).double().numpy() / self.weights[at.numpy()]
        if not self.signed:
            values = np.expm1(np.clip(values * norms[:, None], 0, 700))
        values[np.arange(values.shape[1]) >= filled[:, None]] = 0
        raw = cast(values, self.dtype)
        rows = np.repeat(np.arange(n), raw.shape[1])
        back = scipy.sparse.csr_array((raw.ravel(), (rows, at.numpy().ravel())), shape=(n, width))
        back.eliminate_zeros()
        return back

    def parts(self) -> dict[str, Any]:
        bodies = {"encoder": {"kind": "bag"}, "decoder": {"kind": "linear"}}
        if self.signed:
            # one σ for all: most columns are not met often enough for one of their own
            return {**bodies, "likelihood": {"kind": "gaussian", "per": "all"}}
        return {**bodies, "likelihood": {"kind": "multinomial"}, "corruption": {"kind": "words"}}

    def describe(self) -> list[str]:
        share = self.filled / self.shape[0]
        how = (
            "scaled by what stands in each column"
            if self.signed
            else "as log(1 + value), weighed by how rare columns are"
        )
        return [
            f"A sparse matrix of {self.shape[0]:,} columns ({self.dtype}), {share:.2%} of it not zero; {how}.",
            *self.seen,
        ]

    def remarks(self, rows: Rows) -> list[str]:
        matrix = self._fitting(rows)
        empty = int((np.diff(matrix.indptr) == 0).sum())
        return [f"{empty:,} of {len(rows):,} rows hold nothing but zeros."] if empty else []

    def halves(self, rows: Rows) -> tuple[Rows, Rows] | None:
        """Every entry to one side or the other, by chance: so the two tell of the same in other columns."""
        if self.signed or self.filled < _TEARABLE:
            return None
        matrix = self._fitting(rows)
        first = np.random.default_rng(0).random(matrix.nnz) < 0.5
        torn = []
        for side in (first, ~first):
            half = matrix.copy()
            half.data[~side] = 0
            half.eliminate_zeros()
            torn.append(Rows("sparse", half, rows.origin))
        return torn[0], torn[1]

    def to_json(self) -> dict[str, Any]:
        return {
            "dtype": self.dtype.name,
            "signed": self.signed,
            "weights": self.weights.tolist(),
            "norm": self.norm,
            "filled": self.filled,
            "seen": self.seen,
        }

    def __repr__(self) -> str:
        return f"Matrix(columns={self.shape[0]}, signed={self.signed})"

    def _fitting(self, rows: Rows) -> scipy.sparse.csr_array:
        """The rows, which have as many columns as in training, and nothing that the likelihood cannot have."""
        matrix = _csr(rows)
        if matrix.shape[1] != len(self.weights):
            # scikit-learn's own words, which its checks and its users look for
            raise DataError(
                f"X has {matrix.shape[1]} features, but Autoencoder is expecting {len(self.weights)} features as input."
            )
        if not self.signed and matrix.nnz and matrix.data.min() < 0:
            raise DataError(
                f"{rows.origin} holds {matrix.data.min():g}, and this model was fitted to a matrix without negative "
                "numbers. Fit again with rows that have some."
            )
        return matrix


def _csr(rows: Rows) -> scipy.sparse.csr_array:
    """Rows of any kind with columns of numbers as CSR, without zeros that are said."""
    import scipy.sparse

    matrix = rows.data
    if rows.kind == "array":
        matrix = scipy.sparse.csr_array(rows.data.reshape(len(rows.data), -1))
    elif rows.kind != "sparse":
        rows.of_one_length()  # says it in its own words
        raise DataError(f"A sparse matrix is wanted, and {rows.origin} holds {rows.kind} rows.")
    if matrix.nnz and not np.isfinite(matrix.data).all():
        n = int((~np.isfinite(matrix.data)).sum())
        raise DataError(
            f"{rows.origin} holds {n:,} cell(s) that are NaN or infinity. A sparse matrix has no missing cells: leave "
            "them out, or fit the dense array (X.toarray())."
        )
    if matrix.nnz and not matrix.data.all():
        matrix = matrix.copy()
        matrix.eliminate_zeros()
    return matrix
