"""Rows and their targets stay together, or are refused."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from isthmus.data.rows import Rows
from isthmus.data.targets import wanted_of, with_target, without_target
from isthmus.errors import DataError


def array(*shape, origin="noisy.npy"):
    return Rows("array", np.arange(np.prod(shape), dtype=float).reshape(shape), origin)


def folder(*names, origin="noisy/"):
    return Rows("image", np.zeros((len(names), 2, 2), np.uint8), origin, names)


def test_they_are_taken_together():
    rows, target = array(5, 2), array(5, 2).replace(data=array(5, 2).data + 100)
    pairs = with_target(rows, target)
    some = pairs.take([3, 1])
    assert np.array_equal(some.beside["target"].data, some.data + 100)
    for chunk in pairs.chunks(2):
        assert np.array_equal(chunk.beside["target"].data, chunk.data + 100)


def test_tensors_and_back():
    x, observed = torch.ones(3, 2), torch.ones(3, 2, dtype=bool)
    found = {"x": x, "target": x + 1, "target_observed": observed}
    assert without_target(found).keys() == {"x"}
    assert wanted_of(found)["observed"] is observed
    assert wanted_of({"x": x})["x"] is x


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
        with_target(rows, target)


def test_files_of_other_names_are_paired_in_order():
    assert len(with_target(folder("1_noisy.png", "2_noisy.png"), folder("1.png", "2.png"))) == 2
