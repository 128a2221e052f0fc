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
        errors, times = torch.zeros(self.members, *x.shape, device=x.device), 0
        short = len(x) >= _MANY
        for hidden in self._each(x.shape[1], x.device):
            if short:
                errors[:, :, hidden] += self._asked_alone(x, hidden, there)
            else:
                errors += self._errors(x, hidden.expand(self.members, *x.shape), there)
            times = times + hidden
        return errors / times

    def _asked_alone(self, x: Tensor, hidden: Tensor, there: Tensor | None) -> Tensor:
        """The same errors (members, B, hidden) in half the products, where all rows have one mask: what is hidden is 0
        in the first layer, that it is hidden is a bias there, and the last layer is asked for nothing else.
        """
        (first, *middle, last), (bias, *biases, end) = self.nets.weights, self.nets.biases
        n, wide = x.shape[1], (self.members, -1, -1)
        h = torch.baddbmm(
            bias + first[:, n:][:, hidden].sum(1, keepdim=True), x[:, ~hidden].expand(wide), first[:, :n][:, ~hidden]
        )
        if there is not None:  # what is missing is said too, of the few columns where anything is
            gaps = ~hidden & ~there.all(0)
            h = h + (~there[:, gaps]).to(x) @ first[:, n:][:, gaps]
        for weight, b in zip(middle, biases, strict=True):
            h = torch.baddbmm(b, nn.functional.silu(h), weight)
        guess = torch.baddbmm(end[..., hidden], nn.functional.silu(h), last[..., hidden])
        errors = (guess - x[:, hidden]).square_()
        return errors if there is None else errors * there[:, hidden]

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
