"""The models that features are judged by: linear, neighbours, boosted trees, and two that use rows without labels.

Each is a function ``(features, shown, y, classes) → what it says of the test rows``: ``shown`` are the places of the
training rows whose labels ``y`` it is told. Classes come as places and are answered so, numbers as numbers. What a
model leaves open (a price, how many neighbours) it chooses on the labels that it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot

from isthmus.core.gaussians import Gaussians
from isthmus.core.nearest import nearest
from isthmus.core.pca import fit_pca
from isthmus.core.spreading import Graph

#: Prices of a linear model's weights, dearest first, and steps of each fit.
_PRICES, _STEPS = (1e-1, 1e-2, 1e-3, 1e-4), 60
#: Neighbours that are asked.
_NEIGHBOURS = (1, 5, 15)
#: Trees of boosting in all, and columns that a split looks at.
_TREES, _COLUMNS = 300, 100
#: Neighbours among the rows that labels have spread to.
_ASKED = 10
#: Columns from which on gaussians see components in their place.
_WIDE = 256


@dataclass(frozen=True)
class Features:
    """One way to look at rows: ``train`` (n, d), of which few labels are shown, and ``test`` (m, d)."""

    name: str
    train: Tensor
    test: Tensor

    @cached_property
    def graph(self) -> Graph:
        """The graph of the training rows' neighbours: the same for all draws of labels."""
        return Graph.of(self.train)

    @cached_property
    def narrow(self) -> tuple[Tensor, Tensor]:
        """The same rows, wide ones as their leading components: a covariance has the square of the columns."""
        if self.train.shape[1] <= _WIDE:
            return self.train, self.test
        pca = fit_pca(lambda: self.train.split(4096), _WIDE)
        return tuple((x - pca.mean) @ pca.components.T for x in (self.train, self.test))  # type: ignore[return-value]


Judge = Callable[[Features, Tensor, Tensor, int], np.ndarray]


def linear(of: Features, shown: Tensor, y: Tensor, classes: int) -> np.ndarray:
    """Softmax (or ridge) regression, the price of whose weights is chosen on a quarter of the labels, or on each by
    the others where they are few.
    """
    train, test = of.train[shown], of.test
    middle = train.mean(0)
    size = (train - middle).square().sum(1).mean().sqrt().clamp(min=1e-12) / 5
    train, test = (train - middle) / size, (test - middle) / size
    fit = _ridge if not classes else _softmax
    n = len(train)
    g = torch.Generator().manual_seed(0)
    fold = torch.randperm(n, generator=g) % 4
    folds = range(4 if n <= 200 else 1)
    lost = [0.0] * len(_PRICES)
    for k in folds if n >= 4 else ():
        within, out = fold != k, fold == k
        w = None
        for i, price in enumerate(_PRICES):
            w = fit(train[within], y[within], price, classes, w)
            told = train[out] @ w[:-1] + w[-1]
            if classes:
                lost[i] += float(-log_softmax(told, 1)[torch.arange(len(told)), y[out]].sum())
            else:
                lost[i] += float((told[:, 0] - y[out]).square().sum())
    price = _PRICES[int(np.argmin(lost))] if n >= 4 else _PRICES[1]
    w = fit(train, y, price, classes, None)
    told = test @ w[:-1] + w[-1]
    return (told.argmax(1) if classes else told[:, 0]).numpy()


def _ridge(x: Tensor, y: Tensor, price: float, classes: int, begin: Tensor | None) -> Tensor:
    middle, level = x.mean(0), y.mean()
    x, y = (x - middle).double(), (y - level).double()
    n, d = x.shape
    if d <= n:
        w = torch.linalg.solve(x.T @ x + n * price * torch.eye(d).double(), x.T @ y)
    else:
        w = x.T @ torch.linalg.solve(x @ x.T + n * price * torch.eye(n).double(), y)
    w = w.float()
    return torch.cat([w, (level - middle @ w)[None]])[:, None]


def _softmax(x: Tensor, y: Tensor, price: float, classes: int, begin: Tensor | None) -> Tensor:
    w = torch.zeros(x.shape[1] + 1, classes) if begin is None else begin.clone()
    w.requires_grad_()
    places = torch.arange(len(x))
    steps = torch.optim.LBFGS([w], max_iter=_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        steps.zero_grad()
        nats = -log_softmax(x @ w[:-1] + w[-1], 1)[places, y].mean() + price / 2 * w[:-1].square().sum()
        nats.backward()
        return nats

    with torch.enable_grad():
        steps.step(loss)
    return w.detach()


def neighbours(of: Features, shown: Tensor, y: Tensor, classes: int) -> np.ndarray:
    """The vote (or mean) of the k nearest labelled rows; k is what tells each of them best by the others."""
    train, n = of.train[shown], len(shown)
    most = min(max(_NEIGHBOURS), n - 1)
    ks = [k for k in _NEIGHBOURS if k <= most] or [1]
    best = ks[0]
    if n > 2:
        near = y[nearest(train, train, max(ks), itself=False)[1]]
        best = min(ks, key=lambda k: _lost(_vote(near[:, :k], classes), y, classes))
    return _vote(y[nearest(of.test, train, best)[1]], classes).numpy()


def _vote(near: Tensor, classes: int) -> Tensor:
    if not classes:
        return near.float().mean(1)
    # of equally many the nearer ones
    nearer = 1 - 1e-3 * torch.arange(near.shape[1])
    return (one_hot(near, classes) * nearer[:, None]).sum(1).argmax(1)


def _lost(told: Tensor, y: Tensor, classes: int) -> float:
    return float((told != y).sum()) if classes else float((told - y).square().sum())


def boosted(of: Features, shown: Tensor, y: Tensor, classes: int) -> np.ndarray:
    """Gradient-boosted trees of scikit-learn."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    train, test = of.train[shown], of.test
    n, d = train.shape
    if classes and len(y.unique()) < 2:
        return np.full(len(test), int(y[0]))
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    trees = kind(
        max_iter=max(10, _TREES // max(3, len(y.unique()) if classes else 3)), learning_rate=0.2, max_leaf_nodes=15,
        min_samples_leaf=int(np.clip(n // 20, 1, 20)), early_stopping=False,
        max_features=min(1.0, _COLUMNS / d), random_state=0,
    )  # fmt: skip
    return trees.fit(train.numpy(), y.numpy()).predict(test.numpy())


def gaussians(of: Features, shown: Tensor, y: Tensor, classes: int) -> np.ndarray:
    """A gaussian for each class, all of one shape, which the rows without labels tell too."""
    train, test = of.narrow
    return Gaussians.fit(train, _seeds(of, shown, y, classes)).told(test).argmax(1).numpy()


def spreading(of: Features, shown: Tensor, y: Tensor, classes: int) -> np.ndarray:
    """Labels spread over the graph of all training rows, and the nearest of these are asked."""
    found = of.graph.spread(_seeds(of, shown, y, classes))
    distances, places = nearest(of.test, of.train, min(_ASKED, len(of.train)))
    votes = one_hot(found.argmax(1)[places], classes) / distances.clamp(min=1e-6)[:, :, None]
    return votes.sum(1).argmax(1).numpy()


def _seeds(of: Features, shown: Tensor, y: Tensor, classes: int) -> Tensor:
    seeds = torch.zeros(len(of.train), classes)
    seeds[shown] = one_hot(y, classes).float()
    return seeds


#: By name; the second ones are of classes alone, and use training rows whose labels are hidden.
SUPERVISED: dict[str, Judge] = {"linear": linear, "neighbours": neighbours, "boosted": boosted}
WITH_ALL_ROWS: dict[str, Judge] = {"spread": spreading, "gaussians": gaussians}
