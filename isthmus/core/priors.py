"""Priors: densities over codes. Every sampler is a prior fitted after training."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from isthmus.core.parts import Prior, Shape, size


class StandardNormal(Prior):
    """N(0, I): what a rate is counted against. There is nothing to fit."""

    def __init__(self, code_shape: Shape, seen_shape: Shape):
        super().__init__()
        self.code_shape = tuple(code_shape)
        self.register_buffer("where", torch.zeros(()), persistent=False)  # follows the model's device

    def fit(self, z: Tensor) -> None:
        pass

    def log_prob(self, z: Tensor) -> Tensor:
        z = z.flatten(1)
        return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(n, *self.code_shape, generator=generator, device=self.where.device)


class FullGaussian(Prior):
    """N(m, LLᵀ) with the mean and covariance of the codes. Beside a linear decoder this is exactly
    probabilistic PCA, so that −log p(x | z) − log p(z) ranks rows as a density does.

    References:
        Tipping and Bishop, Probabilistic Principal Component Analysis, 1999.
    """

    def __init__(self, code_shape: Shape, seen_shape: Shape):
        super().__init__()
        self.code_shape = tuple(code_shape)
        n = size(code_shape)
        self.register_buffer("center", torch.zeros(n))
        self.register_buffer("factor", torch.eye(n))

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        z = z.flatten(1).double()
        center = z.mean(0)
        covariance = (z - center).T @ (z - center) / max(len(z) - 1, 1)
        # a little of the mean variance on the diagonal: fewer rows than dimensions must not be singular
        scale = covariance.diagonal().mean().clamp(min=1e-12)
        covariance = covariance + 1e-3 * scale * torch.eye(len(center), dtype=z.dtype, device=z.device)
        self.center.copy_(center)
        self.factor.copy_(torch.linalg.cholesky(covariance))

    def log_prob(self, z: Tensor) -> Tensor:
        apart = torch.linalg.solve_triangular(self.factor, (z.flatten(1) - self.center).T, upper=False)
        log_det = self.factor.diagonal().log().sum()
        return -0.5 * (apart.square().sum(0) + len(self.center) * math.log(2 * math.pi)) - log_det

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(n, len(self.center), generator=generator, device=self.center.device)
        return (self.center + noise @ self.factor.T).reshape(n, *self.code_shape)


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
        from sklearn.mixture import GaussianMixture

        rows = z.flatten(1).double().cpu().numpy()
        ridge = max(1e-6, 1e-3 * float(rows.var(0).mean()))
        counts = [k for k in (1, 2, 3, 5, 10, 20, 50) if k <= self.components and 5 * k <= len(rows)] or [1]
        fits = [GaussianMixture(k, reg_covar=ridge, max_iter=200, random_state=0) for k in counts]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fit that has not settled is a candidate like any other
            best = min((mixture.fit(rows) for mixture in fits), key=lambda mixture: mixture.bic(rows))
        k = best.n_components
        self.weights.zero_()
        self.weights[:k].copy_(torch.from_numpy(best.weights_))
        self.centers[:k].copy_(torch.from_numpy(best.means_))
        self.factors[:k].copy_(torch.linalg.cholesky(torch.from_numpy(best.covariances_)))

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


PRIORS: dict[str, type[Prior]] = {
    "gaussian": FullGaussian,
    "mixture": Mixture,
    "standard_normal": StandardNormal,
}
