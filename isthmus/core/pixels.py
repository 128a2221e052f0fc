r"""Grey levels as mixtures of logistics, each level with the mass of its interval.

.. math:: P(k) = \sum_i \pi_i \Bigl[ \sigma\bigl(\tfrac{e_{k+1} - \mu_i}{s_i}\bigr)
    - \sigma\bigl(\tfrac{e_k - \mu_i}{s_i}\bigr) \Bigr],
    \qquad e_k = \tfrac{k - 1/2}{K - 1},\ e_0 = -\infty,\ e_K = \infty

A gaussian on grey values is a density: it says nothing of how many bits a picture takes. This one does, and a
component beyond the ends is a spike at black or white.

References:
    Salimans, Karpathy, Chen and Kingma, PixelCNN++, 2017, https://arxiv.org/abs/1701.05517 (2.1)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Distribution, Likelihood, Shape

#: log s is kept in this range: from an eighth of a grey level's width to far more than all of them.
LOG_SCALE = (-7.5, 4.0)
#: log s of the components at a linear start: so narrow that the mean is the expectation.
_NARROW = -4.0


@dataclass
class Pixels(Distribution):
    """Independent mixtures: ``logits``, ``mu`` and ``log_scale`` are (B, components, *shape)."""

    logits: Tensor
    mu: Tensor
    log_scale: Tensor
    levels: int

    @property
    def expected(self) -> Tensor:
        # the mean of a logistic that is clipped to [0, 1], in closed form
        s = self.log_scale.exp()
        mean = s * (F.softplus(self.mu / s) - F.softplus((self.mu - 1) / s))
        return (self.logits.softmax(1) * mean).sum(1)

    @property
    def mean(self) -> Tensor:
        return self.expected

    def log_probs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        step = 1 / (self.levels - 1)
        inverse = (-self.log_scale).exp()
        above = (x.unsqueeze(1) + step / 2 - self.mu) * inverse
        below = above - step * inverse
        # σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b − a)), of which each factor has a logarithm that does not cancel
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + (-torch.expm1(-step * inverse)).clamp(min=1e-30).log()
        black, white = (x <= step / 2).unsqueeze(1), (x >= 1 - step / 2).unsqueeze(1)
        logs = torch.where(black, F.logsigmoid(above), torch.where(white, F.logsigmoid(-below), inside))
        nats = (logs + self.logits.log_softmax(1)).logsumexp(1)
        return nats if observed is None else nats * observed

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        shape = self.mu.shape[:1] + self.mu.shape[2:]
        uniform = torch.rand((2, self.mu.shape[1], *shape), generator=generator, device=self.mu.device).to(self.mu)
        # the largest of logits with Gumbel noise is a draw of the component
        gumbel = -(-uniform[0].clamp(1e-7, 1 - 1e-7).log()).log()
        which = (self.logits + gumbel.movedim(0, 1)).argmax(1, keepdim=True)
        mu, log_scale = self.mu.gather(1, which).squeeze(1), self.log_scale.gather(1, which).squeeze(1)
        drawn = mu + log_scale.exp() * uniform[1, 0].clamp(1e-7, 1 - 1e-7).logit()
        return (drawn.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)


class PixelLevels(Likelihood):
    """Grey levels between 0 and 1, ``levels`` of them, each entry a mixture of so many ``components``."""

    def __init__(self, in_shape: Shape, shape: Shape, *, components: int = 3, levels: int = 256):
        super().__init__()
        if components < 1 or levels < 2:
            raise ValueError(f"components is at least 1 and levels at least 2, got {components} and {levels}")
        self.components, self.levels, self.shape = components, levels, tuple(shape)
        self.features_shape = tuple(shape)
        self.head = Head(tuple(in_shape), (3 * components * shape[0], *shape[1:]))
        assert self.head.layer is not None
        with torch.no_grad():
            # apart from each other, else they would stay one: from all levels alike to a few
            self._by_component(self.head.layer.bias)[2] += torch.linspace(-1.0, -3.0, components)[:, None]
            nn.init.normal_(self.head.layer.weight, std=0.01)

    def _by_component(self, outputs: Tensor) -> Tensor:
        """The head's outputs (3 · components · entries) by what they are, component and entry."""
        return outputs.view(3, self.components, -1)

    def forward(self, h: Tensor) -> Pixels:
        parts = self.head(h).reshape(-1, 3, self.components, *self.shape)
        return Pixels(parts[:, 0], parts[:, 1], parts[:, 2].clamp(*LOG_SCALE), self.levels)

    @torch.no_grad()
    def start_linear(self, body: Body, weight: Tensor, mean: Tensor) -> None:
        narrow = torch.linspace(_NARROW, _NARROW - 1, self.components).to(mean)
        if self.head.pointwise:  # the body's path holds a map of channels
            channels = self.shape[0]
            weight, mean = weight.reshape(channels, -1), mean.reshape(channels, -1)
        nothing = torch.zeros_like(weight).repeat(self.components, 1)
        weights = torch.cat([nothing, weight.repeat(self.components, 1), nothing])
        flat = mean.reshape(-1)
        bias = torch.cat([flat.new_zeros(self.components * len(flat)), flat.repeat(self.components),
                          narrow.repeat_interleave(len(flat))])  # fmt: skip
        self.head.start_linear(body, weights, bias)

    def problem(self, x: Tensor) -> str | None:
        if x.min() >= 0 and x.max() <= 1:
            return None
        return (
            f"a pixels likelihood needs grey levels in [0, 1], but the rows span [{x.min():g}, {x.max():g}]; "
            "use likelihood='gaussian', or scale the rows to [0, 1]"
        )

    def extra_repr(self) -> str:
        return f"components={self.components}, levels={self.levels}"
