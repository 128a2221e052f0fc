"""A critic on the rows, whose eyes are also the measure of what is alike (VAE-GAN).

.. math::
    \\ell = \\tfrac12 \\|D_l(x) - D_l(\\hat x)\\|^2 / s^2, \\qquad
    L_D = -\\log D(x) - \\tfrac12 \\bigl[\\log(1 - D(\\hat x)) + \\log(1 - D(\\hat x_p))\\bigr],
    \\qquad \\text{main} \\mathrel{+}= \\ell - \\lambda \\cdot \\tfrac12 \\log D(\\hat x) D(\\hat x_p)

with :math:`\\hat x_p` decoded from a draw of the prior. ℓ is −log N(D_l(x); D_l(x̂), s²I) without its constant. In the
paper it takes the place of the reconstruction in the entries; say ``reconstruction: 0`` of the objective and
``similarity: 1`` for that. Alone it left speckled digits, so recipe ``vaegan`` keeps both.
As in the paper, ℓ moves encoder and decoder, being told apart the decoder alone, and λ is 1/γ. s² is the mean variance
of D_l over the rows of the batch: there, batch normalisation gives the layer unit variance, and without either the
scale of ℓ were the critic's to choose. Other than there, the two kinds of made rows count half each (so that log 4 is
the loss of who cannot tell), and the decoder lowers −log D, which pulls also where the critic is certain.

References:
    Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016, https://arxiv.org/abs/1512.09300
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from isthmus.core.critics.game import persuaded, positive, slope, told_apart
from isthmus.core.networks.conv import ConvEncoder
from isthmus.core.networks.dense import MLP, Head
from isthmus.core.parts import Body, Critic, Schedule, Shape, Trace, one_of, size

#: λ for every entry of a row.
_PER_ENTRY = 1 / 40


class OnData(Critic):
    """Tells rows from reconstructions and from decoded draws of the prior; convolutional where rows are images.

    ``weight`` is λ; ``"auto"`` is a fortieth of the entries of a row, and at least 1. ``similarity`` is a factor of
    ℓ, and ``smooth`` that of the penalty on the critic's slope at rows.
    """

    def __init__(
        self,
        code_shape: Shape,
        features_shape: Shape,
        *,
        widths: Sequence[int] | str = "auto",
        weight: float | Mapping[str, float] | str = "auto",
        similarity: float | Mapping[str, float] = 0.2,
        smooth: float = 1.0,
        pace: float = 1.0,
    ):
        super().__init__()
        if smooth < 0:
            raise ValueError(f"smooth is at least 0, got {smooth}")
        kind: type[Body] = ConvEncoder if len(features_shape) == 3 else MLP
        self.body = kind(features_shape, (1,), widths=widths)
        self.head = Head((*self.body.out_shape,), (1,))
        if isinstance(weight, str):
            one_of("weight", weight, ["auto"])
            weight = max(1.0, _PER_ENTRY * size(features_shape))
        self.weight, self.similarity, self.smooth = Schedule.of(weight), Schedule.of(similarity), smooth
        self.pace = positive("pace", pace)

    def layer(self, rows: Tensor) -> Tensor:
        """D_l: the last layer before the verdict, (B, n)."""
        return self.body(rows).flatten(1)

    def forward(self, rows: Tensor) -> Tensor:
        """The logit of D, (B,)."""
        return self.head(self.layer(rows)).flatten(0)

    def persuade(self, trace: Trace) -> Tensor:
        real, back = self._pair(trace)
        with torch.no_grad():
            seen = self.layer(real)
            center = seen.mean(0) if len(seen) > 1 else 0.0  # one row has no spread but its size
            spread = (seen - center).square().mean().clamp(min=1e-12)
        alike = (self.layer(back) - seen).square().sum(1) / (2 * spread)
        verdict = persuaded(self(self._made(trace, real))).reshape(2, -1).mean(0)
        return self.similarity.at(trace.progress) * alike + self.weight.at(trace.progress) * verdict

    def judge(self, trace: Trace) -> Tensor:
        real, _ = self._pair(trace)
        with torch.no_grad():
            made = self._made(trace, real)
        loss = told_apart(self(real), self(made))
        return loss + self.smooth * slope(self, real) if self.smooth else loss

    def _pair(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """x and x̂ as features; what is missing in x is alike in both, and tells nothing."""
        real = trace.likelihood.represent(trace.x, trace.observed)
        return real, self._hide(trace, trace.p.expected, real)

    def _made(self, trace: Trace, real: Tensor) -> Tensor:
        """x̂ and x̂_p, (2B, …), with gradients to the decoder alone."""
        drawn = trace.prior.sample(len(real)).to(real)
        codes = torch.cat([trace.code.z.detach(), drawn.detach()])
        made = trace.decode(codes).expected.chunk(2)
        return torch.cat([self._hide(trace, rows, real) for rows in made])

    def _hide(self, trace: Trace, rows: Tensor, real: Tensor) -> Tensor:
        if trace.observed is None:
            return rows
        return torch.where(trace.likelihood.reach(trace.observed), rows, real)

    def extra_repr(self) -> str:
        return f"weight={self.weight}, similarity={self.similarity}, smooth={self.smooth}, pace={self.pace}"
