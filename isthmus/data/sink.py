"""Write rows where a person asked for them; the path's ending chooses the format."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from isthmus.data.parquet import write_parquet
from isthmus.errors import FileError
from isthmus.files import write_atomic

#: Pixels that the longer side of an image on a sheet has at least, about.
_LOOKED_AT = 48


def save_rows(rows: Any, path: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Save an ndarray, a ``pyarrow.Table``, images, a list of series or of texts; return the files written.

    ``.csv .tsv .parquet .arrow .feather .npy .npz`` hold any rows that fit them, ``.txt`` texts, ``.png`` a sheet of
    images.
    Without an ending the path is a folder, and images go into it one by one under their own ``names``.
    """
    path = Path(path)
    one = names is not None and len(names) == 1 and not isinstance(rows, list) and getattr(rows, "ndim", 1) < 3
    if one and not path.suffix:  # a folder of one recording
        rows = [rows]
    if not path.suffix and isinstance(rows, list):
        return _save_recordings(rows, path, names)
    if not path.suffix:
        return _save_images(np.asarray(rows), path, names)
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise FileError(
            f"Cannot write rows as {path.suffix!r} ({path}). Known: {', '.join(sorted(_WRITERS))}, "
            "or a folder for images."
        )
    if hasattr(rows, "tocsr") and path.suffix.lower() != ".npz":
        raise FileError(f"A sparse matrix is written as .npz, which scipy.sparse.load_npz opens; got {path.name!r}.")
    rows, pictures = _pictures_beside(rows, path)
    write_atomic(path, lambda file: write(rows, file))
    return [path, *pictures]


def _pictures_beside(rows: Any, path: Path) -> tuple[Any, list[Path]]:
    """Columns of pictures go into a folder beside the file, and its cells name them; so it can be read again."""
    import pyarrow as pa

    written: list[Path] = []
    if not isinstance(rows, pa.Table):
        return rows, written
    for at, column in enumerate(rows.schema):
        if not pa.types.is_binary(column.type) or not _are_pngs(rows[column.name]):
            continue
        # a column may be called anything, also what no folder may be
        folder = path.with_name(f"{path.stem}_{re.sub(r'[^0-9A-Za-z_-]', '_', column.name)}")
        folder.mkdir(parents=True, exist_ok=True)
        digits, names = len(str(max(len(rows) - 1, 0))), []
        for i, data in enumerate(rows[column.name].to_pylist()):
            written.append(folder / f"{i:0{digits}}.png")
            write_atomic(written[-1], lambda file, data=data: file.write(data))
            names.append(f"{folder.name}/{written[-1].name}")
        rows = rows.set_column(at, column.name, pa.array(names, pa.string()))
    return rows, written


def _are_pngs(column: Any) -> bool:
    return all(cell is not None and cell.startswith(b"\x89PNG") for cell in column.to_pylist())


def to_pandas(table: Any) -> Any:
    """A ``pyarrow.Table`` as a pandas DataFrame."""
    try:
        return table.to_pandas()
    except ImportError as error:
        raise FileError("A DataFrame needs pandas, which is not installed: pip install pandas.") from error


def as_table(rows: Any) -> Any:
    """Rows of any kind as a ``pyarrow.Table``: columns x0, x1, …, or one whose cells are whole series or texts."""
    import pyarrow as pa

    if isinstance(rows, pa.Table):
        return rows
    if _are_texts(rows):
        return pa.table({"text": rows})
    if isinstance(rows, list):
        return pa.table({"series": [row.tolist() for row in rows]})
    flat = np.asarray(rows).reshape(len(rows), -1)
    return pa.table({f"x{i}": flat[:, i] for i in range(flat.shape[1])})


def _csv(delimiter: str) -> Callable[[Any, BinaryIO], None]:
    def write(rows: Any, file: BinaryIO) -> None:
        from pyarrow import csv

        _of_one_length(rows)
        csv.write_csv(as_table(rows), file, csv.WriteOptions(delimiter=delimiter))

    return write


def _parquet(rows: Any, file: BinaryIO) -> None:
    write_parquet(as_table(rows), file)


def _feather(rows: Any, file: BinaryIO) -> None:
    from pyarrow import feather

    feather.write_feather(as_table(rows), file)


def _of_one_length(rows: Any) -> None:
    if isinstance(rows, list) and not _are_texts(rows):
        raise FileError("Series of unequal length have no columns: write them as .parquet, .arrow or .jsonl.")


def _are_texts(rows: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(row, str) for row in rows)


def _text(rows: Any, file: BinaryIO) -> None:
    if not _are_texts(rows):
        raise FileError("A .txt holds a text on every line, and these rows are none: write them as .csv or .npy.")
    file.write("".join(f"{' '.join(row.splitlines())}\n" for row in rows).encode())


def _array(rows: Any) -> np.ndarray:
    _of_one_length(rows)
    if _are_texts(rows):
        raise FileError("Texts are no numbers: write them as .txt, .csv or .jsonl.")
    if isinstance(rows, np.ndarray):
        return rows
    try:
        return np.column_stack([np.asarray(c.to_numpy(), dtype=np.float64) for c in rows.columns])
    except (TypeError, ValueError) as error:
        raise FileError("These rows are not all numbers: write them as .parquet or .csv.") from error


def _npy(rows: Any, file: BinaryIO) -> None:
    np.save(file, _array(rows), allow_pickle=False)


def _npz(rows: Any, file: BinaryIO) -> None:
    if hasattr(rows, "tocsr"):
        import scipy.sparse

        scipy.sparse.save_npz(file, rows)
        return
    np.savez_compressed(file, rows=_array(rows))


def _json(rows: Any, file: BinaryIO) -> None:
    import json

    for row in as_table(rows).to_pylist():
        file.write(json.dumps(row, default=str).encode() + b"\n")


def save_sheet(images: Any, path: Path, *, across: int) -> list[Path]:
    """All images in one picture, ``across`` of them a line."""
    write_atomic(Path(path), lambda file: _sheet(images, file, across))
    return [Path(path)]


def _sheet(images: Any, file: BinaryIO, across: int | None = None) -> None:
    """All images in one picture, in rows from the left, as nearly square as they allow; tiny ones are magnified by a
    whole number, because a sheet is to be looked at.
    """
    if not _are_images(images):
        raise FileError("A .png holds a sheet of images, and these rows are none: write them as .csv or .npy.")
    n, height, width = images.shape[:3]
    across = across or max(1, round((n * height / width) ** 0.5))
    down = -(-n // across)
    sheet = np.zeros((down * across, *images.shape[1:]), images.dtype)
    sheet[:n] = images
    sheet = sheet.reshape(down, across, *images.shape[1:]).swapaxes(1, 2)
    sheet = sheet.reshape(down * height, across * width, *images.shape[3:])
    times = max(1, round(_LOOKED_AT / max(height, width)))
    file.write(_encoded(sheet.repeat(times, 0).repeat(times, 1), "PNG"))


def _wav(rows: Any, file: BinaryIO) -> None:
    from isthmus.data.sounds import write_sound

    write_sound(rows, file)


_WRITERS: dict[str, Callable[[Any, BinaryIO], None]] = {
    ".arrow": _feather,
    ".csv": _csv(","),
    ".feather": _feather,
    ".jsonl": _json,
    ".npy": _npy,
    ".npz": _npz,
    ".parquet": _parquet,
    ".png": _sheet,
    ".tsv": _csv("\t"),
    ".txt": _text,
    ".wav": _wav,
}


def _save_recordings(recordings: list[Any], folder: Path, names: Sequence[str] | None) -> list[Path]:
    """Recordings one by one, each under its own name and in its own format; what has none is .npy."""
    digits = len(str(max(len(recordings) - 1, 0)))
    names = names or [f"{i:0{digits}}.npy" for i in range(len(recordings))]
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for recording, name in zip(recordings, names, strict=True):
        path = folder / name
        path = path if path.suffix.lower() in _WRITERS else path.with_name(f"{path.name}.npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        written += save_rows(recording, path)
    return written


def _save_images(images: np.ndarray, folder: Path, names: Sequence[str] | None) -> list[Path]:
    if not _are_images(images):
        raise FileError(f"{folder} has no ending, so images were expected. Say {folder}.csv or {folder}.npy.")
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file, not a folder. Give a folder for the images.")
    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(max(len(images) - 1, 0)))
    names = names or [f"{i:0{digits}}.png" for i in range(len(images))]
    written: list[Path] = []
    for image, name in zip(images, names, strict=True):
        path = _image_path(folder / name)
        # a.jpg and a.bmp would both become a.png
        written.append(_save_image(image, path if path not in written else _image_path(folder / f"{name}.png")))
    return written


def _image_path(path: Path) -> Path:
    """The file's own name where its format keeps every pixel, else that of a PNG."""
    return path if path.suffix.lower() in (".png", ".tif", ".tiff") else path.with_suffix(".png")


def _are_images(rows: Any) -> bool:
    return isinstance(rows, np.ndarray) and rows.dtype in (np.uint8, np.uint16) and rows.ndim in (3, 4)


def _save_image(image: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = _encoded(image, "TIFF" if path.suffix.lower().startswith(".tif") else "PNG")
    write_atomic(path, lambda file: file.write(data))
    return path


def _encoded(image: np.ndarray, kind: str) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    grey = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    Image.fromarray(grey).save(data, kind)
    return data.getvalue()
