r"""Decorrelation: what the numbers of a code have in common, linearly.

.. math:: \frac{\lambda}{2} \sum_{i \ne j} \rho_{ij}^2, \quad \rho = \text{correlations of the codes in the batch}

References:
    Kumar, Sattigeri, Balakrishnan, Variational Inference of Disentangled Latent Concepts from Unlabeled
    Observations, 2018, https://arxiv.org/abs/1711.00848 (DIP-VAE-I: the covariance of the codes' means).
    Zbontar et al., Barlow Twins, 2021, https://arxiv.org/abs/2103.03230 (correlations, so that size is no way out).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from isthmus.core.parts import Penalty, Schedule, Trace


class Decorrelation(Penalty):
    """λ · ½ Σ ρ² over all pairs of different numbers of the code, one figure for the batch.

    Chance alone gives the pairs of independent numbers 1/(n − 1) each in a batch of n rows: a floor, not a pull.
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 1.0):
        super().__init__()
        self.weight = Schedule.of(weight)

    def forward(self, trace: Trace) -> Tensor:
        # the means where codes are noisy: noise of their own would only hide what they share
        z = trace.code.aux.get("mu", trace.code.z).flatten(1)
        return self.weight.at(trace.progress) * self.shared(z)

    def shared(self, z: Tensor) -> Tensor:
        """½ Σ ρ² of codes (n, d)."""
        centred = z - z.mean(0)
        unit = centred * (centred.square().sum(0) + 1e-12).rsqrt()
        rho = unit.T @ unit
        return (rho.square().sum() - rho.diagonal().square().sum()) / 2

    def extra_repr(self) -> str:
        return f"weight={self.weight}"
