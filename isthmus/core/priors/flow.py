"""A normalising flow, fitted to codes after training.

.. math:: \\log p(w) = \\log N\\bigl(f(w); 0, I\\bigr) + \\log |\\det J_f(w)|

References:
    Durkan et al., Neural Spline Flows, 2019, https://arxiv.org/abs/1906.04032
    Rozet et al., Zuko: Normalizing flows in PyTorch, 2022, https://github.com/probabilists/zuko
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.parts import Shape, size
from isthmus.core.priors.trained import Trained
from isthmus.errors import SpecError

#: Codes wider than this are bent a block at a time.
_BLOCKS = 8


class Flow(Trained):
    """Autoregressive splines that bend the gaussian of the codes into their density, which is exact.

    Needs zuko: ``pip install "isthmus[flow]"``.
    """

    steps = 1000

    def __init__(self, code_shape: Shape, seen_shape: Shape, *, transforms: int = 3, width: int = 64, bins: int = 8):
        for name, value in (("transforms", transforms), ("width", width)):
            if value < 1:
                raise ValueError(f"{name} is at least 1, got {value}")
        if bins < 2:
            raise ValueError(f"bins is at least 2, got {bins}")
        super().__init__(code_shape, _splines(size(code_shape), transforms, width, bins))
        self.transforms, self.width, self.bins = transforms, width, bins

    def cost(self, w: Tensor, generator: torch.Generator) -> Tensor:
        return -self.log_density(w)

    def log_density(self, w: Tensor) -> Tensor:
        return self.network().log_prob(w)

    def draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        center = self.gaussian.center
        noise = torch.randn(n, self.dim, generator=generator, device=center.device).to(center)
        return self.network().transform.inv(noise)

    def extra_repr(self) -> str:
        return f"transforms={self.transforms}, width={self.width}, bins={self.bins}"


def _splines(dim: int, transforms: int, width: int, bins: int) -> Any:
    """The flow that does nothing yet: every spline begins as a straight line."""
    try:
        from zuko.flows import NSF
    except ImportError as error:
        raise SpecError(
            "The prior 'flow' needs zuko, which is not installed: pip install \"isthmus[flow]\". "
            "prior='mixture' needs nothing more."
        ) from error
    # Wide codes go in blocks, which are others in every transform: drawing takes a pass per block.
    blocks = {"passes": _BLOCKS, "randperm": True} if dim > _BLOCKS else {}
    flow = NSF(dim, transforms=transforms, hidden_features=(width, width), bins=bins, **blocks)
    with torch.no_grad():
        for step in flow.transform.transforms:
            # one number has nothing to depend on, so its spline stands there as it is
            last = step.hyper[-1].parameters() if dim > 1 else step.parameters()
            for p in last:
                nn.init.zeros_(p)
    return flow
