r"""Active codes: a price for every number of the code that is in use, whatever it says.

.. math:: \lambda \frac{D}{2} \sum_j \left(1 - e^{-\mathrm{rate}_j / c}\right)

counts the numbers whose rate is well above c. It starts soft (c = 1 nat), so that numbers can be given up little by
little, and ends hard (c = 0.1), where those that are left pay alike and are not disturbed.

References:
    Blake and Zisserman, Visual Reconstruction, 1987 (graduated non-convexity).
    Louizos, Welling, Kingma, Learning Sparse Neural Networks through L0 Regularization, 2018 (a price for being in use).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from isthmus.core.parts import Penalty, Schedule, Trace, size
from isthmus.errors import SpecError

#: The fraction of the training after which the price hardens, and the softness in nats before and at the end.
_HARDENS, _SOFT, _HARD = 0.5, 1.0, 0.1


class ActiveCodes(Penalty):
    """A number of the code has to lower the squared error by the share ``weight``, or it goes: of D entries with
    gaussian noise that many nats are ``weight`` · D/2.
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 0.1):
        super().__init__()
        self.weight = Schedule.of(weight)

    def forward(self, trace: Trace) -> Tensor:
        if "rates" not in trace.code.aux:
            raise SpecError("The penalty 'active_codes' needs a code with rates. Say bottleneck='adaptive'.")
        hardened = max(trace.progress - _HARDENS, 0) / (1 - _HARDENS)
        softness = _SOFT * (_HARD / _SOFT) ** hardened
        in_use = 1 - (-trace.code.aux["rates"] / softness).exp()
        return self.weight.at(trace.progress) * size(trace.x.shape[1:]) / 2 * in_use.flatten(1).sum(1).log1p()

    def extra_repr(self) -> str:
        return f"weight={self.weight}"
