"""Why a row is strange, in words: what it was, what was expected, and its share of the score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from isthmus.modalities.base import Modality

#: Reasons given per row.
TOP = 3
#: Cells that are numbers, and those that only look like some.
_NUMBERS, _FLAGS = (int, float, np.number), (bool, np.bool_)


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
