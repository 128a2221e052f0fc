import datetime

import numpy as np
import pyarrow as pa
import pytest

from isthmus.errors import DataError, SpecError, UserError
from isthmus.tasks.searching.where import where_mask

TABLE = pa.table({
    "year": [2019, 2020, None, 2022],
    "price": [1.5, 2.0, 3.0, float("nan")],
    "topic": ["sport", "art", "Sport", None],
    "a b": ["x y", "z", "x y", "(q)"],
    "new": [True, False, True, None],
    "day": [datetime.date(2020, 1, d) for d in (1, 2, 3, 4)],
    "kind": pa.array(["u", "v", "u", "v"]).dictionary_encode(),
    "big": [9007199254740993, 9007199254740992, 0, -1],
})  # fmt: skip


@pytest.mark.parametrize(
    ("said", "rows"),
    [
        ("year >= 2020", [1, 3]),
        ("year>=2020 and topic=art", [1]),
        ("year != 2019", [1, 3]),
        ("topic = sport or topic = 'Sport'", [0, 2]),
        ("not (topic = sport or year = 2020)", [2, 3]),
        ("topic in (art, sport)", [0, 1]),
        ("topic contains SPO", [0, 2]),
        ("topic is missing", [3]),
        ("topic is not missing and year is missing", [2]),
        ("'a b' = 'x y'", [0, 2]),
        ('"a b" = "(q)"', [3]),
        ("price > 1.5", [1, 2]),
        ("new = true", [0, 2]),
        ("day > 2020-01-02", [2, 3]),
        ("kind = u AND year < 2020", [0]),
        ("big = 9007199254740993", [0]),
        ("big = -1", [3]),
        ("year = 2019 or year = 2020 and topic = sport", [0]),
        ("year > 2019.5", [1, 3]),
        ("topic = 'and'", []),
    ],
)
def test_conditions(said, rows):
    assert np.flatnonzero(where_mask(said, TABLE)).tolist() == rows


@pytest.mark.parametrize(
    "said", ["", "  ", "year", "year >=", "year >= 2020 and", "(year = 1", "year = 1)", "year = 1 2", "= 3",
             "topic in art", "topic is art", "not", "year => 3", "topic = 'open", "year >= >= 3",
             "((((" * 60 + "year = 1", "not " * 5000 + "year = 1", "x" * 20000]
)  # fmt: skip
def test_what_cannot_be_read_is_said(said):
    with pytest.raises(UserError):
        where_mask(said, TABLE)


def test_a_column_that_there_is_not_is_named_with_those_that_there_are():
    with pytest.raises(SpecError, match=r"No column is called 'yaer'\. Did you mean 'year'\?"):
        where_mask("yaer = 3", TABLE)


@pytest.mark.parametrize("said", ["year = old", "day = sport", "new = 7", "price contains 1"])
def test_a_value_of_another_type_is_refused(said):
    with pytest.raises(DataError, match="column"):
        where_mask(said, TABLE)


def test_nothing_is_run():
    with pytest.raises(SpecError):
        where_mask("__import__('os').system('true') = 1", TABLE)
