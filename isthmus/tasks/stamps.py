"""Anomalies in recordings: a score for every time stamp, of the windows that hold it.

.. math:: s_t = \\frac{1}{|\\{i : t \\in W_i\\}|} \\sum_{i : t \\in W_i} s(W_i)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.rows import Rows
from isthmus.tasks.detect import told_apart

if TYPE_CHECKING:
    from isthmus.modalities.recording import Layout
    from isthmus.model import Model
    from isthmus.picture import Picture
    from isthmus.tasks.detect import Detection

#: Channels that a drawing has room for.
_DRAWN = 4


@dataclass
class Course:
    """What the model expects at every stamp, in the rows' own units; the channels by name."""

    names: list[str]
    back: Any
    tells: bool = True

    def prepare(self, rows: Sequence[int]) -> None:
        """Everything is in its own units already."""

    def words(self, i: int, j: int, observed: Any) -> tuple[str, str]:
        """The observed cell and the expected one, as people would write them."""
        return told_apart(observed, self.back[self.names[j]][i].as_py())


def over_time(model: Model, bare: Rows, rows: Rows) -> dict[str, Any]:
    """What every stamp of recordings brings to its score, one line each in the order in which they were brought, and
    what is shown of them. ``bare`` are those that the model takes.
    """
    layout: Layout = model.modality.layout
    paid = model.paid(bare)
    usual, usual_rest = model.usual_of_steps
    back = layout.table(_as_brought(bare, model.reconstruct(bare)))
    return {
        "contributions": paid.channels,
        "rest": paid.rest,
        "usual": usual,
        "usual_rest": usual_rest,
        "rows": Rows("table", layout.table(rows), rows.origin, tuple(layout.when(rows))),
        "expectation": Course(layout.names(model.modality.channels), back),
        "over_time": True,
    }


def _as_brought(rows: Rows, back: Any) -> Rows:
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

    gained = found.gained.clip(min=0).sum(0)
    chosen = sorted(np.argsort(-gained, kind="stable")[:_DRAWN])
    table = found.rows.data
    return timeline(
        {found.names[j]: np.asarray(table[found.names[j]].to_numpy(), dtype=float) for j in chosen},
        found.scores,
        threshold=found.threshold,
        flagged=found.anomalies,
        stamps=found.rows.names,
    )
