"""What detection finds: scores, p-values, flags, and what each entry of a row brings to its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from isthmus.data.rows import Rows
from isthmus.errors import SpecError
from isthmus.tasks.base import Result
from isthmus.tasks.detection import regions
from isthmus.tasks.detection.judged import Judged
from isthmus.tasks.detection.pictures import pixels, save_pictures
from isthmus.tasks.detection.reasons import TOP, Expectation, Reason, reasons
from isthmus.tasks.detection.threshold import flagged_words

if TYPE_CHECKING:
    from isthmus.picture import Picture

#: Entries that are ranked at once.
_GAINED = 1 << 22


@dataclass
class Detection(Result):
    """Scores (higher is stranger), p-values, and which rows are flagged from which score on.

    ``contributions`` (n, *shape) are what each entry brings to the score and ``rest`` (n,) what belongs to no entry;
    they add up to it; of sparse rows the entries are a ``scipy.sparse`` array. ``usual`` (*shape) and ``usual_rest``
    are what held-out rows pay on average: a reason is what lies above them. ``judged`` is what labels say, where there
    are some.
    """

    scores: np.ndarray
    p_values: np.ndarray
    anomalies: np.ndarray
    contributions: Any
    rest: np.ndarray
    false_alarm_rate: float
    threshold: float
    n_calibration: int
    rows: Rows
    usual: np.ndarray
    usual_rest: float
    how: str
    more: list[str] = field(default_factory=list)
    judged: Judged | None = None
    expectation: Any = None
    #: What a score holds that belongs to no entry.
    beyond: ClassVar[str] = "the combination of columns"
    #: Of pictures: the height of the heat map that one in a thousand places of usual pictures passes.
    line: float | None = None
    _cells: dict[int, tuple[dict[str, list[Any]], int]] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> list[str]:
        """What entries are called, where they have names."""
        return [] if self.expectation is None else self.expectation.names

    @property
    def gained(self) -> np.ndarray:
        """What each entry brings above what is usual for it (n, *shape); missing entries bring nothing."""
        return self._gained(slice(None))

    def _gained(self, rows: Any) -> np.ndarray:
        if isinstance(self.contributions, np.ndarray):
            entries = self.contributions[rows]
        else:
            entries = self.contributions[[rows] if isinstance(rows, int) else rows].toarray()
            entries = entries[0] if isinstance(rows, int) else entries
        return np.where(entries == 0, 0, entries - self.usual)

    def _told_of(self, rows: Any) -> np.ndarray:
        """What a row, or some rows, gained, by name where entries are told as one."""
        if not isinstance(self.expectation, Expectation) or self.expectation.groups is None:
            return self._gained(rows)
        return self.expectation.gained(self.contributions[rows], self.usual)

    @property
    def by_column(self) -> dict[str, np.ndarray]:
        """What each column brings to the score (n,), by name: of a table, where one may have many entries."""
        if not isinstance(self.expectation, Expectation):
            raise SpecError("Columns are of tables and arrays, and these rows have none. Ask for .contributions.")
        groups = self.expectation.groups or [(name, slice(j, j + 1)) for j, name in enumerate(self.names)]
        return {name: self.contributions[:, place].sum(1) for name, place in groups}

    def reasons(self, i: int) -> list[Reason]:
        """The entries that contributed most to row ``i``, strongest first; none where nothing stands out."""
        return self._reasons(i, self._told_of(i))

    def _reasons(self, i: int, gained: np.ndarray, order: np.ndarray | None = None) -> list[Reason]:
        rest = float(self.rest[i] - self.usual_rest)
        return reasons(gained, rest, self.names, lambda j: self._told(i, j), self.beyond, self.place(i), order)

    def _strongest(self) -> np.ndarray:
        """The entries that brought most to each row (n, TOP), the strongest first."""
        n, found = len(self.scores), []
        # some rows at a time, because all rows of a sparse array at once would be dense
        for begin in range(0, n, step := self._step):
            gained = self._told_of(slice(begin, begin + step))
            found.append(_top(gained.reshape(len(gained), -1), TOP))
        return np.concatenate(found)

    @property
    def _step(self) -> int:
        """Rows whose entries are looked at together."""
        return max(1, _GAINED // max(1, int(np.prod(self.contributions.shape[1:]))))

    def _told(self, i: int, j: int) -> tuple[str, str]:
        assert self.expectation is not None
        if not self.expectation.tells:
            return "", ""
        if self.rows.kind != "table":
            return self.expectation.words(i, j, self.rows.data[i].ravel()[j])
        if i not in self._cells:
            self._look_at([i])
        cells, place = self._cells[i]
        return self.expectation.words(i, j, cells[self.names[j]][place])

    def _look_at(self, rows: Sequence[int]) -> None:
        """Bring the cells of many rows, and what is expected of them, into Python at once: quicker than one by one."""
        new = [int(i) for i in rows if int(i) not in self._cells]
        if new and self.rows.kind == "table":
            cells = self.rows.data.take(new).to_pydict()
            self._cells |= {i: (cells, place) for place, i in enumerate(new)}
        if self.expectation is not None:
            self.expectation.prepare(rows)

    def to_table(self) -> Any:
        """The input's own columns, then ``score, p_value, anomaly``, the three top entries, and why (if flagged)."""
        import pyarrow as pa

        if self.rows.kind == "table":
            columns = {name: self.rows.data[name] for name in self.rows.data.column_names}
        else:
            columns = {"row": self.rows.names or self.rows.first + np.arange(len(self.scores))}
        found: dict[str, Any] = {"score": self.scores, "p_value": self.p_values, "anomaly": self.anomalies}
        if self.names:
            for k, order in enumerate(self._strongest().T, start=1):
                found[f"top_{k}"] = pa.DictionaryArray.from_arrays(order.astype(np.int32), self.names).cast(pa.string())
        why = [None] * len(self.scores)
        flagged = np.flatnonzero(self.anomalies)
        self._look_at(flagged)
        for begin in range(0, len(flagged), step := self._step):
            some = flagged[begin : begin + step]
            gained = self._told_of(some)
            ranks = np.argsort(-gained.clip(min=0), axis=1)[:, :TOP] if self.names else [None] * len(some)
            for i, one, order in zip(some.tolist(), gained, ranks, strict=True):
                why[i] = "; ".join(map(str, self._reasons(i, one, order)))
        found["why"] = pa.array(why, pa.string())
        # the input's own columns keep their names
        return pa.table(columns | {f"isthmus_{n}" if n in columns else n: v for n, v in found.items()})

    @property
    def heat_maps(self) -> np.ndarray | list[np.ndarray]:
        """Of pictures: what each pixel brings to the score, channels summed, as the network sees pictures (n, h, w);
        of pictures in tiles a list, each map as large as its picture (h, w).
        """
        if self.contributions.ndim != 4:
            raise SpecError("Heat maps are of pictures, and these rows are none. Ask for .contributions.")
        return self.contributions.sum(1)

    def heat_map(self, i: int) -> np.ndarray:
        """The heat map of picture ``i`` in its own size (height, width)."""
        map_ = self.contributions[i]
        if map_.ndim != 3:
            raise SpecError("Heat maps are of pictures, and these rows are none. Ask for .contributions.")
        return regions.resized(map_.sum(0), *pixels(self.rows, i).shape[:2])

    def place(self, i: int) -> Sequence[int]:
        """Where in picture ``i`` that begins which ``contributions`` tell of: its top and left."""
        return 0, 0

    def mask(self, i: int) -> np.ndarray:
        """Where picture ``i`` is stranger than the line, in its own size (height, width): True where it is."""
        return self.heat_map(i) >= self._line

    def boxes(self, i: int) -> list[regions.Box]:
        """Boxes (left, top, width, height) around what is strange in picture ``i``, in its own pixels."""
        return regions.boxes_of(self.mask(i))

    def overlay(self, i: int) -> np.ndarray:
        """Picture ``i`` with its heat map over it (height, width, 3), bytes."""
        return regions.overlay(pixels(self.rows, i), self.heat_map(i), self._line)

    @property
    def _line(self) -> float:
        # a detector that knows no line of its own: the height of one pixel in a thousand here
        if self.line is not None:
            return self.line
        return float(np.quantile(np.concatenate([map_.ravel() for map_ in self.heat_maps]), 0.999))

    def save(self, path: Path) -> list[Path]:
        """Write the table; pictures into a folder (a path without an ending): overlays, masks and boxes beside it."""
        if Path(path).suffix or self.contributions.ndim != 4:
            return super().save(path)
        return save_pictures(self, Path(path))

    def worst(self, n: int = 5) -> list[int]:
        """The indices of the strangest rows, strangest first."""
        return [int(i) for i in np.argsort(-self.scores, kind="stable")[:n]]

    def verdict(self) -> list[str]:
        """How many rows are flagged and how that came about, and what a person should know of it."""
        found = int(self.anomalies.sum())
        return [flagged_words(found, len(self.scores), self.how, self.threshold), *self.more]

    def summary(self) -> list[str]:
        lines = self.verdict()
        for i in self.worst():
            if self.anomalies[i]:
                name = self.rows.names[i] if self.rows.names else f"row {i}"
                lines.append(f"{name}: score {self.scores[i]:.4g}, " + "; ".join(map(str, self.reasons(i))))
        return lines

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": len(self.scores),
            "anomalies": np.flatnonzero(self.anomalies).tolist(),
            "how": self.how,
            "remarks": self.more,
            "false_alarm_rate": self.false_alarm_rate,
            "threshold": self.threshold if np.isfinite(self.threshold) else None,
            "labels": self.judged and self.judged.to_json(),
            "worst": [
                {"row": i, "score": float(self.scores[i]), "p_value": float(self.p_values[i]),
                 "why": [str(reason) for reason in self.reasons(i)]}
                for i in self.worst()
            ],
        }  # fmt: skip

    def plot(self) -> Picture:
        """The histogram of scores with the threshold."""
        from isthmus.picture import histogram

        return histogram(self.scores, threshold=self.threshold if np.isfinite(self.threshold) else None)


def _top(values: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest of each row (n, k), the largest first; of equals the first.

    >>> _top(np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]]), 2).tolist()
    [[1, 2], [0, 1]]
    """
    values, found = values.copy(), []
    rows = np.arange(len(values))
    for _ in range(min(k, values.shape[1])):
        best = values.argmax(1)
        found.append(best)
        values[rows, best] = -np.inf
    return np.stack(found, 1)
