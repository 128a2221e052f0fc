r"""Several kinds of entries in one row, each with its own law: numbers, words, pixels.

.. math:: -\log p(x \mid z) = \sum_k -\log p_k(x_k \mid z)

Every side has its own heads on the one decoder, so one code speaks of all of them. Nats add up by themselves; errors
do not, being squares here and deviances there, so each side's counts as a share of what the mean row leaves of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from isthmus.core.parts import Body, Distribution, Likelihood, Piece, Shape, Trace, make
from isthmus.spec import Part


@dataclass
class Sides(Distribution):
    """Distributions side by side."""

    sides: Sequence[Distribution]
    places: Sequence[slice]

    @property
    def mean(self) -> Tensor:
        return torch.cat([side.mean for side in self.sides], dim=1)

    @property
    def expected(self) -> Tensor:
        return torch.cat([side.expected for side in self.sides], dim=1)

    def log_probs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        pairs = zip(self.sides, self.places, strict=True)
        return torch.cat([p.log_probs(x[:, at], None if observed is None else observed[:, at]) for p, at in pairs], 1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return torch.cat([side.sample(generator) for side in self.sides], dim=1)


class Joint(Likelihood):
    """``sides`` are ``{"entries": n, "of": likelihood}``, in the order of the entries of x."""

    spread = "variation"
    scale: Tensor

    def __init__(self, in_shape: Shape, shape: Shape, *, sides: Sequence[Mapping[str, object]]):
        from isthmus.core.likelihoods import LIKELIHOODS  # the menu holds this file too

        super().__init__()
        sizes = [int(side["entries"]) for side in sides]
        if len(shape) != 1 or sum(sizes) != shape[0] or min(sizes, default=0) < 1:
            raise ValueError(f"sides have an entry or more each, {tuple(shape)} together, and got {sizes}")
        self.sides = nn.ModuleList(
            make(LIKELIHOODS, "likelihood", Part.of(side["of"]), in_shape, (n,))
            for side, n in zip(sides, sizes, strict=True)
        )
        self.places = _places(sizes)
        self.of_features = _places([side.features_shape[0] for side in self.sides])
        self.features_shape = (self.of_features[-1].stop,)
        # of rows with few words codes are the most usual, whatever stands beside the words
        self.prices_code = all(side.prices_code for side in self.sides)
        self.register_buffer("scale", torch.ones(len(sizes)))

    def forward(self, h: Tensor) -> Sides:
        return Sides([side(h) for side in self.sides], self.places)

    def represent(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        return self._each(lambda side, x, seen: side.represent(x, seen), x, visible)

    def sensible(self, shown: Tensor, x: Tensor) -> Tensor:
        return self._each(lambda side, shown, x: side.sensible(shown, x), shown, x)

    def reach(self, mask: Tensor) -> Tensor:
        return self._each(lambda side, mask, _: side.reach(mask), mask, None)

    def _each(self, ask: Callable[..., Tensor], first: Tensor, second: Tensor | None) -> Tensor:
        pairs = zip(self.sides, self.places, strict=True)
        return torch.cat([ask(p, first[:, at], None if second is None else second[:, at]) for p, at in pairs], 1)

    def error(self, shown: Tensor, there: Tensor | None, expected: Tensor) -> Tensor:
        """The sum of each side's error (B,), as a share of what the mean row leaves of that side."""
        return (self._errors(shown, there, expected) / self.scale).sum(1)

    def _errors(self, shown: Tensor, there: Tensor | None, expected: Tensor) -> Tensor:
        pairs = zip(self.sides, self.of_features, strict=True)
        found = [p.error(shown[:, at], None if there is None else there[:, at], expected[:, at]) for p, at in pairs]
        return torch.stack(found, 1)

    def start_from(self, trace: Trace) -> None:
        for side, at in zip(self.sides, self.places, strict=True):
            if type(side).start_from is not Piece.start_from:
                seen = None if trace.observed is None else trace.observed[:, at]
                side.start_from(replace(trace, x=trace.x[:, at], observed=seen))
        shown = self.represent(trace.x, trace.observed)
        there = None if trace.observed is None else self.reach(trace.observed)
        mean = shown.mean(0) if there is None else (shown * there).sum(0) / there.sum(0).clamp(min=1)
        self.scale.copy_(self._errors(shown, there, mean.expand_as(shown)).mean(0).clamp(min=1e-12))

    def start_linear(self, body: Body, weight: Tensor, mean: Tensor) -> None:
        for side, at in zip(self.sides, self.of_features, strict=True):
            side.start_linear(body, weight[at], mean[at])

    @property
    def calibrates(self) -> bool:
        return any(side.calibrates for side in self.sides)

    def calibrate(self, x: Tensor, observed: Tensor | None, mean: Tensor) -> None:
        for side, at in zip(self.sides, self.places, strict=True):
            if side.calibrates:
                side.calibrate(x[:, at], None if observed is None else observed[:, at], mean[:, at])

    def problem(self, x: Tensor) -> str | None:
        found = (side.problem(x[:, at]) for side, at in zip(self.sides, self.places, strict=True))
        return next((why for why in found if why), None)

    def extra_repr(self) -> str:
        return f"sides={[at.stop - at.start for at in self.places]}"


def _places(sizes: Sequence[int]) -> list[slice]:
    ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
    return [slice(ends[i], ends[i + 1]) for i in range(len(sizes))]
