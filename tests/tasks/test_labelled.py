"""Labels as people bring them, and what is wrong with them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.features.labelled import drawn, labelled, understood

G = np.random.default_rng(0)
FRAME = pd.DataFrame(G.normal(size=(60, 3)), columns=list("abc")).assign(kind=G.choice(["x", "y"], 60))
QUICK = {"latent_dim": 2, "plan": Plan(epochs=0), "parts": {"detector": "likelihood"}, "device": "cpu"}


@pytest.fixture(scope="module")
def model():
    return Model.fit(FRAME.drop(columns="kind"), **QUICK)


class TestUnderstood:
    @pytest.mark.parametrize(
        ("said", "kind"),
        [
            ([1, 2, 2, 1], "classes"), ([1.0, 2.0, np.nan], "classes"), ([True, False], "classes"),
            (["a", "b"], "classes"), ([0.5, 1.5], "numbers"), (list(range(100)), "numbers"),
        ],
    )  # fmt: skip
    def test_kind(self, said, kind):
        assert (understood(said)[1] is None) == (kind == "numbers")

    def test_a_missing_cell_does_not_make_classes_numbers(self):
        y, classes = understood([3.0, np.nan, 7.0, 3.0])
        assert y.tolist() == [0, -1, 1, 0]
        assert classes.tolist() == [3, 7]
        assert classes.dtype.kind == "i"

    def test_words_for_nothing(self):
        assert understood(["a", "", "NA", "b", None, "nan"])[0].tolist() == [0, -1, -1, 1, -1, -1]

    def test_what_cannot_be_a_number(self):
        with pytest.raises(DataError, match="holds 'a'"):
            understood([1, "a"], "numbers")
        with pytest.raises(DataError, match="infinite"):
            understood([1.0, np.inf], "numbers")


class TestLabelled:
    def test_the_column_leaves_the_rows(self, model):
        found = labelled(model, FRAME, "kind")
        assert found.rows.data.column_names == list("abc")
        assert found.classes.tolist() == ["x", "y"]
        assert found.classes[found.y].tolist() == FRAME.kind.tolist()
        assert not found.remarks

    def test_a_label_for_each_row(self, model):
        found = labelled(model, FRAME[["a", "b", "c"]], FRAME.kind.to_numpy())
        assert found.n == 60
        with pytest.raises(DataError, match="60 rows and 3 labels"):
            labelled(model, FRAME, [0, 1, 0])

    @pytest.mark.parametrize("ending", ["npy", "npz", "csv", "txt"])
    def test_a_file(self, model, tmp_path, ending):
        y = np.arange(60) % 3
        path = tmp_path / f"y.{ending}"
        match ending:
            case "npy":
                np.save(path, y)
            case "npz":
                np.savez(path, y=y, z=y)
            case "csv":
                pd.DataFrame({"y": y}).to_csv(path, index=False)
            case "txt":
                path.write_text("\n".join(f"class {k}" for k in y))
        found = labelled(model, FRAME, f"{path}:y" if ending == "npz" else str(path))
        assert found.y.tolist() == y.tolist()

    def test_the_folder_of_each_picture(self, tmp_path):
        for kind in ("cat", "dog"):
            (tmp_path / kind).mkdir()
            for i in range(12):
                Image.fromarray(G.integers(0, 256, (6, 6), dtype=np.uint8)).save(tmp_path / kind / f"{i}.png")
        model = Model.fit(tmp_path, **QUICK)
        found = labelled(model, tmp_path, "folder")
        assert found.classes.tolist() == ["cat", "dog"]
        assert np.bincount(found.y).tolist() == [12, 12]
        with pytest.raises(DataError, match="has no columns"):
            labelled(model, tmp_path, "kind")

    def test_no_folders(self, model):
        with pytest.raises(SpecError, match="no folder with a folder for each label"):
            labelled(model, FRAME, "folder")

    def test_missing_labels_are_counted(self, model):
        found = labelled(model, FRAME.assign(kind=FRAME.kind.where(FRAME.index > 9)), "kind")
        assert found.n == 50
        assert "10 of 60 rows have no label" in found.remarks[0]

    def test_one_class(self, model):
        with pytest.raises(DataError, match="more than one class"):
            labelled(model, FRAME.assign(kind="x"), "kind")
        with pytest.raises(DataError, match="no row has a label"):
            labelled(model, FRAME.assign(kind=None), "kind")
        with pytest.raises(DataError, match="more than one class"):
            labelled(model, FRAME, np.full(60, 0.5))

    def test_a_column_that_is_not_there(self, model):
        with pytest.raises(DataError, match="Did you mean 'kind'"):
            labelled(model, FRAME, "kinds")

    def test_a_leak_is_told(self):
        known = Model.fit(FRAME, **QUICK)
        found = labelled(known, FRAME, "kind")
        assert found.leak
        assert "--column kind=ignore" in found.remarks[0]
        assert "kind" in found.rows.data.column_names, "else the model could not look at the rows"

    def test_a_lone_class_is_told(self, model):
        said = ["x"] * 59 + ["z"]
        assert "only one row each is labelled z" in labelled(model, FRAME, said).remarks[0]


class TestDrawn:
    def test_every_class_as_far_as_it_goes(self):
        y = np.repeat([0, 1, 2], [900, 95, 5])
        for n in (3, 10, 100):
            places = drawn(y, np.arange(3), n, np.random.default_rng(0))
            assert len(set(places)) == n
            assert set(y[places]) == {0, 1, 2}
        assert np.bincount(y[drawn(y, np.arange(3), 100, np.random.default_rng(0))]).tolist() == [89, 10, 1]

    def test_fewer_than_classes(self):
        y = np.arange(40) % 20
        places = drawn(y, np.arange(20), 10, np.random.default_rng(0))
        assert len(set(y[places])) == 10

    def test_all_and_numbers(self):
        assert drawn(np.zeros(5), None, 9, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]
        assert len(set(drawn(np.zeros(50), None, 9, np.random.default_rng(0)))) == 9
