"""Read one file of rows: CSV, Parquet, Arrow, NumPy, JSON lines or text, or say in a sentence why not."""

from __future__ import annotations

import codecs
import csv as plain_csv
import difflib
import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.documents import read_jsonl, read_lines
from isthmus.data.listing import why
from isthmus.data.magic import MAGIC, binary_reason, is_wide
from isthmus.errors import FileError

if TYPE_CHECKING:
    import pyarrow as pa

#: How people write a cell that is not there.
NULLS = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "NULL", "null", "None", "none", "?")
#: What may stand between cells, the likeliest first.
DELIMITERS = ",;\t|"

#: What texts begin with that are no CSV, what they are, and what to do.
_TEXTS = (
    (b"<!doctype", "a web page", "Download the file itself."),
    (b"<html", "a web page", "Download the file itself."),
    (b"<?xml", "XML", "Export the rows as CSV."),
    (b'{"', "JSON lines", "Give it the ending .jsonl."),
    (b"version https://git-lfs", "a Git LFS pointer", "Fetch the file itself: git lfs pull."),
)

#: Bytes that a file is judged by.
_HEAD = 1 << 18


def missing(path: Path) -> FileError:
    """The error for a file that is not there, with the names beside it that look alike."""
    folder = path.parent
    if not folder.is_dir():
        return FileError(f"There is no file {str(path)!r}: the folder {str(folder)!r} does not exist.")
    near = difflib.get_close_matches(path.name, os.listdir(folder), n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(str(folder / name)) for name in near)}?" if near else ""
    return FileError(f"There is no file {str(path)!r}.{hint}")


def _guarded(read: Callable[[Path], Any], what: str) -> Callable[[Path], Any]:
    """Turn what a reader throws at a damaged file into one sentence."""

    def reader(path: Path) -> Any:
        import pyarrow as pa

        try:
            if path.stat().st_size == 0:
                raise FileError(f"{path.name!r} is empty (0 bytes).")
            return read(path)
        except FileError:
            raise
        except (PermissionError, FileNotFoundError) as error:
            raise FileError(f"{str(path)!r} cannot be read: {why(error)}.") from error
        except (pa.ArrowException, OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
            said = why_unreadable(error)
            raise FileError(
                f"{path.name!r} cannot be read as {what}: it is damaged, cut short or something else ({said})."
            ) from error

    return reader


# --- CSV --------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> tuple[pa.Table, list[str]]:
    return parse_csv(path, path.name, delimiter=None)


def _read_tsv(path: Path) -> tuple[pa.Table, list[str]]:
    return parse_csv(path, path.name, delimiter="\t")


def parse_csv(source: Path | bytes, origin: str, *, delimiter: str | None) -> tuple[pa.Table, list[str]]:
    """CSV → table and the decisions taken.

    The first line names the columns, unless all its cells are numbers: then the columns are called x0,
    x1, … and the line is a row (a header 0, 1, 2, …, as pandas writes it, is a header all the same). Cells
    such as NA or ? are missing; spaces around names and texts are dropped; an unnamed first column that
    counts the rows (the index that pandas writes) is dropped and reported. Without ``delimiter`` the
    first line decides between comma, semicolon, tab and bar.
    """
    import pyarrow as pa
    from pyarrow import csv

    remarks: list[str] = []
    form = CsvForm.of(source[:_HEAD] if isinstance(source, bytes) else _head(source), origin, delimiter)
    if form.headerless:
        remarks.append(f"{origin} has no header (its first line is all numbers): its columns are called x0, x1, ….")

    def read(encoding: str) -> pa.Table:
        said = replace(form, encoding=encoding).options(form.names if form.headerless else None)
        return csv.read_csv(io.BytesIO(source) if isinstance(source, bytes) else source, **said)

    encoding = form.encoding
    try:
        table = read(encoding)
        # pyarrow leaves as bytes what is not UTF-8
        if encoding == "utf8" and any(pa.types.is_binary(column.type) for column in table.columns):
            encoding = "latin-1"
            table = read(encoding)
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise _no_csv(origin, error) from error
    columns = list(table.columns)
    if encoding == "latin-1":
        columns, both = of_two_encodings(columns)
        remarks.append(two_encodings(origin, both))
    columns = [tidy(column) for column in columns]
    names = [name.strip().strip("\ufeff") for name in table.column_names]
    if len(names) > 1 and _is_index(names[0], columns[0]):
        names, columns = names[1:], columns[1:]
        remarks.append(f"The unnamed first column of {origin} counts the rows, so it was left out.")
    names = [name or f"x{j}" for j, name in enumerate(names)]
    return pa.table(columns, names=names), remarks


def two_encodings(origin: str, both: int) -> str:
    """What people are told of a CSV that is not UTF-8, in which ``both`` cells are all the same."""
    if not both:
        return f"{origin} is not UTF-8; it was read as Latin-1."
    return (
        f"{origin} mixes UTF-8 with something else: {both:,} cell(s) were read as UTF-8, the rest as Latin-1. Look at "
        "its letters."
    )


def of_two_encodings(columns: list[pa.ChunkedArray]) -> tuple[list[pa.ChunkedArray], int]:
    """Columns read as Latin-1, with the cells that are UTF-8 read as such, and how many these were.

    Letters beyond ASCII that are Latin-1 are hardly ever valid UTF-8 by chance.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found, both = [], 0
    for column in columns:
        if pa.types.is_string(column.type):
            texts = {text: _as_utf8(text) for text in pc.unique(column).to_pylist() if text and not text.isascii()}
            changed = {text: said for text, said in texts.items() if said is not None}
            if changed:
                cells = column.to_pylist()
                both += sum(cell in changed for cell in cells)
                column = pa.chunked_array([pa.array([changed.get(cell, cell) for cell in cells], pa.string())])
        found.append(column)
    return found, both


def _as_utf8(text: str) -> str | None:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return None


@dataclass(frozen=True)
class CsvForm:
    """How a CSV is written, as its head tells: ``names`` as they stand there, ``body`` where the rows begin."""

    names: list[str]
    encoding: str
    delimiter: str
    headerless: bool
    quoted: bool
    body: int = 0

    @classmethod
    def of(cls, head: bytes, origin: str, delimiter: str | None) -> CsvForm:
        """From the first bytes of the file."""
        if not head.strip():
            raise FileError(f"{origin} is empty: a CSV starts with a line of column names.")
        encoding = _encoding(head, origin)
        # an odd last byte of a cut multi-byte letter is no reason to refuse the whole head
        first = head.decode(encoding, errors="replace").lstrip("\ufeff \t\r\n").splitlines()[0]
        delimiter = delimiter or max(DELIMITERS, key=first.count)
        names = _names(first, delimiter)
        headerless = is_data(names)
        if headerless:
            names = [f"x{j}" for j in range(len(names))]
        begin = len(head) - len(head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n"))
        body = begin if headerless else head.find(b"\n", begin) + 1 or len(head)
        return cls(names, encoding, delimiter, headerless, b'"' in head, body)

    def options(self, names: list[str] | None, types: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What pyarrow is told; without ``names`` it takes the first line for them."""
        from pyarrow import csv

        return {
            "read_options": csv.ReadOptions(encoding=self.encoding, column_names=names),
            "parse_options": csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=self.quoted),
            "convert_options": csv.ConvertOptions(
                null_values=list(NULLS),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                column_types=types,
            ),
        }

    def parse(self, lines: bytes, origin: str, types: Mapping[str, Any] | None = None) -> pa.Table:
        """Some lines of the body."""
        import pyarrow as pa
        from pyarrow import csv

        try:
            return csv.read_csv(io.BytesIO(lines), **self.options(self.names, types))
        except (pa.ArrowInvalid, UnicodeError) as error:
            raise _no_csv(origin, error) from error


def _names(line: str, delimiter: str) -> list[str]:
    """The cells of the first line."""
    try:
        cells = next(plain_csv.reader([line], delimiter=delimiter))
    except plain_csv.Error:  # one that is longer than any name
        cells = [cell.strip().strip('"') for cell in line.split(delimiter)]
    return [cell.strip() for cell in cells]


def _no_csv(origin: str, error: Exception) -> FileError:
    said = why_unreadable(error)
    if "straddling" in said or "cannot infer" in said:
        return too_long(origin)
    return FileError(f"{origin} cannot be read as CSV: {said}. Every line needs the same number of cells.")


def too_long(origin: str) -> FileError:
    """The error for a CSV whose lines do not end."""
    return FileError(
        f"{origin} cannot be read as CSV: one of its lines is longer than 1 MiB, so it is no table, or a quote in it "
        "is never closed."
    )


def why_unreadable(error: Exception) -> str:
    """What a reader says of a file, in one line."""
    said = str(error).strip()
    # it may show what stands in the file, which may be anything
    said = (
        "".join(letter if letter.isprintable() else "\ufffd" for letter in said.splitlines()[0][:200]) if said else ""
    )
    return said or type(error).__name__


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _encoding(head: bytes, origin: str) -> str:
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise FileError(
                f"{origin} is not a CSV: it looks like {what}. Give it its right ending, or export it as CSV."
            )
    begin = head[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, what, ending in _TEXTS:
        if begin.startswith(mark):
            raise FileError(f"{origin} is not a CSV: it looks like {what}. {ending}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if is_wide(head):
        raise FileError(f"{origin} looks like UTF-16 without the mark that says so at its beginning. Save it as UTF-8.")
    if (reason := binary_reason(head)) is not None:
        raise FileError(f"{origin} is not a CSV: it {reason}. Save it as text in UTF-8.")
    try:
        # incremental, because the head may end in the middle of a letter
        codecs.getincrementaldecoder("utf8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf8"


def is_data(names: list[str]) -> bool:
    """Whether the first line is already a row: all numbers, and not merely 0, 1, 2, … as a header."""
    names = names[1:] if len(names) > 1 and not names[0] else names
    numbers = [name for name in names if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", name)]
    if len(numbers) < len(names):
        return False
    return len(names) == 1 or names not in (
        [str(j) for j in range(len(names))],
        [str(j + 1) for j in range(len(names))],
    )


def _is_index(name: str, column: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    if name or not pa.types.is_integer(column.type) or column.null_count:
        return False
    return np.array_equal(column.to_numpy(), np.arange(len(column)))


def tidy(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Drop the spaces around texts, which hide a missing cell or a number (``" ?"``, ``" 3"``)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type) or not pc.any(pc.match_substring_regex(column, r"^\s|\s$")).as_py():
        return column
    column = pc.utf8_trim_whitespace(column)
    column = pc.if_else(pc.is_in(column, pa.array(NULLS)), pa.scalar(None, pa.string()), column)
    for kind in (pa.int64(), pa.float64()):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    return column


# --- Arrow ------------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> tuple[pa.Table, list[str]]:
    import pyarrow.parquet as pq

    # through a file object: a path would let pyarrow read partitions out of folder names
    with path.open("rb") as file:
        return _unindexed(pq.read_table(file, page_checksum_verification=True)), []


def _read_arrow(path: Path) -> tuple[pa.Table, list[str]]:
    import pyarrow as pa

    with path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic.startswith((b"ARROW1", b"FEA1")):
            from pyarrow import feather

            return _unindexed(feather.read_table(file)), []
        return _unindexed(pa.ipc.open_stream(file).read_all()), []


def _unindexed(table: pa.Table) -> pa.Table:
    """Without the index that pandas stores beside the columns."""
    return table.select([name for name in table.column_names if not re.fullmatch(r"__index_level_\d+__", name)])


# --- NumPy ------------------------------------------------------------------------------------------


def _read_npy(path: Path) -> tuple[np.ndarray, list[str]]:
    with path.open("rb") as file:
        if file.read(6) != np.lib.format.MAGIC_PREFIX:
            raise ValueError("it does not begin as NumPy files do")
    try:
        # mapped, because only then does numpy compare the claimed shape with the size of the file
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "object" in str(error).lower() or "pickle" in str(error).lower():
            raise FileError(f"{path.name!r} {PICKLED}") from None
        raise
    return (np.array(array) if array.nbytes < 1 << 30 else array), []


PICKLED = (
    "holds Python objects or is a pickle, which could run code when opened. "
    "Save plain numbers: np.save(file, array.astype(float))."
)


def _read_npz(path: Path) -> tuple[Any, list[str]]:
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    return (_read_sparse(path) if names >= _SPARSE else read_npz(path, None)), []


#: What ``scipy.sparse.save_npz`` writes, whatever the form.
_SPARSE = {"format", "shape", "data"}


def _read_sparse(path: Path) -> Any:
    """A matrix that ``scipy.sparse.save_npz`` wrote, with every index within its shape."""
    import scipy.sparse

    matrix = scipy.sparse.load_npz(path).tocsr()
    matrix.check_format(full_check=True)
    return matrix


def read_npz(path: Path, key: str | None) -> np.ndarray:
    """One array of an ``.npz``; without ``key`` the only one, or the only one with two or more axes."""
    try:
        with zipfile.ZipFile(path) as archive:
            shapes = {i.filename.removesuffix(".npy"): _shape(archive, i.filename) for i in archive.infolist()}
        listed = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:12])
        listed += f" and {len(shapes) - 12} more" if len(shapes) > 12 else ""
        if key is None:
            wide = [name for name, shape in shapes.items() if len(shape) >= 2]
            if len(shapes) != 1 and len(wide) != 1:
                raise FileError(
                    f"{path.name!r} holds {len(shapes)} arrays: {listed or 'none'}. Say which, as in "
                    f"'{path.name}:{(wide or list(shapes) or ['key'])[0]}' (file.npz:key)."
                )
            key = next(iter(shapes)) if len(shapes) == 1 else wide[0]
        elif key not in shapes:
            near = difflib.get_close_matches(key, shapes, n=1)
            hint = f" Did you mean '{path.name}:{near[0]}'?" if near else ""
            raise FileError(f"{path.name!r} holds no array {key!r}.{hint} It holds: {listed}.")
        with np.load(path, allow_pickle=False) as file:
            return file[key]
    except FileError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error).lower() or "Object arrays" in str(error):
            raise FileError(f"{path.name}:{key} {PICKLED}") from None
        raise FileError(
            f"{path.name!r} cannot be read as .npz: it is damaged, cut short or something else ({error})."
        ) from error


def _shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)[0]


#: Ending → reader of a path, giving the data and the decisions taken.
READERS: dict[str, Callable[[Path], tuple[Any, list[str]]]] = {
    ".csv": _guarded(_read_csv, "CSV"),
    ".tsv": _guarded(_read_tsv, "TSV"),
    ".parquet": _guarded(_read_parquet, "Parquet"),
    ".arrow": _guarded(_read_arrow, "Arrow"),
    ".feather": _guarded(_read_arrow, "Feather"),
    ".npy": _guarded(_read_npy, ".npy"),
    ".npz": _guarded(_read_npz, ".npz"),
    ".jsonl": _guarded(read_jsonl, "JSON lines"),
    ".txt": _guarded(read_lines, "text"),
}
