"""Recordings that are read in stretches are the recordings that memory holds: windows, scores, and words."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus import open_rows
from isthmus.errors import DataError, FileError
from isthmus.fitting import in_windows, split
from isthmus.modalities import long
from isthmus.modalities.recording import Layout
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.codes import encode, reconstruct
from isthmus.tasks.detection.detect import detect

soundfile = pytest.importorskip("soundfile")

PLAN = Plan(epochs=1, batch_size=64, patience=None)
QUICK = {"detector": "likelihood", "encoder": {"widths": [16]}, "decoder": {"widths": [16]}}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Stretches, blocks and marks that a test's few steps are larger than."""
    monkeypatch.setattr("isthmus.data.tracks.AT_ONCE", 700)
    monkeypatch.setattr("isthmus.data.large.AT_ONCE", 700)
    monkeypatch.setattr("isthmus.modalities.clock._MARK", 90)
    monkeypatch.setattr("isthmus.modalities.long._BLOCK", 1 << 12)
    monkeypatch.setattr("isthmus.modalities.long._LARGE_BLOCK", 1 << 14)
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 70)


def signal(n, seed=0):
    g, t = np.random.default_rng(seed), np.arange(n)
    return np.stack([np.sin(t / 8), np.cos(t / 8)], 1) + 0.1 * g.normal(size=(n, 2))


def sounds(folder):
    where = folder / "sounds"
    where.mkdir()
    for i, n in enumerate((1500, 40, 2111)):
        x = signal(n, i)
        if i == 2:
            x[1390:1420] += 3  # where one stretch ends and the next begins
        soundfile.write(where / f"{i}.wav", (5000 * x).astype(np.int16), 1000)
    return where


def array(folder):
    np.save(folder / "a.npy", signal(3000))
    return folder / "a.npy"


def one_channel(folder):
    np.save(folder / "b.npy", signal(3000)[:, 0])
    return folder / "b.npy"


def table(folder, stamps, keep, name):
    x = signal(len(keep))[keep]
    made = pa.table({"time": stamps, "a": x[:, 0], "b": pa.array(x[:, 1], mask=np.arange(len(x)) % 97 == 5)})
    pq.write_table(made, folder / name, row_group_size=400)
    return folder / name


def gaps(n):
    keep = np.ones(n, bool)
    keep[700:720] = keep[1800:2950] = False
    return keep


def even(folder):
    keep = gaps(4000)
    seconds = 1_700_000_000 + 10 * np.flatnonzero(keep)
    return table(folder, pa.array(seconds).cast(pa.timestamp("s")), keep, "even.parquet")


def uneven(folder):
    keep = gaps(4000)
    g = np.random.default_rng(1)
    stamps = np.sort(np.flatnonzero(keep) + g.uniform(-0.4, 0.4, keep.sum()))
    stamps[300] = stamps[301]  # there twice
    return table(folder, stamps, keep, "uneven.parquet")


def csvs(folder):
    where = folder / "csvs"
    where.mkdir()
    for i, n in enumerate((900, 1300)):
        x = signal(n, i)
        lines = [f"2024-01-01 00:{k // 60 % 60:02}:{k % 60:02},{a:.4f},{b:.4f}" for k, (a, b) in enumerate(x)]
        (where / f"{i}.csv").write_text("\n".join(["time,a,b", *lines]))
    return where


def pumps(folder):
    """Three series in one table, each in one piece; the first two end within a row group."""
    parts = []
    for i, n in enumerate((1130, 60, 1500)):
        x, seconds = signal(n, i), 1_700_000_000 + 10 * np.arange(n)
        stamps = pa.array(seconds).cast(pa.timestamp("s"))
        parts.append(pa.table({"pump": [f"p{i}"] * n, "time": stamps, "a": x[:, 0], "b": x[:, 1]}))
    pq.write_table(pa.concat_tables(parts), folder / "pumps.parquet", row_group_size=400)
    return folder / "pumps.parquet"


KINDS = (sounds, array, one_channel, even, uneven, csvs, pumps)


def both(make, folder):
    path = make(folder)
    return (open_rows(path, kind="series", stream=stream) for stream in (True, False))


def said(make):
    # half of all windows share no step, so that stretches matter
    series = {"series_id": "pump"} if make is pumps else {}
    return series | ({"window": 32, "stride": 5} if make is not sounds else {})


@pytest.mark.parametrize("make", KINDS)
def test_windows_and_what_is_told_are_those_in_memory(tmp_path, make):
    large, rows = both(make, tmp_path)
    assert large.large
    assert not rows.large
    grid, layout = long.Grid.fit(large, **said(make)), Layout.fit(rows, **said(make))
    assert grid.layout.to_json() == layout.to_json()
    wanted = layout.cut(rows)
    windows = long.LargeWindows(grid)
    found = np.concatenate([piece for block in range(len(windows.counts)) for piece in windows.read(block)])
    assert len(windows) == len(found) == len(wanted)
    assert np.allclose(found, np.asarray(wanted.data), atol=1e-9, equal_nan=True)
    assert sorted(grid.remarks) == sorted(set(wanted.remarks) - set(rows.remarks))
    assert len(windows.counts) > 3


@pytest.mark.parametrize("make", KINDS)
def test_stamps_score_what_they_score_in_memory(tmp_path, make):
    large, rows = both(make, tmp_path)
    model = Model.fit(large, modality="series", modality_options=said(make), parts=QUICK, plan=PLAN)
    wanted, found = detect(model, rows), detect(model, large)
    found.save(tmp_path / "found.parquet")
    ours, theirs = pq.read_table(tmp_path / "found.parquet"), wanted.to_table()
    assert ours.column_names == theirs.column_names
    for name in theirs.column_names:
        one, other = (np.asarray(t[name].to_pylist(), object) for t in (ours, theirs))
        if name in ("score", "p_value"):
            assert np.allclose(one.astype(float), other.astype(float), rtol=1e-6, atol=1e-6)
        elif name != "why":  # which has rounded digits of scores
            assert (one == other).all(), name
    assert found.summary()[:3] == wanted.summary()[:3]


@pytest.mark.parametrize("make", [sounds, uneven])
def test_codes_and_what_comes_back_are_those_in_memory(tmp_path, make):
    large, rows = both(make, tmp_path)
    model = Model.fit(large, modality="series", modality_options=said(make), parts=QUICK, plan=PLAN)
    encode(model, large).save(tmp_path / "codes.parquet")
    codes = pq.read_table(tmp_path / "codes.parquet")
    wanted = model.encode(rows)
    assert np.allclose(np.column_stack([codes[f"code_{j}"] for j in range(wanted.shape[1])]), wanted, atol=1e-5)
    reconstruct(model, large).save(tmp_path / "back.parquet")
    back, brought = pq.read_table(tmp_path / "back.parquet"), model.reconstruct(rows)
    if make is uneven:
        for name in brought.column_names:
            assert np.allclose(back[name].to_numpy(), brought[name].to_numpy(), atol=1e-5), name
    else:
        assert np.allclose(back["channel 0"], np.concatenate([one.samples[:, 0] for one in brought]), atol=1)


def test_flagged_runs_that_are_cut_are_told_as_one(tmp_path):
    large, _ = both(sounds, tmp_path)
    model = Model.fit(large, modality="series", parts=QUICK, plan=PLAN)
    found, half = detect(model, large), detect(model, large)
    found.save(tmp_path / "found.parquet")
    flagged = pq.read_table(tmp_path / "found.parquet")["anomaly"].to_numpy()
    runs = int((np.diff(np.append(0, flagged.astype(int))) == 1).sum())
    told = found.run()
    assert told.runs + (told.open is not None) == runs
    # what is remembered goes through JSON between any two stretches, as after a stop
    parts = half._from(0, {"tally": half._blank, "remarks": {}})
    for _ in range(3):
        _, state = next(parts)
    later = detect(model, large)
    for _ in later._from(3 * model.stretch, json.loads(json.dumps(state))):
        pass
    assert later.summary() == found.summary()


def test_no_window_that_is_fitted_shares_a_step_with_one_held_out(tmp_path):
    large, _ = both(even, tmp_path)
    rows, _ = in_windows(large, "series", {"window": 20, "stride": 3})
    kept, held = split(rows, Plan(validation=0.2))
    steps = {number: set() for number in range(len(rows.data.grid.pieces))}
    for code in kept.data._out.tolist():
        number, cell = code >> 32, code & 0xFFFFFFFF
        begins = rows.data._kept(number, cell * kept.data._cell, (cell + 1) * kept.data._cell)
        steps[number] |= {int(b) + j for b in begins for j in range(20)}
    n = 0
    for number, begin, end in kept.data.blocks:
        for start in kept.data._kept(number, begin, end).tolist():
            assert not steps[number] & set(range(start, start + 20))
            n += 1
    assert n == len(kept) < len(rows) - len(held)
    again, same = split(rows, Plan(validation=0.2, seed=5))
    assert np.array_equal(np.asarray(same.data), np.asarray(held.data), equal_nan=True)
    assert len(again) == len(kept)


def test_what_is_held_out_stays_so_when_a_recording_grows(tmp_path):
    found = []
    for n in (2000, 3000):
        np.save(tmp_path / "a.npy", signal(4000)[:n])
        rows, _ = in_windows(open_rows(tmp_path / "a.npy", kind="series", stream=True), "series", {"window": 10})
        found.append(set(split(rows, Plan(validation=0.2))[0].data._out.tolist()))
    # the last cell was cut short
    assert found[0] - {max(found[0])} <= found[1]


def test_time_that_runs_backwards_is_refused_with_its_row(tmp_path):
    stamps = np.arange(1000.0)
    stamps[810] = 3
    path = table(tmp_path, stamps, np.ones(1000, bool), "back.parquet")
    with pytest.raises(DataError, match=r"backwards at row 810 of back.parquet.*Sort it"):
        Model.fit(open_rows(path, kind="series", stream=True), modality="series", plan=PLAN)


def test_labels_of_stamps_say_what_they_say_in_memory(tmp_path):
    path = even(tmp_path)
    made = pq.read_table(path)
    bad = np.where(np.arange(len(made)) % 500 < 20, "bad", "ok")
    pq.write_table(made.append_column("state", pa.array(bad)), path, row_group_size=400)
    large, rows = (open_rows(path, kind="series", stream=stream) for stream in (True, False))
    options = {"window": 32, "stride": 5, "kinds": {"state": "ignore"}}
    model = Model.fit(rows, modality="series", modality_options=options, parts=QUICK, plan=PLAN)
    wanted, found = detect(model, rows, labels="state"), detect(model, large, labels="state")
    found.save(tmp_path / "found.parquet")
    assert pq.read_table(tmp_path / "found.parquet")["anomaly"].to_pylist() == wanted.anomalies.tolist()
    assert found.run().to_json()["labels"] == wanted.to_json()["labels"]


@pytest.mark.parametrize(("ids", "column", "why"), [
    (["x", "y", "x"], "pump", r"rows of 'x' lie apart in apart.parquet \(again at row 800\).*sort it by 'pump'"),
    (["x", None, "y"], "pump", r"column 'pump' in row 400 of apart.parquet is missing"),
    (["x", "y", "z"], "pmup", r"No column is called 'pmup'"),
])  # fmt: skip
def test_series_that_cannot_be_told_apart(tmp_path, ids, column, why):
    x = signal(400)
    parts = [
        pa.table({"pump": pa.array([name] * 400, pa.string()), "time": np.arange(400.0), "a": x[:, 0]}) for name in ids
    ]
    pq.write_table(pa.concat_tables(parts), tmp_path / "apart.parquet", row_group_size=300)
    rows = open_rows(tmp_path / "apart.parquet", kind="series", stream=True)
    with pytest.raises(DataError, match=why):
        Model.fit(rows, modality="series", modality_options={"series_id": column, "time": "time"}, plan=PLAN)


def test_a_recording_that_vanishes_is_told(tmp_path):
    where = sounds(tmp_path)
    rows = open_rows(where, stream=True)
    model = Model.fit(rows, modality="series", parts=QUICK, plan=PLAN)
    (where / "2.wav").unlink()
    with pytest.raises(FileError, match=r"'2.wav' was there when the rows were opened"):
        detect(model, rows).run()


def test_sounds_that_cannot_be_read_are_skipped_and_forms_are_told(tmp_path):
    where = sounds(tmp_path)
    (where / "bad.wav").write_bytes(b"RIFF and no more")
    rows = open_rows(where, stream=True)
    assert [one.name for one in rows.skipped] == ["bad.wav"]
    soundfile.write(where / "mono.wav", signal(100)[:, 0], 1000)
    with pytest.raises(DataError, match=r"0.wav has 2 channel\(s\); mono.wav has 1"):
        open_rows(where, stream=True)
    (where / "mono.wav").unlink()
    soundfile.write(where / "fast.wav", signal(100), 8000)
    with pytest.raises(DataError, match="different rates"):
        Model.fit(open_rows(where, stream=True), plan=PLAN)


def test_windows_one_a_row_stream_as_any_rows(tmp_path):
    beats = np.sin(np.linspace(0, 6, 30) + np.random.default_rng(0).normal(size=(400, 1)))
    np.save(tmp_path / "beats.npy", beats)
    large, rows = (open_rows(tmp_path / "beats.npy", kind="series", stream=stream) for stream in (True, False))
    model = Model.fit(large, modality="series", parts=QUICK, plan=PLAN)
    found = np.concatenate([one.scores for one in detect(model, large)])
    assert np.allclose(found, detect(model, rows).scores, rtol=1e-6)
