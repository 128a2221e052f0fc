import random

import numpy as np
import pytest

from isthmus.data import sections
from isthmus.data.sections import Sections
from isthmus.errors import FileError

G = np.random.default_rng(0)
ARRAYS = {
    "codes": G.normal(size=(50, 3)).astype(np.float32), "bits": G.integers(0, 256, (50, 2)).astype(np.uint8),
    "ids": np.arange(50), "empty": np.zeros((0, 4), np.float32),
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    sections.write(tmp_path / "a.idx", {"rows": 50, "kind": "table"}, ARRAYS)
    return tmp_path / "a.idx"


def test_what_was_written_is_read(path):
    file = Sections(path)
    assert file.said == {"rows": 50, "kind": "table"}
    for name, array in ARRAYS.items():
        found = file.array(name, array.dtype.str, array.shape)
        assert np.array_equal(found, array)
        assert found.dtype == array.dtype
    assert file.check() == []
    assert sections.is_sections(path)


def test_the_same_gives_the_same_bytes(path, tmp_path):
    sections.write(tmp_path / "b.idx", {"rows": 50, "kind": "table"}, ARRAYS)
    assert (tmp_path / "b.idx").read_bytes() == path.read_bytes()


def test_arrays_can_be_written_to_and_the_file_stays_as_it_is(path):
    before = path.read_bytes()
    Sections(path).array("codes", "<f4", (50, 3))[:] = 0
    assert path.read_bytes() == before


def test_a_section_of_another_form_is_damage(path):
    file = Sections(path)
    for name, dtype, shape in (("codes", "<f4", (50, 4)), ("codes", "|i1", (50, 3)), ("other", "<f4", (None,))):
        with pytest.raises(FileError, match="damaged"):
            file.array(name, dtype, shape)


def test_a_flipped_bit_is_found_when_the_section_is_used(path):
    data = bytearray(path.read_bytes())
    data[-1 - ARRAYS["ids"].nbytes] ^= 1  # in the bits or behind them
    at = path.read_bytes().index(ARRAYS["bits"].tobytes())
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    file = Sections(path)
    assert np.array_equal(file.array("codes", "<f4", (50, 3)), ARRAYS["codes"])
    with pytest.raises(FileError, match="bits does not match its checksum"):
        file.array("bits", "|u1", (50, 2))
    assert file.check() == ["bits"]


@pytest.mark.parametrize("kept", [0, 5, 12, 40, 400, -1])
def test_a_file_that_was_cut_short_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileError, match=r"cut short|not an index|damaged"):
        Sections(path)


def test_more_than_was_written_is_refused(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(FileError, match="goes on after its end"):
        Sections(path)


def test_a_newer_version_is_named(path, monkeypatch):
    monkeypatch.setattr(sections, "VERSION", 2)
    sections.write(path, {}, {})
    monkeypatch.undo()
    with pytest.raises(FileError, match="newer isthmus: it has format 2"):
        Sections(path)


def test_damage_gives_an_error_or_sound_arrays(path, damaged):
    """Whatever happens to the bytes: a FileError, or what was written."""
    whole, chance = path.read_bytes(), random.Random(0)
    for _ in range(300):
        path.write_bytes(damaged(whole, chance))
        try:
            file = Sections(path)
            for name, array in ARRAYS.items():
                assert np.array_equal(file.array(name, array.dtype.str, array.shape), array)
        except FileError:
            pass


@pytest.mark.parametrize(
    "listed", [{"a": ["<f8", [2], 0]}, {"a": ["<f4", [-1], 0]}, {"a": ["<f4", [2**50], 0]}, {"a": ["|O", [1], 0]},
               {"a": ["<f4", [2**39, 2**39, 2**39], 0]}, {"a": 3}, [], {"a": ["<f4", [True], 0]}]
)  # fmt: skip
def test_a_header_that_asks_for_the_impossible_is_refused(tmp_path, listed, monkeypatch):
    dumps = sections.json.dumps
    monkeypatch.setattr(sections.json, "dumps", lambda said, **how: dumps({**said, "sections": listed}, **how))
    sections.write(tmp_path / "a.idx", {}, {})
    with pytest.raises(FileError, match="damaged"):
        Sections(tmp_path / "a.idx")
