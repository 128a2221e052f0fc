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
from typing import TYPE_CHECKING, Any

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


class Patches(Detector):
    """Filter answers beyond what whole pictures explain, place by place.

    ``components`` explain whole pictures; ``mirrored`` lets them learn from flipped pictures too (large ones only);
    ``top`` is the share of places whose mean is the score of a large picture. ``backbone`` is a ``.safetensors`` file
    with the weights of a ResNet; they travel in the model file, and pictures of any size are then taken for large.
    """

    tells_fresh = True

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
        #: mean and scale of the features, the components (k, D) and their variances, L with Σ_p = L L^T, σ² of what is
        #: left of small pictures, and the height of a cell that one in a thousand of usual pictures passes
        for name in ("centre", "scale", "basis", "variances", "factor", "noise", "edge"):
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
        #: where each training picture stands among those that were learned from, or -1
        self._place = torch.full((n,), -1).scatter(0, learned, torch.arange(len(learned)))
        x = x[learned.to(x.device)]
        if self.backbone is not None:
            width = sum(h.shape[1] for h in self._seen(x[:1]))
            self.chosen = torch.randperm(width, generator=generator)[:_CHOSEN].sort().values.to(x.device)
        f = self._of_all(x)
        self._unseen = self._settle_small(f) if self.small else self._settle_large(f, x)
        map_ = self._unseen[0].flatten().sort().values
        self.edge = map_[-1 - len(map_) // 1000]
        # half the digits make half the file, and change a score by a thousandth at most
        self.basis, self.factor = self.basis.half(), self.factor.half()

    def fresh(self, net: Net, tensors: Mapping[str, Tensor], index: Tensor) -> Surprise:
        places = self._place[index.cpu()].to(index.device)
        maps, cost = self._map(self.features(tensors["x"][index]))
        learned = places >= 0  # the others are fresh anyway
        maps[learned], cost[learned] = (of[places[learned]] for of in self._unseen)
        return self._surprise(maps, cost)

    def _of_all(self, x: Tensor) -> Tensor:
        return torch.cat([self.features(some) for some in x.split(_CHUNK)])

    def _settle_small(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from features; what :meth:`_map` would say of each picture, had it not been learned from."""
        maps, cost = f.new_zeros(len(f), *self.grid), f.new_zeros(len(f))
        for seen, out in _folds(len(f), f.device):
            self._take_in(f[seen])
            maps[out], cost[out] = self._map(f[out])
        self._take_in(f)
        return maps, cost

    def _take_in(self, f: Tensor) -> None:
        self.centre, self.factor = f.mean(0), f.new_zeros(0)
        self.scale = torch.ones_like(self.centre)
        a = (f - self.centre).flatten(1)
        n, d = a.shape
        if n <= d:  # by the products of the rows, which are fewer
            self.basis, variances = _leading(a, a @ a.T, self.components)
        else:
            values, vectors = torch.linalg.eigh((a.T @ a / n).double())
            k = max(1, min(self.components, d - 1))
            self.basis, variances = vectors.flip(1)[:, :k].T.float().contiguous(), values.flip(0)[:k].float()
        # a floor: directions that training pictures do not have at all would weigh without bound
        total = a.square().sum() / n
        floor = 1e-6 * total + 1e-12
        self.variances = variances.clamp(min=floor)
        self.noise = ((total - variances.sum()) / max(1, d - len(variances))).clamp(min=floor)

    def _settle_large(self, f: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same; the components are those of flipped pictures too."""
        self.centre = f.mean(0)
        n, spread = len(f), (f - self.centre).square().mean(0)
        self.scale = spread.sqrt() + 0.1 * spread.mean((1, 2), keepdim=True).sqrt() + 1e-6
        a = ((f - self.centre) / self.scale).flatten(1)
        turned = [(3,), (2,), (2, 3)] if self.mirrored else []
        more = [((self._of_all(x.flip(axes)) - self.centre) / self.scale).flatten(1) for axes in turned]
        every = torch.cat([a, *more])
        gram, copies = every @ every.T, n * torch.arange(1 + len(more), device=x.device)[:, None]
        # what is left of a picture is smaller where its components were learned from it: each is held out once
        left, folds = torch.empty_like(a), _folds(n, x.device)
        for seen, out in folds:
            known = (seen + copies).flatten()
            basis = _leading(every[known], gram[known][:, known], self.components)[0]
            left[out] = a[out] - (a[out] @ basis.T) @ basis
        self.basis, self.variances = _leading(every, gram, self.components)
        left = left.view(n, -1, *self.grid).permute(2, 3, 0, 1).flatten(0, 1)  # (places, n, channels)
        self.factor, self.noise = _factor(left), left.new_zeros(())
        # and smaller still where the covariance was
        maps = f.new_zeros(n, *self.grid)
        for seen, out in folds:
            white = torch.linalg.solve_triangular(_factor(left[:, seen]), left[:, out].mT, upper=False)
            maps[out] = white.square().sum(1).T.reshape(-1, *self.grid)
        return maps, f.new_zeros(n)

    def _map(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """Features → how strange each place is (B, h, w), and what the code costs (B,)."""
        a = ((f - self.centre) / self.scale).flatten(1)
        basis = self.basis.float()
        code = a @ basis.T
        left = (a - code @ basis).view(len(f), -1, *self.grid)
        if self.small:
            return left.square().sum(1) / self.noise, (code.square() / self.variances).sum(1)
        left = left.flatten(2).permute(2, 1, 0)  # (places, channels, B)
        found = torch.linalg.solve_triangular(self.factor.float(), left, upper=False).square().sum(1)
        return found.T.reshape(len(f), *self.grid), f.new_zeros(len(f))

    def forward(
        self,
        net: Net,
        x: Tensor,
        observed: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        explain: bool = True,
    ) -> Surprise:
        return self._surprise(*self._map(self.features(x)))

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


def _folds(n: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Which of n pictures are seen, and which are held out, in each fold; each is held out once."""
    of = torch.arange(n, device=device) % min(_FOLDS, n)
    return [(torch.where(of != fold)[0], torch.where(of == fold)[0]) for fold in range(int(of.max()) + 1)]


def _factor(left: Tensor) -> Tensor:
    """What is left at each place (places, n, channels) → L with Σ = L Lᵀ, a tenth of it that of the mean place: few
    pictures do not settle a covariance.
    """
    covariance = left.mT @ left / left.shape[1]
    mean = covariance.mean(0)
    return torch.linalg.cholesky(0.9 * covariance + 0.1 * mean + torch.diag(1e-3 * mean.diagonal() + 1e-6))


def _leading(rows: Tensor, gram: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The leading components (k, D) of rows (n, D), by the products of the rows, and their variances."""
    values, vectors = torch.linalg.eigh(gram.double())
    values, vectors = values.flip(0), vectors.flip(1)
    k = max(1, min(k, len(rows) // 2, int((values > 1e-6 * values[0].clamp(min=1e-12)).sum())))
    basis = (vectors[:, :k] / values[:k].clamp(min=1e-12).sqrt()).float().T @ rows
    return basis, (values[:k] / len(rows)).float()


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
        energy = torch.log(0.1 + F.avg_pool2d(F.pad(steep.abs(), (2, 2, 2, 2), mode="replicate"), 5, 1))
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


def _half(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def _derivatives(x: Tensor) -> Tensor:
    """(B, 1, H, W) → along columns, along rows, and the three second ones (B, 5, H, W)."""
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    left, right, up, down = p[..., 1:-1, :-2], p[..., 1:-1, 2:], p[..., :-2, 1:-1], p[..., 2:, 1:-1]
    twist = (p[..., 2:, 2:] + p[..., :-2, :-2] - p[..., 2:, :-2] - p[..., :-2, 2:]) / 4
    return torch.cat([(right - left) / 2, (down - up) / 2, right + left - 2 * x, down + up - 2 * x, twist], 1)
