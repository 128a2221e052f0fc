r"""Recordings ⇄ one long array or table: runs of steps behind each other, and what each file is besides its numbers.

.. math:: (x^{(1)}_{1 \dots n_1}, x^{(2)}_{1 \dots n_2}, \dots) \leftrightarrow x_{1 \dots \sum n_i}
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from isthmus.data.rows import Rows
from isthmus.data.sounds import Sound
from isthmus.errors import DataError
from isthmus.tasks.compression.besides import Beside
from isthmus.tasks.compression.packing import safe_names

#: Runs beyond one a step: a forged file could ask for millions of empty ones.
_EMPTY = 1024
#: Sample formats that FLAC can hold, and bytes of samples that it is tried on.
_FLAC, _BYTES = ("PCM_S8", "PCM_16", "PCM_24"), 24 << 20


@dataclass(frozen=True)
class Runs:
    """``data`` is an ndarray (steps,) or (steps, channels), or a ``pyarrow.Table``; None where it is yet to be read.

    ``kinds`` tell of each run what it was: ``["sound", rate, subtype, told]``, ``["array", axes]`` or ``["table"]``.
    """

    data: Any
    lengths: tuple[int, ...]
    kinds: tuple[list[Any], ...]
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, rows: Rows) -> Runs | None:
        """The runs of recordings, or of series that differ in length; None where rows are neither.

        Raises DataError where they are not alike enough for one file.
        """
        if rows.kind not in ("recordings", "series") or not isinstance(rows.data, list):
            return None
        kinds, items = [], []
        for item in rows.data:
            if hasattr(item, "column_names"):
                kinds.append(["table"])
                items.append(item)
                continue
            values = np.asarray(item.samples if isinstance(item, Sound) else item)
            about = ["array", values.ndim]
            if isinstance(item, Sound):
                told = {str(name): str(value) for name, value in item.told.items()}
                about = ["sound", int(item.rate), item.subtype, told, values.ndim]
            kinds.append(about)
            items.append(values.reshape(len(values), -1))
        return cls(_joined(items, rows), tuple(map(len, items)), tuple(kinds), rows.names)

    @property
    def ends(self) -> np.ndarray:
        """Where runs end, (1 + runs,), the first of which is 0."""
        return np.concatenate([[0], np.cumsum(np.array(self.lengths, np.int64))])

    def cuts(self, step: int) -> list[tuple[int, int]]:
        """Where chunks of ``step`` steps at most begin and end: between runs, unless one of them is longer."""
        found, begin, at = [], 0, 0
        for length in self.lengths:
            if at + length - begin > step and at > begin:
                found.append((begin, at))
                begin = at
            while at + length - begin > step:
                found.append((begin, begin + step))
                begin += step
            at += length
        return [*found, (begin, at)] if at > begin else found

    def within(self, begin: int, end: int) -> list[int]:
        """How long the parts of runs are that lie between two steps."""
        ends = np.clip(self.ends, begin, end)
        return [int(b - a) for a, b in pairwise(ends) if b > a]

    def back(self, data: Any, kept: Sequence[tuple[int, int]]) -> tuple[list[Any], tuple[str, ...] | None, str]:
        """The runs again of the steps that were ``kept``, their names, and which of them are not whole."""
        whole = np.zeros(int(self.ends[-1]), bool)
        for begin, end in kept:
            whole[begin:end] = True
        before = np.concatenate([[0], whole.cumsum()])
        items, names, torn = [], [], []
        for i, (begin, end) in enumerate(pairwise(self.ends.tolist())):
            name = str(i) if self.names is None else self.names[i]
            first, last = int(before[begin]), int(before[end])
            if last - first < end - begin:
                torn.append(name)
            if last == first and end > begin:
                continue
            names.append(name)
            items.append(_item(data, first, last, self.kinds[i]))
        said = f"not whole: {', '.join(torn[:8])}{', …' if len(torn) > 8 else ''}" if torn else ""
        return items, None if self.names is None else tuple(names), said

    def to_json(self) -> dict[str, Any]:
        alike = len({repr(kind) for kind in self.kinds}) == 1
        return {"lengths": list(self.lengths), "kinds": list(self.kinds[:1] if alike else self.kinds),
                "names": None if self.names is None else list(self.names)}  # fmt: skip

    @classmethod
    def from_json(cls, said: Any, rows: int) -> Runs:
        """Raises ValueError or FileError for what cannot be runs of so many rows."""
        match said:
            case {"lengths": list(lengths), "kinds": list(kinds), "names": None | list() as names}:
                good = all(type(n) is int and n >= 0 for n in lengths) and sum(lengths) == rows
                good = good and len(lengths) <= rows + _EMPTY
                kinds = kinds * len(lengths) if len(kinds) == 1 else kinds
                if good and len(kinds) == len(lengths) and all(map(_known, kinds)):
                    return cls(None, tuple(lengths), tuple(kinds), safe_names(names, len(lengths)))
        raise ValueError("its runs are impossible.")

    def flac(self) -> Beside | None:
        """What FLAC makes of these sounds, one file each; None where there are none that it can hold."""
        if any(kind[0] != "sound" or kind[2] not in _FLAC for kind in self.kinds):
            return None
        import soundfile

        total, tried, at = 0, 0, 0
        for length, kind in zip(self.lengths, self.kinds, strict=True):
            samples = self.data[at : at + length]
            at += length
            if tried >= _BYTES:
                break
            tried += samples.nbytes
            file = io.BytesIO()
            try:
                soundfile.write(file, samples, kind[1], subtype=kind[2], format="FLAC")
            except (soundfile.SoundFileError, ValueError):  # more channels, or another rate, than FLAC knows
                return None
            total += len(file.getvalue())
        about = tried < self.data.nbytes
        return Beside("FLAC", round(total * self.data.nbytes / tried) if about else total, about)


def _joined(items: list[Any], rows: Rows) -> Any:
    import pyarrow as pa

    forms = {str(item.schema.remove_metadata()) if hasattr(item, "schema") else (item.dtype, item.shape[1])
             for item in items}  # fmt: skip
    if not hasattr(items[0], "schema"):
        if len(forms) > 1:
            said = ", ".join(f"{dtype} of {channels} channel(s)" for dtype, channels in sorted(forms, key=str))
            raise DataError(
                f"The recordings of {rows.origin} are {said}: one file holds one kind. Compress them apart."
            )
        joined = np.concatenate(items)
        return joined[:, 0] if joined.shape[1] == 1 else joined
    if len({tuple(item.column_names) for item in items}) > 1:
        raise DataError(
            f"The tables of {rows.origin} have other columns, and one file holds one kind. Compress them apart."
        )
    try:
        return pa.concat_tables(items, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(
            f"Columns of {rows.origin} change their type from file to file: {str(error)[:120]}. Compress them apart."
        ) from error


def _known(kind: Any) -> bool:
    match kind:
        case ["table"] | ["array", 1 | 2]:
            return True
        case ["sound", int(rate), str(), dict(told), 1 | 2]:
            return 0 < rate < 1 << 31 and all(isinstance(value, str) for value in told.values())
    return False


def _item(data: Any, first: int, last: int, kind: list[Any]) -> Any:
    if kind[0] == "table":
        return data.slice(first, last - first)
    part = data[first:last]
    part = part.reshape(len(part), -1) if kind[-1] == 2 else part.reshape(len(part))
    if kind[0] == "array":
        return part
    return Sound(part, kind[1], kind[2], dict(kind[3]))
