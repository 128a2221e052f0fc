r"""Classes as gaussians of one shape, learned from few labelled rows and many without.

.. math::
    p(x \mid k) = \mathcal{N}(\mu_k, \Sigma), \qquad q_{ik} \propto p(x_i \mid k), \qquad
    \mu_k = \frac{\sum_i q_{ik} x_i}{\sum_i q_{ik}}, \quad
    \Sigma = \frac{1}{n} \sum_{ik} q_{ik} (x_i - \mu_k)(x_i - \mu_k)^\top

by expectation and maximisation: labelled rows keep their class, the others tell how classes are shaped.

References:
    Dempster, Laird, Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.
    Nigam, McCallum, Thrun, Mitchell, Text Classification from Labeled and Unlabeled Documents Using EM, 2000
    (labelled rows weigh more).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Rounds; what is taken of a round covariance in all directions; how much more a labelled row counts.
_ROUNDS, _SHRINK, _WEIGHT = 12, 0.1, 3.0


@dataclass(frozen=True)
class Gaussians:
    """``weight`` (d, c) and ``bias`` (c,) of the logits of classes, which are linear since all have one covariance."""

    weight: Tensor
    bias: Tensor

    def told(self, z: Tensor) -> Tensor:
        """Rows (n, d) → logits (n, c)."""
        return z.double() @ self.weight + self.bias

    @classmethod
    @torch.no_grad()
    def fit(cls, z: Tensor, seeds: Tensor) -> Gaussians:
        """From rows (n, d) and what is known of them (n, c): one-hot, or 0 of a row without a label."""
        middle = z.double().mean(0)
        z = z.double() - middle
        known = seeds.sum(1) > 0
        y = seeds.double()
        weight = torch.where(known, _WEIGHT, 1.0).double()[:, None]
        means = y.T @ z / y.sum(0).clamp(min=1e-12)[:, None]
        within = (z[known] - y[known] @ means).square().mean().clamp(min=1e-12)
        # of so few rows no shape is known: the first guess is the nearest mean
        precision = torch.eye(z.shape[1], dtype=z.dtype, device=z.device) / (within * z.shape[1] / _SOFT)
        fitted = cls._of(means, precision)
        for _ in range(_ROUNDS):
            q = fitted.told(z).softmax(1)
            # no class may take all that is unsure
            q = q / q.sum(0).clamp(min=1e-12).sqrt()
            q = q / q.sum(1, keepdim=True)
            q = torch.where(known[:, None], y, q) * weight
            mass = q.sum(0).clamp(min=1e-12)
            means = q.T @ z / mass[:, None]
            covariance = (z * weight).T @ z - (means.T * mass) @ means
            covariance = covariance / weight.sum()
            size = covariance.diagonal().mean().clamp(min=1e-12)
            covariance = (1 - _SHRINK) * covariance + _SHRINK * size * torch.eye(len(covariance)).to(covariance)
            fitted = cls._of(means, torch.linalg.inv(covariance))
        return cls(fitted.weight, fitted.bias - middle @ fitted.weight)

    @classmethod
    def _of(cls, means: Tensor, precision: Tensor) -> Gaussians:
        weight = precision @ means.T
        return cls(weight, -(means.T * weight).sum(0) / 2)


#: The first guess is as sure as if rows had this many independent numbers.
_SOFT = 8.0
