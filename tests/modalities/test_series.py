import numpy as np
import pyarrow as pa
import pytest
import torch

from isthmus import Autoencoder
from isthmus.app.cli import main
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.modalities import MODALITIES, fit_modality
from isthmus.modalities.series import Series
from isthmus.recipes import RECIPES

G = np.random.default_rng(0)
LENGTHS = [12, 5, 1, 9, *G.integers(1, 13, 36)]


def ragged(channels=None, scale=1.0, dtype=np.float64):
    shapes = [(n,) if channels is None else (n, channels) for n in LENGTHS]
    return [(scale * G.normal(size=shape)).astype(dtype) for shape in shapes]


BROUGHT = {
    "(n, time)": G.normal(size=(40, 12)),
    "(n, time, channels)": G.normal(size=(40, 12, 3)).astype(np.float32),
    "integers": G.integers(-50, 50, (40, 12, 2)),
    "bytes": G.integers(0, 256, (40, 12, 2), dtype=np.uint8),
    "ragged": ragged(),
    "ragged channels": ragged(2, scale=7.0),
    "ragged integers": ragged(scale=30, dtype=np.int64),
}


@pytest.mark.parametrize("name", BROUGHT)
def test_what_was_brought_comes_back(name):
    rows = open_rows(BROUGHT[name])
    series = fit_modality(rows, "series")
    back = series.from_tensors(series.to_tensors(rows)["x"], rows)
    assert isinstance(back, type(BROUGHT[name]))
    for one, two in zip(BROUGHT[name], back, strict=True):
        assert one.dtype == two.dtype
        assert one.shape == two.shape
        assert np.allclose(one, two, rtol=1e-5, atol=1e-5)


def test_time_is_the_last_axis_and_a_channel_has_its_own_scale():
    x = G.normal(size=(200, 6, 2)) * [1, 1000] + [0, 5000]
    series = Series.fit(open_rows(x))
    tensors = series.to_tensors(open_rows(x))
    assert tensors.keys() == {"x"}
    assert tensors["x"].shape == (200, 2, 6)
    assert tensors["x"].std((0, 2)).tolist() == pytest.approx([1, 1], rel=1e-3)
    expected = (x[3, :, 1] - x[..., 1].mean()) / x[..., 1].std()
    assert tensors["x"][3, 1].tolist() == pytest.approx(expected, rel=1e-5)


def test_what_is_missing_or_behind_the_end_is_not_observed():
    x = ragged(2)
    x[0][3, 1] = np.nan
    rows = open_rows(x)
    observed = fit_modality(rows).to_tensors(rows)["observed"]
    for i, length in enumerate(LENGTHS):
        there = torch.zeros(2, 12, dtype=torch.bool)
        there[:, :length] = True
        there[1, 3] &= i != 0
        assert torch.equal(observed[i], there)


def test_codes_alone_become_series_of_full_length():
    series = fit_modality(open_rows(ragged(2)))
    assert series.from_tensors(torch.zeros(3, 2, 12)).shape == (3, 12, 2)


def test_shorter_arrays_are_series_that_end_earlier_and_longer_ones_are_refused():
    x = G.normal(size=(30, 12))
    series = Series.fit(open_rows(x))
    rows = open_rows(x[:, :7])
    tensors = series.to_tensors(rows)
    assert torch.equal(tensors["observed"], (torch.arange(12) < 7).expand(30, 1, 12))
    assert np.allclose(series.from_tensors(tensors["x"], rows), x[:, :7], atol=1e-6)
    with pytest.raises(DataError, match="up to 13 steps long; this model was fitted on 12"):
        series.to_tensors(open_rows(G.normal(size=(4, 13))))
    roomy = Series.fit(open_rows(x), steps=13)
    assert roomy.to_tensors(open_rows(G.normal(size=(4, 13))))["x"].shape == (4, 1, 13)
    with pytest.raises(SpecError, match="steps is a whole number of at least 12"):
        Series.fit(open_rows(x), steps=11)
    with pytest.raises(DataError, match="2 channel"):
        series.to_tensors(open_rows(G.normal(size=(4, 12, 2))))


def test_the_longest_may_be_held_out():
    rows = open_rows(ragged())
    series = fit_modality(rows.take(range(1, 4)))
    assert series.shape == (1, 12)
    assert series.to_tensors(rows.take([0]))["x"].shape == (1, 1, 12)


def test_columns_of_a_table_are_steps():
    table = open_rows(pa.table({f"t{i}": G.normal(size=20) for i in range(5)}))
    assert Series.fit(table).shape == (1, 5)
    with pytest.raises(DataError, match="holds numbers alone"):
        Series.fit(open_rows(pa.table({"a": ["x", "y"]})))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([np.zeros((4, 2)), np.zeros((5, 3))], "all with the same channels"),
        ([np.zeros(4), np.zeros((5, 3))], "all with the same channels"),
        ([np.zeros((4, 2, 2)), np.zeros((5, 2, 2))], "all with the same channels"),
        ([np.zeros(4), np.zeros(0)], "Row 1 of the list has no step"),
        ([[1.0, 2.0], [1.0]], "must have the same length"),
    ],
)
def test_lists_that_are_no_series(rows, said):
    with pytest.raises(DataError, match=said):
        open_rows(rows)


def test_rows_that_are_no_series():
    with pytest.raises(DataError, match="Reshape it"):
        Series.fit(open_rows(np.zeros((3, 4, 5, 2))))
    with pytest.raises(DataError, match="holds no value at all"):
        Series.fit(open_rows([np.full(3, np.nan), np.full(2, np.nan)]))
    with pytest.raises(SpecError, match="Did you mean 'robust'"):
        Series.fit(open_rows(np.zeros((3, 4))), scaling="robst")


@pytest.mark.parametrize("kind", [kind for kind in MODALITIES if kind not in ("series", "text")])
def test_rows_of_unequal_length_are_for_series_alone(kind):
    with pytest.raises(DataError, match="only the modality 'series' can take"):
        fit_modality(open_rows(ragged()), kind)


@pytest.mark.parametrize("recipe", ["recurrent", "temporal"])
@pytest.mark.parametrize("name", ["(n, time)", "(n, time, channels)", "ragged", "ragged channels"])
def test_an_estimator_for_series(recipe, name, tmp_path):
    x = BROUGHT[name]
    ae = Autoencoder(recipe, latent_dim=2, epochs=2, random_state=0).fit(x)
    assert ae.model_.modality.kind == "series"
    codes = ae.transform(x)
    assert codes.shape == (40, 2)
    again = Autoencoder.open(ae.save(tmp_path / "m.isthmus"))
    assert np.array_equal(again.transform(x), codes)
    assert [row.shape for row in again.reconstruct(x)] == [row.shape for row in x]
    assert np.allclose(ae.transform(x[7:8]), codes[7:8], atol=1e-5)
    assert ae.inverse_transform(codes).shape[:2] == (40, 12)
    assert np.isfinite(ae.score_samples(x)).all()
    found = ae.detect(x, false_alarm_rate=0.2)
    assert str(found.reasons(found.worst(1)[0])[0]).startswith("step")
    assert found.to_table().num_rows == 40


def test_cells_can_be_torn_out_of_a_row_of_unequal_length():
    x = ragged(2)
    holes = [row.copy() for row in x]
    for row in holes:
        row[::3, 0] = np.nan
    ae = Autoencoder("recurrent", latent_dim=2, epochs=2, random_state=0, encoder={"cell": "gru"}).fit(holes)
    assert np.isfinite(ae.transform(holes)).all()
    assert all(np.isfinite(row).all() for row in ae.reconstruct(holes))


def test_any_body_takes_series_where_it_is_asked_to():
    x = ragged(2)
    ae = Autoencoder(latent_dim=2, epochs=2, random_state=0).fit(x)  # rows of unequal length ask by themselves
    assert ae.model_.spec.encoder.kind == "mlp"
    assert ae.model_.spec.tell_missing
    ae = Autoencoder("transformer", modality="series", latent_dim=2, epochs=2, random_state=0).fit(np.stack(x[:1] * 9))
    assert ae.model_.net.shape == (2, 12)


def test_the_command_line(tmp_path, capsys):
    np.save(tmp_path / "w.npy", BROUGHT["(n, time, channels)"])
    paths = [str(tmp_path / name) for name in ("w.npy", "m.isthmus", "back.npy")]
    assert main(["fit", paths[0], "-o", paths[1], "--recipe", "recurrent", "--epochs", "2", "--latent-dim", "2"]) == 0
    assert "Series of 3 channels over 12 steps" in capsys.readouterr().out
    assert main(["reconstruct", paths[1], paths[0], "-o", paths[2]]) == 0
    assert np.load(paths[2]).shape == (40, 12, 3)
    assert main(["detect", paths[1], paths[0]]) == 0
    assert main(["report", paths[1], paths[0], "-o", str(tmp_path / "r.html")]) == 0
    assert main(["fit", paths[0], "-o", paths[1], "--kind", "series", "--epochs", "1", "--latent-dim", "2"]) == 0
    assert "channel" in capsys.readouterr().out


def test_a_recipe_for_series_takes_rows_for_them():
    assert [name for name, recipe in RECIPES.items() if recipe.modality == "series"] == ["recurrent", "temporal"]
