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

from isthmus.core.parts import Penalty, Schedule, Trace, one_of


class Contractive(Penalty):
    """λ · ‖J_f(x)‖²_F, the squared Jacobian of the code with respect to what the encoder sees.

    ``estimate="auto"`` is exact where the encoder is one layer, ``z = a(W x + b)``:

    .. math:: \\|J\\|_F^2 = \\sum_j a'(W x + b)_j^2 \\sum_i W_{ji}^2

    which for a sigmoid is :math:`\\sum_j (z_j (1 - z_j))^2 \\sum_i W_{ji}^2`. Every other encoder, and every
    encoder with ``estimate="hutchinson"``, gets an unbiased estimate from one v per row and step:

    .. math:: \\|J\\|_F^2 = E_{v \\sim N(0, I)} \\|v^\\top J\\|^2

    References:
        Rifai, Vincent, Muller, Glorot and Bengio, Contractive Auto-Encoders, 2011.
        Hutchinson, A stochastic estimator of the trace of the influence matrix, 1989.
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 0.1, estimate: str = "auto"):
        super().__init__()
        self.weight = Schedule.of(weight)
        self.estimate = one_of("estimate", estimate, ("auto", "hutchinson"))

    def forward(self, trace: Trace) -> Tensor:
        return self.weight.at(trace.progress) * self._squared_jacobian(trace)

    def _squared_jacobian(self, trace: Trace) -> Tensor:
        exact = trace.squared_jacobian() if self.estimate == "auto" else None
        if exact is not None:
            return exact
        with _twice():
            x = trace.features.detach().requires_grad_()
            return _squared_jacobian(trace.encode(x).z, x)

    def extra_repr(self) -> str:
        return f"weight={self.weight}, estimate={self.estimate!r}"


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
