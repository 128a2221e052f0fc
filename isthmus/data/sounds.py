"""Sounds: WAV files as numbers, and back with the rate and the sample format that they came with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from isthmus.errors import FileError

SUFFIXES = (".wav",)

#: What holds every sample of a format exactly: 24 bits are the upper ones of 32.
_HELD_IN = {"PCM_U8": "int16", "PCM_S8": "int16", "PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32",
            "FLOAT": "float32", "DOUBLE": "float64"}  # fmt: skip


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


def read_sound(path: Path) -> Sound:
    """Open a WAV file."""
    soundfile = _soundfile(path)
    try:
        with soundfile.SoundFile(path) as file:
            held = _HELD_IN.get(file.subtype, "float64")
            sound = Sound(file.read(dtype=held), file.samplerate, file.subtype, file.copy_metadata())
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise FileError(f"{path.name!r} cannot be read as WAV: it is damaged, cut short or something else.") from error
    if not len(sound):
        raise FileError(f"{path.name!r} holds no sample.")
    return sound


def write_sound(sound: Any, file: BinaryIO) -> None:
    """Write a WAV file."""
    if not isinstance(sound, Sound):
        raise FileError("A .wav holds a sound, and these rows are none: write them as .csv or .npy.")
    soundfile = _soundfile(None)
    channels = sound.samples.shape[1] if sound.samples.ndim == 2 else 1
    with soundfile.SoundFile(file, "w", sound.rate, channels, sound.subtype, format="WAV") as out:
        for name, value in sound.told.items():
            setattr(out, name, value)
        out.write(sound.samples)


def _soundfile(path: Path | None) -> Any:
    try:
        import soundfile
    except ImportError as error:
        what = "A WAV file" if path is None else repr(path.name)
        raise FileError(f"{what} needs soundfile, which is not installed: pip install 'isthmus[audio]'.") from error
    return soundfile
