"""Sparsity: a price on the code's strength, or on how often its latents fire.

.. math::
    \\lambda \\sum_j |z_j| \\cdot \\|d_j\\| \\;(\\text{l1}), \\qquad
    \\lambda \\sum_j \\rho \\log\\tfrac{\\rho}{\\hat\\rho_j}
    + (1-\\rho) \\log\\tfrac{1-\\rho}{1-\\hat\\rho_j} \\;(\\text{kl})
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from isthmus.core.networks.dictionary import Dictionary
from isthmus.core.parts import Penalty, Schedule, Trace
from isthmus.errors import SpecError


class L1(Penalty):
    """λ · Σ|z_j| · ‖d_j‖, the length that each latent adds: −log of a Laplace density of scale 1/λ.

    With the length of the decoder's columns the price cannot be evaded by small codes and large columns.

    References:
        Tibshirani, Regression shrinkage and selection via the lasso, 1996.
        Conerly et al., Update on how we train SAEs, 2024, https://transformer-circuits.pub/2024/april-update
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 1.0):
        super().__init__()
        self.weight = Schedule.of(weight)

    def forward(self, trace: Trace) -> Tensor:
        lengths = trace.code.z.abs().flatten(1) @ _lengths(trace.decoder, trace.code.z[0].numel())
        return self.weight.at(trace.progress) * lengths

    def extra_repr(self) -> str:
        return f"weight={self.weight}"


def _lengths(decoder: nn.Module, n: int) -> Tensor:
    """‖d_j‖ of the decoder's first map (n,)."""
    if isinstance(decoder, Dictionary):
        return decoder.weight.norm(dim=1)
    first = next((m for m in decoder.modules() if isinstance(m, nn.Linear) and m.in_features == n), None)
    if first is None:
        raise SpecError(
            f"The penalty 'l1' needs a decoder that begins with a linear map, and {type(decoder).__name__} does not. "
            "Say decoder='dictionary'."
        )
    return first.weight.norm(dim=0)


class KL(Penalty):
    """λ · Σ KL(ρ ‖ ρ̂_j) between coins: latents fire with the ``probability`` ρ, each as often as the others.

    ρ̂_j is the mean of sigmoid(π_j) over the batch: the code itself behind the bottleneck ``sigmoid``, and behind
    the others a smooth count of the rows in which it fires.

    References:
        Ng, Sparse autoencoder, CS294A lecture notes, 2011.
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 1.0, probability: float = 0.05):
        super().__init__()
        if not 0 < probability < 1:
            raise ValueError(f"probability is between 0 and 1, got {probability}")
        self.weight, self.probability = Schedule.of(weight), probability

    def forward(self, trace: Trace) -> Tensor:
        pre, rho = before(trace, "kl"), self.probability
        # log of the batch mean of sigmoid(±π), which stays finite where the mean itself rounds to 0 or 1
        fires, rests = (nn.functional.logsigmoid(t).logsumexp(0) - math.log(len(pre)) for t in (pre, -pre))
        entropy = rho * math.log(rho) + (1 - rho) * math.log(1 - rho)
        return self.weight.at(trace.progress) * (entropy - rho * fires - (1 - rho) * rests).sum()

    def extra_repr(self) -> str:
        return f"weight={self.weight}, probability={self.probability}"


class Revival(Penalty):
    r"""Dead latents are made to explain what the living ones leave over, until they fire again by themselves.

    .. math:: \alpha \frac{\|e - \hat e\|^2}{2\sigma^2}, \qquad e = x - \hat x, \quad
        \hat e = \sum_{j \in \text{strongest dead}} \max(\pi_j, 0) \, d_j

    e is a target: no gradient goes through it. σ² is the likelihood's.

    Args:
        weight: α.
        window: a latent is dead when it has not fired for more rows than this; below 1 the share of the training.
        k: how many of the dead; ``"auto"`` is half the number of features.

    References:
        Gao et al., Scaling and evaluating sparse autoencoders, 2024, https://arxiv.org/abs/2406.04093
    """

    def __init__(self, *, weight: float | Mapping[str, float] = 1 / 32, window: float = 0.01, k: int | str = "auto"):
        super().__init__()
        if not window > 0:
            raise ValueError(f"window is a number of rows or a share of the training, above 0, got {window}")
        if k != "auto" and (isinstance(k, str) or k < 1):
            raise ValueError(f"k is a whole number of at least 1 or 'auto', got {k!r}")
        self.weight, self.window, self.k = Schedule.of(weight), window, k

    def forward(self, trace: Trace) -> Tensor:
        pre, nothing = before(trace, "revival"), trace.code.z.new_zeros(len(trace.x))
        if not isinstance(trace.decoder, Dictionary):
            raise SpecError("The penalty 'revival' needs atoms to revive. Say decoder='dictionary'.")
        if "idle" not in trace.code.aux:  # at use nothing is trained
            return nothing
        dead = self.dead(trace.code.aux["idle"], trace.code.aux["seen"], trace.progress)
        if not len(dead):
            return nothing
        atoms, expected = trace.decoder.weight, trace.p.expected.detach()
        values, at = pre[:, dead].topk(self.count(len(dead), atoms.shape[1]), dim=1, sorted=False)
        z = pre.new_zeros(len(pre), len(dead)).scatter(1, at, values.relu())
        left = trace.residual(expected)
        missed = trace.residual(expected + (z @ atoms[dead]).view_as(expected))
        variance = getattr(trace.p, "variance", pre.new_ones(()))  # coins and levels: their logits' own unit
        if variance is None:
            entries = left.numel() if trace.observed is None else trace.observed.sum().clamp(min=1)
            variance = (left.square().sum() / entries).clamp(min=1e-12)
        half = 0.5 / variance.detach().mean()
        return self.weight.at(trace.progress) * half * missed.square().flatten(1).sum(1)

    def dead(self, idle: Tensor, seen: Tensor, progress: float) -> Tensor:
        """The latents that have not fired within the window."""
        if self.window >= 1:
            return (idle > self.window).nonzero().squeeze(1)
        # rows seen ÷ progress is the whole training
        return (idle * progress > self.window * seen).nonzero().squeeze(1)

    def count(self, n_dead: int, n_features: int) -> int:
        return min(n_dead, max(1, n_features // 2) if self.k == "auto" else int(self.k))

    def extra_repr(self) -> str:
        return f"weight={self.weight}, window={self.window}, k={self.k}"


def before(trace: Trace, who: str) -> Tensor:
    """π, what the code was before its activation."""
    if "pre" not in trace.code.aux:
        raise SpecError(f"The penalty {who!r} needs a sparse code. Say bottleneck='relu', or another sparse one.")
    return trace.code.aux["pre"]
