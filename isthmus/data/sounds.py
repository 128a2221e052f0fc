"""Sounds: WAV files as numbers, and back with the rate and the sample format that they came with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from isthmus.errors import FileError
from isthmus.files import open_file

SUFFIXES = (".wav",)

#: What holds every sample of a format exactly: 24 bits are the upper ones of 32.
_HELD_IN = {"PCM_U8": "int16", "PCM_S8": "int16", "PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32",
            "FLOAT": "float32", "DOUBLE": "float64"}  # fmt: skip


#: Who writes into a pipe does not know how long a sound will be, and says so by a length like this.
_UNKNOWN = 0x7FFFFF00


@dataclass(frozen=True)
class Sound:
    """``samples`` (time,) or (time, channels), ``rate`` a second, ``subtype`` as in the file, title and the like."""

    samples: np.ndarray
    rate: int
    subtype: str = "PCM_16"
    told: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def of(self, samples: np.ndarray) -> Sound:
        """The same with other samples."""
        return replace(self, samples=samples)


class SoundReader:
    """An open WAV file, of which any stretch can be read."""

    def __init__(self, file: Any, name: str):
        """
        Raises:
            FileError: it is damaged, holds no sample, or something else.
        """
        self._soundfile, self._name = _soundfile(name), name
        if missing := _missing(file):
            raise FileError(
                f"{name!r} is cut short: {missing:,} bytes of sound that its beginning promises are not there. Fetch "
                "or write it again, or leave it out."
            )
        try:
            self._file = self._soundfile.SoundFile(file)
        except (self._soundfile.SoundFileError, OSError, ValueError) as error:
            raise self._damaged() from error
        self.n, self.channels = len(self._file), self._file.channels
        if not self.n:
            raise FileError(f"{name!r} holds no sample.")

    def read(self, begin: int = 0, end: int | None = None) -> Sound:
        """Samples ``begin`` to ``end``, by default all."""
        file, end = self._file, self.n if end is None else end
        held = _HELD_IN.get(file.subtype, "float64")
        try:
            if begin:
                file.seek(begin)
            sound = Sound(file.read(end - begin, dtype=held), file.samplerate, file.subtype, file.copy_metadata())
        except (self._soundfile.SoundFileError, OSError, ValueError) as error:
            raise self._damaged() from error
        if len(sound) < end - begin:
            raise FileError(
                f"{self._name!r} is cut short: {self.n:,} samples are promised, and the file ends before. Write it "
                "again, or leave it out."
            )
        return sound

    def _damaged(self) -> FileError:
        return FileError(f"{self._name!r} cannot be read as WAV: it is damaged, cut short or something else.")


def _missing(file: BinaryIO) -> int:
    """Bytes of a WAV's samples that are not there: libsndfile reads what there is, and says nothing."""
    promised = [begin + length for name, begin, length in _chunks(file) if name == b"data" and length < _UNKNOWN]
    size = file.seek(0, 2)
    file.seek(0)
    return max(0, promised[0] - size) if promised else 0


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The name, the place and the length of every part of a WAV file."""
    file.seek(0)
    if file.read(12)[:4] != b"RIFF":
        return
    while len(head := file.read(8)) == 8:
        length, at = int.from_bytes(head[4:], "little"), file.tell()
        yield head[:4], at, length
        file.seek(at + length + length % 2)


def read_sound(path: Path) -> Sound:
    """Open a WAV file."""
    with open_file(path) as file:
        return SoundReader(file, path.name).read()


def write_sound(sound: Any, file: BinaryIO) -> None:
    """Write a WAV file."""
    if not isinstance(sound, Sound):
        raise FileError("A .wav holds a sound, and these rows are none: write them as .csv or .npy.")
    soundfile = _soundfile("")
    channels = sound.samples.shape[1] if sound.samples.ndim == 2 else 1
    with soundfile.SoundFile(file, "w", sound.rate, channels, sound.subtype, format="WAV") as out:
        for name, value in sound.told.items():
            setattr(out, name, value)
        out.write(sound.samples)


def _soundfile(name: str) -> Any:
    try:
        import soundfile
    except ImportError as error:
        what = repr(name) if name else "A WAV file"
        raise FileError(f"{what} needs soundfile, which is not installed: pip install 'isthmus[audio]'.") from error
    return soundfile
