"""``isthmus detect MODEL - --follow``: a line comes in, a line goes out, at once.

Garbage is counted, kept in a file where one is named, answered with a line that says why, and passed over. The
stream's end and an interrupt end the command alike: with a summary.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from isthmus.data.lines import Lines, arriving
from isthmus.errors import DataError
from isthmus.tasks.detection.stream import Follower, Read, Scored

if TYPE_CHECKING:
    from isthmus.model import Model

COLUMNS = ("line", "score", "p_value", "anomaly", "why")


def follow(
    model: Model,
    stream: BinaryIO,
    out: IO[str],
    say: Callable[[str], None],
    *,
    as_json: bool = False,
    rejects: Path | None = None,
    **options: Any,
) -> None:
    """Score the lines of ``stream`` as they come and write a line for each to ``out``; words go through ``say``.

    ``options`` are those of :class:`isthmus.tasks.detection.stream.Follower`.

    Raises:
        DataError: the columns that the stream names are not the model's.
    """
    follower, lines, told = Follower(model, **options), Lines(), _Told(out, as_json)
    kept: BinaryIO | None = None
    n_lines = n_rejected = 0
    try:
        kept = None if rejects is None else rejects.open("ab")
        for arrived in arriving(stream):
            found: list[tuple[int, Read | str]] = []
            for line in arrived:
                n_lines += 1
                row = _cells(lines, line)
                if lines.names is not None and follower.names is None:
                    follower.expect(lines.names)  # another schema ends the command
                if row is None:
                    continue
                read = row if isinstance(row, str) else _numbers(follower, row)
                found.append((n_lines, read))
                if isinstance(read, str):
                    n_rejected += 1
                    if kept is not None:
                        kept.write(line.rstrip(b"\r\n") + b"\n")
            if kept is not None:
                kept.flush()
            scored = iter(follower.score([read for _, read in found if not isinstance(read, str)]))
            for number, read in found:
                one = read if isinstance(read, str) else next(scored)
                told.line(number, one)
                if isinstance(one, Scored) and one.drift:
                    say(f"! {one.drift}")
            out.flush()
        told.begin()
    except KeyboardInterrupt:
        say("interrupted")
    finally:
        if kept is not None:
            kept.close()
    for sentence in follower.summary():
        say(sentence)
    if n_rejected:
        where = f", kept in {rejects}" if rejects is not None else " (--rejects FILE keeps them)"
        say(f"! {n_rejected:,} of {n_lines:,} lines held no row{where}")


def _cells(lines: Lines, line: bytes) -> Any:
    """The cells of a line, None where it needs no answer, or in words why it holds none."""
    try:
        return lines.read(line)
    except DataError as garbage:
        return str(garbage)


def _numbers(follower: Follower, row: Any) -> Read | str:
    try:
        return follower.read(row)
    except DataError as garbage:
        return str(garbage)


class _Told:
    """Writes a line for each line: JSON, or CSV under one header."""

    def __init__(self, out: IO[str], as_json: bool):
        self.out, self.as_json, self.csv = out, as_json, csv.writer(out, lineterminator="\n")
        self.begun = as_json

    def begin(self) -> None:
        """The header: not before the stream has shown that its columns are the model's."""
        if not self.begun:
            self.csv.writerow(COLUMNS)
            self.begun = True

    def line(self, number: int, one: Scored | str) -> None:
        self.begin()
        if self.as_json:
            said = {"rejected": one} if isinstance(one, str) else one.to_json()
            self.out.write(json.dumps({"line": number, **said}, ensure_ascii=False) + "\n")
        elif isinstance(one, str):
            self.csv.writerow((number, "", "", "", f"rejected: {one}"))
        else:
            self.csv.writerow((number, f"{one.score:.7g}", f"{one.p_value:.6g}", str(one.anomaly).lower(), one.why))


def standard_input() -> BinaryIO:
    """The bytes of the standard input."""
    return sys.stdin.buffer
