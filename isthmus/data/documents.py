"""Read documents: the lines of a file, whole files, or lines of JSON; or say in a sentence why not.

Nothing is read beyond a bound, so a file that is one endless line costs no more than its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from isthmus.data.listing import why
from isthmus.data.magic import binary_reason
from isthmus.errors import FileError
from isthmus.files import open_file

if TYPE_CHECKING:
    import pyarrow as pa

#: Bytes of one document that are looked at, and of one line of JSON, which cannot be cut.
LONGEST, LONGEST_JSON = 1 << 20, 1 << 26


@dataclass
class Told:
    """What was met while reading, for the remarks."""

    lines: int = 0
    latin: int = 0
    cut: int = 0
    utf16: bool = False
    where: str = ""
    also: list[str] = field(default_factory=list)

    def remarks(self) -> list[str]:
        said = [f"{self.where} is UTF-16; it was read as that."] if self.utf16 else []
        if self.latin:
            said.append(
                f"{self.latin:,} of {self.lines:,} lines of {self.where} are not UTF-8; they were read as Latin-1."
            )
        if self.cut:
            said.append(
                f"{self.cut:,} document(s) of {self.where} are longer than {LONGEST >> 20} MiB; "
                "only their beginning is used."
            )
        return said + self.also


def read_lines(path: Path) -> tuple[list[str], list[str]]:
    """A ``.txt``: every line is a document, an empty one too, so that documents keep their line's number."""
    told = Told(where=path.name)
    with open_file(path) as file:
        lines = [line for line, _ in lines_at(file, path.name, told, LONGEST)]
    if empty := sum(not line.strip() for line in lines):
        told.also.append(f"{empty:,} of {len(lines):,} lines of {path.name} are empty: documents without a word.")
    return lines, told.remarks()


def read_document(path: Path) -> tuple[str, str | None]:
    """A whole file as one document, and what a person should know of it. It ends after ``LONGEST`` bytes.

    Raises:
        FileError: it is no text; the message is the reason alone, for a list of files that were skipped.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise FileError(why(error)) from error
    if reason := binary_reason(data[: 1 << 18]):
        raise FileError(reason)
    cut = len(data) > LONGEST
    text, latin = _decoded(data[:LONGEST], _encoding(data), cut)
    reasons = ["not UTF-8, read as Latin-1"] * latin + [f"longer than {LONGEST >> 20} MiB, the rest is not used"] * cut
    return text, ", ".join(reasons) or None


def read_jsonl(path: Path) -> tuple[pa.Table, list[str]]:
    """Lines of JSON objects as a table: a column per name, missing where a line lacks it."""
    told = Told(where=path.name)
    with open_file(path) as file:
        table = json_table(lines_at(file, path.name, told, LONGEST_JSON), path.name)
    if table is None:
        raise FileError(f"{path.name!r} holds no line of JSON.")
    return table, told.remarks()


def json_table(lines: Iterable[tuple[str, bool]], name: str, first: int = 1) -> pa.Table | None:
    """Lines of JSON, of which the first has this number, as a table; None where none holds anything."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {}
    n = 0
    for number, (line, cut) in enumerate(lines, start=first):
        if cut:
            raise FileError(f"Line {number} of {name!r} is longer than {LONGEST_JSON >> 20} MiB. Split it.")
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except ValueError as error:
            raise FileError(
                f'Line {number} of {name!r} is no JSON ({error}). Every line holds one object, as in {{"title": "…"}}.'
            ) from error
        if not isinstance(said, dict):
            said = {"text": said}
        for key, value in said.items():
            columns.setdefault(key, [None] * n).append(
                json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
            )
        n += 1
        for cells in columns.values():
            if len(cells) < n:
                cells.append(None)
    return pa.table({key: _column(cells) for key, cells in columns.items()}) if columns else None


def _column(cells: list[Any]) -> Any:
    """Cells of one type; as text where they are of several."""
    import pyarrow as pa

    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


def lines_at(file: BinaryIO, name: str, told: Told, longest: int, begin: int = 0) -> Iterator[tuple[str, bool]]:
    """Each line from byte ``begin`` on, and whether it was longer than it may be; the rest of such a line is passed
    over.
    """
    head = file.read(1 << 18)
    if reason := binary_reason(head):
        raise FileError(f"{name!r} is not text: it {reason}. Give it its right ending, or save it as UTF-8.")
    told.utf16 = _encoding(head).startswith("utf-16")
    file.seek(begin)
    for raw, cut in _pieces(file, longest, _encoding(head)):
        told.lines += 1
        told.cut += cut
        if b"\0" in raw and not told.utf16:
            raise FileError(f"{name!r} is not text: line {told.lines} holds binary data. Save it as text in UTF-8.")
        text, latin = _decoded(raw, _encoding(head), cut)
        told.latin += latin
        first = begin == 0 and told.lines == 1
        yield (text.removeprefix("\ufeff") if first else text).rstrip("\r\n"), cut


def _pieces(file: BinaryIO, longest: int, encoding: str) -> Iterator[tuple[bytes, bool]]:
    wide = encoding.startswith("utf-16")
    # of UTF-16 a line ends in two bytes, and a lone 0x0A may be half of a letter
    ends = "\n".encode(encoding) if wide else b"\n"
    if wide:
        yield from _wide_pieces(file, longest, ends)
        return
    while raw := file.readline(longest):
        cut, more = False, raw
        while not more.endswith(b"\n") and (more := file.readline(longest)):
            cut = cut or more not in (b"\n", b"\r\n")
        yield raw, cut


def _wide_pieces(file: BinaryIO, longest: int, ends: bytes) -> Iterator[tuple[bytes, bool]]:
    """The same for letters of two bytes."""
    line, cut, left = b"", False, b""
    while block := file.read(1 << 20):
        block = left + block
        left = block[len(block) & ~1 :]
        at = 0
        while at < len(block) - 1:
            end = _aligned(block, ends, at)
            stop = len(block) & ~1 if end < 0 else end
            room = longest - len(line)
            cut = cut or stop - at > room
            line += block[at : min(stop, at + room)]
            at = stop
            if end >= 0:
                yield line, cut
                line, cut, at = b"", False, end + 2
    if line:
        yield line, cut


def _aligned(block: bytes, ends: bytes, start: int) -> int:
    """Where ``ends`` next stands at an even place; −1 if nowhere."""
    at = block.find(ends, start)
    while at >= 0 and at & 1:
        at = block.find(ends, at + 1)
    return at


def _encoding(head: bytes) -> str:
    if head.startswith(b"\xff\xfe"):
        return "utf-16-le"
    return "utf-16-be" if head.startswith(b"\xfe\xff") else "utf-8"


def _decoded(raw: bytes, encoding: str, cut: bool) -> tuple[str, bool]:
    """Text, and whether it had to be taken for Latin-1. What was cut may end in the middle of a letter."""
    try:
        return raw.decode(encoding), False
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-16"):
            return raw.decode(encoding, errors="replace"), False
        if cut and len(raw) - error.start < 4:
            return raw[: error.start].decode(encoding), False
        return raw.decode("latin-1"), True
