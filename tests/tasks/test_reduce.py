import numpy as np
import pyarrow as pa
import pytest

from isthmus import open_model
from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.features.reduce import LEAST, fit_map, reduce

QUICK = Plan(epochs=3)


def blobs(n=240, seed=0):
    g = np.random.default_rng(seed)
    return (8 * np.eye(10)[np.arange(n) % 6] + g.normal(size=(n, 10))).astype(np.float32)


@pytest.fixture(scope="module")
def digits():
    model, held = fit_map("example:digits", plan=Plan(epochs=6))
    return model, held


@pytest.fixture(scope="module")
def drawn(digits):
    model, held = digits
    return reduce(model, "example:digits", held=held)


class TestDigits:
    def test_the_map_keeps_neighbours_that_pca_loses(self, drawn):
        assert len(drawn) == 1797
        assert drawn.places.shape == drawn.pca.shape == (1797, 2)
        assert drawn.judged == "held-out rows (179)"
        assert drawn.trust.trustworthiness > 0.93 > drawn.pca_trust.trustworthiness
        assert drawn.trust.agreement > drawn.pca_trust.agreement + 0.1
        assert not drawn.pca_is_as_good

    def test_digits_lie_among_their_own(self, drawn):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import cross_val_score
        from sklearn.neighbors import KNeighborsClassifier

        assert cross_val_score(KNeighborsClassifier(10), drawn.places, load_digits().target).mean() > 0.92

    def test_a_place_comes_back_as_a_picture(self, digits, drawn):
        model, _ = digits
        back = model.decode(drawn.places[:5])
        assert back.shape == (5, 8, 8)
        assert model.record.error < 0.75 * model.record.pca_error

    def test_it_is_a_model_file_like_any_other(self, digits, drawn, tmp_path):
        again = open_model(digits[0].save(tmp_path / "digits.isthmus"))
        put = reduce(again, "example:digits")
        np.testing.assert_array_equal(put.places, drawn.places)
        assert put.judged == "these rows (1,797)"

    def test_the_words_say_what_to_trust(self, drawn):
        said = "\n".join(drawn.summary())
        assert "held-out rows (179): the map, and PCA's" in said
        for figure in ("trustworthiness 0.9", "continuity", "kNN agreement", "distance correlation"):
            assert figure in said

    def test_the_table_has_a_line_for_each_row(self, drawn, tmp_path):
        from pyarrow import csv

        (path,) = drawn.save(tmp_path / "map.csv")
        table = csv.read_csv(path)
        assert table.column_names == ["row", "x", "y", "pca_x", "pca_y", "score"]
        np.testing.assert_allclose(table["x"].to_numpy(), drawn.places[:, 0], rtol=1e-5)

    def test_at_most_so_many_are_drawn(self, digits):
        few = reduce(digits[0], "example:digits", most=100)
        assert len(few) == len(set(few.index.tolist())) == 100
        assert "of 1,797 chosen at random" in few.summary()[0]


def test_the_same_seed_gives_the_same_map():
    first, again = (reduce(fit_map(blobs(), plan=QUICK)[0], blobs()) for _ in range(2))
    np.testing.assert_array_equal(first.places, again.places)
    np.testing.assert_array_equal(first.scores, again.scores)


def test_a_map_of_three_numbers():
    model, _ = fit_map(blobs(), dim=3, plan=QUICK)
    drawn = reduce(model, blobs())
    assert drawn.places.shape == drawn.pca.shape == (240, 3)
    assert "z" in drawn.to_table().column_names


def test_rows_on_a_plane_are_left_to_pca():
    g = np.random.default_rng(0)
    plane = (g.uniform(-1, 1, (500, 2)) @ g.normal(size=(2, 8))).astype(np.float32)
    model, held = fit_map(plane, plan=QUICK)
    drawn = reduce(model, plane, held=held)
    assert drawn.pca_is_as_good
    assert any("prefer it" in line for line in drawn.summary())


def test_the_labels_are_not_looked_at():
    rows = blobs()
    columns = {f"c{j}": rows[:, j] for j in range(10)}
    table = pa.table({**columns, "kind": [f"k{i % 6}" for i in range(240)]})
    model, held = fit_map(table, labels="kind", plan=QUICK)
    assert "kind" not in model.modality.names
    drawn = reduce(model, table, labels="kind", held=held)
    assert drawn.labels == table["kind"].to_pylist()
    assert drawn.to_table()["kind"].to_pylist() == drawn.labels
    assert reduce(model, table, labels=drawn.labels).labels == drawn.labels


def test_tables_with_categories_and_missing_cells():
    g = np.random.default_rng(1)
    which = g.integers(0, 3, 200)
    number = [None if g.random() < 0.1 else float(w * 5 + g.normal()) for w in which]
    table = pa.table({"number": number, "word": pa.array(["abc"[w] for w in which]), "other": g.normal(size=200)})
    model, held = fit_map(table, plan=QUICK)
    drawn = reduce(model, table, held=held)
    assert np.isfinite(drawn.places).all()
    assert set(model.decode(drawn.places[:4]).column_names) == {"number", "word", "other"}


def test_texts_lie_by_what_they_are_about():
    about = ["the ship sails over the sea with wind", "the cook bakes bread with flour", "the team won the match"]
    texts = [f"{about[i % 3]} {'again and ' * (i % 4)}{i}" for i in range(90)]
    model, _ = fit_map(texts, modality="text", plan=QUICK)
    drawn = reduce(model, texts)
    near = np.argsort(((drawn.places[:, None] - drawn.places[None]) ** 2).sum(2), axis=1)[:, 1:6]
    assert (near % 3 == np.arange(90)[:, None] % 3).mean() > 0.9


def test_recordings_are_drawn_by_their_windows():
    t = np.arange(1500)
    recording = pa.table({"signal": np.sin(t / 7) + 0.1 * np.random.default_rng(0).normal(size=1500)})
    model, held = fit_map(recording, modality="series", modality_options={"window": 48, "stride": 8}, plan=QUICK)
    drawn = reduce(model, recording, held=held)
    assert len(drawn) == len(model.modality.samples(model.open(recording)))
    assert np.isfinite(drawn.scores).all()


class TestBadInput:
    def test_three_rows(self):
        with pytest.raises(DataError, match=f"3 row.*at least {LEAST}.*--onto"):
            fit_map(blobs(3))

    def test_three_rows_on_a_map_of_others(self):
        model, _ = fit_map(blobs(), plan=QUICK)
        drawn = reduce(model, blobs(3))
        assert drawn.trust is None
        assert "too few rows" in drawn.summary()[-1]

    def test_as_few_as_possible(self):
        assert len(reduce(fit_map(blobs(LEAST), plan=QUICK)[0], blobs(LEAST))) == LEAST

    def test_rows_that_are_all_the_same(self):
        with pytest.raises(DataError, match="same"):
            fit_map(np.ones((50, 4), np.float32))

    def test_copies(self):
        rows = np.repeat(blobs(20), 10, axis=0)
        drawn = reduce(fit_map(rows, plan=QUICK)[0], rows)
        assert np.isfinite(drawn.places).all()
        np.testing.assert_array_equal(drawn.places[0], drawn.places[9])

    def test_missing_numbers(self):
        rows = blobs()
        rows[::3, 4] = np.nan
        assert np.isfinite(reduce(fit_map(rows, plan=QUICK)[0], rows).places).all()

    def test_a_constant_column_beside_others(self):
        rows = np.column_stack([blobs(), np.full(240, 7.0, np.float32)])
        assert np.isfinite(reduce(fit_map(rows, plan=QUICK)[0], rows).places).all()

    @pytest.mark.parametrize("size", [1, 4])
    def test_a_model_whose_code_is_no_place(self, size):
        model = Model.fit(blobs(), latent_dim=size, parts={"detector": "likelihood"}, plan=QUICK)
        with pytest.raises(SpecError, match=rf"shape \({size},\).*2 or 3 numbers.*isthmus map"):
            reduce(model, blobs())

    def test_any_model_with_two_numbers_is_a_map(self):
        model = Model.fit(blobs(), latent_dim=2, parts={"detector": "likelihood"}, plan=QUICK)
        assert reduce(model, blobs()).places.shape == (240, 2)

    @pytest.mark.parametrize("dim", [0, 1, 4, "2"])
    def test_a_map_of_other_numbers(self, dim):
        with pytest.raises(SpecError, match="2 numbers or 3"):
            fit_map(blobs(), dim=dim)

    def test_a_label_column_that_is_not_there(self):
        table = pa.table({"height": np.arange(50.0), "width": np.arange(50.0) ** 2})
        with pytest.raises(DataError, match=r"No column is called 'hight'. Did you mean 'height'"):
            fit_map(table, labels="hight")
        with pytest.raises(DataError, match="has no columns"):
            fit_map(blobs(), labels="kind")

    def test_labels_of_other_rows(self):
        model, _ = fit_map(blobs(), plan=QUICK)
        with pytest.raises(DataError, match="240 rows and 3 labels"):
            reduce(model, blobs(), labels=[1, 2, 3])
