"""Rows come back as promised from every kind of rows, or it is said why not."""

import contextlib
import json
import random
import struct

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from isthmus.app.cli import main
from isthmus.data.container import MAGIC, pack, unpack
from isthmus.errors import DataError, FileError, SpecError
from isthmus.model import Model, open_model
from isthmus.spec import Plan
from isthmus.tasks.compression.besides import besides
from isthmus.tasks.compression.compress import Inspected, compress, decompress
from isthmus.tasks.compression.packing import form_of, to_cells
from isthmus.tasks.compression.row_coder import WAYS, RowCoder

#: The detector that takes no time: nothing here is detected.
NATS = {"detector": "likelihood"}
QUICK = Plan(epochs=4, validation=0.1)


def waves(n=400, steps=48, seed=0):
    """Rows that a code of four numbers tells nearly all of."""
    chance = np.random.default_rng(seed)
    t = np.linspace(0, 6, steps)
    a, b, c, d = chance.normal(size=(4, n, 1))
    return (3 * a * np.sin(t) + 2 * b * np.cos(2 * t) + c * t + d + 0.02 * chance.normal(size=(n, steps))).astype("f4")


def people(n=600, seed=0):
    """A table with everything that a table may hold."""
    chance = np.random.default_rng(seed)
    income = np.exp(chance.normal(10, 1, n))
    city = chance.choice(["Köln", "Aix", "Bath, UK", ""], n)
    income[3], income[7], income[11], income[13] = np.nan, np.inf, -np.inf, 1e200
    when = np.datetime64("2024-03-01T12:00:00", "us") + chance.integers(0, 10**12, n).astype("timedelta64[us]")
    return pa.table({
        "income": pa.array(income, mask=chance.random(n) < 0.05),
        "height": pa.array((170 + 10 * chance.normal(size=n)).astype("f4")),
        "age": pa.array(chance.integers(18, 90, n), mask=chance.random(n) < 0.1),
        "id": pa.array(chance.integers(-(2**62), 2**62, n)),
        "big": pa.array(chance.integers(2**62, 2**63, n).astype("u8") * np.uint64(2)),
        "city": pa.array(city.tolist(), mask=chance.random(n) < 0.05),
        "note": pa.array([f"note {i} “{i * 7919 % 1000}”" for i in range(n)], mask=chance.random(n) < 0.05),
        "member": pa.array(chance.random(n) < 0.3, mask=chance.random(n) < 0.2),
        "when": pa.array(when),
        "day": pa.array(when.astype("datetime64[D]")),
        "kind": pa.array(chance.choice(["a", "b"], n).tolist()).dictionary_encode(),
        "empty": pa.nulls(n),
        "constant": pa.array([1.5] * n),
    })  # fmt: skip


@pytest.fixture(scope="module")
def answers():
    """Tables that two numbers nobody sees tell of."""

    def made(n, seed=0):
        chance = np.random.default_rng(seed)
        hidden = chance.normal(size=(n, 2))
        often = np.random.default_rng(7).normal(size=(2, 40))
        yes = chance.random((n, 40)) < 1 / (1 + np.exp(-3 * hidden @ often))
        colour = np.array(["red", "green", "blue"])[
            np.digitize(hidden[:, 0] + 0.3 * chance.normal(size=n), [-0.5, 0.5])
        ]
        return pa.table({
            **{f"q{j}": pa.array(yes[:, j], mask=chance.random(n) < 0.03) for j in range(38)},
            **{f"q{j}": yes[:, j].astype("i8") for j in (38, 39)},
            "colour": pa.array(colour.tolist(), mask=chance.random(n) < 0.05),
            "marks": pa.array(np.rint(20 + 5 * hidden[:, 1] + chance.normal(size=n)).astype("i4")),
            "weight": pa.array(70 + 9 * hidden[:, 0] + chance.normal(size=n), mask=chance.random(n) < 0.1),
        })  # fmt: skip

    return made


@pytest.fixture(scope="module")
def series():
    return Model.fit(waves(), latent_dim=4, plan=QUICK)


@pytest.fixture(scope="module")
def table():
    return Model.fit(people(), latent_dim=4, plan=QUICK, parts=NATS)


@pytest.fixture(scope="module")
def pictures():
    chance = np.random.default_rng(0)
    kinds = chance.normal(size=(1500, 3)) @ chance.normal(size=(3, 48)) * 40 + 100
    rows = np.clip(kinds + chance.normal(0, 12, kinds.shape), 0, 255).astype("u1").reshape(-1, 8, 6)
    plan = Plan(epochs=30, validation=0.1, batch_size=64)
    model = Model.fit(
        rows, "variational", latent_dim=3, plan=plan, parts={"likelihood": "pixels"} | NATS, warm_start=None
    )
    return model, rows


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("max_error", ["0.05", "1%", "1e-3", "x5=1,0.1"])
def test_no_number_is_further_away_than_promised(series, dtype, max_error):
    rows = waves(seed=1).astype(dtype)
    packed = compress(series, rows, max_error=max_error, compare=False)
    back = decompress(series, packed).rows
    assert back.dtype == rows.dtype
    assert back.shape == rows.shape
    away = np.abs(back.astype("f8") - rows.astype("f8"))
    wide = rows.astype("f8")
    low, high = np.quantile(wide, (0.25, 0.75), axis=0)
    deviation = np.minimum(wide.std(0), (high - low) / 1.349)
    most = {"0.05": 0.05, "1%": 0.01 * deviation, "1e-3": 1e-3}.get(max_error, np.where(np.arange(48) == 5, 1, 0.1))
    assert (away <= most * (1 + 1e-12)).all()
    assert packed.largest <= 1
    # the promise is used, not only kept
    if dtype != "f2":
        assert (away.max(0) > 0.9 * most * np.ones(48)).mean() > 0.9


def test_ties_and_what_no_grid_holds_keep_the_promise(series):
    rows = np.zeros((50, 48))
    rows[:] = np.arange(48) * 0.005 + np.arange(50)[:, None] * 0.015  # every other cell is half-way between two steps
    rows[0, :6] = [np.nan, np.inf, -np.inf, 1e300, -1e18, 5e-324]
    back = decompress(series, compress(series, rows, max_error="0.005", compare=False)).rows
    assert np.array_equal(back[0, :5], rows[0, :5], equal_nan=True)
    assert np.nanmax(np.abs(back[1:] - rows[1:])) <= 0.005


def test_what_the_model_tells_is_not_paid_for_again(series):
    """Four codes tell of 48 steps: far fewer bits than what is left beside the cells before."""
    rows = waves(3000, seed=2)
    packed = compress(series, rows, max_error="0.1")
    assert set(packed.ways) <= {"autoencoder", "PCA"}
    best = min(packed.beside, key=lambda one: one.size)
    assert len(packed.data) < 0.7 * best.size


def test_exact_is_exact(series):
    for rows in (waves(seed=3), waves(seed=3).astype("f8"), np.rint(50 * waves(seed=4)).astype("i2")):
        packed = compress(series, rows, compare=False)
        assert decompress(series, packed).rows.tobytes() == rows.tobytes()
        assert packed.promised is None


def test_a_table_comes_back_with_everything_that_it_held(table):
    rows = people(seed=1)
    packed = compress(table, rows, max_error="1%,height=0.5")
    back = decompress(table, packed).rows
    assert back.column_names == rows.column_names
    for name in rows.column_names:
        before = rows[name].combine_chunks()
        if name == "kind":
            before = before.cast(pa.string())
        after = back[name].combine_chunks()
        assert after.type == before.type
        assert after.is_null().equals(before.is_null())
        if name not in ("income", "height"):
            assert after.equals(before), name
    height = np.abs(back["height"].to_numpy().astype("f8") - rows["height"].to_numpy().astype("f8"))
    assert 0.45 < height.max() <= 0.5
    before, after = (np.asarray(t["income"].fill_null(0.0).to_numpy()) for t in (rows, back))
    assert np.array_equal(before[[3, 7, 11, 13]], after[[3, 7, 11, 13]], equal_nan=True)
    fine = np.isfinite(before) & (before < 1e100)
    assert packed.promised["income"] > 0
    assert np.abs(before[fine] - after[fine]).max() <= packed.promised["income"]


def test_a_table_without_a_promise_comes_back_to_the_last_bit(table):
    rows = people(seed=2)
    back = decompress(table, compress(table, rows, compare=False)).rows
    assert back["height"].equals(rows["height"])
    income = (np.asarray(t["income"].fill_null(-1.0).to_numpy()) for t in (rows, back))
    assert np.array_equal(*income, equal_nan=True)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_numbers_written_with_decimals_are_whole_ones_and_come_back_to_the_last_bit(table, series, dtype):
    chance = np.random.default_rng(0)
    price = np.rint(100 * np.exp(chance.normal(2, 0.5, 1000))) / 100
    price[:6] = -0.0, np.nan, np.inf, 1 / 3, 1e300 if dtype == "f8" else 1e30, -17.25
    rows = pa.table({"price": pa.array(price.astype(dtype), mask=chance.random(1000) < 0.02), "whole": price.round()})
    packed = compress(table, rows)
    back = decompress(table, packed).rows
    for name in rows.column_names:
        (one,), (other,) = rows[name].chunks, back[name].chunks
        assert one.is_null().equals(other.is_null())
        assert one.drop_null().to_numpy().tobytes() == other.drop_null().to_numpy().tobytes()
    assert len(packed.data) < 0.7 * next(one.size for one in packed.beside if one.name == "Parquet")
    # as an array, that a model of numbers on the same scale predicts
    written = (np.rint(1000 * waves(seed=6).astype("f8")) / 1000).astype(dtype)
    written[0, :3] = np.nan, -0.0, np.pi
    packed = compress(series, written, compare=False)
    assert decompress(series, packed).rows.tobytes() == written.tobytes()
    assert not {"zstd", "columns", "rows"} & set(packed.ways)
    written[0, 0] = np.array(0x7FF8000000000001 if dtype == "f8" else 0x7FC00001, f"u{dtype[1]}").view(dtype)
    assert decompress(series, compress(series, written, compare=False)).rows.tobytes() == written.tobytes()


def test_rows_in_time_are_told_by_the_row_above(table):
    n = 600
    rows = people().set_column(2, "age", pa.array(np.arange(n) * 3 + 10**6))
    packed = compress(table, rows.select(["age"]), compare=False)
    assert decompress(table, packed).rows.equals(rows.select(["age"]))
    assert len(packed.data) < 900


def test_pictures_come_back_pixel_by_pixel_bits_back(pictures, tmp_path):
    model, rows = pictures
    packed = compress(model, rows)
    assert packed.ways == {"bits-back": 1}
    assert {"PNG", "WebP"} <= {one.name for one in packed.beside}
    assert np.array_equal(decompress(model, packed).rows, rows)
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for i in range(5):
        Image.fromarray(rows[i]).save(folder / "deep" / f"{i}.png")
    back = decompress(model, compress(model, folder, compare=False))
    back.save(tmp_path / "out")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "deep" / "3.png")), rows[3])
    Image.fromarray(rows[0][:4]).save(folder / "small.png")
    with pytest.raises(DataError, match="4 x 6"):
        compress(model, folder)


def test_rows_beyond_what_the_model_saw_come_back(pictures, series):
    model, _ = pictures
    for odd in (np.zeros((1, 8, 6), "u1"), np.full((3, 8, 6), 255, "u1"), np.zeros((2, 8, 6), "u2") + 7):
        assert np.array_equal(decompress(model, compress(model, odd, compare=False)).rows, odd)
    wide = np.random.default_rng(0).normal(size=(20, 48)) * 1e12
    assert np.abs(decompress(series, compress(series, wide, max_error="1", compare=False)).rows - wide).max() <= 1


def test_a_file_reads_alike_wherever_it_is_read(series, pictures, tmp_path):
    """Other threads, without oneDNN, in float64, after saving and opening: the same rows from the same bytes."""
    model, images = pictures
    made = [(series, waves(seed=5), "0.05"), (model, images, None)]
    files = [compress(m, rows, max_error=e, compare=False) for m, rows, e in made]
    for (m, _, _), packed in zip(made, files, strict=True):
        assert not {"zstd", "columns", "rows"} & set(packed.ways)
        reference = decompress(m, packed).rows
        m.save(tmp_path / "m.isthmus")
        again = open_model(tmp_path / "m.isthmus", device="cpu")
        assert again.fingerprint == m.fingerprint
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(3)
            with torch.backends.mkldnn.flags(enabled=False):
                assert np.array_equal(decompress(again, packed).rows, reference)
        finally:
            torch.set_num_threads(threads)


def test_a_variational_table_gives_bits_back(answers):
    """Answers of yes and no, categories, marks and missing cells, of which a few numbers tell: no other way is smaller,
    and what the model has never seen comes back too.
    """
    rows = answers(1500, seed=1)
    model = Model.fit(answers(3000), "variational", latent_dim=2, warm_start=None, parts=NATS,
                      plan=Plan(epochs=10, validation=0.1, batch_size=64, learning_rate=3e-3))  # fmt: skip
    packed = compress(model, rows, max_error="0.05", compare=False)
    assert packed.ways == {"bits-back": 1}
    back = decompress(model, packed).rows
    for name in rows.column_names:
        assert back[name].is_null().equals(rows[name].is_null()), name
        if name != "weight":
            assert back[name].equals(rows[name]), name
    away = np.abs(back["weight"].to_numpy() - rows["weight"].to_numpy())
    assert np.nanmax(away) <= 0.05
    # a category that is new, numbers far outside, and two that are new at once
    place = rows.column_names.index("colour")
    odd = rows.set_column(place, "colour", pa.array(["new", "newer", None, *rows["colour"].to_pylist()[3:]]))
    place = rows.column_names.index("marks")
    odd = odd.set_column(place, "marks", pa.array([10**6, -(10**6), *rows["marks"].to_pylist()[2:]]))
    packed = compress(model, odd, max_error="0.05", compare=False)
    assert packed.ways == {"bits-back": 1}
    again = decompress(model, packed).rows
    assert again["colour"].equals(odd["colour"])
    assert again["marks"].equals(odd["marks"])
    coder = RowCoder(model, form_of(rows, "0.05"))
    cells = to_cells(rows, coder.form)
    data, threads = coder.bits_back.encode(cells), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with torch.backends.mkldnn.flags(enabled=False):
            other = RowCoder(model, coder.form).bits_back
            assert np.array_equal(other.decode(data, len(rows), cells.states), np.where(cells.states, 0, cells.q))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
def test_variational_arrays_of_any_whole_numbers_give_bits_back(dtype):
    """Also 16 bits, of which some are below 0, and numbers on a grid."""
    chance = np.random.default_rng(0)
    code = chance.normal(size=(1500, 2))
    rows = code @ chance.normal(size=(2, 12)) * 900 + 60 * chance.normal(size=(1500, 12))
    rows = (rows + 20_000 * (dtype == "uint16")).astype(dtype)
    plan = Plan(epochs=6, validation=0.1, batch_size=64, learning_rate=3e-3)
    model = Model.fit(rows, "variational", latent_dim=2, plan=plan, parts=NATS)
    coder = RowCoder(model, form_of(rows, "0.5"))
    cells = to_cells(rows, coder.form)
    data = coder.bits_back.encode(cells)
    assert np.array_equal(coder.bits_back.decode(data, len(rows), cells.states), cells.q)
    # each column by itself costs what its spread does
    alone = np.log2(rows.astype(float).std(0) * np.sqrt(2 * np.pi * np.e)).sum()
    assert 8 * len(data) / len(rows) < 0.85 * alone
    back = decompress(model, compress(model, rows[:50], max_error="0.5", compare=False)).rows
    assert np.abs(back.astype(float) - rows[:50]).max() <= 0.5


def test_another_model_is_told_apart(series, table):
    packed = compress(series, waves(60), max_error="1%", compare=False)
    with pytest.raises(FileError, match="another model"):
        decompress(table, packed.data)


def test_a_damaged_chunk_loses_its_rows_and_says_which(series, tmp_path):
    rows = waves(100)
    packed = compress(series, rows, max_error="1%", chunk_rows=30, compare=False)
    whole = decompress(series, packed).rows
    chunk = unpack(packed.data).chunks[1]
    broken = bytearray(packed.data)
    broken[chunk.begin + 5] ^= 1
    with pytest.raises(FileError, match=r"30 to 59: 1 of 4 chunks.*salvage"):
        decompress(series, bytes(broken))
    back = decompress(series, bytes(broken), salvage=True)
    assert np.array_equal(back.rows, np.delete(whole, np.s_[30:60], 0))
    assert "30 of 100 rows are lost" in back.remark
    assert Inspected.of(bytes(broken)).damaged == 1


def test_damaged_neighbours_are_told_together(series):
    packed = compress(series, waves(100), max_error="1%", chunk_rows=10, compare=False)
    broken = bytearray(packed.data)
    for number in (2, 3, 7):
        broken[unpack(packed.data).chunks[number].begin + 5] ^= 1
    with pytest.raises(FileError, match="30 of 100 rows are lost, 20 to 39, 70 to 79: 3 of 10 chunks"):
        decompress(series, bytes(broken))


def test_seconds_are_those_of_coding_alone(series, monkeypatch):
    now = [0.0]

    def takes(seconds, function):
        def slow(*args):
            now[0] += seconds
            return function(*args)

        return slow

    monkeypatch.setattr("isthmus.tasks.compression.rows_packed.perf_counter", lambda: now[0])
    monkeypatch.setattr(RowCoder, "encode", takes(2, RowCoder.encode))
    monkeypatch.setattr("isthmus.tasks.compression.rows_packed.besides", takes(100, besides))
    assert compress(series, waves(40), max_error="1%", chunk_rows=20).seconds == 4.0


def test_hundreds_of_damaged_files_never_give_wrong_rows(series, damaged):
    rows = waves(60)
    packed = compress(series, rows, max_error="1%", chunk_rows=20, compare=False)
    whole, chance = decompress(series, packed).rows, random.Random(0)
    seen = {"refused": 0, "salvaged": 0, "whole": 0}
    for _ in range(400):
        broken = damaged(packed.data, chance)
        try:
            back = decompress(series, broken, salvage=True)
        except FileError:
            seen["refused"] += 1
            continue
        kept = [whole[i : i + 20] for i in (0, 20, 40) if _within(back.rows, whole[i : i + 20])]
        assert np.array_equal(back.rows, np.concatenate(kept))
        seen["whole" if len(kept) == 3 else "salvaged"] += 1
        assert back.remark or broken == packed.data
    assert seen["refused"] > 50
    assert seen["salvaged"] > 50


def _within(rows, part):
    return any(np.array_equal(rows[i : i + len(part)], part) for i in range(0, len(rows), 20))


def test_forged_files_with_right_checksums_do_no_harm(series, table, pictures):
    """Whoever forges a file can put other rows into it; nobody can make it hang, crash or take the memory."""
    model, images = pictures
    for m, packed in (
        (series, compress(series, waves(60), max_error="1%", compare=False)),
        (table, compress(table, people(60), max_error="1%", compare=False)),
        (model, compress(model, images[:40], compare=False)),
    ):
        container, chance = unpack(packed.data), random.Random(1)
        for i in range(150):
            chunks = []
            for chunk in container.chunks:
                data = bytearray(container.read(chunk))
                for _ in range(chance.randint(1, 4)):
                    # half of them where sizes and tables stand
                    data[chance.randrange(len(data) if i % 2 else min(len(data), 400))] ^= 1 << chance.randrange(8)
                chunks.append((chunk.rows, bytes(data)))
            with contextlib.suppress(FileError):
                decompress(m, pack(container.header, chunks))


@pytest.mark.parametrize("names", [["../x.png"], ["/etc/x.png"], ["a/../../x.png"], ["c:\\x.png"], [""], "x", [1]])
def test_names_stay_within_their_folder(pictures, names):
    model, images = pictures
    container = unpack(compress(model, images[:1], compare=False).data)
    chunks = [(chunk.rows, container.read(chunk)) for chunk in container.chunks]
    with pytest.raises(FileError, match="names within a folder"):
        decompress(model, pack({**container.header, "names": names}, chunks))


@pytest.mark.parametrize("form", [None, {}, {"shape": [10**9]}, {"shape": [48], "alike": ["a", "f4", "number", -1, []]},
                                  {"shape": None, "columns": [["a", "pickle", "raw", None, []]] * 48}])  # fmt: skip
def test_impossible_forms_are_refused(series, form):
    container = unpack(compress(series, waves(5), max_error="1", compare=False).data)
    chunks = [(chunk.rows, container.read(chunk)) for chunk in container.chunks]
    with pytest.raises(FileError):
        decompress(series, pack({**container.header, "form": form}, chunks))


def test_what_cannot_be_said_or_kept_is_refused(series, tmp_path):
    for wrong in ("0", "-1", "x", "nan", "1%%"):
        with pytest.raises(SpecError, match="max_error is a number above 0"):
            compress(series, waves(5), max_error=wrong)
    with pytest.raises(SpecError, match="No column is called 'x99'"):
        compress(series, waves(5), max_error="x99=1")
    with pytest.raises(FileError, match=r"\.isz"):
        compress(series, waves(5), max_error="1", compare=False).save(tmp_path / "a.zip")


def test_from_the_command_line(table, tmp_path, capsys):
    parquet.write_table(people(seed=3), tmp_path / "new.parquet")
    table.save(tmp_path / "m.isthmus")
    model, packed = str(tmp_path / "m.isthmus"), str(tmp_path / "new.isz")
    assert main(["compress", model, str(tmp_path / "new.parquet"), "-o", packed, "--max-error", "1%"]) == 0
    said = capsys.readouterr().out
    assert "times fewer" in said
    assert "xz" in said
    assert main(["info", packed]) == 0
    assert "13 columns" in capsys.readouterr().out
    assert main(["info", packed, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 600
    assert main(["decompress", model, packed, "-o", str(tmp_path / "back.parquet")]) == 0
    assert parquet.read_table(tmp_path / "back.parquet")["note"].equals(people(seed=3)["note"])
    (tmp_path / "new.isz").write_bytes((tmp_path / "new.isz").read_bytes()[:-40])
    capsys.readouterr()
    assert main(["decompress", model, packed, "-o", str(tmp_path / "back.parquet")]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_every_way_has_a_number_of_its_own():
    """The first byte of a chunk: these stand in files, so they stay."""
    assert WAYS == ("zstd", "columns", "rows", "autoencoder", "PCA", "bits-back", "waves")
    assert MAGIC == b"\x89ISZ\r\n\x1a\n"
    assert struct.calcsize("<8sII") == 16
