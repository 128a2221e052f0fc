r"""Distance to the nearest training rows, held against how far these are from their own.

.. math:: s(x) = \frac{1}{V} \sum_v \mathrm{standardised}\Bigl(\log d_v(x)
    - \lambda \log \min\bigl(\bar d_v(x), c \cdot \mathrm{median}\bigr)\Bigr)

:math:`d_v` is the mean distance to the k nearest rows, :math:`\bar d_v` what that is on average for the nearest rows
themselves, and each v scales the columns in its own way. A row is held against dense surroundings, but lone rows that
are far from everything excuse nobody.

References:
    Ramaswamy, Rastogi, Shim, Efficient Algorithms for Mining Outliers from Large Data Sets, 2000 (λ = 0).
    Breunig, Kriegel, Ng, Sander, LOF: Identifying Density-Based Local Outliers, 2000 (λ = 1, nearly).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isthmus.core.detectors.seen import as_rows, by_entry, flat, numbers
from isthmus.core.parts import Detector, Shape, Surprise, one_of

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net

#: Numbers that the rows which are kept may have together: a file stays small, a search short.
_MOST_NUMBERS = 1 << 21
#: Distances that are looked at together: 16 MB, which the allocator still keeps (at 32 MB it takes twice as long).
_AT_ONCE = 1 << 22
#: Values of a column that its ranks are read from.
_KNOTS = 1024
#: Neighbours whose own distance a row's is held against, as a multiple of k.
_AROUND = 2
#: Surroundings count as no looser than this many times the median.
_LOOSE = 1.5
#: A share of the rows is at least so many.
_LEAST = 5
#: The nearest are measured entry by entry; what is farther needs fewer digits.
_EXACT = 16
#: Scaled numbers beyond this are no farther.
_FAR = 30.0
#: Rows nearer than this share of their own length are the same row.
_SAME = 4e-6


class Neighbours(Detector):
    """Local distance to ``k`` neighbours among at most ``most`` training rows, in several ``scales``.

    ``k`` is a number of rows or a share of them. ``standard`` divides numbers by their deviation, ``range`` by their
    range (heavy tails weigh little), ``rank`` takes them to the normal quantiles of their ranks (only order counts).
    One exact copy of a row is taken for the row itself, so that the training rows can be looked at too. Entries that
    are missing take no part.
    """

    tells_fresh = True

    def __init__(
        self,
        shape: Shape,
        features_shape: Shape,
        *,
        k: int | float = 5,
        local: float = 0.5,
        scales: Sequence[str] = ("standard", "range", "rank"),
        most: int = 8192,
    ):
        super().__init__()
        if (not (k >= 1 and k == int(k)) and not 0 < k < 1) or most < 2:
            raise ValueError(f"k is a whole number or a share in (0, 1), most at least 2; got k={k}, most={most}")
        self.k, self.local, self.most = k, local, most
        self.scales = [one_of("scale", name, list(_SCALES)) for name in scales]
        for name in ("rows", "mean", "deviation", "span", "knots", "number", "own", "center", "spread"):
            self.register_buffer(name, torch.zeros(0))
        self._known: _Known | None = None
        self._alone: bool | None = None

    # -- learning -------------------------------------------------------------------------------

    @torch.no_grad()
    def settle(self, net: Net, tensors: Mapping[str, Tensor], generator: torch.Generator) -> None:
        x, there = flat(net, tensors["x"], tensors.get("observed"))
        if there is not None:
            x = torch.where(there, x, x.sum(0) / there.sum(0).clamp(min=1))
        most = max(64, min(self.most, _MOST_NUMBERS // x.shape[1]))
        kept = torch.randperm(len(x), generator=generator)[:most].sort().values
        rows = x[kept.to(x.device)]
        self.rows, self.mean, self.number = rows, rows.mean(0), numbers(net).to(rows.device)
        units = rows.std(0, correction=0), rows.amax(0) - rows.amin(0)
        self.deviation, self.span = (torch.where(unit > 0, unit, 1.0) for unit in units)
        every = -(-len(rows) // _KNOTS)
        self.knots = rows.sort(0).values[every // 2 :: every].T.contiguous()
        self.own = rows.new_ones(len(self.scales), len(rows))
        self.center, self.spread = rows.new_zeros(len(self.scales)), rows.new_ones(len(self.scales))
        self._known = self._alone = None
        self.own = self._apart(rows, None).distance
        self._known = None  # it holds what they are
        logs = self._local(rows, None, False)[0]
        self.center, self.spread = logs.mean(1), logs.std(1, correction=0).clamp(min=1e-6)

    def fresh(self, net: Net, tensors: Mapping[str, Tensor], index: Tensor) -> Surprise:
        # a row's own copy is left out anyway
        return self(net, *(None if t is None else t[index] for t in (tensors["x"], tensors.get("observed"))))

    # -- scoring --------------------------------------------------------------------------------

    def forward(
        self,
        net: Net,
        x: Tensor,
        observed: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        explain: bool = True,
    ) -> Surprise:
        features, there = flat(net, x, observed)
        log, found = self._local(features, there, explain)
        z = (log - self.center[:, None]) / self.spread[:, None] / len(self.scales)
        score = z.sum(0, dtype=torch.float64)
        if not explain:
            return Surprise(score, x.new_zeros(()).expand(x.shape), score)
        entries = by_entry(net, (z[:, :, None] * found.share).sum(0))
        rest = (score - entries.flatten(1).sum(1)).to(entries)
        return Surprise(score, entries, rest, as_rows(net, found.near.mean(0)))

    def _local(self, rows: Tensor, there: Tensor | None, explain: bool) -> tuple[Tensor, _Apart]:
        """log d − λ log d̄ in every scale (S, B), and what was found."""
        found, known = self._apart(rows, there, explain), self._place_known()
        around = found.around.minimum(known.loose)
        return (found.distance + known.floor).log() - self.local * (around + known.floor).log(), found

    def _apart(self, rows: Tensor, there: Tensor | None, explain: bool = False) -> _Apart:
        known = self._place_known()
        placed = torch.stack([self._place(name, rows) for name in self.scales])
        step = max(1, _AT_ONCE // known.lengths.numel())
        if len(rows) <= step:
            return self._search(placed, known, there, explain)
        return _Apart.cat([
            self._search(placed[:, i : i + step], known, None if there is None else there[i : i + step], explain)
            for i in range(0, len(rows), step)
        ])  # fmt: skip

    def _search(self, rows: Tensor, known: _Known, there: Tensor | None, explain: bool) -> _Apart:
        """The nearest of the ``known`` rows to ``rows`` (S, B, F), of whose features some may not be there (B, F)."""
        if there is None:
            length = rows.square().sum(2, keepdim=True)
            squares = torch.baddbmm(known.lengths[:, None], rows, known.columns, alpha=-2) + length
        else:
            rows = rows * there
            length = rows.square().sum(2, keepdim=True)
            seen = torch.matmul(there.to(rows), known.columns.square())
            squares = seen.baddbmm_(rows, known.columns, alpha=-2) + length
        others = known.lengths.shape[1] - 1
        k = min(int(self.k) if self.k >= 1 else max(_LEAST, round(self.k * others)), others)
        around = min(_AROUND * k, others) if self.local else k
        found, which = squares.topk(around + 1, dim=2, largest=False)
        # an exact copy of the row counts as the row itself, and so do a training row's neighbours leave it out
        copy = found[..., :1] <= _SAME * (length + known.lengths.gather(1, which[..., 0])[..., None]) + 1e-12
        which = torch.where(copy, which[..., 1:], which[..., :-1]) + known.begins
        near = known.rows.flatten(0, 1)[which[..., : min(k, _EXACT)]]
        apart = (rows[:, :, None] - near).square()
        if there is not None:
            # as many features as there are stand for all
            apart = apart * there[:, None] * (there.shape[1] / there.sum(1).clamp(min=1))[:, None, None]
        squares = apart.sum(3)
        shares = means = apart[:, :, 0, :0]  # of no feature, unless somebody asks
        if explain:
            shares = apart.sum(2) / squares.sum(2, keepdim=True).clamp(min=1e-30)
            means = self.rows[which[..., : min(k, _EXACT)] - known.begins].mean(2)
        distances = squares.sqrt()
        if k > _EXACT:
            farther = torch.where(copy, found[..., 1 + _EXACT : 1 + k], found[..., _EXACT:k]).clamp(min=0).sqrt()
            distances = torch.cat([distances, farther], dim=2)
        own = self.own.flatten()[which].mean(2) if self.local else torch.ones_like(distances[..., 0])
        return _Apart(distances.mean(2), own, shares, means)

    def _place_known(self) -> _Known:
        """The kept rows in every scale, and what is asked of them for each row; worked out once."""
        if self._known is None or self._known.rows.device != self.rows.device:
            rows = torch.stack([self._place(name, self.rows) for name in self.scales])
            # a floor, so that rows which come many times are usual and not infinitely so
            median = self.own.median(1, keepdim=True).values
            begins = len(self.rows) * torch.arange(len(rows), device=rows.device)[:, None, None]
            self._known = _Known(
                rows, rows.mT.contiguous(), rows.square().sum(2), 1e-3 * median + 1e-6, _LOOSE * median, begins
            )
        return self._known

    def _place(self, scale: str, rows: Tensor) -> Tensor:
        """Rows (B, F) in one scale. Levels are one-hot as they are, so that two levels are as far apart as two numbers
        are on average.
        """
        numbers, levels = _SCALES[scale](self, rows)
        return numbers if self._numbers_alone() else torch.where(self.number, numbers, levels * rows)

    def _numbers_alone(self) -> bool:
        if self._alone is None:
            self._alone = bool(self.number.all())
        return self._alone

    def _standard(self, rows: Tensor) -> tuple[Tensor, float]:
        return ((rows - self.mean) / self.deviation).clamp(-_FAR, _FAR), 1.0

    def _range(self, rows: Tensor) -> tuple[Tensor, float]:
        return ((rows - self.mean) / self.span).clamp(-_FAR, _FAR), 0.5**0.5

    def _rank(self, rows: Tensor) -> tuple[Tensor, float]:
        columns = rows.T.contiguous()
        # the middle between the first and the last place, so that values which come often stand in one
        below = torch.searchsorted(self.knots, columns) + torch.searchsorted(self.knots, columns, right=True)
        return torch.special.ndtri((below.T + 1.0) / (2 * self.knots.shape[1] + 2)), 1.0

    def extra_repr(self) -> str:
        return f"k={self.k}, local={self.local}, scales={self.scales}, most={self.most}"


@dataclass
class _Known:
    """The kept rows in every scale: as rows (S, n, F) and as columns (S, F, n), their squared lengths (S, n), the
    least distance that counts and the largest that surroundings count as (S, 1), and where each scale begins if all
    stand below each other (S, 1, 1).
    """

    rows: Tensor
    columns: Tensor
    lengths: Tensor
    floor: Tensor
    loose: Tensor
    begins: Tensor


@dataclass
class _Apart:
    """How far rows are from their neighbours in every scale (S, B), these on average from theirs (S, B), each
    feature's share of the distance and the neighbours' mean (S, B, F).
    """

    distance: Tensor
    around: Tensor
    share: Tensor
    near: Tensor

    @classmethod
    def cat(cls, parts: Sequence[_Apart]) -> _Apart:
        return cls(*(torch.cat([getattr(part, n) for part in parts], dim=1) for n in _Apart.__annotations__))


#: name → (numbers in that scale, what a level's 1 becomes).
_SCALES = {"standard": Neighbours._standard, "range": Neighbours._range, "rank": Neighbours._rank}
