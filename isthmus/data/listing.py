"""The files of a folder, however many: listed without asking each what it is, with a word where that takes long."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from isthmus.data.rows import Skipped
from isthmus.errors import FileError

T = TypeVar("T")

#: Seconds of silence, after which a person is told how far it is.
_PATIENCE = 2.0
#: Items between looks at the clock.
_EVERY = 256


def listed(folder: Path) -> tuple[list[str], list[Skipped]]:
    """The names of all files below ``folder``, with folders in them, and the folders that may not be looked into, with
    links that lead nowhere.

    Hidden files are nobody's rows, so they are not worth a remark. A folder that is a link is not followed, since it
    may lead back.

    Raises:
        FileError: the folder itself may not be looked into.
    """
    return _Listing(folder).found()


class _Listing:
    def __init__(self, folder: Path):
        self.folder, self.closed = folder, list[Skipped]()

    def found(self) -> tuple[list[str], list[Skipped]]:
        try:
            os.scandir(self.folder).close()
        except OSError as error:
            raise FileError(f"The folder {str(self.folder)!r} cannot be opened: {why(error)}.") from error
        return list(watched(self._below(""), f"{self.folder}: listed", "files")), self.closed

    def _below(self, inside: str) -> Iterator[str]:
        try:
            # told by the folder itself which of its entries are files: asking each takes ten times as long
            with os.scandir(self.folder / inside) as entries:
                kinds = [(e.name, e.is_dir(follow_symlinks=False), e.is_file(), e.is_symlink()) for e in entries]
        except OSError as error:
            self.closed.append(Skipped(inside, f"a folder that cannot be opened ({why(error)})"))
            return
        for name, is_folder, is_file, is_link in kinds:
            if is_folder:
                yield from self._below(f"{inside}{name}/")
            elif is_file and not name.startswith(".") and name != "Thumbs.db":
                yield f"{inside}{name}"
            elif is_link and not os.path.exists(self.folder / inside / name):
                self.closed.append(Skipped(f"{inside}{name}", "a link that leads nowhere"))


def watched(
    items: Iterable[T], doing: str, what: str, n: int | None = None, stream: TextIO | None = None, every: int = _EVERY
) -> Iterator[T]:
    """``items``, and after two seconds a line on the standard error that says how many came, every two seconds; the
    clock is looked at ``every`` so many.
    """
    said = time.monotonic()
    for i, item in enumerate(items):
        if i and i % every == 0 and time.monotonic() - said > _PATIENCE:
            said = time.monotonic()
            print(f"  {doing} {i:,}{f' of {n:,}' if n else ''} {what}", file=stream or sys.stderr, flush=True)
        yield item


def why(error: OSError) -> str:
    """What went wrong with a file, in words."""
    if isinstance(error, PermissionError):
        return "you have no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "it is no longer there"
    return error.strerror or type(error).__name__
