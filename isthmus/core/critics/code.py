"""A critic on the code: what passes the isthmus should look like draws of the prior.

.. math::
    \\text{main} \\mathrel{+}= -\\lambda \\log D(z), \\qquad
    \\text{critic} = -\\log D(z_p) - \\log(1 - D(z)), \\quad z_p \\sim p

References:
    Makhzani et al., Adversarial Autoencoders, 2016, https://arxiv.org/abs/1511.05644
    Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017, https://arxiv.org/abs/1706.08500 (``pace``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from isthmus.core.critics.game import persuaded, positive, told_apart
from isthmus.core.networks.dense import MLP, Head
from isthmus.core.parts import Critic, Schedule, Shape, Trace, one_of, size

#: λ for every entry of a row.
_PER_ENTRY = 1 / 8


class OnCode(Critic):
    """Tells codes from draws of the prior, so that the codes come to fill it.

    ``weight`` is λ; ``"auto"`` is an eighth of the entries of a row, and at least 1: what a better reconstruction is
    worth grows with them, and codes bend to a critic only as far as that pays. ``pace`` multiplies the critic's
    learning rate, so that it keeps up with the codes.
    """

    def __init__(
        self,
        code_shape: Shape,
        features_shape: Shape,
        *,
        widths: Sequence[int] = (256, 256),
        weight: float | Mapping[str, float] | str = "auto",
        pace: float = 3.0,
    ):
        super().__init__()
        body = MLP(code_shape, (1,), widths=widths)
        self.net = nn.Sequential(body, Head(body.out_shape, (1,)), nn.Flatten(0))
        if isinstance(weight, str):
            one_of("weight", weight, ["auto"])
            weight = max(1.0, _PER_ENTRY * size(features_shape))
        self.weight, self.pace = Schedule.of(weight), positive("pace", pace)

    def persuade(self, trace: Trace) -> Tensor:
        return self.weight.at(trace.progress) * persuaded(self.net(trace.code.z))

    def judge(self, trace: Trace) -> Tensor:
        drawn = trace.prior.sample(len(trace.x)).detach()
        return told_apart(self.net(drawn), self.net(trace.code.z.detach()))

    def extra_repr(self) -> str:
        return f"weight={self.weight}, pace={self.pace}"
