"""Rows as they come: each is scored in one pass, told why it is strange, and the world is watched for a change.

.. math:: \\text{cells} \\to x \\to s \\to p = \\frac{1 + \\#\\{s_{\\text{held out}} \\ge s\\}}{n + 1} \\le \\alpha\\,?

The numbers are those that :func:`isthmus.tasks.detection.detect.detect` gives for the same rows. What is left out is
what a single row need not pay for: an Arrow table, and the filling up of a batch.

Recalibration is off by default, because what has just passed is then the measure of what comes: a slow drift, or a
patient attacker, becomes the usual without a word. Where it is on, the window holds *all* recent scores, flagged or
not. Without the flagged ones it would lack the tail that the promise is about, and with every turn of the window the
threshold would creep down and the false alarms up.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isthmus import devices
from isthmus.calibration import code_marks
from isthmus.core.drift import Watch
from isthmus.core.parts import Surprise
from isthmus.errors import DataError, SpecError
from isthmus.modalities.cells import Cells
from isthmus.tasks.detection.reasons import Expectation, reasons

if TYPE_CHECKING:
    from isthmus.model import Model

#: Rows after which the watch looks again; it looks at all of them.
_LOOK = 32
#: Rows that are scored together where more have arrived.
_TOGETHER = 256


#: The cells of a row that the model uses, as they came, and as numbers.
Read = tuple[Sequence[Any], Sequence[float]]


@dataclass(frozen=True)
class Scored:
    """One row: its score, its p-value, whether it is flagged, and why; ``drift`` says that the world has changed."""

    row: int
    score: float
    p_value: float
    anomaly: bool
    why: str = ""
    drift: str = ""

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {"row": self.row, "score": self.score, "p_value": self.p_value, "anomaly": self.anomaly}
        return said | ({"why": self.why} if self.anomaly else {}) | ({"drift": self.drift} if self.drift else {})


@dataclass
class Follower:
    """Scores rows one by one with a fitted model of a table or an array.

    Arguments:
        model: A model with held-out rows.
        names: The columns that rows come with, in their order; by default those of the training.
        false_alarm_rate: As in :func:`isthmus.tasks.detection.detect.detect`.
        false_drift_rate: How often, per usual row, a drift is remarked where none is: 10⁻⁶ is once in a million rows.
        recalibrate: Hold scores against the last so many, instead of the held-out rows.

    >>> import numpy as np
    >>> from isthmus import Autoencoder
    >>> x = np.random.default_rng(0).normal(size=(500, 3)) @ np.ones((3, 5))
    >>> follower = Follower(Autoencoder(latent_dim=1, epochs=2, random_state=0).fit(x).model_)
    >>> follower.push(x[0]).anomaly, follower.push([0, 0, 90.0, 0, 0]).anomaly
    (False, True)
    """

    model: Model
    names: Sequence[str] | None = None
    false_alarm_rate: float = 0.01
    false_drift_rate: float = 1e-6
    recalibrate: int | None = None
    n_rows: int = field(default=0, init=False)
    n_anomalies: int = field(default=0, init=False)
    drifts: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        model, rate = self.model, self.false_alarm_rate
        if not 0 < rate < 1:
            raise SpecError(f"false_alarm_rate is between 0 and 1, got {rate}. Say 0.01 for one in a hundred.")
        if not 0 < self.false_drift_rate < 1:
            raise SpecError(f"false_drift_rate is between 0 and 1, got {self.false_drift_rate}. Say 1e-6.")
        if self.recalibrate is not None and self.recalibrate < 1 / rate:
            raise SpecError(
                f"recalibrate is a number of rows that can promise a rate of {rate:.2%}: at least "
                f"{math.ceil(1 / rate)}, got {self.recalibrate}."
            )
        if model.conditions is not None:
            raise DataError(
                "The decoder of this model is steered by a condition, and rows one at a time come without. "
                "Hand it whole tables: isthmus detect MODEL DATA."
            )
        if model.on_recordings:
            raise DataError(
                "A stamp of a recording is scored by the windows that hold it, so stamps cannot come one by one. "
                "Hand over whole stretches: isthmus detect MODEL DATA."
            )
        self.threshold = model.threshold(rate)  # and the error where no rows were held out
        assert model.calibration is not None
        # the window begins with held-out rows, in no order, and these leave it first
        begin = np.random.default_rng(0).permutation(model.calibration).tolist()
        self._recent: deque[float] = deque(begin, maxlen=self.recalibrate or 1)
        self._window = sorted(self._recent)
        self._usual, self._usual_rest = model.usual
        self._device = model.device
        self._cells = Cells(model.modality, self.names)
        known = model.known_codes
        width = 0 if known is None else known.shape[1]
        self._watch = Watch([model.calibration, *([] if known is None else known.T)], false_rate=self.false_drift_rate)
        self._unseen: list[tuple[Tensor, Tensor | None, np.ndarray]] = []
        self._n_unseen, self._width = 0, width
        self._since = 0

    def push(self, row: Sequence[Any] | Mapping[str, Any]) -> Scored:
        """Score one row: its cells in order, or by column.

        Raises:
            DataError: the row cannot be read, and why; it does not count.
        """
        return self.push_many([row])[0]

    def push_many(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> list[Scored]:
        """Score rows that have arrived together, in their order.

        Raises:
            DataError: a row cannot be read; none of them counts.
        """
        return self.score([self.read(row) for row in rows])

    def expect(self, names: Sequence[str]) -> None:
        """From now on rows come with these columns, in this order."""
        self._cells, self.names = Cells(self.model.modality, names), names

    def read(self, row: Sequence[Any] | Mapping[str, Any]) -> Read:
        """The cells of one row and the numbers that they are, for :meth:`score`.

        Raises:
            DataError: the row cannot be read, and why.
        """
        cells = self._cells.pick(row)
        return cells, self._cells.numbers(cells)

    def score(self, rows: Sequence[Read]) -> list[Scored]:
        """Score rows that were read already."""
        found: list[Scored] = []
        for start in range(0, len(rows), _TOGETHER):
            found += self._score(rows[start : start + _TOGETHER])
        return found

    @torch.inference_mode()
    def _score(self, rows: Sequence[Read]) -> list[Scored]:
        tensors = self._cells.tensors([numbers for _, numbers in rows])
        b = tensors if self._device.type == "cpu" else {k: t.to(self._device) for k, t in tensors.items()}
        with devices.threads_for(1, self._device):
            scores = self._surprise(b, explain=False).score.double().cpu().numpy()
            p_values = self._p_values(scores)
            flagged = [i for i, p in enumerate(p_values) if p <= self.false_alarm_rate]
            why = self._why({k: t[flagged] for k, t in b.items()}, [rows[i] for i in flagged]) if flagged else []
            drift = self._look(b, scores)
        told = dict(zip(flagged, why, strict=True))
        found = [
            Scored(self.n_rows + i, score, p, i in told, told.get(i, ""))
            for i, (score, p) in enumerate(zip(scores.tolist(), p_values, strict=True))
        ]
        self.n_rows += len(found)
        self.n_anomalies += len(flagged)
        if drift:
            found[-1] = replace(found[-1], drift=drift)
        return found

    def _surprise(self, b: Mapping[str, Tensor], *, explain: bool) -> Surprise:
        found: Surprise = self.model.detector(self.model.net, b["x"], b.get("observed"), explain=explain)
        return found

    def _p_values(self, scores: np.ndarray) -> list[float]:
        found: list[float]
        if not self.recalibrate:
            found = self.model.p_values(scores).tolist()
            return found
        known, recent, found = self._window, self._recent, []
        for score in scores.tolist():
            at = bisect.bisect_left(known, score - 1e-5 * (1 + abs(score)))
            found.append((1 + len(known) - at) / (len(known) + 1))
            if len(recent) == recent.maxlen:
                del known[bisect.bisect_left(known, recent[0])]
            recent.append(score)
            bisect.insort(known, score)
        return found

    def _why(self, b: Mapping[str, Tensor], rows: Sequence[Read]) -> list[str]:
        """The reasons of the flagged rows, in words."""
        model, surprise = self.model, self._surprise(b, explain=True)
        mean = surprise.expected
        if mean is None:
            mean = model.net.decode(model.net.encode(b["x"], b.get("observed"))).mean
        expectation = Expectation(model.modality, mean.cpu().numpy(), model.spread)
        expectation.prepare(range(len(rows)))
        places = [place.start for _, place in expectation.groups or ()] or range(len(self._cells.numeric))
        found = []
        for i, (cells, numbers) in enumerate(rows):

            def told(j: int, i: int = i, cells: Any = cells, numbers: Any = numbers) -> tuple[str, str]:
                # a number that came as text is told as a number, a category as what it is called
                return expectation.words(i, j, numbers[places[j]] if self._cells.numeric[j] else cells[j])

            entries = surprise.entries[i].cpu().numpy()
            gained = expectation.gained(entries, self._usual)
            above = reasons(gained, float(surprise.rest[i]) - self._usual_rest, expectation.names, told)
            found.append("; ".join(map(str, above)))
        return found

    # -- drift ----------------------------------------------------------------------------------

    def _look(self, b: Mapping[str, Tensor], scores: np.ndarray) -> str:
        """Remember rows for the watch, and let it look when there are enough; what it says, if anything."""
        self._unseen.append((b["x"], b.get("observed"), scores))
        self._n_unseen += len(scores)
        return self._see() if self._n_unseen >= _LOOK else ""

    def _see(self) -> str:
        values = np.concatenate([scores for _, _, scores in self._unseen])[:, None]
        if self._width:
            x = torch.cat([x for x, _, _ in self._unseen])
            observed = None
            if any(known is not None for _, known, _ in self._unseen):
                observed = torch.cat(
                    [torch.ones_like(x, dtype=torch.bool) if m is None else m for x, m, _ in self._unseen]
                )
            marks = code_marks(self.model.net.encode(x, observed), self.model.code_variance)
            values = np.concatenate([values, marks.cpu().numpy()], axis=1)
        self._unseen.clear()
        self._n_unseen = 0
        self._since += len(values)
        if not self._watch.see(values):
            return ""
        said = (
            f"drift by row {self._since - 1:,}: scores or codes are no longer like those of the held-out rows"
            if not self.drifts
            else f"drift by row {self._since - 1:,}: another change, held against the rows since the one before"
        )
        said += (
            f" (a false remark once in {1 / self.false_drift_rate:,.0f} usual rows at most). The promised rate no "
            "longer holds: fit again if this is the new usual"
        )
        self.drifts.append(said)
        return said

    def summary(self) -> list[str]:
        """How many rows came, how many were flagged, and whether the world has changed."""
        if self._n_unseen:
            with torch.inference_mode():
                self._see()
        share = self.n_anomalies / max(self.n_rows, 1)
        lines = [
            f"{self.n_rows:,} rows scored, {self.n_anomalies:,} flagged ({share:.2%}) at a promised false-alarm rate "
            f"of {self.false_alarm_rate:.2%}"
        ]
        return lines + (self.drifts or (["no drift was seen"] if self.n_rows >= _LOOK else []))
