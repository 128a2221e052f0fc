r"""Detectors that are small networks taught beside the model: rows are strange where these err more than usual.

.. math:: s(x) = \log \frac{1}{F} \sum_j \frac{e_j(x)}{\sigma_j^2}
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from isthmus.core.detectors.grouped import Grouped, bags, unseen
from isthmus.core.detectors.seen import by_entry, flat
from isthmus.core.parts import Detector, Losses, Shape, Surprise, size

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net

#: Deviations beyond this are no stranger, or one entry would blind the networks to all others.
_FAR = 10.0
#: Training rows that the usual errors are taken from.
_MOST = 4096


class Taught(Detector):
    """What they share: standardised columns, rows out of the bag, errors as a share of the usual ones."""

    learns: ClassVar[bool] = True
    tells_fresh: ClassVar[bool] = True

    def __init__(
        self, shape: Shape, features_shape: Shape, inputs: int, members: int, width: int, bag: float, steps: int
    ):
        super().__init__()
        if members < 2 or width < 1 or not 0 < bag < 1 or steps < 1:
            raise ValueError(
                f"members is at least 2, width and steps at least 1, bag a share in (0, 1); got members={members}, "
                f"width={width}, bag={bag}, steps={steps}"
            )
        self.members, self.width, self.bag, self.steps = members, width, bag, steps
        n = size(features_shape)
        self.nets = Grouped(members, [inputs * n, width, width, n])
        for name in ("mean", "deviation", "usual", "center", "spread"):
            self.register_buffer(name, torch.zeros(0))
        self.register_buffer("learned", torch.zeros(0, dtype=torch.bool), persistent=False)

    @abstractmethod
    def errors(self, x: Tensor, there: Tensor | None) -> Tensor:
        """What is trained down (members, B, F), with noise; 0 where nothing was asked."""

    @abstractmethod
    def looked(self, x: Tensor, there: Tensor | None) -> Tensor:
        """What is counted at use (members, B, F), the same every time."""

    def feed(self, net: Net, tensors: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        x, there = flat(net, tensors["x"], tensors.get("observed"))
        counts = len(x) if there is None else there.sum(0).clamp(min=1)
        self.mean = x.sum(0) / counts
        apart = (x - self.mean) if there is None else (x - self.mean) * there
        deviation = (apart.square().sum(0) / counts).sqrt()
        self.deviation = torch.where(deviation > 0, deviation, 1.0)
        self.learned = bags(len(x), self.members, self.bag, generator).to(x.device)
        fed = {"x": self._scaled(x, there), "learned": self.learned}
        return fed if there is None else {**fed, "there": there}

    def losses(self, *, x: Tensor, learned: Tensor, there: Tensor | None = None) -> Losses:
        errors = self.errors(x, there).sum(2) * learned.T
        loss = (errors.sum(1) / learned.sum(0).clamp(min=1)).sum() / 2
        return Losses({"main": loss}, {"errors": loss.detach()})

    @torch.no_grad()
    def settle(self, net: Net, tensors: Mapping[str, Tensor], generator: torch.Generator) -> None:
        index = torch.arange(0, len(tensors["x"]), -(-len(tensors["x"]) // _MOST), device=tensors["x"].device)
        errors = self._fresh(net, tensors, index)
        self.usual = errors.mean(0).clamp(min=1e-6)
        logs = self._log(errors)
        self.center, self.spread = logs.mean(), logs.std(correction=0).clamp(min=1e-6)

    def fresh(self, net: Net, tensors: Mapping[str, Tensor], index: Tensor) -> Surprise:
        return self._surprise(net, self._fresh(net, tensors, index))

    def forward(
        self,
        net: Net,
        x: Tensor,
        observed: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        explain: bool = True,
    ) -> Surprise:
        x, there = flat(net, x, observed)
        return self._surprise(net, self.looked(self._scaled(x, there), there).mean(0))

    def _surprise(self, net: Net, errors: Tensor) -> Surprise:
        score = (self._log(errors) - self.center) / self.spread
        shares = errors / self.usual
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-30)
        entries = by_entry(net, score[:, None] * shares)
        return Surprise(score.double(), entries, score - entries.flatten(1).sum(1))

    def _fresh(self, net: Net, tensors: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Errors (B, F) of the members that have not seen a row."""
        x, there = flat(net, *(None if t is None else t[index] for t in (tensors["x"], tensors.get("observed"))))
        return unseen(self.looked(self._scaled(x, there), there), self.learned[index])

    def _scaled(self, x: Tensor, there: Tensor | None) -> Tensor:
        scaled = ((x - self.mean) / self.deviation).clamp(-_FAR, _FAR)
        return scaled if there is None else scaled * there

    def _log(self, errors: Tensor) -> Tensor:
        return ((errors / self.usual).mean(1) + 1e-9).log()

    def extra_repr(self) -> str:
        return f"members={self.members}, width={self.width}, bag={self.bag}, steps={self.steps}"
