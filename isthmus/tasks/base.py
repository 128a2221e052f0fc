"""A task is a function of a fitted model: ``task(model, rows, *, options) -> Result``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

#: Endings of files that a result is drawn into.
PICTURES = (".svg", ".html", ".htm")


@dataclass(frozen=True)
class Task:
    """A line of the menu: where the function is (below ``isthmus.tasks``), and what it does in one sentence.

    The function's keyword-only arguments are the options of its subcommand.
    """

    where: str
    about: str
    #: Whether it can be done to rows as they come (``--follow``, :mod:`isthmus.app.follow`).
    follows: bool = False
    #: Whether rows that stream are written as they are done, so that a stopped run can go on.
    sweeps: bool = False
    #: Where the class is that says what a model which is to do it should be (``fit --for``, :mod:`isthmus.tasks.jobs`).
    fits: str = ""

    def load(self) -> Callable[..., Result]:
        """The function itself. Only now is anything heavy imported."""
        function: Callable[..., Result] = _loaded(self.where)
        return function

    def load_job(self) -> Any:
        """The job of a task that models are fitted for (:class:`isthmus.tasks.jobs.Job`)."""
        return _loaded(self.fits)()


def _loaded(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(f"isthmus.tasks.{module}"), name)


class Result(ABC):
    """What a task found. The command line saves it, the notebook frames it, the report draws it."""

    def to_table(self) -> Any:
        """The result as a ``pyarrow.Table``, one line per row."""
        raise NotImplementedError

    def to_frame(self) -> Any:
        """The result as a pandas DataFrame, one line per row (pandas must be installed)."""
        from isthmus.data.sink import to_pandas

        return to_pandas(self.to_table())

    def plot(self) -> Any:
        """The result drawn (:class:`isthmus.picture.Picture`); None where words and a table say all."""
        return None

    def save(self, path: Path) -> list[Path]:
        """Write to ``path``, whole or not at all; return the files written. The ending chooses the format: a picture
        (``.svg``, ``.html``), where there is one, or the table.
        """
        from isthmus.data.sink import save_rows

        if Path(path).suffix.lower() in PICTURES and (picture := self.plot()) is not None:
            return [picture.save(path)]
        return save_rows(self.to_table(), path)

    @abstractmethod
    def summary(self) -> list[str]:
        """What a person wants to know first, one sentence a line."""

    def glimpse(self) -> list[str]:
        """The first rows of what was made, where nobody asked for a file; most results say all in their summary."""
        return []

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The summary for a machine (``--json``)."""
