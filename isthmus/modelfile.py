"""One model, one file: a JSON header and tensors, nothing that can run code.

.. math:: file = n, \\quad n\\ bytes\\ of\\ JSON, \\quad the\\ tensors'\\ bytes

The layout is safetensors, so that any safetensors reader gets the weights. Its ``__metadata__`` holds our
header as one JSON string (``isthmus``), the version of that header (``format``) and a SHA-256 of the whole
file (``sha256``), so that a single flipped bit is an error instead of another model.

Reading trusts nothing: the header is bounded and checked before anything is allocated, and bytes are
read, never mapped, because a mapped file that somebody cuts short kills the process.

References:
    safetensors: Simple, safe way to store and distribute tensors (Hugging Face, 2022).
    https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from isthmus.errors import FileError
from isthmus.files import MAX_HEADER_BYTES, open_file, parse_json, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1

#: Version → the function that turns a header of that version into one of the next. Entries stay for ever.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

#: By its name in the file: torch's name of a type, and its bytes. A header alone is read without torch.
_DTYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "I16": ("int16", 2),
    "I32": ("int32", 4),
    "I64": ("int64", 8),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
}
_DTYPE_NAMES = {f"torch.{dtype}": name for name, (dtype, _) in _DTYPES.items()}
_MAX_DIMS = 16
_NO_SUM = "0" * 64  # stands in the checksum's own place while it is computed


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds: the header (JSON) and the tensors, on the CPU, each with its own memory."""

    header: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies among the tensors' bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def write(path: str | os.PathLike[str], header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write one model file. The same content gives the same bytes; an old file stays until the new is whole.

    Raises FileError if the file cannot be written or the header is not plain JSON (NaN is not).
    """
    try:
        text = json.dumps(header, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        head = _head(text, tensors)
        # what would be refused when it is read is refused while there is still something to save
        parse_json(text.encode())
        _check_head(head[8:], size=None)
    except (TypeError, ValueError) as error:
        raise FileError(f"Cannot write {Path(path)}: {error}") from error

    digest = hashlib.sha256(head)
    for tensor in tensors.values():
        digest.update(_bytes(tensor))
    head = head.replace(_field("sha256", _NO_SUM), _field("sha256", digest.hexdigest()))

    def fill(file: BinaryIO) -> None:
        file.write(head)
        for tensor in tensors.values():
            file.write(_bytes(tensor))

    write_atomic(path, fill)


def read(path: str | os.PathLike[str]) -> ModelFile:
    """Read one model file of this or any older version.

    Raises FileError, which says what the file is instead, if it is missing, damaged, cut short, made by
    a newer isthmus, or no model file at all.
    """
    tensors: dict[str, Tensor] = {}

    def take(entry: _Entry, data: bytearray) -> None:
        tensors[entry.name] = _tensor(entry, data)

    return ModelFile(_open(path, take), tensors)


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a model file, all of which is held against its checksum; raises what :func:`read` does."""
    return _open(path, lambda entry, data: None)


def _open(path: str | os.PathLike[str], take: Callable[[_Entry, bytearray], None]) -> dict[str, Any]:
    path = Path(path)
    with open_file(path) as file:
        try:
            return _read(path, file, take)
        except OSError as error:
            raise FileError(f"Cannot read {path}: {error.strerror or error}.") from error


def fingerprint(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what is said and of the numbers, in any order: the same for a model in memory and for its file."""
    text = json.dumps(header, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"\0{name}\0{tuple(tensors[name].shape)}\0{tensors[name].dtype}\0".encode())
        digest.update(_bytes(tensors[name]))
    return digest.hexdigest()


def _read(path: Path, file: BufferedReader, take: Callable[[_Entry, bytearray], None]) -> dict[str, Any]:
    """The header; every tensor's bytes are handed on as they are read."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(512)
    n_head = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
    # eight bytes of length and then a brace: everything else that people have on disk starts differently
    if start[8:9] != b"{" or not 2 <= n_head <= MAX_HEADER_BYTES:
        raise FileError(f"{path} {_looks_like(start)}")
    if n_head > size - 8:
        raise FileError(f"{path} was cut short: its header is incomplete. {_AGAIN}")
    file.seek(8)
    head = file.read(n_head)
    try:
        metadata, entries = _check_head(head, size - 8 - n_head)
    except ValueError as error:
        raise FileError(f"{path} is damaged or not a model file: {error} {_AGAIN}") from error
    if "isthmus" not in metadata:
        raise FileError(
            f"{path} is a safetensors file without an isthmus header: weights alone, not a model. {_SAVED_BY}"
        )
    version = _version(path, metadata)

    # the checksum was taken with zeros in its own place
    stored = metadata.get("sha256", "")
    field = _field("sha256", stored)
    blank = head.replace(field, _field("sha256", _NO_SUM))
    digest = hashlib.sha256(start[:8] + blank)
    for entry in entries:
        data = bytearray(entry.end - entry.begin)
        if file.readinto(data) != len(data):
            raise FileError(f"{path} was cut short while it was read. {_AGAIN}")
        digest.update(data)
        take(entry, data)
    if head.count(field) != 1 or digest.hexdigest() != stored:
        raise FileError(f"{path} is damaged: its checksum does not match its content. {_AGAIN}")

    try:
        header = parse_json(metadata["isthmus"].encode())
    except ValueError as error:
        raise FileError(f"{path} is damaged: {error} {_AGAIN}") from error
    while version < FORMAT_VERSION:
        header = MIGRATIONS[version](header)
        version += 1
    return header


# --- the safetensors head ---------------------------------------------------------------------------------


def _head(text: str, tensors: Mapping[str, Tensor]) -> bytes:
    """Length and JSON of the safetensors head, with zeros for the checksum."""
    said: dict[str, Any] = {"__metadata__": {"format": str(FORMAT_VERSION), "isthmus": text, "sha256": _NO_SUM}}
    assert "__metadata__" not in tensors, "safetensors keeps this name for itself"
    begin = 0
    for name, tensor in tensors.items():
        if str(tensor.dtype) not in _DTYPE_NAMES:
            raise ValueError(f"tensor {name!r} has dtype {tensor.dtype}; known: {', '.join(_DTYPES)}.")
        end = begin + tensor.numel() * tensor.element_size()
        said[name] = {
            "dtype": _DTYPE_NAMES[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    # always the same spelling, so that `_field` finds the checksum in the bytes
    head = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # safetensors starts the tensors at a multiple of eight
    return struct.pack("<Q", len(head)) + head


def _field(key: str, value: str) -> bytes:
    return f'"{key}":"{value}"'.encode()


def _check_head(head: bytes, size: int | None) -> tuple[dict[str, str], list[_Entry]]:
    """Metadata and entries in the order of their bytes, which must fill exactly ``size`` bytes.

    Raises ValueError: the caller knows the path.
    """
    said = parse_json(head)
    metadata = said.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not strings.")
    entries = sorted((_entry(name, value) for name, value in said.items()), key=lambda e: (e.begin, e.end))
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise ValueError(f"tensor {entry.name!r} overlaps another, or leaves a gap.")
        position = entry.end
    if size is not None and position != size:
        short = "was cut short" if size < position else "goes on after its end"
        raise ValueError(f"it {short}: {position:,} bytes of tensors expected, {size:,} found.")
    return metadata, entries


def _entry(name: str, said: Any) -> _Entry:
    match said:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)], **others}:
            pass
        case _:
            raise ValueError(f"tensor {name!r} is not described as dtype, shape and data_offsets.")
    if others or dtype not in _DTYPES:
        raise ValueError(f"tensor {name!r} has an unknown dtype or field.")
    # True is an int in Python; 2**63 is where torch's own sizes end, also beside a zero
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(f"the shape or place of tensor {name!r} is not made of whole numbers from 0.")
    if len(shape) > _MAX_DIMS or math.prod(n or 1 for n in shape) >= 2**63:
        raise ValueError(f"tensor {name!r} has an impossible shape.")
    if math.prod(shape) * _DTYPES[dtype][1] != end - begin:
        raise ValueError(f"the bytes of tensor {name!r} do not match its shape.")
    return _Entry(name, dtype, tuple(shape), begin, end)


def _version(path: Path, metadata: Mapping[str, str]) -> int:
    said = metadata.get("format", "")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", said):
        raise FileError(f"{path} is damaged: its format version is {said[:20]!r}. {_AGAIN}")
    if int(said) > FORMAT_VERSION:
        raise FileError(
            f"{path} was written by a newer isthmus: it has format {said}, this one reads up to "
            f"{FORMAT_VERSION}. Install a newer isthmus (pip install -U isthmus)."
        )
    return int(said)


# --- bytes ⇄ tensors --------------------------------------------------------------------------------------


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _tensor(entry: _Entry, data: bytearray) -> Tensor:
    import torch

    dtype = getattr(torch, _DTYPES[entry.dtype][0])
    if not data:
        return torch.empty(entry.shape, dtype=dtype)
    if dtype == torch.bool and data.translate(None, b"\0\1"):
        raise FileError(f"The model file is damaged: {entry.name!r} holds truth values other than 0 and 1.")
    return torch.frombuffer(data, dtype=dtype).reshape(entry.shape)


# --- what else it may be ----------------------------------------------------------------------------------

_AGAIN = "Copy or download it again."
_SAVED_BY = "isthmus opens the files that `isthmus fit` and `model.save` write."

_STARTS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"%PDF": "a PDF document",
    b"PAR1": "a Parquet table",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
    b"SQLite format 3": "a database",
}


def _looks_like(start: bytes) -> str:
    """What to say about a file that does not start as a model file does."""
    if not start:
        return f"is empty. {_AGAIN}"
    # a zip with data.pkl in it is what torch.save writes; a bare pickle starts with its protocol
    if (start[:4] == b"PK\x03\x04" and b"data.pkl" in start) or re.match(rb"\x80[\x02-\x05]", start):
        return (
            "is a pickle (perhaps a PyTorch checkpoint), which could run any code when opened, so isthmus "
            f"never opens one. {_SAVED_BY}"
        )
    if start[:4] == b"PK\x03\x04":
        return f"is a zip archive, not a model file. Unpack it, if the model is inside. {_SAVED_BY}"
    for magic, name in _STARTS.items():
        if start.startswith(magic):
            return f"is {name}, not a model file. {_SAVED_BY}"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a model file: perhaps a download that failed. Download it again."
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer that Git LFS left in its place. Run `git lfs pull` to get the model."
    if text.isascii() and b"\0" not in text:
        name = "a table in text (CSV)" if b"," in text or b"\t" in text or b";" in text else "text"
        return f"is {name}, not a model file. {_SAVED_BY}"
    return f"is not a model file, or its start is damaged. {_SAVED_BY}"
