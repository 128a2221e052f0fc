"""Every column with the encoding that suits it, and all of them as they were."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data.parquet import with_dictionary, write_parquet

G = np.random.default_rng(0)
N = 20_000
TABLE = pa.table({
    "number": G.normal(size=N),
    "shares": G.integers(0, 5, N) / 4,
    "count": G.poisson(3, N),
    "place": np.arange(N),
    "name": pa.array([f"row {i}" for i in range(N)]),
    "colour": pa.array(["red", None] * (N // 2)),
    "nothing": pa.nulls(N),
    "a.b": [True, False] * (N // 2),
})  # fmt: skip


def test_what_repeats_has_a_dictionary_and_the_rest_has_none():
    file = io.BytesIO()
    write_parquet(TABLE, file)
    assert pq.read_table(file).equals(TABLE)
    columns = [pq.ParquetFile(file).metadata.row_group(0).column(i) for i in range(TABLE.num_columns)]
    looked_up = {c.path_in_schema for c in columns if c.has_dictionary_page}
    assert looked_up - {"nothing"} == {"shares", "count", "colour"}


def test_a_file_is_no_larger_than_with_dictionaries_for_all():
    ours, plain = io.BytesIO(), io.BytesIO()
    write_parquet(TABLE, ours)
    pq.write_table(TABLE, plain)
    assert len(ours.getvalue()) <= len(plain.getvalue())


@pytest.mark.parametrize("table", [TABLE.slice(0, 0), pa.table({"lists": [[1, 2], [3]]})])
def test_odd_tables(table):
    file = io.BytesIO()
    write_parquet(table, file)
    assert pq.read_table(file).equals(table)
    assert with_dictionary(pa.table({"lists": [[1]]})) is True
