r"""Pictures: filter answers at several scales that the picture as a whole does not explain.

.. math:: r = (I - U U^\top)(f(x) - \mu), \qquad m_p = r_p^\top \Sigma_p^{-1} r_p, \qquad
    s(x) = \text{mean of the highest share of } m_p

``f`` are signed answers and energies of derivative filters on a pyramid, pooled to a grid; ``U`` their leading
components over whole training pictures: light, exposure, where edges lie. What is left is held against the covariance
of its own place. Small pictures have one thing in their middle, and how its strokes run is what is usual of them: there
``f`` are oriented energies alone, one variance stands for all places, every place counts, and so does the code
``z = U^T f`` (probabilistic PCA on oriented energies). Nothing was trained on other pictures.

References:
    Tipping and Bishop, Probabilistic principal component analysis, 1999.
    Dalal and Triggs, Histograms of oriented gradients for human detection, 2005.
    Defard et al., PaDiM, 2021, https://arxiv.org/abs/2011.08785 (a gaussian for every place).
    Shi, Yang and Qi, Unsupervised anomaly segmentation via deep feature reconstruction, 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from isthmus.core.detectors import backbone as residual
from isthmus.core.parts import Detector, Shape, Surprise

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net

#: Sides up to this are small pictures.
SMALL = 48
#: A small picture has so many cells along a side, of at most four pixels each.
_CELLS = 7
#: Large pictures have at most this many places along a side, a cell of at least four pixels each.
_PLACES = 32
#: Training pictures that are learned from, evenly spread: large and small.
_MOST_LARGE, _MOST_SMALL = 600, 20_000
_FOLDS = 4
#: Pictures that are turned into features at once.
_CHUNK = 64
#: Channels of a backbone that are kept: a random choice loses little, since they say the same many times (PaDiM).
_CHOSEN = 100
_BACKBONE = "backbone-"


class _Known(NamedTuple):
    """What was learned: mean and scale of the features, the components (k, D) and their variances, L with Σ_p = L Lᵀ,
    and σ² of what is left of small pictures.
    """

    centre: Tensor
    scale: Tensor
    basis: Tensor
    variances: Tensor
    factor: Tensor
    noise: Tensor


class Patches(Detector):
    """Filter answers beyond what whole pictures explain, place by place.

    ``components`` explain whole pictures; ``mirrored`` lets them learn from flipped pictures too (large ones only);
    ``top`` is the share of places whose mean is the score of a large picture. ``backbone`` is a ``.safetensors`` file
    with the weights of a ResNet; they travel in the model file, and pictures of any size are then taken for large.
    """

    tells_fresh = tells_apart = True

    def __init__(
        self,
        shape: Shape,
        features_shape: Shape,
        *,
        components: int | str = "auto",
        mirrored: bool = True,
        top: float = 0.01,
        backbone: str | None = None,
    ):
        super().__init__()
        if len(shape) != 3:
            raise ValueError(f"pictures have (channels, height, width), these rows have {shape}")
        if components != "auto" and (not isinstance(components, int) or isinstance(components, bool) or components < 1):
            raise ValueError(f"components is a whole number of at least 1 or 'auto', got {components!r}")
        if not 0 < top <= 1:
            raise ValueError(f"top is a share above 0 and up to 1, got {top}")
        self.shape, self.mirrored, self.top, self.backbone = shape, mirrored, top, backbone
        self.small = max(shape[1:]) <= SMALL and backbone is None
        self.components = (100 if self.small else 150) if components == "auto" else int(components)
        cell = min(4, max(1, round(max(shape[1:]) / _CELLS))) if self.small else max(4, -(-max(shape[1:]) // _PLACES))
        self.grid = (-(-shape[1] // cell), -(-shape[2] // cell))
        #: what was learned, and the height of a cell that one in a thousand of usual pictures passes
        for name in (*_Known._fields, "edge"):
            self.register_buffer(name, torch.zeros(0))
        if backbone is not None:
            self.register_buffer("chosen", torch.zeros(0, dtype=torch.long))
        #: the backbone's weights, by their name; a buffer's may hold no dot
        self.weights: dict[str, str] = {}

    def prepare(self) -> None:
        if self.backbone is not None:
            for name, weight in residual.read(self.backbone).items():
                self._keep(name, weight)

    def _keep(self, name: str, weight: Tensor) -> None:
        self.weights[name] = f"{_BACKBONE}{name.replace('.', '-')}"
        self.register_buffer(self.weights[name], weight)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for key in state_dict:
            if key.startswith(prefix + _BACKBONE):
                self._keep(key.removeprefix(prefix + _BACKBONE).replace("-", "."), torch.zeros(0))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _seen(self, x: Tensor) -> list[Tensor]:
        return residual.look({name: getattr(self, place) for name, place in self.weights.items()}, x)

    def features(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W) → (B, channels, *grid)."""
        if self.backbone is not None:
            # each place together with those around it, as PatchCore has it
            seen = [_at(F.avg_pool2d(h, 3, 1, 1), self.grid) for h in self._seen(x)]
            return torch.cat(seen, 1)[:, self.chosen]
        return _strokes(x, self.grid) if self.small else _surface(x, self.grid)

    def settle(self, net: Net, tensors: Mapping[str, Tensor], generator: torch.Generator) -> None:
        x, n = tensors["x"], len(tensors["x"])
        most = _MOST_SMALL if self.small else _MOST_LARGE
        learned = torch.arange(n) if n <= most else torch.linspace(0, n - 1, most).round().long()
        x = x[learned.to(x.device)]
        if self.backbone is not None:
            width = sum(h.shape[1] for h in self._seen(x[:1]))
            self.chosen = torch.randperm(width, generator=generator)[:_CHOSEN].sort().values.to(x.device)
        # each is held out of one fold, together with what belongs to the same whole
        place = torch.full((n,), -1).scatter(0, learned, torch.arange(len(learned)))
        wholes = place if self.wholes is None else self.wholes.cpu()
        self._n_folds = min(_FOLDS, int(wholes.max()) + 1)
        #: the fold that each training picture is held out of; -1 where it was not learned from, and is fresh anyway
        self._fold = torch.where(wholes < 0, -1, wholes % self._n_folds)
        f, fold = self._of_all(x), self._fold[learned].to(x.device)
        folds = [(torch.where(fold != k)[0], torch.where(fold == k)[0]) for k in range(self._n_folds)]
        known, self._without = self._learn_small(f, folds) if self.small else self._learn_large(f, x, folds)
        told = zip(folds, self._without, strict=True)
        map_ = torch.cat([_map(f[out], of, self.small)[0].flatten() for (_, out), of in told]).sort().values
        self.edge = map_[-1 - len(map_) // 1000]
        # half the digits make half the file, and change a score by a thousandth at most
        known = known._replace(basis=known.basis.half(), factor=known.factor.half())
        for name, value in known._asdict().items():
            setattr(self, name, value)

    def fresh(self, net: Net, tensors: Mapping[str, Tensor], index: Tensor) -> Surprise:
        return self._by_fold(tensors["x"][index], self._fold[index.cpu()])

    def apart(self, net: Net, x: Tensor, wholes: Tensor) -> Surprise:
        return self._by_fold(x, wholes.cpu() % self._n_folds)

    def release(self) -> None:
        self._without = []

    def _by_fold(self, x: Tensor, fold: Tensor) -> Surprise:
        """The surprise of each picture to what was learned without its fold."""
        f = self.features(x)
        maps, cost = f.new_empty(len(f), *self.grid), f.new_empty(len(f))
        for k in fold.unique().tolist():
            here = (fold == k).to(f.device)
            maps[here], cost[here] = _map(f[here], self._known if k < 0 else self._without[k], self.small)
        return self._surprise(maps, cost)

    @property
    def _known(self) -> _Known:
        return _Known(*(getattr(self, name) for name in _Known._fields))

    def _of_all(self, x: Tensor) -> Tensor:
        found = torch.zeros(0)
        for at in range(0, len(x), _CHUNK):
            some = self.features(x[at : at + _CHUNK])
            found = found if at else some.new_empty(len(x), *some.shape[1:])
            found[at : at + _CHUNK] = some
        return found

    def _learn_small(self, f: Tensor, folds: _Folds) -> tuple[_Known, list[_Known]]:
        """What features teach; and what they teach without each fold."""
        return self._plane(f), [self._plane(f[seen]) for seen, _ in folds]

    def _plane(self, f: Tensor) -> _Known:
        centre = f.mean(0)
        a = (f - centre).flatten(1)
        n, d = a.shape
        if n <= d:  # by the products of the rows, which are fewer
            basis, variances = _leading(a, a @ a.T, self.components)
        else:
            values, vectors = torch.linalg.eigh((a.T @ a / n).double())
            k = max(1, min(self.components, d - 1))
            basis, variances = vectors.flip(1)[:, :k].T.float().contiguous(), values.flip(0)[:k].float()
        # a floor: directions that training pictures do not have at all would weigh without bound
        total = a.square().sum() / n
        floor = 1e-6 * total + 1e-12
        noise = ((total - variances.sum()) / max(1, d - len(variances))).clamp(min=floor)
        return _Known(centre, torch.ones_like(centre), basis, variances.clamp(min=floor), f.new_zeros(0), noise)

    def _learn_large(self, f: Tensor, x: Tensor, folds: _Folds) -> tuple[_Known, list[_Known]]:
        """The same; the components are those of flipped pictures too."""
        centre = f.mean(0)
        n, spread = len(f), (f - centre).square().mean(0)
        scale = spread.sqrt() + 0.1 * spread.mean((1, 2), keepdim=True).sqrt() + 1e-6
        turned: list[tuple[int, ...]] = [(), *([(3,), (2,), (2, 3)] if self.mirrored else [])]
        # filled where it stays: these are the most numbers of all, and pieces to be joined would be as many again
        every = f.new_empty(len(turned) * n, f[0].numel())
        for copy, axes in enumerate(turned):
            for at in range(0, n, _CHUNK):
                some = self.features(x[at : at + _CHUNK].flip(axes)) if axes else f[at : at + _CHUNK]
                every[copy * n + at : copy * n + at + len(some)] = ((some - centre) / scale).flatten(1)
        a = every[:n]
        gram, copies = every @ every.T, n * torch.arange(len(turned), device=x.device)[:, None]
        # what is left of a picture is smaller where its components were learned from it: each is held out once
        left, bases = torch.empty_like(a), []
        for seen, out in folds:
            basis, variances = _leading(every, gram, self.components, (seen + copies).flatten())
            left[out] = a[out] - (a[out] @ basis.T) @ basis
            bases.append((basis, variances))
        leading = _leading(every, gram, self.components)
        del a, every, gram
        left = left.view(n, -1, *self.grid).permute(2, 3, 0, 1).flatten(0, 1)  # (places, n, channels)
        none = left.new_zeros(())
        whole = _Known(centre, scale, *leading, _factor(left), none)
        # and smaller still where the covariance was
        return whole, [
            _Known(centre, scale, *basis, _factor(left[:, seen]), none)
            for (seen, _), basis in zip(folds, bases, strict=True)
        ]

    def forward(
        self,
        net: Net,
        x: Tensor,
        observed: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        explain: bool = True,
    ) -> Surprise:
        return self._surprise(*_map(self.features(x), self._known, self.small))

    def _surprise(self, map_: Tensor, cost: Tensor) -> Surprise:
        flat = map_.flatten(1)
        if self.small:
            score = flat.sum(1, dtype=torch.float64) + cost
        else:
            score = flat.topk(max(1, round(self.top * flat.shape[1])), 1)[0].mean(1, dtype=torch.float64)
        share = F.interpolate(map_[:, None], size=self.shape[1:], mode="bilinear", align_corners=False)
        # cells of a small picture add up; of a large one their mean is told, and the rest is what the highest add
        total = (flat.sum(1) if self.small else flat.mean(1)) / share.flatten(1).sum(1).clamp(min=1e-12)
        entries = (share * total[:, None, None, None] / self.shape[0]).expand(-1, *self.shape).contiguous()
        rest = score - entries.flatten(1).sum(1, dtype=torch.float64)
        return Surprise(score, entries, rest.to(entries))

    def line(self) -> float:
        """The height in ``entries``, summed over channels, that one in a thousand places of usual pictures passes."""
        cells, pixels = self.grid[0] * self.grid[1], self.shape[1] * self.shape[2]
        return float(self.edge) * (cells / pixels if self.small else 1 / pixels)


#: Which pictures are seen, and which are held out, fold by fold.
_Folds = list[tuple[Tensor, Tensor]]


def _map(f: Tensor, known: _Known, small: bool) -> tuple[Tensor, Tensor]:
    """Features (B, channels, h, w) → how strange each place is (B, h, w), and what the code costs (B,)."""
    a = ((f - known.centre) / known.scale).flatten(1)
    basis = known.basis.float()
    code = a @ basis.T
    left = (a - code @ basis).view(f.shape)
    if small:
        return left.square().sum(1) / known.noise, (code.square() / known.variances).sum(1)
    left = left.flatten(2).permute(2, 1, 0)  # (places, channels, B)
    found = torch.linalg.solve_triangular(known.factor.float(), left, upper=False).square().sum(1)
    return found.T.reshape(len(f), *f.shape[2:]), f.new_zeros(len(f))


def _factor(left: Tensor) -> Tensor:
    """What is left at each place (places, n, channels) → L with Σ = L Lᵀ, a tenth of it that of the mean place: few
    pictures do not settle a covariance.
    """
    covariance = left.mT @ left / left.shape[1]
    mean = covariance.mean(0)
    return torch.linalg.cholesky(0.9 * covariance + 0.1 * mean + torch.diag(1e-3 * mean.diagonal() + 1e-6))


def _leading(rows: Tensor, gram: Tensor, k: int, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The leading components (k, D) of rows (n, D), or of those at ``known`` places, by the products of the rows, and
    their variances.
    """
    gram = gram if known is None else gram[known][:, known]
    values, vectors = torch.linalg.eigh(gram.double())
    values, vectors = values.flip(0), vectors.flip(1)
    k = max(1, min(k, len(gram) // 2, int((values > 1e-6 * values[0].clamp(min=1e-12)).sum())))
    share = (vectors[:, :k] / values[:k].clamp(min=1e-12).sqrt()).float().T
    if known is not None:  # none of the others, instead of a copy of these
        share = share.new_zeros(k, len(rows)).index_copy(1, known, share)
    return share @ rows, (values[:k] / len(gram)).float()


def _strokes(x: Tensor, grid: Shape) -> Tensor:
    """Energies of eight directions on three scales, and the colours themselves where there are some."""
    found, p = [], x.mean(1, keepdim=True)
    for _ in range(3):
        gx, gy = _derivatives(p)[:, :2].split(1, 1)
        steep = torch.cat([gx, gy, 0.7071 * (gx + gy), 0.7071 * (gx - gy)], 1)
        energy = _blur(torch.cat([steep.clamp(min=0), (-steep).clamp(min=0)], 1))
        # the root: a stroke counts as a stroke whether it is faint or bold
        found.append(F.adaptive_avg_pool2d(energy, grid).sqrt())
        if min(p.shape[2:]) > 4:
            p = _half(_blur(p))
    if x.shape[1] > 1:
        found.append(F.adaptive_avg_pool2d(x, grid))
    return torch.cat(found, 1)


def _surface(x: Tensor, grid: Shape) -> Tensor:
    """Signed derivatives, their energies and the local light on five scales, after the picture's own light is out."""
    x = torch.log(x.clamp(min=0) + 0.05)
    x = x - x.mean((2, 3), keepdim=True)
    fine = x - _blur(_blur(x))
    # the mean size, not the deviation, which one bright scratch would lift for the whole picture
    x = x / fine.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-3) * 0.8
    pyramid = [x]
    while len(pyramid) < 6 and min(pyramid[-1].shape[2:]) > 2:
        pyramid.append(_half(_blur(pyramid[-1])))
    last, found = _at(pyramid[-1], grid), []
    for p in pyramid[:-1]:
        steep = _derivatives(_blur(p.mean(1, keepdim=True)))
        energy = torch.log(0.1 + _around(steep.abs()))
        found += [_at(steep, grid), _at(energy, grid), _at(p, grid) - last]
    return torch.cat([*found, last], 1)


def _at(t: Tensor, grid: Shape) -> Tensor:
    """A map brought to the grid: averaged where it is finer, between its values where it is coarser."""
    while t.shape[2] >= 2 * grid[0] and t.shape[3] >= 2 * grid[1]:
        t = _half(t)
    return t if tuple(t.shape[2:]) == grid else F.interpolate(t, size=grid, mode="bilinear", align_corners=False)


def _blur(x: Tensor) -> Tensor:
    """1 2 1 along both axes."""
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    p = (p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]) / 4
    return (p[..., :-2, :] + 2 * p[..., 1:-1, :] + p[..., 2:, :]) / 4


def _around(x: Tensor) -> Tensor:
    """The mean of 5 × 5, by sums along each axis: a third of the time that pooling takes."""
    p = F.pad(x, (2, 2, 2, 2), mode="replicate")
    wide = p[..., :-4] + p[..., 1:-3]
    for i in (2, 3, 4):
        wide += p[..., i : p.shape[3] - 4 + i]
    found = wide[..., :-4, :] + wide[..., 1:-3, :]
    for i in (2, 3, 4):
        found += wide[..., i : p.shape[2] - 4 + i, :]
    return found.div_(25)


def _half(x: Tensor) -> Tensor:
    if x.shape[2] % 2 or x.shape[3] % 2:
        return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    rows = x[..., ::2, :] + x[..., 1::2, :]  # a third of the time that pooling takes
    return (rows[..., ::2] + rows[..., 1::2]).div_(4)


def _derivatives(x: Tensor) -> Tensor:
    """(B, 1, H, W) → along columns, along rows, and the three second ones (B, 5, H, W)."""
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    left, right, up, down = p[..., 1:-1, :-2], p[..., 1:-1, 2:], p[..., :-2, 1:-1], p[..., 2:, 1:-1]
    twist = (p[..., 2:, 2:] + p[..., :-2, :-2] - p[..., 2:, :-2] - p[..., :-2, 2:]) / 4
    return torch.cat([(right - left) / 2, (down - up) / 2, right + left - 2 * x, down + up - 2 * x, twist], 1)
