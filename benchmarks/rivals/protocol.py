"""A contestant's side of the conversation: one JSON request a line in, one JSON answer a line out."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Handler = Callable[..., dict[str, Any]]


def serve(**handlers: Handler) -> None:
    """Answer requests by name until the input ends.

    ``{"request": "fit", "options": {"epochs": 3}}`` → ``{"seconds": 4.2, "memory_mb": 312.0}``
    """
    answers = os.fdopen(os.dup(1), "w")
    # libraries print progress where they like: all of it belongs in the log, not among the answers
    os.dup2(2, 1)
    handlers = {"version": _version, **handlers}
    for row in sys.stdin:
        said = json.loads(row)
        answer = handlers[said["request"]](**said["options"])
        answers.write(json.dumps({**answer, "memory_mb": _peak_memory_mb()}) + "\n")
        answers.flush()


def _version(package: str) -> dict[str, Any]:
    try:
        return {"version": version(package)}
    except PackageNotFoundError:
        # run from a checkout that was not installed
        return {"version": getattr(sys.modules.get(package), "__version__", "unknown")}


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
