"""Labels beside rows, as classes or numbers: a column, a file, the folders of pictures; and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.gathered import Gathered
from isthmus.data.labels import find_labels, nothing
from isthmus.data.large import enough
from isthmus.data.rows import Rows
from isthmus.errors import DataError, unknown

if TYPE_CHECKING:
    from isthmus.model import Model

#: Numbers of no more values than this, all whole, are classes.
_CLASSES = 64
#: What labels can be taken for.
KINDS = ("auto", "classes", "numbers")
#: Rows without a label that are looked at, of large ones.
_OTHERS = 20_000


@dataclass
class Labelled:
    """Rows without their labels, and these: ``y`` (n,) is the place of each row's class among ``classes``, −1 where
    it has none; or, where ``classes`` is None, its number, NaN where it has none.
    """

    rows: Rows
    y: np.ndarray
    name: str
    classes: np.ndarray | None
    remarks: list[str] = field(default_factory=list)
    #: Whether the model looks at the column of labels, so that its codes know them.
    leak: bool = False

    @property
    def known(self) -> np.ndarray:
        """Which rows have a label (n,)."""
        return np.isfinite(self.y) if self.classes is None else self.y >= 0

    @property
    def n(self) -> int:
        """Labelled rows."""
        return int(self.known.sum())

    def take(self, where: np.ndarray) -> Labelled:
        """These rows with their labels."""
        return Labelled(self.rows.take(where), self.y[where], self.name, self.classes, self.remarks, self.leak)

    def few(self, seed: int = 0) -> Labelled:
        """These in memory: of large rows those with a label, as many as memory should hold, and some of the others."""
        if not self.rows.large:
            return self
        known, others = np.flatnonzero(self.known), np.flatnonzero(~self.known)
        g = np.random.default_rng(seed)
        mine = known[drawn(self.y[known], self.classes, enough(self.rows.data.width)[0], g)]
        those = others if len(others) <= _OTHERS else np.sort(g.choice(others, _OTHERS, replace=False))
        found = self.rows.pick(np.union1d(mine, those))
        remarks = list(self.remarks)
        if len(mine) + len(those) < len(self.y):
            beside = f" and {len(those):,} of {len(others):,} without" if len(others) else ""
            remarks.append(f"read in stretches: {len(mine):,} of {len(known):,} labelled rows{beside} are looked at")
        return Labelled(found, self.y[np.union1d(mine, those)], self.name, self.classes, remarks, self.leak)

    def words(self) -> str:
        """How many rows have a label, and of what kind."""
        if self.classes is None:
            y = self.y[self.known]
            return f"{self.name}: {self.n:,} numbers from {y.min():.4g} to {y.max():.4g}"
        of = f"{len(self.classes)} classes" if len(self.classes) > 8 else ", ".join(map(str, self.classes))
        return f"{self.name}: {self.n:,} labels ({of})"


def labelled(model: Model, rows: Any, said: Any, *, kind: str = "auto", least: int = 2) -> Labelled:
    """Rows and their labels; large rows stay so (:meth:`Labelled.few`), and 8 bytes a row are kept.

    Args:
        said: as of :func:`isthmus.data.labels.find_labels`. Missing ones are None, NaN, empty or a word for nothing,
            such as NA.
        kind: ``"classes"``, ``"numbers"``, or ``"auto"``: words, truth values and few whole numbers are classes.
        least: the classes (or different numbers) that there have to be.

    Raises:
        DataError: there is no such column, not one label a row, or they do not differ.
    """
    if kind not in KINDS:
        raise unknown("kind of label", kind, KINDS)
    rows = model.open(rows)
    if rows.kind in ("recordings", "windows"):
        raise DataError(
            f"{rows.origin} are recordings, and a label belongs to a row. Cut them into windows, one a row, and fit "
            "and label these."
        )
    brought = find_labels(rows, said)
    name, leak = brought.name, brought.column in model.modality.looks_at
    if rows.large and brought.column is not None:
        y, classes = _of_column(rows.data, name, kind)
    else:
        y, classes = understood(brought.cells, kind, name)
    rows = rows if leak else brought.bare()  # without that column the model could not look at the row
    found = Labelled(rows, y, name, classes, leak=leak)
    different = len(np.unique(y[found.known]))
    if different < least:
        one = (y[found.known].tolist() if classes is None else classes.tolist())[:1]
        only = f"every label is {one[0]!r}" if found.n else "no row has a label"
        raise DataError(
            f"{name!r} tells nothing apart: {only}, of {len(rows):,} rows, and more than one class (or number) is "
            "needed. Name another column, or bring rows of another class."
        )
    if missing := len(rows) - found.n:
        found.remarks.append(f"{missing:,} of {len(rows):,} rows have no label in {name!r}: they count as unlabelled")
    if leak:
        found.remarks.append(
            f"the model was fitted on the column {name!r} itself: its codes know the answer, and what follows is too "
            f"good to be true. Fit again without it: --column {name}=ignore"
        )
    if classes is not None:
        lone = [str(classes[k]) for k, n in Counter(y[found.known].astype(int)).items() if n == 1]
        if lone:
            few = ", ".join(lone[:5]) + (", …" if len(lone) > 5 else "")
            found.remarks.append(f"only one row each is labelled {few}: nothing can say how well these are told")
    return found


def understood(values: Any, kind: str = "auto", name: str = "the labels") -> tuple[np.ndarray, np.ndarray | None]:
    """Labels as people bring them → the place of each among the classes, −1 where there is none, and the classes; or
    numbers, NaN where there is none, and None.

    >>> understood(["b", None, "a"])
    (array([ 1, -1,  0]), array(['a', 'b'], dtype='<U1'))
    >>> understood([0.5, float("nan"), 2.0])[1] is None
    True
    """
    values = np.asarray(values, dtype=object).ravel()
    missing = np.array([nothing(v) for v in values], bool)
    there = values[~missing].tolist()
    numbers = all(isinstance(v, int | float | np.number) and not isinstance(v, bool | np.bool_) for v in there)
    if kind == "auto":
        whole = numbers and all(float(v).is_integer() for v in there if np.isfinite(v))
        few = len(set(there)) <= _CLASSES
        kind = "numbers" if numbers and not (whole and few) else "classes"
    if kind == "numbers":
        try:
            y = np.full(len(values), np.nan)
            y[~missing] = [float(v) for v in there]
        except (TypeError, ValueError):
            odd = next(v for v in there if not isinstance(v, int | float | np.number))
            raise DataError(
                f"{name!r} is to hold numbers and holds {odd!r}. Say kind='classes' (--kind classes)."
            ) from None
        if np.isinf(y).any():
            raise DataError(f"{name!r} holds a number that is infinite (Input y contains infinity). Take that row out.")
        return y, None
    if numbers:
        # 3 and 3.0 are one class: a column with a missing cell holds floats
        there = [int(v) if float(v).is_integer() else float(v) for v in there]
    elif len({type(v) for v in there}) > 1:
        there = [str(v) for v in there]
    y, classes = np.full(len(values), -1), np.zeros(0)
    if there:
        classes, y[~missing] = np.unique(np.array(there), return_inverse=True)
    return y, classes


def _of_column(rows: Any, name: str, kind: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The labels in a column of large rows, as :func:`understood` has them."""
    import pyarrow as pa

    type_ = rows.schema.field(name).type
    if kind == "classes" or not (pa.types.is_integer(type_) or pa.types.is_floating(type_)):
        cells = Gathered.of(rows.column(name))
        classes: list[Any] = []

        def told(different: list[Any]) -> np.ndarray:
            found = understood(different, kind, name)
            classes.append(found[1])
            return found[0]

        return cells.each(told), classes[0]
    y = np.concatenate([piece.cast(pa.float64()).to_numpy() for piece in rows.column(name)])
    there = ~np.isnan(y)
    different = np.unique(y[there])
    place, found = understood(different.tolist(), kind, name)
    if found is None:
        return y, None
    at = np.full(len(y), -1)
    at[there] = place[np.searchsorted(different, y[there])]
    return at, found


def drawn(y: np.ndarray, classes: np.ndarray | None, n: int, generator: np.random.Generator) -> np.ndarray:
    """``n`` places of labels (m,), at random: of classes each as often as the others' shares allow, and each once as
    far as ``n`` goes.
    """
    if n >= len(y):
        return np.arange(len(y))
    if classes is None:
        return np.sort(generator.choice(len(y), n, replace=False))
    order = generator.permutation(len(y))
    kinds, counts = np.unique(y, return_counts=True)
    wanted = np.minimum(1, counts) if n >= len(kinds) else np.zeros(len(kinds), int)
    # the rest by share, the largest remainders first
    left = n - wanted.sum()
    share = left * (counts - wanted) / max((counts - wanted).sum(), 1)
    wanted = wanted + np.floor(share).astype(int)
    by_rest = np.argsort(-(share % 1) - 1e-9 * generator.random(len(kinds)), kind="stable")
    for k in np.resize(by_rest, len(by_rest) * 2):
        if wanted.sum() == n:
            break
        wanted[k] += wanted[k] < counts[k]
    chosen = [order[y[order] == kind][:some] for kind, some in zip(kinds, wanted, strict=True)]
    return np.sort(np.concatenate(chosen))
