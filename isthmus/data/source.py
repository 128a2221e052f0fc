"""Open whatever a person has as :class:`Rows`: raw rows of one kind, before any modality looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Skipped:
    """An input that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Rows:
    """Raw rows of one kind.

    ``kind`` is ``"array"`` (``data`` is an ndarray, rows first), ``"table"`` (a ``pyarrow.Table``) or
    ``"image"`` (a list of paths, or an integer ndarray ``(n, h, w)`` / ``(n, h, w, c)``). ``names``
    are the files of a folder, else None. ``origin`` is how messages call the rows.
    """

    kind: str
    data: Any
    origin: str = "the rows"
    names: tuple[str, ...] | None = None
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return self.data.num_rows if self.kind == "table" else len(self.data)

    def take(self, indices: Sequence[int] | np.ndarray) -> Rows:
        """The rows at ``indices``, in that order."""
        raise NotImplementedError

    def chunks(self, size: int) -> Iterator[Rows]:
        """The rows in order, ``size`` at a time."""
        raise NotImplementedError

    def replace(self, **changes: Any) -> Rows:
        return replace(self, **changes)


def open_rows(source: Any, *, strict: bool = False) -> Rows:
    """Open a path, glob, ``example:`` name, ``-``, list of paths, array, tensor or data frame."""
    raise NotImplementedError
