"""What a head says of rows that are read in stretches: counted, and held against labels where these are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.tasks.features.heads import Predicted
    from isthmus.tasks.features.labelled import Labelled


class Said:
    """A class or a number for each row, and how many of them the ``known`` labels confirm."""

    def __init__(self, name: str, classes: list[Any] | None, known: Labelled | None, more: tuple[str, ...] = ()):
        self.name, self.classes, self.known, self.more = name, classes, known, more
        self.n = self.unsure = self.right = self.judged = 0
        self.counts = Counter[str]()
        self.low, self.high, self.squares = np.inf, -np.inf, 0.0
        self.first = list[str]()

    def add(self, found: Predicted, rows: Rows) -> None:
        self.first = self.first or found.glimpse()
        self.n += len(rows)
        if found.probabilities is None:
            self.low, self.high = (
                min(self.low, float(found.values.min())),
                max(self.high, float(found.values.max())),
            )
        else:
            self.counts.update(map(str, found.values.tolist()))
            self.unsure += int((found.probabilities.max(1) < 0.5).sum())
        if self.known is None:
            return
        y = self.known.y[rows.first : rows.first + len(rows)]
        if self.known.classes is None:
            there = np.isfinite(y)
            self.squares += float(((y - found.values) ** 2)[there].sum())
        else:
            there = y >= 0
            truth = self.known.classes[y[there].astype(int)]
            self.right += int((truth.astype(str) == found.values[there].astype(str)).sum())
        self.judged += int(there.sum())

    @property
    def score(self) -> float | None:
        """The share told right, or R²."""
        if self.known is None or not self.judged:
            return None
        if self.known.classes is not None:
            return self.right / self.judged
        y = self.known.y[self.known.known]
        return 1 - self.squares / max(float(((y - y.mean()) ** 2).sum()), 1e-30)

    def state(self) -> dict[str, Any]:
        ends = [self.low, self.high] if self.n and self.classes is None else None
        return {"n": self.n, "unsure": self.unsure, "right": self.right, "judged": self.judged, "ends": ends,
                "counts": dict(self.counts), "squares": self.squares, "first": self.first}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        for name in ("n", "unsure", "right", "judged", "squares", "first"):
            setattr(self, name, state[name])
        self.counts = Counter(state["counts"])
        self.low, self.high = state["ends"] or (np.inf, -np.inf)

    def summary(self) -> list[str]:
        ends = (self.low, self.high) if self.classes is None else None
        counts = [(self.counts[str(c)], str(c)) for c in self.classes or ()]
        lines = said_words(self.n, self.name, ends, counts, self.unsure, self.score, self.judged)
        return [*lines, *(f"! {remark}" for remark in self.more)]

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.n, "label": self.name, "classes": self.classes, "score": self.score,
                "judged": self.judged, "remarks": list(self.more)}  # fmt: skip


def said_words(
    n: int,
    name: str,
    ends: tuple[float, float] | None,
    counts: Sequence[tuple[int, str]],
    unsure: int,
    score: float | None,
    judged: int,
) -> list[str]:
    """What was said of n rows, and how much of it is right, for people."""
    if ends is not None:
        lines = [f"{n:,} numbers for {name}, from {ends[0]:.4g} to {ends[1]:.4g}"]
    else:
        ranked = sorted(counts, reverse=True)
        shown = ", ".join(f"{c} {k:,}" for k, c in ranked[:8]) + (", …" if len(ranked) > 8 else "")
        lines = [f"{n:,} rows: {shown}"] + [f"{unsure:,} of them are below one half for every class"] * bool(unsure)
    if score is not None:
        what = "R²" if ends is not None else "told right:"
        shown = f"{score:.3f}" if ends is not None else f"{score:.1%}"
        lines.append(f"{what} {shown} of the {judged:,} rows with a label")
    return lines
