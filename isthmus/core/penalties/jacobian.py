"""Jacobians: how far the code moves with the row, and the reconstruction with the code.

.. math:: \\|J\\|_F^2 = E_{v \\sim N(0, I)} \\|v^\\top J\\|^2

References:
    Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from isthmus.core.parts import Penalty, Schedule, Trace


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
        with _twice():
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
        with _twice():
            z = trace.code.z if trace.code.z.requires_grad else trace.code.z.detach().requires_grad_()
            return self.weight.at(trace.progress) * _squared_jacobian(trace.decode(z).expected, z)

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


@contextmanager
def _twice() -> Iterator[None]:
    """Keep gradients that can be differentiated again, on held-out rows too."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the fused attention has no second derivative
        yield


def _squared_jacobian(y: Tensor, x: Tensor) -> Tensor:
    """‖∂y/∂x‖²_F per row (B,), an unbiased estimate that can itself be differentiated."""
    probe = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, x, probe, create_graph=True)
    return gradient.square().flatten(1).sum(1)
