"""Rows and their targets stay together, or are refused."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from isthmus.data.pairs import Pairs, wanted_of, without_target
from isthmus.data.rows import Rows
from isthmus.errors import DataError


def array(*shape, origin="noisy.npy"):
    return Rows("array", np.arange(np.prod(shape), dtype=float).reshape(shape), origin)


def folder(*names, origin="noisy/"):
    return Rows("image", np.zeros((len(names), 2, 2), np.uint8), origin, names)


def test_they_are_taken_together():
    rows, target = array(5, 2), array(5, 2).replace(data=array(5, 2).data + 100)
    some = Pairs(rows, target).take([3, 1])
    assert np.array_equal(some.target.data, some.rows.data + 100)
    assert some.wanted is some.target
    alone = Pairs(rows).take([3, 1])
    assert alone.target is None
    assert alone.wanted is alone.rows


def test_tensors_and_back():
    def to_tensors(rows):
        x = torch.tensor(rows.data)
        return {"x": x, "observed": x > 2} if rows.origin == "clean.npy" else {"x": x}

    found = Pairs(array(3, 2), array(3, 2, origin="clean.npy")).tensors(to_tensors)
    assert list(found) == ["x", "target", "target_observed"]
    assert without_target(found).keys() == {"x"}
    assert wanted_of(found)["observed"] is found["target_observed"]
    assert wanted_of({"x": found["x"]})["x"] is found["x"]


@pytest.mark.parametrize(
    ("rows", "target", "words"),
    [
        (array(5, 2), array(4, 2, origin="clean.npy"), r"5 rows \(noisy.npy\) and 4 targets \(clean.npy\)"),
        (array(5, 2), array(5, 3), "one shape"),
        (array(5, 2), Rows("table", pa.table({"a": range(5)}), "clean.csv"), "one kind"),
        (folder("a.png", "b.png"), folder("b.png", "c.png", origin="clean/"), "'b.png' of noisy/ would be paired"),
    ],
)
def test_what_does_not_belong_together(rows, target, words):
    with pytest.raises(DataError, match=words):
        Pairs(rows, target)


def test_files_of_other_names_are_paired_in_order():
    assert len(Pairs(folder("1_noisy.png", "2_noisy.png"), folder("1.png", "2.png"))) == 2
