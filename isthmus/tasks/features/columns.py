r"""Which columns the code can do without: those that the others tell, and those that it does not look at.

.. math::
    \text{told}_j = 1 - \frac{E\,(x_j - \hat x_j(x_{\setminus j}))^2}{\mathrm{Var}\, x_j}, \qquad
    \text{moves}_j = \frac{E\,\|f(x^{\pi_j}) - f(x)\|^2}{E\,\|f(x') - f(x)\|^2}, \qquad
    \text{harm}_j = \frac{E_{\setminus j}(x^{\pi_j}) - E_{\setminus j}(x)}{\mathrm{Var}\, x_{\setminus j}}

:math:`\hat x_j(x_{\setminus j})` is what comes back in a column that was hidden, put in its place and passed again
until it stays; :math:`\pi_j` shuffles the column among the rows; :math:`E_{\setminus j}` is the error of the others.

References:
    Breiman, Random Forests, 2001 (a column's weight by permutation).
    Balın, Abid, Zou, Concrete Autoencoders for Differentiable Feature Selection, 2019 (columns that tell the others).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isthmus import devices
from isthmus.core.parts import size
from isthmus.errors import DataError, SpecError
from isthmus.picture import Picture, bars, image_grid
from isthmus.tasks.base import Result

if TYPE_CHECKING:
    from isthmus.model import Model

#: Rows that are looked at, and entries of theirs in all passes of a column.
_MOST_ROWS, _LEAST_ROWS, _MOST_ENTRIES = 1000, 100, 1 << 18
#: How often what comes back is put in the place of what was hidden, twice; the most of the way that one pass may leave.
_ROUNDS, _MOST_LEFT = 3, 0.97
#: Places of a picture that are hidden one by one.
_MOST_PLACES = 400
#: A code hardly looks at a column that moves it by less than this share of an equal part; columns that tell each other
#: to that share say the same.
_STILL, _SAME = 0.1, 0.9
_SHOWN = 20


@dataclass(frozen=True)
class About:
    """What was found of one column. ``told`` is 1 where the others tell it exactly, and 0 (or less) where they say
    nothing; ``moves`` is 1 where codes move as far as to another row; ``harm`` is a share of the others' variance.
    """

    name: str
    told: float
    moves: float
    harm: float
    goes: bool
    why: str

    def __str__(self) -> str:
        return f"`{self.name}` {self.why}"


@dataclass
class Columns(Result):
    """Columns, those first that the code can best do without; ``groups`` are columns that say the same; ``shape`` is
    that of the map where columns are places of a picture.
    """

    columns: list[About]
    groups: list[list[str]]
    least: float
    n_rows: int
    what: str = "columns"
    shape: tuple[int, int] | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def can_go(self) -> list[str]:
        """Columns that can be left out together."""
        return [column.name for column in self.columns if column.goes]

    def summary(self) -> list[str]:
        gone = len(self.can_go)
        lines = [f"{gone:,} of {len(self.columns):,} {self.what} can go together, on {self.n_rows:,} rows"]
        if self.shape is None:
            wide = max(len(column.name) for column in self.columns[:_SHOWN])
            lines.append(f"{'':<{wide}}  {'told':>6}  {'moves':>6}  {'harm':>6}")
            for c in self.columns[:_SHOWN]:
                figures = "  ".join(f"{value:>6.1%}" for value in (c.told, c.moves, c.harm))
                lines.append(f"{c.name:<{wide}}  {figures}  {c.why}")
            if len(self.columns) > _SHOWN:
                lines.append(f"… and {len(self.columns) - _SHOWN:,} more (-o FILE has all)")
        else:
            told = np.array([column.told for column in self.columns])
            moves = np.array([column.moves for column in self.columns])
            still = int((moves < _STILL / len(moves)).sum())
            lines.append(
                f"the middle place is told to {np.median(told):.0%} by the rest; {still:,} hardly move a code: "
                "-o map.svg draws where"
            )
        lines += [f"say the same: {', '.join(group)}" for group in self.groups[:_SHOWN]]
        return [*lines, *(f"! {remark}" for remark in self.remarks)]

    def to_table(self) -> Any:
        """A line a column."""
        import pyarrow as pa

        group = {name: k for k, names in enumerate(self.groups, 1) for name in names}
        return pa.table({
            "column": [c.name for c in self.columns], "told": [c.told for c in self.columns],
            "moves": [c.moves for c in self.columns], "harm": [c.harm for c in self.columns],
            "goes": [c.goes for c in self.columns],
            "same_as": pa.array([group.get(c.name) for c in self.columns], pa.int64()),
            "why": [c.why for c in self.columns],
        })  # fmt: skip

    def plot(self) -> Picture:
        """Bars of how well each column is told and how far it moves codes; of pictures, maps of both."""
        if self.shape is None:
            some = self.columns[:40]
            return bars(
                [c.name for c in some], [max(c.told, 0.0) for c in some], marks=[c.moves for c in some],
                value_label="told by the rest", mark_label="moves codes", percent=True,
            )  # fmt: skip
        places = {c.name: c for c in self.columns}
        tops, maps = ("told by the rest", "moves codes"), []
        for figure in ("told", "moves"):
            values = np.zeros(self.shape)
            for at in np.ndindex(self.shape):
                values[at] = getattr(places[_place(*at)], figure)
            high = 1.0 if figure == "told" else max(float(values.max()), 1e-12)
            maps.append((np.clip(values / high, 0, 1) * 255).astype(np.uint8))
        return image_grid([maps], tops=tops)

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.n_rows,
            "can_go": self.can_go,
            "groups": self.groups,
            "columns": self.to_table().to_pylist(),
        }


def columns(
    model: Model,
    rows: Any,
    *,
    least: float = 0.9,
    seed: int = 0,
    watch: Callable[[int, int], Any] = lambda done, of: None,
) -> Columns:
    """Rank columns (channels of series, places of pictures) by how well the code can do without them.

    Args:
        least: a column can go that the rest tells to this share.
        seed: the same seed takes the same rows and shuffles them alike.
    """
    if not 0 < least <= 1:
        raise SpecError(f"least is a share above 0 and at most 1, got {least}.")
    if model.modality.sparse:
        raise SpecError("Sparse rows (words of texts) are told by few entries each: no column of them is hidden here.")
    if not model.net.bottleneck.narrows:
        raise SpecError("The code of this model is the whole row: it can do without nothing.")
    rows = model.modality.samples(model.open(rows).some())
    if len(rows) < 3:
        raise DataError(f"{rows.origin} has {len(rows)} rows; at least 3 are shuffled among each other. Bring more.")
    look = _Look(model, rows, seed)
    return look.ranked(least, watch)


class _Look:
    """Rows as tensors, and what becomes of them where columns are hidden or shuffled."""

    def __init__(self, model: Model, rows: Any, seed: int):
        self.model, self.net = model, model.net
        names, masks, self.shape, self.what = _named(model)
        self.names, self.masks = names, masks
        entries = size(self.net.shape)
        most = int(np.clip(_MOST_ENTRIES // entries, _LEAST_ROWS, _MOST_ROWS))
        g = np.random.default_rng(seed)
        if len(rows) > most:
            rows = rows.take(np.sort(g.choice(len(rows), most, replace=False)))
        self.n = len(rows)
        tensors = {name: t.to(model.device) for name, t in model.tensors(rows).items()}
        self.x = tensors["x"]
        self.there = tensors.get("observed")
        self.condition = tensors.get("condition")
        self.order = torch.from_numpy(_derangement(self.n, g)).to(self.x.device)
        likelihood = self.net.likelihood
        with torch.inference_mode():
            self.shown = likelihood.represent(self.x, self.there).flatten(1)
            # which features (levels of a category) belong to the entries of a column
            self.owned = torch.stack([likelihood.reach(m[None]).flatten() for m in masks])
            self.spread = self._squares(self.shown - self._mean())
            self.codes = self.net.encode(self.x, self.there).flatten(1)
            self.error = self._squares(self.shown - self._back(self.x, self.there))
        self.away = (self.codes - self.codes[self.order]).square().sum(1).mean().clamp(min=1e-30)

    def _mean(self) -> Tensor:
        if self.there is None:
            return self.shown.mean(0)
        there = self.net.likelihood.reach(self.there).flatten(1).to(self.shown)
        return (self.shown * there).sum(0) / there.sum(0).clamp(min=1)

    def _squares(self, apart: Tensor) -> Tensor:
        """Mean squares of features (D,), over what is there."""
        if self.there is None:
            return apart.square().mean(0)
        there = self.net.likelihood.reach(self.there).flatten(1).to(apart)
        return (apart.square() * there).sum(0) / there.sum(0).clamp(min=1)

    def _back(self, x: Tensor, there: Tensor | None) -> Tensor:
        """What comes back of rows, as features."""
        p = self.net.decode(self.net.encode(x, there), self.condition)
        return p.expected.flatten(1)

    def told(self, hidden: Tensor) -> Tensor:
        """The share of each feature's variance that comes back (D,) where entries (*shape) are hidden."""
        x, told_missing = self.x, self.net.spec.tell_missing
        there = self.there
        if told_missing:
            there = (torch.ones_like(x, dtype=torch.bool) if there is None else there) & ~hidden
            back = self._back(torch.where(hidden, 0.0, x), there)
        else:
            # what no network was told to miss begins at the middle, and what comes back takes its place
            x = torch.where(hidden, self._middle(), x)
            for _ in range(_ROUNDS):
                once = torch.where(hidden, self._mean_of(x, there), x)
                twice = torch.where(hidden, self._mean_of(once, there), x)
                # near a fixed point every pass leaves a share of the way: go all of it at once (Aitken)
                first, then = once - x, twice - once
                left = ((first * then).sum() / first.square().sum().clamp(min=1e-12)).clamp(0, _MOST_LEFT)
                x = twice + then * left / (1 - left)
            back = self._back(x, there)
        return 1 - self._squares(self.shown - back) / self.spread.clamp(min=1e-12)

    def _mean_of(self, x: Tensor, there: Tensor | None) -> Tensor:
        return self.net.decode(self.net.encode(x, there), self.condition).mean

    def _middle(self) -> Tensor:
        return self.x.mean(0, keepdim=True)

    def share(self, told: Tensor, j: int) -> float:
        """That of a column: of its entries together."""
        mine = self.owned[j] & (self.spread > 1e-9)
        if not bool(mine.any()):
            return 1.0  # what never changes is known
        return float((told[mine] * self.spread[mine]).sum() / self.spread[mine].sum())

    def shuffled(self, j: int) -> tuple[float, float]:
        """How far codes move, and what the others' error grows by, where the column is another row's."""
        mask = self.masks[j]
        x = torch.where(mask, self.x[self.order], self.x)
        there = self.there if self.there is None else torch.where(mask, self.there[self.order], self.there)
        moves = float((self.net.encode(x, there).flatten(1) - self.codes).square().sum(1).mean() / self.away)
        others = ~self.owned[j]
        if not bool(others.any()):
            return moves, 0.0
        error = self._squares(self.shown - self._back(x, there))
        return moves, float((error - self.error)[others].sum() / self.spread[others].sum().clamp(min=1e-12))

    def groups(self) -> list[list[int]]:
        """Columns each of which a line tells from another, both ways, to _SAME of its variance."""
        z = self.shown - self._mean()
        if self.there is not None:
            z = z * self.net.likelihood.reach(self.there).flatten(1)
        z = z / z.square().sum(0).sqrt().clamp(min=1e-12)
        squares = (z.T @ z).square()
        weight = self.spread
        k = len(self.masks)
        same = torch.zeros(k, k, dtype=torch.bool)
        owned = self.owned.to(squares)
        # of a category the features together: the best single line for each, weighed by its variance
        for a in range(k):
            best = (
                torch.stack([squares[self.owned[a]][:, self.owned[b]].amax(1) for b in range(k)]) if k <= 200 else None
            )
            if best is not None:
                mine = weight[self.owned[a]]
                same[a] = (best * mine).sum(1) / mine.sum().clamp(min=1e-12) >= _SAME
            elif bool((owned.sum(1) == 1).all()):
                places = owned.argmax(1)
                same[a] = squares[places[a], places] >= _SAME
        same = same & same.T
        return _together(same.numpy())

    @torch.inference_mode()
    def ranked(self, least: float, watch: Callable[[int, int], Any]) -> Columns:
        k = len(self.masks)
        found = []
        with devices.threads_for(1e8, self.x.device):
            for j in range(k):
                found.append((self.share(self.told(self.masks[j]), j), *self.shuffled(j)))
                watch(j + 1, 2 * k)
            told = [share for share, _, _ in found]
            gone = self._gone(found, least, watch)
        groups = [] if self.shape is not None else [g for g in self.groups() if len(g) > 1]
        alike = {j: [i for i in group if i != j] for group in groups for j in group}
        order = sorted(range(k), key=lambda j: (-(j in gone), -told[j], found[j][1]))
        listed = [
            About(self.names[j], *found[j], j in gone, self._why(*found[j], j in gone, least, alike.get(j, [])))
            for j in order
        ]
        return Columns(
            listed, [[self.names[j] for j in group] for group in groups], least, self.n, self.what, self.shape
        )

    def _gone(
        self, found: list[tuple[float, float, float]], least: float, watch: Callable[[int, int], Any]
    ) -> set[int]:
        """Columns that can go together: one more at a time, as long as all of them are told by what is left."""
        k = len(found)
        still = {j for j, (share, moves, _) in enumerate(found) if moves < _STILL / k and share < least}
        gone: list[int] = []
        hidden = torch.zeros_like(self.masks[0])
        likely = sorted((j for j in range(k) if found[j][0] >= least), key=lambda j: (-found[j][0], found[j][1]))
        for tried, j in enumerate(likely):
            watch(k + tried, k + len(likely))
            if len(gone) + len(still) == k - 1:
                break
            both = hidden | self.masks[j]
            told = self.told(both)
            if all(self.share(told, i) >= least for i in (*gone, j)):
                hidden, gone = both, [*gone, j]
        return still.union(gone) if len(still) < k else set(gone)

    def _why(self, told: float, moves: float, harm: float, goes: bool, least: float, alike: list[int]) -> str:
        if goes and told >= least:
            same = f", as by {self.names[alike[0]]}" if alike else ""
            return f"is told by the rest to {_percent(told)}{same}: it can go"
        if goes:
            return f"hardly moves the code ({_percent(moves)}): it does not hold it"
        if told >= least:
            return f"is told by the rest to {_percent(told)}, but tells what goes: keep it"
        return f"is told to {_percent(max(told, 0.0))} only: keep it"


def _percent(share: float) -> str:
    """Never more than it is.

    >>> _percent(0.98), _percent(0.9976), _percent(1.0)
    ('98 %', '99.7 %', '100 %')
    """
    return f"{np.floor(1000 * share) / 10:.1f} %" if 0.99 <= share < 1 - 1e-6 else f"{100 * share:.0f} %"


def _named(model: Model) -> tuple[list[str], list[Tensor], tuple[int, int] | None, str]:
    """Names of columns, the entries (*shape) of each, and of pictures the shape of the map."""
    shape, device, modality = model.net.shape, model.device, model.modality
    if modality.names or len(shape) == 1:
        places = modality.groups or [(name, slice(j, j + 1)) for j, name in enumerate(modality.names)]
        places = places or [(f"x{j}", slice(j, j + 1)) for j in range(shape[0])]
        masks = []
        for _, place in places:
            mask = torch.zeros(shape, dtype=torch.bool, device=device)
            mask.flatten()[place] = True
            masks.append(mask)
        return [name for name, _ in places], masks, None, "columns"
    if len(shape) == 2:
        layout = getattr(modality, "layout", None)
        names = layout.names(shape[0]) if layout is not None else [f"channel {c}" for c in range(shape[0])]
        masks = [torch.zeros(shape, dtype=torch.bool, device=device) for _ in names]
        for c, mask in enumerate(masks):
            mask[c] = True
        return list(names), masks, None, "channels"
    _, height, width = shape
    step = max(1, int(np.ceil((height * width / _MOST_PLACES) ** 0.5)))
    rows, across = -(-height // step), -(-width // step)
    names, masks = [], []
    for a in range(rows):
        for b in range(across):
            mask = torch.zeros(shape, dtype=torch.bool, device=device)
            mask[:, a * step : (a + 1) * step, b * step : (b + 1) * step] = True
            names.append(_place(a, b))
            masks.append(mask)
    return names, masks, (rows, across), f"places of {step} × {step} pixels"


def _place(a: int, b: int) -> str:
    return f"row {a}, column {b}"


def _derangement(n: int, g: np.random.Generator) -> np.ndarray:
    """An order in which no row stays where it was: a ring through all of them."""
    ring, order = g.permutation(n), np.empty(n, np.int64)
    order[ring] = np.roll(ring, 1)
    return order


def _together(same: np.ndarray) -> list[list[int]]:
    """Groups that are joined by ``same`` (k, k)."""
    left, groups = set(range(len(same))), []
    while left:
        reached = [min(left)]
        left.discard(reached[0])
        for j in reached:
            more = [i for i in sorted(left) if same[j, i]]
            left.difference_update(more)
            reached += more
        groups.append(sorted(reached))
    return groups
