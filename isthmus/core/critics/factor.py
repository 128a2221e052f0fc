"""A critic on the code's own shuffle: the numbers of a code should know nothing of each other.

.. math::
    \\mathrm{TC} = \\mathrm{KL}\\Bigl(q(z) \\,\\Big\\|\\, \\prod_j q(z_j)\\Bigr)
    \\approx E_{q(z)} \\log \\frac{D(z)}{1 - D(z)}, \\qquad
    \\text{critic} = -\\log D(z) - \\log(1 - D(\\bar z)), \\qquad
    \\text{main} \\mathrel{+}= \\gamma \\cdot \\mathrm{TC}

:math:`\\bar z` has every number from another row of the batch, so that its marginals are those of z and
only what binds them is gone.

References:
    Kim and Mnih, Disentangling by Factorising, 2018, https://arxiv.org/abs/1802.05983
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from isthmus.core.critics.game import positive, told_apart
from isthmus.core.networks.dense import MLP, Head
from isthmus.core.parts import Critic, Schedule, Shape, Trace


class Factor(Critic):
    """Tells codes from codes whose numbers were shuffled among the rows; ``weight`` is the paper's γ.

    The autoencoder follows a logit without bound, so the critic goes at a slow ``pace``: codes chase one that runs
    ahead, and end up more bound than before.
    """

    def __init__(
        self,
        code_shape: Shape,
        features_shape: Shape,
        *,
        widths: Sequence[int] = (256, 256),
        weight: float | Mapping[str, float] = 10.0,
        pace: float = 0.2,
    ):
        super().__init__()
        body = MLP(code_shape, (1,), widths=widths)
        self.net = nn.Sequential(body, Head(body.out_shape, (1,)), nn.Flatten(0))
        self.weight, self.pace = Schedule.of(weight), positive("pace", pace)

    def persuade(self, trace: Trace) -> Tensor:
        return self.weight.at(trace.progress) * self.net(trace.code.z)

    def judge(self, trace: Trace) -> Tensor:
        codes = trace.code.z.detach()
        return told_apart(self.net(codes), self.net(shuffled(codes)))

    def extra_repr(self) -> str:
        return f"weight={self.weight}, pace={self.pace}"


def shuffled(codes: Tensor) -> Tensor:
    """Every number of a code from another row, each in an order of its own."""
    flat = codes.flatten(1)
    order = torch.rand(flat.shape, device=flat.device).argsort(0)
    return flat.gather(0, order).view_as(codes)
