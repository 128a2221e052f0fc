"""Anomalies in recordings: a score for every time stamp, of the windows that hold it.

.. math:: s_t = \\frac{1}{|\\{i : t \\in W_i\\}|} \\sum_{i : t \\in W_i} s(W_i)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.rows import Rows
from isthmus.tasks.detect import Detection

if TYPE_CHECKING:
    from isthmus.modalities.recording import Layout
    from isthmus.model import Model
    from isthmus.picture import Picture

#: Channels that a drawing has room for.
_DRAWN = 4


def detect_stamps(model: Model, rows: Rows, false_alarm_rate: float) -> Detection:
    """Score every stamp of recordings; one line each, in the order in which they were brought."""
    layout: Layout = model.modality.layout
    paid = model.paid(rows)
    usual, usual_rest = model.usual_of_steps
    scores = paid.score
    p_values = model.p_values(scores)
    table = layout.table(rows)
    names = layout.names(model.modality.channels)
    back = layout.table(as_brought(rows, model.reconstruct(rows)))
    return Detection(
        scores=scores,
        p_values=p_values,
        anomalies=p_values <= false_alarm_rate,
        contributions=paid.channels - usual,
        code_contribution=paid.rest - usual_rest,
        false_alarm_rate=false_alarm_rate,
        threshold=model.threshold(false_alarm_rate),
        n_calibration=len(model.calibration),
        rows=Rows("table", table, rows.origin, tuple(layout.when(rows))),
        names=names,
        expected=back,
        over_time=True,
    )


def as_brought(rows: Rows, back: Any) -> Rows:
    """What came back, as rows like those that were brought."""
    if rows.kind == "recordings":
        return rows.replace(data=back if isinstance(back, list) else [back])
    return rows.replace(data=back)


@dataclass(frozen=True)
class Stretch:
    """Flagged stamps that follow each other: from where to where, and the strangest of them."""

    begin: int
    end: int
    worst: int


def stretches(found: Detection) -> list[Stretch]:
    """The flagged stretches, strangest first."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], found.anomalies.astype(int), [0]])))
    ends = edges.reshape(-1, 2)
    listed = [Stretch(int(a), int(b), int(a + found.scores[a:b].argmax())) for a, b in ends]
    return sorted(listed, key=lambda one: -found.scores[one.worst])


def told(found: Detection, most: int = 5) -> list[str]:
    """The strangest stretches in words."""
    names = found.rows.names
    assert names is not None
    listed = stretches(found)
    lines = []
    for one in listed[:most]:
        n = one.end - one.begin
        span = names[one.begin] if n == 1 else f"{names[one.begin]} to {names[one.end - 1]} ({n:,} stamps)"
        why = "; ".join(map(str, found.reasons(one.worst)))
        lines.append(f"{span}: score {found.scores[one.worst]:.4g} at {names[one.worst]}, {why}")
    if len(listed) > most:
        lines.append(f"and {len(listed) - most:,} more stretches")
    return lines


def drawn(found: Detection) -> Picture:
    """The signals over time, and the score below them."""
    from isthmus.picture import timeline

    gained = found.contributions.clip(min=0).sum(0)
    chosen = sorted(np.argsort(-gained, kind="stable")[:_DRAWN])
    table = found.rows.data
    return timeline(
        {found.names[j]: np.asarray(table[found.names[j]].to_numpy(), dtype=float) for j in chosen},
        found.scores,
        threshold=found.threshold,
        flagged=found.anomalies,
        stamps=found.rows.names,
    )
