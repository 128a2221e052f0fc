"""Maximum mean discrepancy: the distance of the codes, as a sample, from the prior.

.. math:: \\mathrm{MMD}^2 = E\\,k(z, z') + E\\,k(p, p') - 2\\,E\\,k(z, p)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from isthmus.core.parts import Penalty, Schedule, Trace


class MMD(Penalty):
    """λ · MMD²(codes, draws of the prior), the unbiased estimate with inverse multiquadric kernels.

    .. math:: k(a, b) = \\sum_s \\frac{C_s}{C_s + \\|a - b\\|^2}, \\quad C_s = 2 d_z s

    References:
        Tolstikhin et al., Wasserstein Auto-Encoders, 2018, https://arxiv.org/abs/1711.01558
        Gretton et al., A Kernel Two-Sample Test, 2012.
    """

    def __init__(
        self,
        *,
        weight: float | Mapping[str, float] = 10.0,
        scales: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    ):
        super().__init__()
        self.weight, self.scales = Schedule.of(weight), [float(s) for s in scales]

    def forward(self, trace: Trace) -> Tensor:
        z = trace.code.z.flatten(1)
        drawn = trace.prior.sample(len(z)).detach().flatten(1)
        return self.weight.at(trace.progress) * self.squared(z, drawn)

    def squared(self, a: Tensor, b: Tensor) -> Tensor:
        """MMD² of two samples of one size (n, d); 0 in the mean for equal distributions. Needs two rows."""
        n = len(a)
        if n < 2:
            return a.new_zeros(())
        within = (self._kernel(a, a) + self._kernel(b, b)).fill_diagonal_(0).sum() / (n * (n - 1))
        return within - 2 * self._kernel(a, b).mean()

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        apart = (a[:, None] - b[None]).square().sum(-1)
        return sum((2 * a.shape[1] * s) / (2 * a.shape[1] * s + apart) for s in self.scales)

    def extra_repr(self) -> str:
        return f"weight={self.weight}, scales={self.scales}"
