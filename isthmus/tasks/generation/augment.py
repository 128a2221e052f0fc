"""More rows for a classifier, if they help: what is drawn is kept only where held-out rows say that it pays.

.. math:: \\bar\\Delta - t_{k-1} \\sqrt{\\bigl(\\tfrac1k + \\tfrac{n_2}{n_1}\\bigr)\\, s^2_\\Delta} > 0

Δ is the gain in accuracy on a split's held-out rows, of a classifier fitted to real and drawn rows over the same one
fitted to the real rows alone. Splits share rows, which the term n₂/n₁ (held out ÷ fitted) makes up for.

References:
    Nadeau and Bengio, Inference for the Generalization Error, 2003 (the interval).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.labels import find_labels, nothing
from isthmus.data.rows import Rows
from isthmus.data.sink import as_table, save_rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.base import Result

#: A class needs so many rows, and there are at most so many classes.
_LEAST, _MOST_CLASSES = 8, 100
#: Rows that the check is made on at most, and the share of them that is held out.
_MOST, _HELD = 20_000, 0.3
#: The one-sided chance at which a gain is believed.
_CHANCE = 0.05
#: Rows of more entries than this are told apart by randomised trees, which are quick there.
_WIDE = 64


@dataclass
class Augmented(Result):
    """``rows`` as they were brought, with their ``labels`` (a column of a table); None where they do not help.

    ``alone`` and ``with_drawn`` are the accuracies of each split, and ``gain`` their mean difference within ``low`` and
    ``high``, of which the augmentation is kept where ``low`` is above 0.
    """

    rows: Any
    labels: np.ndarray | None
    alone: np.ndarray
    with_drawn: np.ndarray
    low: float
    high: float
    helps: bool
    remarks: list[str]

    @property
    def gain(self) -> float:
        return float((self.with_drawn - self.alone).mean())

    def to_table(self) -> Any:
        import pyarrow as pa

        if self.rows is None:
            return pa.table({})
        table = as_table(self.rows)
        return table if hasattr(self.rows, "column_names") else table.append_column("label", pa.array(self.labels))

    def save(self, path: Path) -> list[Path]:
        path = Path(path)
        if self.rows is None:
            return []
        if path.suffix or hasattr(self.rows, "column_names"):
            return save_rows(self.to_table(), path)
        assert self.labels is not None
        digits = len(str(len(self.labels)))
        names = [f"{_file_name(label)}/drawn_{i:0{digits}}.png" for i, label in enumerate(self.labels)]
        return save_rows(self.rows, path, names)

    def summary(self) -> list[str]:
        k = len(self.alone)
        lines = [
            f"held-out accuracy over {k} splits: {self.alone.mean():.2%} on real rows, {self.with_drawn.mean():.2%} "
            f"with drawn ones: {self.gain:+.2%} ({self.low:+.2%} to {self.high:+.2%})"
        ]
        if self.helps:
            lines.append("yes: the drawn rows help")
        elif self.rows is None:
            lines.append("no: nothing says that drawn rows help here, so none are written (--anyway writes them)")
        else:
            lines.append("no: nothing says that drawn rows help here; they are written because you said so")
        return [*(f"! {line}" for line in self.remarks), *lines]

    def to_json(self) -> dict[str, Any]:
        return {
            "helps": self.helps, "rows": 0 if self.rows is None else len(self.rows), "gain": self.gain, "low": self.low,
            "high": self.high, "alone": self.alone.tolist(), "with_drawn": self.with_drawn.tolist(),
            "remarks": self.remarks,
        }  # fmt: skip


def augment(
    source: Any,
    label: Any,
    *,
    times: float = 2.0,
    recipe: str = "plain",
    splits: int = 5,
    seed: int = 0,
    anyway: bool = False,
    max_time: float | None = None,
    modality: str | None = None,
    told: Callable[[str], Any] = lambda line: None,
) -> Augmented:
    """Draw more rows of each class, and check on held-out rows whether a classifier gains by them.

    Args:
        label: As of :func:`isthmus.data.labels.find_labels`. A row without one teaches the autoencoder alone.
        times: With the drawn rows there are this many times as many as without, of every class.
        recipe: Of the autoencoder, which never sees a label nor a row that judges it.
        splits: How often the rows are split into those that are fitted and those that are held out.
        anyway: Draw rows even where they do not help.
        max_time: Seconds for each fit.
        modality: As of :meth:`isthmus.Model.fit`.
        told: Called with a line when a split is done.
    """
    if not (np.isfinite(times) and times > 1):
        raise SpecError(f"times is how many rows there are in the end ÷ those there are now: above 1; got {times}.")
    if splits < 2:
        raise SpecError(f"A gain needs at least 2 splits to be believed; got {splits}.")
    rows = open_rows(source, kind=modality).in_memory("The check of an augmentation needs")
    brought = find_labels(rows, label)
    rows, column = brought.bare(), brought.column
    if column is not None and not rows.data.num_columns:
        raise DataError(f"{rows.origin} has no column but {column!r}: there is nothing to draw.")
    labels, remarks = _classes(brought.cells.tolist(), column)
    unlabelled, known = rows.take(labels == ""), np.flatnonzero(labels != "")
    plan = Plan(seed=seed, max_time=max_time)

    def fitted(some: Rows) -> Model:
        everything = _together(some, unlabelled)
        return Model.fit(everything, recipe, plan=plan, parts={"detector": "likelihood"}, modality=modality)

    generator = np.random.default_rng(seed)
    if len(known) > _MOST:
        remarks.append(f"checked on {_MOST:,} of {len(known):,} rows, chosen at random")
    checked = generator.permutation(known)[:_MOST]
    alone, with_drawn = [], []
    for split in range(splits):
        held = _held(labels[checked], generator)
        ours, theirs = checked[~held], checked[held]
        model = fitted(rows.take(ours))
        more, of = _more(model, rows.take(ours), labels[ours], times, seed + split)
        x, test = _seen(model, rows.take(ours)), _seen(model, rows.take(theirs))
        both = np.concatenate([x, _seen(model, model.open(more))])
        for found, data, answers in ((alone, x, labels[ours]), (with_drawn, both, np.append(labels[ours], of))):
            found.append(_accuracy(data, answers, test, labels[theirs], seed + split))
        told(f"split {split + 1} of {splits}: {alone[-1]:.2%} on real rows, {with_drawn[-1]:.2%} with drawn ones")
    low, high = interval(np.subtract(with_drawn, alone), _HELD / (1 - _HELD))
    helps = low > 0
    found_rows = found_labels = None
    if helps or anyway:
        model = fitted(rows.take(known))
        found_rows, found_labels = _more(model, rows.take(known), labels[known], times, seed)
        if column is not None:
            found_rows = _with_column(open_rows(source, kind=modality).data, found_rows, column, found_labels)
    return Augmented(
        found_rows, found_labels, np.array(alone), np.array(with_drawn), low, high, helps, remarks
    )  # fmt: skip


def interval(gains: np.ndarray, ratio: float) -> tuple[float, float]:
    """Between which a mean of ``gains`` (k,) over splits lies, at 5 % on either side; ``ratio`` is held out ÷ fitted.

    >>> low, high = interval(np.array([0.01, 0.02, 0.03]), 0.5)
    >>> low < 0 < 0.02 < high
    True
    """
    from scipy.stats import t

    k = len(gains)
    reach = float(t.ppf(1 - _CHANCE, k - 1) * ((1 / k + ratio) * gains.var(ddof=1)) ** 0.5)
    return float(gains.mean() - reach), float(gains.mean() + reach)


def _classes(cells: list[Any], column: str | None) -> tuple[np.ndarray, list[str]]:
    """Labels as text, "" where there is none or its class is too small to be checked; what was left out, in words."""
    what = "The label" if column is None else f"The label column {column!r}"
    labels = np.array(["" if nothing(cell) else str(cell) for cell in cells], object)
    remarks = []
    if missing := int((labels == "").sum()):
        remarks.append(f"{missing:,} rows have no label: they teach the autoencoder alone")
    names, counts = np.unique(labels[labels != ""].astype(str), return_counts=True)
    if len(names) < 2:
        raise DataError(f"{what} has {len(names)} class{'es' * (len(names) != 1)}: a classifier needs at least 2.")
    if len(names) > _MOST_CLASSES:
        raise DataError(
            f"{what} has {len(names):,} different values, more than {_MOST_CLASSES}: is it a number to be predicted? "
            "Augmentation is checked with a classifier; cut it into classes first."
        )
    few = names[counts < _LEAST]
    if len(names) - len(few) < 2:
        raise DataError(f"{what} has fewer than 2 classes of at least {_LEAST} rows, which the check needs.")
    if len(few):
        remarks.append(f"left out, with fewer than {_LEAST} rows each: {', '.join(map(repr, few[:5].tolist()))}")
        labels[np.isin(labels.astype(str), few)] = ""
    return labels, remarks


def _together(rows: Rows, others: Rows) -> Rows:
    if not len(others):
        return rows
    if rows.kind == "table":
        import pyarrow as pa

        return rows.replace(data=pa.concat_tables([rows.data, others.data]))
    names = None if rows.names is None or others.names is None else rows.names + others.names
    data = rows.data + others.data if isinstance(rows.data, list) else np.concatenate([rows.data, others.data])
    return rows.replace(data=data, names=names)


def _held(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Which rows are held out: the same share of every class."""
    held = np.zeros(len(labels), bool)
    for name in sorted(set(labels)):
        where = generator.permutation(np.flatnonzero(labels == name))
        held[where[: max(1, round(_HELD * len(where)))]] = True
    return held


def _more(model: Model, rows: Rows, labels: np.ndarray, times: float, seed: int) -> tuple[Any, np.ndarray]:
    """Drawn rows of each class, by the density of its own codes."""
    import pyarrow as pa

    drawn, of = [], []
    for name in sorted(set(labels)):
        own = rows.take(labels == name)
        n = max(1, round((times - 1) * len(own)))
        drawn.append(model.draw(n, seed=seed, sampling=model.sampling_of(own, flow=False)).rows)
        of += [name] * n
    if hasattr(drawn[0], "column_names"):
        return pa.concat_tables(drawn), np.array(of, object)
    return np.concatenate(drawn), np.array(of, object)


def _seen(model: Model, rows: Rows) -> np.ndarray:
    """Rows as the network sees them (n, entries), NaN where a cell is missing."""
    tensors = model.tensors(rows)
    x = tensors["x"].flatten(1).numpy().copy()
    if "observed" in tensors:
        x[~tensors["observed"].flatten(1).numpy()] = np.nan
    return x


def _accuracy(x: np.ndarray, labels: np.ndarray, test: np.ndarray, answers: np.ndarray, seed: int) -> float:
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

    if x.shape[1] > _WIDE:
        x, test = np.nan_to_num(x), np.nan_to_num(test)
        classifier: Any = ExtraTreesClassifier(200, random_state=seed)
    else:
        classifier = HistGradientBoostingClassifier(random_state=seed)
    classifier.fit(x, labels.astype(str))
    return float(np.mean(classifier.predict(test) == answers.astype(str)))


def _with_column(known: Any, drawn: Any, column: str, labels: np.ndarray) -> Any:
    """The drawn table with its labels, in the type and the place that the column had."""
    import pyarrow as pa

    of = {str(cell): cell for cell in known[column].to_pylist() if not nothing(cell)}
    cells = pa.array([of[name] for name in labels], known[column].type)
    names = [name for name in known.column_names if name == column or name in drawn.column_names]
    return pa.table({name: cells if name == column else drawn[name] for name in names})


def _file_name(label: object) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in str(label))
