"""A modality turns raw rows into tensors and tensors back into what the person brought."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from isthmus.data.rows import Rows
    from isthmus.data.sparse import Sparse


class Symmetry(Protocol):
    """Tensors like ``x`` (B, *shape) → as many others, and back."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def back(self, x: Tensor) -> Tensor: ...


class Modality(ABC):
    """What was learned about the raw rows: columns, scaling, categories, image size.

    It travels in the model file: the constructor takes exactly what :meth:`to_json` returns, and :meth:`fit`
    looks at rows and calls it.
    """

    kind: ClassVar[str]
    #: Is nearly all of x zero, so that it is kept, and explained, by the few entries that are not?
    sparse: ClassVar[bool] = False
    #: Does :meth:`fit` go through large rows by itself, or does it learn from some that stand for all?
    goes_through: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fit(cls, rows: Rows, **options: Any) -> Self:
        """Learn the schema from (training) rows. Options override what would be chosen."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one row's ``x``: ``(columns,)``, ``(channels, time)`` or ``(channels, height, width)``."""

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """What the entries of ``x`` are called, one name per entry of a flat shape; else empty."""

    @property
    def looks_at(self) -> list[str]:
        """The columns of a table that are looked at."""
        return self.names

    @property
    def groups(self) -> list[tuple[str, slice]] | None:
        """Entries of a flat ``x`` that are told as one (the words of a column), in order, by name; None where each is
        told by itself.
        """
        return None

    def told(self, name: str, observed: Any, expected: Any) -> tuple[str, str] | None:
        """A cell of what is called ``name`` and the expected one in words; None where both are told as they are."""
        return None

    @property
    def symmetries(self) -> tuple[Symmetry, ...]:
        """What leaves rows of the same kind: a picture in a mirror is a picture. Steps of training draw from them; the
        first one does nothing.
        """
        return ()

    def samples(self, rows: Rows) -> Rows:
        """The rows as samples of the network, where those are others: the windows of recordings."""
        return rows

    def wholes(self, rows: Rows) -> np.ndarray | None:
        """Which of ``rows`` each row of :meth:`to_tensors` is a piece of; None where rows are not judged by pieces."""
        return None

    @property
    def alike(self) -> float:
        """How many samples tell the same as one: windows of recordings overlap."""
        return 1.0

    @abstractmethod
    def to_tensors(self, rows: Rows) -> dict[str, Tensor] | dict[str, Tensor | Sparse]:
        """Raw rows → ``{"x": float32 (n, *shape)}``, plus ``"observed"`` (bool, like x) if a cell is missing.

        Missing cells are 0 in ``x``. Categories are their level's number. Where nearly all of ``x`` is zero it may
        be :class:`~isthmus.data.sparse.Sparse`.
        """

    @abstractmethod
    def from_tensors(self, x: Tensor, like: Rows | None = None) -> Any:
        """Tensors like ``x`` → raw rows: ndarray, ``pyarrow.Table`` or image array.

        ``like`` are the rows that they stand for, one for one, where a length or the like is to be theirs.
        """

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """The parts that suit such rows: ``{"encoder": ..., "decoder": ..., "likelihood": ...}``."""

    @abstractmethod
    def describe(self) -> list[str]:
        """The choices made, one sentence each, for people."""

    def remarks(self, rows: Rows) -> list[str]:
        """What is unusual about these rows and still usable, such as new categories, one sentence each."""
        # most modalities have nothing to say
        return []

    def halves(self, rows: Rows) -> tuple[Rows, Rows] | None:
        """Rows torn in two, each half of which is still a row and should be known for the same; None where rows
        cannot be torn.
        """
        return None

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The whole state as JSON; ``cls(**state)`` is this modality again."""
