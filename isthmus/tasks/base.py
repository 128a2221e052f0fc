"""A task is a function of a fitted model: ``task(model, rows, *, options) -> Result``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any


class Result(ABC):
    """What a task found. The command line saves it, the notebook frames it, the report draws it."""

    @abstractmethod
    def to_frame(self) -> Any:
        """The result as a pandas DataFrame, one line per row."""

    @abstractmethod
    def save(self, path: Path) -> list[Path]:
        """Write to ``path`` (its ending chooses the format), atomically; return the files written."""

    @abstractmethod
    def summary(self) -> list[str]:
        """What a person wants to know first, one sentence a line."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The summary for a machine (``--json``)."""
