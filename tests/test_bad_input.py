"""What people bring that cannot work: a clear error of the right kind, or a model that copes."""

import errno
import os

import numpy as np
import pandas as pd
import pytest

from isthmus import Autoencoder, Model, open_model
from isthmus.errors import DataError, FileError, SpecError, UserError
from isthmus.spec import Plan

PLAN = Plan(epochs=2, batch_size=32)


def array(n=120, d=6, seed=0):
    g = np.random.default_rng(seed)
    return g.normal(size=(n, 2)) @ np.random.default_rng(1).normal(size=(2, d)) + 0.3 * g.normal(size=(n, d))


def frame(n=120):
    return pd.DataFrame(array(n), columns=list("abcdef"))


def fit(rows, recipe="plain", plan=PLAN, latent_dim=2, **options):
    return Model.fit(rows, recipe, plan=plan, latent_dim=latent_dim, device="cpu", **options)


class TestRows:
    @pytest.mark.parametrize("rows", [array(1), frame(1), array(0)])
    def test_one_row_or_none(self, rows):
        with pytest.raises(DataError, match=r"1 sample|no rows|0 sample|at least"):
            fit(rows)

    @pytest.mark.parametrize("n", [2, 3, 4, 5])
    def test_few_rows(self, n):
        model = fit(array(n), latent_dim=1)
        assert np.isfinite(model.score(array())).all()

    def test_all_constant_arrays(self):
        """Every row the same: it comes back exactly, another one is stranger."""
        model = fit(np.full((100, 5), 3.0))
        assert np.isfinite(model.score(np.full((10, 5), 3.0))).all()
        np.testing.assert_allclose(model.reconstruct(np.full((2, 5), 3.0)), 3.0, atol=1e-4)
        assert (model.score(np.full((10, 5), 4.0)) > model.score(np.full((10, 5), 3.0))).all()

    def test_all_constant_tables(self):
        with pytest.raises(DataError, match="No column of the table can be used"):
            fit(pd.DataFrame({"a": [1] * 50, "b": ["x"] * 50}))

    def test_all_missing(self):
        with pytest.raises(DataError, match=r"No column of the table can be used.*no value at all"):
            fit(pd.DataFrame({"a": [None] * 50, "b": [np.nan] * 50}))

    def test_all_missing_arrays(self):
        with pytest.raises(DataError):
            fit(np.full((50, 4), np.nan))

    def test_a_column_without_a_value(self):
        x = array()
        x[:, 2] = np.nan
        model = fit(x)
        assert np.isfinite(model.score(x)).all()
        assert np.isfinite(model.score(array())).all(), "also when it has values later"

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_cells_that_are_no_numbers(self, bad):
        x, fresh = array(), array(seed=1)
        x[::7, 1], fresh[::3, 4] = bad, bad
        model = fit(x)
        assert np.isfinite(model.score(fresh)).all()
        assert np.isfinite(model.reconstruct(fresh)).all()
        assert np.isfinite(model.encode(fresh)).all()
        assert np.isfinite(fit(array()).score(fresh)).all(), "also when training had none"

    def test_text_among_numbers(self):
        rows = frame().astype(object)
        rows.loc[::40, "b"] = "n/a?"
        model = fit(rows)
        assert np.isfinite(model.score(rows)).all()
        with pytest.raises(DataError, match=r"The column 'b' .*should hold numbers|should be"):
            fit(frame()).score(frame().assign(b="text"))

    def test_columns_missing_renamed_and_added(self):
        model = fit(frame())
        with pytest.raises(DataError, match="The column 'c' is missing"):
            model.score(frame().drop(columns="c"))
        with pytest.raises(DataError, match="missing"):
            model.score(frame().rename(columns={"c": "sea"}))
        np.testing.assert_array_equal(model.score(frame().assign(new=1)), model.score(frame()))

    def test_pictures_for_a_table_and_the_other_way_round(self):
        with pytest.raises(UserError):
            fit(frame()).score(np.zeros((5, 7, 9), np.uint8))
        with pytest.raises(UserError):
            fit(np.random.default_rng(0).integers(0, 256, (60, 7, 9), dtype=np.uint8)).score(frame())

    def test_no_such_file(self):
        with pytest.raises(FileError, match="no_such_file"):
            fit("no_such_file.csv")


class TestOptions:
    @pytest.mark.parametrize("dim", [7, 100])
    def test_a_code_larger_than_the_row(self, dim):
        with pytest.raises(SpecError, match=f"latent_dim={dim} is larger than the entries of a row"):
            fit(array(), latent_dim=dim)

    @pytest.mark.parametrize("dim", [0, -1, True, 2.5, None])
    def test_a_code_of_no_size(self, dim):
        with pytest.raises(SpecError, match="latent_dim is a whole number of at least 1 or 'auto'"):
            fit(array(), latent_dim=dim, plan=PLAN.replace(validation=0.0), warm_start=None)

    @pytest.mark.parametrize("dim", [0, -1, True, 2.5])
    def test_a_code_of_no_size_by_default(self, dim):
        with pytest.raises(SpecError, match="latent_dim is a whole number of at least 1 or 'auto'"):
            fit(array(), latent_dim=dim)

    @pytest.mark.parametrize("dim", ["many", None, float("nan")])
    def test_a_code_of_no_size_in_words(self, dim):
        with pytest.raises(SpecError, match="latent_dim is a whole number of at least 1 or 'auto'"):
            fit(array(), latent_dim=dim)

    def test_numpy_sizes(self):
        assert fit(array(), latent_dim=np.int64(2)).latent_dim == 2

    def test_a_code_as_large_as_the_row(self):
        assert fit(array(), latent_dim=6).latent_dim == 6

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"recipe": "varational"}, "No recipe is called 'varational'. Did you mean 'variational'"),
            ({"parts": {"encoder": "mpl"}}, "No encoder is called 'mpl'. Did you mean 'mlp'"),
            ({"parts": {"bottleneck": "gausian"}}, "No bottleneck is called 'gausian'. Did you mean 'gaussian'"),
            (
                {"parts": {"bottelneck": "plain"}},
                "is called 'bottelneck'. Did you mean 'bottleneck'",
            ),
            ({"parts": {"encoder": {"width": [8]}}}, "is called 'width'. Did you mean 'widths'"),
            ({"parts": {"encoder": {"widths": [0]}}}, "widths are whole numbers of at least 1"),
            ({"parts": {"encoder": 3}}, "A part is a name or a mapping"),
            ({"parts": {"corruption": {"kind": "masking", "rate": 2}}}, "rate is in"),
            ({"parts": {"likelihood": {"sigma": -1}}}, "sigma is above 0"),
            ({"parts": {"penalties": ["l3"]}}, "No penalty is called 'l3'"),
            ({"warm_start": "ppca"}, "warm_start is 'pca' or None"),
            ({"device": "gpu"}, "Device 'gpu' cannot be used here"),
            ({"modality": "tabel"}, "Did you mean 'table'"),
            ({"modality_options": {"scalling": "none"}}, "Did you mean 'scaling'"),
        ],
        ids=str,
    )
    def test_names_that_do_not_exist(self, options, words):
        if "device" in options:
            with pytest.raises(SpecError, match=words):
                Model.fit(array(), latent_dim=2, plan=PLAN, **options)
            return
        with pytest.raises(SpecError, match=words):
            fit(array(), **options)

    def test_widths_of_the_wrong_kind(self):
        for widths in (8, "wide", [2.5, "x"]):
            with pytest.raises(SpecError):
                fit(array(), parts={"encoder": {"widths": widths}})

    def test_a_bernoulli_outside_of_0_and_1(self):
        with pytest.raises(SpecError, match=r"does not fit the rows: a bernoulli likelihood needs values in \[0, 1\]"):
            fit(array(), parts={"likelihood": "bernoulli"})

    def test_a_sigmoid_outside_of_0_and_1(self):
        with pytest.raises(SpecError, match=r"the sigmoid link reaches only \(0, 1\)"):
            fit(array(), parts={"likelihood": {"link": "sigmoid"}})

    @pytest.mark.parametrize("validation", [1.0, -0.1, 1.5, "lots"])
    def test_fractions_that_are_none(self, validation):
        with pytest.raises(SpecError, match="validation is a fraction from 0 to below 1"):
            fit(array(), plan=PLAN.replace(validation=validation))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"epochs": -1},
            {"epochs": 2.5},
            {"batch_size": 0},
            {"batch_size": -8},
            {"learning_rate": 0.0},
            {"learning_rate": -1e-3},
            {"learning_rate": float("nan")},
            {"max_time": -1.0},
            {"weight_decay": -1.0},
            {"warmup": 2.0},
            {"epochs": "many"},
            {"precision": "float16"},
        ],
        ids=str,
    )
    def test_plans_that_cannot_be(self, wrong):
        with pytest.raises(SpecError):
            fit(array(), plan=PLAN.replace(**wrong))

    def test_unknown_training_options(self):
        with pytest.raises(SpecError, match=r"No training option is called 'epoch'\. Did you mean 'epochs'"):
            Plan.from_json({"epoch": 3})


class TestFiles:
    def test_a_directory_as_output(self, tmp_path):
        model = fit(array())
        with pytest.raises(FileError, match=r"folder|directory"):
            model.save(tmp_path)
        assert tmp_path.is_dir()

    def test_a_full_disk(self, tmp_path, monkeypatch):
        model, path = fit(array()), tmp_path / "m.isthmus"
        model.save(path)
        before = path.read_bytes()

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match=r"space|full"):
            model.save(path)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["m.isthmus"]

    def test_not_a_model(self, tmp_path):
        (tmp_path / "m.isthmus").write_bytes(b"PK\x03\x04 something else")
        with pytest.raises(FileError):
            open_model(tmp_path / "m.isthmus")
        with pytest.raises(FileError):
            open_model(tmp_path / "absent.isthmus")

    def test_a_device_that_is_not_there(self, tmp_path):
        path = fit(array()).save(tmp_path / "m.isthmus")
        with pytest.raises(SpecError, match="cannot be used here"):
            open_model(path, device="gpu")


def test_every_mistake_is_a_value_error_with_one_line():
    """So that scikit-learn's users and the command line both know what to do with it."""
    for wrong in ({"recipe": "no"}, {"latent_dim": 99}, {"encoder": "no"}, {"likelihood": "bernoulli"}):
        with pytest.raises(UserError) as caught:
            Autoencoder(**{"epochs": 1, **wrong}).fit(array())
        assert isinstance(caught.value, ValueError)
        assert "\n" not in str(caught.value)
