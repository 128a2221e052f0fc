"""The norm of the code.

.. math:: \\tfrac{\\lambda}{2} \\|z\\|^2
"""

from __future__ import annotations

from collections.abc import Mapping

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
