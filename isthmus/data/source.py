"""Open whatever a person has as :class:`~isthmus.data.rows.Rows`."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.listing import listed, watched, why
from isthmus.data.rows import Rows, Skipped
from isthmus.data.sounds import SUFFIXES as SOUNDS
from isthmus.errors import DataError, FileError, RowTypeError


def open_rows(source: Any, *, strict: bool = False, kind: str | None = None, stream: bool | None = None) -> Rows:
    """Open a path, glob, ``example:`` name, ``-``, list of paths, array, tensor or data frame.

    Arguments:
        source: ``.csv .tsv .parquet .arrow .feather .npy .npz .jsonl`` (``file.npz:key`` chooses an array),
            a ``.txt`` of which every line is a document, a ``.wav``, a folder, glob or list of pictures, recordings
            or ``.txt`` files, ``example:digits``, ``-`` for a CSV on the standard input, a folder, glob or list of
            files that make one table (Parquet, Arrow, CSV; folders called ``day=3`` bring a column) or one array
            (``.npy`` and ``.safetensors`` shards; ``file.safetensors:key`` chooses a tensor), an ndarray, a torch
            tensor, a ``scipy.sparse`` matrix (as a file: ``scipy.sparse.save_npz``), a pandas, polars or other data
            frame, a ``pyarrow.Table``, a list of lists, a list of texts, a list
            of arrays that differ in length (series), or :class:`Rows`.
        strict: Refuse a folder that holds anything but sound pictures (or texts), instead of skipping the rest.
        kind: ``"series"`` takes several files, frames or one row of numbers for recordings; WAV files always are.
            ``"array"`` takes the one column of a table whose cells are vectors.
            ``"pixels"`` takes pictures as they are: of any size, type and number of channels, in stacks too.
            ``"signals"`` takes sounds, tables over time and arrays as they are: of any length and number of channels.
        stream: Read tables and shards in stretches, so that memory stays flat (True), or whole (False); by itself where
            they would take a quarter of the memory that is free.

    Raises:
        FileError: The file is missing, damaged, or not what its name says.
        DataError: There are no rows, or they are of no usable type or shape.

    >>> open_rows([[1.0, 2.0], [3.0, 4.0]]).data.shape
    (2, 2)
    """
    if isinstance(source, Rows):
        rows = source
    elif kind == "pixels":
        from isthmus.data.images import open_pages

        if isinstance(source, str | os.PathLike) and _holds_arrays(os.fspath(source)):
            arrays = open_rows(source)
            rows = open_pages(arrays.data).replace(origin=arrays.origin)
        else:
            rows = open_pages(source, strict)
    elif kind == "signals":
        from isthmus.data.signals import open_signals

        rows = open_signals(source, strict)
    elif isinstance(source, (str, os.PathLike)):
        rows = _open_path(os.fspath(source), strict, kind, stream)
    elif isinstance(source, (list, tuple)):
        rows = _open_list(source, strict, kind, stream)
    elif kind == "series" and getattr(source, "ndim", None) == 1 and not hasattr(source, "iloc"):
        rows = _recordings([("the array", source)], "the array")
    else:
        rows = _open_object(source)
    if len(rows) == 0:
        raise DataError(
            f"Found 0 sample(s) in {rows.origin} while a minimum of 1 is required. "
            "A header alone, or a filter that leaves nothing, cannot be learned from."
        )
    return rows


# --- paths ------------------------------------------------------------------------------------------


def _holds_arrays(said: str) -> bool:
    return said.startswith("example:") or said.lower().endswith((".npy", ".npz")) or ".npz:" in said


def _open_path(said: str, strict: bool, kind: str | None, stream: bool | None) -> Rows:
    if said == "-":
        from isthmus.data.files import parse_csv

        table, remarks = parse_csv(sys.stdin.buffer.read(), "the standard input", delimiter=None)
        return _table(table, "the standard input", remarks)
    if said.startswith("example:"):
        from isthmus.data.samples import open_example

        return open_example(said.removeprefix("example:"))

    from isthmus.data.corpus import IN_MEMORY, LargeLines
    from isthmus.data.files import READERS, missing, read_npz
    from isthmus.data.large import too_large

    name, colon, key = said.rpartition(".npz:")
    if colon and not os.path.exists(said):
        path = Path(f"{name}.npz")
        if not path.exists():
            raise missing(path)
        return _array(read_npz(path, key), f"{path.name}:{key}")

    name, colon, key = said.rpartition(".safetensors:")
    if colon and not os.path.exists(said):
        return _open_shards(f"{name}.safetensors", key, stream)

    path = Path(said).expanduser()
    if not _is_there(path):
        if glob.has_magic(said):
            return _open_glob(said, strict, kind, stream)
        raise missing(path)
    if path.is_dir():
        return _open_folder(path, strict, kind, stream)
    if not path.is_file():
        raise FileError(f"{said!r} is neither a file nor a folder.")
    suffix = path.suffix.lower()
    if suffix == ".txt" and path.stat().st_size and too_large(IN_MEMORY * path.stat().st_size, stream):
        lines = LargeLines(path, path.name)
        return Rows("text", lines, path.name, remarks=tuple(lines.remarks))
    if suffix == ".npy" and kind == "series" and _one_large_file(path, kind, stream) and _one_axis(path):
        return _open_recordings([path], [path.name], path.name, (), strict, stream)
    if suffix == ".safetensors" or _one_large_file(path, kind, stream):
        return _open_blocks([path], [path.name], path.name, kind, stream)
    if suffix in READERS:
        data, remarks = READERS[suffix](path)
        if isinstance(data, np.ndarray):
            if kind == "series" and data.ndim == 1:
                return _recordings([(path.name, data)], path.name)
            return _array(data, path.name)
        if isinstance(data, list):
            return Rows("text", data, path.name, remarks=tuple(remarks))
        if hasattr(data, "tocsr"):
            return _sparse(data, path.name)
        return _vectors(_table(data, path.name, remarks).replace(folder=str(path.parent)), kind)
    if suffix in SOUNDS:
        return _open_recordings([path], [path.name], path.name, (), strict, stream)

    from isthmus.data.pictures import ALLOWED, SUFFIXES

    if suffix in SUFFIXES:
        return _pictures([path], [path.name], path.name, (), strict, stream)
    raise FileError(
        f"isthmus cannot read {path.name!r}: files end in {' '.join((*READERS, '.safetensors', *SOUNDS))}, "
        f"pictures in {ALLOWED}. Export the rows to one of these, for instance CSV or Parquet."
    )


def _is_there(path: Path) -> bool:
    """Whether there is anything of that name."""
    try:
        return path.exists()
    except OSError as error:
        if glob.has_magic(str(path)):
            return False
        raise FileError(f"{str(path)!r} cannot be looked at: {why(error)}.") from error


def _open_folder(folder: Path, strict: bool, kind: str | None, stream: bool | None) -> Rows:
    from isthmus.data.files import READERS
    from isthmus.data.pictures import ALLOWED, SUFFIXES, natural

    found, closed = listed(folder)
    names = sorted(found, key=natural)
    pictures = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    recordings = _which_recordings(names, kind, bool(pictures))
    if recordings:
        others = [*closed, *_others(names, recordings, "no recording")]
        paths = [folder / name for name in recordings]
        return _open_recordings(paths, recordings, str(folder), others, strict, stream)
    if not pictures and (texts := [name for name in names if Path(name).suffix.lower() == ".txt"]):
        others = [*closed, *_others(names, texts, "not a text (.txt)")]
        return _documents([folder / name for name in texts], texts, str(folder), others, strict, stream)
    # _delta_log and the like hold what other programs note down
    own = [name for name in names if not any(part.startswith("_") for part in Path(name).parts[:-1])]
    if not pictures and (blocks := _which_blocks(own, str(folder))):
        others = [*closed, *_others(names, blocks, "not of the data set's kind")]
        return _open_blocks([folder / name for name in blocks], blocks, str(folder), kind, stream, others, strict)
    if not pictures:
        tables = [name for name in names if Path(name).suffix.lower() in READERS]
        hint = f" It does hold {tables[0]!r}: open that file instead" if tables else ""
        hint += ", or say --kind series if every file is a recording." if tables else ""
        hint += f" {closed[0].name!r} in it is {closed[0].reason}." if closed else ""
        raise FileError(f"The folder {str(folder)!r} holds no pictures ({ALLOWED}) and no texts (.txt).{hint}")
    others = [*closed, *_others(names, pictures, f"not a picture ({ALLOWED})")]
    return _pictures([folder / name for name in pictures], pictures, str(folder), others, strict, stream)


def _others(names: Sequence[str], used: Sequence[str], reason: str) -> list[Skipped]:
    """The files that are not used, and why."""
    known = set(used)
    return [Skipped(name, reason) for name in names if name not in known]


def _open_glob(pattern: str, strict: bool, kind: str | None, stream: bool | None) -> Rows:
    from isthmus.data.pictures import natural

    found = sorted((p for p in glob.glob(pattern, recursive=True) if os.path.isfile(p)), key=natural)
    if not found:
        raise FileError(f"No file matches {pattern!r} (from the folder {os.getcwd()!r}).")
    if len(found) == 1:
        return _open_path(found[0], strict, kind, stream)
    return _open_files(found, pattern, strict, kind, stream)


def _open_files(paths: list[str], origin: str, strict: bool, kind: str | None, stream: bool | None) -> Rows:
    from isthmus.data.files import missing
    from isthmus.data.pictures import ALLOWED, SUFFIXES

    for path in paths:
        if not os.path.exists(path):
            raise missing(Path(path))
    pictures = [path for path in paths if Path(path).suffix.lower() in SUFFIXES]
    recordings = _which_recordings(paths, kind, bool(pictures))
    if recordings:
        others = _others(paths, recordings, "no recording")
        # a name is what a file is called where it is written back, so not the whole path
        names = [Path(path).name for path in recordings]
        names = names if len(set(names)) == len(names) else recordings
        return _open_recordings([Path(path) for path in recordings], names, origin, others, strict, stream)
    if not pictures and (texts := [path for path in paths if Path(path).suffix.lower() == ".txt"]):
        others = _others(paths, texts, "not a text (.txt)")
        return _documents([Path(path) for path in texts], texts, origin, others, strict, stream)
    if not pictures and (blocks := _which_blocks(paths, origin)):
        others = [Skipped(path, "not of the data set's kind") for path in paths if path not in set(blocks)]
        # folders on the way say something only where they are the data set's own
        root = os.path.commonpath([os.path.dirname(path) for path in blocks]) if len(blocks) > 1 else ""
        names = [os.path.relpath(path, root or os.path.dirname(path) or ".") for path in blocks]
        return _open_blocks([Path(path) for path in blocks], names, origin, kind, stream, others, strict)
    if not pictures:
        raise FileError(
            f"Several files must be pictures ({ALLOWED}), texts (.txt), tables (.parquet .arrow .csv) or shards (.npy "
            f".safetensors); got {len(paths)} files such as {paths[0]!r}. Recordings are told by --kind series."
        )
    others = _others(paths, pictures, f"not a picture ({ALLOWED})")
    return _pictures([Path(path) for path in pictures], pictures, origin, others, strict, stream)


def _which_blocks(names: Sequence[str], origin: str) -> list[str]:
    """The files that make one table or one array together."""
    from isthmus.data.dataset import FAMILIES

    families = [
        [name for name in names if Path(name).suffix.lower() in endings]
        for endings in (*FAMILIES, (".npy",), (".safetensors",))
    ]
    found = [family for family in families if family]
    if len(found) > 1:
        raise FileError(
            f"The files of a data set are of one kind; {origin} holds {found[0][0]!r} and {found[1][0]!r}. Name those "
            f"that are meant, as in '{origin.rstrip('/')}/*{Path(found[0][0]).suffix}'."
        )
    return found[0] if found else []


def _one_axis(path: Path) -> bool:
    """Whether an array has but one axis."""
    try:
        return np.lib.format.open_memmap(path, mode="r").ndim == 1
    except (ValueError, EOFError):
        return False  # whoever reads it will say what is wrong


def _one_large_file(path: Path, kind: str | None, stream: bool | None) -> bool:
    from isthmus.data.corpus import IN_MEMORY
    from isthmus.data.dataset import FAMILIES, estimated
    from isthmus.data.large import too_large

    known = {ending for family in FAMILIES for ending in family} | {".npy"}
    if path.suffix.lower() not in known or path.stat().st_size == 0:
        return False
    return too_large(estimated(path) * (IN_MEMORY if kind == "text" else 1), stream)


def _open_shards(said: str, key: str, stream: bool | None) -> Rows:
    """One tensor of ``.safetensors`` files."""
    from isthmus.data.files import missing
    from isthmus.data.pictures import natural

    found = sorted(glob.glob(said, recursive=True), key=natural) if glob.has_magic(said) else [said]
    if not found:
        raise FileError(f"No file matches {said!r} (from the folder {os.getcwd()!r}).")
    if not os.path.exists(found[0]):
        raise missing(Path(said))
    names = [os.path.basename(path) for path in found]
    return _open_blocks([Path(path) for path in found], names, f"{said}:{key}", "array", stream, key=key)


def _open_blocks(
    paths: Sequence[Path],
    names: Sequence[str],
    origin: str,
    kind: str | None,
    stream: bool | None,
    others: Sequence[Skipped] = (),
    strict: bool = False,
    key: str | None = None,
) -> Rows:
    """Files that make one table or one array: in memory, or in stretches where that would be too much."""
    from isthmus.data.corpus import IN_MEMORY
    from isthmus.data.dataset import DataSet, Vectors, vector_column
    from isthmus.data.large import too_large
    from isthmus.data.shards import SUFFIXES, Shards

    _refuse_skipped(others, origin, strict)
    data: Any
    if paths[0].suffix.lower() in SUFFIXES:
        data = Shards(paths, names, origin, key)
        # bytes of three or four axes are pictures, as in one file
        of = "image" if data.ndim in (3, 4) and data.dtype in (np.uint8, np.uint16) else "array"
    else:
        data, of = DataSet(paths, names, origin), "table"
        if column := vector_column(data.schema, kind):
            data, of = Vectors(data, column), "array"
    times = IN_MEMORY if kind == "text" else 1
    if not too_large(times * data.n_bytes, stream) and len(data):
        rows = Rows(of, data.whole(), origin)
        rows = _table(rows.data, origin) if of == "table" else rows
    else:
        rows = Rows(of, data, origin)
    # where paths in the cells of a table begin
    folder = os.path.commonpath([os.path.abspath(path.parent) for path in paths]) if of == "table" else None
    return rows.replace(remarks=tuple(data.remarks), skipped=tuple(others), folder=folder)


def _vectors(rows: Rows, kind: str | None) -> Rows:
    """A table of which one column holds vectors, as the array of these."""
    from isthmus.data.dataset import as_vectors, vector_column

    name = vector_column(rows.data.schema, kind)
    if name is None:
        return rows
    try:
        return rows.replace(kind="array", data=as_vectors(rows.data[name], name, rows.origin))
    except DataError:
        if kind == "array":
            raise
        return rows  # lists of any lengths


def _documents(
    paths: Sequence[Path],
    names: Sequence[str],
    origin: str,
    others: Sequence[Skipped],
    strict: bool,
    stream: bool | None,
) -> Rows:
    """Files as documents, one each."""
    from isthmus.data.corpus import IN_MEMORY, Documents, size_of
    from isthmus.data.documents import read_document
    from isthmus.data.large import too_large

    if too_large(IN_MEMORY * size_of(paths), stream):
        data = Documents(paths, names, origin)
        left = (*others, *data.skipped)
        _refuse_skipped(left, origin, strict)
        if not len(data):
            raise FileError(f"No text in {origin} can be read: {left[0].name!r} {left[0].reason}.")
        return Rows("text", data, origin, skipped=left, remarks=tuple(data.remarks))

    skipped, documents, sound, remarks = list(others), [], [], []
    pairs = zip(paths, names, strict=True)
    for path, name in watched(pairs, f"{origin}: read", "files", len(paths)):
        try:
            text, remark = read_document(path)
        except FileError as error:
            skipped.append(Skipped(name, str(error)))
            continue
        documents.append(text)
        sound.append(name)
        if remark:
            remarks.append(f"{name} is {remark}.")
    _refuse_skipped(skipped, origin, strict)
    if not sound:
        raise FileError(f"No text in {origin} can be read: {skipped[0].name!r} {skipped[0].reason}.")
    return Rows("text", documents, origin, tuple(sound), tuple(skipped), tuple(remarks))


def _refuse_skipped(skipped: Sequence[Skipped], origin: str, strict: bool) -> None:
    if strict and skipped:
        first = skipped[0]
        more = f" {len(skipped) - 1} more file(s) cannot be used either." if len(skipped) > 1 else ""
        raise FileError(
            f"{first.name!r} in {origin} cannot be used: {first.reason}.{more} Remove it, or say strict=False."
        )


def _pictures(
    paths: Sequence[Path],
    names: Sequence[str],
    origin: str,
    others: Sequence[Skipped],
    strict: bool,
    stream: bool | None = None,
) -> Rows:
    """Files of pictures, one each: a list of those that are sound, in stretches where all would be too much."""
    from isthmus.data.folder import Folder
    from isthmus.data.large import too_large
    from isthmus.data.pictures import check_pictures

    reasons = check_pictures(paths)
    skipped = (*others, *(Skipped(name, reason) for name, reason in zip(names, reasons, strict=True) if reason))
    _refuse_skipped(skipped, origin, strict)
    sound = [i for i, reason in enumerate(reasons) if not reason]
    if not sound:
        raise FileError(f"No picture in {origin} can be read: {skipped[0].name!r} is {skipped[0].reason}.")
    paths, names = [paths[i] for i in sound], tuple(names[i] for i in sound)
    folder = Folder(paths, names)
    if len(paths) > 1 and too_large(folder.n_bytes, stream):
        return Rows("image", folder, origin, None, tuple(skipped))
    return Rows("image", paths, origin, names, tuple(skipped))


def _which_recordings(names: Sequence[str], kind: str | None, pictures: bool) -> list[str]:
    """The files that are recordings: sounds, unless there are pictures, and anything readable for ``kind="series"``."""
    from isthmus.data.files import READERS

    endings = (*READERS, *SOUNDS) if kind == "series" else () if pictures else SOUNDS
    return [name for name in names if Path(name).suffix.lower() in endings]


def _open_recordings(
    paths: Sequence[Path],
    names: Sequence[str],
    origin: str,
    others: Sequence[Skipped],
    strict: bool,
    stream: bool | None = None,
) -> Rows:
    """Files of recordings, one a file; what cannot be read is skipped and told."""
    from isthmus.data.files import READERS
    from isthmus.data.large import too_large
    from isthmus.data.sounds import read_sound

    if too_large(sum(map(_recorded, paths)), stream):
        return _open_tracks(paths, names, origin, others, strict)
    found, remarks, skipped = [], [], list(others)
    for path, name in watched(zip(paths, names, strict=True), f"{origin}: read", "recordings", len(paths), every=16):
        suffix = path.suffix.lower()
        try:
            if suffix in SOUNDS:
                found.append((name, read_sound(path)))
            else:
                data, said = READERS[suffix](path)
                found.append((name, data))
                remarks += said
        except FileError as error:
            if strict or len(paths) == 1:
                raise
            skipped.append(Skipped(name, str(error)))
    if not found:
        raise FileError(f"No recording in {origin} can be read: {skipped[-1].reason}")
    return _recordings(found, origin, skipped, remarks)


def _recorded(path: Path) -> float:
    """About how many bytes of memory a recording takes, without reading it: as doubles, with their windows."""
    from isthmus.data.dataset import estimated

    try:
        n_bytes = estimated(path) if path.suffix.lower() == ".parquet" else float(path.stat().st_size)
    except OSError:
        return 0.0  # whoever reads it will say what is wrong
    return 4 * n_bytes if path.suffix.lower() in SOUNDS else 2 * n_bytes


def _open_tracks(
    paths: Sequence[Path], names: Sequence[str], origin: str, others: Sequence[Skipped], strict: bool
) -> Rows:
    """The same, to be read in stretches: sounds and arrays, or tables that have the same columns."""
    from isthmus.data.dataset import FAMILIES, DataSet
    from isthmus.data.tracks import LargeTrack, Track, Tracks, track_of

    tracks: list[Track] = []
    tables: list[tuple[Path, str]] = []
    skipped, remarks = list(others), list[str]()
    known = {ending for family in FAMILIES for ending in family}
    for path, name in watched(zip(paths, names, strict=True), f"{origin}: looked at", "recordings", len(paths)):
        try:
            if (track := track_of(path, name)) is not None:
                tracks.append(track)
            elif path.suffix.lower() in known:
                tables.append((path, name))
            else:
                raise FileError("not read in stretches: write it as .wav, .npy, .parquet, .arrow or .csv")
        except FileError as error:
            if strict or len(paths) == 1:
                raise
            skipped.append(Skipped(name, str(error)))
    if tables:
        data = DataSet([path for path, _ in tables], [name for _, name in tables], origin)
        remarks += data.remarks
        ends = np.cumsum([sum(file.counts) for file in data.files]).tolist()
        together = int(np.median(data.counts)) if len(data.counts) else 0
        for file, begin, end in zip(data.files, [0, *ends], ends, strict=False):
            tracks += [LargeTrack(data, file.name, begin, end, together)] if end > begin else []
    if not tracks:
        raise FileError(f"No recording in {origin} can be read: {skipped[-1].reason if skipped else 'all are empty'}")
    return Rows("recordings", Tracks(tracks, origin), origin, skipped=tuple(skipped), remarks=tuple(remarks))


def _recordings(
    found: Sequence[tuple[str, Any]], origin: str, skipped: Sequence[Skipped] = (), remarks: Sequence[str] = ()
) -> Rows:
    """Recordings by name, checked to be of one form: the same columns, or as many channels."""
    from isthmus.data.sounds import Sound

    forms: dict[Any, str] = {}
    items, names = [], []
    for name, item in found:
        if hasattr(item, "detach"):
            item = _from_torch(item)
        if hasattr(item, "column_names"):
            _table(item, name)
            if not item.num_rows and len(found) > 1:
                remarks = [*remarks, f"{name} holds no rows."]
                continue
            form: Any = "a table"
        else:
            array = item.samples if isinstance(item, Sound) else np.asarray(item)
            if array.dtype.kind not in "biuf":
                array = item = _as_floats(array, name)
            if array.ndim not in (1, 2) or 0 in array.shape:
                raise DataError(f"A recording is an array (time,) or (time, channels); {name} has shape {array.shape}.")
            form = f"{1 if array.ndim == 1 else array.shape[1]} channel(s)"
        forms.setdefault(form, name)
        items.append(item)
        names.append(name)
    if len(forms) > 1:
        said = "; ".join(
            f"{name} is {form}" if form == "a table" else f"{name} has {form}" for form, name in forms.items()
        )
        raise DataError(f"Recordings of {origin} are of one form; {said}. Leave out what does not belong.")
    return Rows("recordings", items, origin, tuple(names), tuple(skipped), tuple(remarks))


# --- objects ----------------------------------------------------------------------------------------


def _open_list(rows: Sequence[Any], strict: bool, kind: str | None, stream: bool | None) -> Rows:
    if not rows:
        raise DataError("Found 0 sample(s) in the list while a minimum of 1 is required. Pass at least one row.")
    if all(isinstance(row, str) for row in rows) and not _names_files(rows):
        return Rows("text", list(rows), f"the list of {len(rows)} texts")
    if all(isinstance(row, (str, os.PathLike)) for row in rows):
        paths = [os.path.expanduser(row) for row in rows]
        return _open_files(paths, f"the list of {len(rows)} files", strict, kind, stream)
    if kind == "series" and all(hasattr(row, "columns") for row in rows):
        return _recordings([(str(i), _frame(row)) for i, row in enumerate(rows)], "the list of recordings")
    if all(hasattr(row, "detach") for row in rows):
        rows = [_from_torch(row) for row in rows]
    try:
        array = np.asarray(rows)
    except ValueError:
        if all(isinstance(row, np.ndarray) for row in rows):
            return _series(rows)
        lengths = sorted({len(row) for row in rows if hasattr(row, "__len__")})
        raise DataError(
            f"The rows of a list must have the same length; got lengths such as {lengths[:4]}. "
            "Fill the missing cells with float('nan')."
        ) from None
    if array.dtype.kind in "US" and array.ndim == 2:
        # numpy made text of every number, so the columns are rebuilt from the cells
        return _table(_columns({f"x{j}": [row[j] for row in rows] for j in range(array.shape[1])}), "the list")
    return _array(array, "the list")


def _names_files(rows: Sequence[str]) -> bool:
    """Whether strings are the paths of files, there or misspelt, rather than texts."""
    from isthmus.data.files import READERS
    from isthmus.data.pictures import SUFFIXES

    endings = {*READERS, *SUFFIXES, ".safetensors"}
    # a few tell: a list is all paths or all texts, and looking for a million files takes long
    some = [row for row in rows[:20] if len(row) < 4096 and "\n" not in row and "\0" not in row]
    if any(os.path.isfile(os.path.expanduser(row)) for row in some):
        return True
    return len(some) == len(rows[:20]) and all(Path(row).suffix.lower() in endings and " " not in row for row in some)


def _series(rows: Sequence[np.ndarray]) -> Rows:
    """Arrays that differ in length are series; lists that do are more likely a slip."""
    rows = [row if row.dtype.kind in "biuf" else _as_floats(row, f"row {i}") for i, row in enumerate(rows)]
    shapes = {row.shape[1:] for row in rows}
    if len(shapes) > 1 or rows[0].ndim not in (1, 2):
        raise DataError(
            "A list of series holds arrays (time,) or (time, channels), all with the same channels; got shapes such as "
            f"{', '.join(str(shape) for shape in sorted({row.shape for row in rows}, key=str)[:4])}."
        )
    if empty := [i for i, row in enumerate(rows) if row.size == 0]:
        raise DataError(f"Row {empty[0]} of the list has no step. Leave such rows out.")
    return Rows("series", rows, "the list of series", longest=max(map(len, rows)))


def _open_object(source: Any) -> Rows:
    if hasattr(source, "detach"):
        return _array(_from_torch(source), "the tensor")
    if hasattr(source, "tocsr"):
        return _sparse(source, "the sparse matrix")
    if isinstance(source, np.ndarray):
        return _array(source, "the array")
    table = _frame(source)
    if table is not None:
        return _table(table, "the table")
    if hasattr(source, "__array__"):
        return _array(np.asarray(source), "the array")
    raise RowTypeError(
        f"Rows cannot be made from {type(source).__name__!r}. Pass a file or folder, a 2-D array or tensor, "
        "a data frame, a pyarrow.Table or a list of lists."
    )


def _sparse(source: Any, origin: str) -> Rows:
    """A sparse matrix of any form, row by row; it stays sparse."""
    import scipy.sparse

    if len(source.shape) != 2 or source.shape[1] == 0:
        raise DataError(
            f"Expected 2D array, got a sparse one of shape {source.shape} instead ({origin}); it needs 1 column at "
            "least."
        )
    if source.dtype.kind == "c":
        raise DataError(f"Complex data not supported: {origin} is {source.dtype}.")
    if source.dtype.kind not in "biuf":
        raise DataError(f"A sparse matrix of numbers is wanted; {origin} is {source.dtype}.")
    matrix = scipy.sparse.csr_array(source)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()  # the person's own stays as it is
        matrix.sum_duplicates()
    return Rows("sparse", matrix, origin)


def _from_torch(tensor: Any) -> np.ndarray:
    if "sparse" in str(tensor.layout):
        raise RowTypeError(f"A sparse tensor was passed ({tensor.layout}); use tensor.to_dense() first.")
    tensor = tensor.detach().cpu()
    # numpy has no bfloat16
    return (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()


def _array(array: np.ndarray, origin: str) -> Rows:
    array = np.asarray(array)
    if array.ndim == 1 and array.dtype.kind in "UO" and len(array) and all(isinstance(cell, str) for cell in array):
        return Rows("text", [str(cell) for cell in array], origin)
    if array.dtype.names:
        return _table(_columns({name: array[name] for name in array.dtype.names}), origin)
    if array.dtype.kind == "c":
        raise DataError(
            f"Complex data not supported: {origin} is {array.dtype}. Use its real and imaginary parts as columns."
        )
    if array.dtype.kind not in "biuf":
        array = _as_floats(array, origin)
    if array.ndim < 2:
        raise DataError(
            f"Expected 2D array, got {array.ndim}D array instead ({origin}, shape={array.shape}). "
            "Reshape your data "
            "either using array.reshape(-1, 1) if your data has a single feature or "
            "array.reshape(1, -1) if it "
            "contains a single sample."
        )
    if 0 in array.shape[1:]:
        raise DataError(
            f"Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required ({origin})."
        )
    kind = "image" if array.ndim in (3, 4) and array.dtype in (np.uint8, np.uint16) else "array"
    return Rows(kind, array, origin)


def _as_floats(array: np.ndarray, origin: str) -> np.ndarray:
    """Numbers kept as objects or text, as scikit-learn converts them."""
    try:
        return array.astype(np.float64)
    except TypeError as error:
        raise RowTypeError(f"A cell of {origin} is not a number: {error}.") from None
    except ValueError as error:
        raise DataError(
            f"A cell of {origin} (dtype {array.dtype}) is not a number: {error}. "
            "Text belongs in a data frame, whose columns may have different types."
        ) from None


def _table(table: Any, origin: str, remarks: Sequence[str] = ()) -> Rows:
    names = list(table.column_names)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(
            f"Column names must differ; {origin} has more than one column called "
            f"{', '.join(map(repr, twice[:5]))}. "
            "Rename or drop them."
        )
    if not names:
        raise DataError(
            f"Found 0 feature(s) (shape=({table.num_rows}, 0)) while a minimum of 1 is required ({origin})."
        )
    return Rows("table", table, origin, remarks=tuple(remarks))


def _frame(source: Any) -> Any:
    """Any data frame → ``pyarrow.Table``; None when it is no frame."""
    import narwhals as nw
    import pyarrow as pa

    if isinstance(source, pa.Table):
        return source
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        # by position, because narwhals refuses the names that pandas allows: numbers and duplicates
        names = [str(name) for name in source.columns]
        columns = [_column(source.iloc[:, j]) for j in range(len(names))]
        return pa.table(columns, names=names) if columns else pa.table({})
    frame = nw.from_native(source, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    return frame.to_arrow() if isinstance(frame, nw.DataFrame) else None


def _columns(columns: dict[str, Any]) -> Any:
    import pyarrow as pa

    return pa.table({name: _column(cells) for name, cells in columns.items()})


def _column(cells: Any) -> Any:
    """One column, whose cells become text when they are of several types."""
    import pyarrow as pa

    try:
        column = pa.array(cells, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        # pandas has three more spellings of a missing cell, none equal to itself and one not comparable
        said = [None if cell is None or str(cell) in ("nan", "NaT", "<NA>") else str(cell) for cell in cells]
        column = pa.array(said, pa.string())
    return column
