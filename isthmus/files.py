"""Open and replace files so that what can go wrong is said in words, and nothing half-written stays.

A write goes to a temporary file beside the target, then to the disk, then over the target in one step:
whoever looks sees the old file or the new one, also after a kill or a power cut.
"""

from __future__ import annotations

import difflib
import errno
import io
import json
import math
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from isthmus.errors import FileError

# Windows translates line ends without O_BINARY; elsewhere neither flag is needed or both are known.
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def open_file(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file to read bytes. What is missing, a folder, a pipe or a device is a FileError.

    >>> open_file("no/such/model.isthmus")
    Traceback (most recent call last):
    isthmus.errors.FileError: There is no file no/such/model.isthmus: the folder no does not exist.
    """
    path = Path(path)
    try:
        # O_NONBLOCK, because opening a pipe that nobody writes to would wait for ever
        descriptor = os.open(path, _READ)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise FileError(f"{path} is {_kind(mode)}, not a file. Name a file.")


def write_atomic(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> None:
    """Let ``write(file)`` fill a new file, then put it at ``path`` in one step.

    If anything fails, a file that was there before is untouched and the temporary one is removed; only a
    kill can leave one (``.isthmus-*.tmp``, free to delete). A link is followed. Raises FileError where the
    file system refuses; errors of ``write`` itself pass through.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_atomic(f"{folder}/scores.csv", lambda file: file.write(b"row,score\\n") and None)
    ...     print(os.listdir(folder))
    ['scores.csv']
    """
    path = Path(path)
    try:
        target = Path(os.path.realpath(path))
        mode = _replaceable(path, target)
        temporary = target.parent / f".isthmus-{secrets.token_hex(8)}.tmp"
        descriptor = os.open(temporary, _WRITE, 0o666)  # less the umask, as any program would
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise  # about another file, which `write` was reading
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _replaceable(path: Path, target: Path) -> int | None:
    """The permissions of the file that would be replaced, None if there is none; else a FileError."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise FileError(f"Cannot write {path}: it is {_kind(mode)}. Name a file.")
    # replacing asks only for rights in the folder, but a write-protected file was protected for a reason
    if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(target, os.W_OK):
        raise FileError(f"Cannot write {path}: the file is write-protected. Choose another name.")
    return stat.S_IMODE(mode)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut. The file is complete by now, so no failure here is one."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows, and folders one may write to but not list
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems
        pass
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"


def _unreadable(path: Path, error: Exception) -> FileError:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOENT, errno.ENOTDIR):
        return FileError(f"There is no file {path}{_why_missing(path)}")
    if os.path.isdir(path):  # on Windows opening a folder is refused as if rights were missing
        return FileError(f"{path} is a folder, not a file. Name a file.")
    if code in (errno.EACCES, errno.EPERM):
        return FileError(f"Cannot read {path}: no permission.")
    return FileError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.")


def _unwritable(path: Path, error: Exception) -> FileError:
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOENT, errno.ENOTDIR):
        return FileError(f"Cannot write {path}{_why_missing(path)}")
    reasons = {
        errno.EACCES: f"no permission to write in {path.parent}. Choose another folder.",
        errno.EPERM: f"no permission to write in {path.parent}. Choose another folder.",
        errno.EROFS: f"{path.parent} can only be read. Choose another folder.",
        errno.ENOSPC: "the disk is full. Free some space or choose another folder.",
        errno.EDQUOT: "your share of the disk is used up. Free some space or choose another folder.",
        errno.EFBIG: "the file would be larger than this system allows.",
        errno.ENAMETOOLONG: "the name is too long.",
    }
    reason = reasons.get(code or 0) or f"{getattr(error, 'strerror', None) or error}."
    return FileError(f"Cannot write {path}: {reason}")


def _why_missing(path: Path) -> str:
    """The first folder of ``path`` that is not there, or a name like the one that was asked for."""
    for folder in reversed(path.parents):
        if not os.path.isdir(folder):
            if os.path.exists(folder):
                return f": {folder} is a file, not a folder."
            return f": the folder {folder} does not exist."
    try:
        names = os.listdir(path.parent)
    except OSError:
        names = []
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f". Did you mean {path.parent / close[0]}?" if close else "."


# --- JSON from strangers ----------------------------------------------------------------------------------

# Python needs up to some 70 bytes for a byte of JSON; together these keep a hostile header below 200 MB.
MAX_HEADER_BYTES = 16 * 2**20
MAX_HEADER_VALUES = 500_000
MAX_HEADER_DEPTH = 64

_TOO_DEEP = f"its header is nested deeper than {MAX_HEADER_DEPTH}."


def parse_json(raw: bytes) -> dict[str, Any]:
    """A JSON object of bounded size and depth, without duplicate keys or numbers that are not finite."""
    if len(raw) > MAX_HEADER_BYTES:
        raise ValueError(f"its header is larger than {MAX_HEADER_BYTES // 2**20} MB.")
    # counted before parsing, strings included: what is allocated must not depend on what is in it
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_HEADER_VALUES:
        raise ValueError(f"its header holds more than {MAX_HEADER_VALUES:,} values.")
    try:
        said = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ValueError("its header is not valid JSON.") from error
    except UnicodeDecodeError as error:
        raise ValueError("its header is not text.") from error
    except RecursionError as error:  # Python's own limit, which is some ten times ours
        raise ValueError(_TOO_DEEP) from error
    if not isinstance(said, dict):
        raise ValueError("its header is not a JSON object.")
    _check_depth(said)
    return said


def _check_depth(said: Any) -> None:
    level = [said]
    for _ in range(MAX_HEADER_DEPTH + 1):
        inner = [node.values() if isinstance(node, dict) else node for node in level]
        level = [child for nodes in inner for child in nodes if isinstance(child, dict | list)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    said = dict(pairs)
    if len(said) != len(pairs):
        raise ValueError("its header names something twice.")
    return said


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"its header holds the number {text[:20]}.")
    return number
