import dataclasses
import json

import pytest

from isthmus.errors import SpecError, UserError, unknown
from isthmus.spec import SINGLE, Part, Plan, Spec


def test_parts_are_written_three_ways():
    said = {"kind": "mlp", "widths": [8]}
    assert Part.of(said) == Part("mlp", {"widths": [8]})
    assert Part.of("mlp") == Part("mlp")
    assert Part.of(Part.of(said)) is not None
    assert Part.of(said).to_json() == said
    assert Part("mlp").updated(widths=[3]) == Part("mlp", {"widths": [3]})


@pytest.mark.parametrize("said", [None, 3, {}, {"widths": [8]}, {"kind": 3}, ["mlp"]])
def test_what_is_no_part(said):
    with pytest.raises(SpecError, match="A part is a name or a mapping with 'kind'"):
        Part.of(said)


def test_every_field_of_a_spec_survives_json():
    spec = Spec(
        **{place: Part(place, {"a": 1}) for place in SINGLE},
        penalties=(Part("l2"), Part("l2", {"weight": 2.0})),
        critic=Part("code"),
        latent_dim=7,
        warm_start=None,
        tell_missing=True,
    )
    assert {f.name for f in dataclasses.fields(Spec)} == spec.to_json().keys()
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_every_field_of_a_plan_survives_json():
    plan = Plan(
        epochs=3, batch_size=8, learning_rate=0.1, clip=2.0, patience=None, max_time=3.0, validation=0.3, seed=9
    )
    assert {f.name for f in dataclasses.fields(Plan)} == plan.to_json().keys()
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_unknown_fields_are_named():
    said = Spec(Part("mlp"), Part("mlp")).to_json()
    with pytest.raises(SpecError, match="Did you mean 'encoder'"):
        Spec.from_json({**said, "encodr": "mlp"})
    with pytest.raises(SpecError, match="Did you mean 'epochs'"):
        Plan.from_json({"epoch": 1})


def test_specs_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Spec(Part("mlp"), Part("mlp")).latent_dim = 3


def test_errors_guess_when_there_is_something_near():
    assert "Did you mean 'plain'" in str(unknown("recipe", "plian", ["plain", "linear"]))
    assert "Did you mean" not in str(unknown("recipe", "xyz", ["plain", "linear"]))
    assert str(unknown("recipe", 3, [])) == "No recipe is called 3."
    assert isinstance(unknown("recipe", "x", []), UserError)
