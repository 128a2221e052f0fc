"""Targets: what should come back for each row, where that is not the row itself. They go beside their rows."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.errors import DataError


def with_target(rows: Rows, target: Rows) -> Rows:
    """``rows`` with their targets beside them, in the same order.

    Raises:
        DataError: they cannot belong together.
    """
    for one in (rows, target):
        one.in_memory("A target for each row needs")
    _check(rows, target)
    return rows.replace(beside={**rows.beside, "target": target})


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
    if rows.kind == "array" and rows.data.shape[1:] != target.data.shape[1:]:
        raise DataError(
            f"A row and its target have one shape; got rows of {rows.data.shape[1:]} ({rows.origin}) and targets of "
            f"{target.data.shape[1:]} ({target.origin})."
        )
    if rows.names and target.names:
        known = set(target.names)
        for name, other in zip(rows.names, target.names, strict=True):
            if name != other and name in known:
                raise DataError(
                    f"The files are out of step: {name!r} of {rows.origin} would be paired with {other!r} of "
                    f"{target.origin}. Give both folders the same file names."
                )
