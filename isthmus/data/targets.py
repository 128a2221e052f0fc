"""Targets: what should come back for each row, where that is not the row itself. They go beside their rows."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.errors import DataError


def with_target(rows: Rows, target: Rows) -> Rows:
    """``rows`` with their targets beside them, in the same order; of large rows they are read in step.

    Raises:
        DataError: they cannot belong together.
    """
    _check(rows, target)
    return rows.with_beside("target", target)


def without_target(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rows as they come at use."""
    return {name: t for name, t in tensors.items() if not name.startswith("target")}


def wanted_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What should come back, as rows of its own; rows without targets as they are."""
    if "target" not in tensors:
        return dict(tensors)
    there = {"observed": tensors["target_observed"]} if "target_observed" in tensors else {}
    return {"x": tensors["target"], **there}


def _check(rows: Rows, target: Rows) -> None:
    """Refuse rows and targets that cannot belong together."""
    if rows.kind != target.kind:
        raise DataError(
            f"Rows and their targets are of one kind; got {rows.kind} rows ({rows.origin}) and {target.kind} targets "
            f"({target.origin}). Bring both in the same form."
        )
    if len(rows) != len(target):
        skipped = len(rows.skipped) + len(target.skipped)
        raise DataError(
            f"Every row needs its target: there are {len(rows):,} rows ({rows.origin}) and {len(target):,} targets "
            f"({target.origin}{f'; {skipped} file(s) were skipped' if skipped else ''}). "
            "Bring as many of both, in the same order."
        )
    if rows.kind == "array" and _shape(rows) != _shape(target):
        raise DataError(
            f"A row and its target have one shape; got rows of {_shape(rows)} ({rows.origin}) and targets of "
            f"{_shape(target)} ({target.origin})."
        )
    mine, others = (one.names or getattr(one.data, "names", None) for one in (rows, target))
    if mine and others:
        known = set(others)
        for name, other in zip(mine, others, strict=True):
            if name != other and name in known:
                raise DataError(
                    f"The files are out of step: {name!r} of {rows.origin} would be paired with {other!r} of "
                    f"{target.origin}. Give both folders the same file names."
                )


def _shape(rows: Rows) -> tuple[int, ...]:
    """The shape of a row of an array."""
    data = rows.data
    if not rows.large:
        return tuple(data.shape[1:])
    return tuple(getattr(data, "row_shape", (data.width,)))
