"""What a few known labels say: how well scores rank, the threshold they choose, and how far to believe both.

.. math:: \\tau = \\arg\\max_\\tau F_1(\\tau), \\qquad F_1 = \\frac{2\\,TP}{2\\,TP + FP + FN}

A threshold looks good on the labels that chose it. So every labelled row is also judged by a threshold that was
chosen without it (ten folds), and these counts are the ones to believe. Intervals hold 95 %: of AUROC and average
precision by the bootstrap, of rates by draws from Beta(k + ½, n − k + ½), the Bayesian bootstrap with half a row
more on either side, so that none wrong of four is not taken for never wrong.

References:
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    Goutte and Gaussier, A Probabilistic Interpretation of Precision, Recall and F-Score, 2005.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.data.labels import find_labels, nothing
from isthmus.data.rows import Rows
from isthmus.errors import DataError

#: Unlabelled, normal, anomalous.
UNKNOWN, NORMAL, ANOMALY = -1, 0, 1
_NORMAL = frozenset(
    ("0", "false", "no", "n", "f", "normal", "ok", "good", "benign", "inlier", "usual", "negative", "neg")
)
_ANOMALY = frozenset(
    ("1", "true", "yes", "y", "t", "anomaly", "anomalous", "abnormal", "outlier", "attack", "fraud", "bad", "defect",
     "defective", "fault", "faulty", "malicious", "positive", "pos", "strange")
)  # fmt: skip
_FOLDS, _LEVEL = 10, 0.95
#: Bootstrap samples, fewer where rows are many and every interval is narrow.
_DRAWS, _LEAST_DRAWS, _MOST_WORK = 1000, 200, 20_000_000


@dataclass(frozen=True)
class Measure:
    """A number with the 95 % interval around it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Confusion:
    """Labelled rows by what they are and whether they are flagged."""

    caught: int
    missed: int
    false_alarms: int
    passed: int

    @classmethod
    def of(cls, anomalous: np.ndarray, flagged: np.ndarray) -> Confusion:
        """Two yes/no arrays (n,), row by row."""
        return cls(
            int((anomalous & flagged).sum()), int((anomalous & ~flagged).sum()),
            int((~anomalous & flagged).sum()), int((~anomalous & ~flagged).sum()),
        )  # fmt: skip

    def measures(self, seed: int = 0) -> dict[str, Measure]:
        """Recall, precision, F1 and the share of false alarms, each with its interval."""
        tp, fn, fp, tn = self.caught, self.missed, self.false_alarms, self.passed

        def of(recall: Any, alarms: Any, share: Any) -> dict[str, Any]:
            right, wrong = share * recall, (1 - share) * alarms
            precision = right / np.maximum(right + wrong, 1e-300)  # of nothing flagged, 0
            f1 = 2 * right / (share + right + wrong)
            return {"recall": recall, "precision": precision, "f1": f1, "false_alarms": alarms}

        g = np.random.default_rng(seed)
        draws = of(
            *(
                g.beta(k + 0.5, n - k + 0.5, 20_000)
                for k, n in ((tp, tp + fn), (fp, fp + tn), (tp + fn, tp + fn + fp + tn))
            )
        )
        found = of(*(np.float64(v) for v in (tp / (tp + fn), fp / (fp + tn), (tp + fn) / (tp + fn + fp + tn))))
        return {name: _measure(float(found[name]), draws[name]) for name in found}

    def to_json(self) -> dict[str, Any]:
        return {"caught": self.caught, "missed": self.missed, "false_alarms": self.false_alarms, "passed": self.passed}

    def __str__(self) -> str:
        positive, negative = self.caught + self.missed, self.false_alarms + self.passed
        return (
            f"{self.caught:,} of {positive:,} anomalies and {self.false_alarms:,} of {negative:,} normal rows flagged"
        )


@dataclass
class Judged:
    """What labels say of scores.

    ``at`` counts at the threshold, on the labels that chose it; ``crossed`` by thresholds that were chosen without
    the row that they judge, or None where only one row of a kind is labelled. ``promise`` is the share of the
    labelled normal rows whose p-value is at most ``rate``, the false-alarm rate that was promised.
    """

    labels: np.ndarray
    scores: np.ndarray
    threshold: float
    auroc: Measure
    average_precision: Measure
    at: Confusion
    crossed: Confusion | None
    rate: float
    promise: Measure
    promised: tuple[int, int]
    rule: str = "the best F1"
    measures: dict[str, Measure] = field(default_factory=dict)

    @property
    def n_anomalous(self) -> int:
        return int((self.labels == ANOMALY).sum())

    @property
    def n_normal(self) -> int:
        return int((self.labels == NORMAL).sum())

    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """(false-alarm rate, recall), from nothing flagged to everything."""
        right, wrong = self._counts()
        return wrong / wrong[-1], right / right[-1]

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """(recall, precision), a point per distinct score."""
        right, wrong = self._counts()
        return right[1:] / right[-1], right[1:] / (right[1:] + wrong[1:])

    def _counts(self) -> tuple[np.ndarray, np.ndarray]:
        known = self.labels != UNKNOWN
        groups = _Groups(self.scores[known], self.labels[known] == ANOMALY)
        return (np.concatenate([[0], groups.sums(w).cumsum()]) for w in (groups.anomalous, ~groups.anomalous))  # type: ignore[return-value]

    def summary(self) -> list[str]:
        n = self.n_anomalous + self.n_normal
        lines = [
            f"{n:,} rows are labelled, {self.n_anomalous:,} as anomalies: AUROC {self.auroc}, average precision "
            f"{self.average_precision}, with 95 % intervals"
        ]
        if self.auroc.low == self.auroc.high:
            lines.append("the labels are ranked without a mistake, and so is every resample of them: few labels "
                         "cannot tell how much less is possible")  # fmt: skip
        lines.append(f"the threshold is the score of {self.rule} on them: {self.at}, on the labels that chose it")
        if self.crossed is None:
            lines.append("only one row of a kind is labelled, so nothing tells how the threshold does on others: "
                         "label at least two of each")  # fmt: skip
        else:
            told = ", ".join(f"{name.replace('_', ' ')} {measure}" for name, measure in self.measures.items())
            lines.append(f"each judged by a threshold chosen without it: {self.crossed}; {told}")
        k, of = self.promised
        lines.append(
            f"at a promised false-alarm rate of {self.rate:.2%} the labels say {self.promise.value:.2%} "
            f"({self.promise.low:.2%} to {self.promise.high:.2%}): {k:,} of {of:,} labelled normal rows"
        )
        return lines

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule, "threshold": self.threshold, "anomalous": self.n_anomalous, "normal": self.n_normal,
            "auroc": self.auroc.to_json(), "average_precision": self.average_precision.to_json(),
            "at_threshold": self.at.to_json(), "chosen_without": self.crossed and self.crossed.to_json(),
            "measures": {name: measure.to_json() for name, measure in self.measures.items()},
            "promised_rate": self.rate, "found_rate": self.promise.to_json(),
        }  # fmt: skip


def judge(scores: np.ndarray, p_values: np.ndarray, labels: np.ndarray, rate: float, *, seed: int = 0) -> Judged:
    """Hold scores (n,) against labels (n,): ``ANOMALY``, ``NORMAL``, or ``UNKNOWN``, which do not count.

    Raises:
        DataError: not both kinds are among the labels.
    """
    check_both(labels)
    known = labels != UNKNOWN
    s, y = scores[known], labels[known] == ANOMALY
    threshold = best_threshold(s, y)
    crossed = _crossed(s, y, seed)
    auroc, precision = _ranked(s, y, seed)
    k, of = int((p_values[known][~y] <= rate).sum()), int((~y).sum())
    promise = _measure(k / of, np.random.default_rng(seed).beta(k + 0.5, of - k + 0.5, 20_000))
    return Judged(
        labels, scores, threshold, auroc, precision, Confusion.of(y, s >= threshold), crossed, rate, promise, (k, of),
        measures={} if crossed is None else crossed.measures(seed),
    )  # fmt: skip


def check_both(labels: np.ndarray) -> None:
    """Refuse labels of one kind.

    Raises:
        DataError: not both kinds are among them.
    """
    y = labels[labels != UNKNOWN] == ANOMALY
    n = len(y)
    if not y.any() or y.all():
        raise DataError(
            f"{'All' if n else 'None'} of the {n if n else len(labels):,} {'labels say' if n else 'rows has a label'}"
            f"{' anomaly' if n and y.all() else ' normal' if n else ''}: a threshold is chosen between both kinds. "
            "Label some of the other, or leave the labels out and say a false_alarm_rate."
        )


def best_threshold(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """The threshold of the best F1, in the middle of the gap below the last row that is flagged; of equals the
    highest.
    """
    groups = _Groups(scores, anomalous)
    right, wrong = groups.sums(groups.anomalous).cumsum(), groups.sums(~groups.anomalous).cumsum()
    best = int(np.argmax(2 * right / (right + wrong + right[-1])))
    last = groups.values[best]
    below = groups.values[best + 1] if best + 1 < len(groups.values) else last
    return float(last + (below - last) / 2)


class _Groups:
    """Rows by falling score, equal scores together."""

    def __init__(self, scores: np.ndarray, anomalous: np.ndarray):
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.anomalous = anomalous[self.order]
        self.starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        self.values = ranked[self.starts]

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Weights of ranked rows → their sum per distinct score."""
        return np.add.reduceat(weights.astype(np.float64), self.starts)

    def ranking(self, anomalous: np.ndarray, normal: np.ndarray) -> tuple[float, float]:
        """AUROC and average precision, where each ranked row counts by its weight."""
        right, wrong = self.sums(anomalous), self.sums(normal)
        so_far, false = right.cumsum(), wrong.cumsum()
        auroc = (wrong * (so_far - right / 2)).sum() / (so_far[-1] * false[-1])
        flagged = so_far + false
        precision = np.divide(so_far, flagged, out=np.zeros_like(flagged), where=flagged > 0)
        return float(auroc), float((right * precision).sum() / so_far[-1])


def _ranked(scores: np.ndarray, anomalous: np.ndarray, seed: int) -> tuple[Measure, Measure]:
    groups, g = _Groups(scores, anomalous), np.random.default_rng(seed)
    sides = [np.flatnonzero(side) for side in (groups.anomalous, ~groups.anomalous)]
    draws = []
    for _ in range(int(np.clip(_MOST_WORK // len(scores), _LEAST_DRAWS, _DRAWS))):
        weights = np.zeros((2, len(scores)))
        for w, side in zip(weights, sides, strict=True):  # each kind by itself, so that both are in every sample
            w[side] = np.bincount(g.integers(len(side), size=len(side)), minlength=len(side))
        draws.append(groups.ranking(*weights))
    found = groups.ranking(groups.anomalous.astype(float), (~groups.anomalous).astype(float))
    return tuple(_measure(v, d) for v, d in zip(found, np.array(draws).T, strict=True))  # type: ignore[return-value]


def _crossed(scores: np.ndarray, anomalous: np.ndarray, seed: int) -> Confusion | None:
    """Every row judged by the threshold of the other folds; both kinds are spread evenly over the folds."""
    folds = min(_FOLDS, int(anomalous.sum()), int((~anomalous).sum()))
    if folds < 2:
        return None
    g, fold = np.random.default_rng(seed), np.empty(len(scores), np.int64)
    for side in (anomalous, ~anomalous):
        fold[side] = g.permutation(np.arange(int(side.sum())) % folds)
    flagged = np.zeros(len(scores), bool)
    for k in range(folds):
        flagged[fold == k] = scores[fold == k] >= best_threshold(scores[fold != k], anomalous[fold != k])
    return Confusion.of(anomalous, flagged)


def _measure(value: float, draws: np.ndarray) -> Measure:
    low, high = np.nanquantile(draws, ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2))
    # none of ten is 0 %, and an interval holds its own value
    return Measure(value, min(value, float(low)), max(value, float(high)))


# -- labels as people write them ----------------------------------------------------------------


def take_labels(rows: Rows, said: Any, used: Callable[[str], bool] | None = None) -> tuple[Rows, np.ndarray]:
    """The rows without their column of labels, and the labels (n,): ``ANOMALY``, ``NORMAL`` or ``UNKNOWN``.

    ``said`` is as of :func:`isthmus.data.labels.find_labels`; ``used`` tells whether the model knows a column.

    Raises:
        DataError: no such labels, not one a row, or of a column that the model knows.
    """
    found = find_labels(rows, said)
    if found.column is not None and used is not None and used(found.column):
        raise DataError(
            f"The model was fitted with the column {found.column!r} as one of its own, so its scores know the labels. "
            f"Fit again without: --column {found.column}=ignore."
        )
    return found.bare(), found.each(lambda cells: as_labels(cells, found.name))


def as_labels(said: list[Any], name: str = "the labels") -> np.ndarray:
    """Labels as people write them → ``ANOMALY``, ``NORMAL``, ``UNKNOWN``.

    >>> as_labels(["normal", "neptune", None, "smurf"]).tolist(), as_labels([0, 1.0, float("nan")]).tolist()
    ([0, 1, -1, 1], [0, 1, -1])
    >>> as_labels([1, -1, 1]).tolist()  # as scikit-learn has it
    [0, 1, 0]
    """
    words = [_word(v) for v in said]
    found = {word for word in words if word is not None}
    normal = found & _NORMAL
    if found <= {"-1", "1"} and "-1" in found:
        normal, strange = found & {"1"}, {"-1"}
    elif found <= _NORMAL | _ANOMALY or len(normal) == 1:
        strange = found - normal  # beside "normal" every other word is the name of an anomaly
    else:
        raise DataError(
            f"{name!r} holds {', '.join(map(repr, sorted(found)[:6]))}, which says not what is normal. "
            "Labels are 0 and 1, true and false, 'normal' and anything else, or -1 for anomalies beside 1."
        )
    return np.array([UNKNOWN if w is None else ANOMALY if w in strange else NORMAL for w in words], np.int8)


def _word(value: Any) -> str | None:
    if nothing(value) or value != value or str(value).strip() == "<NA>":
        return None
    if isinstance(value, int | float | np.number | np.bool_):
        return f"{float(value):g}"
    return str(value).strip().lower()
