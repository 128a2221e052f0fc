"""How close drawn rows come to real ones, in features: distances of distributions, and who lies where.

.. math::
    \\mathrm{FD} = \\|m_1 - m_2\\|^2 + \\operatorname{tr}\\bigl(C_1 + C_2 - 2 (C_1 C_2)^{1/2}\\bigr), \\qquad
    \\mathrm{KD} = E[k(a, a')] + E[k(b, b')] - 2 E[k(a, b)], \\; k(a, b) = (a \\cdot b / d + 1)^3

Precision is the share of drawn rows within reach of a real one, where a row reaches as far as its k-th neighbour;
recall is the same the other way round. Density counts how many real rows reach a drawn one, and coverage is the share
of real rows that reach one.

References:
    Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017, https://arxiv.org/abs/1706.08500 (FD).
    Bińkowski et al., Demystifying MMD GANs, 2018, https://arxiv.org/abs/1801.01401 (KD).
    Kynkäänniemi et al., Improved Precision and Recall Metric, 2019, https://arxiv.org/abs/1904.06991.
    Naeem et al., Reliable Fidelity and Diversity Metrics, 2020, https://arxiv.org/abs/2002.09797.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.core.nearest import nearest

#: The neighbour whose distance is a row's reach: of precision and recall, of density and coverage.
_K, _K_DENSITY = 3, 5
#: Rows between which kernels are computed, and distances that are held together.
_KERNELS, _AT_ONCE = 2000, 1 << 22


@dataclass(frozen=True)
class Fidelity:
    """``frechet`` and ``kernel`` are distances, 0 where both are alike (the kernel's may fall a little below); the
    others are shares, 1 where they are, and ``density`` may exceed it.
    """

    frechet: float
    kernel: float
    precision: float
    recall: float
    density: float
    coverage: float


@torch.no_grad()
def fidelity(real: Tensor, drawn: Tensor) -> Fidelity:
    """Of features of real rows (n, d) and of drawn ones (m, d); at least 6 of each."""
    real, drawn = real.float(), drawn.float()
    precision, recall = _share_within(drawn, real, _K), _share_within(real, drawn, _K)
    reach = nearest(real, real, _K_DENSITY, itself=False)[0][:, -1]
    inside = _counts(drawn, real, reach)
    coverage = (nearest(real, drawn, 1)[0][:, 0] <= reach).float().mean()
    return Fidelity(
        frechet(real, drawn),
        kernel_distance(real, drawn),
        precision,
        recall,
        float(inside.double().mean()) / _K_DENSITY,
        float(coverage),
    )


def frechet(a: Tensor, b: Tensor) -> float:
    """Between the normal distributions that have the moments of ``a`` (n, d) and ``b`` (m, d)."""
    (m, c), (n, d) = ((x.double().mean(0), torch.cov(x.double().T).reshape(x.shape[1], -1)) for x in (a, b))
    # the trace of (CD)^½, whose eigenvalues are those of C^½ D C^½, which is symmetric
    values, vectors = torch.linalg.eigh(c)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ d @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float((m - n).square().sum() + c.trace() + d.trace() - 2 * shared))


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """The squared distance of means in the space of the cubic kernel, without bias, of at most 2,000 rows each."""
    a, b = a[:_KERNELS].double(), b[:_KERNELS].double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.diagonal().sum()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


def _share_within(rows: Tensor, others: Tensor, k: int) -> float:
    """The share of ``rows`` that one of ``others`` reaches."""
    reach = nearest(others, others, k, itself=False)[0][:, -1]
    return float((_counts(rows, others, reach) > 0).double().mean())


def _counts(rows: Tensor, others: Tensor, reach: Tensor) -> Tensor:
    """How many of ``others`` (n, d) reach each of ``rows`` (m, d): (m,)."""
    middle = others.mean(0)
    rows, others = rows - middle, others - middle
    lengths, found = others.square().sum(1), []
    for some in rows.split(max(1, _AT_ONCE // len(others))):
        apart = torch.addmm(lengths, some, others.T, alpha=-2) + some.square().sum(1, keepdim=True)
        found.append((apart.clamp(min=0) <= reach.square()).sum(1))
    return torch.cat(found)
