"""Where the line is drawn between usual and strange: by a promised rate, by the false discovery rate, by a budget,
or by labels.

.. math:: p \\le \\alpha \\quad\\text{(rate)}, \\qquad
    b(p)_{(k)} \\le \\frac{k}{m}\\, q, \\ k \\text{ the largest} \\quad\\text{(false discoveries)}

All batches are held against the same calibration rows, and where chance made these tame, every batch has too many false
discoveries. b raises the p-values so far that they hold for the calibration rows at hand.

References:
    Benjamini and Hochberg, Controlling the False Discovery Rate, 1995 (:func:`discoveries`).
    Bates, Candès, Lei, Romano, Sesia, Testing for Outliers with Conformal p-values, 2023,
    https://arxiv.org/abs/2104.08279 (:func:`at_hand`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from isthmus.errors import SpecError
from isthmus.tasks.detection.judged import Judged

if TYPE_CHECKING:
    from isthmus.model import Model

#: How often, at most, the calibration rows are so tame that raised p-values are still too small.
_TAME = 0.5


@dataclass
class Line:
    """Which rows are flagged (n,), from which score on, how that came about (after "rows flagged"), and what else a
    person should know.
    """

    anomalies: np.ndarray
    threshold: float
    how: str
    more: list[str] = field(default_factory=list)
    judged: Judged | None = None


def by_rate(model: Model, p_values: np.ndarray, rate: float) -> Line:
    """Flag what usual rows would be less often than ``rate``."""
    threshold = model.threshold(rate)
    line = Line(p_values <= rate, threshold, f"at a promised false-alarm rate of {rate:.2%}")
    n = _n(model)
    if 1 / (n + 1) > rate:
        line.more.append(
            f"{n} calibration rows can promise a rate of {1 / (n + 1):.2%} at the least, so nothing was flagged: ask "
            f"for that (--false-alarm-rate {_rounded_up(1 / (n + 1)):g}), or fit on more rows"
        )
    return line


def by_fdr(model: Model, p_values: np.ndarray, fdr: float) -> Line:
    """Flag so that of the flagged rows a share of ``fdr`` at most is usual, on average over batches."""
    if not 0 < fdr < 1:
        raise SpecError(f"fdr is between 0 and 1, got {fdr}. Say 0.1 for one false discovery in ten.")
    m, n = len(p_values), _n(model)
    raised = at_hand(p_values, n)
    flagged = raised <= discoveries(raised, fdr)
    threshold = model.threshold(float(p_values[flagged].max())) if flagged.any() else math.inf
    line = Line(flagged, threshold, f"at a false discovery rate of {fdr:.2%}")
    smallest = float(at_hand(np.array([1 / (n + 1)]), n)[0])
    least = math.ceil(m * smallest / fdr - 1e-9)  # so many rows at the smallest p-value there must be
    if least > m:
        line.more.append(
            f"{n} calibration rows give p-values of {smallest:.2%} at the least, which can never reach a false "
            f"discovery rate of {fdr:.2%}: fit on more rows: it takes {_enough(fdr):,}"
        )
    elif least > 1 and not line.anomalies.any():
        line.more.append(
            f"with {n:,} calibration rows, fewer than {least:,} strange rows among {m:,} cannot be told from chance: "
            f"{_enough(fdr / m):,} of them would do for a single one, or bring rows in smaller batches"
        )
    return line


def at_hand(p_values: np.ndarray, n: int) -> np.ndarray:
    """Conformal p-values i/(n + 1), raised until they hold for the n calibration rows at hand, for all i together and
    for more than half of all such calibrations: the Simes bound of Bates et al. (2023).

    >>> at_hand(np.array([0.01, 0.02, 1]), 99).round(3)
    array([0.014, 0.028, 1.   ])
    """
    from scipy.special import gammaln

    k = max(1, n // 2)
    place = np.round(np.asarray(p_values) * (n + 1))
    j = n + 1 - place  # calibration rows that are less strange, and one more
    falling = gammaln(np.maximum(j, k) + 1) - gammaln(np.maximum(j, k) - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    return np.where(j >= k, -np.expm1((math.log(_TAME) + falling) / k), 1.0)


def _enough(p: float) -> int:
    """Calibration rows whose smallest raised p-value is ``p``."""
    return 2 * math.ceil(math.log(_TAME) / math.log1p(-p) - 1e-9)


def discoveries(p_values: np.ndarray, fdr: float) -> float:
    """The largest p-value that Benjamini and Hochberg's rule rejects at ``fdr``; 0 where it rejects none.

    >>> discoveries(np.array([0.01, 0.04, 0.03, 0.5]), 0.1)
    0.04
    """
    ranked = np.sort(p_values)
    below = np.flatnonzero(ranked <= fdr * np.arange(1, len(ranked) + 1) / len(ranked) + 1e-12)
    return float(ranked[below[-1]]) if len(below) else 0.0


def by_budget(model: Model, scores: np.ndarray, budget: int) -> Line:
    """Flag the ``budget`` strangest rows, and say what false-alarm rate that amounts to."""
    if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 1:
        raise SpecError(f"budget is a number of rows, at least 1; got {budget!r}.")
    chosen = np.argsort(-scores, kind="stable")[:budget]
    anomalies = np.zeros(len(scores), bool)
    anomalies[chosen] = True
    threshold = float(scores[chosen[-1]])
    rate = float(model.p_values(scores[chosen[-1:]])[0])
    line = Line(anomalies, threshold, f"for a budget of {budget:,}, which amounts to a false-alarm rate of {rate:.2%}")
    if budget > len(scores):
        line.more.append(f"the budget is {budget:,} and there are {len(scores):,} rows, so all of them are flagged")
    tied = int((scores[~anomalies] == threshold).sum())
    if tied:
        line.more.append(
            f"{tied:,} row(s) beyond the budget score the same as the last one in it; the first came first"
        )
    return line


def by_labels(scores: np.ndarray, judged: Judged) -> Line:
    """Flag from the score on that suits the labels best, and say what they tell."""
    n = judged.n_anomalous + judged.n_normal
    how = f"by {judged.rule} on {n:,} labelled rows"
    return Line(scores >= judged.threshold, judged.threshold, how, judged.summary(), judged)


def flagged_words(found: int, n: int, how: str, threshold: float) -> str:
    """How many rows are flagged, and how that came about."""
    from_ = f": scores of {threshold:.4g} and more" if np.isfinite(threshold) else ""
    return f"{found:,} of {n:,} rows flagged ({found / max(n, 1):.2%}) {how}{from_}"


def all_strange(beyond: int, n: int, rate: float) -> str | None:
    """What to say where most rows (``beyond`` of ``n``) are stranger than usual rows should be: that is no heap of
    anomalies.
    """
    share = beyond / max(n, 1)
    if n < 5 or share <= max(0.5, rate):
        return None
    return (
        f"{share:.0%} of the rows are stranger than all but {rate:.2%} of the usual ones: these rows look like another "
        "population (drift, another source, another unit) rather than like rows with anomalies among them. Look at the "
        "reasons; if this is the new usual, fit again on it"
    )


def _rounded_up(rate: float) -> float:
    """A rate that people can type, and not below what can be promised.

    >>> _rounded_up(1 / 17), _rounded_up(1 / 20)
    (0.0589, 0.05)
    """
    return math.ceil(rate * 1e4 - 1e-9) / 1e4


def _n(model: Model) -> int:
    assert model.calibration is not None  # p-values have asked for them
    return len(model.calibration)
