"""What a figure is: a name, a metric, a bar, and the function that measures it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Skip(Exception):
    """The figure cannot be measured here; the message says what is missing."""


@dataclass(frozen=True)
class Settings:
    """What a person chose on the command line. ``quick`` proves that the harness works, no more."""

    quick: bool = False
    rivals: bool = True
    seed: int = 0
    #: Of each training, where a figure is of one that time decides; None is the figure's own.
    minutes: float | None = None

    def pick(self, full: Any, quick: Any) -> Any:
        return quick if self.quick else full


@dataclass(frozen=True)
class Bar:
    """What a figure must reach. A ``goal`` is printed and recorded like the rest, and nothing hangs on it.

    >>> Bar(at_most=0.05).met(0.04), str(Bar(at_least=0.005, at_most=0.015)), str(Bar(at_least=1, goal=True))
    (True, '0.005 to 0.015', 'goal ≥ 1')
    """

    at_least: float | None = None
    at_most: float | None = None
    goal: bool = False

    def met(self, value: float) -> bool:
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)

    def to_json(self) -> dict[str, Any]:
        said = {"at_least": self.at_least, "at_most": self.at_most, "goal": self.goal or None}
        return {key: value for key, value in said.items() if value is not None}

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:.4g} to {self.at_most:.4g}"
        side = f"≥ {self.at_least:.4g}" if self.at_least is not None else f"≤ {self.at_most:.4g}"
        return f"goal {side}" if self.goal else side


@dataclass(frozen=True)
class Measured:
    """One measurement. ``runs`` holds every run behind ``value``, so that a doubt can be settled later.

    ``bar`` replaces the figure's own where it is another method's result in the same run. ``memory_mb``
    is the peak of the process that ran isthmus; None means the process that measured.
    """

    value: float
    runs: list[dict[str, Any]]
    data: str
    seed: int | list[int]
    versions: dict[str, str] = field(default_factory=dict)
    memory_mb: float | None = None
    seconds: float | None = None
    bar: Bar | None = None
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A claim and how it is checked. ``rivals`` says that the rivals' environment is needed."""

    metric: str
    measure: Callable[[Settings], Measured]
    bar: Bar | None = None
    rivals: bool = False
