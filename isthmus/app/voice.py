"""What all commands share: where words go, what a machine is told, and where a file may be written."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import update_wrapper
from pathlib import Path
from typing import Any

import click

from isthmus.errors import FileError

#: Seconds between two words of how far long work is.
_PATIENCE = 2.0
#: The help of ``--stream``.
STREAM = "Read tables and shards in stretches, with flat memory, or whole; by itself where memory would be short."


class Voice:
    """Where words go: to standard output, or to standard error when standard output is for a machine."""

    def __init__(self, quiet: bool, as_json: bool):
        self.quiet, self.as_json = quiet, as_json
        self.said = time.monotonic()

    @property
    def stream(self) -> Any:
        return sys.stderr if self.as_json else sys.stdout

    def say(self, text: str = "", **style: Any) -> None:
        if not self.quiet:
            click.echo(painted(text, self.stream, **style) if style else text, file=self.stream)

    def counted(self, done: int, of: int) -> None:
        """How far long work has come: a line every two seconds."""
        now = time.monotonic()
        if self.quiet or now - self.said < _PATIENCE or done == of:
            return
        self.said = now
        click.echo(f"  {done:,} of {of:,}", err=True)

    def told(self, found: Mapping[str, Any]) -> None:
        """The result for a machine: one JSON object, and nothing else, on standard output."""
        if self.as_json:
            click.echo(json.dumps(plain(found), ensure_ascii=False))


def painted(text: str, stream: Any, **style: Any) -> str:
    colours = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return click.style(text, **style) if colours else text


def plain(value: Any) -> Any:
    """Anything as JSON: numpy's numbers as Python's, and what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def voiced(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--quiet --json --debug`` and, as its first argument, a :class:`Voice`."""

    def command(*, quiet: bool, as_json: bool, debug: bool, **options: Any) -> None:
        function(Voice(quiet, as_json), **options)

    command = update_wrapper(command, function)
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, words on stderr."),
        click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors."),
    ):  # fmt: skip
        command = option(command)
    return command


def one_line(message: object) -> str:
    return " ".join(str(message).split())


def check_output(path: Path, *, folders: bool = False) -> None:
    """Refuse a place that cannot be written to, before the work is done rather than after."""
    if path.is_dir() and not folders:
        raise FileError(f"Cannot write {path}: it is a folder. Name a file in it.")
    folder = path.parent
    if not folder.is_dir():
        if folder.exists():
            raise FileError(f"Cannot write {path}: {folder} is a file, not a folder.")
        raise FileError(f"Cannot write {path}: the folder {folder} does not exist. Make it first.")
    if path.exists() and not path.is_dir() and not path.is_file():
        raise FileError(f"Cannot write {path}: it is a device or a pipe. Name a file.")
    if not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise FileError(f"Cannot write {path}: no permission. Choose another place.")
