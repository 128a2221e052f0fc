r"""What a model expects of rows whose code stands in the file: a hint for every cell, the same on every machine.

.. math:: h = \lfloor 256 \cdot \text{unscale}(g(z_q)) / s \rceil, \qquad z_q = \lfloor f(x) / \Delta \rceil

The encoder f may round as it likes, since its code is written down. The decoder g, and PCA beside it, answer in whole
numbers (:mod:`isthmus.core.exact`), and scaling is undone by single exact steps (:mod:`isthmus.core.arithmetic`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isthmus.core.arithmetic import ONE, sinh
from isthmus.core.exact import NotExact, Step, activate, chained, exact_body, exact_head, linear_map
from isthmus.core.integers import HINT_BITS
from isthmus.core.likelihoods import Bernoulli, Gaussian, Mixed
from isthmus.tasks.compression.packing import Form

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.model import Model

#: Rows that are decoded at once.
_ROWS = 1024


class Foresight:
    """A model as what tells of rows. ``ways`` are ``"autoencoder"`` and ``"PCA"``, where there is an exact one.

    ``why`` says what stood in the way of the autoencoder.
    """

    def __init__(self, model: Model, form: Form):
        self.model, self.form, self.why = model, form, ""
        self.ways: dict[str, Step] = {}
        try:
            self._place = _places(model, form)
        except NotExact as reason:
            self.why = str(reason)
            return
        net, likelihood = model.net, model.net.likelihood
        try:
            if net.spec.condition_dim:
                raise NotExact("a condition steers the decoder")
            if type(likelihood) not in (Gaussian, Bernoulli, Mixed):
                raise NotExact(f"a {net.spec.likelihood.kind} likelihood does not expect numbers")
            self.ways["autoencoder"] = chained(exact_body(net.decoder), exact_head(likelihood.head), _end(likelihood))
        except NotExact as reason:
            self.why = str(reason)
        if model.pca is not None and type(likelihood) is not Bernoulli:
            try:
                back = linear_map(model.pca.components.T, model.pca.mean)
                shape = likelihood.features_shape
                # what PCA says of coins and levels is a share: a half of it is what a logit of 0 is
                self.ways["PCA"] = chained(back, lambda a: a.reshape(-1, *shape), _centred(likelihood))
            except NotExact:
                pass

    def shape(self, way: str) -> tuple[int, ...]:
        """The shape of a code."""
        if way == "PCA":
            assert self.model.pca is not None
            return (len(self.model.pca.components),)
        return self.model.net.bottleneck.code_shape

    def codes(self, way: str, rows: Rows) -> np.ndarray:
        """The codes of rows (n, numbers) as the network gives them, float64."""
        model = self.model
        if way == "autoencoder":
            return model.encode(rows).reshape(len(rows), -1).astype(np.float64)
        tensors = model.tensors(rows, steered=False)
        x = model.net.likelihood.represent(tensors["x"], tensors.get("observed")).flatten(1)
        return ((x - model.pca.mean) @ model.pca.components.T).double().numpy()

    def hints(self, way: str, z: np.ndarray) -> np.ndarray:
        """Codes (n, numbers) in steps of 1 / 4096, whole → what is expected of the coded columns (n, k) int64."""
        shape, out = self.shape(way), np.zeros((len(z), len(self.form.coded)), np.int64)
        for start in range(0, len(z), _ROWS):
            a = torch.from_numpy(z[start : start + _ROWS].astype(np.float64)).reshape(-1, *shape)
            features = self.ways[way](a).flatten(1).numpy()
            for i, told in self._place:
                out[start : start + _ROWS, i] = told(features)
        return out


def _end(likelihood: Any) -> Step:
    """What the head gives, as what is expected."""
    if type(likelihood) is Bernoulli or getattr(likelihood, "link", "") == "sigmoid":
        return lambda a: activate("sigmoid", a)
    return lambda a: a


def _centred(likelihood: Any) -> Step:
    """Shares of coins less a half, as logits are."""
    if type(likelihood) is not Mixed:
        return lambda a: a

    def step(a: Tensor) -> Tensor:
        a = a.clone()
        a[:, likelihood.of_boolean] -= ONE // 2
        return a

    return step


def _places(model: Model, form: Form) -> list[tuple[Any, Any]]:
    """For coded columns, which of the network's features tells of them, and how: (columns, features → hints)."""
    modality, kind = model.modality, model.modality.kind
    if model.on_recordings or getattr(modality, "detrend", False) or getattr(modality, "normalise", False):
        raise NotExact("its rows are windows of these, or lose their level")
    if kind == "table":
        return list(_of_table(modality, model.net.likelihood, form))
    if kind not in ("array", "series", "image"):
        raise NotExact(f"rows of the kind {kind} are no columns")
    width = int(np.prod(model.net.shape))
    if len(form.columns) != width or form.coded != list(range(width)) or any(c.n_levels for c in form.columns):
        raise NotExact("its rows have other columns")
    steps = np.array([column.unit for column in form.columns])
    if kind == "image":
        channels, height, wide = model.net.shape
        order = np.arange(width).reshape(channels, height, wide).transpose(1, 2, 0).ravel()
        return [(slice(None), lambda features: _hint(features[:, order] / ONE * modality.high, steps))]
    if kind == "series":
        order = np.arange(width).reshape(modality.channels, modality.steps).T.ravel()
        scaling, which = modality.scaling, np.tile(np.arange(modality.channels), modality.steps)
    else:
        order, scaling, which = np.arange(width), modality.scaling, np.arange(width)
    return [(slice(None), lambda features: _hint(unscaled(features[:, order], scaling, which), steps))]


def _of_table(modality: Any, likelihood: Any, form: Form) -> Iterator[tuple[int, Any]]:
    used = {column.name: j for j, column in enumerate(modality.used)}
    mixed = likelihood if type(likelihood) is Mixed else None
    numeric = [j for j, column in enumerate(modality.used) if column.kind in ("numeric", "date")]
    coins = [j for j, column in enumerate(modality.used) if column.kind == "boolean"]
    levels = [j for j, column in enumerate(modality.used) if column.kind == "categorical"]
    if type(likelihood) not in (Mixed, Gaussian):
        raise NotExact("its likelihood is not that of a table")
    for i, at in enumerate(form.coded):
        column = form.columns[at]
        j = used.get(column.name)
        if j is None:
            continue
        ours = modality.used[j]
        if ours.kind == "numeric" and not column.n_levels:
            place = numeric.index(j)
            yield i, _number(place, modality.scaling, column.unit)
        elif ours.kind == "boolean" and mixed is not None:
            place = mixed.of_boolean.start + coins.index(j)
            yield i, _coin(place, 1 if column.n_levels else 1 << HINT_BITS)
        elif ours.kind == "categorical" and mixed is not None and column.n_levels:
            where = mixed.of_levels[levels.index(j)]
            known = {level: number for number, level in enumerate(column.levels)}
            yield i, _level(where, np.array([0, *(known.get(level, 0) for level in ours.levels)]))


def _number(place: int, scaling: Any, step: float) -> Any:
    return lambda features: _hint(unscaled(features[:, [place]], scaling, np.array([place])), step)[:, 0]


def _coin(place: int, one: int) -> Any:
    return lambda features: np.where(features[:, place] > 0, one, 0)


def _level(where: slice, numbers: np.ndarray) -> Any:
    return lambda features: numbers[features[:, where].argmax(1)]


def unscaled(features: np.ndarray, scaling: Any, which: np.ndarray) -> np.ndarray:
    """Features (n, d) in steps of 1 / 4096 → raw numbers, column j by the scaling's column ``which[j]``."""
    y = features / ONE
    bent = np.array([kind == "asinh" for kind in scaling.kinds])[which]
    if bent.any():
        u = y[:, bent] * scaling.std[which][bent]
        u = u + scaling.mean[which][bent]
        y[:, bent] = sinh(np.clip(u, -300.0, 300.0))
    y = y * scaling.spread[which]
    return y + scaling.center[which]


def _hint(raw: np.ndarray, step: Any) -> np.ndarray:
    """Raw numbers as multiples of their steps, in 1 / 256."""
    at = raw / step
    return np.floor(np.clip(at, -1e9, 1e9) * float(1 << HINT_BITS) + 0.5).astype(np.int64)
