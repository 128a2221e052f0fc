r"""JumpReLU bottleneck: every latent has a threshold of its own, which is learned.

.. math::
    z = \pi \cdot 1[\pi > \theta], \quad \mathrm{rate} = \sum_j 1[\pi_j > \theta_j], \qquad
    \frac{\partial z}{\partial\theta} = -\frac{\theta}{\varepsilon} K\Bigl(\frac{\pi-\theta}{\varepsilon}\Bigr), \quad
    \frac{\partial\, 1[\pi > \theta]}{\partial\theta} = -\frac1\varepsilon K\Bigl(\frac{\pi-\theta}{\varepsilon}\Bigr)

with :math:`K(u) = 1[|u| < \tfrac12]`: both jumps have no gradient, but in the mean over rows the loss does, and
these estimate it.

References:
    Rajamanoharan et al., Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders, 2024,
    https://arxiv.org/abs/2407.14435
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isthmus.core.bottlenecks.sparse import Sparse
from isthmus.core.parts import Shape, Trace


class JumpReLU(Sparse):
    """A row's latents are those above their threshold. The rate is their number, so that the objective ``elbo``
    with β charges β nats for each; nothing pulls on how strong they are.

    Args:
        threshold: where the thresholds begin.
        bandwidth: ε, the width of the kernel. Both are in deviations of π over the rows that training begins on.
    """

    unit: Tensor

    def __init__(self, in_shape: Shape, dim: int, *, threshold: float = 0.5, bandwidth: float = 0.25):
        super().__init__(in_shape, dim)
        if not threshold > 0 or not bandwidth > 0:
            raise ValueError(f"threshold and bandwidth are above 0, got {threshold} and {bandwidth}")
        self.threshold, self.bandwidth = threshold, bandwidth
        self.log_theta = torch.nn.Parameter(torch.full((dim,), threshold).log())
        self.register_buffer("unit", torch.ones(()))

    def activate(self, pre: Tensor) -> Tensor:
        return _Jump.apply(pre, self.log_theta.exp(), self.bandwidth * self.unit)

    def rate(self, pre: Tensor) -> Tensor:
        return _Step.apply(pre, self.log_theta.exp(), self.bandwidth * self.unit).sum(1)

    @torch.no_grad()
    def start_from(self, trace: Trace) -> None:
        super().start_from(trace)
        self.unit.copy_(self.head(trace.h - self.center).std(0).mean().clamp(min=1e-12))
        self.log_theta.fill_(self.threshold).log_().add_(self.unit.log())

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, threshold={self.threshold}, bandwidth={self.bandwidth}"


def _near(pre: Tensor, theta: Tensor, width: Tensor) -> Tensor:
    """K((π − θ) / ε) / ε."""
    return ((pre - theta).abs() < width / 2) / width


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, theta: Tensor, width: Tensor) -> Tensor:
        ctx.save_for_backward(pre, theta, width)
        return pre * (pre > theta)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        pre, theta, width = ctx.saved_tensors
        return g * (pre > theta), -(theta * _near(pre, theta, width) * g).sum(0), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, theta: Tensor, width: Tensor) -> Tensor:
        ctx.save_for_backward(pre, theta, width)
        return (pre > theta).to(pre)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return None, -(_near(*ctx.saved_tensors) * g).sum(0), None
