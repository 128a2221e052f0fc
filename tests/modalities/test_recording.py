import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from isthmus.data.source import open_rows
from isthmus.errors import DataError, FileError, SpecError
from isthmus.fitting import in_windows
from isthmus.modalities import fit_modality, modality_from_json, modality_to_json
from isthmus.modalities.recording import Layout, recording_remark
from isthmus.modalities.series import Series

G = np.random.default_rng(0)
START = datetime.datetime(2024, 3, 1)


def wave(n, channels=1, period=24):
    t = np.arange(n)[:, None]
    return np.sin(2 * np.pi * t / period + np.arange(channels)) + 0.1 * G.normal(size=(n, channels))


def frame(n=600, channels=2, minutes=5.0, start=START):
    stamps = [start + datetime.timedelta(minutes=minutes * i) for i in range(n)]
    return pd.DataFrame({"when": stamps} | {f"c{j}": column for j, column in enumerate(wave(n, channels).T)})


def there_and_back(source, **options):
    """What comes out where the network would give back just what it was shown."""
    rows = open_rows(source, kind="series")
    series = Series.fit(rows, **options)
    again = modality_from_json(modality_to_json(series))
    return series, again.from_tensors(again.to_tensors(rows)["x"], rows)


def test_a_table_with_stamps_comes_back_as_it_was():
    table = frame()
    table["note"] = "x"
    series, back = there_and_back(table, kinds={"note": "ignore"})
    layout = series.layout
    assert (layout.time, layout.channels, layout.step) == ("when", ["c0", "c1"], 300)
    assert layout.period == pytest.approx(24, abs=1)
    assert isinstance(back, pa.Table)
    assert back.column_names == list(table.columns)
    for name in ("c0", "c1"):
        assert np.allclose(back[name], table[name], atol=1e-6)
    assert back["when"].to_pylist() == list(table["when"])
    assert "5 min" not in series.describe()[1]
    assert "one every" in series.describe()[1]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
@pytest.mark.parametrize("shape", [(500,), (500, 1), (500, 3), (4, 200, 2)])
def test_long_arrays_come_back_as_they_were(shape, dtype):
    x = (1000 * G.normal(size=shape)).astype(dtype)
    series, back = there_and_back(x, window=50)
    assert series.shape == (1 if len(shape) == 1 else shape[-1], 50)
    assert back.dtype == dtype
    assert back.shape == shape
    assert np.allclose(back, x, rtol=1e-6, atol=1e-3)


def test_an_array_is_windows_unless_a_window_is_said():
    x = wave(300, 30)
    assert Series.fit(open_rows(x)).shape == (1, 30)
    assert Series.fit(open_rows(x), window=20).shape == (30, 20)
    assert Series.fit(open_rows(x), window="auto").layout is not None
    lists = [wave(200, 2), wave(150, 2)]
    series, back = there_and_back(lists, stride=7)
    assert [b.shape for b in back] == [(200, 2), (150, 2)]
    assert np.allclose(back[1], lists[1], atol=1e-6)
    assert series.layout.stride == 7
    # a wide table without a time is windows, one a row
    assert Series.fit(open_rows(pd.DataFrame(x))).layout is None


def test_the_window_follows_the_period_and_leaves_room():
    for period, window in ((24, 120), (50, 150), (100, 100), (170, 170)):
        layout = Layout.fit(open_rows(wave(4000, period=period)), window="auto")
        assert layout.period == pytest.approx(period, abs=2)
        assert layout.window == pytest.approx(window, rel=0.03)
    # a longer one would spread every event over two such windows
    assert Layout.fit(open_rows(wave(9000, period=336)), window="auto").window == 128
    assert Layout.fit(open_rows(G.normal(size=(5000, 1))), window="auto").period is None
    assert Layout.fit(open_rows(wave(80)), window="auto").window == 20
    assert Layout.fit(open_rows(wave(4000, channels=50)), window="auto").window == 20


# -- time -----------------------------------------------------------------------------------------


def test_stamps_of_every_kind_say_the_same():
    table = frame(300, 1)
    seconds = 300.0 * np.arange(300)
    for stamps in (
        table["when"],
        table["when"].dt.tz_localize("UTC"),
        table["when"].astype(str),
        seconds,
        seconds.astype(np.int64) + 1_700_000_000,
        pa.array(table["when"]).cast(pa.timestamp("s")),
    ):
        rows = open_rows(pa.table({"t": pa.array(stamps), "c0": table["c0"]}))
        layout = Layout.fit(rows, time="t")
        assert layout.step == pytest.approx(300)
        recorded = layout.read(rows)
        assert np.array_equal(recorded.at, np.arange(300))
        assert recorded.remarks == ()


def test_a_step_that_milliseconds_cannot_hold_does_not_drift():
    stamps = np.round(np.arange(30_000) * 1000 / 3) / 1000  # 3 Hz, written down in whole milliseconds
    rows = open_rows(pa.table({"t": stamps, "v": G.normal(size=30_000)}))
    layout = Layout.fit(rows, time="t", window=30)
    assert np.array_equal(layout.read(rows).at, np.arange(30_000))


def test_a_gap_is_missing_and_told():
    table = frame(400, 2)
    holes = table.drop(index=range(100, 130)).reset_index(drop=True)
    rows = open_rows(holes)
    layout = Layout.fit(rows, window=40)
    recorded = layout.read(rows)
    (piece,) = recorded.pieces
    assert piece.shape == (400, 2)
    assert np.array_equal(np.isnan(piece[:, 0]), (np.arange(400) >= 100) & (np.arange(400) < 130))
    assert np.allclose(np.delete(piece, range(100, 130), 0), holes[["c0", "c1"]])
    assert "1 gap(s) in time, the longest 2.58 h" in recorded.remarks[0]
    series, back = there_and_back(holes, window=40)
    assert np.allclose(back["c1"], holes["c1"], atol=1e-6)
    assert not series.to_tensors(rows)["observed"].all()


def test_a_very_long_gap_makes_two_pieces():
    table = frame(300, 1)
    table.loc[150:, "when"] += datetime.timedelta(days=365 * 30)
    rows = open_rows(table)
    recorded = Layout.fit(rows, window=20).read(rows)
    assert [len(piece) for piece in recorded.pieces] == [150, 150]
    _, back = there_and_back(table, window=20)
    assert np.allclose(back["c0"], table["c0"], atol=1e-6)


def test_uneven_stamps_are_read_off_an_even_grid():
    n = 500
    at = np.arange(n) + G.uniform(-0.3, 0.3, n)
    slow = np.sin(2 * np.pi * at / 100)
    rows = open_rows(pa.table({"t": 10 * at, "v": slow}))
    layout = Layout.fit(rows, time="t", window=50)
    assert layout.step == pytest.approx(10, rel=0.02)
    recorded = layout.read(rows)
    (piece,) = recorded.pieces
    grid = at[0] + layout.step / 10 * np.arange(len(piece))
    known = np.isfinite(piece[:, 0]) & (grid <= at[-1])
    assert known.mean() > 0.98
    assert np.abs(piece[known, 0] - np.sin(2 * np.pi * grid[known] / 100)).max() < 0.01
    assert recorded.remarks[0].startswith("stamps are uneven (")
    # every row gets what stands at its own time
    assert np.allclose(recorded.at_rows([np.arange(len(piece), dtype=float)]), recorded.at)


def test_stamps_that_come_twice_or_backwards():
    table = frame(200, 1)
    doubled = pd.concat([table.iloc[:51], table.iloc[50:]], ignore_index=True)
    doubled.loc[50, "c0"], doubled.loc[51, "c0"] = 2.0, 4.0
    rows = open_rows(doubled)
    recorded = Layout.fit(rows, window=20).read(rows)
    assert recorded.pieces[0].shape == (200, 1)
    assert recorded.pieces[0][50, 0] == 3
    assert recorded.at[50] == recorded.at[51] == 50
    assert "1 stamp(s) are there twice" in recorded.remarks[0]

    turned = table.iloc[::-1].reset_index(drop=True)
    rows = open_rows(turned)
    recorded = Layout.fit(rows, window=20).read(rows)
    assert np.allclose(recorded.pieces[0][:, 0], table["c0"])
    assert "time runs backwards 199 time(s), first at row 1" in recorded.remarks[0]
    _, back = there_and_back(turned, window=20)
    assert np.allclose(back["c0"], turned["c0"], atol=1e-6)


# -- several series -------------------------------------------------------------------------------


def test_several_series_in_one_file_are_the_same_series_in_several_files(tmp_path):
    parts = {
        name: frame(n, 2, start=START + datetime.timedelta(days=d)) for name, n, d in (("b", 200, 0), ("a", 150, 9))
    }
    for name, part in parts.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / ".hidden").write_text("x")
    together = pd.concat([part.assign(host=name) for name, part in parts.items()])
    together = together.sample(frac=1, random_state=0).sort_values("when", kind="stable").reset_index(drop=True)
    one, several = open_rows(together), open_rows(tmp_path, kind="series")
    assert several.kind == "recordings"
    assert several.names == ("a.csv", "b.csv")
    a = Series.fit(one, series_id="host", window=30, stride=5)
    b = Series.fit(several, window=30, stride=5)
    assert np.allclose(a.scaling.center, b.scaling.center)
    x, y = a.to_tensors(one)["x"], b.to_tensors(several)["x"]
    assert {tuple(row.flatten()[:8].tolist()) for row in x} == {tuple(row.flatten()[:8].tolist()) for row in y}
    back = a.from_tensors(x, one)
    assert np.allclose(back["c0"], together["c0"], atol=1e-6)
    back = b.from_tensors(y, several)
    for table, name in zip(back, ("a", "b"), strict=True):
        assert np.allclose(table["c1"], parts[name]["c1"], atol=1e-6)
    assert b.layout.when(several)[0] == "a.csv 2024-03-10 00:00:00"
    assert a.layout.when(one)[0] == "b 2024-03-01 00:00:00"


def test_data_frames_and_arrays_in_a_list_are_recordings():
    frames = [frame(200, 1), frame(120, 1)]
    series, back = there_and_back(frames, window=24)
    assert [b.num_rows for b in back] == [200, 120]
    assert series.layout.time == "when"


# -- what is asked for ----------------------------------------------------------------------------


def test_a_window_may_lose_its_own_line_and_level():
    n = 400
    x = wave(n, 1) + np.linspace(0, 50, n)[:, None]
    plain = Series.fit(open_rows(x), window=40)
    rows = open_rows(x)
    for options in ({"detrend": True}, {"normalise": True}, {"detrend": True, "normalise": True}):
        series, back = there_and_back(x, window=40, **options)
        assert np.allclose(back, x, atol=1e-4)
        tensor = series.to_tensors(rows)["x"]
        assert tensor.mean(2).abs().max() < 1e-3
        if series.normalise:
            assert tensor.std(2, correction=0).numpy() == pytest.approx(np.ones((len(tensor), 1)), abs=1e-3)
        if series.detrend:
            t = np.arange(40) - 19.5
            assert np.abs(tensor.numpy() @ t).max() < 1e-2
            assert tensor.std() < 0.3 * plain.to_tensors(rows)["x"].std() or series.normalise
    holes = x.copy()
    holes[100:110] = np.nan
    _, back = there_and_back(holes, window=40, detrend=True, normalise=True)
    there = np.isfinite(holes)
    assert np.allclose(back[there], x[there], atol=1e-4)


def test_what_is_missing_is_not_observed_and_a_short_piece_is_told():
    x = wave(300, 2)
    x[50:60, 1] = np.nan
    rows = open_rows(x)
    series = Series.fit(rows, window=30, stride=30)
    observed = series.to_tensors(rows)["observed"]
    assert observed.shape == (10, 2, 30)
    assert (~observed).sum() == 10
    short = open_rows([x[:200], x[:12]], kind="series")
    cut = series.samples(short)
    assert "1 of 2 stretches are shorter than a window of 30 steps" in cut.remarks[-1]
    assert series.to_tensors(short)["observed"][-1, :, 12:].sum() == 0


def test_recordings_are_cut_before_any_are_held_out():
    rows, options = in_windows(open_rows(wave(500, 2)), "series", {"window": 25, "scaling": "robust"})
    assert rows.kind == "windows"
    assert options["layout"].window == 25
    assert fit_modality(rows.take(range(10)), "series", **options).shape == (2, 25)
    rows = open_rows(wave(50, 2))
    assert in_windows(rows, None, {"scaling": "robust"}) == (rows, {"scaling": "robust"})


# -- sounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_keeps_its_rate_and_every_sample(tmp_path, subtype, channels):
    soundfile = pytest.importorskip("soundfile")
    from isthmus.data.sink import save_rows

    x = 0.3 * wave(2000, channels, period=50)
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 22_050, channels, subtype) as file:
        file.title = "a bearing"
        file.write(x)
    rows = open_rows(tmp_path / "a.wav")
    assert rows.kind == "recordings"
    (sound,) = rows.data
    (path,) = save_rows(sound, tmp_path / "b.wav")
    with soundfile.SoundFile(path) as file:
        assert (file.samplerate, file.subtype, file.title, file.channels) == (22_050, subtype, "a bearing", channels)
    before, after = (soundfile.read(tmp_path / name, dtype="float64")[0] for name in ("a.wav", "b.wav"))
    assert np.array_equal(before, after)

    series, back = there_and_back(tmp_path / "a.wav", window=100)
    assert back.rate == 22_050
    assert series.layout.step == 1 / 22_050
    # a float32 holds 24 bits, and scaling takes some of them
    assert np.abs(back.samples.astype(float) - sound.samples).max() <= 1e-6 * np.abs(sound.samples).max() + 0.5
    assert series.layout.when(rows)[22] == "0.001 s"


def test_a_folder_of_sounds_is_a_folder_of_recordings(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", wave(800)[:, 0], 8000)
    (tmp_path / "c.wav").write_bytes(b"RIFFxxxx")
    rows = open_rows(tmp_path)
    assert rows.names == ("a.wav", "b.wav")
    assert "'c.wav' cannot be read as WAV" in rows.skipped[0].reason
    with pytest.raises(FileError, match="cannot be read as WAV"):
        open_rows(tmp_path, strict=True)
    soundfile.write(tmp_path / "c.wav", wave(800)[:, 0], 16_000)
    with pytest.raises(DataError, match="different rates \\(8000, 16000 samples a second"):
        Layout.fit(open_rows(tmp_path))
    series = Series.fit(rows)
    with pytest.raises(DataError, match="has 16,000 samples a second; this model was fitted on 8,000"):
        series.to_tensors(open_rows(tmp_path / "c.wav"))


# -- what cannot be -------------------------------------------------------------------------------


def test_a_table_that_looks_like_a_recording_is_pointed_out_and_no_other():
    table = frame(50, 2)
    assert "--kind series" in recording_remark(open_rows(table))
    assert recording_remark(open_rows(table.iloc[::-1])) is None
    assert recording_remark(open_rows(table.assign(note="x"))) is None
    assert recording_remark(open_rows(table.drop(columns="when"))) is None
    assert recording_remark(open_rows(table.assign(also=table["when"]))) is None
    assert recording_remark(open_rows(np.zeros((3, 3)))) is None


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda t: t.assign(also=t["when"]), {}, "2 columns of time \\('when', 'also'\\)"),
        (lambda t: t.assign(note="x"), {}, "column 'note' of the table is"),
        (lambda t: t, {"time": "whem"}, "Did you mean 'when'"),
        (lambda t: t, {"series_id": "host"}, "No column is called 'host'"),
        (lambda t: t.assign(when=t["when"].where(t.index != 4)), {}, "1 cell\\(s\\) of the time column 'when'"),
        (lambda t: t.assign(when=[f"day {i}" for i in range(len(t))]), {"time": "when"}, "'day 0', which is no stamp"),
        (lambda t: t.assign(when=START), {}, "says the same everywhere"),
        (lambda t: pd.concat([t, t]), {}, "more than once. If they are of several series, say which column"),
        (lambda t: t[["when"]], {}, "no column of numbers beside the time"),
        (lambda t: t.iloc[:3], {}, "3 step\\(s\\) long: too short"),
        (lambda t: t, {"window": 500}, "window=500, and the longest recording of the table is 60 steps"),
        (lambda t: t, {"window": 10, "stride": 11}, "stride=11 is more than the window of 10"),
        (lambda t: t, {"kinds": {"c7": "ignore"}}, "No column is called 'c7'"),
        (lambda t: t, {"kinds": {"c0": "categorical"}}, "numeric or left out: c0=ignore"),
        (lambda t: t, {"window": 0}, "window is a whole number of steps"),
        (lambda t: t, {"stride": 1.5}, "stride is a whole number of steps"),
    ],
)
def test_tables_that_cannot_be_cut(change, options, said):
    with pytest.raises((DataError, SpecError), match=said):
        Series.fit(open_rows(change(frame(60, 1))), **options)


def test_new_rows_that_do_not_fit(tmp_path):
    series = Series.fit(open_rows(frame(100, 2)), window=20)
    with pytest.raises(DataError, match="lacks the column\\(s\\) 'c1'; it has 'when', 'c0'"):
        series.to_tensors(open_rows(frame(100, 1)))
    with pytest.raises(DataError, match="column 'c1' of the table is"):
        series.to_tensors(open_rows(frame(100, 2).assign(c1="high")))
    with pytest.raises(DataError, match="1 channel"):
        Series.fit(open_rows(wave(90, 2)), window=9).to_tensors(open_rows(wave(90, 1)))
    # other columns, another order and whole numbers are no matter
    other = frame(100, 2)[["c1", "when", "c0"]].assign(c0=1, more="x")
    assert series.to_tensors(open_rows(other))["x"].shape[1:] == (2, 20)
    frame(50, 2).to_csv(tmp_path / "a.csv", index=False)
    frame(50, 2).assign(c1=["low"] * 50).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(DataError, match=r"column 'c1' of b.csv is"):
        Series.fit(open_rows(tmp_path, kind="series"))
    np.save(tmp_path / "c.npy", wave(50, 2))
    with pytest.raises(DataError, match=r"are of one form; a.csv is a table; c.npy has 2 channel"):
        open_rows(tmp_path, kind="series")


def test_recordings_are_for_series_alone(tmp_path):
    frame(50, 2).to_csv(tmp_path / "a.csv", index=False)
    assert open_rows(tmp_path).kind == "table"  # files of one table, where nobody says otherwise
    rows = open_rows(tmp_path, kind="series")
    with pytest.raises(DataError, match="only the modality 'series' can take"):
        fit_modality(rows, "array")
    windows = Series.fit(open_rows(wave(50, 10)))
    with pytest.raises(DataError, match="are recordings; this model was fitted on windows"):
        windows.to_tensors(rows)
    with pytest.raises(SpecError, match="has no columns"):
        Series.fit(open_rows(wave(50, 10)), time="when")
