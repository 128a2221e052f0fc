"""Anomaly detection: nats, a conformal p-value, and the reason in words.

.. math:: s(x) = -\\log p(x \\mid z) + \\mathrm{cost}(z), \\qquad
    p = \\frac{1 + \\#\\{s_{\\text{held out}} \\ge s\\}}{n + 1}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from isthmus.data.rows import Rows
from isthmus.data.sink import save_rows, to_pandas
from isthmus.errors import SpecError
from isthmus.tasks.base import Result

if TYPE_CHECKING:
    from isthmus.model import Model
    from isthmus.picture import Picture

#: Reasons given per row.
TOP = 3


@dataclass(frozen=True)
class Reason:
    """A column (or region) that made a row strange: what it was, what was expected, its share of the surprise."""

    name: str
    observed: str
    expected: str
    share: float

    def __str__(self) -> str:
        told = f" {self.observed}, expected {self.expected}" if self.observed else ""
        return f"{self.name}{told} ({self.share:.0%})"


@dataclass
class Detection(Result):
    """Scores in nats (higher is stranger), p-values, and which rows are flagged at the promised rate.

    ``contributions`` (n, *shape) are nats above what the held-out rows usually pay for that entry, and
    ``code_contribution`` (n,) the same for the code: an unusual combination of otherwise usual values.
    """

    scores: np.ndarray
    p_values: np.ndarray
    anomalies: np.ndarray
    contributions: np.ndarray
    code_contribution: np.ndarray
    false_alarm_rate: float
    threshold: float
    n_calibration: int
    rows: Rows
    names: list[str] = field(default_factory=list)
    expected: Any = None
    #: Whether rows are the stamps of recordings (isthmus.tasks.stamps).
    over_time: bool = False

    def reasons(self, i: int) -> list[Reason]:
        """The entries that contributed most to row ``i``, strongest first; none where nothing stands out."""
        gained = self.contributions[i].clip(min=0)
        total = float(gained.sum() + max(self.code_contribution[i], 0.0))
        if total <= 0:
            return []
        if not self.names:
            return [_region(gained, total)]
        found = [
            Reason(self.names[j], *self._told(i, j), float(gained[j]) / total)
            for j in np.argsort(-gained)[:TOP]
            if gained[j] > 0.05 * total
        ]
        code = max(float(self.code_contribution[i]), 0.0) / total
        if code > 0.05:
            found.append(Reason("the course of time" if self.over_time else "the combination of columns", "", "", code))
        return sorted(found, key=lambda reason: -reason.share)[:TOP]

    def _told(self, i: int, j: int) -> tuple[str, str]:
        data, name = self.rows.data, self.names[j]
        if self.rows.kind == "table":
            return _words(data[name][i].as_py(), self.expected[name][i].as_py())
        return _words(data[i].ravel()[j], np.asarray(self.expected[i]).ravel()[j])

    def to_table(self) -> Any:
        """The input's own columns, then ``score, p_value, anomaly``, the three top entries, and why (if flagged)."""
        import pyarrow as pa

        if self.rows.kind == "table":
            columns = {name: self.rows.data[name] for name in self.rows.data.column_names}
        else:
            columns = {"row": self.rows.names or np.arange(len(self.scores))}
        found: dict[str, Any] = {"score": self.scores, "p_value": self.p_values, "anomaly": self.anomalies}
        if self.names:
            order = np.argsort(-self.contributions, axis=1)[:, :TOP]
            for k in range(order.shape[1]):
                found[f"top_{k + 1}"] = pa.DictionaryArray.from_arrays(order[:, k].astype(np.int32), self.names).cast(
                    pa.string()
                )
        why = [None] * len(self.scores)
        for i in np.flatnonzero(self.anomalies):
            why[i] = "; ".join(map(str, self.reasons(int(i))))
        found["why"] = pa.array(why, pa.string())
        # the input's own columns keep their names
        return pa.table(columns | {f"isthmus_{n}" if n in columns else n: v for n, v in found.items()})

    def to_frame(self) -> Any:
        return to_pandas(self.to_table())

    def save(self, path: Path) -> list[Path]:
        return save_rows(self.to_table(), path)

    def worst(self, n: int = 5) -> list[int]:
        """The indices of the strangest rows, strangest first."""
        return [int(i) for i in np.argsort(-self.scores, kind="stable")[:n]]

    def summary(self) -> list[str]:
        n, found = len(self.scores), int(self.anomalies.sum())
        lines = [
            f"{found:,} of {n:,} rows flagged ({found / max(n, 1):.2%}) at a promised false-alarm rate of "
            f"{self.false_alarm_rate:.2%}: scores of {self.threshold:.4g} nats and more"
        ]
        least = 1 / (self.n_calibration + 1)
        if least > self.false_alarm_rate:
            lines.append(
                f"{self.n_calibration} held-out rows can promise a rate of {least:.2%} at the least, so nothing "
                "was flagged: ask for that, or fit on more rows"
            )
        if self.over_time:
            from isthmus.tasks.stamps import told

            return lines + told(self)
        for i in self.worst():
            if self.anomalies[i]:
                name = self.rows.names[i] if self.rows.names else f"row {i}"
                lines.append(f"{name}: score {self.scores[i]:.4g}, " + "; ".join(map(str, self.reasons(i))))
        return lines

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": len(self.scores),
            "anomalies": np.flatnonzero(self.anomalies).tolist(),
            "false_alarm_rate": self.false_alarm_rate,
            "threshold": self.threshold if np.isfinite(self.threshold) else None,
            "worst": [
                {"row": i, "score": float(self.scores[i]), "p_value": float(self.p_values[i]),
                 "why": [str(reason) for reason in self.reasons(i)]}
                for i in self.worst()
            ],
        }  # fmt: skip

    def plot(self) -> Picture:
        """The histogram of scores with the threshold; of recordings, the signal with the score under it."""
        if self.over_time:
            from isthmus.tasks.stamps import drawn

            return drawn(self)
        from isthmus.picture import histogram

        return histogram(self.scores, threshold=self.threshold if np.isfinite(self.threshold) else None)


def detect(model: Model, rows: Any, *, false_alarm_rate: float = 0.01) -> Detection:
    """Score rows and flag those that normal rows would produce less often than ``false_alarm_rate``.

    Args:
        false_alarm_rate: the share of normal rows, like those that were held out, that may be flagged.
    """
    if not 0 < false_alarm_rate < 1:
        raise SpecError(f"false_alarm_rate is between 0 and 1, got {false_alarm_rate}. Say 0.01 for one in a hundred.")
    rows = model.open(rows)
    if model.on_recordings:
        from isthmus.tasks.stamps import detect_stamps

        return detect_stamps(model, rows, false_alarm_rate)
    entries, cost, mean = model.contributions(rows)
    scores = entries.reshape(len(entries), -1).sum(1, dtype=np.float64) + cost
    p_values = model.p_values(scores)
    usual, usual_cost = model.usual
    return Detection(
        scores=scores,
        p_values=p_values,
        anomalies=p_values <= false_alarm_rate,
        # what is missing costs nothing, and that is no reason
        contributions=np.where(entries == 0, 0, entries - usual),
        code_contribution=cost - usual_cost,
        false_alarm_rate=false_alarm_rate,
        threshold=model.threshold(false_alarm_rate),
        n_calibration=len(model.calibration),
        rows=rows,
        names=model.modality.names,
        expected=model.modality.from_tensors(torch.from_numpy(mean)) if model.modality.names else None,
    )


def _words(observed: Any, expected: Any) -> tuple[str, str]:
    """Two cells with as many digits as it takes to tell them apart.

    >>> _words(9123456.0, 4000), _words(1.0, 1.00002), _words("tcp", None)
    (('9.123e+06', '4000'), ('1', '1.00002'), ("'tcp'", 'missing'))
    """
    for digits in (4, 6, 9):
        words = _word(observed, digits), _word(expected, digits)
        if words[0] != words[1]:
            break
    return words


def _word(value: Any, digits: int = 4) -> str:
    """A cell as a person would write it."""
    if value is None or value != value:
        return "missing"
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | float | np.number):
        return f"{float(value):.{digits}g}"
    return repr(value) if isinstance(value, str) else str(value)


def _region(gained: np.ndarray, total: float) -> Reason:
    """The window of an image or of time, an eighth of its side, that holds most of the surprise."""
    image = np.atleast_2d(gained.sum(0))
    height, width = image.shape
    h, w = max(1, height // 8), max(1, width // 8)
    sums = np.pad(image, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    windows = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    top, left = np.unravel_index(windows.argmax(), windows.shape)
    name = f"{_span('row', top, h)}, {_span('column', left, w)}" if gained.ndim == 3 else _span("step", left, w)
    return Reason(name, "", "", float(windows.max()) / total)


def _span(what: str, start: int, length: int) -> str:
    """The pixels or steps of a window.

    >>> _span("row", 3, 1), _span("column", 4, 3)
    ('row 3', 'columns 4–6')
    """
    return f"{what} {start}" if length == 1 else f"{what}s {start}–{start + length - 1}"
