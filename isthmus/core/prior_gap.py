r"""Are codes where the prior is?

.. math:: \mathrm{gap} = E_{z \sim q} [\log \hat q(z) - \log p(z)], \qquad q(z) = E_x\, q(z \mid x)

References:
    Hoffman and Johnson, ELBO Surgery, 2016 (what a prior loses on the aggregate posterior).
    Gretton et al., A Kernel Two-Sample Test, 2012 (MMD and its permutation test).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.core.parts import Prior
from isthmus.core.priors.mixture import Mixture

#: Rows of each side in the permutation test.
_TESTED = 512


@dataclass(frozen=True)
class PriorGap:
    """The ``nats`` a row that a mixture fitted to half of the codes saves on the other half (a bound from below,
    and below zero where the prior is as good as it can be), and the ``p_value`` of a permutation test of the MMD.
    """

    nats: float
    p_value: float


@torch.no_grad()
def prior_gap(prior: Prior, z: Tensor) -> PriorGap:
    """How far a sample of codes (n, *code_shape) is from a prior; the same every time."""
    learn, test = z[torch.randperm(len(z), generator=torch.Generator().manual_seed(0))].tensor_split(2)
    mixture = Mixture(z.shape[1:], z.shape[1:])
    mixture.fit(learn)
    saved = mixture.log_prob(test.float().cpu()) - prior.log_prob(test).cpu()
    mine = test[:_TESTED]
    drawn = prior.sample(len(mine), torch.Generator(z.device).manual_seed(0))
    return PriorGap(float(saved.mean()), mmd_p_value(mine.flatten(1), drawn.flatten(1)))


def mmd_p_value(a: Tensor, b: Tensor, permutations: int = 400) -> float:
    """How often two samples (n, d) of one distribution are as far apart as these, by the MMD with inverse
    multiquadric kernels and random relabelling; never below 1 / (permutations + 1).
    """
    both = torch.cat([a, b]).double()
    apart = torch.cdist(both, both).square()
    kernel = sum(1 / (1 + apart / (2 * both.shape[1] * s)) for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
    sides = torch.cat([torch.ones(len(a)), -torch.ones(len(b))]).to(both)
    generator = torch.Generator().manual_seed(0)
    relabelled = torch.stack([sides[torch.randperm(len(sides), generator=generator)] for _ in range(permutations)])
    observed = sides @ kernel @ sides
    chance = ((relabelled @ kernel) * relabelled).sum(1)
    return (1 + int((chance >= observed).sum())) / (permutations + 1)
