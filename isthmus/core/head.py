r"""A head: what a code says of a label, through one linear map behind a copy of the encoder.

.. math::
    \hat t = W \frac{f(x) - \mu}{s} + b, \qquad
    \mathcal{L} = -\sum_k t_k \log \mathrm{softmax}(\hat t)_k + \frac{\lambda}{2} \|W\|^2

of classes, or :math:`\tfrac12 (t - \hat t)^2` of numbers. While it is *frozen* the map alone learns, on codes; then
the encoder learns along. The autoencoder's own weights stay as they are.

References:
    Erhan, Bengio, Courville, Manzagol, Vincent, Bengio, Why Does Unsupervised Pre-training Help Deep Learning?, 2010.
    Kumar, Raghunathan, Jones, Ma, Liang, Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution, 2022, https://arxiv.org/abs/2202.10054 (first the head alone, then everything).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from isthmus.core.autoencoder import Net, visible_of
from isthmus.core.parts import Corrupted, Losses, size

#: Outputs that a file may ask for.
_MOST = 1 << 16


class Head(nn.Module):
    """``outputs`` numbers for each row: one a class, or one in all where ``numbers`` are told.

    ``classes`` are their names, ``name`` is what the label is called, ``record`` how it was learned. Numbers are
    learned in deviations from their mean, which :meth:`settle` takes in.
    """

    #: Nothing plays against it (what the training asks of every network).
    critic: None = None
    progress: float = 1.0

    def __init__(
        self,
        net: Net,
        outputs: int,
        *,
        numbers: bool = False,
        classes: list[Any] | None = None,
        name: str = "",
        record: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.numbers, self.classes, self.name, self.record = numbers, classes, name, dict(record or {})
        # the wiring is asked how rows are shown; in a list, because it is not ours to train, move or save
        self._of = [net]
        self.encoder, self.bottleneck = copy.deepcopy((net.encoder, net.bottleneck))
        self.corruption = copy.deepcopy(net.corruption)
        n = size(net.bottleneck.code_shape)
        self.map = nn.Linear(n, outputs)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.frozen, self.strength = True, 1e-3

    # -- what it says ---------------------------------------------------------------------------

    def codes(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """(B, *shape) → the codes of its own encoder, flat (B, n)."""
        return self._codes(x, observed)

    def forward(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """(B, *shape) → probabilities of classes (B, outputs), or numbers (B, 1) in their own units."""
        told = self.told(self.codes(x, observed))
        return told * self.spread + self.center if self.numbers else told.softmax(1)

    def told(self, z: Tensor) -> Tensor:
        """Codes (B, n) → logits, or numbers in deviations."""
        return self.map((z - self.mean) / self.scale)

    def _codes(self, x: Tensor, visible: Tensor | None) -> Tensor:
        net = self._of[0]
        features = net.features(x, visible)
        if not self.encoder.takes_mask:
            h = self.encoder(features)
        else:
            h = self.encoder(features, None if visible is None else net.likelihood.reach(visible))
        return self.bottleneck.mode(h).flatten(1)

    @torch.no_grad()
    def settle(self, z: Tensor, numbers: Tensor | None = None) -> None:
        """Take in where codes (n, k) lie and, with one scale for all, how far apart; and the same of numbers (n,)."""
        # one scale: codes keep their distances, and a direction in which rows hardly differ is not blown up
        self.mean.copy_(z.mean(0))
        self.scale.copy_((z - self.mean).square().mean().sqrt().clamp(min=1e-12))
        if numbers is not None:
            self.center.copy_(numbers.mean())
            self.spread.copy_(numbers.std(correction=0).clamp(min=1e-12))

    def targets(self, y: Tensor) -> Tensor:
        """Places of classes (n,), or numbers (n,) → what :meth:`losses` holds its answers against (n, outputs)."""
        if self.numbers:
            return ((y - self.center) / self.spread)[:, None].float()
        return nn.functional.one_hot(y.long(), self.map.out_features).float()

    # -- what the loop asks of a network --------------------------------------------------------

    def losses(self, *, t: Tensor, z: Tensor | None = None, weight: Tensor | None = None, **rows: Tensor) -> Losses:
        """Of codes ``z`` while it is frozen, of rows (with the autoencoder's own corruption) afterwards."""
        told = self.told(self._noisy(**rows) if z is None else z)
        nats = self._nats(told, t)
        label = nats.mean() if weight is None else (nats * weight).sum() / weight.sum()
        price = self.strength / 2 * self.map.weight.square().sum()
        terms = {"label": label.detach(), "weights": price.detach()}
        return Losses({"main": label + price}, terms)

    def _noisy(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        net, corrupted = self._of[0], Corrupted(x)
        if self.training:
            corrupted = self.corruption(x, observed)
            corrupted.x = net.likelihood.sensible(corrupted.x, x)
        return self._codes(corrupted.x, visible_of(observed, corrupted.hidden))

    def _nats(self, told: Tensor, t: Tensor) -> Tensor:
        return (told - t).square().sum(1) / 2 if self.numbers else -(t * told.log_softmax(1)).sum(1)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Mapping[str, Tensor]]) -> tuple[float, float]:
        """Mean nats, and the share of rows whose class is not told (of numbers: of the variance that is not)."""
        was_training, loss, wrong, count = self.training, 0.0, 0.0, 0
        self.eval()
        for b in batches:
            told = self.told(b["z"] if "z" in b else self._codes(b["x"], b.get("observed")))
            nats = self._nats(told, b["t"])
            loss, count = loss + float(nats.sum()), count + len(nats)
            wrong += 2 * float(nats.sum()) if self.numbers else float((told.argmax(1) != b["t"].argmax(1)).sum())
        self.train(was_training)
        return loss / count, wrong / count

    def groups(self) -> dict[str, list[nn.Parameter]]:
        moved = self.map if self.frozen else self
        return {"main": [p for p in moved.parameters() if p.requires_grad]}

    def pace(self, group: str) -> float:
        return 1.0

    def project_gradients(self) -> None:
        """What keeps the autoencoder's weights on a surface (unit columns of a dictionary) is not kept here."""

    def project(self) -> None:
        """As above."""

    # -- the file -------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        said = {name: getattr(self, name) for name in ("numbers", "classes", "name", "record")}
        return {"outputs": self.map.out_features, **said}

    @classmethod
    def from_json(cls, net: Net, said: Mapping[str, Any]) -> Self:
        """A head of that size behind the encoder of ``net``, without its weights.

        Raises:
            ValueError: what is said does not fit together.
        """
        outputs, classes = said["outputs"], said["classes"]
        fits = classes is None if said["numbers"] else isinstance(classes, list) and len(classes) == outputs
        if not isinstance(outputs, int) or not 0 < outputs <= _MOST or not fits:
            raise ValueError(f"a head of {outputs!r} outputs for {'numbers' if said['numbers'] else classes!r}")
        return cls(net, outputs, **{name: said[name] for name in ("numbers", "classes", "name", "record")})
