import numpy as np
import pandas as pd
import pytest

from isthmus.app.cli import main
from isthmus.errors import DataError, SpecError
from isthmus.tasks.generation import augment as module
from isthmus.tasks.generation.augment import augment, interval

G = np.random.default_rng(0)
FAST = {"splits": 2, "max_time": 1}


def table(n=200):
    y = np.arange(n) % 3
    x = G.normal(size=(n, 4)) + 2 * y[:, None]
    return pd.DataFrame(x, columns=list("abcd")).assign(y=np.array(["red", "green", "blue"])[y], k=G.integers(0, 9, n))


def test_rows_have_the_columns_and_the_classes_of_the_person():
    frame = table()
    found = augment(frame, "y", times=3, anyway=True, **FAST)
    drawn = found.to_frame()
    assert drawn.columns.tolist() == frame.columns.tolist()
    assert drawn.y.value_counts().to_dict() == {k: 2 * v for k, v in frame.y.value_counts().to_dict().items()}
    assert drawn.k.dtype == frame.k.dtype
    means = drawn.groupby("y").a.mean()
    assert means["red"] < means["green"] < means["blue"]
    assert not len(drawn.merge(frame))


def test_what_hurts_is_not_kept(monkeypatch):
    """Rows with the label of another class."""
    real = module._more
    monkeypatch.setattr(module, "_more", lambda *args: (lambda rows, of: (rows, np.roll(of, 50)))(*real(*args)))
    found = augment(table(), "y", times=4, splits=3, max_time=1)
    assert found.gain < -0.02
    assert not found.helps
    assert found.rows is None
    assert found.summary()[-1].startswith("no: ")


def test_what_surely_helps_is(monkeypatch):
    """Rows that are real ones, where there were few."""
    more = table(3000)

    def real(model, rows, labels, times, seed):
        return model.open(more.drop(columns="y")).data, more.y.to_numpy(object)

    monkeypatch.setattr(module, "_more", real)
    hard = table(90)
    hard.loc[:, list("abcd")] += G.normal(size=(90, 4))
    more.loc[:, list("abcd")] += G.normal(size=(3000, 4))
    found = augment(hard, "y", splits=5, max_time=1)
    assert found.helps == (found.low > 0)
    assert found.gain > 0


def test_the_interval_is_wider_than_that_of_independent_splits():
    gains = np.array([0.01, 0.03, 0.02, 0.0, 0.02])
    low, high = interval(gains, 0.0)
    wide = interval(gains, 3 / 7)
    assert wide[0] < low < gains.mean() < high < wide[1]
    assert high - gains.mean() == pytest.approx(2.132 * gains.std(ddof=1) / 5**0.5, rel=1e-3)


def test_arrays_with_labels_beside_them():
    frame = table(120)
    found = augment(frame[list("abcd")].to_numpy(), frame.y.to_numpy(), anyway=True, **FAST)
    assert found.rows.shape == (120, 4)
    assert sorted(set(found.labels)) == ["blue", "green", "red"]


class TestBadInput:
    def test_one_class(self):
        with pytest.raises(DataError, match="'y' has 1 class: a classifier needs at least 2"):
            augment(table().assign(y="red"), "y")

    def test_no_label_at_all(self):
        with pytest.raises(DataError, match="has 0 classes"):
            augment(table().assign(y=None), "y")

    def test_a_column_that_is_not_there(self):
        with pytest.raises(DataError, match="No column is called 'z'"):
            augment(table(), "z")

    def test_a_number_to_be_predicted(self):
        with pytest.raises(DataError, match="200 different values, more than 100"):
            augment(table().assign(y=np.arange(200.0)), "y")

    def test_classes_of_few_rows(self):
        with pytest.raises(DataError, match="fewer than 2 classes of at least 8 rows"):
            augment(table(20)[:9], "y")
        frame = table()
        frame.loc[:2, "y"] = "rare"
        assert "left out, with fewer than 8 rows each: 'rare'" in augment(frame, "y", **FAST).summary()[0]

    def test_rows_without_a_label_teach_the_autoencoder_alone(self):
        frame = table()
        frame.loc[::4, "y"] = None
        found = augment(frame, "y", anyway=True, **FAST)
        assert len(found.rows) == 150
        assert "50 rows have no label" in found.summary()[0]
        assert set(found.to_frame().y) == {"red", "green", "blue"}

    def test_times_and_splits(self):
        for times in (1, 0, float("nan")):
            with pytest.raises(SpecError, match="times is how many"):
                augment(table(), "y", times=times)
        with pytest.raises(SpecError, match="at least 2 splits"):
            augment(table(), "y", splits=1)

    def test_too_few_labels(self):
        with pytest.raises(DataError, match="10 rows and 3 labels"):
            augment(np.zeros((10, 2)), [1, 2, 3])

    def test_nothing_but_the_label(self):
        with pytest.raises(DataError, match="no column but 'y'"):
            augment(table()[["y"]], "y")


def test_the_command_writes_only_what_helps(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table(100).to_csv("rows.csv", index=False)
    common = ["augment", "rows.csv", "--label", "y", "--splits", "2", "--max-time", "1s"]
    assert main([*common, "-o", "more.csv"]) == 0
    out = capsys.readouterr().out
    assert ("no: nothing says" in out) == (not (tmp_path / "more.csv").exists())
    assert main([*common, "-o", "any.csv", "--anyway"]) == 0
    assert len(pd.read_csv("any.csv")) == 100
    assert main(["augment", "rows.csv", "--label", "z"]) == 2
    assert main(["augment", "rows.csv", "--label", "y", "--recipe", "plan"]) == 2


def test_pictures_in_folders(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for label, level in (("dark", 40), ("light", 200)):
        (tmp_path / "in" / label).mkdir(parents=True)
        for i in range(16):
            Image.fromarray(np.clip(G.normal(level, 20, (6, 6)), 0, 255).astype(np.uint8)).save(f"in/{label}/{i}.png")
    command = ["augment", "in", "--label", "folder", "--splits", "2", "--max-time", "1s", "-o", "out", "--anyway"]
    assert main(command) == 0
    dark, light = (
        [np.asarray(Image.open(f)).mean() for f in (tmp_path / "out" / k).iterdir()] for k in ("dark", "light")
    )
    assert len(dark) == len(light) == 16
    assert np.mean(dark) < 100 < np.mean(light)
