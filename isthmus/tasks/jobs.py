"""Fitting for a job: a task of the menu looks at the rows and says what a model that is to do it should be.

.. math:: fit(rows, job) = finish(fit(suit(rows)))
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.data.targets import with_target
from isthmus.errors import SpecError, unknown
from isthmus.fitting import split
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks import TASKS


@dataclass
class Asked:
    """What a job asks of a fit: its rows (cut, where there are few large ones), parts and plan; ``told`` is why, in
    words, and ``notes`` what is to be remembered of it.
    """

    rows: Rows
    recipe: str
    plan: Plan
    target: Rows | None = None
    parts: dict[str, Any] = field(default_factory=dict)
    modality_options: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)


class Job(ABC):
    """What a task asks before a fit and does after it. Its options are the keyword-only arguments of :meth:`suit`."""

    #: What rows may be opened as; the first is what arrays are.
    modalities: ClassVar[tuple[str, ...]] = ()

    def modality_of(self, source: Any, kind: str | None = None) -> str | None:
        """What ``source`` is opened as, where ``kind`` is what a person said of it, if anything; None where it is
        opened as what it is.
        """
        if kind is not None:
            return kind
        opened = isinstance(source, Rows) and source.kind in self.modalities
        return source.kind if opened else self.modalities[0]

    @abstractmethod
    def suit(self, rows: Rows, target: Rows | None, plan: Plan) -> Asked:
        """Look at the rows (and targets), and choose."""

    @abstractmethod
    def finish(self, model: Model, held: Rows | None, notes: Mapping[str, Any]) -> dict[str, Any]:
        """What is learned on the rows held out (with their targets beside them), once the network is fitted; kept in
        ``record.job`` with the notes, JSON.
        """

    @abstractmethod
    def words(self, notes: Mapping[str, Any]) -> list[str]:
        """The same for people."""


def known_jobs() -> list[str]:
    """The tasks that a model can be fitted for.

    >>> known_jobs()
    ['denoise', 'compress']
    """
    return [name for name, task in TASKS.items() if task.fits]


def open_job(name: str) -> Job:
    """The job of a task.

    Raises:
        SpecError: no model is fitted for a task of that name.
    """
    if name not in known_jobs():
        raise unknown("job", name, known_jobs())
    return TASKS[name].load_job()


def fit_for(
    name: str,
    source: Any,
    recipe: str = "plain",
    *,
    target: Any = None,
    options: Mapping[str, Any] | None = None,
    told: Callable[[str], Any] = lambda line: None,
    **asked: Any,
) -> Model:
    """:meth:`isthmus.Model.fit` for the task called ``name``, which chooses the recipe, unless one is said, and the
    parts that nothing is said of.

    Args:
        options: of the job, such as ``{"noise": "gaussian:25"}`` of ``"denoise"``.
        told: called with what was found and chosen, a line each.
    """
    job, strict = open_job(name), asked.get("strict", False)
    options = {option: value for option, value in (options or {}).items() if value is not None}
    known = [p.name for p in inspect.signature(job.suit).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise unknown(f"option of the job {name!r}", option, known)
    kind = job.modality_of(source, asked.get("modality"))
    if kind is None:
        source = open_rows(source, strict=strict)
        kind = source.kind
    if kind not in job.modalities:
        known_kinds = " or ".join(map(repr, job.modalities))
        raise SpecError(f"--for {name} takes rows as {known_kinds}; leave the kind out, got {kind!r}.")
    rows = open_rows(source, strict=strict, kind=kind)
    target = None if target is None else open_rows(target, strict=strict, kind=kind)
    found = job.suit(rows, target, asked.pop("plan", None) or Plan(), **options)
    for line in found.told:
        told(line)
    parts = {**found.parts, **(asked.pop("parts", None) or {})}
    chosen = {**found.modality_options, **(asked.pop("modality_options", None) or {})}
    model = Model.fit(
        found.rows,
        found.recipe if recipe == "plain" else recipe,
        **{**asked, "target": found.target, "parts": parts, "plan": found.plan, "modality": kind},
        modality_options=chosen,
    )
    if asked.get("validation_rows") is not None:
        held: Rows | None = open_rows(asked["validation_rows"], strict=strict, kind=kind)
    else:  # as they were chosen while fitting, since the seed is the same
        beside = found.rows if found.target is None else with_target(found.rows, found.target)
        held = split(beside, model.plan)[1]
    model.record.job = {"name": name, **found.notes, **job.finish(model, held, found.notes)}
    for line in job.words(model.record.job):
        told(line)
    return model
