import struct

import numpy as np
import pytest

from isthmus.data.sounds import read_sound
from isthmus.data.source import open_rows
from isthmus.errors import FileError

soundfile = pytest.importorskip("soundfile")
SAMPLES = (8000 * np.sin(np.arange(3000) / 9)).astype(np.int16)


@pytest.fixture
def sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", SAMPLES, 8000)
    return tmp_path / "a.wav"


@pytest.mark.parametrize("lost", [1, 2, 700, 5999])
def test_a_sound_that_is_cut_short_is_refused_and_in_a_folder_told(sound, lost):
    cut = sound.with_name("b.wav")
    cut.write_bytes(sound.read_bytes()[:-lost])
    with pytest.raises(FileError, match=f"'b.wav' is cut short: {lost:,} bytes"):
        read_sound(cut)
    for stream in (False, True):
        rows = open_rows(sound.parent, stream=stream)
        assert [one.name for one in rows.skipped] == ["b.wav"]
        assert "is cut short" in rows.skipped[0].reason


@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_that_nobody_knew_while_writing_is_no_damage(sound, length):
    written = bytearray(sound.read_bytes())
    at = written.index(b"data") + 4
    written[at : at + 4] = struct.pack("<I", length)
    sound.write_bytes(bytes(written))
    if length:
        assert np.array_equal(read_sound(sound).samples, SAMPLES)
    else:
        with pytest.raises(FileError, match="holds no sample"):
            read_sound(sound)


def test_what_stands_behind_the_samples_is_none_of_them(sound):
    with sound.open("ab") as file:
        file.write(b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert np.array_equal(read_sound(sound).samples, SAMPLES)
