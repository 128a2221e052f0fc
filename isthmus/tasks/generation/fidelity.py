"""Drawn rows against real ones: are they alike, is all of the real there, and is any of it copied?

Everything stands beside its floor, what one half of the real rows scores against the other: no figure can be better
than that, but by chance. Features are the codes of the model, each in its own deviation. A model that drew the rows
itself judges itself mildly: one of another seed, fitted to the same rows, is the stricter judge.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isthmus import devices
from isthmus.core.fidelity import fidelity as measured
from isthmus.core.nearest import nearest
from isthmus.core.two_sample import told_apart
from isthmus.data.batches import in_order
from isthmus.data.seen import row_hashes
from isthmus.errors import DataError
from isthmus.sampling import as_rows, draws_cells
from isthmus.tasks.base import Result
from isthmus.tasks.generation.between import needs_codes
from isthmus.training.loop import chunk_rows

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.model import Model

#: Rows of each side that are compared at most, and at least.
_MOST, _LEAST = 5000, 20
#: Parts into which numbers are cut for shares, columns that are paired, and trees of the detective.
_BINS, _PAIRED, _TREES = 10, 30, 60

#: What each figure is, and which way is good: lower, higher, or near the floor.
_ABOUT = {
    "frechet": "Fréchet distance of codes",
    "kernel": "kernel distance of codes",
    "precision": "precision: drawn rows where real ones are",
    "recall": "recall: real rows where drawn ones are",
    "density": "density: how deep among real rows",
    "coverage": "coverage: real rows with a drawn one in reach",
    "columns": "a column's shares differ by (total variation)",
    "pairs": "the shares of two columns together by",
    "correlation": "correlations of two columns differ by",
    "detection": "a classifier tells drawn from real (0.5 is chance)",
    "nearest": "distance to the nearest real row (median)",
    "back": "squared distance to what comes back (median), which codes do not see",
}


@dataclass
class Faithful(Result):
    """``figures`` and their ``floor`` by name; ``by_column`` are the total variations of a table's columns; ``copies``
    is how many of the ``n_drawn`` rows are real rows, and of real rows how many are each other's.
    """

    figures: dict[str, float]
    floor: dict[str, float]
    by_column: dict[str, float]
    copies: int | None
    n_drawn: int
    n_real: int
    itself: bool

    def to_table(self) -> Any:
        import pyarrow as pa

        names = list(self.figures)
        columns = {
            "figure": names,
            "drawn": [self.figures[n] for n in names],
            "real": [self.floor[n] for n in names],
            "about": [_ABOUT[n] for n in names],
        }
        return pa.table(columns)

    def summary(self) -> list[str]:
        width = max(len(_ABOUT[name]) for name in self.figures)
        lines = [f"{'':<{width}}      drawn   real against real"]
        lines += [f"{_ABOUT[n]:<{width}} {v:>10.4g} {self.floor[n]:>10.4g}" for n, v in self.figures.items()]
        worst = sorted(self.by_column.items(), key=lambda item: -item[1])[:3]
        if worst and worst[0][1] > 0:
            lines.append("furthest columns: " + ", ".join(f"{name} {v:.3f}" for name, v in worst))
        if self.copies is not None:
            lines.append(
                f"{self.copies:,} of {self.n_drawn:,} drawn rows are copies of one of {self.n_real:,} real rows"
            )
        if self.itself:
            lines.append(
                "drawn by this model and judged by it, which is mild: one of another seed is the stricter judge"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        return {
            "figures": self.figures, "floor": self.floor, "by_column": self.by_column, "copies": self.copies,
            "drawn": self.n_drawn, "real": self.n_real,
        }  # fmt: skip


def fidelity(model: Model, rows: Any, *, drawn: Any = None, seed: int = 0) -> Faithful:
    """How close drawn rows come to the real ``rows``, with what real rows score against each other beside it.

    Args:
        drawn: the drawn rows; by default as many as there are real ones, drawn from the model.
        seed: of what is drawn, and of how rows are chosen and halved.
    """
    needs_codes(model)
    real = model.modality.samples(model.open(rows).some(seed))
    made = _drawn(model, real, seed) if drawn is None else model.open(drawn).some(seed)
    made = model.modality.samples(made)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(real))
    n = min(len(real) // 2, len(made), _MOST)
    if n < _LEAST:
        raise DataError(
            f"{len(real):,} real and {len(made):,} drawn rows are too few to compare: bring at least {2 * _LEAST} and "
            f"{_LEAST}."
        )
    ours, theirs = real.take(order[:n]), real.take(order[n : 2 * n])
    drafts = made.take(generator.permutation(len(made))[:n])
    known, other, new = _codes(model, ours, theirs, drafts)
    figures, floor = vars(measured(known, new)).copy(), vars(measured(known, other)).copy()
    sides, by_column = [_entries(model, some) for some in (ours, theirs, drafts)], {}
    cells = draws_cells(model.modality)
    for found, side, codes in ((floor, sides[1], other), (figures, sides[2], new)):
        if cells:
            found |= _columns(model, _first(model, sides[0]), _first(model, side))
            found["detection"] = _detected(_first(model, sides[0]), _first(model, side))
        else:
            found["detection"] = told_apart(known, codes, torch.Generator().manual_seed(seed))
        a, b = (_represented(model, s) for s in (sides[0], side)) if cells else (known, codes)
        found["nearest"] = float(nearest(b, a, 1)[0].median())
    figures["back"], floor["back"] = _back(model, drafts), _back(model, theirs)
    if cells:
        by_column = _by_column(model, _first(model, sides[0]), _first(model, sides[2]))
    return Faithful(figures, floor, by_column, _copies(model, real, made), len(made), len(real), drawn is None)


def _drawn(model: Model, real: Rows, seed: int) -> Rows:
    """As many rows as there are real ones, of the conditions that these have."""
    n, said = min(len(real), 2 * _MOST), None
    if model.conditions is not None:
        said = model.tensors(real.take(np.arange(n)))["condition"]
    return model.open(model.draw(n, seed=seed, condition=said).rows)


def _codes(model: Model, *sides: Rows) -> list[Tensor]:
    """In deviations of the first."""
    found = [torch.from_numpy(model.encode(side)).flatten(1) for side in sides]
    middle, spread = found[0].mean(0), found[0].std(0, correction=0)
    # a number that never moves says nothing
    there = spread > 1e-6 * spread.max().clamp(min=1e-12)
    return [((z - middle) / spread.clamp(min=1e-12))[:, there] for z in found]


def _entries(model: Model, rows: Rows) -> np.ndarray:
    """Cells as the network sees them, NaN where missing: levels by number."""
    tensors = model.tensors(rows, steered=False)
    x = tensors["x"].double().flatten(1)
    return torch.where(tensors["observed"].flatten(1), x, torch.nan).numpy() if "observed" in tensors else x.numpy()


def _represented(model: Model, entries: np.ndarray) -> Tensor:
    x = torch.from_numpy(np.nan_to_num(entries)).float()
    return model.net.likelihood.represent(x.to(model.device)).flatten(1).cpu()


def _first(model: Model, entries: np.ndarray) -> np.ndarray:
    """The entry of each column that it comes back from."""
    return entries[:, [place.start for place in model.modality.places]]


def _levels(model: Model) -> list[int]:
    """How many levels each column has; 0 for a number."""
    every = getattr(model.net.likelihood, "levels", [0] * int(np.prod(model.net.shape)))
    return [every[place.start] for place in model.modality.places]


def _binned(model: Model, real: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Every cell as the number of a part: its level, its tenth of the real rows, or 0 where it is missing."""
    found = np.zeros(entries.shape, int)
    for j, level in enumerate(_levels(model)):
        column, there = entries[:, j], ~np.isnan(entries[:, j])
        if level:
            found[there, j] = 1 + column[there].astype(int)
        else:
            cuts = np.unique(np.nanquantile(real[:, j], np.linspace(0, 1, _BINS + 1)[1:-1])) if len(real) else []
            found[there, j] = 1 + np.searchsorted(cuts, column[there], side="right")
    return found


def _variation(a: np.ndarray, b: np.ndarray) -> float:
    """½ Σ |share − share|."""
    most = int(max(a.max(), b.max())) + 1
    return float(np.abs(np.bincount(a, minlength=most) / len(a) - np.bincount(b, minlength=most) / len(b)).sum() / 2)


def _by_column(model: Model, real: np.ndarray, entries: np.ndarray) -> dict[str, float]:
    a, b = (_binned(model, real, some) for some in (real, entries))
    return {name: _variation(a[:, j], b[:, j]) for j, name in enumerate(model.modality.looks_at)}


def _columns(model: Model, real: np.ndarray, entries: np.ndarray) -> dict[str, float]:
    """Shares of columns, of pairs of them, and correlations."""
    a, b = (_binned(model, real, some) for some in (real, entries))
    d = min(a.shape[1], _PAIRED)
    each = [_variation(a[:, j], b[:, j]) for j in range(a.shape[1])]
    found = {"columns": float(np.mean(each))}
    if d < 2:
        return found
    both = []
    for i, j in itertools.combinations(range(d), 2):
        width = int(max(a[:, j].max(), b[:, j].max())) + 1
        both.append(_variation(a[:, i] * width + a[:, j], b[:, i] * width + b[:, j]))
    found["pairs"] = float(np.mean(both))
    numbers = [j for j, level in enumerate(_levels(model)) if level < 2]
    if len(numbers) > 1:
        apart = np.abs(_correlations(real[:, numbers]) - _correlations(entries[:, numbers]))
        found["correlation"] = float(apart[np.triu_indices(len(numbers), 1)].mean())
    return found


def _correlations(x: np.ndarray) -> np.ndarray:
    """Of columns, a missing cell at the mean of its column; 0 where a column is constant."""
    there = ~np.isnan(x)
    count = np.maximum(there.sum(0), 1)
    x = np.where(there, x - np.where(there, x, 0).sum(0) / count, 0)
    spread = np.sqrt(np.square(x).sum(0))
    x = np.divide(x, spread, out=np.zeros_like(x), where=spread > 0)
    return x.T @ x


def _detected(real: np.ndarray, drawn: np.ndarray) -> float:
    """The held-out accuracy of boosted trees that tell the two apart: one half of each to fit and one to test."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    x = np.concatenate([real, drawn])
    y = np.repeat([0, 1], [len(real), len(drawn)])
    fitted = np.arange(len(x)) % 2 == 0
    trees = HistGradientBoostingClassifier(max_iter=_TREES, random_state=0).fit(x[fitted], y[fitted])
    return max(0.5, float(np.mean(trees.predict(x[~fitted]) == y[~fitted])))


def _back(model: Model, rows: Rows) -> float:
    """How far rows are from what comes back: 0 where they are the decoder's own, without the noise of real ones."""
    tensors, net, found = model.tensors(rows), model.net, []
    with torch.inference_mode(), devices.threads_for(float(tensors["x"].numel()), model.device):
        for b in in_order({name: t.to(model.device) for name, t in tensors.items()}, chunk_rows(net)):
            x, observed = b["x"], b.get("observed")
            found.append(net.squared_error(x, observed, net.decode(net.encode(x, observed), b.get("condition"))))
    return float(torch.cat(found).median())


def _copies(model: Model, real: Rows, made: Rows) -> int | None:
    """How many drawn rows are real ones, cell by cell."""
    if draws_cells(model.modality):
        # as they come back, so that the 3 of one file is the 3.0 of another
        tensors = [model.tensors(rows, steered=False) for rows in (made, real)]
        return int(np.isin(*(row_hashes(as_rows(model.modality, t["x"], t.get("observed"))) for t in tensors)).sum())
    if isinstance(real.data, np.ndarray) and isinstance(made.data, np.ndarray):
        known = {row.tobytes() for row in np.ascontiguousarray(real.data)}
        return sum(row.astype(real.data.dtype).tobytes() in known for row in made.data)
    return None
