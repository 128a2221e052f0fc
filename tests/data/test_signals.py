"""What is no channel comes back as it was, and channels in their own type."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data.signals import are_signals, open_signal, open_signals
from isthmus.data.source import open_rows
from isthmus.errors import DataError, FileError
from isthmus.modalities import fit_modality
from isthmus.modalities.signals import bridged

soundfile = pytest.importorskip("soundfile")
G = np.random.default_rng(0)


def louder(_, page):
    return page + 1.0


@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 1), ("PCM_24", 2), ("FLOAT", 2), ("PCM_U8", 1)])
def test_a_sound_keeps_rate_format_and_title(tmp_path, subtype, channels):
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    samples = np.clip(0.1 * G.standard_normal((500, channels)), -0.9, 0.9)
    with soundfile.SoundFile(source, "w", 8000, channels, subtype, format="WAV") as file:
        file.title = "nine"
        file.write(samples)
    sound = open_signal(source)
    assert sound.shapes == [(1, 500, channels)]
    sound.copy(target, lambda _, page: page)
    with soundfile.SoundFile(source) as a, soundfile.SoundFile(target) as b:
        assert (a.samplerate, a.subtype, a.channels, a.title) == (b.samplerate, b.subtype, b.channels, b.title)
        assert (a.read() == b.read()).all()


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_keeps_its_other_columns_types_order_and_gaps(tmp_path, ending):
    table = pa.table({
        "time": pa.array(np.arange(6), pa.int64()), "a": pa.array([1.0, None, 3.0, 4.0, 5.0, 6.0]),
        "note": ["x"] * 6, "b": pa.array(range(6), pa.int64()),
    })  # fmt: skip
    source, target = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    if ending == ".csv":
        from pyarrow import csv

        csv.write_csv(table, source)
    else:
        pq.write_table(table, source)
    file = open_signal(source)
    assert file.columns == ["a", "b"]
    page = file.read(0)
    assert page.shape == (1, 6, 2)
    assert np.isnan(page[0, 1, 0])
    file.copy(target, louder)
    before, after = open_rows(source).data, open_rows(target).data
    assert after.column_names == before.column_names
    assert after.schema.types == before.schema.types
    assert after["time"].equals(before["time"])
    assert after["note"].equals(before["note"])
    assert after["a"].to_pylist() == [2.0, None, 4.0, 5.0, 6.0, 7.0]
    assert after["b"].to_pylist() == [1, 2, 3, 4, 5, 6]


def test_an_array_keeps_its_shape_and_type(tmp_path):
    for shape in ((9,), (4, 9), (4, 9, 3)):
        np.save(tmp_path / "a.npy", G.integers(0, 100, shape).astype(np.int16))
        file = open_signal(tmp_path / "a.npy")
        assert len(file.shapes) == (1 if len(shape) == 1 else 4)
        file.copy(tmp_path / "b.npy", louder)
        after = np.load(tmp_path / "b.npy")
        assert after.dtype == np.int16
        assert (after == np.load(tmp_path / "a.npy") + 1).all()


def test_endings_tell_signals_from_pictures(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.csv").write_text("v\n1\n2\n")
    assert are_signals(tmp_path)
    assert are_signals([str(tmp_path / "a.wav"), "b.parquet"])
    (tmp_path / "b.png").write_bytes(b"")
    assert not are_signals(tmp_path)
    assert not are_signals("a.npy")  # may be anything
    assert not are_signals(np.zeros(3))


def test_what_cannot_be_read_is_skipped_and_told(tmp_path):
    (tmp_path / "good.csv").write_text("t,v\n0,1\n1,2\n")
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    (tmp_path / "words.csv").write_text("a\nx\ny\n")
    rows = open_signals(tmp_path)
    assert rows.names == ("good.csv",)
    assert {one.name for one in rows.skipped} == {"bad.wav", "words.csv"}
    with pytest.raises(FileError, match="cannot be used"):
        open_signals(tmp_path, strict=True)
    with pytest.raises(DataError, match="Signals are an array"):
        open_signals(np.zeros((2, 3, 4, 5)))


def test_holes_are_bridged_and_crops_of_pairs_belong_together():
    page = np.array([[[0.0], [np.nan], [2.0], [np.nan]]])
    assert bridged(page)[0, :, 0].tolist() == [0, 1, 2, 2]
    signals = [G.standard_normal((n, 2)) for n in (40, 700, 2000)]
    rows, same = open_signals(signals), open_signals([10 * s for s in signals])
    one, two = fit_modality(rows, "signals"), fit_modality(same, "signals")
    x, y = one.to_tensors(rows)["x"], two.to_tensors(same)["x"]
    assert x.shape[1:] == (2, 512)
    assert abs(x - y).max() < 1e-4  # each in its own units
