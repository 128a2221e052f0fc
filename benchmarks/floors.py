"""The simple methods that an autoencoder has to beat: PCA, nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Standard:
    """Column means and deviations of the fitted rows; a constant column is only centred."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, rows: np.ndarray) -> Self:
        rows = rows.astype(np.float64)
        scale = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(scale > 0, scale, 1.0))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.mean) / self.scale


@dataclass(frozen=True)
class PCA:
    """Exact PCA: every component, largest first, with the share of the variance that each explains."""

    mean: np.ndarray
    components: np.ndarray
    explained: np.ndarray

    @classmethod
    def fit(cls, rows: np.ndarray) -> Self:
        mean = rows.mean(axis=0, dtype=np.float64)
        centred = rows - mean
        variance, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
        variance = variance[::-1].clip(min=0)
        return cls(mean, vectors[:, ::-1].T, variance / max(variance.sum(), 1e-300))

    def size_for(self, share: float) -> int:
        """How many components explain at least ``share`` of the variance; at most all but one."""
        size = 1 + int(np.searchsorted(np.cumsum(self.explained), share))
        return min(size, max(1, len(self.explained) - 1))

    def error(self, rows: np.ndarray, size: int) -> np.ndarray:
        """Squared reconstruction error per row, summed over the columns."""
        centred = rows - self.mean
        codes = centred @ self.components[:size].T
        return (centred**2).sum(axis=1) - (codes**2).sum(axis=1)


def neighbour_distances(fitted: np.ndarray, rows: np.ndarray, k: int = 5) -> np.ndarray:
    """Distances from each row to its k nearest fitted rows, nearest first."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=min(k, len(fitted))).fit(fitted).kneighbors(rows)[0]
