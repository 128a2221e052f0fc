import json

import pytest

from isthmus.errors import SpecError
from isthmus.recipes import RECIPES, compose, modality_of
from isthmus.spec import Part, Spec

SUITED = {"encoder": {"kind": "mlp"}, "decoder": {"kind": "mlp"}, "likelihood": {"kind": "mixed", "levels": [0, 3]}}


@pytest.mark.parametrize("recipe", RECIPES)
class TestEveryRecipe:
    def test_it_is_json_and_back(self, recipe):
        spec = compose(recipe, suited=SUITED, latent_dim=3)
        assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec

    def test_it_is_a_line_for_people(self, recipe):
        about = RECIPES[recipe].about
        assert about
        assert "\n" not in about
        assert len(about) < 100

    def test_what_a_person_says_wins(self, recipe):
        said = {"encoder": "linear", "bottleneck": "plain", "prior": "gaussian", "penalties": []}
        spec = compose(recipe, suited=SUITED, said=said)
        assert (spec.encoder.kind, spec.bottleneck.kind, spec.prior.kind, spec.penalties) == (
            "linear", "plain", "gaussian", (),
        )  # fmt: skip

    def test_the_rows_decide_what_it_leaves_open(self, recipe):
        spec = compose(recipe, suited=SUITED)
        assert spec.likelihood == Part("mixed", {"levels": [0, 3], **RECIPES[recipe].parts.get("likelihood", {})})
        if "encoder" not in RECIPES[recipe].parts:
            assert spec.encoder == Part("mlp", {"linear_path": True})


def test_options_alone_are_laid_over():
    spec = compose("beta", suited=SUITED, said={"objective": {"beta": 2.0}, "encoder": {"widths": [8]}})
    assert spec.objective == Part("elbo", {"beta": 2.0})
    assert spec.encoder == Part("mlp", {"linear_path": True, "widths": [8]})


def test_the_same_kind_again_keeps_what_the_rows_need():
    spec = compose(suited=SUITED, said={"likelihood": {"kind": "mixed", "sigma": 0.5}})
    assert spec.likelihood.options == {"levels": [0, 3], "sigma": 0.5}
    assert compose(suited=SUITED, said={"likelihood": "gaussian"}).likelihood.options == {}


def test_the_linear_path_can_be_refused():
    assert "linear_path" not in compose(suited=SUITED, warm_start=None).encoder.options
    spec = compose(suited=SUITED, said={"encoder": {"linear_path": False}})
    assert spec.encoder.options["linear_path"] is False


@pytest.mark.parametrize("said", ["l2", {"kind": "l2", "weight": 0.1}, ["l2"], [Part("l2")], [{"kind": "l2"}]])
def test_penalties_are_one_or_many(said):
    assert [p.kind for p in compose(suited=SUITED, said={"penalties": said}).penalties] == ["l2"]


def test_names_that_do_not_exist():
    with pytest.raises(SpecError, match="Did you mean 'variational'"):
        compose("varational")
    with pytest.raises(SpecError, match="Did you mean 'encoder'"):
        compose(suited=SUITED, said={"encodr": "mlp"})
    with pytest.raises(SpecError, match="warm_start is 'pca' or None"):
        compose(suited=SUITED, warm_start="random")


def test_suited_parts_are_not_changed():
    before = json.dumps(SUITED)
    compose("denoising", suited=SUITED, said={"encoder": {"widths": [3]}})
    assert json.dumps(SUITED) == before


@pytest.mark.parametrize(
    ("kind", "corruption", "encoder"),
    [("table", "masking", "mlp"), ("array", "masking", "mlp"), ("series", "spans", "mlp"),
     ("image", "patches", "transformer"), (None, "masking", "mlp")],
)  # fmt: skip
def test_a_recipe_may_choose_by_the_kind_of_rows(kind, corruption, encoder):
    spec = compose("masked", kind=kind, suited=SUITED)
    assert (spec.corruption.kind, spec.encoder.kind, spec.objective.kind) == (corruption, encoder, "masked")
    said = compose("masked", kind=kind, suited=SUITED, said={"corruption": "swap", "encoder": "linear"})
    assert (said.corruption.kind, said.encoder.kind) == ("swap", "linear")


def test_options_are_laid_over_what_the_kind_of_rows_chose():
    spec = compose("masked", kind="image", suited=SUITED, said={"corruption": {"rate": 0.5}, "encoder": {"depth": 6}})
    assert spec.corruption == Part("patches", {"rate": 0.5})
    assert spec.encoder == Part("transformer", {"linear_path": False, "depth": 6})


def test_the_rows_that_a_recipe_is_for():
    assert modality_of("recurrent") == "series"
    assert modality_of("plain") is None
    with pytest.raises(SpecError, match="Did you mean 'recurrent'"):
        modality_of("recurent")
