r"""Are two rows of the same person, part or place? By the cosine of their codes, above a line that pairs tell.

.. math:: \text{same} \iff s(a, b) \ge t, \qquad t = \min\Bigl\{t : \frac{1 + \#\{\text{impostors} \ge t\}}{n + 1}
    \le \alpha\Bigr\}

Impostors are pairs of rows with different labels. Where labels are known, codes are also turned so that what varies
within a label counts less: z → L^T (z − m), L L^T = (S + ε tr(S)/d · 1)^{-1}, S the scatter within labels. Scores
for the line come from labels that this was not learned from.

References:
    Hatch, Kajarekar, Stolcke, Within-class covariance normalization for SVM-based speaker recognition, 2006.
    Bolle, Ratha, Pankanti, Error analysis of pattern recognition systems: the subset bootstrap, 2004 (the interval).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.scan import unit
from isthmus.errors import DataError, SpecError, unknown
from isthmus.tasks.base import Result
from isthmus.tasks.searching.asking import asked_rows

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.model import Model

#: How much of the mean variance within a label is added to all directions, so that few labels do not decide.
_SHRINK = 0.3
#: Labels of which half can teach the turn while the other half tells the line.
_FEW = 4
#: Rows without labels that pairs are made of.
_MOST = 2000
#: Times that people are drawn again for the interval.
_DRAWN = 500


@dataclass
class Line:
    """From which score on two rows count as the same, and what that is worth.

    ``genuine`` and ``impostors`` are the sorted scores of pairs of the same and of different labels; ``middle`` (d,)
    and ``turn`` (d, d) are what is done to codes before their cosine, None where no labels were known.
    """

    threshold: float
    rate: float
    impostors: np.ndarray
    genuine: np.ndarray
    labels: int
    middle: np.ndarray | None = None
    turn: np.ndarray | None = None
    #: the share of impostors above the line, and between what it was when people were drawn again (5 % and 95 %)
    accepted: float = 0.0
    between: tuple[float, float] | None = None
    remarks: list[str] = field(default_factory=list)

    def place(self, codes: np.ndarray) -> np.ndarray:
        """Codes (n, …) as unit rows that are compared."""
        flat = np.asarray(codes, np.float64).reshape(len(codes), -1)
        return unit(flat if self.turn is None else (flat - self.middle) @ self.turn)

    @property
    def rejected(self) -> float | None:
        """The share of genuine pairs below the line."""
        return float((self.genuine < self.threshold).mean()) if len(self.genuine) else None

    @property
    def equal_error_rate(self) -> float | None:
        """Where as many impostors are accepted as genuine pairs are refused."""
        return equal_error_rate(self.genuine, self.impostors) if len(self.genuine) else None


@dataclass
class Verdict(Result):
    """``scores`` (n,) of pairs of rows, and whether they are the ``same`` (n,), None where nothing tells."""

    scores: np.ndarray
    names: list[tuple[str, str]]
    line: Line | None

    @property
    def same(self) -> np.ndarray | None:
        return None if self.line is None else self.scores >= self.line.threshold

    def to_table(self) -> Any:
        import pyarrow as pa

        columns: dict[str, Any] = {
            "a": [a for a, _ in self.names],
            "b": [b for _, b in self.names],
            "score": self.scores,
        }
        if self.line is not None:
            columns |= {"same": self.same, "threshold": np.full(len(self.scores), self.line.threshold)}
        return pa.table(columns)

    def summary(self) -> list[str]:
        same = self.same
        lines = []
        for i, (a, b) in enumerate(self.names[:10]):
            said = "" if same is None else "the same, " if same[i] else "not the same, "
            lines.append(f"{a} and {b}: {said}score {self.scores[i]:.3f}")
        if len(self.names) > 10:
            lines.append(f"… and {len(self.names) - 10:,} more pairs (-o keeps them)")
        if self.line is None:
            lines.append("! no line between same and not: name rows to find it on, --pairs DATA --label COLUMN")
            return lines
        return [*lines, *self._line_words(self.line)]

    @staticmethod
    def _line_words(line: Line) -> list[str]:
        n = len(line.impostors)
        whose = f"of {line.labels:,} labels" if line.labels else "of any two rows, some of which may be the same"
        found = [f"the same from {line.threshold:.3f} on: {line.accepted:.3%} of {n:,} pairs {whose} reach it"]
        if line.between is not None:
            low, high = line.between
            found[0] += f" (between {low:.3%} and {high:.3%}, were other people asked)"
        if line.rejected is not None:
            found.append(
                f"of {len(line.genuine):,} pairs that are the same {line.rejected:.1%} stay below it; equal error rate "
                f"{line.equal_error_rate:.1%}"
            )
        return found + [f"! {remark}" for remark in line.remarks]

    def to_json(self) -> dict[str, Any]:
        line, same = self.line, self.same
        pairs = [
            {"a": a, "b": b, "score": float(score), **({} if same is None else {"same": bool(same[i])})}
            for i, ((a, b), score) in enumerate(zip(self.names, self.scores, strict=True))
        ]
        if line is None:
            return {"pairs": pairs, "threshold": None}
        return {
            "pairs": pairs, "threshold": line.threshold, "false_accept_rate": line.rate, "accepted": line.accepted,
            "between": line.between, "impostor_pairs": len(line.impostors), "genuine_pairs": len(line.genuine),
            "labels": line.labels, "rejected": line.rejected, "equal_error_rate": line.equal_error_rate,
            "remarks": line.remarks,
        }  # fmt: skip


def verify(
    model: Model,
    a: Any,
    b: Any,
    *,
    pairs: str | None = None,
    label: str | None = None,
    false_accept_rate: float = 0.001,
) -> Verdict:
    """Whether rows of ``a`` and ``b``, one by one, are of the same: a picture and a picture, a row and a row.

    Args:
        pairs: rows that the model was not fitted on, to find the line between same and not the same on.
        label: the column that says which of these are the same; of pictures also folder, the one that each lies in.
        false_accept_rate: how often rows of different labels may count as the same.
    """
    left, right = (model.modality.samples(asked_rows(model, said)) for said in (a, b))
    n = max(len(left), len(right))
    if not (len(left) == len(right) or 1 in (len(left), len(right))):
        raise DataError(f"A and B are compared one by one, and A has {len(left):,} rows, B {len(right):,}.")
    line = None
    if pairs is not None:
        known = model.open(pairs).in_memory("Finding a line needs")
        line = line_of(model, known, label, false_accept_rate)
    elif label is not None:
        raise SpecError("--label says which of the rows of --pairs are the same: name these too.")
    place = unit if line is None else line.place
    x, y = (np.broadcast_to(z, (n, z.shape[1])) for z in (place(model.encode(left)), place(model.encode(right))))
    names = [(_name(left, i, "A"), _name(right, i, "B")) for i in range(n)]
    return Verdict(np.einsum("nd,nd->n", x, y).astype(np.float64), names, line)


def line_of(model: Model, rows: Rows, label: Any = None, false_accept_rate: float = 0.001) -> Line:
    """The line that impostors among ``rows`` tell.

    Args:
        label: the name of a column, ``"folder"``, a label for each row, or None: any two rows are then impostors.
    """
    if not 0 < false_accept_rate < 1:
        raise SpecError(f"false_accept_rate is between 0 and 1, got {false_accept_rate}. Say 0.001 for one in 1,000.")
    codes = np.asarray(model.encode(rows), np.float64)
    return calibrated(
        codes.reshape(len(codes), -1), None if label is None else labels_of(rows, label), false_accept_rate
    )


def calibrated(codes: np.ndarray, labels: np.ndarray | None, rate: float) -> Line:
    """The line for codes (n, d) with ``labels`` (n,)."""
    if labels is None:
        some = codes[:: -(-len(codes) // _MOST)]
        if len(some) < 3:
            raise DataError(f"A line needs pairs, and {len(some)} rows make few. Bring more rows.")
        x = unit(some)
        scores = np.sort((x @ x.T)[np.triu_indices(len(x), 1)])
        line = Line(0.0, rate, scores, np.zeros(0), 0)
        line.remarks.append(
            "nothing says which rows are the same, so any two count as different: where some are the same, the line is "
            "higher than it need be. --label COLUMN says it"
        )
        return _drawn(line)
    known, of = np.unique(labels, return_inverse=True)
    if len(known) < 2:
        raise DataError(f"All rows have the label {known[0]!r}, so no pair is of different ones. Bring others.")
    if np.bincount(of).max() < 2:
        raise DataError("No label has two rows, so nothing says what the same looks like. Bring more of each.")
    turns = len(known) >= _FEW
    # what the line is drawn on must not have taught the turn, so each half of the labels is turned by the other
    half = np.random.default_rng(0).permutation(len(known)) % (2 if turns else 1)
    genuine, impostors, who = [], [], []
    for i in range(half.max() + 1):
        here = half[of] == i
        x = codes[here]
        if turns:
            middle, turn = _turned(codes[~here], of[~here])
            x = (x - middle) @ turn
        x, (left, right) = unit(x), np.triu_indices(here.sum(), 1)
        scores, one, two = (x @ x.T)[left, right].astype(np.float64), of[here][left], of[here][right]
        genuine.append(scores[one == two])
        impostors.append(scores[one != two])
        who.append(np.stack([one, two], 1)[one != two])
    middle, turn = _turned(codes, of) if turns else (None, None)
    line = Line(
        0.0, rate, np.sort(np.concatenate(impostors)), np.sort(np.concatenate(genuine)), len(known), middle, turn
    )
    if not len(line.impostors):
        raise DataError("There is no pair of different labels to find a line on. Bring more labels.")
    _drawn(line)
    line.between = _between(np.concatenate(impostors), np.concatenate(who), len(known), line.threshold)
    n_pairs = len(np.unique(np.concatenate(who), axis=0))
    if rate * n_pairs < 3:
        line.remarks.append(
            f"the pairs come from {n_pairs:,} pairs of labels, and those of the same two resemble each other: a rate "
            f"of {rate:.2%} is a guess, {3 / n_pairs:.2%} and more can be promised"
        )
    return line


def equal_error_rate(genuine: np.ndarray, impostors: np.ndarray) -> float:
    """The share of both kinds of pairs that is judged wrongly, where it is the same share.

    >>> equal_error_rate(np.array([0.2, 0.8, 0.9, 1.0]), np.array([0.0, 0.1, 0.3, 0.4]))
    0.25
    """
    genuine, impostors = np.sort(genuine), np.sort(impostors)
    lines = np.concatenate([genuine, impostors])
    refused = np.searchsorted(genuine, lines, side="left") / len(genuine)
    accepted = 1 - np.searchsorted(impostors, lines, side="left") / len(impostors)
    at = np.argmin(np.abs(refused - accepted))
    return float((refused[at] + accepted[at]) / 2)


def labels_of(rows: Rows, label: Any) -> np.ndarray:
    """The label of every row as text."""
    if not isinstance(label, str):
        found = np.asarray(label)
        if found.shape != (len(rows),):
            raise DataError(f"There is a label for each of {len(rows):,} rows; got an array of shape {found.shape}.")
        return found.astype(str)
    if rows.kind == "table" and label in rows.data.column_names:
        column = rows.data[label]
        if column.null_count:
            raise DataError(f"{column.null_count:,} rows of {rows.origin} have no {label!r}. Leave these out.")
        return np.array([str(cell) for cell in column.to_pylist()])
    if label == "folder" and rows.names is not None:
        return np.array([str(PurePath(name).parent) for name in rows.names])
    known = rows.data.column_names if rows.kind == "table" else ["folder"] if rows.names is not None else []
    raise unknown("label", label, known, DataError)


def _turned(codes: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle of codes, and the turn after which what varies within a label varies alike in all directions."""
    n = np.bincount(of).astype(np.float64)
    means = np.stack([np.bincount(of, codes[:, j]) for j in range(codes.shape[1])], 1) / n.clip(1)[:, None]
    within = codes - means[of]
    scatter = within.T @ within / len(codes)
    width = len(scatter)
    scatter += (_SHRINK * np.trace(scatter) / width + 1e-12) * np.eye(width)
    return codes.mean(0), np.linalg.cholesky(np.linalg.inv(scatter))


def _drawn(line: Line) -> Line:
    """Draw the line at the rate that was asked for."""
    n = len(line.impostors)
    allowed = math.floor(line.rate * (n + 1) + 1e-9) - 1
    if allowed < 0:
        line.threshold = math.inf
        line.remarks.append(
            f"{n:,} pairs can promise a rate of {1 / (n + 1):.2%} at the least, so nothing counts as the same: ask for "
            "that, or bring more rows"
        )
        return line
    beaten = line.impostors[n - 1 - allowed]
    line.threshold = float(np.nextafter(beaten, np.inf))
    line.accepted = float((line.impostors >= line.threshold).mean())
    return line


def _between(scores: np.ndarray, who: np.ndarray, n: int, threshold: float) -> tuple[float, float] | None:
    """The share of impostors above the line, were other people drawn: labels are drawn again, with all their pairs."""
    above, there = np.zeros((n, n)), np.zeros((n, n))
    np.add.at(there, (who[:, 0], who[:, 1]), 1.0)
    np.add.at(above, (who[:, 0], who[:, 1]), scores >= threshold)
    if not above.any():
        return None
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=_DRAWN).astype(np.float64)
    shares = np.einsum("bi,ij,bj->b", weights, above, weights) / np.einsum("bi,ij,bj->b", weights, there, weights).clip(
        1e-9
    )
    return float(np.quantile(shares, 0.05)), float(np.quantile(shares, 0.95))


def _name(rows: Rows, i: int, side: str) -> str:
    i = i if len(rows) > 1 else 0
    if rows.names is not None:
        return rows.names[i]
    return side if len(rows) == 1 else f"{side}[{i}]"
