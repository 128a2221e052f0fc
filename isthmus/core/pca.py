"""Principal components: the baseline beside every fit, and where the linear path starts.

.. math:: \\hat x = m + V V^\\top (x - m), \\quad V = \\text{leading eigenvectors of the covariance}

References:
    Halko, Martinsson, Tropp, Finding structure with randomness, 2011, https://arxiv.org/abs/0909.4061
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from isthmus.core.networks.dense import product

#: Up to this many columns the covariance is decomposed exactly; beyond, by random projections.
_EXACT = 2048


@dataclass(frozen=True)
class PCA:
    """``mean`` (D,), ``components`` (k, D) by falling ``variances`` (k,), and the ``total`` variance.

    Not ``centred``, it is LSA: directions from the origin, which mean squares take the place of variances for.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    total: float
    centred: bool = True

    def reconstruct(self, x: Tensor) -> Tensor:
        """(n, D) → (n, D)."""
        if not self.centred:
            return x @ self.components.T @ self.components
        return (x - self.mean) @ self.components.T @ self.components + self.mean

    def first(self, k: int) -> PCA:
        return replace(self, components=self.components[:k], variances=self.variances[:k])

    def dim_for(self, share: float) -> int:
        """How many components explain this share of the total variance."""
        explained = self.variances.double().cumsum(0) / max(self.total, 1e-30)
        return int((explained < share).sum()) + 1


def fit_pca(chunks: Callable[[], Iterable[Tensor]], k: int) -> PCA:
    """The leading ``k`` components of rows that come in chunks (n, D), however many there are.

    Sums over chunks are float32, and what is summed over chunks float64.
    """
    count, total = 0, None
    for x in chunks():
        total = x.sum(0).double() if total is None else total + x.sum(0).double()
        count += len(x)
    assert total is not None
    mean = (total / count).float()
    width = len(mean)
    k = max(1, min(k, width, count - 1))
    if width > _EXACT:
        return _randomised(chunks, mean, k, count)
    covariance = torch.zeros(width, width, dtype=torch.float64)
    for x in chunks():
        columns = (x - mean).T
        covariance += product(columns, columns)
    covariance /= max(count - 1, 1)
    variances, vectors = torch.linalg.eigh(covariance)
    total_variance = float(covariance.diagonal().sum())
    components = vectors.flip(1)[:, :k].T.float().contiguous()
    return PCA(mean, _signed(components), variances.flip(0)[:k].clamp(min=0).float(), total_variance)


def fit_lsa(starts: Tensor, columns: Tensor, values: Tensor, width: int, k: int) -> PCA:
    """Latent semantic analysis of rows of which nearly all entries are zero: nothing of their size becomes dense.

    Row i has ``values`` in ``columns`` from place ``starts[i]`` to ``starts[i + 1]``. The mean is left in: without it
    every zero of a document would say something.

    References:
        Deerwester, Dumais, Furnas, Landauer, Harshman, Indexing by Latent Semantic Analysis, 1990.
    """
    count = len(starts) - 1
    k = max(1, min(k, width, count - 1))
    rows = torch.arange(count).repeat_interleave(starts.diff())
    columns, order = columns.long(), columns.sort(stable=True).indices
    of_column = torch.searchsorted(columns[order], torch.arange(width))

    def down(basis: Tensor) -> Tensor:
        return embedding_bag(columns, basis, starts[:-1], mode="sum", per_sample_weights=values)

    def back(image: Tensor) -> Tensor:
        return embedding_bag(rows[order], image, of_column, mode="sum", per_sample_weights=values[order])

    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(width, min(k + 10, width, count), generator=generator))[0]
    for _ in range(3):
        basis, triangle = torch.linalg.qr(back(down(basis)))
    left, squares, _ = torch.linalg.svd(triangle)
    mean = torch.zeros(width, dtype=torch.float64).index_add_(0, columns, values.double()) / count
    total = float(values.double().square().sum()) / count
    components = (basis @ left)[:, :k].T.contiguous()
    return PCA(mean.float(), _signed(components), squares[:k] / count, total, centred=False)


def linear_effect(condition: Tensor, x: Tensor) -> Tensor:
    """What each number of the condition (n, c) adds to x (n, D): (D, c), by least squares with a little ridge."""
    c = (condition - condition.mean(0)).double()
    ridge = 1e-6 * max(len(c), 1) * torch.eye(c.shape[1], dtype=c.dtype)
    return torch.linalg.solve(c.T @ c + ridge, c.T @ (x - x.mean(0)).double()).T.float()


def _randomised(chunks: Callable[[], Iterable[Tensor]], mean: Tensor, k: int, count: int) -> PCA:
    """Subspace iteration: four passes over the rows, memory for k + 10 directions."""
    generator = torch.Generator().manual_seed(0)
    n_directions = min(k + 10, len(mean), count)
    basis = torch.linalg.qr(torch.randn(len(mean), n_directions, generator=generator))[0]
    spread = 0.0
    for _ in range(4):
        image, spread = torch.zeros_like(basis), 0.0
        for x in chunks():
            x = x - mean
            image += product(x.T, product(x, basis.T).T)
            spread += float(x.square().sum())
        basis, triangle = torch.linalg.qr(image)
    left, values, _ = torch.linalg.svd(triangle)
    degrees = max(count - 1, 1)
    components = (basis @ left)[:, :k].T.contiguous()
    return PCA(mean, _signed(components), values[:k] / degrees, spread / degrees)


def _signed(components: Tensor) -> Tensor:
    """Each component with its largest entry positive, so that a fit repeats."""
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return components * torch.where(largest < 0, -1.0, 1.0)
