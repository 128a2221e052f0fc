r"""What the other columns say of a column: small networks fill in hidden entries, and rows are strange where they err.

.. math:: s(x) = \log \frac{1}{F} \sum_j \frac{E_m \bigl(x_j - g(x_{\setminus m})_j\bigr)^2}{\sigma_j^2}

:math:`m` hides a share of the entries, j among them, and :math:`\sigma_j^2` is what that error is for rows that the
network has not seen.

References:
    Yin et al., MCM: Masked Cell Modeling for Anomaly Detection in Tabular Data, 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.core.detectors.taught import Taught
from isthmus.core.parts import Shape

#: From so many rows on the weights are cut to what a mask asks for; for fewer the cutting costs more.
_MANY = 64
#: Rows that go through the layers together.
_TOGETHER = 512

#: Weights and biases.
_Layer = tuple[Tensor, Tensor]


class Masked(Taught):
    """``hidden`` is the share of the entries that is hidden at once, ``masks`` how many times a row is looked at."""

    def __init__(
        self,
        shape: Shape,
        features_shape: Shape,
        *,
        hidden: float = 0.4,
        masks: int = 12,
        members: int = 4,
        width: int = 128,
        bag: float = 0.6,
        steps: int = 1500,
    ):
        super().__init__(shape, features_shape, 2, members, width, bag, steps)
        if not 0 < hidden < 1 or masks < 1:
            raise ValueError(f"hidden is a share in (0, 1) and masks at least 1, got {hidden} and {masks}")
        self.hidden, self.masks = hidden, masks

    def errors(self, x: Tensor, there: Tensor | None) -> Tensor:
        hidden = torch.rand(self.members, *x.shape, device=x.device) < self.hidden
        return self._errors(x, hidden, there)

    def looked(self, x: Tensor, there: Tensor | None) -> Tensor:
        masks = self._each(x.shape[1], x.device)
        if len(x) >= _MANY:
            return self._asked_alone(x, masks, there)
        errors = torch.zeros(self.members, *x.shape, device=x.device)
        for hidden in masks:
            errors += self._errors(x, hidden.expand(self.members, *x.shape), there)
        return errors / masks.sum(0)

    def _asked_alone(self, x: Tensor, masks: Tensor, there: Tensor | None) -> Tensor:
        """The same errors (members, B, F) in half the products, where all rows have one mask: what is hidden is 0 in
        the first layer, that it is hidden is a bias there, and the last layer is asked for nothing else.

        Rows are columns here, so that entries are picked and added up whole, and some rows are looked at at a time, so
        that what comes between the layers stays in the cache.
        """
        n, gaps = x.shape[1], torch.zeros(0, dtype=torch.long, device=x.device)
        if there is not None:  # what is missing is said too, of the few columns where anything is
            gaps = (~there.all(0)).nonzero()[:, 0]
        cut = [self._cut(hidden, gaps) for hidden in masks]
        errors, step = x.new_zeros(self.members, n, len(x)), _TOGETHER if x.device.type == "cpu" else len(x)
        for i in range(0, len(x), step):
            columns = x[i : i + step].T.contiguous()
            seen = None if there is None else there[i : i + step].T.to(x)
            told = columns.new_ones(1, columns.shape[1])
            if seen is not None:
                told = torch.cat([1 - seen[gaps], told])
            for hidden, kept, first, middle, last in cut:
                h = (first @ torch.cat([columns[kept], told])).unflatten(0, (self.members, -1))
                for weight, bias in middle:
                    h = torch.baddbmm(bias, weight, nn.functional.silu(h, inplace=True))
                found = torch.baddbmm(last[1], last[0], nn.functional.silu(h, inplace=True))
                found.sub_(columns[hidden]).square_()
                if seen is not None:
                    found *= seen[hidden]
                errors[:, :, i : i + step].index_add_(1, hidden, found)
        return errors.mT / masks.sum(0)

    def _cut(self, hidden: Tensor, gaps: Tensor) -> tuple[Tensor, Tensor, Tensor, list[_Layer], _Layer]:
        """Which entries one mask hides and which it keeps, and the layers for these alone: the first one's weights of
        all members below each other (members · width, kept + gaps + 1), the last column what is always added.
        """
        (first, *middle, last), (bias, *biases, end) = self.nets.weights, self.nets.biases
        n = len(hidden)
        told = first[:, n:]
        always = bias + told[:, hidden].sum(1, keepdim=True)
        # an entry that is hidden and missing is told of once
        missing = told[:, gaps] * ~hidden[gaps, None]
        weight = torch.cat([first[:, :n][:, ~hidden], missing, always], 1).mT.flatten(0, 1)
        where = hidden.nonzero()[:, 0]
        return (
            where,
            (~hidden).nonzero()[:, 0],
            weight,
            [(w.mT.contiguous(), b.mT) for w, b in zip(middle, biases, strict=True)],
            (last[..., where].mT.contiguous(), end[..., where].mT),
        )

    def _errors(self, x: Tensor, hidden: Tensor, there: Tensor | None) -> Tensor:
        """Squared errors of hidden entries (members, B, F); 0 of the others."""
        gone = hidden if there is None else hidden | ~there
        guess = self.nets(torch.cat([torch.where(gone, 0.0, x), gone.to(x)], dim=2))
        asked = hidden if there is None else hidden & there
        return (guess - x).square() * asked

    def _each(self, n: int, device: torch.device) -> Tensor:
        """The masks of use (masks, F), the same every time: every entry is hidden as often as any other, within one."""
        generator = torch.Generator().manual_seed(0)
        many = max(1, round(self.hidden * n))
        rounds = -(-self.masks * many // n)
        order = torch.cat([torch.randperm(n, generator=generator) for _ in range(rounds)])
        # whole rounds, so that no entry is never asked for
        masks = torch.zeros(-(-rounds * n // many), n, dtype=torch.bool)
        for mask, some in zip(masks, order.split(many), strict=True):
            mask[some] = True
        return masks.to(device)

    def extra_repr(self) -> str:
        return f"hidden={self.hidden}, masks={self.masks}, {super().extra_repr()}"
