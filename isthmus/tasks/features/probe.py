r"""Which features are worth using, and since how many labels: raw columns, PCA of the same size, and codes.

.. math:: \text{score}(features, model, n) = \frac{1}{D} \sum_d \frac{1}{m} \sum_i v_{di}, \qquad
    v = \mathbb{1}[\hat y = y] \;\text{ or }\; 1 - \frac{(y - \hat y)^2}{\mathrm{Var}\, y}

over D draws of n labels and the same m held-out rows every time: accuracy, or R². What two features differ by is
judged on the same draws and rows, and its interval counts both as chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isthmus import devices
from isthmus.core.pca import fit_lsa, fit_pca
from isthmus.data.batches import in_order
from isthmus.data.sparse import Sparse, dense
from isthmus.errors import DataError, SpecError
from isthmus.fitting import tensors_of
from isthmus.picture import Picture, line_chart
from isthmus.tasks.base import Result
from isthmus.tasks.features.judges import SUPERVISED, WITH_ALL_ROWS, Features
from isthmus.tasks.features.labelled import Labelled, drawn, labelled

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.model import Model

#: Labels that are shown, before all of them.
SIZES = (10, 100, 1000)
#: The share of the labelled rows that judges, and at most how many.
_SHARE, _MOST_TEST = 0.25, 2000
#: Slow models are fitted on fewer draws.
_FEW_DRAWS = 2
#: Models that use rows without labels need so many of them for each that has one.
_ROOM = 2
#: Wide rows of which nearly all entries are zero are kept as so many columns at most.
_MOST_COLUMNS = 2000
_Z = 1.96


@dataclass
class Cell:
    """One score: ``values`` (draws, rows) whose mean it is."""

    features: str
    model: str
    n: int
    values: np.ndarray = field(repr=False)

    @property
    def score(self) -> float:
        return float(self.values.mean())

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval: over other draws and other held-out rows."""
        return _Z * _error(self.values)


@dataclass
class Probed(Result):
    """Scores by features, model and number of labels; ``measure`` is accuracy or R²."""

    cells: list[Cell]
    name: str
    measure: str
    sizes: list[int]
    n_test: int
    #: The numbers of a row by the name of the features, in the order raw, PCA, codes.
    widths: dict[str, int]
    remarks: list[str] = field(default_factory=list)

    def best(self, features: str, n: int, *, supervised: bool = False) -> Cell:
        """The model that does best on these features with ``n`` labels."""
        mine = [c for c in self.cells if c.features == features and c.n == n]
        return max((c for c in mine if not supervised or c.model in SUPERVISED), key=lambda cell: cell.score)

    def compared(self, n: int) -> tuple[Cell, Cell, float, float]:
        """With ``n`` labels: the best on codes, the best without, what the first gains, and half the interval of it."""
        raw, pca, code = self.widths
        ours = self.best(code, n)
        theirs = max((self.best(raw, n), self.best(pca, n)), key=lambda cell: cell.score)
        draws = min(len(ours.values), len(theirs.values))
        apart = ours.values[:draws] - theirs.values[:draws]
        return ours, theirs, float(apart.mean()), _Z * _error(apart)

    # -- words ----------------------------------------------------------------------------------

    def verdict(self) -> list[str]:
        """Which features are worth using, since how many labels."""
        raw, _, code = self.widths
        gains = {n: self.compared(n) for n in self.sizes}
        better = [n for n, (_, _, gain, half) in gains.items() if gain > half]
        worse = [n for n, (_, _, gain, half) in gains.items() if gain < -half]
        told = [self._line(n, *gains[n]) for n in self.sizes]
        if better:
            which = "at every size" if len(better) == len(self.sizes) else f"with {_listed(better)} labels"
            told.append(f"codes are worth it {which}" + (f", and not with {_listed(worse)}" if worse else ""))
        elif not worse:
            told.append(
                f"codes do as well as the best without them, with {self.widths[code]:,} numbers a row in place of "
                f"{self.widths[raw]:,}: they are worth it where that matters"
            )
        else:
            other = gains[worse[-1]][1].features
            told.append(f"codes are not worth it for {self.name}: use {other} (worse with {_listed(worse)} labels)")
        n = self.sizes[min(1, len(self.sizes) - 1)]
        ours = self.best(code, n)
        if ours.model in WITH_ALL_ROWS:
            alone = self.best(code, n, supervised=True)
            told.append(
                f"with {n:,} labels the rows without labels tell most: {ours.model} on {ours.features} "
                f"{ours.score:.3f}, {alone.model} on the labels alone {alone.score:.3f}; isthmus head uses them"
            )
        return told

    def _line(self, n: int, ours: Cell, theirs: Cell, gain: float, half: float) -> str:
        sign = "better" if gain > half else "worse" if gain < -half else "no different"
        return (
            f"{n:,} labels: {ours.features} {ours.score:.3f} ({ours.model}), {sign} than {theirs.features} "
            f"{theirs.score:.3f} ({theirs.model}) by {gain:+.3f} ± {half:.3f}"
        )

    def summary(self) -> list[str]:
        lines = [f"{self.measure} on {self.n_test:,} held-out rows, mean ± 95 %"]
        heads = ["", *(f"{n:,}" for n in self.sizes)]
        rows = []
        for features in self.widths:
            for model in (*SUPERVISED, *WITH_ALL_ROWS):
                mine = {c.n: c for c in self.cells if (c.features, c.model) == (features, model)}
                if mine:
                    cells = (f"{mine[n].score:.3f} ± {mine[n].half:.3f}" if n in mine else "–" for n in self.sizes)
                    rows.append([f"{features}, {model}", *cells])
        wide = [max(len(row[j]) for row in [heads, *rows]) for j in range(len(heads))]
        for row in [heads, *rows]:
            lines.append(
                f"{row[0]:<{wide[0]}}  " + "  ".join(f"{c:>{w}}" for c, w in zip(row[1:], wide[1:], strict=True))
            )
        if any(c.model in WITH_ALL_ROWS for c in self.cells):
            lines.append("spread and gaussians also look at the training rows whose labels are hidden")
        return [*lines, *self.verdict(), *(f"! {remark}" for remark in self.remarks)]

    # -- files ----------------------------------------------------------------------------------

    def to_table(self) -> Any:
        """A line a score."""
        import pyarrow as pa

        names = ("features", "numbers", "model", "labels", self.measure, "half_interval", "draws")
        rows = [(c.features, self.widths[c.features], c.model, c.n, c.score, c.half, len(c.values)) for c in self.cells]
        return pa.table({name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})

    def plot(self) -> Picture:
        """The best score of each kind of features over the number of labels."""
        lines = {}
        for features in self.widths:
            best = [self.best(features, n).score for n in self.sizes]
            lines[features] = ([float(np.log10(n)) for n in self.sizes], best)
        return line_chart(lines, x_label="labels, as powers of ten", y_label=self.measure, log=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.name, "measure": self.measure, "held_out": self.n_test, "numbers": self.widths,
            "scores": self.to_table().to_pylist(),
            "compared": {
                str(n): {"code": ours.score, "model": ours.model, "without": theirs.score,
                         "without_is": f"{theirs.features}, {theirs.model}", "gain": gain, "half_interval": half}
                for n, (ours, theirs, gain, half) in ((n, self.compared(n)) for n in self.sizes)
            },
            "verdict": self.verdict(), "remarks": self.remarks,
        }  # fmt: skip


def probe(
    model: Model,
    rows: Any,
    *,
    label: str,
    kind: str = "auto",
    draws: int = 5,
    most: int = 10_000,
    boosted: bool = True,
    seed: int = 0,
    watch: Callable[[int, int], Any] = lambda done, of: None,
) -> Probed:
    """Compare raw, PCA and code features with linear, neighbour and boosted models at 10, 100, 1,000 and all labels.

    Args:
        label: the column to be told; or a file with a label a row; or 'folder', which each picture is in.
        kind: 'classes', 'numbers', or 'auto': words and few whole numbers are classes.
        draws: how often few labels are drawn.
        most: training rows at most, chosen at random; that many labels are then all.
        boosted: leave out boosted trees, which take most of the time.
        seed: the same seed holds out and draws the same rows.
    """
    if draws < 1 or most < 4:
        raise SpecError(f"draws is at least 1 and most at least 4, got {draws} and {most}.")
    found = labelled(model, rows, label, kind=kind).few(seed)
    remarks = list(found.remarks)
    found = found.take(np.flatnonzero(found.known))
    fit, test = _split(found, most, seed)
    if len(fit) + len(test) < found.n:
        remarks.append(
            f"{len(fit):,} rows were fitted and {len(test):,} held out, of {found.n:,} that have a label (--most)"
        )
    classes = 0 if found.classes is None else len(found.classes)
    ways = features_of(model, found.rows, fit, test)
    y = torch.from_numpy(np.asarray(found.y, dtype=np.int64 if classes else np.float32))
    sizes = [*(n for n in SIZES if n < 0.8 * len(fit)), len(fit)]
    if classes > sizes[0]:
        remarks.append(
            f"{sizes[0]:,} labels for {classes} classes: at least {classes - sizes[0]} classes are never shown, and "
            f"their rows count as wrong"
        )
    plan = _plan(sizes, classes, draws, boosted)
    cells, done, of = [], 0, len(ways) * sum(times for *_, times in plan)
    truth = y[test].numpy()
    spread = float(np.var(truth)) or 1.0
    with devices.threads_for(1e8, torch.device("cpu")), torch.no_grad():
        for n, name, judge, times in plan:
            picked = [
                torch.from_numpy(drawn(found.y[fit], found.classes, n, np.random.default_rng([seed, n, d])))
                for d in range(times)
            ]
            for way in ways:
                values = []
                for shown in picked:
                    said = judge(way, shown, y[fit][shown], classes)
                    values.append(said == truth if classes else 1 - (said - truth) ** 2 / spread)
                    done += 1
                    watch(done, of)
                cells.append(Cell(way.name, name, n, np.array(values, np.float32)))
    widths = {way.name: way.train.shape[1] for way in ways}
    return Probed(cells, found.name, "accuracy" if classes else "R²", sizes, len(test), widths, remarks)


def _plan(sizes: Sequence[int], classes: int, draws: int, boosted: bool) -> list[tuple[int, str, Any, int]]:
    """Labels, model, its function, draws."""
    plan = []
    for n in sizes:
        whole = n == sizes[-1]
        for name, judge in SUPERVISED.items():
            if name == "boosted" and not boosted:
                continue
            times = 1 if whole else min(draws, _FEW_DRAWS) if name == "boosted" else draws
            plan.append((n, name, judge, times))
        if classes and n * _ROOM <= sizes[-1] and not whole:
            plan += [(n, name, judge, draws) for name, judge in WITH_ALL_ROWS.items()]
    return plan


def _split(found: Labelled, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places that are fitted and held out, every class (as far as it goes) in both."""
    n, g = found.n, np.random.default_rng(seed)
    m = min(round(_SHARE * n), _MOST_TEST)
    if m < 2:
        raise DataError(f"{n} rows have a label: too few to hold some out. Bring at least 8.")
    test = drawn(found.y, found.classes, m, g)
    fit = np.setdiff1d(np.arange(n), test)
    if len(fit) > most:
        fit = fit[drawn(found.y[fit], found.classes, most, g)]
    if len(np.unique(found.y[fit])) < 2:
        raise DataError(
            f"Of {found.name!r} one class alone has more than a row: nothing can be told apart. Label more."
        )
    return fit, test


def features_of(model: Model, rows: Rows, fit: np.ndarray, test: np.ndarray) -> list[Features]:
    """Raw rows as networks are shown them (scaled, levels one-hot), as many components of PCA as codes have numbers,
    and codes.
    """
    both = rows.take(np.concatenate([fit, test]))
    n = len(fit)
    code = torch.from_numpy(model.encode(both)).flatten(1)
    x = tensors_of(both, model.modality, model.conditions, steered=False)
    likelihood, k = model.net.likelihood, code.shape[1]
    if isinstance(x["x"], Sparse):
        raw, pca, linear = _few_columns(x["x"], n), *_lsa(x["x"], n, k)
    else:
        with torch.inference_mode():
            where = model.device
            raw = torch.cat([
                likelihood.represent(*(b.get(name) if b.get(name) is None else b[name].to(where)
                                       for name in ("x", "observed"))).flatten(1).cpu()
                for b in in_order(x, 4096)
            ])  # fmt: skip
        raw = raw.clone()
        found_pca = fit_pca(lambda: raw[:n].split(4096), k)
        pca, linear = (raw - found_pca.mean) @ found_pca.components.T, "PCA"
    named = {"raw": raw, f"{linear}-{pca.shape[1]}": pca, f"code-{k}": code.clone()}
    return [Features(name, values[:n], values[n:]) for name, values in named.items()]


def _few_columns(x: Sparse, n: int) -> Tensor:
    """Of many columns those that most training rows have something in: the words that are in most documents."""
    counts = torch.bincount(x[:n].columns.long(), minlength=x.width)
    kept = counts.topk(min(_MOST_COLUMNS, x.width)).indices.sort().values
    return torch.cat([dense({"x": x[at : at + 1024]})["x"][:, kept] for at in range(0, len(x), 1024)])


def _lsa(x: Sparse, n: int, k: int) -> tuple[Tensor, str]:
    found = fit_lsa(*x[:n].parts(), x.width, k)
    down = found.components.T
    return torch.cat([x[at : at + 1024].dense() @ down for at in range(0, len(x), 1024)]), "LSA"


def _error(values: np.ndarray) -> float:
    """The standard error of the mean of values (draws, rows), both being chance."""
    draws, rows = values.shape
    by_row, by_draw = values.mean(0, dtype=np.float64), values.mean(1, dtype=np.float64)
    variance = by_row.var(ddof=1) / rows if rows > 1 else 0.0
    return float((variance + (by_draw.var(ddof=1) / draws if draws > 1 else 0.0)) ** 0.5)


def _listed(sizes: Sequence[int]) -> str:
    return (
        " and ".join([", ".join(f"{n:,}" for n in sizes[:-1]), f"{sizes[-1]:,}"]) if len(sizes) > 1 else f"{sizes[0]:,}"
    )
