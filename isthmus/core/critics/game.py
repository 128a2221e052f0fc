"""The game that every critic plays: two samples, told apart as well as can be.

.. math::
    L_D = -E_p \\log D(u) - E_q \\log(1 - D(u)) \\;\\ge\\; \\log 4 - 2 \\, \\mathrm{JSD}(p, q),
    \\qquad \\log \\frac{D}{1 - D} = \\log \\frac pq \\text{ at the optimum}

Critics give the logit of D. Of equal samples nobody can tell, and L_D is log 4 at the best.

References:
    Goodfellow et al., Generative Adversarial Networks, 2014, https://arxiv.org/abs/1406.2661
    Mescheder, Geiger, Nowozin, Which Training Methods for GANs do actually Converge?, 2018,
    https://arxiv.org/abs/1801.04406 (the penalty on the slope).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def positive(what: str, got: float) -> float:
    """Check an option that is a number above 0."""
    if not got > 0:
        raise ValueError(f"{what} is above 0, got {got}")
    return float(got)


def told_apart(p: Tensor, q: Tensor) -> Tensor:
    """L_D of the logits of rows from p and of rows from q, a scalar."""
    return F.softplus(-p).mean() + F.softplus(q).mean()


def persuaded(logits: Tensor) -> Tensor:
    """−log D of every row: what it costs not to be taken for one from p. log 2 where nobody can tell."""
    return F.softplus(-logits)


def slope(critic: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """½ E‖∇ critic(rows)‖², a scalar: without it a critic that is certain pulls ever harder, and the game circles."""
    rows = rows.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(rows).sum(), rows, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean() / 2
