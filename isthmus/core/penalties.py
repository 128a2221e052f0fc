"""Penalties: nats added to the objective, each with its own weight λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from isthmus.core.parts import Penalty, Schedule, Trace


class L2(Penalty):
    """λ · ½‖z‖²: keeps codes near the origin (half of the regularized autoencoder).

    References:
        Ghosh et al., From Variational to Deterministic Autoencoders, 2020, https://arxiv.org/abs/1903.12436
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 1.0):
        super().__init__()
        self.weight = Schedule.of(weight)

    def forward(self, trace: Trace) -> Tensor:
        return self.weight.at(trace.progress) * trace.code.z.square().flatten(1).sum(1) / 2

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


class Contractive(Penalty):
    """λ · ‖J_f(x)‖²_F, the squared Jacobian of the code with respect to what the encoder sees.

    .. math:: \\|J\\|_F^2 = E_{v \\sim N(0, I)} \\|v^\\top J\\|^2

    is estimated with one v per row and step (Hutchinson), so that any encoder can have it.

    References:
        Rifai et al., Contractive Auto-Encoders, 2011.
        Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989.
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 0.1):
        super().__init__()
        self.weight = Schedule.of(weight)

    def forward(self, trace: Trace) -> Tensor:
        with torch.enable_grad():  # on held-out rows too, where no gradient is kept
            x = trace.features.detach().requires_grad_()
            return self.weight.at(trace.progress) * _squared_jacobian(trace.encode(x).z, x)

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


class DecoderGradient(Penalty):
    """λ · ‖∇_z g(z)‖²_F: a smooth decoder, with respect to **z** (half of the regularized autoencoder).

    References:
        Ghosh et al., From Variational to Deterministic Autoencoders, 2020, https://arxiv.org/abs/1903.12436
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 0.01):
        super().__init__()
        self.weight = Schedule.of(weight)

    def forward(self, trace: Trace) -> Tensor:
        with torch.enable_grad():
            z = trace.code.z if trace.code.z.requires_grad else trace.code.z.detach().requires_grad_()
            return self.weight.at(trace.progress) * _squared_jacobian(trace.decode(z).expected, z)

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


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


def _squared_jacobian(y: Tensor, x: Tensor) -> Tensor:
    """‖∂y/∂x‖²_F per row (B,), an unbiased estimate that can itself be differentiated."""
    probe = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, x, probe, create_graph=True)
    return gradient.square().flatten(1).sum(1)


PENALTIES: dict[str, type[Penalty]] = {
    "contractive": Contractive,
    "decoder_gradient": DecoderGradient,
    "l2": L2,
    "mmd": MMD,
}
