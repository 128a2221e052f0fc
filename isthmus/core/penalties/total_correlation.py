"""Total correlation of the codes: what their numbers tell about each other, in nats.

.. math::
    \\mathrm{TC} = E_{q(z)} \\Bigl[\\log q(z) - \\sum_j \\log q(z_j)\\Bigr], \\qquad
    q(z) \\approx \\frac1B \\sum_b q(z \\mid x_b)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from isthmus.core.parts import Penalty, Schedule, Trace
from isthmus.errors import SpecError


class TotalCorrelation(Penalty):
    """λ · TC of the codes of the batch, whose posteriors stand for all. Beside the ELBO, λ is β − 1 of the β-TCVAE.

    The paper divides by the number of rows and the batch size, which adds a constant; without it the value itself
    comes to TC as batches grow. It is above it in small ones, where a code lies nearest to its own posterior.

    References:
        Chen et al., Isolating Sources of Disentanglement in VAEs, 2018, https://arxiv.org/abs/1802.04942
        (minibatch-weighted sampling)
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 5.0):
        super().__init__()
        self.weight = Schedule.of(weight)

    def forward(self, trace: Trace) -> Tensor:
        if "log_var" not in trace.code.aux:
            raise SpecError("The penalty 'total_correlation' needs a noisy code. Say bottleneck='gaussian'.")
        z, mu, log_var = (t.flatten(1) for t in (trace.code.z, trace.code.aux["mu"], trace.code.aux["log_var"]))
        joint, marginals = z.new_zeros(len(z), len(z)), z.new_zeros(len(z))
        for j in range(z.shape[1]):  # a number at a time: B² entries at once, not B² for each
            each = -0.5 * ((z[:, None, j] - mu[:, j]).square() * (-log_var[:, j]).exp() + log_var[:, j])
            joint = joint + each
            marginals = marginals + each.logsumexp(1)
        # the (2π)^(−d/2) cancel, and the logarithms of 1/B all but d − 1
        total = joint.logsumexp(1) - marginals + (z.shape[1] - 1) * math.log(len(z))
        return self.weight.at(trace.progress) * total

    def extra_repr(self) -> str:
        return f"weight={self.weight}"
