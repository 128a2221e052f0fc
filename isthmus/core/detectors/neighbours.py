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
from torch import Tensor, nn

from isthmus.core.detectors.seen import as_rows, by_entry, flat, numbers
from isthmus.core.parts import Detector, Shape, Surprise, one_of

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net

#: Numbers that the rows which are kept may have together: a file stays small, a search short.
_MOST_NUMBERS = 1 << 21
#: Distances that are looked at together: few, so that they stay in the cache.
_AT_ONCE = 1 << 21
#: Of levels that are all but zeros, less than a share of one in so many, sums are quicker than products.
_FEW = 8
#: Columns that are looked at as one before the nearest are sought among them.
_GROUP = 16
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

#: Places in a row.
_Places = Tensor | slice


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
        self._known = None
        found = self._apart(rows, None)
        self.own = found.distance
        self._known = None  # it holds what they are
        # how far the neighbours are from their own is known only now
        logs = self._local(self._apart(rows, None) if self.local else found)
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
        found = self._apart(features, there, explain)
        z = (self._local(found) - self.center[:, None]) / self.spread[:, None] / len(self.scales)
        score = z.sum(0, dtype=torch.float64)
        if not explain:
            return Surprise(score, x.new_zeros(()).expand(x.shape), score)
        entries = by_entry(net, (z[:, :, None] * found.share).sum(0))
        rest = (score - entries.flatten(1).sum(1)).to(entries)
        return Surprise(score, entries, rest, as_rows(net, found.near.mean(0)))

    def _local(self, found: _Apart) -> Tensor:
        """log d − λ log d̄ in every scale (S, B)."""
        known = self._place_known()
        around = found.around.minimum(known.loose)
        return (found.distance + known.floor).log() - self.local * (around + known.floor).log()

    def _apart(self, rows: Tensor, there: Tensor | None, explain: bool = False) -> _Apart:
        known = self._place_known()
        levels = rows[:, known.levels_at]
        placed = [self._place(name, rows, known.numbers_at, known.levels_at) for name in self.scales]
        if there is not None:
            there = there[:, known.order]
            placed = [p * there for p in placed]
        sides = [self._sides(p, there, known, view) for view, p in enumerate(placed)]
        step = max(1, (_AT_ONCE if rows.device.type == "cpu" else 8 * _AT_ONCE) // known.lengths.shape[1])
        parts = []
        for i in range(0, max(1, len(rows)), step):
            some = slice(i, i + step)
            alike, seen = _products(levels[some], known.levels), None if there is None else there[some]
            found = []
            for view, (p, (left, right)) in enumerate(zip(placed, sides, strict=True)):
                unit = _SCALES[self.scales[view]][1]
                nearness = left[some] @ right if alike is None else torch.addmm(alike, left[some], right, beta=unit**2)
                found.append(self._nearest(nearness, p[some], seen, known, view, explain))
            parts.append(_Apart.stacked(found))
        whole = parts[0] if len(parts) == 1 else _Apart.cat(parts)
        if explain and isinstance(known.order, Tensor):
            whole.share = whole.share[..., known.order.argsort()]
        return whole

    def _sides(self, rows: Tensor, there: Tensor | None, known: _Known, view: int) -> tuple[Tensor, Tensor]:
        """Two matrices whose product is x·y − |y|²/2, without the levels: what is nearest has the largest."""
        left = torch.cat([rows[:, : known.columns.shape[1] - 1], rows.new_full((len(rows), 1), -0.5)], 1)
        if there is None or bool(there.all()):
            return left, known.columns[view]
        gaps = (~there.all(0)).nonzero()[:, 0]  # what is missing of x counts in no y, and mostly nothing is
        squares = known.rows[view][:, gaps].square().T / 2
        return torch.cat([left, (~there[:, gaps]).to(rows)], 1), torch.cat([known.columns[view], squares])

    def _nearest(
        self, nearness: Tensor, rows: Tensor, there: Tensor | None, known: _Known, view: int, explain: bool
    ) -> _Apart:
        """How far the known rows with the largest ``nearness`` (B, n) are from ``rows`` (B, F) in one scale, of whose
        features some may not be there (B, F).
        """
        lengths = known.lengths[view]
        others = len(lengths) - 1
        k = min(int(self.k) if self.k >= 1 else max(_LEAST, round(self.k * others)), others)
        around = min(_AROUND * k, others) if self.local else k
        found, which = largest(nearness, around + 1)
        length = rows.square().sum(1, keepdim=True)
        found = length - 2 * found
        # an exact copy of the row counts as the row itself, and so do a training row's neighbours leave it out
        copy = found[:, :1] <= _SAME * (length + lengths[which[:, :1]]) + 1e-12
        which = torch.where(copy, which[:, 1:], which[:, :-1])
        few = which[:, : min(k, _EXACT)]
        apart = known.rows[view].index_select(0, few.flatten()).unflatten(0, few.shape)
        apart = apart.sub_(rows[:, None]) if there is None else apart.mul_(there[:, None]).sub_(rows[:, None])
        apart.square_()
        squares = apart.sum(2)
        # as many features as there are stand for all
        ratio = 1.0 if there is None else there.shape[1] / there.sum(1, keepdim=True).clamp(min=1)
        share = near = squares[:, :0]  # of no feature, unless somebody asks
        if explain:
            share = apart.sum(1) / squares.sum(1, keepdim=True).clamp(min=1e-30)
            near = self.rows.index_select(0, few.flatten()).unflatten(0, few.shape).mean(1)
        distances = (squares * ratio).sqrt()
        if k > _EXACT:
            farther = torch.where(copy, found[:, 1 + _EXACT : 1 + k], found[:, _EXACT:k]).clamp(min=0).sqrt()
            distances = torch.cat([distances, farther], dim=1)
        own = self.own[view][which].mean(1) if self.local else torch.ones_like(distances[:, 0])
        return _Apart(distances.mean(1), own, share, near)

    def _place_known(self) -> _Known:
        """The kept rows in every scale, and what is asked of them for each row; worked out once."""
        if self._known is None or self._known.rows.device != self.rows.device:
            numbers_at, levels_at = (which.nonzero()[:, 0] for which in (self.number, ~self.number))
            # places of all would copy, and rows are often numbers alone
            numbers: _Places = numbers_at if len(levels_at) else slice(None)
            order: _Places = torch.cat([numbers_at, levels_at]) if len(levels_at) else slice(None)
            rows = torch.stack([self._place(name, self.rows, numbers, levels_at) for name in self.scales])
            lengths = rows.square().sum(2)
            columns = torch.cat([rows[:, :, : len(numbers_at)].mT, lengths[:, None]], 1)
            # a floor, so that rows which come many times are usual and not infinitely so
            median = self.own.median(1, keepdim=True).values
            floor, loose, levels = 1e-3 * median + 1e-6, _LOOSE * median, self.rows[:, levels_at].T.contiguous()
            self._known = _Known(rows, columns, levels, lengths, floor, loose, numbers, levels_at, order)
        return self._known

    def _place(self, scale: str, rows: Tensor, numbers_at: _Places, levels_at: Tensor) -> Tensor:
        """Rows (B, F) in one scale, numbers first. Levels are one-hot as they are, so that two levels are as far apart
        as two numbers are on average.
        """
        function, unit = _SCALES[scale]
        numbers = function(self, rows[:, numbers_at], numbers_at)
        return torch.cat([numbers, unit * rows[:, levels_at]], 1) if len(levels_at) else numbers

    def _standard(self, rows: Tensor, which: _Places) -> Tensor:
        return ((rows - self.mean[which]) / self.deviation[which]).clamp(-_FAR, _FAR)

    def _range(self, rows: Tensor, which: _Places) -> Tensor:
        return ((rows - self.mean[which]) / self.span[which]).clamp(-_FAR, _FAR)

    def _rank(self, rows: Tensor, which: _Places) -> Tensor:
        columns, knots = rows.T.contiguous(), self.knots[which]
        # the middle between the first and the last place, so that values which come often stand in one
        below = torch.searchsorted(knots, columns) + torch.searchsorted(knots, columns, right=True)
        return torch.special.ndtri((below.T + 1.0) / (2 * knots.shape[1] + 2))

    def extra_repr(self) -> str:
        return f"k={self.k}, local={self.local}, scales={self.scales}, most={self.most}"


@dataclass
class _Known:
    """The kept rows in every scale, numbers first: as rows (S, n, F), their numbers as columns with their squared
    lengths below (S, numbers + 1, n), the
    levels as columns (levels, n), squared lengths (S, n), and the least distance that counts and the largest that
    surroundings count as (S, 1). ``order`` is where numbers and then levels stand in a row.
    """

    rows: Tensor
    columns: Tensor
    levels: Tensor
    lengths: Tensor
    floor: Tensor
    loose: Tensor
    numbers_at: _Places
    levels_at: Tensor
    order: _Places


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

    @classmethod
    def stacked(cls, parts: Sequence[_Apart]) -> _Apart:
        return cls(*(torch.stack([getattr(part, n) for part in parts]) for n in _Apart.__annotations__))


#: name → (numbers in that scale, what a level's 1 becomes).
_SCALES = {
    "standard": (Neighbours._standard, 1.0),
    "range": (Neighbours._range, 0.5**0.5),
    "rank": (Neighbours._rank, 1.0),
}


def _products(levels: Tensor, known: Tensor) -> Tensor | None:
    """What levels (B, F) have in common with those of the known rows (F, n): (B, n); None where there are none."""
    if not levels.shape[1]:
        return None
    where = levels.nonzero()
    if levels.device.type != "cpu" or _FEW * len(where) > levels.numel():
        return levels @ known
    # one-hot rows: a sum of few rows is quicker than a product with all
    begins = torch.searchsorted(where[:, 0].contiguous(), torch.arange(len(levels)))
    weights = levels[where[:, 0], where[:, 1]]
    return nn.functional.embedding_bag(where[:, 1], known, begins, mode="sum", per_sample_weights=weights)


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest of each row (B, n) and where they are, the largest first, as ``topk`` has them.

    Columns are looked at in groups: the k largest lie in the k groups with the largest tops, so the others need not be
    sorted.
    """
    n = values.shape[1]
    groups = n // _GROUP
    if values.device.type != "cpu" or 8 * k > groups:
        return values.topk(k, dim=1)
    tops = values[:, : _GROUP * groups].unflatten(1, (_GROUP, groups)).amax(1)
    best = tops.topk(k, dim=1, sorted=False).indices
    where = (best[:, :, None] + groups * torch.arange(_GROUP)).flatten(1)
    if rest := n - _GROUP * groups:  # columns that are in no group
        where = torch.cat([where, torch.arange(n - rest, n).expand(len(values), rest)], 1)
    found, at = values.gather(1, where).topk(k, dim=1)
    return found, where.gather(1, at)
