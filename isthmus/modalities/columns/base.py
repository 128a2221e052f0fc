"""What became of one column of a table: the contract of its kinds.

.. math:: \\mathrm{cells} \\;(n,) \\to \\mathrm{entries} \\;(n, \\mathrm{width}) \\to \\mathrm{cells}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Studied:
    """What a kind may know of the table that its column stands in, and where it puts what people should know.

    ``weight`` is what an entry of many is multiplied by, so that a column of thousands of entries varies as much as
    all columns of one entry together. ``folder`` is where paths in cells begin.
    """

    origin: str = "the rows"
    max_levels: int = 64
    n_rows: int = 0
    weight: float = 1.0
    folder: str | None = None
    seen: list[str] = field(default_factory=list)


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
