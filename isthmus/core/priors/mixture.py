"""A mixture of gaussians, fitted to codes after training.

.. math:: p(z) = \\sum_k \\pi_k \\, N(z; m_k, L_k L_k^\\top)
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from isthmus.core.parts import Prior, Shape, size


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
