r"""Active codes: a price for the size of the code that is in use, whatever the numbers say.

.. math:: \lambda \frac{D}{2} \log\Big(1 + \tfrac13 \sum_j \left(1 - e^{-\mathrm{rate}_j / c}\right)\Big)

The sum counts the numbers of the code whose rate is well above c. With the noise of D entries settled by their
squared error E, the likelihood costs D/2 · log E: a number stays where it lowers log E by more than it raises
λ log(1 + size / 3). Below a handful of numbers that price is even: were it log(1 + size), rows whose variance is
spread over many directions would not pay for the first of them, and lose all. The count starts soft (c = 1 nat), so
that numbers can be given up little by little, and ends hard (c = 0.1), where those that are left are not disturbed.

References:
    Blake and Zisserman, Visual Reconstruction, 1987 (a soft count that hardens: graduated non-convexity).
    Louizos, Welling, Kingma, Learning Sparse Neural Networks through L0 Regularization, 2018 (a price on use).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from isthmus.core.parts import Penalty, Schedule, Trace, size
from isthmus.errors import SpecError

#: The fraction of the training after which the count hardens, and its softness in nats before and at the end.
_HARDENS, _SOFT, _HARD = 0.5, 1.0, 0.1
#: Numbers of a code up to which each costs about as much as the one before.
_FEW = 3


class ActiveCodes(Penalty):
    """λ · D/2 · log(1 + n/3) for the n numbers in use. With λ = 1.15 the tenth number has to lower the squared error by
    more than a twelfth, the twentieth by more than a twentieth.
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 1.15):
        super().__init__()
        self.weight = Schedule.of(weight)

    def forward(self, trace: Trace) -> Tensor:
        if "rates" not in trace.code.aux:
            raise SpecError("The penalty 'active_codes' needs a code with rates. Say bottleneck='adaptive'.")
        hardened = max(trace.progress - _HARDENS, 0) / (1 - _HARDENS)
        softness = _SOFT * (_HARD / _SOFT) ** hardened
        in_use = (1 - (-trace.code.aux["rates"] / softness).exp()).flatten(1).sum(1)
        return self.weight.at(trace.progress) * size(trace.x.shape[1:]) / 2 * (in_use / _FEW).log1p()

    def extra_repr(self) -> str:
        return f"weight={self.weight}"
