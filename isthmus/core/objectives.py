"""Objectives: what training minimises, in nats per row.

.. math:: -\\log p(x \\mid z) + \\beta \\cdot \\mathrm{rate}
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from isthmus.core.parts import Objective, Schedule, Trace


class Reconstruction(Objective):
    """−log p(x | z): how well x comes back, whatever the code cost."""

    def forward(self, trace: Trace) -> dict[str, Tensor]:
        return {"reconstruction": -trace.p.log_prob(trace.x, trace.observed)}


class ELBO(Objective):
    """−log p(x | z) + β · rate. With β = 1 it is a bound on −log p(x), with β > 1 the β-VAE.

    ``beta`` may be a schedule, ``{"start": 0, "end": 1, "over": 0.2}``.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114
        Higgins et al., β-VAE, 2017, https://openreview.net/forum?id=Sy2fzU9gl
    """

    def __init__(self, *, beta: float | Mapping[str, float] = 1.0):
        super().__init__()
        self.beta = Schedule.of(beta)

    def forward(self, trace: Trace) -> dict[str, Tensor]:
        return {
            "reconstruction": -trace.p.log_prob(trace.x, trace.observed),
            "rate": self.beta.at(trace.progress) * trace.code.rate,
        }

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


OBJECTIVES: dict[str, type[Objective]] = {"elbo": ELBO, "reconstruction": Reconstruction}
