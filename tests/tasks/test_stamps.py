import datetime
import json

import numpy as np
import pandas as pd
import pyarrow.csv
import pytest

from isthmus import Autoencoder, open_model
from isthmus.app.cli import main
from isthmus.errors import DataError, SpecError
from isthmus.tasks.detection.stamps import stretches

pytestmark = pytest.mark.usefixtures("brief_committee")

START = datetime.datetime(2024, 3, 1)
N, PERIOD = 3000, 50


def wave(seed=0, n=N, channels=2):
    g, t = np.random.default_rng(seed), np.arange(n)[:, None]
    return np.sin(2 * np.pi * t / PERIOD + np.arange(channels)) + 0.1 * g.normal(size=(n, channels))


def frame(seed=0, n=N, start=START):
    stamps = [start + datetime.timedelta(minutes=5 * i) for i in range(n)]
    values = wave(seed, n)
    return pd.DataFrame({"when": stamps, "level": 20 + 3 * values[:, 0], "flow": 0.1 * values[:, 1]})


@pytest.fixture(scope="module")
def fitted():
    return Autoencoder(modality={"kind": "series", "window": 50}, epochs=15, random_state=0).fit(frame())


def planted(what):
    """Fresh rows with an anomaly, and where it is."""
    rows = frame(1)
    if what == "spike":
        rows.loc[1200, "level"] += 4
        where = slice(1200, 1201)
    elif what == "flat":
        rows.loc[1200:1259, "level"] = rows["level"][1200]
        where = slice(1200, 1260)
    elif what == "frequency":
        rows.loc[1200:1259, "level"] = 20 + 3 * np.sin(2 * np.pi * np.arange(60) / 17)
        where = slice(1200, 1260)
    else:
        rows.loc[1200:1259, "level"] += 4
        where = slice(1200, 1260)
    return rows, where


@pytest.mark.parametrize("what", ["spike", "flat", "frequency", "shift"])
def test_what_was_planted_is_the_strangest_and_told(fitted, what):
    rows, where = planted(what)
    found = fitted.detect(rows)
    worst = int(found.scores.argmax())
    stride = fitted.model_.modality.layout.stride
    assert where.start - stride <= worst < where.stop + stride
    assert found.anomalies[where].all()
    # what no window shares with it is as usual as ever
    far = np.ones(N, bool)
    far[where.start - 50 : where.stop + 50] = False
    assert found.anomalies[far].mean() < 0.05
    first = stretches(found)[0]
    assert first.begin <= where.start
    assert first.end >= where.stop
    assert found.reasons(worst)[0].name == "level"
    assert str(rows["when"][first.begin]) in found.summary()[1]


def test_what_is_brought_to_a_score_adds_up_to_it(fitted):
    rows, _ = planted("shift")
    found = fitted.detect(rows)
    assert found.contributions.shape == (N, 2)
    assert np.allclose(found.contributions.sum(1) + found.rest, found.scores)
    assert np.allclose(-fitted.score_samples(rows), found.scores)
    assert (fitted.predict(rows) == np.where(found.anomalies, -1, 1)).mean() > 0.99


def test_a_step_scores_what_the_windows_that_hold_it_score_on_average(fitted):
    model, rows = fitted.model_, frame(2, 400)
    entries, rest, _ = model.contributions(rows)
    windows = model.modality.samples(model.open(rows)).data
    whole = entries.sum((1, 2)) + rest
    step = 123
    holding = [i for i, begin in enumerate(windows.begins) if begin <= step < begin + 50]
    assert model.score(rows)[step] == pytest.approx(whole[holding].mean(), rel=1e-5)


def test_few_stamps_of_fresh_rows_are_flagged():
    rates = []
    for seed in range(4):
        ae = Autoencoder(modality={"kind": "series", "window": 50}, epochs=5, random_state=seed).fit(wave(seed, 4000))
        rates.append(ae.detect(wave(seed + 50, 4000), false_alarm_rate=0.05).anomalies.mean())
    assert 0.02 < np.mean(rates) < 0.1


def test_what_is_missing_costs_nothing(fitted):
    rows = frame(3)
    holes = rows.copy()
    holes.loc[1000:1199, ["level", "flow"]] = np.nan
    holes.loc[2000:2100, "flow"] = np.nan
    found, whole = fitted.detect(holes), fitted.detect(rows)
    middle = slice(1050, 1150)
    usual, rest = fitted.model_.usual_of_steps
    assert np.allclose(found.scores[middle], usual.sum() + rest)
    assert np.allclose(found.gained[2000:2101, 1], 0)
    assert not found.anomalies[middle].any()
    assert found.anomalies.mean() <= whole.anomalies.mean() + 0.02
    # left-out rows are the same as rows without values
    gone = fitted.detect(rows.drop(index=range(1000, 1200)))
    assert np.allclose(gone.scores[:1700], found.scores[np.r_[0:1000, 1200:1900]], atol=1e-3)
    back = fitted.reconstruct(holes)
    assert np.abs(back["level"].to_numpy()[middle] - rows["level"][middle]).mean() < 3
    assert np.isfinite(back["flow"].to_numpy()).all()


def test_other_columns_may_be_anything(tmp_path):
    parts = [frame(i, 300).assign(note=note) for i, note in enumerate((1, "late"))]
    said = {"kind": "series", "window": 50, "kinds": {"note": "ignore"}}
    ae = Autoencoder(modality=said, epochs=2, random_state=0).fit(parts)
    assert ae.detect(parts).to_table().column_names[:4] == ["series", "when", "level", "flow"]
    assert "note" in ae.detect(parts[0].assign(score=1)).to_table().column_names


@pytest.mark.parametrize("detector", ["neighbours", "committee"])
def test_any_detector_scores_stamps(detector):
    ae = Autoencoder(modality={"kind": "series", "window": 30}, detector=detector, epochs=2, random_state=0)
    ae.fit(wave(0, 900))
    rows = wave(1, 900)
    rows[400:430] += 3
    found = ae.detect(rows)
    assert 370 < int(found.scores.argmax()) < 460
    assert np.allclose(found.contributions.sum(1) + found.rest, found.scores)


def test_the_order_of_rows_is_no_matter(fitted):
    rows, _ = planted("shift")
    order = np.random.default_rng(0).permutation(N)
    found, turned = fitted.detect(rows), fitted.detect(rows.iloc[order].reset_index(drop=True))
    assert np.allclose(turned.scores, found.scores[order])


def test_series_in_one_file_score_like_series_in_several(tmp_path):
    parts = {name: frame(seed, n) for name, seed, n in (("a", 5, 900), ("b", 6, 700))}
    together = pd.concat([part.assign(pump=name) for name, part in parts.items()])
    together = together.sort_values(["when", "pump"]).reset_index(drop=True)
    said = {"kind": "series", "window": 50, "series_id": "pump"}
    ae = Autoencoder(modality=said, epochs=3, random_state=0).fit(together)
    found = ae.detect(together)
    for name, part in parts.items():
        alone = ae.detect(part.assign(pump=name))
        assert np.allclose(alone.scores, found.scores[together["pump"] == name], atol=1e-4)
    table = found.to_frame()
    assert list(table.columns[:4]) == ["when", "level", "flow", "pump"]
    assert table["pump"].tolist() == together["pump"].tolist()
    assert found.rows.names[1] == "b 2024-03-01 00:00:00"


def test_labels_a_budget_and_false_discoveries_draw_the_line_for_stamps_too(fitted):
    rows, where = planted("shift")
    assert fitted.detect(rows, budget=30).anomalies.sum() == 30
    assert fitted.detect(rows, fdr=0.2).anomalies[where].all()
    labels = np.zeros(N, int)
    labels[where] = 1
    found = fitted.detect(rows.assign(wrong=labels), labels="wrong")
    assert found.judged is not None
    assert found.anomalies[where].mean() > 0.8
    assert found.to_table().column_names[:4] == ["when", "level", "flow", "wrong"]
    with pytest.raises(DataError, match="column 'flow' as one of its own"):
        fitted.detect(rows, labels="flow")


def test_stamps_do_not_come_one_by_one(fitted):
    with pytest.raises(DataError, match="windows"):
        fitted.follow()


def test_a_drawing_shows_the_signal_and_the_score(fitted):
    rows, _ = planted("flat")
    svg = fitted.detect(rows).plot().svg
    for word in ("level", "flow", "score", "2024-03-01 00:00:00"):
        assert word in svg
    assert svg.count('class="line"') == 3
    assert 'fill-opacity=".13"' in svg


def test_the_command_line_writes_a_line_for_every_stamp(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame().to_csv("sensors.csv", index=False)
    planted("shift")[0].to_csv("new.csv", index=False)
    said = ["fit", "sensors.csv", "-o", "m.isthmus", "--kind", "series", "--window", "50", "--epochs", "5"]
    assert main(said) == 0
    out = capsys.readouterr().out
    assert "Windows of 50 steps (4.17 h)" in out
    assert main(["detect", "m.isthmus", "new.csv", "-o", "scored.csv"]) == 0
    assert "level 22" in capsys.readouterr().out
    scored = pyarrow.csv.read_csv("scored.csv")
    assert scored.num_rows == N
    assert scored.column_names[:6] == ["when", "level", "flow", "score", "p_value", "anomaly"]
    assert "level" in scored["why"][1220].as_py()
    assert main(["detect", "m.isthmus", "new.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == N
    assert 1190 < told["worst"][0]["row"] < 1270
    assert main(["reconstruct", "m.isthmus", "new.csv", "-o", "back.csv"]) == 0
    assert pyarrow.csv.read_csv("back.csv").column_names == ["when", "level", "flow"]
    assert main(["encode", "m.isthmus", "new.csv", "-o", "codes.npy"]) == 0
    assert main(["health", "m.isthmus", "new.csv"]) == 0
    assert main(["info", "m.isthmus"]) == 0
    assert main(["compare", "m.isthmus", "new.csv"]) == 0
    assert main(["report", "m.isthmus", "new.csv", "-o", "r.html"]) == 0
    # without a word a table stays a table, and is told what else it could be
    capsys.readouterr()
    assert main(["fit", "sensors.csv", "-o", "t.isthmus", "--epochs", "1"]) == 0
    assert "--kind series" in capsys.readouterr().out
    assert open_model("t.isthmus").modality.kind == "table"


def test_sounds_come_back_as_sounds(tmp_path, monkeypatch):
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for i in range(3):
        soundfile.write(f"in/{i}.wav", 0.3 * wave(i, 1500)[:, 0], 8000)
    assert main(["fit", "in", "-o", "m.isthmus", "--window", "50", "--epochs", "5", "--latent-dim", "4"]) == 0
    assert main(["reconstruct", "m.isthmus", "in", "-o", "out"]) == 0
    assert main(["reconstruct", "m.isthmus", "in/0.wav", "-o", "one.wav"]) == 0
    for path in ("out/0.wav", "one.wav"):
        back, rate = soundfile.read(path)
        assert rate == 8000
        assert soundfile.info(path).subtype == "PCM_16"
        assert np.corrcoef(back, soundfile.read("in/0.wav")[0])[0, 1] > 0.9
    assert main(["detect", "m.isthmus", "in", "-o", "scored.csv"]) == 0
    scored = pyarrow.csv.read_csv("scored.csv")
    assert scored.column_names[:4] == ["series", "step", "seconds", "value"]
    assert scored.num_rows == 4500


def test_a_file_keeps_how_recordings_are_cut(fitted, tmp_path):
    again = open_model(fitted.save(tmp_path / "m.isthmus"))
    rows, _ = planted("shift")
    assert np.array_equal(again.score(rows), fitted.model_.score(rows))
    assert again.modality.layout.to_json() == fitted.model_.modality.layout.to_json()


def test_recordings_and_conditions():
    with pytest.raises(SpecError, match="Recordings take no condition"):
        Autoencoder("conditional", modality={"kind": "series", "window": 50}, condition="flow").fit(frame(n=300))


def test_noisy_recordings_learn_from_clean_ones():
    clean = np.sin(2 * np.pi * np.arange(4000) / 50)[:, None]
    noisy = clean + 0.5 * np.random.default_rng(0).normal(size=clean.shape)
    ae = Autoencoder(modality={"kind": "series", "window": 50}, epochs=10, random_state=0).fit(noisy, target=clean)
    back = ae.reconstruct(noisy)
    assert back.shape == noisy.shape
    assert np.square(back - clean).mean() < 0.1 * np.square(noisy - clean).mean()


def test_strange_windows_are_set_aside_before_anything_is_learned():
    rows = wave(0, 3000)
    rows[1000:1060] += 5
    ae = Autoencoder(modality={"kind": "series", "window": 50}, contamination=0.05, epochs=5, random_state=0).fit(rows)
    found = ae.detect(rows)
    assert 950 < int(found.scores.argmax()) < 1110
    assert found.anomalies[1000:1060].all()
