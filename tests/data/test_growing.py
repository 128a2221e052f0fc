"""A table that grows is whole after every addition, and after a stop it goes on to the same end."""

import io
import os
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from isthmus.data import growing
from isthmus.data.footers import Footer
from isthmus.data.growing import Behind, Growing
from isthmus.errors import FileError


def piece(i, n=100):
    g = np.random.default_rng(i)
    return pa.table(
        {
            "a": g.normal(size=n),
            "s": pa.array([None if k == 0 else f"{k}" for k in g.integers(0, 4, n)]),
            "b": g.random(n) < 0.5,
            "t": pa.array(g.integers(0, 10**9, n)).cast(pa.timestamp("us")),
            "v": pa.array([[float(k)] * (k % 3) for k in range(n)], pa.list_(pa.float64())),
        }
    )


PIECES = [piece(i, n) for i, n in enumerate((100, 1, 77, 300, 5))]
FLAT = [p.drop_columns(["v"]) for p in PIECES]


def read(path):
    return pq.read_table(path) if ".parquet" in str(path) else pc.read_csv(path)


def pieces(ending):
    return PIECES if ending == ".parquet" else FLAT


def written(path, parts):
    with Growing(path, "mark") as out:
        for part in parts:
            out.add(part, {})
    return path.read_bytes()


class Stop(Exception):
    pass


def stopped(path, parts, mark="mark"):
    """The file that was begun, and left behind."""
    out = Growing(path, mark)
    with pytest.raises(Stop), out:
        _add_and_stop(out, parts)
    return out


def _add_and_stop(out, parts):
    for i, part in enumerate(parts):
        out.add(part, {"done": i + 1})
    raise Stop


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv"])
@pytest.mark.parametrize("at", range(6))
def test_stopped_and_taken_up_again(tmp_path, ending, at):
    parts = pieces(ending)
    whole = written(tmp_path / f"whole{ending}", parts)
    path = tmp_path / f"x{ending}"
    out = stopped(path, parts[:at])
    assert not path.exists(), "what is not whole has not its name"
    if at and ending == ".parquet":
        assert pq.read_table(out.part).equals(pa.concat_tables(parts[:at])), "and yet it is a whole file"
    with Growing(path, "mark", resume=True) as out:
        assert out.n_rows == sum(map(len, parts[:at]))
        assert out.state == ({"done": at} if at else {})
        for part in parts[at:]:
            out.add(part, {})
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == [f"whole{ending}", f"x{ending}"] or len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_killed(tmp_path, ending, monkeypatch):
    """The note is older than what was written, and the last addition was cut short."""
    parts = pieces(ending)
    whole = written(tmp_path / f"whole{ending}", parts)
    path = tmp_path / f"x{ending}"
    monkeypatch.setattr(growing, "EVERY", -1.0)
    out = Growing(path, "mark").__enter__()
    out.add(parts[0], {"done": 1})
    out.add(parts[1], {"done": 2})
    monkeypatch.setattr(growing, "EVERY", 1e9)
    out.add(parts[2], {"done": 3})
    if ending == ".parquet":
        assert pq.read_table(out.part).equals(pa.concat_tables(parts[:3])), "whole at any time"
    out._file.close()
    with open(out.part, "r+b") as file:
        file.truncate(out.part.stat().st_size - 40)
    with Growing(path, "mark", resume=True) as again:
        assert again.state == {"done": 2}
        for part in parts[2:]:
            again.add(part, {})
    assert path.read_bytes() == whole


def test_it_is_an_ordinary_parquet_file(tmp_path):
    written(tmp_path / "x.parquet", PIECES)
    meta = pq.read_metadata(tmp_path / "x.parquet")
    assert (meta.num_rows, meta.num_row_groups) == (483, 5)
    assert pq.read_table(tmp_path / "x.parquet").equals(pa.concat_tables(PIECES))
    # statistics and places are each group's own
    found = pq.read_table(tmp_path / "x.parquet", filters=[("a", ">", 2.5)])
    assert found.num_rows == (pa.concat_tables(PIECES)["a"].to_numpy() > 2.5).sum()
    assert pq.ParquetFile(tmp_path / "x.parquet").read_row_group(3).equals(PIECES[3])


@pytest.mark.parametrize("options", [{}, {"compression": "zstd", "use_dictionary": False}, {"write_page_index": True}])
def test_a_footer_that_was_read_is_written_as_it_was(options):
    out = io.BytesIO()
    pq.write_table(pa.concat_tables(PIECES), out, row_group_size=90, **options)
    data = out.getvalue()
    length = int.from_bytes(data[-8:-4], "little")
    said = data[-8 - length : -8]
    assert Footer.read(said).written() == data[-8 - length :]
    moved = Footer.read(said, 1000).written()
    assert moved != data[-8 - length :]
    assert Footer.read(moved[:-8], -1000).written() == data[-8 - length :]


def test_another_run_is_not_taken_up(tmp_path):
    path = tmp_path / "x.csv"
    out = stopped(path, FLAT[:1])
    with pytest.raises(FileError, match=r"belongs to another run .*Delete it, or give the options"):
        Growing(path, "other", resume=True)
    out.note.write_text("{")
    with pytest.raises(FileError, match="damaged"):
        Growing(path, "mark", resume=True)
    with Growing(path, "other") as out:
        out.add(FLAT[1], {})
    assert len(pc.read_csv(path)) == 1, "without resume it begins anew"


def test_a_file_that_was_there_stays_until_the_end(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("old")
    stopped(path, FLAT[:1])
    assert path.read_text() == "old"


def test_formats_that_cannot_grow(tmp_path):
    with pytest.raises(FileError, match=r"written as .csv, .tsv, .parquet; 'x.npy' is none. Say -o x.parquet"):
        Growing(tmp_path / "x.npy", "mark")


def test_a_full_disk_is_told(tmp_path):
    with pytest.raises(FileError, match="Cannot write"), Growing(tmp_path / "no" / "x.csv", "mark"):
        pass


def test_what_is_called_behind_keeps_its_order_and_says_what_failed():
    done = []

    def late(i):
        time.sleep(0.01 if i == 0 else 0)
        if i == 3:
            raise OSError("full")
        done.append(i)

    with Behind(late) as call:
        for i in range(3):
            call(i)
    assert done == [0, 1, 2]
    with pytest.raises(OSError, match="full"), Behind(late) as call:
        call(3)

    # what ended the work is told, and what was begun is done
    def stopped():
        with Behind(late) as call:
            call(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert done == [0, 1, 2, 4]
