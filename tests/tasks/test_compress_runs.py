"""Recordings become one file and the same files again, exactly or as promised, and each is lost by itself."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from isthmus.app.cli import main
from isthmus.data.container import pack, unpack
from isthmus.data.rows import Rows
from isthmus.data.sounds import Sound
from isthmus.data.source import open_rows
from isthmus.errors import DataError, FileError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.compression.compress import Inspected, compress, decompress

LENGTHS = {"a.wav": 900, "deep/b.wav": 12_000, "c.wav": 61}


def tone(n, seed=0):
    chance = np.random.default_rng(seed)
    t = np.arange(n) / 8000
    x = 6000 * np.sin(2 * np.pi * 440 * t * (1 + 0.1 * np.sin(9 * t))) + 900 * np.sin(2 * np.pi * 1750 * t)
    return np.rint(x + 25 * chance.normal(size=n)).astype("i2")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    soundfile = pytest.importorskip("soundfile")
    folder = tmp_path_factory.mktemp("sounds")
    for i, (name, n) in enumerate(LENGTHS.items()):
        (folder / name).parent.mkdir(exist_ok=True)
        with soundfile.SoundFile(folder / name, "w", 8000, 1, "PCM_16") as file:
            file.title = f"tone {i}"
            file.write(tone(n, i))
    return folder


@pytest.fixture(scope="module")
def model(sounds):
    return Model.fit(open_rows(sounds), latent_dim=2, plan=Plan(epochs=1, validation=0.1),
                     modality="series", modality_options={"window": 32})  # fmt: skip


def test_sounds_come_back_as_the_same_files_by_the_steps_before(model, sounds, tmp_path):
    packed = compress(model, sounds)
    assert packed.ways == {"waves": 1}
    assert packed.rows == sum(LENGTHS.values())
    sizes = {one.name: one.size for one in packed.beside}
    assert len(packed.data) < sizes["FLAC"]
    assert len(packed.data) < 0.9 * sizes["xz"]
    decompress(model, packed).save(tmp_path / "back")
    for name in LENGTHS:
        before, after = ((folder / name).read_bytes() for folder in (sounds, tmp_path / "back"))
        assert after == before
    assert "3 recordings" in "".join(Inspected.of(packed.data).summary())


def test_a_damaged_chunk_loses_its_part_and_says_whose(model, sounds):
    packed = compress(model, sounds, chunk_rows=5000, compare=False)
    container = unpack(packed.data)
    # a.wav and c.wav are small and stay whole; b.wav is cut
    assert [chunk.rows for chunk in container.chunks] == [961, 5000, 5000, 2000]
    broken = bytearray(packed.data)
    broken[container.chunks[2].begin + 9] ^= 4
    with pytest.raises(FileError, match="1 of 4 chunks"):
        decompress(model, bytes(broken))
    back = decompress(model, bytes(broken), salvage=True)
    assert back.names == ("a.wav", "c.wav", "deep/b.wav")
    assert "not whole: deep/b.wav" in back.remark
    whole = tone(12_000, 1)
    assert np.array_equal(back.rows[2].samples, np.concatenate([whole[:5000], whole[10_000:]]))
    assert np.array_equal(back.rows[0].samples, tone(900, 0))
    broken[container.chunks[0].begin + 9] ^= 4
    assert decompress(model, bytes(broken), salvage=True).names == ("deep/b.wav",)


def test_tables_of_many_lengths_keep_stamps_gaps_and_the_promise(tmp_path):
    chance, folder = np.random.default_rng(0), tmp_path / "in"
    folder.mkdir()
    for i, n in enumerate((4000, 6000, 90)):
        load = np.cumsum(chance.normal(size=n))
        csv.write_csv(pa.table({
            "time": pa.array(np.datetime64("2024-01-01", "s") + 60 * np.arange(n).astype("timedelta64[s]")),
            "load": pa.array(load, mask=chance.random(n) < 0.02),
            "heat": np.rint(100 * load + chance.normal(size=n)).astype(int),
            "state": np.where(load > 0, "on", "off"),
        }), folder / f"day{i}.csv")  # fmt: skip
    rows = open_rows(folder, kind="series")
    model = Model.fit(rows, latent_dim=2, plan=Plan(epochs=1, validation=0.1), modality="series",
                      modality_options={"window": 16, "kinds": {"state": "ignore"}})  # fmt: skip
    packed = compress(model, rows, max_error="0.05")
    assert set(packed.ways) == {"waves"}
    assert len(packed.data) < 0.8 * min(one.size for one in packed.beside)
    back = decompress(model, packed)
    assert back.names == ("day0.csv", "day1.csv", "day2.csv")
    for before, after in zip(rows.data, back.rows, strict=True):
        for name in ("time", "heat", "state"):
            assert after[name].combine_chunks().equals(before[name].combine_chunks().cast(after[name].type)), name
        assert after["load"].is_null().equals(before["load"].is_null())
        away = np.abs(after["load"].to_numpy() - before["load"].to_numpy())
        assert np.nanmax(away) <= 0.05
    few = rows.take([2])
    exact = decompress(model, compress(model, few, compare=False)).rows
    assert exact["load"].combine_chunks().equals(few.data[0]["load"].combine_chunks())


def test_arrays_of_channels_and_floats(model):
    chance = np.random.default_rng(0)
    arrays = [np.cumsum(chance.normal(size=(n, 2)), 0).astype("f4") for n in (50, 300, 1)]
    two = Model.fit(
        open_rows(arrays[:2], kind="series"),
        latent_dim=2,
        plan=Plan(epochs=1),
        modality="series",
        modality_options={"window": 16},
    )
    for error in (None, "0.01"):
        back = decompress(two, compress(two, open_rows(arrays, kind="series"), max_error=error, compare=False)).rows
        for before, after in zip(arrays, back, strict=True):
            assert (after.shape, after.dtype) == (before.shape, before.dtype)
            assert np.abs(after - before).max() <= (0.01 if error else 0)
    sounds = [Sound(tone(80), 8000), Sound(tone(80).astype("i4"), 8000, "PCM_32")]
    mixed = Rows("recordings", sounds, "the sounds", ("a.wav", "b.wav"))
    with pytest.raises(DataError, match="one kind"):
        compress(model, mixed)


def test_forged_runs_are_refused(model, sounds):
    container = unpack(compress(model, sounds, compare=False).data)
    chunks = [(chunk.rows, container.read(chunk)) for chunk in container.chunks]
    runs = container.header["runs"]
    changes = [{"lengths": [1]}, {"lengths": [-1, 12_962, 0]}, {"kinds": [["exe"]]}, {"names": ["../a.wav", "b", "c"]},
               {"kinds": [["sound", -1, "PCM_16", {}, 1]]}]  # fmt: skip
    for wrong in (None, {}, *({**runs, **change} for change in changes)):
        with pytest.raises(FileError):
            decompress(model, pack({**container.header, "runs": wrong}, chunks))


def test_one_sound_comes_back_as_a_file_or_in_its_folder(model, sounds, tmp_path):
    back = decompress(model, compress(model, sounds / "c.wav", compare=False))
    assert back.rows.rate == 8000
    back.save(tmp_path / "again.wav")
    back.save(tmp_path / "folder")
    for path in (tmp_path / "again.wav", tmp_path / "folder" / "c.wav"):
        assert path.read_bytes() == (sounds / "c.wav").read_bytes()


def test_from_the_command_line(model, sounds, tmp_path, capsys):
    model.save(tmp_path / "m.isthmus")
    fitted, packed, back = (str(tmp_path / name) for name in ("m.isthmus", "a.isz", "a.wav"))
    assert main(["compress", fitted, str(sounds / "a.wav"), "-o", packed]) == 0
    assert "FLAC" in capsys.readouterr().out
    assert main(["decompress", fitted, packed, "-o", back]) == 0
    assert (tmp_path / "a.wav").read_bytes() == (sounds / "a.wav").read_bytes()
