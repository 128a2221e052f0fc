r"""Several detectors that are taught together: the mean of their standardised scores.

.. math:: s(x) = \frac{1}{M} \sum_m \frac{s_m(x) - \mu_m}{\sigma_m}

:math:`\mu_m` and :math:`\sigma_m` are of training rows, scored as if they had not been learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from isthmus.core.detectors.denoising import Denoising
from isthmus.core.detectors.masked import Masked
from isthmus.core.detectors.neighbours import Neighbours
from isthmus.core.parts import Detector, Losses, Shape, Surprise, make
from isthmus.spec import Part

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net

#: Those that can tell how a training row would score if it were fresh.
MEMBERS: dict[str, type[Detector]] = {
    "neighbours": Neighbours,
    "masked": Masked,
    "denoising": Denoising,
}
#: Training rows that the members' scores are standardised by.
_MOST = 4096


class Committee(Detector):
    """``detectors`` by name or with options, each standardised, added up: no single one wins everywhere. ``members``
    are the networks of each that learns, taught together in grouped products; by themselves they know how many.
    """

    learns = True
    tells_fresh = True

    def __init__(
        self,
        shape: Shape,
        features_shape: Shape,
        *,
        detectors: Sequence[Any] = ({"kind": "neighbours", "local": 0.0}, "masked", "denoising"),
        members: int | None = None,
    ):
        super().__init__()
        parts = [Part.of(detector) for detector in detectors]
        if len({part.kind for part in parts}) < len(parts) or not parts:
            raise ValueError(f"detectors are different ones, at least one; got {[part.kind for part in parts]}")
        if members is not None:
            learn = [MEMBERS[part.kind].learns if part.kind in MEMBERS else False for part in parts]
            parts = [p.updated(members=members) if own else p for p, own in zip(parts, learn, strict=True)]
        self.members = nn.ModuleDict(
            {part.kind: make(MEMBERS, "detector of a committee", part, shape, features_shape) for part in parts}
        )
        self.learning = {name: member for name, member in self.members.items() if member.learns}
        self.learns = bool(self.learning)
        self.steps = max((member.steps for member in self.learning.values()), default=0)
        self.register_buffer("center", torch.zeros(len(parts)))
        self.register_buffer("spread", torch.ones(len(parts)))

    def feed(self, net: Net, tensors: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        fed = {name: member.feed(net, tensors, generator) for name, member in self.learning.items()}
        return {f"{name}.{what}": t for name, batch in fed.items() for what, t in batch.items()}

    def losses(self, **batch: Tensor) -> Losses:
        terms = {}
        for name, member in self.learning.items():
            own = {what.removeprefix(f"{name}."): t for what, t in batch.items() if what.startswith(f"{name}.")}
            terms[name] = member.losses(**own).groups["main"]
        return Losses({"main": sum(terms.values())}, {name: term.detach() for name, term in terms.items()})

    @torch.no_grad()
    def settle(self, net: Net, tensors: Mapping[str, Tensor], generator: torch.Generator) -> None:
        index = torch.arange(0, len(tensors["x"]), -(-len(tensors["x"]) // _MOST), device=tensors["x"].device)
        for place, member in enumerate(self.members.values()):
            member.settle(net, tensors, generator)
            score = member.fresh(net, tensors, index).score
            self.center[place], self.spread[place] = score.mean(), score.std(correction=0).clamp(min=1e-6)

    def fresh(self, net: Net, tensors: Mapping[str, Tensor], index: Tensor) -> Surprise:
        return self._sum([member.fresh(net, tensors, index) for member in self.members.values()])

    def forward(
        self,
        net: Net,
        x: Tensor,
        observed: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        explain: bool = True,
    ) -> Surprise:
        return self._sum([m(net, x, observed, condition, explain=explain) for m in self.members.values()])

    def _sum(self, found: Sequence[Surprise]) -> Surprise:
        """The mean of what members say, on one scale."""
        weights = 1 / (self.spread * len(found))
        score = sum(one.score * w for one, w in zip(found, weights, strict=True)) - (self.center * weights).sum()
        entries = sum(one.entries * w for one, w in zip(found, weights, strict=True))
        expected = next((one.expected for one in found if one.expected is not None), None)
        return Surprise(score, entries, (score - entries.flatten(1).sum(1)).to(entries), expected)

    def extra_repr(self) -> str:
        return f"members={list(self.members)}"
