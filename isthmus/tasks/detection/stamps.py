"""Anomalies in recordings: a score for every time stamp, of the windows that hold it.

.. math:: s_t = \\frac{1}{|\\{i : t \\in W_i\\}|} \\sum_{i : t \\in W_i} s(W_i)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from isthmus.data.rows import Rows
from isthmus.modalities.array import cast
from isthmus.tasks.detection.detection import Detection
from isthmus.tasks.detection.reasons import told_apart
from isthmus.tasks.detection.threshold import all_strange, flagged_words

if TYPE_CHECKING:
    from isthmus.modalities.long import Part
    from isthmus.modalities.recording import Layout
    from isthmus.model import Model
    from isthmus.picture import Picture
    from isthmus.tasks.detection.threshold import Line

#: Channels that a drawing has room for, and runs of flagged stamps that are told.
_DRAWN, _TOLD = 4, 5


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
    }


def over_part(model: Model, part: Part, rows: Part) -> dict[str, Any]:
    """The same of some rows of recordings that are read in stretches."""
    layout: Layout = model.modality.layout
    paid = model.paid(part.windows)
    usual, usual_rest = model.usual_of_steps
    brought, begins, several = part.rows, part.begins, part.several
    back = back_over_time(model, part)
    stamps = tuple(layout.when(brought, begins, several))
    return {
        "contributions": paid.channels,
        "rest": paid.rest,
        "usual": usual,
        "usual_rest": usual_rest,
        "rows": Rows("table", layout.table(brought, begins, several), brought.origin, stamps),
        "expectation": Course(layout.names(model.modality.channels), back),
    }


def back_over_time(model: Model, part: Part) -> Any:
    """What comes back for such rows, as a table."""
    layout: Layout = model.modality.layout
    values = layout.give_back(part.rows, model.reconstruct(part.windows), lambda v: cast(v, model.modality.dtype))
    return layout.table(_as_brought(part.rows, values), part.begins, part.several)


def _as_brought(rows: Rows, back: Any) -> Rows:
    """What came back, as rows like those that were brought."""
    if rows.kind == "recordings":
        return rows.replace(data=back if isinstance(back, list) else [back])
    return rows.replace(data=back)


@dataclass
class OverTime(Detection):
    """What is found in recordings: rows are their stamps."""

    beyond: ClassVar[str] = "the course of time"

    def summary(self) -> list[str]:
        return self.verdict() + told(self)

    def plot(self) -> Picture:
        """The signals over time, and the score below them."""
        from isthmus.picture import timeline

        gained = self.gained.clip(min=0).sum(0)
        chosen = sorted(np.argsort(-gained, kind="stable")[:_DRAWN])
        table = self.rows.data
        return timeline(
            {self.names[j]: np.asarray(table[self.names[j]].to_numpy(), dtype=float) for j in chosen},
            self.scores,
            threshold=self.threshold,
            flagged=self.anomalies,
            stamps=self.rows.names,
        )


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


def told(found: Detection, most: int = _TOLD) -> list[str]:
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


class FlaggedInTime:
    """How many stamps of all stretches of recordings were flagged, and the strangest runs of them.

    A run that a cut goes through stays open until the stretch behind it has been seen.
    """

    def __init__(self, line: Callable[[], Line], rate: float):
        self._line, self.rate = line, rate
        self.n = self.found = self.beyond = self.runs = 0
        self.worst: list[dict[str, Any]] = []
        self.open: dict[str, Any] | None = None

    def add(self, found: Detection, rows: Rows) -> None:
        self.n, self.found = self.n + len(rows), self.found + int(found.anomalies.sum())
        self.beyond += int((found.p_values <= self.rate).sum())
        names = found.rows.names
        assert names is not None
        listed = sorted(stretches(found), key=lambda one: one.begin)
        if self.open is not None and (not listed or listed[0].begin > 0):
            self._close()
        # of thousands only the strangest need words
        told = {id(one) for one in sorted(listed, key=lambda one: -found.scores[one.worst])[:_TOLD]}
        for one in listed:
            said = self._said(found, one, names) if id(one) in told or one.end == len(names) or not one.begin else None
            if said is None:
                self.runs += 1
                continue
            if self.open is not None:
                said = _both(self.open, said)
            self.open = said
            if one.end < len(names):
                self._close()

    def _said(self, found: Detection, one: Stretch, names: Sequence[str]) -> dict[str, Any]:
        return {
            "row": names[one.worst], "begin": names[one.begin], "end": names[one.end - 1],
            "stamps": one.end - one.begin,
            "score": float(found.scores[one.worst]), "p_value": float(found.p_values[one.worst]), "anomaly": True,
            "why": [str(reason) for reason in found.reasons(one.worst)],
        }  # fmt: skip

    def _close(self) -> None:
        assert self.open is not None
        self.runs += 1
        # of equals the first, as in memory
        self.worst = sorted([*self.worst, self.open], key=lambda one: -one["score"])[:_TOLD]
        self.open = None

    def state(self) -> dict[str, Any]:
        return {"n": self.n, "found": self.found, "beyond": self.beyond, "runs": self.runs, "worst": self.worst,
                "open": self.open}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        self.n, self.found, self.beyond, self.runs = (state[name] for name in ("n", "found", "beyond", "runs"))
        self.worst, self.open = state["worst"], state["open"]

    def _remarks(self) -> list[str]:
        shifted = all_strange(self.beyond, self.n, self.rate)
        return self._line().more + ([shifted] if shifted else [])

    def _told(self) -> list[dict[str, Any]]:
        return sorted([*self.worst, *([self.open] if self.open else [])], key=lambda one: -one["score"])[:_TOLD]

    def summary(self) -> list[str]:
        line, listed = self._line(), self._told()
        lines = [flagged_words(self.found, self.n, line.how, line.threshold), *self._remarks()]
        for one in listed:
            span = one["begin"] if one["stamps"] == 1 else f"{one['begin']} to {one['end']} ({one['stamps']:,} stamps)"
            lines.append(f"{span}: score {one['score']:.4g} at {one['row']}, " + "; ".join(one["why"]))
        more = self.runs + (self.open is not None) - len(listed)
        return lines + ([f"and {more:,} more stretches"] if more > 0 else [])

    def to_json(self) -> dict[str, Any]:
        line = self._line()
        at = line.threshold
        return {"rows": self.n, "found": self.found, "how": line.how, "remarks": self._remarks(),
                "false_alarm_rate": self.rate, "threshold": at if np.isfinite(at) else None,
                "labels": line.judged and line.judged.to_json(), "worst": self._told()}  # fmt: skip


def _both(first: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Two runs of flagged stamps, of which one goes on where the other ends."""
    strangest = then if then["score"] > first["score"] else first
    stamps = first["stamps"] + then["stamps"]
    return {**strangest, "begin": first["begin"], "end": then["end"], "stamps": stamps}
