"""What every modality on the menu keeps."""

import json

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse
import torch

from isthmus.data.source import open_rows
from isthmus.data.sparse import dense
from isthmus.errors import SpecError
from isthmus.modalities import MODALITIES, fit_modality, modality_from_json, modality_to_json

G = np.random.default_rng(0)
ROWS = {
    "array": open_rows(np.where(G.random((40, 5)) < 0.05, np.nan, G.lognormal(sigma=2, size=(40, 5)))),
    "table": open_rows(
        pa.table({"a": G.normal(size=40), "b": G.choice(list("xyz"), 40), "c": G.integers(0, 2, 40), "d": [1] * 40})
    ),
    "series": open_rows([G.normal(size=(length, 2)) for length in [9, *G.integers(1, 10, 39)]]),
    "sparse": open_rows(scipy.sparse.random_array((40, 30), density=0.2, rng=G).tocsr()),
    "text": open_rows([" ".join(G.choice(list("abcdefg"), 5)) for _ in range(40)]),
    "pixels": open_rows([G.integers(0, 9000, (16, 16, 2), dtype=np.uint16) for _ in range(40)], kind="pixels"),
    "image": open_rows(G.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)),
    "signals": open_rows(G.normal(size=(40, 20)), kind="signals"),
    "tiles": open_rows(G.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)),  # each smaller than a tile
}


@pytest.mark.parametrize("kind", [kind for kind in MODALITIES if kind != "tiles"])  # these are asked for
def test_the_rows_choose_the_modality(kind):
    assert fit_modality(ROWS[kind]).kind == kind == ROWS[kind].kind


@pytest.mark.parametrize("kind", MODALITIES)
def test_json_and_back_gives_the_same_tensors(kind):
    modality = fit_modality(ROWS[kind], kind)
    again = modality_from_json(json.loads(json.dumps(modality_to_json(modality), allow_nan=False)))
    one, two = dense(modality.to_tensors(ROWS[kind])), dense(again.to_tensors(ROWS[kind]))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert modality_to_json(again) == modality_to_json(modality)
    assert again.describe() == modality.describe()
    assert repr(again) == repr(modality)


@pytest.mark.parametrize("kind", MODALITIES)
def test_tensors_keep_the_contract(kind):
    modality = fit_modality(ROWS[kind], kind)
    batch = dense(modality.to_tensors(ROWS[kind]))
    assert batch["x"].dtype == torch.float32
    assert batch["x"].shape == (40, *modality.shape)
    assert batch["x"].isfinite().all()
    assert len(modality.names) == (modality.shape[0] if len(modality.shape) == 1 else 0)
    if "observed" in batch:
        assert batch["observed"].shape == batch["x"].shape
        assert (batch["x"][~batch["observed"]] == 0).all()
    assert {"encoder", "decoder", "likelihood"} == modality.parts().keys() - {"detector", "corruption"}
    for back in (modality.from_tensors(batch["x"]), modality.from_tensors(batch["x"], ROWS[kind])):
        assert (back.shape[0] if hasattr(back, "shape") else len(back)) == 40
    assert modality.remarks(ROWS[kind]) == []


@pytest.mark.parametrize("kind", MODALITIES)
def test_one_row_is_enough_to_use_and_to_fit(kind):
    one = ROWS[kind].take([0])
    assert torch.equal(
        dense(fit_modality(ROWS[kind], kind).to_tensors(one))["x"][0],
        dense(fit_modality(ROWS[kind], kind).to_tensors(ROWS[kind]))["x"][0],
    )
    if kind != "table":
        assert dense(fit_modality(one, kind).to_tensors(one))["x"].isfinite().all()


def test_names_that_are_not_on_the_menu():
    with pytest.raises(SpecError, match="Did you mean 'image'"):
        fit_modality(ROWS["image"], "imgae")
    with pytest.raises(SpecError, match="Did you mean 'scaling'"):
        fit_modality(ROWS["array"], scalling="none")
    with pytest.raises(SpecError, match="Known: array"):
        modality_from_json({"kind": "tabel"})
    state = modality_to_json(fit_modality(ROWS["image"]))
    with pytest.raises(SpecError, match="'sizes'"):
        modality_from_json({**state, "sizes": 3})
    with pytest.raises(SpecError, match="damaged"):
        modality_from_json({**state, "size": None})
    del state["size"]
    with pytest.raises(SpecError, match="lacks 'size'"):
        modality_from_json(state)
