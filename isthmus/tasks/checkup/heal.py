"""Fit, look at what came out, and fit again with the safe remedies: at most twice, and the better fit stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from torch import nn

from isthmus.conditions import with_condition
from isthmus.data.source import open_rows
from isthmus.model import Model
from isthmus.record import Record
from isthmus.spec import AUTO, Part, Plan
from isthmus.tasks.checkup.findings import Finding, seen
from isthmus.tasks.checkup.health import look

_REFITS = 2
#: Errors this near to each other are equal.
_NEAR = 1.02


def fit(source: Any, recipe: str = "plain", *, told: Callable[[str], Any] = lambda line: None, **asked: Any) -> Model:
    """:meth:`isthmus.Model.fit`, and again with what helps where something is wrong that can safely be mended.

    A refit is kept where what was to be mended weighs less at an error (on held-out rows, if there are any) at most
    2 % higher, or weighs no more at one more than 2 % lower. What a person said stays as it was said; where that
    stands in the way of a remedy, it is told. Each fit may take ``plan.max_time``. ``told`` is called with every
    step in words; ``record.healing`` keeps the steps.
    """
    began = time.perf_counter()
    rows = open_rows(source, strict=asked.get("strict", False), kind=asked.get("modality"))
    if asked.get("condition") is not None:
        rows = with_condition(rows, asked["condition"])
        asked["condition"] = None
    best = last = Model.fit(rows, recipe, **asked)
    found = wrong = seen(best, look(best, rows)[1])
    story: list[dict[str, Any]] = []
    # a killed run goes on from the first fit; a refit begins afresh
    again = {**asked, "checkpoint": None, "resume": False}
    while len(story) < _REFITS and last.record.stopped != "interrupted":
        change, as_said = allowed(found, asked)
        if not change and not as_said:
            break
        step: dict[str, Any] = {"found": [f.what for f in found if f.remedy and f.remedy.safe]}
        step |= {"change": change, "as_said": as_said}
        story.append(step)
        if change:
            again = laid_over(again, change)
            last = Model.fit(rows, recipe, **again)
            found = seen(last, look(last, rows)[1])
            before, after = _error(best.record), _error(last.record)
            better = _better(_weight(found) - _weight(wrong), after / max(before, 1e-30))
            step |= {"error_before": before, "error_after": after, "left": [f.what for f in found], "kept": better}
            if better:
                best, wrong = last, found
        told(words(step))
        if not change:
            break
    best.record.healing = story
    best.record.seconds = time.perf_counter() - began
    return best


def allowed(found: Iterable[Finding], asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changes of the safe remedies that touch nothing a person said, and what was said against the others."""
    said = _said(asked)
    change: dict[str, Any] = {}
    as_said: dict[str, Any] = {}
    for finding in found:
        if finding.remedy is None or not finding.remedy.safe:
            continue
        for name, value in finding.remedy.change().items():
            place = name.partition(".")[0]
            against = name if name in said else place if place in said else None
            if against:
                as_said[against] = said[against]
            else:
                change.setdefault(name, value)  # the first finding matters most
    return change, as_said


def laid_over(asked: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """What :meth:`Model.fit` is asked for, with a change laid over it."""
    parts, plan, others = dict(asked.get("parts") or {}), asked.get("plan") or Plan(), dict(asked)
    for name, value in change.items():
        place, _, option = name.partition(".")
        if place == "training":
            plan = plan.replace(**{option: value})
        elif not option:
            others[name] = value
        else:
            part = parts.get(place) or {}
            part = part if isinstance(part, Mapping) else Part.of(part).to_json()
            parts[place] = {**part, option: value}
    return {**others, "parts": parts, "plan": plan}


def words(step: Mapping[str, Any]) -> str:
    """A step of the healing in one sentence."""
    said = []
    if step["change"]:
        changed = ", ".join(f"{name}={value}" for name, value in step["change"].items())
        end = "kept" if step["kept"] else "no better, so it was not kept"
        said.append(f"fitted again with {changed}, error {step['error_before']:.4g} → {step['error_after']:.4g}, {end}")
    if step["as_said"]:
        kept = ", ".join(f"{name}={value}" for name, value in step["as_said"].items())
        said.append(f"left as you said: {kept}")
    return f"{', '.join(step['found'])}: {'; '.join(said)}"


def _said(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a person chose, by the names that a change has; a place alone where the whole part is theirs."""
    said: dict[str, Any] = {}
    if asked.get("latent_dim", AUTO) != AUTO:
        said["latent_dim"] = asked["latent_dim"]
    for place, part in (asked.get("parts") or {}).items():
        if isinstance(part, nn.Module):
            said[place] = type(part).__name__
        elif place != "penalties":
            options = part if isinstance(part, Mapping) else Part.of(part).to_json()
            said |= {f"{place}.{name}": value for name, value in options.items()}
    usual, plan = Plan(), asked.get("plan") or Plan()
    for field in fields(Plan):
        if getattr(plan, field.name) != getattr(usual, field.name):
            said[f"training.{field.name}"] = getattr(plan, field.name)
    return said


def _error(record: Record) -> float:
    error = record.train_error if record.error is None else record.error
    assert error is not None
    return error


def _weight(found: Iterable[Finding]) -> float:
    return sum(finding.severity for finding in found if finding.remedy and finding.remedy.safe)


def _better(more_wrong: float, error_ratio: float) -> bool:
    return (more_wrong < -1e-9 and error_ratio <= _NEAR) or (more_wrong <= 1e-9 and error_ratio < 1 / _NEAR)
