r"""A variational model as a lossless coder of rows, by bits-back: arrays of levels, and columns of every kind.

.. math:: \text{bits} \approx -\mathrm{ELBO} / \log 2

Rows of which every entry is among the same levels (pictures, zeros and ones) go by
:class:`~isthmus.core.bits_back.BitsBack`. Others go column by column: what the network speaks of by
:class:`~isthmus.core.tilted.Tilted`, the other columns by what they tell of each other. Missing cells are known
beforehand and cost nothing here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.arithmetic import asinh
from isthmus.core.bits_back import BitsBack, Channel
from isthmus.core.entropy import joined, parted
from isthmus.core.exact import NotExact
from isthmus.core.integers import Columns, decode, encode
from isthmus.core.likelihoods import Categorical, Gaussian, Mixed
from isthmus.core.tilted import Field, Fields, Tilted
from isthmus.modalities.scaling import LIMIT
from isthmus.tasks.compression.packing import Cells, Column, Form

if TYPE_CHECKING:
    from isthmus.model import Model

#: Rows of columns that are coded together at most.
_TOGETHER = 250


def given_back(model: Model, form: Form) -> tuple[Levels | Mixture | None, str]:
    """The model as a lossless coder of such rows; or why it is none."""
    try:
        return _levels(model, form), ""
    except NotExact as reason:
        why = str(reason)
    try:
        return Mixture(model, form), ""
    except NotExact as reason:
        return None, why if form.shape is not None else str(reason)


class Levels:
    """Arrays of which every entry is among the same levels; ``order`` is that of the network's entries among them."""

    def __init__(self, coder: BitsBack, order: np.ndarray):
        self.coder, self.order = coder, order

    def encode(self, cells: Cells) -> bytes:
        """Raises ValueError where a cell is none of the levels."""
        q = cells.q[:, self.order]
        if cells.states.any() or q.min(initial=0) < 0 or q.max(initial=0) >= self.coder.levels:
            raise ValueError("the rows are beyond the levels")
        return self.coder.encode(q)

    def decode(self, data: bytes, n: int, states: np.ndarray) -> np.ndarray:
        q = np.empty((n, len(self.order)), np.int64)
        q[:, self.order] = self.coder.decode(data, n)
        return q


def _levels(model: Model, form: Form) -> Levels:
    k, modality = len(form.columns), model.modality
    order = np.arange(k)
    whole = all(c.how == "number" and c.unit == 1 for c in form.columns) and k == math.prod(model.net.shape)
    if form.shape is None or not whole:
        raise NotExact("its rows are no arrays of whole numbers")
    levels = 0
    if modality.kind == "image" and np.dtype(form.columns[0].dtype) == modality.dtype:
        channels, height, width = model.net.shape
        order = order.reshape(height, width, channels).transpose(2, 0, 1).ravel()
        levels = int(modality.high) + 1
    elif modality.kind == "array":
        scaling = modality.scaling
        kinds, far = set(scaling.kinds), {*scaling.center, *np.mod(scaling.spread, 1)}
        if not any(far) and kinds <= {"global", "none"} and len(set(scaling.spread)) == 1:
            levels = int(scaling.spread[0]) + 1
            if type(model.net.likelihood) is Categorical:
                levels = model.net.likelihood.levels if kinds == {"none"} else 0
    if not 2 <= levels <= 1 << 16:
        raise NotExact("its rows are not scaled from whole levels")
    return Levels(BitsBack(model.net, levels), order)


class Mixture:
    """Columns each by its own law; those that the network does not speak of beside it."""

    def __init__(self, model: Model, form: Form):
        self.net, self.form = model.net, form
        likelihood = model.net.likelihood
        if type(likelihood) not in (Gaussian, Mixed):
            raise NotExact(f"a {model.net.spec.likelihood.kind} likelihood does not speak of columns")
        if likelihood.noise() is None:
            raise NotExact("its noise level was never settled")
        self.channel = Channel(model.net, _TOGETHER)
        #: the coded columns that the network speaks of, and those that it does not
        self.ours, self.fields = _fields(model, form)
        if not self.ours:
            raise NotExact("it speaks of none of these columns")
        self.others = [i for i in range(len(form.coded)) if i not in set(self.ours)]

    def encode(self, cells: Cells) -> bytes:
        """Raises ValueError where numbers are too far apart or values too many."""
        present = cells.states == 0
        q = np.where(present, cells.q, 0)
        law = Tilted.fit(self.channel, self.net, self.fields, q[:, self.ours], present[:, self.ours])
        rest = encode(q[:, self.others], self._rest(present)) if self.others else b""
        return joined([law.written(), self.channel.encode(law, law.coded(q[:, self.ours])), rest])

    def decode(self, data: bytes, n: int, states: np.ndarray) -> np.ndarray:
        told, coded, rest = parted(data, 3)
        present, q = states == 0, np.zeros((n, len(self.form.coded)), np.int64)
        law = Tilted.read(self.net, self.fields, present[:, self.ours], told)
        q[:, self.ours] = law.raw(self.channel.decode(law, coded, n))
        if self.others:
            q[:, self.others] = decode(rest, self._rest(present))
        return q

    def _rest(self, present: np.ndarray) -> Columns:
        levels = tuple(self.form.columns[self.form.coded[i]].n_levels for i in self.others)
        return Columns(len(present), levels, None if present.all() else present[:, self.others])


def _fields(model: Model, form: Form) -> tuple[list[int], Fields]:
    """Which coded columns the network speaks of, and how. Raises NotExact where its rows are others."""
    modality = model.modality
    if model.on_recordings or getattr(modality, "detrend", False) or getattr(modality, "normalise", False):
        raise NotExact("its rows are windows of these, or lose their level")
    if modality.kind == "table":
        return _of_table(model, form)
    if modality.kind not in ("array", "series"):
        raise NotExact(f"rows of the kind {modality.kind} are no columns")
    width = math.prod(model.net.shape)
    if len(form.columns) != width or form.coded != list(range(width)) or any(c.n_levels for c in form.columns):
        raise NotExact("its rows have other columns")
    if type(model.net.likelihood) is not Gaussian:
        raise NotExact("its likelihood is not one of numbers")
    entries = which = np.arange(width)
    if modality.kind == "series":
        # rows hold channel after channel at every step, the network step after step of every channel
        entries = np.arange(width).reshape(modality.channels, modality.steps).T.ravel()
        which = np.tile(np.arange(modality.channels), modality.steps)
    each = tuple(Field(int(entry), 0, slice(int(entry), int(entry) + 1)) for entry in entries)
    steps = np.array([column.unit for column in form.columns])
    return list(range(width)), Fields(each, _scaled(modality.scaling, which, steps))


def _of_table(model: Model, form: Form) -> tuple[list[int], Fields]:
    modality, likelihood = model.modality, model.net.likelihood
    of = {column.name: (column, place) for column, place in zip(modality.used, modality.places, strict=True)}
    laws = [law for column in modality.used for law in column.laws]
    mixed = likelihood if type(likelihood) is Mixed else None
    told = {e: slice(e, e + 1) for e in range(len(laws))}
    if mixed is not None:
        numeric = [e for e, law in enumerate(laws) if law == 0]
        coins = [e for e, law in enumerate(laws) if law == 1]
        told = {e: slice(i, i + 1) for i, e in enumerate(numeric)}
        told |= {e: slice(mixed.of_boolean.start + i, mixed.of_boolean.start + i + 1) for i, e in enumerate(coins)}
        told |= dict(zip(mixed.categorical, mixed.of_levels, strict=True))
    ours, each, which, steps = [], [], [], []
    for i, at in enumerate(form.coded):
        column = form.columns[at]
        found, place = of.get(column.name, (None, None))
        # a date's place in the day and the year is no exact step, and rows of texts have no columns
        if found is None or place is None or found.width != 1 or found.alone or (mixed is None and found.laws != [0]):
            continue
        number = found.kind == "numeric" and not column.n_levels
        if found.kind == "date" or (found.kind == "numeric" and column.n_levels):
            continue
        ours.append(i)
        each.append(Field(place.start, found.laws[0], told[place.start], None if number else _reader(found, column)))
        which.append(modality.scaled.index(place.start) if number else 0)
        steps.append(column.unit)
    return ours, Fields(tuple(each), _scaled(modality.scaling, np.array(which, np.int64), np.array(steps)))


def _reader(ours: Any, column: Column) -> Any:
    """Values of a category, or of yes or no, as the network's levels: new ones are what the modality makes of them."""
    import pyarrow as pa

    def read(values: np.ndarray) -> np.ndarray:
        if column.n_levels:
            levels = pa.array(column.levels or ("",), pa.string())
            cells = levels.take(pa.array(np.clip(values, 0, len(levels) - 1)))
            if column.dtype == "bool":
                cells = pa.array(np.asarray(values) == 1)
        else:
            cells = pa.array(values if column.unit == 1 else values * column.unit)
        return np.nan_to_num(np.asarray(ours.numbers(cells, "the rows", []), np.float64))

    return read


def _scaled(scaling: Any, which: np.ndarray, steps: np.ndarray) -> Any:
    """Whole numbers of columns → what they are in x, as :meth:`Scaling.forward` has it but for the last digits."""
    bent = np.array([kind == "asinh" for kind in scaling.kinds] or [False])

    def numbers(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
        at = which[columns]
        raw = values * steps[columns]
        raw = raw - scaling.center[at]
        y = raw / scaling.spread[at]
        if (few := bent[at]).any():
            u = asinh(y[:, few]) - scaling.mean[at][few]
            y[:, few] = u / scaling.std[at][few]
        return np.clip(y, -LIMIT, LIMIT)

    return numbers
