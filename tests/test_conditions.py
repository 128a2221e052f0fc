"""What steers the decoder: columns of a table, or labels beside an array."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from isthmus import Autoencoder, open_model
from isthmus.conditions import Conditions, with_condition
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan

CENTERS = np.array(
    [[3.0, 0.0, -2.0, 1.0, 0.0, 2.0], [-3.0, 1.0, 2.0, 0.0, 1.0, -2.0], [0.0, -4.0, 0.0, 2.0, -3.0, 0.0]]
)


def heaps(n=600, seed=0):
    """Rows around three centres, all spread along the same direction: the label says where, one number the rest."""
    g = np.random.default_rng(seed)
    labels = g.integers(3, size=n)
    along = g.normal(size=n)
    x = CENTERS[labels] + along[:, None] * np.array([1.0, -1, 1, -1, 1, -1]) + 0.1 * g.normal(size=(n, 6))
    return x, labels, along


def table(n=600):
    x, labels, _ = heaps(n)
    columns = {f"c{i}": x[:, i] for i in range(6)}
    return pa.table({**columns, "kind": np.array(["low", "mid", "top"])[labels]})


@pytest.fixture(scope="module")
def steered():
    x, labels, _ = heaps()
    return Autoencoder("conditional", latent_dim=1, epochs=60, random_state=0).fit(x, condition=labels)


@pytest.fixture(scope="module")
def model():
    return Model.fit(table(), "conditional", condition="kind", latent_dim=2, plan=Plan(epochs=3))


def share_of_labels(z, labels):
    """The share of the variance of z that lies between labels."""
    return np.array([z[labels == k].mean() for k in range(3)])[labels].var() / z.var()


class TestWhatItLearns:
    def test_the_label_moves_the_row_to_its_centre(self, steered):
        for label in range(3):
            middle = steered.inverse_transform(np.zeros((1, 1)), condition=label)[0]
            assert np.abs(middle - CENTERS[label]).max() < 0.8

    def test_the_code_is_left_with_what_the_label_does_not_say(self, steered):
        x, labels, along = heaps(seed=1)
        z = steered.transform(x)[:, 0]
        assert abs(np.corrcoef(z, along)[0, 1]) > 0.9
        assert share_of_labels(z, labels) < 0.2

    def test_without_the_label_the_code_is_about_the_label_and_reconstructs_worse(self, steered):
        x, labels, _ = heaps(seed=1)
        alone = Autoencoder("variational", latent_dim=1, epochs=60, random_state=0).fit(heaps()[0])
        assert share_of_labels(alone.transform(x)[:, 0], labels) > 0.5
        error = np.square(steered.reconstruct(x, condition=labels) - x).sum(1).mean()
        assert error < 0.2 * np.square(alone.reconstruct(x) - x).sum(1).mean()

    def test_draws_are_of_the_label_that_is_asked_for(self, steered):
        for label in range(3):
            drawn = steered.sample(200, condition=label)
            apart = np.square(drawn[:, None] - CENTERS).sum(2)
            assert (apart.argmin(1) == label).mean() > 0.95

    def test_a_row_under_a_wrong_label_is_strange(self, steered):
        x, labels, _ = heaps(seed=1)
        right, wrong = (steered.score_samples(x, condition=c) for c in (labels, (labels + 1) % 3))
        assert (right > wrong).mean() > 0.99


class TestColumns:
    def test_a_column_leaves_the_rows_and_steers(self, model):
        assert "kind" not in model.modality.names
        assert model.conditions.names == ["kind"]
        assert model.encode(table()).shape == (600, 2)

    def test_codes_need_no_condition(self, model):
        rows = table()
        np.testing.assert_array_equal(model.encode(rows), model.encode(rows.drop_columns(["kind"])))

    def test_scores_do(self, model):
        with pytest.raises(DataError, match=r"steered by 'kind', which .* lacks"):
            model.score(table().drop_columns(["kind"]))

    def test_labels_may_come_beside_the_rows(self, model):
        rows = table()
        beside = with_condition(open_rows(rows.drop_columns(["kind"])), rows["kind"].to_pylist())
        np.testing.assert_array_equal(model.score(beside), model.score(rows))

    def test_an_unseen_label_is_taken_as_unseen(self, model):
        rows = table()
        named = rows.set_column(6, "kind", pa.array(["other"] * len(rows)))
        assert np.isfinite(model.score(named)).all()

    def test_the_file_keeps_it(self, model, tmp_path):
        again = open_model(model.save(tmp_path / "m.isthmus"))
        np.testing.assert_array_equal(again.score(table()), model.score(table()))
        assert again.decode(np.zeros((2, 2)), condition="low").equals(model.decode(np.zeros((2, 2)), condition="low"))

    def test_one_value_for_all_codes_or_one_for_each(self, model):
        z = np.zeros((3, 2))
        one = model.decode(z, condition="low")
        assert one.equals(model.decode(z, condition={"kind": "low"}))
        assert one.equals(model.decode(z, condition=["low"] * 3))
        assert not one.equals(model.decode(z, condition=["low", "top", "low"]))


class TestNumbers:
    def test_a_number_steers_as_a_number(self):
        rows = with_condition(open_rows(np.ones((5, 2))), np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
        found = Conditions.fit(rows)
        assert found.width == 1
        torch.testing.assert_close(found.numbers(rows).mean(), torch.tensor(0.0), atol=1e-6, rtol=0)

    def test_few_whole_numbers_are_labels(self):
        rows = with_condition(open_rows(np.ones((6, 2))), np.array([7, 8, 9, 7, 8, 9]))
        numbers = Conditions.fit(rows).numbers(rows)
        assert torch.equal(numbers.sum(1), torch.ones(6))
        assert len(numbers.unique(dim=0)) == 3


class TestErrors:
    def test_nothing_steers(self):
        with pytest.raises(SpecError, match="Say condition='COLUMN' "):
            Model.fit(heaps(60)[0], "conditional")

    def test_another_number_of_labels(self):
        with pytest.raises(DataError, match=r"60 rows and its condition 59"):
            Autoencoder("conditional").fit(heaps(60)[0], condition=np.zeros(59, int))

    def test_a_misspelt_column(self):
        with pytest.raises(SpecError, match="Did you mean 'kind'"):
            Model.fit(table(60), "conditional", condition="kinf")

    def test_nothing_is_left(self):
        with pytest.raises(DataError, match="nothing is left to learn"):
            Model.fit(table(60).select(["kind"]), "conditional", condition="kind")

    def test_a_condition_for_a_model_without_one(self):
        model = Model.fit(heaps(60)[0], plan=Plan(epochs=1), latent_dim=1)
        with pytest.raises(SpecError, match="No condition steers this model"):
            model.decode(np.zeros((1, 1)), condition="low")

    def test_a_misspelt_label(self, model):
        with pytest.raises(SpecError, match=r"No value of 'kind' is called 'lpw'. Did you mean 'low'"):
            model.decode(np.zeros((1, 2)), condition="lpw")

    def test_codes_alone(self, steered):
        with pytest.raises(SpecError, match="Say condition=VALUE"):
            steered.inverse_transform(np.zeros((1, 1)))
