"""What ``isthmus info`` tells of a model: written down when it is fitted, so that no network is built to tell it.

A file that was saved otherwise, or by another isthmus, is opened and asked.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus import __version__, modelfile
from isthmus.app import words
from isthmus.record import Record
from isthmus.spec import Plan, Spec

if TYPE_CHECKING:
    from isthmus.model import Model


def telling(model: Model) -> dict[str, Any]:
    """What is written into the file, by whom."""
    return {"by": __version__, "lines": words.about_lines(model), "facts": words.facts(model)}


def told(path: Path) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Everything that a model file tells, lines by title for people, and the same for a machine."""
    header = modelfile.read_header(path)
    found = _written(header)
    if found is None:
        from isthmus.model import open_model

        found = telling(open_model(path, device="cpu"))
    size = path.stat().st_size
    said = {
        "file": str(path), "bytes": size, **found["facts"], "spec": Spec.from_json(header["spec"]).to_json(),
        "plan": Plan.from_json(header["plan"]).to_json(), "record": asdict(Record(**header["record"])),
    }  # fmt: skip
    return {"file": [f"{path} ({words.bytes_(size)})"], **found["lines"]}, said


def _written(header: dict[str, Any]) -> dict[str, Any] | None:
    """What stands in a file that this isthmus wrote; None in others, and where it is not what is written."""
    match header:
        case {"told": {"by": by, "lines": dict(lines), "facts": dict()}, "spec": dict(), "plan": dict(),
              "record": dict()} if by == __version__:  # fmt: skip
            listed = [line for said in lines.values() for line in said]
            return header["told"] if all(isinstance(line, str) for line in listed) else None
    return None
