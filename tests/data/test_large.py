"""Rows that are read in stretches are the rows that are read at once."""

import datetime
import os

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather as feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from isthmus.data import dataset, large
from isthmus.data.large import Kept, ahead, hashed
from isthmus.data.source import open_rows
from isthmus.errors import DataError, FileError


def table(n=1000, seed=0):
    g = np.random.default_rng(seed)
    return pa.table(
        {
            "a": g.normal(size=n).round(3),
            "n": g.integers(0, 9, n),
            "s": [f"x{k}" if k else None for k in g.integers(0, 5, n)],
            "t": [datetime.date(2024, 1, 1) + datetime.timedelta(int(k)) for k in g.integers(0, 99, n)],
        }
    )


WRITE = {
    ".parquet": lambda t, path: pq.write_table(t, path, row_group_size=130),
    ".arrow": lambda t, path: _arrow(t, path),
    ".csv": lambda t, path: pa.csv.write_csv(t, path),
}


def _arrow(t, path):
    with pa.ipc.new_file(path, t.schema) as out:
        out.write_table(t, max_chunksize=170)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(dataset, "_CSV_BLOCK", 4096)
    monkeypatch.setattr(large, "AT_ONCE", 64)
    monkeypatch.setattr(dataset, "AT_ONCE", 64)


def written(folder, ending, n_files=3):
    tables = [table(400 + i, seed=i) for i in range(n_files)]
    for i, t in enumerate(tables):
        WRITE[ending](t, folder / f"part-{i}{ending}")
    return pa.concat_tables(tables)


@pytest.mark.parametrize("ending", WRITE)
@pytest.mark.parametrize("size", [1, 77, 512, 10_000])
def test_stretches_are_the_rows(tmp_path, ending, size):
    whole = written(tmp_path, ending)
    rows = open_rows(tmp_path, stream=True)
    assert rows.large
    assert len(rows) == len(whole)
    some = rows if size > 1 else rows.replace(data=open_rows(tmp_path / f"part-0{ending}", stream=True).data)
    chunks = list(some.chunks(size))
    assert [len(c) for c in chunks[:-1]] == [size] * (len(chunks) - 1)
    assert [c.first for c in chunks] == list(range(0, len(some), size))
    assert pa.concat_tables([c.data for c in chunks]).equals(whole.slice(0, len(some)))
    assert open_rows(tmp_path, stream=False).data.equals(whole)


@pytest.mark.parametrize("start", [0, 1, 399, 400, 401, 1200])
def test_stretches_from_the_middle_on(tmp_path, start):
    whole = written(tmp_path, ".parquet")
    rows = open_rows(tmp_path, stream=True)
    assert pa.concat_tables([c.data for c in rows.chunks(100, start)]).equals(whole.slice(start))


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_one_file(tmp_path, ending):
    WRITE[ending](table(), tmp_path / f"one{ending}")
    rows = open_rows(tmp_path / f"one{ending}", stream=True)
    assert rows.large
    assert rows.data.whole().equals(open_rows(tmp_path / f"one{ending}").data)


def test_folders_that_name_a_column(tmp_path):
    for day, kind in ((1, "b"), (2, "b"), (10, "a%20b")):
        folder = tmp_path / f"day={day}" / f"kind={kind}"
        folder.mkdir(parents=True)
        pq.write_table(table(10, day), folder / "x.parquet")
    for stream in (True, False):
        data = open_rows(tmp_path, stream=stream).data
        data = data.whole() if stream else data
        assert data["day"].to_pylist() == [1] * 10 + [2] * 10 + [10] * 10
        assert set(data["kind"].to_pylist()) == {"b", "a b"}
    assert open_rows(str(tmp_path / "*" / "*" / "*.parquet"), stream=True).data.column_names[-2:] == ["day", "kind"]


def test_a_little_data_set_is_in_memory_and_a_large_one_is_not(tmp_path, monkeypatch):
    whole = written(tmp_path, ".parquet")
    assert open_rows(tmp_path).data.equals(whole)
    monkeypatch.setattr(large, "free_memory", lambda: 1000)
    assert open_rows(tmp_path).large
    assert open_rows(tmp_path / "part-0.parquet").large
    assert not open_rows(tmp_path, stream=False).large


def test_free_memory_is_some():
    assert large.free_memory() >= 1 << 28


def test_what_other_programs_note_down_is_no_part(tmp_path):
    whole = written(tmp_path, ".parquet")
    (tmp_path / "_delta_log").mkdir()
    pq.write_table(pa.table({"other": [1]}), tmp_path / "_delta_log" / "1.parquet")
    (tmp_path / "_SUCCESS").touch()
    rows = open_rows(tmp_path)
    assert rows.data.equals(whole)
    assert {one.name for one in rows.skipped} == {"_SUCCESS", "_delta_log/1.parquet"}


def test_numbers_of_several_types_become_the_wider(tmp_path):
    pq.write_table(pa.table({"a": pa.array([1, 2], pa.int32())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"a": pa.array([1 << 40], pa.int64())}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"a": pa.array([0.5], pa.float32())}), tmp_path / "c.parquet")
    assert open_rows(tmp_path, stream=True).data.whole()["a"].to_pylist() == [1, 2, 1 << 40, 0.5]


# -- CSV -----------------------------------------------------------------------------------------


def csv_of(tmp_path, text, encoding="utf8"):
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    return open_rows(tmp_path / "x.csv", stream=True), open_rows(tmp_path / "x.csv", stream=False)


def assert_same(streamed, whole):
    assert streamed.data.whole().to_pydict() == whole.data.to_pydict()
    assert streamed.data.schema.equals(whole.data.schema)
    assert streamed.remarks == whole.remarks


@pytest.mark.parametrize(
    "text",
    {
        "line ends within quotes": "a,b\n" + "".join(f'{i},"one\n""two"" {i}"\n' for i in range(600)),
        "no header": "".join(f"{i},{i / 2}\n" for i in range(900)),
        "an index": ",v\n" + "".join(f"{i},{i % 7}\n" for i in range(900)),
        "an index that is none": ",v\n" + "".join(f"{i % 800},{i % 7}\n" for i in range(900)),
        "spaces": "a;b\n" + "".join(f" {i}; {'?' if i % 9 else 'x'} \n" for i in range(900)),
        "missing": "a,b\n" + "".join(f"{i if i % 3 else 'NA'},\n" for i in range(900)),
        "no line end at the end": "a\n" + "\n".join(str(i) for i in range(2000)),
        "a mark at the beginning": "\ufeffa,b\n" + "".join(f"{i},x\n" for i in range(900)),
        "windows": "a,b\r\n" + "".join(f"{i},x\r\n" for i in range(900)),
    }.values(),
)
def test_csv_as_in_memory(tmp_path, text):
    streamed, whole = csv_of(tmp_path, text)
    assert len(streamed.data.counts) > 1
    assert_same(streamed, whole)


def test_csv_whose_cells_change_their_type_late(tmp_path):
    streamed, _ = csv_of(tmp_path, "a,b,c\n" + "1,2,\n" * 1500 + "1.5,x,3\n")
    assert [str(t) for t in streamed.data.schema.types] == ["double", "string", "int64"]
    whole = streamed.data.whole().to_pydict()
    assert whole["a"][-1] == 1.5
    assert whole["b"][-2:] == ["2", "x"]
    assert whole["c"][-2:] == [None, 3]


def test_csv_in_latin_1(tmp_path):
    streamed, whole = csv_of(tmp_path, "a\n" + "x\n" * 3000 + "Größe\n", "latin-1")
    assert streamed.data.whole().to_pydict() == whole.data.to_pydict()
    assert "Latin-1" in streamed.remarks[0]


# -- held-out rows ---------------------------------------------------------------------------------


def test_the_hash_is_even_and_looks_at_the_place_alone():
    h = hashed(np.arange(200_000))
    assert np.histogram(h, 10, (0, 1))[0] == pytest.approx(20_000, rel=0.03)
    assert abs(np.corrcoef(h[:-1], h[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(h, hashed(np.arange(200_000), 7))[0, 1]) < 0.01
    assert np.array_equal(hashed(np.arange(150_000, 200_000)), h[150_000:])


def places(rows):
    return rows["n"].to_numpy()


def numbered(path, n):
    pq.write_table(pa.table({"n": np.arange(n)}), path, row_group_size=100)


def test_held_out_rows_stay_the_same_when_rows_are_appended(tmp_path):
    numbered(tmp_path / "a.parquet", 3000)
    first = Kept(open_rows(tmp_path, stream=True).data, 0.1, seed=0)
    held = set(places(first.held))
    assert 200 < len(held) < 400
    pq.write_table(pa.table({"n": np.arange(3000, 5000)}), tmp_path / "b.parquet")
    more = Kept(open_rows(tmp_path, stream=True).data, 0.1, seed=5)
    assert {i for i in places(more.held) if i < 3000} == held, "whatever the seed and the rows that came"
    trained = np.concatenate([places(piece) for b in range(len(more.counts)) for piece in more.read(b)])
    assert not set(trained) & set(places(more.held))
    assert sorted({*trained, *places(more.held)}) == list(range(5000))
    assert len(trained) == len(more) == more.counts.sum()


def test_a_sample_is_bounded_and_spread(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "_MOST", 500)
    monkeypatch.setattr(large, "_LEAST", 100)
    monkeypatch.setattr(large, "_MOST_HELD", 50)
    numbered(tmp_path / "a.parquet", 20_000)
    kept = Kept(open_rows(tmp_path, stream=True).data, 0.1, seed=1)
    some = places(kept.some)
    assert 400 < len(some) < 600
    assert np.histogram(some, 4, (0, 20_000))[0] == pytest.approx(len(some) / 4, rel=0.3)
    assert 20 < len(kept.held) < 80
    assert not set(some) & set(places(kept.held))
    assert (hashed(places(kept.held)) < 0.1).all(), "those that are looked at are held out whatever is appended"
    again = Kept(open_rows(tmp_path, stream=True).data, 0.1, seed=1)
    assert again.some.equals(kept.some)
    assert not Kept(open_rows(tmp_path, stream=True).data, 0.1, seed=2).some.equals(kept.some)


def test_what_needs_all_rows_says_so(tmp_path):
    numbered(tmp_path / "a.parquet", 100)
    rows = open_rows(tmp_path, stream=True)
    with pytest.raises(DataError, match=r"all rows at once, and .* is read in stretches.*--no-stream"):
        rows.take([0])


def test_ahead_gives_the_same_and_passes_errors_on():
    assert list(ahead(iter(range(5)))) == [0, 1, 2, 3, 4]

    def broken():
        yield 1
        raise ValueError("two")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="two"):
        next(items)


# -- vectors -----------------------------------------------------------------------------------------


def vectors(n=500, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


SHARD = {
    ".npy": lambda x, path: np.save(path, x),
    ".safetensors": lambda x, path: safetensors.numpy.save_file({"acts": x, "bias": x[0]}, path),
    ".parquet": lambda x, path: pq.write_table(
        pa.table({"v": pa.FixedSizeListArray.from_arrays(x.ravel(), x.shape[1])}), path, row_group_size=99
    ),
}


@pytest.mark.parametrize("ending", SHARD)
@pytest.mark.parametrize("stream", [True, False])
def test_shards(tmp_path, ending, stream):
    parts = [vectors(100 + i, seed=i) for i in range(3)]
    for i, x in enumerate(parts):
        SHARD[ending](x, tmp_path / f"{i}{ending}")
    rows, whole = open_rows(tmp_path, stream=stream), np.concatenate(parts)
    assert rows.kind == "array"
    assert rows.large == stream
    if not stream:
        assert np.array_equal(rows.data, whole)
        return
    assert np.array_equal(np.concatenate([c.data for c in rows.chunks(70)]), whole)
    which = np.array([0, 99, 100, 250, 302])
    assert np.array_equal(rows.data.pick(which), whole[which])


def test_a_tensor_by_name_and_bfloat16(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    x = torch.randn(40, 5)
    save_file({"a": x.bfloat16(), "b": x}, tmp_path / "x.safetensors")
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileError, match=r"holds 2 tensors: [ab] \(40, 5\).*Say which.*x.safetensors:[ab]"):
        open_rows(path)
    assert np.array_equal(open_rows(f"{path}:a", stream=False).data, x.bfloat16().float().numpy())
    assert np.array_equal(open_rows(f"{path}:b", stream=True).data.whole(), x.numpy())
    with pytest.raises(FileError, match=r"holds no tensor 'c'. It holds: [ab]"):
        open_rows(f"{path}:c")


def test_a_vector_beside_other_columns_is_asked_for(tmp_path):
    x = vectors(30)
    t = pa.table({"id": np.arange(30), "v": [list(row) for row in x.astype(float)]})
    pq.write_table(t, tmp_path / "x.parquet")
    assert open_rows(tmp_path / "x.parquet").kind == "table"
    assert np.allclose(open_rows(tmp_path / "x.parquet", kind="array").data, x)
    rows = open_rows(tmp_path / "x.parquet", kind="array", stream=True)
    assert np.allclose(rows.data.whole(), x)


# -- what is wrong ---------------------------------------------------------------------------------


def bad_footer(folder):
    data = (folder / "part-1.parquet").read_bytes()
    (folder / "part-1.parquet").write_bytes(data[:-20])


def retyped(folder):
    pq.write_table(table(5).set_column(0, "a", pa.array(["x"] * 5)), folder / "part-1.parquet")


def lacking(folder):
    pq.write_table(table(5).drop_columns(["n"]), folder / "part-1.parquet")


def extra(folder):
    pq.write_table(table(5).append_column("z", pa.array([1] * 5)), folder / "part-2.parquet")


def nothing(folder):
    (folder / "part-1.parquet").write_bytes(b"")


def other_kind(folder):
    (folder / "x.csv").write_text("a\n1\n")


def loose(folder):
    (folder / "day=1").mkdir()
    pq.write_table(table(5), folder / "day=1" / "x.parquet")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (bad_footer, "'part-1.parquet' cannot be read as Parquet: it is damaged"),
        (retyped, r"column 'a' changes its type within .*: it is double in 'part-0.parquet' and string in 'part-1"),
        (lacking, r"'part-0.parquet' has 'n' and 'part-1.parquet' has not"),
        (extra, r"'part-2.parquet' has 'z' and 'part-0.parquet' has not"),
        (nothing, r"'part-1.parquet' is empty \(0 bytes\)"),
        (other_kind, r"one kind; .* holds 'part-0.parquet' and 'x.csv'.*\*.parquet"),
        (loose, "name the same columns; got"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
@pytest.mark.parametrize("stream", [True, False])
def test_bad_data_sets(tmp_path, spoil, said, stream):
    written(tmp_path, ".parquet")
    spoil(tmp_path)
    with pytest.raises((FileError, DataError), match=said):
        open_rows(tmp_path, stream=stream)


def test_a_file_without_rows_is_told(tmp_path):
    whole = written(tmp_path, ".parquet")
    pq.write_table(whole.slice(0, 0), tmp_path / "part-9.parquet")
    for stream in (True, False):
        rows = open_rows(tmp_path, stream=stream)
        assert len(rows) == len(whole)
        assert rows.remarks == ("part-9.parquet holds no rows.",)


def test_nothing_but_files_without_rows(tmp_path):
    pq.write_table(table(0), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="Found 0 sample"):
        open_rows(tmp_path, stream=True)


def test_a_file_that_vanishes_or_changes(tmp_path):
    written(tmp_path, ".parquet")
    rows = open_rows(tmp_path, stream=True)
    chunks = rows.chunks(300)
    next(chunks)
    os.remove(tmp_path / "part-2.parquet")
    with pytest.raises(FileError, match=r"'part-2.parquet' was there when the rows were opened"):
        list(chunks)
    written(tmp_path, ".parquet")
    rows = open_rows(tmp_path, stream=True)
    pq.write_table(table(3), tmp_path / "part-1.parquet")
    with pytest.raises(FileError, match=r"'part-1.parquet' was changed while the rows were read"):
        list(rows.chunks(300))


def test_a_damaged_row_group(tmp_path):
    written(tmp_path, ".parquet")
    path = tmp_path / "part-1.parquet"
    data = bytearray(path.read_bytes())
    meta = pq.read_metadata(path)
    at = meta.row_group(1).column(2).data_page_offset
    data[at : at + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    rows = open_rows(tmp_path, stream=True)
    with pytest.raises(FileError, match=r"'part-1.parquet' is damaged in its row group 2 of 4"):
        list(rows.chunks(300))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="whoever may read everything cannot see this")
def test_a_file_that_may_not_be_read(tmp_path):
    written(tmp_path, ".parquet")
    (tmp_path / "part-1.parquet").chmod(0)
    with pytest.raises(FileError, match="no permission"):
        open_rows(tmp_path, stream=True)


def test_a_refused_file_is_told(tmp_path, monkeypatch):
    written(tmp_path, ".parquet")
    real = os.open

    def refuse(path, *rest, **more):
        if str(path).endswith("part-1.parquet"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileError, match=r"Cannot read .*part-1.parquet: no permission"):
        open_rows(tmp_path, stream=True)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (vectors(10, 7), r"rows of one shape; those of '0.npy' have 6 numbers and those of '1.npy' 7 numbers"),
        (np.arange(10), r"rows of numbers, \(n, width\); '1.npy' has shape \(10,\)"),
        (np.ones((4, 6), int), r"of one kind; '0.npy' is float32 and '1.npy' int64"),
        (np.array([["a"] * 6]), r"hold numbers; '1.npy' is <U1"),
        (np.asfortranarray(vectors(10)), "stores columns first"),
    ],
    ids=["width", "one axis", "kind", "texts", "columns first"],
)
def test_bad_shards(tmp_path, second, said):
    np.save(tmp_path / "0.npy", vectors())
    np.save(tmp_path / "1.npy", second)
    with pytest.raises(DataError, match=said):
        open_rows(tmp_path, stream=True)


def test_objects_truncation_and_empty_shards(tmp_path):
    np.save(tmp_path / "0.npy", vectors())
    np.save(tmp_path / "1.npy", vectors(0))
    rows = open_rows(tmp_path, stream=True)
    assert len(rows) == 500
    assert rows.remarks == ("1.npy holds no rows.",)
    np.save(tmp_path / "1.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(FileError, match="could run code"):
        open_rows(tmp_path, stream=True)
    (tmp_path / "1.npy").write_bytes((tmp_path / "0.npy").read_bytes()[:-100])
    with pytest.raises(FileError, match=r"'1.npy' is cut short: its header promises 500 rows"):
        open_rows(tmp_path, stream=True)
    (tmp_path / "1.npy").write_bytes(b"garbage")
    with pytest.raises(FileError, match=r"'1.npy' cannot be read as .npy"):
        open_rows(tmp_path, stream=True)


@pytest.mark.parametrize("data", [b"\x00" * 100, b"\xff" * 8 + b"{}", b"\x02" + b"\x00" * 7 + b"[]", b"\x08\x00"])
def test_damaged_safetensors(tmp_path, data):
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(FileError, match=r"'x.safetensors' (cannot be read as .safetensors|holds 0 tensors)"):
        open_rows(tmp_path / "x.safetensors")


def test_an_arrow_stream_says_what_to_do(tmp_path):
    with pa.ipc.new_stream(tmp_path / "x.arrow", table().schema) as out:
        out.write_table(table())
    assert len(open_rows(tmp_path / "x.arrow")) == 1000
    with pytest.raises(FileError, match=r"Arrow stream.*new_file"):
        open_rows(tmp_path / "x.arrow", stream=True)
    feather.write_feather(table(), tmp_path / "x.feather")
    assert len(open_rows(tmp_path / "x.feather", stream=True)) == 1000


@pytest.mark.parametrize("late", [True, False])
def test_a_csv_of_two_encodings_is_read_cell_by_cell(tmp_path, monkeypatch, late):
    """As in memory, though no stretch knows the others."""
    monkeypatch.setattr("isthmus.data.dataset._CSV_BLOCK", 64)
    lines = [f"{i},größe".encode("latin-1" if (i > 30) == late else "utf8") for i in range(60)]
    (tmp_path / "x.csv").write_bytes(b"\n".join([b"a,b", *lines, b"60,plain"]) + b"\n")
    streamed, whole = (open_rows(tmp_path / "x.csv", stream=stream) for stream in (True, False))
    assert_same(streamed, whole)
    assert streamed.remarks == whole.remarks
    assert set(whole.data["b"].to_pylist()) == {"größe", "plain"}
    assert streamed.data.census()["b"].values == {"größe": 60, "plain": 1}


def test_a_line_that_does_not_end(tmp_path, monkeypatch):
    """It is refused before it is in memory."""
    monkeypatch.setattr("isthmus.data.dataset._CSV_BLOCK", 1 << 12)
    monkeypatch.setattr("isthmus.data.dataset._LONGEST", 1 << 14)
    read = []
    (tmp_path / "x.csv").write_bytes(b"a,b\n1,2\n" + b"x" * (1 << 20))
    monkeypatch.setattr("isthmus.data.dataset._line_end", lambda data: read.append(len(data)) or data.rfind(b"\n") + 1)
    with pytest.raises(FileError, match="longer than 1 MiB"):
        open_rows(tmp_path / "x.csv", stream=True)
    assert max(read) <= (1 << 14) + (1 << 12)


def test_a_quote_within_a_cell_opens_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.data.dataset._CSV_BLOCK", 256)
    monkeypatch.setattr("isthmus.data.dataset._LONGEST", 1024)
    lines = [f'{i},5" disk' if i == 7 else f"{i},tape" for i in range(2000)]
    (tmp_path / "x.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    streamed, whole = (open_rows(tmp_path / "x.csv", stream=stream) for stream in (True, False))
    assert_same(streamed, whole)
    assert len(streamed) == 2000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a,b\r1,2\r3,4\r", "carriage return alone"),
        (b'"a\nb",c\n1,2\n3,4\n', "goes over several lines"),
        (b"<!DOCTYPE html>\n<html></html>\n", "a web page"),
        (b'{"a": 1}\n{"a": 2}\n', "JSON lines"),
        (b"a,b\n" + b"1,2\n" * 50 + b"\x01\n", "\ufffd"),
    ],
    ids=["cr", "name", "html", "json", "binary"],
)
def test_no_csv(tmp_path, data, said):
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(FileError, match=said) as caught:
        open_rows(tmp_path / "x.csv", stream=True)
    assert str(caught.value).isprintable()


def test_names_in_quotes(tmp_path):
    (tmp_path / "x.csv").write_text('"a,b",c\n1,2\n3,4\n')
    streamed, whole = (open_rows(tmp_path / "x.csv", stream=stream) for stream in (True, False))
    assert_same(streamed, whole)
    assert streamed.data.column_names == ["a,b", "c"]


def test_a_damaged_page_that_was_summed_up(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(table(1000), path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    for stream in (True, False):
        with pytest.raises(FileError, match="damaged"):
            list(open_rows(path, stream=stream).chunks(100))


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    pq.write_table(table(10), tmp_path / "1.parquet")
    (tmp_path / "2.parquet").symlink_to(tmp_path / "gone.parquet")
    assert [(one.name, one.reason) for one in open_rows(tmp_path).skipped] == [
        ("2.parquet", "a link that leads nowhere")
    ]


def test_utf_16_says_what_to_do(tmp_path):
    (tmp_path / "x.csv").write_bytes("a\n1\n".encode("utf-16"))
    with pytest.raises(FileError, match=r"UTF-16.*Save it as UTF-8"):
        open_rows(tmp_path / "x.csv", stream=True)


def test_a_csv_with_a_broken_line(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n" + "1,2\n" * 3000 + "1,2,3\n")
    with pytest.raises(FileError, match="Every line needs the same number of cells"):
        open_rows(tmp_path / "x.csv", stream=True)
