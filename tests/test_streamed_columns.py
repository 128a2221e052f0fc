"""What stands beside rows that stream, and what is known of all of them: the same as in memory."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from isthmus import open_rows
from isthmus.conditions import with_condition
from isthmus.data.census import counted
from isthmus.data.container import unpack
from isthmus.data.large import hashed
from isthmus.data.targets import with_target
from isthmus.errors import DataError, FileError
from isthmus.fitting import feed, split
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.codes import encode, reconstruct, rows_where
from isthmus.tasks.compression.compress import compress, decompress
from isthmus.tasks.detection.detect import detect
from isthmus.tasks.features.heads import fit_head, predict

PLAN = Plan(epochs=2, batch_size=32, patience=None, seed=3)
QUICK = {"detector": "likelihood", "encoder": {"widths": [16]}, "decoder": {"widths": [16]}}
SIZES = (700, 400, 500)


def table(n, seed=0, levels=("up", "down")):
    g = np.random.default_rng(seed)
    z = g.normal(size=(n, 2))
    x = z @ np.random.default_rng(0).normal(size=(2, 5)) + 0.2 * g.normal(size=(n, 5))
    strange = g.random(n) < 0.06
    x[strange] += 2 * g.normal(size=(int(strange.sum()), 5))
    said = g.random(n) < 0.7
    columns = {f"f{j}": x[:, j] for j in range(5)}
    columns["kind"] = np.where(z[:, 0] > 0, *levels)
    columns["label"] = pa.array(
        [("attack" if s else "normal") if k else None for s, k in zip(strange, said, strict=True)]
    )
    columns["grade"] = pa.array([float(v) if k else None for v, k in zip(z[:, 1], said, strict=True)])
    return pa.table(columns)


LABELS = {"kinds": {"label": "ignore", "grade": "ignore"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("rows")
    for i, n in enumerate(SIZES):
        pq.write_table(table(n, i), where / f"part-{i}.parquet", row_group_size=150)
    return where


@pytest.fixture
def small(monkeypatch):
    """Buffers, samples and stretches that a test's few rows are larger than."""
    monkeypatch.setattr("isthmus.fitting._BUFFER", 1 << 14)
    monkeypatch.setattr("isthmus.data.large._MOST", 600)
    monkeypatch.setattr("isthmus.data.large._MOST_HELD", 100)
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)


def fit(source, stream=True, plan=PLAN, **options):
    options = {"modality_options": LABELS, **options}
    return Model.fit(open_rows(source, stream=stream), plan=plan, latent_dim=2, parts=QUICK, device="cpu", **options)


@pytest.fixture(scope="module")
def model(folder):
    return fit(folder, stream=False)


def both(folder):
    return (open_rows(folder, stream=stream) for stream in (True, False))


def same(a, b):
    weights, others = a.net.state_dict(), b.net.state_dict()
    assert all(torch.equal(t, others[name]) for name, t in weights.items())
    assert np.array_equal(a.calibration, b.calibration)


# -- what stands beside rows -----------------------------------------------------------------------


def test_a_column_that_steers_stays_with_its_row(folder, small):
    rows = with_condition(open_rows(folder, stream=True), "kind")
    assert rows.data.column_names == ["f0", "f1", "f2", "f3", "f4", "label", "grade"]
    kept, held = split(rows, PLAN)
    fed = feed(kept, held, None, LABELS)
    whole = open_rows(folder, stream=False)
    ups = fed.modality.to_tensors(whole)["x"][torch.from_numpy(whole.data["kind"].to_numpy() == "up"), 0]
    seen = list(fed.batches(PLAN).epoch(0))
    # the first place is for what was never seen
    told = torch.cat([b["condition"] for b in seen])[:, fed.conditions.table.columns[0].levels.index("up") + 1] > 0.5
    first = torch.cat([b["x"] for b in seen])[:, 0]
    assert len(first) == len(rows) - int((hashed(np.arange(len(rows))) < 0.1).sum())
    assert set(first[told].tolist()) <= set(ups.tolist()), "every row that is told to be 'up' is"
    assert not set(first[~told].tolist()) & set(ups.tolist())


def test_steered_as_in_memory(folder, small):
    streamed = fit(folder, condition="kind")
    assert streamed.conditions.names == ["kind"]
    assert "kind" not in streamed.modality.looks_at
    large, whole = both(folder)
    assert np.array_equal(np.concatenate([one.codes for one in encode(streamed, large)]), streamed.encode(whole))
    assert np.array_equal(streamed.score(large), streamed.score(whole))
    back = pa.concat_tables([one.to_table() for one in reconstruct(streamed, large)])
    assert back.equals(streamed.reconstruct(whole))


@pytest.mark.parametrize("beside", [{"condition": "kind"}, {}], ids=["condition", "target"])
def test_resumed_bit_for_bit(folder, tmp_path, small, beside):
    class Killed(Exception):
        pass

    def die(epoch):
        raise Killed

    if not beside:
        beside = {"target": open_rows(folder, stream=True)}
    with pytest.raises(Killed):
        fit(folder, checkpoint=tmp_path / "c", callbacks=[die], **beside)
    same(fit(folder, checkpoint=tmp_path / "c", resume=True, **beside), fit(folder, **beside))


@pytest.mark.parametrize("large", [True, False], ids=["files", "memory"])
def test_targets_are_read_in_step(tmp_path, small, large):
    """Shards of other sizes than those of the rows: target = 2 x for every row of every batch."""
    x = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    for name, cuts, values in (("x", (400, 700), x), ("t", (130, 131, 900), 2 * x)):
        (tmp_path / name).mkdir()
        for i, part in enumerate(np.split(values, cuts)):
            np.save(tmp_path / name / f"{i}.npy", part)
    target = open_rows(tmp_path / "t", stream=large)
    rows = with_target(open_rows(tmp_path / "x", stream=True), target)
    kept, held = split(rows, PLAN)
    fed = feed(kept, held, None, {"scaling": "none"})
    seen = [*fed.batches(PLAN).epoch(0), fed.tensors, fed.held]
    assert all(torch.equal(b["target"], 2 * b["x"]) for b in seen)
    assert sum(len(b["x"]) for b in seen[:-2]) == len(kept)


def test_a_target_for_each_row(folder, tmp_path):
    np.save(tmp_path / "t.npy", np.zeros((1600, 3)))
    pq.write_table(table(100), tmp_path / "few.parquet")
    with pytest.raises(DataError, match="one kind"):
        fit(folder, target=open_rows(tmp_path / "t.npy", stream=True))
    with pytest.raises(DataError, match=r"1,600 rows .* and 100 targets"):
        fit(folder, target=open_rows(tmp_path / "few.parquet", stream=True))


# -- labels ----------------------------------------------------------------------------------------


def test_labels_judge_as_in_memory(model, folder, tmp_path, small):
    large, whole = both(folder)
    found, known = detect(model, large, labels="label"), detect(model, whole, labels="label")
    found.save(tmp_path / "a.parquet")
    known.save(tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "a.parquet").equals(pq.read_table(tmp_path / "b.parquet"))
    assert found.summary() == known.summary()
    assert found.to_json()["labels"] == known.to_json()["labels"]
    cells = whole.data["label"].to_pylist()
    assert detect(model, open_rows(folder, stream=True), labels=cells).summary() == known.summary()


def test_labels_are_looked_at_before_anything_is_scored(model, folder, monkeypatch):
    monkeypatch.setattr("isthmus.model.Model.contributions", lambda *a, **k: pytest.fail("scored"))
    rows = open_rows(folder, stream=True)
    for labels, said in (("kind", "as one of its own"), ("nowhere", "No column"), ([1] * 5, "5 labels")):
        with pytest.raises(DataError, match=said):
            detect(model, rows, labels=labels)
    with pytest.raises(DataError, match="All of the 1,600 labels say normal"):
        detect(model, rows, labels=[0] * 1600)


@pytest.mark.parametrize("label", ["label", "grade"])
def test_heads_as_in_memory(model, folder, tmp_path, monkeypatch, label):
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)
    large, whole = both(folder)
    heads = [fit_head(model, rows, label, fine_tune=False) for rows in (large, whole)]
    assert all(torch.equal(a, b) for a, b in zip(*(one.head.state_dict().values() for one in heads), strict=True))
    large, whole = both(folder)
    found, known = (predict(heads[0], rows, label=label) for rows in (large, whole))
    assert found.summary() == known.summary()
    found.save(tmp_path / "a.parquet")
    known.save(tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "a.parquet").equals(pq.read_table(tmp_path / "b.parquet"))


def test_heads_look_at_so_many(model, folder, small, monkeypatch):
    monkeypatch.setattr("isthmus.tasks.features.labelled._OTHERS", 50)
    told = []
    taught = fit_head(model, open_rows(folder, stream=True), "label", fine_tune=False, told=told.append)
    assert taught.head.record["labels"] == 600
    assert any("600 of 1,1" in line and "50 of 4" in line for line in told), told


# -- what is known of all rows ---------------------------------------------------------------------


def test_what_only_the_last_file_holds_is_known(tmp_path, small):
    rows = [table(n, i, ("up", "down") if i < 2 else ("up", "left")) for i, n in enumerate(SIZES)]
    for i, one in enumerate(rows):
        last = (np.arange(len(one)) == 499) & (i == 2)
        more = {
            "flag": last.astype(int), "count": 7 * last, "still": 1.5 + last,
            "gone": pa.array(np.arange(len(one), dtype=float), mask=last),
            "day": pa.array(40 * 86400 * last, pa.timestamp("s")),
        }  # fmt: skip
        for name, cells in more.items():
            one = one.append_column(name, pa.array(cells))
        pq.write_table(one, tmp_path / f"{i}.parquet", row_group_size=150)
    place = sum(SIZES) - 1
    assert hashed(np.array([place])) >= 0.1, "in training"
    streamed, whole = (fit(tmp_path, stream=stream) for stream in (True, False))
    kinds = [{c.name: (c.kind, c.levels) for c in m.modality.columns} for m in (streamed, whole)]
    assert kinds[0] == kinds[1]
    assert kinds[0]["kind"] == ("categorical", ("up", "down", "left"))
    assert [kinds[0][name][0] for name in ("flag", "count", "still", "day")] == [
        "boolean",
        "numeric",
        "numeric",
        "date",
    ]
    assert streamed.spec.tell_missing, "one cell of all is missing"
    assert whole.spec.tell_missing


@pytest.mark.parametrize("how", ["parquet", "no statistics", "arrow", "csv", "day="])
def test_counts_are_those_of_all_rows(tmp_path, how, monkeypatch):
    monkeypatch.setattr("isthmus.data.dataset._CSV_BLOCK", 2000)
    for i, n in enumerate((300, 200)):
        g = np.random.default_rng(i)
        one = pa.table({
            "x": pa.array(np.where(g.random(n) < 0.1, np.nan, g.normal(size=n)), from_pandas=True),
            "n": g.integers(0, 9, n), "k": pa.array([None if c == "c" else c for c in g.choice(list("abc"), n)]),
        })  # fmt: skip
        where = tmp_path / (f"day={i}" if how == "day=" else "")
        where.mkdir(exist_ok=True)
        if how == "arrow":
            with pa.ipc.new_file(where / f"{i}.arrow", one.schema) as file:
                file.write_table(one)
        elif how == "csv":
            pa.csv.write_csv(one, where / f"{i}.csv")
        else:
            pq.write_table(one, where / f"{i}.parquet", row_group_size=90, write_statistics=how != "no statistics")
    rows = open_rows(tmp_path, stream=True).data
    whole, found = rows.whole(), rows.census(["n"])
    x = whole["x"].to_numpy()
    assert (found["x"].n, found["x"].missing) == (500, int(np.isnan(x).sum()))
    assert (found["x"].low, found["x"].high) == pytest.approx((np.nanmin(x), np.nanmax(x)))
    for name in ("n", "k"):
        counted = whole[name].drop_null().value_counts()
        assert found[name].values == dict(
            zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
        )
        assert found[name].missing == whole[name].null_count
    if how == "day=":
        assert (found["day"].low, found["day"].high, found["day"].missing) == (0, 1, 0)
    assert [cell for piece in rows.column("k") for cell in piece.to_pylist()] == whole["k"].to_pylist()


@pytest.mark.parametrize(
    ("cells", "low", "high", "missing"),
    [
        (pa.array([1.5, None, float("nan"), -2.0], pa.float16()), -2.0, 1.5, 2),
        (pa.array([True, None]), True, True, 1),
        (pa.array(["a", "", None]), None, None, 2),
        (pa.array(["b", "b"]).dictionary_encode(), None, None, 0),
        (pa.array([None, None], pa.null()), None, None, 2),
        (pa.array([3, 1]).cast(pa.decimal128(30, 2)), 1, 3, 0),
    ],
    ids=lambda cells: str(cells.type) if hasattr(cells, "type") else "",
)
def test_cells_of_any_type_are_counted(cells, low, high, missing):
    found = counted(pa.chunked_array([cells]))
    assert (found.n, found.missing) == (len(cells), missing)
    assert (found.low, found.high) == (low, high)


def test_a_csv_column_that_changes_its_type_is_counted_again(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.data.dataset._CSV_BLOCK", 200)
    cells = [f"{i % 7:03}" for i in range(100)] + ["left"] * 3
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{cell},1\n" for cell in cells))
    rows = open_rows(tmp_path / "x.csv", stream=True).data
    assert rows.census()["a"].values == {**{f"{i:03}": 14 + (i < 2) for i in range(7)}, "left": 3}


def test_too_many_categories_are_hashed_and_identifiers_set_aside(tmp_path, small, monkeypatch):
    for module in ("data.census", "modalities.columns.base"):
        monkeypatch.setattr(f"isthmus.{module}.MOST", 100)
    n = 6000
    g = np.random.default_rng(0)
    many = g.integers(0, 400, n)
    rows = table(n).append_column("many", pa.array([f"m{i}" for i in many]))
    rows = rows.append_column("key", pa.array([f"k{i}" for i in range(n)]))
    pq.write_table(rows, tmp_path / "x.parquet", row_group_size=500)
    streamed, whole = (feed(*split(rows, PLAN), None, LABELS).modality for rows in both(tmp_path / "x.parquet"))
    for face in (streamed, whole):
        kinds = {c.name: c.kind for c in face.columns}
        assert (kinds["many"], kinds["key"]) == ("hashed", "aside")
    assert any("more than 100 categories" in line for line in streamed.describe())


def test_held_out_as_in_memory(folder, monkeypatch):
    monkeypatch.setattr("isthmus.fitting._MANY", 1000)
    held = [split(rows, PLAN.replace(seed=seed))[1] for seed, rows in enumerate(both(folder))]
    assert held[0].data.equals(held[1].data.combine_chunks())


# -- compression -----------------------------------------------------------------------------------


@pytest.mark.parametrize("max_error", [None, "1%"])
def test_compressed_as_in_memory(model, folder, tmp_path, max_error):
    large, whole = both(folder)
    options = {"max_error": max_error, "chunk_rows": 500}
    found, known = compress(model, large, **options), compress(model, whole, **options)
    seen = []
    found.watch = seen.append
    found.save(tmp_path / "a.isz")
    known.save(tmp_path / "b.isz")
    assert seen == [500, 1000, 1500, 1600]
    assert (tmp_path / "a.isz").stat().st_size == len(found.found.data)
    back, other = (decompress(model, tmp_path / name).rows for name in ("a.isz", "b.isz"))
    assert back.num_rows == 1600
    if max_error == "1%":  # of the spread of some rows
        assert np.abs(back["f0"].to_numpy() - whole.data["f0"].to_numpy()).max() <= found.found.promised["f0"]
        assert back.drop_columns([f"f{j}" for j in range(5)] + ["grade"]).equals(
            other.drop_columns([f"f{j}" for j in range(5)] + ["grade"])
        )
    else:
        assert back.equals(other)
        files = [unpack(tmp_path / name) for name in ("a.isz", "b.isz")]
        assert [one.crc for one in files[0].chunks] == [one.crc for one in files[1].chunks], "byte for byte"
    assert len(list(tmp_path.iterdir())) == 2, "and nothing half written"


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_stopped_packing_ends_with_the_same_bytes(model, folder, tmp_path, chunks):
    def packing(**options):
        return compress(model, open_rows(folder, stream=True), **{"chunk_rows": 450, "max_error": "1%", **options})

    def stop(done):
        if done >= 450 * chunks:
            raise KeyboardInterrupt

    packing().save(tmp_path / "whole.isz")
    stopped = packing()
    stopped.watch = stop
    with pytest.raises(KeyboardInterrupt):
        stopped.save(tmp_path / "a.isz")
    assert not (tmp_path / "a.isz").exists()
    with pytest.raises(FileError, match="belongs to another run"):
        packing(max_error="2%").save(tmp_path / "a.isz", resume=True)
    rest, seen = packing(), []
    rest.watch = seen.append
    rest.save(tmp_path / "a.isz", resume=True)
    assert rest.begin == 450 * chunks
    assert seen == [n for n in (450, 900, 1350, 1600) if n > rest.begin]
    assert (tmp_path / "a.isz").read_bytes() == (tmp_path / "whole.isz").read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def test_what_memory_should_not_hold_comes_back_in_chunks(model, folder, tmp_path, monkeypatch):
    compress(model, open_rows(folder, stream=False), chunk_rows=500, compare=False).save(tmp_path / "a.isz")
    whole = decompress(model, tmp_path / "a.isz").rows
    monkeypatch.setattr("isthmus.data.large.free_memory", lambda: 1000)
    back = decompress(model, tmp_path / "a.isz")
    back.save(tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").equals(whole)
    assert back.summary() == ["1,600 rows came back"]
    data = bytearray((tmp_path / "a.isz").read_bytes())
    data[-30] ^= 1
    (tmp_path / "a.isz").write_bytes(data)
    with pytest.raises(FileError, match=r"100 of 1,600 rows are lost, 1,500 to 1,599"):
        decompress(model, tmp_path / "a.isz").save(tmp_path / "c.parquet")
    rest = decompress(model, tmp_path / "a.isz", salvage=True)
    rest.save(tmp_path / "c.parquet")
    assert pq.read_table(tmp_path / "c.parquet").equals(whole.slice(0, 1500))
    assert "100 of 1,600 rows are lost" in rest.summary()[1]


def test_rows_where_as_in_memory(folder):
    for said in ("kind=up", "grade=0.5", "label=attack"):
        large, whole = both(folder)
        if said == "grade=0.5":
            with pytest.raises(DataError, match=r"grade.*0\.5"):
                rows_where(large, said)
            continue
        assert rows_where(large, said).data.equals(rows_where(whole, said).data.combine_chunks())


def test_rows_of_words_pictures_and_numbers_stream(tmp_path):
    """Paths in cells begin where the table is."""
    g, n = np.random.default_rng(0), 60
    (tmp_path / "shown").mkdir()
    for i in range(n):
        Image.fromarray(g.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / "shown" / f"{i}.png")
    words = np.array(["a", "quick", "brown", "fox", "jumps", "over", "one", "lazy", "dog", "and", "runs"])
    rows = pa.table({
        "size": g.normal(size=n), "picture": [f"shown/{i}.png" for i in range(n)],
        "about": [" ".join(g.choice(words, 8)) for _ in range(n)],
    })  # fmt: skip
    pq.write_table(rows, tmp_path / "x.parquet", row_group_size=25)
    large, whole = both(tmp_path / "x.parquet")
    fed = feed(*split(large, PLAN), None, {})
    assert {c.name: c.kind for c in fed.modality.columns} == {"size": "numeric", "picture": "image", "about": "text"}
    x = torch.cat([fed.modality.to_tensors(some)["x"] for some in large.chunks(16)])
    assert torch.equal(x, fed.modality.to_tensors(whole)["x"])
    seen = torch.cat([b["x"] for b in fed.batches(PLAN).epoch(0)])
    assert len(seen) == n - len(split(large, PLAN)[1])
