"""Objectives: what training minimises, in nats per row.

.. math:: -\\log p(x \\mid z) + \\beta \\cdot \\mathrm{rate}
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from isthmus.core.parts import Objective, Schedule, Trace
from isthmus.errors import SpecError


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


class Capacity(Objective):
    """−log p(x | z) + γ · |KL − C|: the codes of a batch cost C nats in the mean, no fewer and no more.

    ``capacity`` is C; a schedule that grows from 0 lets factors enter one after the other, the most telling first.

    References:
        Burgess et al., Understanding disentangling in β-VAE, 2018, https://arxiv.org/abs/1804.03599
    """

    def __init__(self, *, gamma: float = 10.0, capacity: float | Mapping[str, float] = 25.0):
        super().__init__()
        if gamma < 0:
            raise ValueError(f"gamma is at least 0, got {gamma}")
        self.gamma, self.capacity = gamma, Schedule.of(capacity)

    def forward(self, trace: Trace) -> dict[str, Tensor]:
        missed = trace.code.rate - self.capacity.at(trace.progress)
        side = missed.mean().detach().sign()  # one for all rows: their mean is to reach C, not each of them
        return {
            "reconstruction": -trace.p.log_prob(trace.x, trace.observed),
            "capacity": self.gamma * side * missed,
        }

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, capacity={self.capacity}"


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
        if "log_var" not in trace.code.aux:
            raise SpecError("The objective 'iwae' needs a noisy code. Say bottleneck='gaussian'.")
        mu, log_var = trace.code.aux["mu"], trace.code.aux["log_var"]
        noise = torch.randn(self.samples, *mu.shape, dtype=mu.dtype, device=mu.device)
        z = mu + noise * (log_var / 2).exp()
        log_q = -0.5 * (noise.square() + log_var + math.log(2 * math.pi)).flatten(2).sum(2)
        log_p = self._each(trace, z.flatten(0, 1)).reshape(self.samples, -1)
        log_prior = trace.prior.log_prob(z.flatten(0, 1)).reshape(self.samples, -1)
        weights = log_p + log_prior - log_q
        return {"bound": math.log(self.samples) - weights.logsumexp(0)}

    def _each(self, trace: Trace, z: Tensor) -> Tensor:
        """log p(x | z) of every row under each of its codes, codes outermost."""

        def again(t: Tensor) -> Tensor:
            return t.repeat(self.samples, *[1] * (t.ndim - 1))

        observed = None if trace.observed is None else again(trace.observed)
        return trace.decode(z).log_prob(again(trace.x), observed)

    def extra_repr(self) -> str:
        return f"samples={self.samples}"


OBJECTIVES: dict[str, type[Objective]] = {
    "capacity": Capacity,
    "elbo": ELBO,
    "iwae": IWAE,
    "reconstruction": Reconstruction,
}
