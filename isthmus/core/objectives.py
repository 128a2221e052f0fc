"""Objectives: what training minimises, in nats per row.

.. math:: -\\log p(x \\mid z) + \\beta \\cdot \\mathrm{rate}
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from isthmus.core.parts import Objective, Schedule, Trace
from isthmus.core.posterior import Posterior


class Reconstruction(Objective):
    """−log p(x | z): how well x comes back, whatever the code cost."""

    def forward(self, trace: Trace) -> dict[str, Tensor]:
        return {"reconstruction": -trace.p.log_prob(trace.x, trace.observed)}


class ELBO(Objective):
    """−log p(x | z) + β · rate. With β = 1 it is a bound on −log p(x), with β > 1 the β-VAE.

    The rate is the bottleneck's own, against N(0, I), or log q(z | x) − log p(z) where the prior is learned.

    ``beta`` may be a schedule, ``{"start": 0, "end": 1, "over": 0.2}``.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114
        Higgins et al., β-VAE, 2017, https://openreview.net/forum?id=Sy2fzU9gl
    """

    def __init__(self, *, beta: float | Mapping[str, float] = 1.0):
        super().__init__()
        self.beta = Schedule.of(beta)

    def forward(self, trace: Trace) -> dict[str, Tensor]:
        rate = trace.code.rate
        if trace.prior.learned:
            q = Posterior.of(trace.code, "A prior that is learned")
            rate = q.log_prob(trace.code.z) - trace.prior.log_prob(trace.code.z)
        return {
            "reconstruction": -trace.p.log_prob(trace.x, trace.observed),
            "rate": self.beta.at(trace.progress) * rate,
        }

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


class IWAE(Objective):
    """The importance-weighted bound with ``samples`` codes per row; one is the ELBO, more are tighter.

    .. math:: -\\Bigl[\\operatorname{logsumexp}_k \\bigl(\\log p(x, z_k) - \\log q(z_k \\mid x)\\bigr) - \\log K\\Bigr]

    References:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2016, https://arxiv.org/abs/1509.00519
    """

    def __init__(self, *, samples: int = 8):
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples is at least 1, got {samples}")
        self.samples = samples

    def forward(self, trace: Trace) -> dict[str, Tensor]:
        q = Posterior.of(trace.code, "The objective 'iwae'")
        z = q.sample(self.samples)
        log_p = self._each(trace, z.flatten(0, 1)).reshape(self.samples, -1)
        log_prior = trace.prior.log_prob(z.flatten(0, 1)).reshape(self.samples, -1)
        weights = log_p + log_prior - q.log_prob(z)
        return {"bound": math.log(self.samples) - weights.logsumexp(0)}

    def _each(self, trace: Trace, z: Tensor) -> Tensor:
        """log p(x | z) of every row under each of its codes, codes outermost."""

        def again(t: Tensor) -> Tensor:
            return t.repeat(self.samples, *[1] * (t.ndim - 1))

        observed = None if trace.observed is None else again(trace.observed)
        return trace.decode(z).log_prob(again(trace.x), observed)

    def extra_repr(self) -> str:
        return f"samples={self.samples}"


OBJECTIVES: dict[str, type[Objective]] = {"elbo": ELBO, "iwae": IWAE, "reconstruction": Reconstruction}
