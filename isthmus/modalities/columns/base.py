"""What became of one column of a table: the contract of its kinds.

.. math:: \\mathrm{cells} \\;(n,) \\to \\mathrm{entries} \\;(n, \\mathrm{width}) \\to \\mathrm{cells}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from isthmus.data.census import MOST, Counted
from isthmus.modalities.columns.arrow import as_text, counts

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Studied:
    """What a kind may know of the table that its column stands in, and where it puts what people should know.

    ``weight`` is what an entry of many is multiplied by, so that a column of thousands of entries varies as much as
    all columns of one entry together. ``folder`` is where paths in cells begin. ``census`` is what columns hold over
    all rows, where the cells that are brought stand for more.
    """

    origin: str = "the rows"
    max_levels: int = 64
    n_rows: int = 0
    weight: float = 1.0
    folder: str | None = None
    seen: list[str] = field(default_factory=list)
    census: Mapping[str, Counted] = field(default_factory=dict)

    def there(self, name: str, raw: pa.Array) -> int:
        """Cells that hold something."""
        return self.census[name].there if name in self.census else len(raw) - raw.null_count

    def counts(self, name: str, raw: pa.Array, dtype: str) -> dict[str, int]:
        """How often each category stands: in all rows, unless there are too many to count."""
        import pyarrow as pa

        known = self.census.get(name)
        if known is None or known.values is None:
            return counts(as_text(raw, dtype))
        texts = as_text(pa.array(list(known.values), raw.type), dtype).to_pylist()
        found: Counter[str] = Counter()
        for text, n in zip(texts, known.values.values(), strict=True):
            found[text] += n
        return dict(found)

    def different(self, name: str, found: Mapping[str, int]) -> int:
        """How many categories there are. Where there are too many to count, from how many of the cells that are
        brought stand once and twice (Chao, Nonparametric estimation of the number of classes in a population, 1984).
        """
        known = self.census.get(name)
        if known is None or not known.overflowed:
            return len(found)
        times = Counter(found.values())
        return min(known.there, max(MOST, round(len(found) + times[1] ** 2 / (2 * max(times[2], 0.5)))))

    def with_bounds(self, name: str, raw: pa.Array, numbers: np.ndarray, read: Callable[[pa.Array], Any]) -> np.ndarray:
        """``numbers`` of the cells that are brought, and the least and the greatest of all rows where these are known;
        ``read`` turns cells into numbers.
        """
        import pyarrow as pa

        known = self.census.get(name)
        if known is None or known.low is None:
            return numbers
        try:
            bounds = pa.array([known.low, known.high], raw.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # a day among moments
            return numbers
        return np.append(numbers, np.asarray(read(bounds), np.float64))

    def how_many(self, name: str, n: int) -> str:
        """So many categories, in words."""
        known = self.census.get(name)
        return f"more than {MOST:,}" if known is not None and known.overflowed else f"{n:,}"


class Column(ABC):
    """One column of the raw table. The constructor takes exactly what :meth:`to_json` returns, less the kind.

    ``dtype`` is the Arrow type to give back.
    """

    kind: ClassVar[str]
    #: Is its first entry a number on no scale yet, which the table scales?
    scaled: ClassVar[bool] = False
    #: Entries that the likelihood of this column alone speaks of; of other columns one law speaks together.
    alone: ClassVar[bool] = False
    name: str
    dtype: str
    levels: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def fit(cls, name: str, raw: pa.Array, studied: Studied) -> Self:
        """Learn from the cells of training rows."""

    @property
    def names(self) -> list[str]:
        """What its entries are called."""
        return [self.name]

    @property
    def width(self) -> int:
        """Its entries in x; 0 where it is not used."""
        return len(self.names)

    @property
    def laws(self) -> list[int]:
        """Of entries that one law speaks of together: 0 for a number, 1 for a yes or no, k for k levels, each."""
        return [0] * self.width

    def likelihood(self) -> dict[str, Any]:
        """The likelihood of a column that is ``alone``."""
        raise NotImplementedError

    @abstractmethod
    def numbers(self, raw: pa.Array, origin: str, remarks: list[str], folder: str | None = None) -> np.ndarray:
        """Cells → entries (n,) or (n, width), NaN where missing, not yet scaled. Tells what was unusual."""

    def silent(self, type_: pa.DataType) -> bool:
        """Whether :meth:`numbers` has nothing to tell of cells of this type, whatever they hold."""
        return False

    @abstractmethod
    def cells(self, values: np.ndarray) -> pa.Array:
        """Entries (n, width), scaled back → cells."""

    def reader(self) -> Callable[[Any], float | Sequence[float]]:
        """One cell → its number, or its numbers where it has several; the same as :meth:`numbers` has of it.

        Raises:
            ValueError, TypeError: a cell that cannot be read.
        """
        raise NotImplementedError

    def told(self, observed: Any, expected: Any) -> tuple[str, str] | None:
        """A cell and the expected one as people would write them; None where both are told as they are."""
        return None

    def describe(self) -> list[str]:
        """What people should know of how the column is used, beside its kind."""
        return []

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "dtype": self.dtype}

    def __repr__(self) -> str:
        return f"{self.name}={self.kind}"
