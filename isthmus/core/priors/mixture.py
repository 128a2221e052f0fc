"""A mixture of gaussians, fitted to codes after training.

.. math:: p(z) = \\sum_k \\pi_k \\, N(z; m_k, L_k L_k^\\top)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isthmus.core.parts import Prior, Shape, size

#: Variance that every gaussian has beside that of its codes, where all codes together have variance 1.
_RIDGE = 1e-3
#: Rounds of k-means to begin with, rounds after it, and the gain in nats a code below which it stops.
_BEGIN, _ROUNDS, _ENOUGH = 10, 100, 1e-3
#: Numbers that products of pairs of entries may take at once: 64 MB.
_AT_ONCE = 1 << 24


class Mixture(Prior):
    """A mixture of up to ``components`` full gaussians; BIC chooses how many.

    References:
        Ghosh et al., From Variational to Deterministic Autoencoders, 2020 (a mixture fitted to codes).
        Schwarz, Estimating the Dimension of a Model, 1978 (BIC).
    """

    def __init__(self, code_shape: Shape, seen_shape: Shape, *, components: int = 10):
        super().__init__()
        if components < 1:
            raise ValueError(f"components is at least 1, got {components}")
        self.code_shape, self.components = tuple(code_shape), components
        n = size(code_shape)
        # components that BIC does not want keep the weight 0, so that the file's shapes are the spec's
        weights = torch.zeros(components)
        weights[0] = 1.0
        self.register_buffer("weights", weights)
        self.register_buffer("centers", torch.zeros(components, n))
        self.register_buffer("factors", torch.eye(n).repeat(components, 1, 1))

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        rows = z.flatten(1)
        counts = [k for k in (1, 2, 3, 5, 10, 20, 50) if k <= self.components and 5 * k <= len(rows)] or [1]
        n, d = rows.shape
        each = d + d * (d + 1) / 2 + 1

        def bic(k: int) -> float:
            self.settle(z, k)
            return (k * each - 1) * math.log(n) - 2 * float(self.log_prob(z).double().sum())

        self.settle(z, min(counts, key=bic))

    @torch.no_grad()
    def settle(self, z: Tensor, k: int) -> None:
        """Fit exactly ``k`` gaussians to codes (n, *code_shape) by expectation and maximisation."""
        weights, centers, factors = gaussians(z.flatten(1), k)
        self.weights.zero_()
        self.weights[:k].copy_(weights)
        self.centers[:k].copy_(centers)
        self.factors[:k].copy_(factors)

    def log_prob(self, z: Tensor) -> Tensor:
        apart = (z.flatten(1)[None] - self.centers[:, None]).mT  # (k, d, B)
        scaled = torch.linalg.solve_triangular(self.factors, apart, upper=False)
        log_det = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        each = -0.5 * (scaled.square().sum(1) + z[0].numel() * math.log(2 * math.pi)) - log_det[:, None]
        return (each + self.weights.log()[:, None]).logsumexp(0)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        which = self.weights.multinomial(n, replacement=True, generator=generator)
        noise = torch.randn(n, self.centers.shape[1], 1, generator=generator, device=self.centers.device)
        return (self.centers[which] + (self.factors[which] @ noise)[..., 0]).reshape(n, *self.code_shape)

    def extra_repr(self) -> str:
        return f"components={self.components}"


@torch.no_grad()
def gaussians(z: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (k,), centers (k, d) and factors (k, d, d) of gaussians that make codes (n, d) likely; the same every
    time.

    Each round is two products of matrices, because −½ (z − m)ᵀ P (z − m) is linear in the products of entries z zᵀ.
    """
    center = z.mean(0)
    covariance = (z - center).T.double() @ (z - center).double() / max(len(z) - 1, 1)
    scale = covariance.diagonal().mean().clamp(min=1e-12)
    eye = torch.eye(z.shape[1], dtype=torch.float64, device=z.device)
    root = torch.linalg.cholesky(covariance + _RIDGE * scale * eye)
    w = torch.linalg.solve_triangular(root, (z - center).T.double(), upper=False).T.float()
    share, before = _heaps(w, k), -math.inf
    for _ in range(_ROUNDS):
        weights, centers, spreads = _maximised(w, share)
        factors = torch.linalg.cholesky(spreads + _RIDGE * eye)
        logs = _logs(w, weights, centers, factors)
        total = logs.logsumexp(1, keepdim=True)
        after = float(total.double().mean())
        if after < before + _ENOUGH:
            break
        share, before = (logs - total).exp(), after
    return weights, center + (centers @ root.T).to(z), (root @ factors).to(z)


def _maximised(w: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What fits the codes best that each gaussian has a ``share`` (n, k) of: weights, centers, covariances."""
    d = w.shape[1]
    counts = share.double().sum(0) + 1e-6
    centers = (share.T @ w).double() / counts[:, None]
    pairs = sum((some.T @ _pairs(rows) for some, rows in _blocks(share, w)), w.new_zeros(len(counts), d * d))
    spreads = pairs.double().reshape(-1, d, d) / counts[:, None, None] - centers[:, :, None] * centers[:, None]
    return counts / counts.sum(), centers, spreads


def _logs(w: Tensor, weights: Tensor, centers: Tensor, factors: Tensor) -> Tensor:
    """log of weight times density, (n, k)."""
    precise = torch.cholesky_inverse(factors)
    linear = (precise @ centers[:, :, None])[..., 0]
    constant = weights.log() - factors.diagonal(dim1=1, dim2=2).log().sum(1) - 0.5 * (linear * centers).sum(1)
    constant -= w.shape[1] / 2 * math.log(2 * math.pi)
    flat, found = precise.flatten(1).float().T, []
    for rows, _ in _blocks(w, w):
        found.append(rows @ linear.float().T - 0.5 * (_pairs(rows) @ flat) + constant.float())
    return torch.cat(found)


def _heaps(w: Tensor, k: int) -> Tensor:
    """Which heap each code is in (n, k), 0 or 1: k-means, begun far apart (k-means++)."""
    generator = torch.Generator(w.device).manual_seed(0)
    centers = w[torch.randint(len(w), (1,), generator=generator, device=w.device)]
    nearest = torch.full((len(w),), math.inf, device=w.device)
    for _ in range(k - 1):
        nearest = nearest.minimum((w - centers[-1]).square().sum(1))
        chances = nearest if nearest.sum() > 0 else torch.ones_like(nearest)
        centers = torch.cat([centers, w[chances.multinomial(1, generator=generator)]])
    for _ in range(_BEGIN):
        which = (w.new_zeros(()) + centers.square().sum(1) - 2 * w @ centers.T).argmin(1)
        share = torch.nn.functional.one_hot(which, k).to(w)
        counts = share.sum(0)
        centers = torch.where(counts[:, None] > 0, share.T @ w / counts.clamp(min=1)[:, None], centers)
    return share


def _pairs(w: Tensor) -> Tensor:
    """(B, d) → (B, d²): the products of all entries of a row."""
    return (w[:, :, None] * w[:, None]).flatten(1)


def _blocks(a: Tensor, b: Tensor) -> zip[tuple[Tensor, Tensor]]:
    step = max(1, _AT_ONCE // b.shape[1] ** 2)
    return zip(a.split(step), b.split(step), strict=True)
