r"""Adaptive bottleneck: a gaussian code that shuts the numbers which say nothing, for good.

.. math::
    z_j = a_j (\mu_j + \sigma_j \epsilon_j), \qquad
    a_j \leftarrow a_j \cdot 1\left[\overline{\mathrm{rate}}_j > \tau\right]

A noisy code of more numbers than needed uses as many as the surface has dimensions on which the rows lie, and lets
the others fall to the prior. The penalty ``active_codes`` asks the undecided ones to go.

References:
    Dai and Wipf, Diagnosing and Enhancing VAE Models, 2019, https://arxiv.org/abs/1903.05789
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.bottlenecks.gaussian import Gaussian
from isthmus.core.parts import Body, Bottleneck, Code, Shape

#: Steps over which a rate is averaged.
_STEPS = 50


class Adaptive(Bottleneck):
    """At most ``dim`` numbers. One whose rate, averaged over the last steps, falls below ``least`` nats is shut:
    exactly 0 from then on. ``active`` tells which are left.
    """

    rated = True
    explains = 0.99

    def __init__(self, in_shape: Shape, dim: int, *, least: float = 0.1):
        super().__init__()
        if least < 0:
            raise ValueError(f"least is at least 0 nats, got {least}")
        self.least, self.code_shape = least, (dim,)
        self.gaussian = Gaussian(in_shape, dim)
        self.register_buffer("active", torch.ones(dim, dtype=torch.bool))
        # nothing is shut before it has been looked at for a while
        self.register_buffer("rates", torch.full((dim,), 1.0 + 2 * least))
        self.latest: Tensor | None = None

    @property
    def n_numbers(self) -> int:
        return int(self.active.sum())

    def remarks(self) -> list[str]:
        return [f"{self.n_numbers} of at most {len(self.active)} numbers of the code are in use: the others are 0"]

    def forward(self, h: Tensor) -> Code:
        code = self.gaussian(h)
        rates = code.aux["rates"] * self.active
        if self.training and torch.is_grad_enabled():  # held-out rows are scored without
            self.latest = rates.detach().mean(0)
        return Code(code.z * self.active, rates.sum(1), {**code.aux, "rates": rates})

    def mode(self, h: Tensor) -> Tensor:
        return self.gaussian.mode(h) * self.active

    def settled(self, z: Tensor) -> Tensor:
        return z * self.active

    def project(self) -> None:
        if self.latest is not None:
            self.rates.lerp_(self.latest, 1 / _STEPS)
            # the last number stays: a code of none has nothing to come back from
            quiet = (self.rates < self.least) & (self.rates < self.rates.max())
            self.active &= ~quiet
            self.latest = None

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        self.gaussian.start_linear(body, weight, bias)

    def extra_repr(self) -> str:
        return f"dim={self.code_shape[0]}, least={self.least}"
