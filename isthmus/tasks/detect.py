"""Anomaly detection: a score, a conformal p-value, a line between usual and strange, and the reason in words.

.. math:: p = \\frac{1 + \\#\\{s_{\\text{held out}} \\ge s\\}}{n + 1}, \\qquad s = \\sum_j c_j + r
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from isthmus.data.rows import Rows
from isthmus.errors import SpecError
from isthmus.modalities.long import Grid, Part, tracks_of
from isthmus.tasks import regions
from isthmus.tasks.base import Result
from isthmus.tasks.judged import Judged, check_both, judge, take_labels
from isthmus.tasks.pictures import Leaving, pixels, save_pictures
from isthmus.tasks.sweep import Sweep
from isthmus.tasks.threshold import Line, all_strange, by_budget, by_fdr, by_labels, by_rate

if TYPE_CHECKING:
    from isthmus.modalities.base import Modality
    from isthmus.model import Model
    from isthmus.picture import Picture
    from isthmus.tasks.stamps import FlaggedInTime

#: Reasons given per row.
TOP = 3
#: Rows of which a sweep remembers why they are strange.
_WORST = 10
#: Cells that are numbers, and those that only look like some.
_NUMBERS, _FLAGS = (int, float, np.number), (bool, np.bool_)
#: Entries that are ranked at once.
_GAINED = 1 << 22


@dataclass(frozen=True)
class Reason:
    """A column (or region) that made a row strange: what it was, what was expected, its share of the score.

    >>> print(Reason("bytes_out", "9.1e+06", "4000 ± 1000", 0.71))
    bytes_out 9.1e+06, expected 4000 ± 1000: 71 % of the score
    """

    name: str
    observed: str
    expected: str
    share: float
    of: str = "the score"

    def __str__(self) -> str:
        told = f" {self.observed}, expected {self.expected}" if self.observed else ""
        return f"{self.name}{told}: {100 * self.share:.0f} % of {self.of}"


@dataclass
class Expectation:
    """What the model expects of the entries of rows, and how far from it usual rows are, in the rows' own units.

    ``mean`` (n, *shape) is what comes back, ``spread`` (*shape) the distance that 68 % of the held-out rows keep to
    it; both as networks see rows. None where an old model file does not hold it. Of sparse rows nothing is said to be
    expected (``mean`` None): that a word is there at all is the reason.
    """

    modality: Modality
    mean: np.ndarray | None
    spread: np.ndarray | None
    _known: dict[int, tuple[Any, tuple[int, int, int]]] = field(default_factory=dict, repr=False)

    @cached_property
    def groups(self) -> list[tuple[str, slice]] | None:
        """Entries that are told as one, by name; None where each is told by itself."""
        return self.modality.groups

    @cached_property
    def names(self) -> list[str]:
        """What is told of is called: entries, or what they are told as."""
        return self.modality.names if self.groups is None else [name for name, _ in self.groups]

    def gained(self, entries: np.ndarray, usual: np.ndarray) -> np.ndarray:
        """What everything that is told of brings beyond the usual: (…, entries) → (…, names); what is missing brings
        nothing.
        """
        if self.groups is None:
            return np.where(entries == 0, 0, entries - usual)
        # most are told of one entry, and need no sum
        starts = [place.start for _, place in self.groups]
        found, expected = entries.take(starts, -1), usual.take(starts, -1)
        there = found != 0
        for j, (_, place) in enumerate(self.groups):
            if place.stop - place.start > 1:
                some = entries[..., place]
                found[..., j], expected[j], there[..., j] = some.sum(-1), usual[place].sum(), (some != 0).any(-1)
        return np.where(there, found - expected, 0)

    @property
    def tells(self) -> bool:
        """Whether anything is said to be expected."""
        return self.mean is not None

    def prepare(self, rows: Sequence[int]) -> None:
        """Bring many rows into their own units at once, which is quicker than one by one."""
        new = [int(i) for i in rows if int(i) not in self._known]
        if not new or not self.tells:
            return
        assert self.mean is not None
        mean, n = torch.from_numpy(self.mean[new]), len(new)
        away = 0 if self.spread is None else torch.from_numpy(self.spread)
        raw = self.modality.from_tensors(torch.cat([mean, mean - away, mean + away]))
        raw = raw.to_pydict() if hasattr(raw, "column_names") else np.asarray(raw).reshape(3 * n, -1)
        self._known |= {i: (raw, (k, n + k, 2 * n + k)) for k, i in enumerate(new)}

    def words(self, i: int, j: int, observed: Any) -> tuple[str, str]:
        """The observed cell and the expected one ± the usual deviation, as people would write them."""
        if i not in self._known:
            self.prepare([i])
        raw, (at, below, above) = self._known[i]
        column = raw[self.names[j]] if isinstance(raw, dict) else raw[:, j]
        expected, low, high = column[at], column[below], column[above]
        if (own := self.modality.told(self.names[j], observed, expected)) is not None:
            return own
        said, wanted = told_apart(observed, expected)
        entry = j if self.groups is None else self.groups[j][1].start
        if self.spread is not None and _is_number(low) and _is_number(high) and self.spread.ravel()[entry] > 0:
            half = (float(high) - float(low)) / 2
            if half > 0:
                wanted += f" ± {half:.2g}"
        return said, wanted


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
    #: Whether rows are the stamps of recordings (isthmus.tasks.stamps).
    over_time: bool = False
    #: Of pictures: the height of the heat map that one in a thousand places of usual pictures passes.
    line: float | None = None
    #: Of pictures in tiles: the whole pictures (isthmus.tasks.tiled), whose strangest tile ``contributions`` tell of.
    whole: Any = None
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
        beyond = "the course of time" if self.over_time else "the combination of columns"
        rest = float(self.rest[i] - self.usual_rest)
        at = (0, 0) if self.whole is None else self.whole.places[i]
        return reasons(gained, rest, self.names, lambda j: self._told(i, j), beyond, at, order)

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
        if self.whole is not None:
            return [self._own_size(i) for i in range(len(self.scores))]
        return self.contributions.sum(1)

    def mask(self, i: int) -> np.ndarray:
        """Where picture ``i`` is stranger than the line, in its own size (height, width): True where it is."""
        return self._own_size(i) >= self._line

    def boxes(self, i: int) -> list[regions.Box]:
        """Boxes (left, top, width, height) around what is strange in picture ``i``, in its own pixels."""
        return regions.boxes_of(self.mask(i))

    def overlay(self, i: int) -> np.ndarray:
        """Picture ``i`` with its heat map over it (height, width, 3), bytes."""
        return regions.overlay(pixels(self.rows, i), self._own_size(i), self._line)

    @property
    def _line(self) -> float:
        # a detector that knows no line of its own: the height of one pixel in a thousand here
        if self.line is not None:
            return self.line
        return float(np.quantile(np.concatenate([map_.ravel() for map_ in self.heat_maps]), 0.999))

    def _own_size(self, i: int) -> np.ndarray:
        map_ = self.contributions[i]
        if map_.ndim != 3:
            raise SpecError("Heat maps are of pictures, and these rows are none. Ask for .contributions.")
        size = pixels(self.rows, i).shape[:2]
        return regions.resized(map_.sum(0), *size) if self.whole is None else self.whole.own_size(i, *size)

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
        """The histogram of scores with the threshold; of recordings, the signal with the score under it."""
        if self.over_time:
            from isthmus.tasks.stamps import drawn

            return drawn(self)
        from isthmus.picture import histogram

        return histogram(self.scores, threshold=self.threshold if np.isfinite(self.threshold) else None)


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
    look = _over_time if model.on_recordings else _by_tile if model.on_tiles else _row_by_row
    look = _over_part if isinstance(rows, Part) else look
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
    return Detection(
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
    if labels is not None and model.on_recordings:
        rows.in_memory("labels of recordings need")
    known = None
    if labels is not None:
        known = take_labels(rows, labels, lambda name: name in model.modality.looks_at)[1]
        check_both(known)
    grid: Grid | None = None
    tally: Callable[[Callable[[], Line], float], Flagged | FlaggedInTime] = Flagged
    if model.on_recordings:
        from isthmus.tasks import stamps

        grid, tally = Grid(tracks_of(rows), model.modality.layout), stamps.FlaggedInTime
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


def flagged_words(found: int, n: int, how: str, threshold: float) -> str:
    """How many rows are flagged, and how that came about."""
    from_ = f": scores of {threshold:.4g} and more" if np.isfinite(threshold) else ""
    return f"{found:,} of {n:,} rows flagged ({found / max(n, 1):.2%}) {how}{from_}"


def _row_by_row(model: Model, bare: Rows, rows: Rows) -> dict[str, Any]:
    """What rows bring to their scores, and what is shown of them; ``bare`` are those that the model takes."""
    entries, rest, mean = model.contributions(bare, expected=bool(model.modality.names))
    usual, usual_rest = model.usual
    expectation = Expectation(model.modality, mean, model.spread) if model.modality.names else None
    return {"contributions": entries, "rest": rest, "usual": usual, "usual_rest": usual_rest, "rows": rows,
            "expectation": expectation}  # fmt: skip


def _over_time(model: Model, bare: Rows, rows: Rows) -> dict[str, Any]:
    """The same of recordings, for every stamp."""
    from isthmus.tasks.stamps import over_time

    return over_time(model, bare, rows)


def _over_part(model: Model, bare: Part, rows: Part) -> dict[str, Any]:
    """The same of some rows of recordings that are read in stretches."""
    from isthmus.tasks.stamps import over_part

    return over_part(model, rows)


def _by_tile(model: Model, bare: Rows, rows: Rows) -> dict[str, Any]:
    """The same of pictures in tiles, by the strangest tile."""
    from isthmus.tasks.tiled import by_tile

    return by_tile(model, bare, rows)


def reasons(
    gained: np.ndarray,
    rest: float,
    names: Sequence[str],
    told: Callable[[int], tuple[str, str]],
    beyond: str = "the combination of columns",
    at: Sequence[int] = (0, 0),
    order: np.ndarray | None = None,
) -> list[Reason]:
    """The entries that contributed most, strongest first. ``gained`` (*shape) and ``rest`` are above the usual;
    ``told`` says of entry j what it was and what was expected; ``beyond`` is what belongs to no entry; ``at`` is where
    in a picture its first pixel stands; ``order`` are the entries that gained most, where they are known.
    """
    gained = gained.clip(min=0)
    total = float(gained.sum() + max(rest, 0.0))
    if total <= 0:
        return []
    if not names:
        return [_region(gained, at)] if gained.any() else []
    found = [
        Reason(names[j], *told(int(j)), float(gained[j]) / total)
        for j in (np.argsort(-gained)[:TOP] if order is None else order)
        if gained[j] > 0.05 * total
    ]
    if max(rest, 0.0) > 0.05 * total:
        found.append(Reason(beyond, "", "", rest / total))
    if not found:  # thousands of entries, each a little
        top = int(np.argmax(gained))
        found.append(Reason(names[top], *told(top), float(gained[top]) / total))
    return sorted(found, key=lambda reason: -reason.share)[:TOP]


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


def _n(model: Model) -> int:
    return 0 if model.calibration is None else len(model.calibration)


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, _FLAGS)


def told_apart(observed: Any, expected: Any) -> tuple[str, str]:
    """Two cells with as many digits as it takes to tell them apart.

    >>> told_apart(9123456.0, 4000), told_apart(1.0, 1.00002), told_apart("tcp", None)
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
    if isinstance(value, _FLAGS):
        return str(bool(value))
    if isinstance(value, _NUMBERS):
        return f"{float(value):.{digits}g}"
    return repr(value) if isinstance(value, str) else str(value)


def _region(gained: np.ndarray, at: Sequence[int]) -> Reason:
    """The window of an image or of time, an eighth of its side, that holds most of the surprise; of what lies in the
    map, since the score may be that of its highest places alone.
    """
    image = np.atleast_2d(gained.sum(0))
    height, width = image.shape
    h, w = max(1, height // 8), max(1, width // 8)
    sums = np.pad(image, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    windows = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    top, left = np.unravel_index(windows.argmax(), windows.shape)
    rows, columns = _span("row", at[0] + top, h), _span("column", at[1] + left, w)
    name = f"{rows}, {columns}" if gained.ndim == 3 else _span("step", left, w)
    return Reason(name, "", "", float(windows.max() / image.sum()), "what stands out")


def _span(what: str, start: int, length: int) -> str:
    """The pixels or steps of a window.

    >>> _span("row", 3, 1), _span("column", 4, 3)
    ('row 3', 'columns 4–6')
    """
    return f"{what} {start}" if length == 1 else f"{what}s {start}–{start + length - 1}"
