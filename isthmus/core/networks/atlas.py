r"""An atlas: an encoder that remembers rows and where they lie on a map; a new row goes where its neighbours lie.

.. math:: z(x) = \arg\min_z \sum_{i \in N_k(x)} \|z - y_i\|

:math:`N_k(x)` are the k remembered rows nearest to x, along the principal components of the rows, and :math:`y` are
their places (:mod:`isthmus.core.layout`). The geometric median is used because a row between two groups belongs to one
of them: a mean would lie in the empty place between. A row that is remembered goes to its own place.

Nothing here is trained: the map is settled before the first step, and then stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from isthmus.core.layout import lay_out
from isthmus.core.nearest import nearest
from isthmus.core.parts import Body, Finished, Shape, size, sized_by_file

if TYPE_CHECKING:
    from isthmus.core.pca import PCA

#: Rows nearer than this share of their own squared length are the same row.
_SAME = 1e-8
#: Remembered rows on either side that a row is compared with, to see whether it is one of them.
_BESIDE = 3
#: Steps towards the geometric median, and the distance from which on a place counts as met, in units of the map.
_STEPS, _MET = 10, 1e-3


class Atlas(Body):
    """A map of at most ``most`` rows, each drawn by ``k`` neighbours along ``components`` principal components; a new
    row lies in the middle of the ``near`` rows that are nearest to it.
    """

    takes_mask = True
    remembers = True
    frozen = True

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        k: int = 15,
        near: int = 5,
        components: int = 50,
        attraction: float = 1.5,
        steps: int = 300,
        most: int = 65_536,
    ):
        super().__init__()
        whole = {"k": k, "near": near, "components": components, "steps": steps}
        for name, value in whole.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is a whole number of at least 1, got {value!r}")
        if most < 2 or not attraction > 0:
            raise ValueError(f"most is at least 2 and attraction above 0, got most={most}, attraction={attraction}")
        self.k, self.near, self.components, self.most = k, near, components, most
        self.attraction, self.steps = attraction, steps
        self.dim, self.out_shape = size(target_shape), Finished((size(target_shape),))
        # before it has seen rows it is a projection on the first entries
        self.register_buffer("mean", torch.zeros(size(in_shape)))
        self.register_buffer("directions", torch.eye(self.dim, size(in_shape)))
        self.register_buffer("unit", torch.tensor(False))
        self.register_buffer("rows", torch.zeros(0, self.dim))
        self.register_buffer("places", torch.zeros(0, self.dim))
        self.drawn = "an atlas"

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        at = self._along(x, visible)
        return self._placed(at) if len(self.rows) else at[:, : self.dim]

    @torch.no_grad()
    def remember(
        self, pca: PCA, rows: Callable[[], Iterable[tuple[Tensor, Tensor | None]]], generator: torch.Generator
    ) -> Tensor:
        self.mean = pca.mean.to(self.mean) if pca.centred else torch.zeros_like(self.mean)
        self.directions = pca.components.to(self.mean)
        self.unit = torch.tensor(not pca.centred, device=self.mean.device)
        along = torch.cat([self._along(x, visible) for x, visible in rows()])
        kept, which = _distinct(along)
        if few := len(kept) > self.most:
            drawn = torch.randperm(len(kept), generator=generator)[: self.most].sort().values
            kept = kept[drawn.to(kept.device)]
        self.rows = along[kept]
        self.places = lay_out(
            self.rows, self.dim, k=self.k, attraction=self.attraction, steps=self.steps, generator=generator
        )  # fmt: skip
        return self._placed(along) if few else self.places[which]

    def _along(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """(B, …) → (B, components): what is not there is as it is on average."""
        apart = x.flatten(1) - self.mean
        if visible is not None:
            apart = apart * visible.flatten(1)
        along = apart @ self.directions.T
        # of words only the direction counts: a long document says the same as a short one
        return torch.where(self.unit, torch.nn.functional.normalize(along, dim=1), along)

    @torch.no_grad()
    def _placed(self, along: Tensor) -> Tensor:
        who = self._known(along)
        found, new = self.places[who.clamp(min=0)], who < 0
        if bool(new.any()):
            _, near = nearest(along[new], self.rows, min(self.near, len(self.rows)))
            found[new] = geometric_median(self.places[near])
        return found

    def _known(self, along: Tensor) -> Tensor:
        """Which remembered row each is (B,), or −1: the first of those that are equal.

        Rows are put in order along one line, on which equal ones lie side by side, whatever the last digit says.
        """
        order, key = _line(self.rows).sort(stable=True), _line(along)
        around = torch.arange(-_BESIDE, _BESIDE, device=along.device)
        at = torch.searchsorted(order.values, key)[:, None] + around
        who = order.indices[at.clamp(0, len(self.rows) - 1)]
        same = torch.stack([_same(along, self.rows[one]) for one in who.T], dim=1)
        first = torch.where(same, who, len(self.rows)).amin(1)
        return torch.where(first < len(self.rows), first, -1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        sized_by_file(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        n, width = len(self.rows), len(self.mean)
        held = {"rows": (n, len(self.directions)), "places": (n, self.dim), "directions": (len(self.directions), width)}
        for name, shape in held.items():
            if tuple(getattr(self, name).shape) != shape:
                raise RuntimeError(f"an atlas with {name} of {tuple(getattr(self, name).shape)}, not {shape}")

    def extra_repr(self) -> str:
        return (
            f"rows={len(self.rows):,}, k={self.k}, near={self.near}, components={self.components}, "
            f"attraction={self.attraction:g}, steps={self.steps}, most={self.most}"
        )


def _line(rows: Tensor) -> Tensor:
    """Rows (n, d) as one number each, which others than copies hardly share, float64 (n,)."""
    line = torch.linspace(-1.0, 1.0, rows.shape[1] + 1, dtype=torch.double, device=rows.device)[1:].cos()
    return rows.double() @ line


def _same(a: Tensor, b: Tensor) -> Tensor:
    """Which rows of a (n, d) are those of b, but for rounding (n,)."""
    return (a - b).square().sum(1) <= _SAME * a.square().sum(1)


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The places of the first of every distinct row (m,), and which of these each row is (n,)."""
    order = _line(rows).sort(stable=True).indices
    in_order = rows[order]
    begins = torch.cat([order.new_ones(1), (~_same(in_order[1:], in_order[:-1])).long()]).cumsum(0) - 1
    group = torch.empty_like(order).scatter_(0, order, begins)
    n = int(begins[-1]) + 1
    first = order.new_full((n,), len(rows)).scatter_reduce_(
        0, group, torch.arange(len(rows), device=rows.device), "amin"
    )
    # as they came, so that a map of distinct rows does not depend on the line
    kept, place = first.sort()
    return kept, torch.empty_like(place).scatter_(0, place, torch.arange(n, device=rows.device))[group]


def geometric_median(points: Tensor) -> Tensor:
    """The place whose distances to points (B, k, dim) have the least sum (B, dim), by Weiszfeld's steps.

    >>> geometric_median(torch.tensor([[[0.0], [1.0], [100.0]]])).round()
    tensor([[1.]])
    """
    middle = points.median(1, keepdim=True).values
    for _ in range(_STEPS):
        weight = 1 / ((points - middle).norm(dim=2, keepdim=True) + _MET)
        middle = (weight * points).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    return middle[:, 0]
