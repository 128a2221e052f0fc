r"""A dictionary: a row is a sum of atoms, each as strong as its latent.

.. math:: \hat x = \sum_j z_j \, d_j + b, \qquad \|d_j\| = 1

References:
    Olshausen and Field, Emergence of simple-cell receptive field properties by learning a sparse code, 1996.
    Bricken et al., Towards Monosemanticity, 2023, https://transformer-circuits.pub/2023/monosemantic-features
    (atoms of length 1 with the gradient along them removed; the geometric median as the centre).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.core.parts import Body, Finished, Shape, Trace, size


class Dictionary(Body):
    """Atoms of length 1, the rows of ``weight`` (latents, features): only codes say how strong something is.

    It ends in the features themselves, so there is no head behind it. ``bias`` begins at the geometric median of
    the rows: unlike at 0, no atom has to learn where the rows lie, and unlike at the mean, no few rows decide it.
    """

    def __init__(self, in_shape: Shape, target_shape: Shape):
        super().__init__()
        self.out_shape = Finished(target_shape)
        self.weight = nn.Parameter(torch.randn(size(in_shape), size(target_shape)))
        self.bias = nn.Parameter(torch.zeros(size(target_shape)))
        with torch.no_grad():
            self.project()

    def forward(self, z: Tensor) -> Tensor:
        return torch.addmm(self.bias, z.flatten(1), self.weight).reshape(-1, *self.out_shape)

    @torch.no_grad()
    def start_from(self, trace: Trace) -> None:
        out, expected = self(trace.code.z).flatten(1), trace.p.expected.flatten(1)
        center = geometric_median(trace.residual(torch.zeros_like(trace.p.expected)).flatten(1))
        # only where the likelihood takes what comes out as it is, and not as a logit
        self.bias.copy_(torch.where((out == expected).all(0), center, self.bias))

    def project_gradient(self) -> None:
        if self.weight.grad is not None:
            along = (self.weight.grad * self.weight).sum(1, keepdim=True)
            self.weight.grad.addcmul_(along, self.weight, value=-1)

    def project(self) -> None:
        self.weight.div_(self.weight.norm(dim=1, keepdim=True).clamp_(min=1e-12))

    def extra_repr(self) -> str:
        return f"atoms={len(self.weight)}, features={tuple(self.out_shape)}"


def geometric_median(rows: Tensor, steps: int = 200, tolerance: float = 1e-6) -> Tensor:
    """The point with the least sum of distances to the rows (n, d): half of them may lie anywhere.

    References:
        Weiszfeld, Sur le point pour lequel la somme des distances de n points donnés est minimum, 1937.
    """
    x = rows.double()
    center = x.mean(0)
    scale = float((x - center).norm(dim=1).mean())
    for _ in range(steps):
        # a row at the very center would hold it for ever
        weights = 1 / (x - center).norm(dim=1).clamp(min=1e-9 * scale + 1e-300)
        moved = (weights @ x) / weights.sum()
        center, step = moved, float((moved - center).norm())
        if step <= tolerance * scale:
            break
    return center.to(rows)
