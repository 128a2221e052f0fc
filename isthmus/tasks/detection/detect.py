"""Anomaly detection: a score, a conformal p-value, a line between usual and strange, and the reason in words.

.. math:: p = \\frac{1 + \\#\\{s_{\\text{held out}} \\ge s\\}}{n + 1}, \\qquad s = \\sum_j c_j + r
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.rows import Rows
from isthmus.errors import SpecError
from isthmus.modalities.long import Grid, Part, tracks_of
from isthmus.tasks.detection.detection import Detection
from isthmus.tasks.detection.judged import check_both, judge, take_labels
from isthmus.tasks.detection.pictures import Leaving
from isthmus.tasks.detection.reasons import Expectation
from isthmus.tasks.detection.stamps import FlaggedInTime, OverTime, over_part, over_time
from isthmus.tasks.detection.threshold import Line, all_strange, by_budget, by_fdr, by_labels, by_rate, flagged_words
from isthmus.tasks.detection.tiled import ByTile, by_tile
from isthmus.tasks.sweep import Sweep

if TYPE_CHECKING:
    from isthmus.model import Model

#: Rows of which a sweep remembers why they are strange.
_WORST = 10


def detect(
    model: Model,
    rows: Any,
    *,
    false_alarm_rate: float = 0.01,
    fdr: float | None = None,
    budget: int | None = None,
    labels: Any = None,
) -> Detection | Sweep:
    """Score rows and flag the strange ones: those that usual rows would be less often than ``false_alarm_rate``,
    unless another rule is asked for. Of rows that are read in stretches nothing is kept: see :class:`Sweep`.

    Args:
        false_alarm_rate: the share of normal rows, like those that were held out, that may be flagged.
        fdr: flag so that this share of the flagged rows at most is normal (Benjamini and Hochberg's rule).
        budget: flag this many rows, the strangest.
        labels: what tells of some rows whether they are anomalies (1, true, anomaly) or not (0, false, normal), and
            chooses the threshold: a column, a file with one a row, folder (the one that each file is in).

    Raises:
        SpecError: more than one rule is asked for, or a rate is none.
        DataError: rows that the model cannot take, or labels that cannot be read or are of one kind.
    """
    if not 0 < false_alarm_rate < 1:
        raise SpecError(f"false_alarm_rate is between 0 and 1, got {false_alarm_rate}. Say 0.01 for one in a hundred.")
    asked = [name for name, said in (("fdr", fdr), ("budget", budget), ("labels", labels)) if said is not None]
    if len(asked) > 1:
        raise SpecError(f"{' and '.join(asked)} each choose the threshold, and one can: say one of them.")
    rows = rows if isinstance(rows, Part) else model.open(rows)
    if isinstance(rows, Rows) and rows.large:
        return in_stretches(model, rows, false_alarm_rate, fdr, budget, labels)
    bare, known = rows, None
    if labels is not None:
        bare, known = take_labels(rows, labels, lambda name: name in model.modality.looks_at)
    found, look = _ways(model, rows)
    brought = look(model, bare, rows)
    scores = brought["contributions"].reshape(len(brought["rest"]), -1).sum(1, dtype=np.float64) + brought["rest"]
    p_values = model.p_values(scores)
    judged = None if known is None else judge(scores, p_values, known, false_alarm_rate)
    if fdr is not None:
        line = by_fdr(model, p_values, fdr)
    elif budget is not None:
        line = by_budget(model, scores, budget)
    elif judged is not None:
        line = by_labels(scores, judged)
    else:
        line = by_rate(model, p_values, false_alarm_rate)
    shifted = all_strange(int((p_values <= false_alarm_rate).sum()), len(p_values), false_alarm_rate)
    return found(
        scores=scores,
        p_values=p_values,
        anomalies=line.anomalies,
        false_alarm_rate=false_alarm_rate,
        threshold=line.threshold,
        n_calibration=_n(model),
        how=line.how,
        more=line.more + ([shifted] if shifted else []),
        judged=judged,
        line=model.detector.line(),
        **brought,
    )


def in_stretches(model: Model, rows: Rows, rate: float, fdr: float | None, budget: int | None, labels: Any) -> Sweep:
    """The same of large rows. A false discovery rate, a budget and labels look at all scores before anything is
    flagged, which takes a pass of its own, and 16 bytes a row.
    """
    known = None
    if labels is not None:
        known = take_labels(rows, labels, lambda name: name in model.modality.looks_at)[1]
        check_both(known)
    grid: Grid | None = None
    tally: Callable[[Callable[[], Line], float], Flagged | FlaggedInTime] = Flagged
    if model.on_recordings:
        grid, tally = Grid(tracks_of(rows), model.modality.layout), FlaggedInTime
        rows = rows.replace(kind="places", data=grid.tracks)

    def found_in(some: Rows) -> Detection:
        found = detect(model, some if grid is None else grid.part(some), false_alarm_rate=rate)
        assert isinstance(found, Detection)
        return found

    lines: list[Line] = []

    def line() -> Line:
        if not lines and fdr is None and budget is None and known is None:
            lines.append(by_rate(model, np.zeros(0), rate))
        elif not lines:
            each = map(found_in, rows.chunks(model.stretch))
            # two numbers a row are all that stays
            scores, p_values = map(np.concatenate, zip(*((f.scores, f.p_values) for f in each), strict=True))
            if fdr is not None:
                lines.append(by_fdr(model, p_values, fdr))
            elif budget is not None:
                lines.append(by_budget(model, scores, budget))
            else:
                assert known is not None
                lines.append(by_labels(scores, judge(scores, p_values, known, rate)))
        return lines[0]

    def look(some: Rows) -> Detection:
        found, drawn = found_in(some), line()
        flags = drawn.anomalies[some.first : some.first + len(some)] if len(drawn.anomalies) else found.anomalies
        return replace(found, anomalies=flags, threshold=drawn.threshold, how=drawn.how)

    told = f"detect {rate} {fdr} {budget}" + ("" if known is None else f" {hashlib.sha256(known).hexdigest()}")
    leaving = Leaving if rows.kind == "image" else None
    return Sweep(
        model, rows, look, tally(line, rate), told, Detection.to_table, leaving, () if grid is None else grid.remarks
    )


class Flagged:
    """How many rows of all stretches were flagged, and the strangest of them."""

    def __init__(self, line: Callable[[], Line], rate: float):
        self._line, self.rate = line, rate
        self.n = self.found = self.beyond = 0
        self.worst: list[dict[str, Any]] = []

    def add(self, found: Detection, rows: Rows) -> None:
        self.n, self.found = self.n + len(rows), self.found + int(found.anomalies.sum())
        self.beyond += int((found.p_values <= self.rate).sum())
        for i in found.worst(_WORST):
            if len(self.worst) < _WORST or found.scores[i] > self.worst[-1]["score"]:
                name = rows.names[i] if rows.names else rows.first + i
                self.worst.append({
                    "row": name, "score": float(found.scores[i]), "p_value": float(found.p_values[i]),
                    "anomaly": bool(found.anomalies[i]), "why": [str(reason) for reason in found.reasons(i)],
                })  # fmt: skip
                # of equals the first, as in memory
                self.worst = sorted(self.worst, key=lambda one: -one["score"])[:_WORST]

    def state(self) -> dict[str, Any]:
        return {"n": self.n, "found": self.found, "beyond": self.beyond, "worst": self.worst}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.n, self.found, self.beyond, self.worst = (state[name] for name in ("n", "found", "beyond", "worst"))

    @property
    def line(self) -> Line:
        return self._line()

    def _remarks(self) -> list[str]:
        shifted = all_strange(self.beyond, self.n, self.rate)
        return self.line.more + ([shifted] if shifted else [])

    def summary(self) -> list[str]:
        at = self.line.threshold
        lines = [flagged_words(self.found, self.n, self.line.how, at), *self._remarks()]
        flagged = [one for one in self.worst if one["anomaly"]]
        called = (f"row {one['row']}" if isinstance(one["row"], int) else one["row"] for one in flagged[:5])
        return lines + [
            f"{name}: score {one['score']:.4g}, " + "; ".join(one["why"])
            for name, one in zip(called, flagged, strict=False)
        ]

    def to_json(self) -> dict[str, Any]:
        at = self.line.threshold
        return {"rows": self.n, "found": self.found, "how": self.line.how, "remarks": self._remarks(),
                "false_alarm_rate": self.rate, "threshold": at if np.isfinite(at) else None,
                "labels": self.line.judged and self.line.judged.to_json(), "worst": self.worst[:5]}  # fmt: skip


def _ways(model: Model, rows: Rows | Part) -> tuple[type[Detection], Callable[..., dict[str, Any]]]:
    """What is found in such rows, and what looks at them."""
    if isinstance(rows, Part):
        return OverTime, over_part
    if model.on_recordings:
        return OverTime, over_time
    return (ByTile, by_tile) if model.on_tiles else (Detection, _row_by_row)


def _row_by_row(model: Model, bare: Rows, rows: Rows) -> dict[str, Any]:
    """What rows bring to their scores, and what is shown of them; ``bare`` are those that the model takes."""
    entries, rest, mean = model.contributions(bare, expected=bool(model.modality.names))
    usual, usual_rest = model.usual
    expectation = Expectation(model.modality, mean, model.spread) if model.modality.names else None
    return {"contributions": entries, "rest": rest, "usual": usual, "usual_rest": usual_rest, "rows": rows,
            "expectation": expectation}  # fmt: skip


def _n(model: Model) -> int:
    return 0 if model.calibration is None else len(model.calibration)
