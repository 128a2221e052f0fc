"""A critic on the code: what passes the isthmus should look like draws of the prior.

.. math::
    \\text{main} \\mathrel{+}= -\\lambda \\log D(z), \\qquad
    \\text{critic} = -\\log D(z_p) - \\log(1 - D(z)), \\quad z_p \\sim p

References:
    Makhzani et al., Adversarial Autoencoders, 2016, https://arxiv.org/abs/1511.05644
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core.networks.dense import MLP, Head
from isthmus.core.parts import Critic, Schedule, Shape, Trace


class OnCode(Critic):
    """Tells codes from draws of the prior, so that the codes come to fill it."""

    def __init__(
        self,
        code_shape: Shape,
        features_shape: Shape,
        *,
        widths: Sequence[int] = (128, 64),
        weight: float | Mapping[str, float] = 1.0,
    ):
        super().__init__()
        body = MLP(code_shape, (1,), widths=widths)
        self.net = nn.Sequential(body, Head(body.out_shape, (1,)), nn.Flatten(0))
        self.weight = Schedule.of(weight)

    def persuade(self, trace: Trace) -> Tensor:
        return self.weight.at(trace.progress) * F.softplus(-self.net(trace.code.z))

    def judge(self, trace: Trace) -> Tensor:
        drawn = trace.prior.sample(len(trace.x)).detach()
        codes = trace.code.z.detach()
        return F.softplus(-self.net(drawn)).mean() + F.softplus(self.net(codes)).mean()

    def extra_repr(self) -> str:
        return f"weight={self.weight}"
