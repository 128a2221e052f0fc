"""What the sections of an index file hold, each read when it is first needed, and believed as far as it is possible."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.bits import Bits
from isthmus.core.lists import Lists, faiss_is_here
from isthmus.core.scan import Kept
from isthmus.data.sections import Sections
from isthmus.errors import FileError, SpecError
from isthmus.tasks.searching.words import Words

if TYPE_CHECKING:
    import pyarrow as pa

    from isthmus.model import Model

#: What codes are kept as, and what is looked through.
CODES = ("float", "int8", "binary")
#: Candidates that are looked at again, at most.
MOST_CANDIDATES = 3200

_AGAIN = "Build it again."


def checked(file: Sections) -> dict[str, Any]:
    """What a file says of itself, as far as it is possible."""
    match file.said:
        case {
            "kind": str(),
            "model": str(),
            "codes": str(codes),
            "origin": str(),
            "rows": int(rows),
            "next": int(),
        } if codes in CODES and rows > 0:
            pass
        case _:
            raise FileError(f"{file.path} is damaged: it does not say what it holds. {_AGAIN}")
    for name in ("looked", "candidates", "next", "recall_of"):
        value = file.said.get(name, 0)
        if type(value) is not int or not 0 <= value < 2**53:
            raise FileError(f"{file.path} is damaged: {name} cannot be {value!r}. {_AGAIN}")
    if type(file.said.get("recall", 0.0)) not in (int, float) or not isinstance(file.said.get("language"), str | None):
        raise FileError(f"{file.path} is damaged: its recall or its language cannot be. {_AGAIN}")
    return dict(file.said)


def bits_in(file: Sections, kept: Kept) -> Bits:
    planes = file.array("planes", "<f4", (kept.width, None))
    n = planes.shape[1]
    if n % 64 or not n:
        raise FileError(f"{file.path} is damaged: {n} bits are no whole words. {_AGAIN}")
    bits = file.array("bits", "|u1", (len(kept), n // 8))
    return Bits(bits, planes, file.array("middle", "<f4", (kept.width,)))


def lists_in(file: Sections, kept: Kept) -> Lists | None:
    """The lists, where faiss is there to look through them."""
    if not faiss_is_here():
        return None
    centres = file.array("centres", "<f4", (None, kept.width))
    codewords = file.array("codewords", "<f4", (None, 16, None))
    parts, cell = len(codewords), file.array("cell", "<u2", (len(kept),))
    packed = file.array("packed", "|u1", (len(kept), (parts + 1) // 2))
    looked, candidates = file.said.get("looked", 0), file.said.get("candidates", 0)
    if parts * codewords.shape[2] != kept.width or not len(centres) or not 0 < looked <= len(centres):
        raise FileError(f"{file.path} is damaged: its lists do not fit its codes. {_AGAIN}")
    if not 0 < candidates <= MOST_CANDIDATES or not np.isfinite(centres).all() or not np.isfinite(codewords).all():
        raise FileError(f"{file.path} is damaged: its lists cannot be looked through. {_AGAIN}")
    if cell.max(initial=0) >= len(centres):
        raise FileError(f"{file.path} is damaged: a row is in a list that there is not. {_AGAIN}")
    return Lists(centres, codewords, cell, packed)


def words_in(file: Sections | None, n: int, language: str | None) -> Words:
    assert file is not None
    raw = file.array("words", "|u1", (None,)).tobytes()
    scores = {
        "data": file.array("words/data", "<f4", (None,)), "indices": file.array("words/indices", "<i4", (None,)),
        "indptr": file.array("words/indptr", "<i8", (None,)),
    }  # fmt: skip
    try:
        vocabulary = raw.decode("utf8", "surrogatepass").split("\n") if raw else []
        ends = scores["indptr"]
        sound = len(ends) == len(vocabulary) + 1 and ends[0] == 0 and (np.diff(ends) >= 0).all()
        sound = sound and ends[-1] == len(scores["data"]) == len(scores["indices"])
        if not sound or (len(scores["indices"]) and not 0 <= scores["indices"].min() <= scores["indices"].max() < n):
            raise ValueError("they name documents that there are not")
        return Words(vocabulary, scores, n, language)
    except (ValueError, KeyError) as error:
        raise FileError(f"{file.path} is damaged: its words cannot be read ({error}). {_AGAIN}") from error


def table_bytes(table: pa.Table) -> np.ndarray:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return np.frombuffer(sink.getvalue(), np.uint8)


def table_in(file: Sections | None, n: int) -> pa.Table:
    import pyarrow as pa

    assert file is not None
    try:
        table = pa.ipc.open_stream(pa.py_buffer(file.array("table", "|u1", (None,)))).read_all()
        table.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowException, OSError, ValueError, TypeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{file.path} is damaged: what it shows of rows cannot be read ({error}).") from error
    if table.num_rows != n:
        raise FileError(f"{file.path} is damaged: it shows {table.num_rows:,} rows and has {n:,}. {_AGAIN}")
    return table


def model_in(file: Sections | None, said: Mapping[str, Any]) -> Model:
    """The model, if it is the one that made the codes."""
    from isthmus.model import open_model

    assert file is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(file.array("model", "|u1", (None,)).tobytes())
        try:
            model = open_model(path)
        except (FileError, SpecError) as error:
            raise FileError(
                f"The model in {file.path} cannot be opened: {str(error).replace(str(path), 'it')}"
            ) from error
    kind = model.modality.kind
    if model.fingerprint != said["model"] or kind != said["kind"] or ("words" in file) != (kind == "text"):
        raise FileError(f"{file.path} is damaged: the model in it is not the one that made it. {_AGAIN}")
    return model
