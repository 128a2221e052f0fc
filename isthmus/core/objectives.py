"""Objectives: what training minimises, in nats per row.

.. math:: -\\log p(x \\mid z) + \\beta \\cdot \\mathrm{rate}
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from isthmus.core.parts import Objective, Schedule, Trace
from isthmus.core.patches import from_patches, to_patches
from isthmus.core.posterior import Posterior


class Reconstruction(Objective):
    """−log p(x | z): how well x comes back, whatever the code cost."""

    def forward(self, trace: Trace) -> dict[str, Tensor]:
        return {"reconstruction": -trace.p.log_prob(trace.x, trace.observed)}


class ELBO(Objective):
    """−log p(x | z) + β · rate. With β = 1 it is a bound on −log p(x), with β > 1 the β-VAE.

    The rate is the bottleneck's own, against N(0, I), or log q(z | x) − log p(z) where the prior is learned.

    ``beta`` may be a schedule, ``{"start": 0, "end": 1, "over": 0.2}``. ``reconstruction`` weighs the first term,
    down to 0 where a critic says what is alike.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114
        Higgins et al., β-VAE, 2017, https://openreview.net/forum?id=Sy2fzU9gl
    """

    def __init__(self, *, beta: float | Mapping[str, float] = 1.0, reconstruction: float | Mapping[str, float] = 1.0):
        super().__init__()
        self.beta, self.reconstruction = Schedule.of(beta), Schedule.of(reconstruction)

    def forward(self, trace: Trace) -> dict[str, Tensor]:
        rate = trace.code.rate
        if trace.prior.learned:
            q = Posterior.of(trace.code, "A prior that is learned")
            rate = q.log_prob(trace.code.z) - trace.prior.log_prob(trace.code.z)
        nats = -trace.p.log_prob(trace.x, trace.observed)
        return {
            "reconstruction": self.reconstruction.at(trace.progress) * nats,
            "rate": self.beta.at(trace.progress) * rate,
        }

    def extra_repr(self) -> str:
        return f"beta={self.beta}, reconstruction={self.reconstruction}"


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


class Masked(Objective):
    """−log p(x | z) of the hidden entries alone; of all of them where nothing is hidden, as at use.

    .. math:: \\sum_{i \\in \\text{hidden}} -\\log p(x_i \\mid z)

    The paper's loss is the *mean* of (x − x̂)² over hidden entries. Ours is nats per row, as everywhere: with a
    gaussian of fixed σ it is that mean times (hidden entries of a row) / 2σ², plus a constant.

    ``normalize`` is the side of patches in which an error counts in units of the patch's own variance, so that
    faint texture weighs as much as strong edges. The paper normalises its targets instead, and cannot give back
    a picture then; patches that are nearly flat count as if they had a tenth of the usual variance.

    References:
        He et al., Masked Autoencoders Are Scalable Vision Learners, 2022, https://arxiv.org/abs/2111.06377
    """

    asks_for_all = False

    def __init__(self, *, normalize: int | None = None):
        super().__init__()
        if normalize is not None and not (isinstance(normalize, int) and normalize > 1):
            raise ValueError(f"normalize is the side of a patch, at least 2, or None; got {normalize!r}")
        self.normalize = normalize

    def forward(self, trace: Trace) -> dict[str, Tensor]:
        asked, observed = trace.corrupted.hidden, trace.observed
        asked = trace.corrupted.asked if asked is None else asked
        if asked is None:
            asked = observed
        elif observed is not None:
            asked = asked & observed
        nats = -trace.p.log_probs(trace.x, asked)
        if self.normalize is not None:
            nats = nats * self._weights(trace.x, self.normalize)
        return {"reconstruction": nats.flatten(1).sum(1)}

    def _weights(self, x: Tensor, patch: int) -> Tensor:
        """The mean variance of a patch ÷ that of the patch which an entry is in."""
        values, inside = to_patches(x, patch), to_patches(torch.ones_like(x), patch)
        count = inside.sum(-1, keepdim=True)
        mean = values.sum(-1, keepdim=True) / count
        variance = ((values - mean).square() * inside).sum(-1, keepdim=True) / count
        usual = variance.mean().clamp(min=1e-12)
        return from_patches((usual / (variance + 0.1 * usual)).expand_as(values), patch, tuple(x.shape[1:]))

    def extra_repr(self) -> str:
        return f"normalize={self.normalize}"


OBJECTIVES: dict[str, type[Objective]] = {
    "capacity": Capacity,
    "elbo": ELBO,
    "iwae": IWAE,
    "masked": Masked,
    "reconstruction": Reconstruction,
}
