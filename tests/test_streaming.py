"""Rows larger than memory: the same fit whenever, the same findings as in memory, flat memory, and whole files."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import torch

from isthmus import Autoencoder, open_rows
from isthmus.app.cli import main
from isthmus.core.autoencoder import Net
from isthmus.data import large
from isthmus.errors import DataError, FileError
from isthmus.fitting import _rows_of_a_step, feed, split
from isthmus.model import Model
from isthmus.recipes import compose
from isthmus.spec import Plan
from isthmus.tasks.checkup.compare import compare
from isthmus.tasks.checkup.health import health
from isthmus.tasks.codes import encode, reconstruct
from isthmus.tasks.detection.detect import detect
from isthmus.tasks.sweep import _Remarks

PLAN = Plan(epochs=3, batch_size=32, patience=None, seed=3)
QUICK = {"detector": "likelihood", "encoder": {"widths": [16]}, "decoder": {"widths": [16]}}


def table(n, seed=0):
    g = np.random.default_rng(seed)
    z = g.normal(size=(n, 2))
    x = z @ np.random.default_rng(0).normal(size=(2, 6)) + 0.2 * g.normal(size=(n, 6))
    columns = {f"f{j}": x[:, j] for j in range(6)}
    columns["f5"] = pa.array(np.where(g.random(n) < 0.1, np.nan, x[:, 5]), from_pandas=True)
    columns["kind"] = np.where(z[:, 0] > 0, "up", "down")
    return pa.table(columns)


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "rows"
    where.mkdir()
    for i, n in enumerate((700, 400, 500)):
        pq.write_table(table(n, i), where / f"part-{i}.parquet", row_group_size=150)
    return where


@pytest.fixture
def small(monkeypatch):
    """Buffers, samples and stretches that a test's few rows are larger than."""
    monkeypatch.setattr("isthmus.fitting._BUFFER", 1 << 14)
    monkeypatch.setattr("isthmus.data.large._MOST", 600)
    monkeypatch.setattr("isthmus.data.large._MOST_HELD", 100)
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)


def fit(source, plan=PLAN, stream=True, **options):
    rows = open_rows(source, stream=stream) if not isinstance(source, np.ndarray) else source
    return Model.fit(rows, plan=plan, latent_dim=2, parts=QUICK, device="cpu", **options)


def same(a, b):
    weights, others = a.net.state_dict(), b.net.state_dict()
    assert all(torch.equal(t, others[name]) for name, t in weights.items())
    assert np.array_equal(a.calibration, b.calibration)


# -- fit -------------------------------------------------------------------------------------------


def test_an_epoch_is_every_row_that_is_not_held_out_once(folder):
    rows = open_rows(folder, stream=True)
    kept, held = split(rows, PLAN)
    fed = feed(kept, held, None, {})
    first = torch.cat([b["x"] for b in fed.batches(PLAN).epoch(0)])
    assert len(first) == len(kept) == len(rows) - len(held)
    # everything fits the sample here, so it is the rows themselves
    assert torch.equal(first[first[:, 0].argsort()], fed.tensors["x"][fed.tensors["x"][:, 0].argsort()])
    again = torch.cat([b["x"] for b in fed.batches(PLAN).epoch(1)])
    assert not torch.equal(first, again)
    assert torch.equal(first[first[:, 0].argsort()], again[again[:, 0].argsort()])


def test_it_learns_as_well_as_in_memory(folder):
    plan = PLAN.replace(epochs=20)
    streamed, whole = fit(folder, plan), fit(folder, plan, stream=False)
    test = table(1000, 99)
    a, b = (m.compare(test)["autoencoder"] for m in (streamed, whole))
    assert a == pytest.approx(b, rel=0.1)
    assert streamed.record.n_train + streamed.record.n_held_out == 1600
    assert any("read in stretches" in remark for remark in streamed.record.remarks)


def test_the_same_seed_gives_the_same_model(folder, small):
    same(fit(folder), fit(folder))


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2])
def test_resumed_after_an_epoch(folder, tmp_path, small, at):
    def die(epoch):
        if epoch.number == at:
            raise Killed

    with pytest.raises(Killed):
        fit(folder, checkpoint=tmp_path / "c", callbacks=[die])
    same(fit(folder, checkpoint=tmp_path / "c", resume=True), fit(folder))


def test_resumed_in_the_middle_of_an_epoch(folder, tmp_path, small, monkeypatch):
    from isthmus.training import hooks

    class Die(hooks.Hook):
        def step(self, run):
            if run.step == 61:
                raise Killed

    whole = fit(folder)
    monkeypatch.setattr(hooks.Checkpoint.__init__, "__defaults__", (-1.0,))
    with pytest.raises(Killed):
        fit(folder, checkpoint=tmp_path / "c", hooks=[Die()])
    same(fit(folder, checkpoint=tmp_path / "c", resume=True), whole)


def test_other_rows_are_not_taken_up(folder, tmp_path):
    def die(epoch):
        if epoch.number == 1:
            raise Killed

    with pytest.raises(Killed):
        fit(folder, checkpoint=tmp_path / "c", callbacks=[die])
    pq.write_table(table(500, 9), folder / "part-2.parquet", row_group_size=150)
    with pytest.raises(FileError, match="belongs to another run"):
        fit(folder, checkpoint=tmp_path / "c", resume=True)


@pytest.mark.parametrize(
    "options",
    [
        {"contamination": 0.1},
        {"plan": PLAN.replace(pretrain="stacked")},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_needs_all_rows_is_refused(folder, options):
    with pytest.raises(DataError, match=r"all rows at once, and .* is read in stretches"):
        fit(folder, **options)


def test_a_step_on_wide_rows_is_as_large_as_memory_should_hold():
    def net(kind, shape):
        return Net(compose(suited={"encoder": {"kind": kind}, "decoder": {"kind": kind}}, latent_dim=2), shape)

    assert _rows_of_a_step(net("conv", (1, 96, 96))) * 16 * 96 * 96 <= 1 << 24
    assert _rows_of_a_step(net("conv", (1, 96, 96))) >= 64
    assert _rows_of_a_step(net("conv", (3, 1024, 1024))) == 16
    assert _rows_of_a_step(net("mlp", (30,))) > 10_000


def test_held_out_rows_of_ones_own(folder, small):
    model = fit(folder, validation_rows=open_rows(table(300, 50)))
    assert (model.record.n_train, model.record.n_held_out) == (1600, 300)


def test_vectors_for_a_dictionary(tmp_path, small):
    g = np.random.default_rng(0)
    atoms = g.normal(size=(20, 8)).astype(np.float32)
    for i in range(3):
        codes = g.random((800, 20)) * (g.random((800, 20)) < 0.1)
        np.save(tmp_path / f"{i}.npy", (codes @ atoms).astype(np.float32))
    plan = Plan(epochs=2, batch_size=64)
    model = Model.fit(open_rows(tmp_path, stream=True), "topk", latent_dim=32, plan=plan, device="cpu")
    assert model.modality.kind == "array"
    rows = open_rows(tmp_path, stream=True)
    found = np.concatenate([one.codes for one in encode(model, rows)])
    assert np.array_equal(found, model.encode(open_rows(tmp_path, stream=False)))


# -- use -------------------------------------------------------------------------------------------


@pytest.fixture
def model(folder):
    return fit(folder, stream=False)


def in_memory(model, folder, path, task=detect, **options):
    task(model, open_rows(folder, stream=False), **options).save(path)
    return pq.read_table(path)


@pytest.mark.parametrize("options", [{}, {"false_alarm_rate": 0.2}, {"fdr": 0.5}, {"budget": 40}], ids=str)
def test_detect_as_in_memory(model, folder, tmp_path, monkeypatch, options):
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)
    whole = in_memory(model, folder, tmp_path / "a.parquet", **options)
    found = detect(model, open_rows(folder, stream=True), **options)
    found.save(tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").equals(whole), "to the last bit"
    assert pq.read_metadata(tmp_path / "b.parquet").num_row_groups == 13
    said = detect(model, open_rows(folder, stream=False), **options)
    assert found.summary() == said.summary()
    told, known = found.to_json(), said.to_json()
    assert told["found"] == len(known["anomalies"])
    assert [one["why"] for one in told["worst"]] == [one["why"] for one in known["worst"]]


def test_rows_without_names_are_counted_on(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(500, 4)))
    model = fit(tmp_path / "x.npy", stream=False)
    detect(model, open_rows(tmp_path / "x.npy", stream=True)).save(tmp_path / "a.csv")
    assert pc.read_csv(tmp_path / "a.csv")["row"].to_pylist() == list(range(500))


@pytest.mark.parametrize("task", [encode, reconstruct])
def test_others_as_in_memory(model, folder, tmp_path, monkeypatch, task):
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)
    whole = in_memory(model, folder, tmp_path / "a.parquet", task)
    found = task(model, open_rows(folder, stream=True))
    found.save(tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").equals(whole)
    assert found.summary() == task(model, open_rows(folder, stream=False)).summary()
    assert found.glimpse() == task(model, open_rows(folder, stream=False)).glimpse()


def test_remarks_are_gathered(model, tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)
    odd = table(600, 5)
    odd = odd.set_column(6, "kind", pa.array(["sideways" if i % 100 == 99 else "up" for i in range(600)]))
    pq.write_table(odd, tmp_path / "odd.parquet")
    found = detect(model, open_rows(tmp_path / "odd.parquet", stream=True))
    found.run()
    assert found.remarks == model.remarks(open_rows(odd))
    assert "6 cell(s)" in found.remarks[0]


def test_looking_takes_some(model, folder, small):
    rows = open_rows(folder, stream=True)
    assert compare(model, rows).autoencoder > 0
    assert health(model, rows).n_rows == len(rows)


def test_a_frame_would_be_too_large(model, folder):
    with pytest.raises(DataError, match="too many for one frame"):
        detect(model, open_rows(folder, stream=True)).to_frame()


def test_the_estimator_takes_a_path(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(large, "free_memory", lambda: 1000)
    ae = Autoencoder(epochs=2, detector="likelihood", random_state=0).fit(str(folder))
    assert ae.n_features_in_ == 7
    assert ae.transform(str(folder)).shape == (1600, ae.model_.latent_dim)
    scores = ae.score_samples(str(folder))
    found = ae.detect(str(folder))
    found.save(tmp_path / "x.parquet")
    assert pq.read_table(tmp_path / "x.parquet")["score"].to_numpy() == pytest.approx(-scores, rel=1e-5)


# -- a stop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_stopped_and_resumed(model, folder, tmp_path, monkeypatch, ending):
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)
    whole, path = tmp_path / f"whole{ending}", tmp_path / f"x{ending}"
    undisturbed = detect(model, open_rows(folder, stream=True), false_alarm_rate=0.1)
    undisturbed.save(whole)
    stopped = detect(model, open_rows(folder, stream=True), false_alarm_rate=0.1)

    def stop(done):
        if done >= 640:
            raise KeyboardInterrupt

    stopped.watch = stop
    with pytest.raises(KeyboardInterrupt):
        stopped.save(path)
    assert not path.exists()
    part = path.with_name(f"{path.name}.part")
    done = pq.read_table(part) if ending == ".parquet" else pc.read_csv(part)
    assert len(done) == 640, "the part is a whole file of what was done"
    looked = []
    again = detect(model, open_rows(folder, stream=True), false_alarm_rate=0.1)
    again.watch = looked.append
    again.save(path, resume=True)
    assert looked[0] == 768, "nothing is done twice"
    assert path.read_bytes() == whole.read_bytes()
    assert (again.summary(), again.to_json()) == (undisturbed.summary(), undisturbed.to_json())
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["rows", whole.name, path.name])


def test_other_options_are_another_run(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)
    found = detect(model, open_rows(folder, stream=True))

    def stop(done):
        raise KeyboardInterrupt

    found.watch = stop
    with pytest.raises(KeyboardInterrupt):
        found.save(tmp_path / "x.csv")
    with pytest.raises(FileError, match="belongs to another run"):
        detect(model, open_rows(folder, stream=True), false_alarm_rate=0.2).save(tmp_path / "x.csv", resume=True)


def test_a_file_that_vanishes_leaves_what_was_done(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)
    found = detect(model, open_rows(folder, stream=True))
    found.watch = lambda done: done == 256 and os.remove(folder / "part-2.parquet")
    with pytest.raises(FileError, match=r"part-2.parquet"):
        found.save(tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()
    assert 256 <= pq.read_metadata(tmp_path / "x.parquet.part").num_rows < 1600


# -- the command line ------------------------------------------------------------------------------


def test_commands(folder, tmp_path, capsys):
    model, out = tmp_path / "m.isthmus", tmp_path / "x.parquet"
    quick = ["--epochs", "1", "--set", "detector.kind=likelihood"]
    assert main(["fit", str(folder), "-o", str(model), "--stream", *quick]) == 0
    assert "read in stretches" in capsys.readouterr().out
    assert main(["detect", str(model), str(folder), "-o", str(out), "--stream", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["files"]) == (1600, [str(out)])
    assert pq.read_metadata(out).num_rows == 1600
    assert main(["encode", str(model), str(folder), "--stream"]) == 0
    assert "1,600 codes" in capsys.readouterr().out
    assert main(["encode", str(model), str(folder), "--stream", "-o", str(tmp_path / "x.npy")]) == 2
    assert "written as .csv, .tsv, .parquet" in capsys.readouterr().err
    assert main(["detect", str(model), str(folder), "--no-stream", "--resume"]) == 2
    assert "--resume goes on with rows that are read in stretches" in capsys.readouterr().err
    assert main(["detect", str(model), str(folder), "--stream", "--resume"]) == 2
    assert "-o FILE" in capsys.readouterr().err


def run_and_kill(command, part, rows):
    """Kill as soon as some rows are noted as safe."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            if part.exists() and json.loads(part.read_text() or "{}").get("rows", 0) >= rows:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.005)
    finally:
        process.kill()
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    rows, model = tmp_path / "x.parquet", tmp_path / "m.isthmus"
    pq.write_table(table(600_000), rows, row_group_size=50_000)
    quick = ["--epochs", "1", "--batch-size", "4096", "--set", "detector.kind=likelihood"]
    assert main(["fit", str(rows), "-o", str(model), "--stream", *quick]) == 0
    command = [sys.executable, "-m", "isthmus", "detect", str(model), str(rows), "--stream", "--resume", "-o"]
    subprocess.run([*command, str(tmp_path / "whole.parquet")], check=True, capture_output=True)
    assert run_and_kill([*command, str(tmp_path / "y.parquet")], tmp_path / "y.parquet.part.json", 1)
    assert not (tmp_path / "y.parquet").exists()
    subprocess.run([*command, str(tmp_path / "y.parquet")], check=True, capture_output=True)
    assert (tmp_path / "y.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


PEAK = """
import resource, sys
from isthmus.app.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(*said):
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, said)], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured in kB as Linux has it")
def test_memory_is_flat(tmp_path):
    """Peak memory in MB of five times as many rows is that of a fifth."""
    quick = ["--epochs", "1", "--batch-size", "8192", "--set", "detector.kind=likelihood", "--stream", "--quiet"]
    fits, finds = [], []
    for n in (4, 20):
        folder = tmp_path / f"{n}"
        folder.mkdir()
        for i in range(n):
            pq.write_table(table(150_000, i), folder / f"{i}.parquet", row_group_size=50_000)
        model, out = tmp_path / f"{n}.isthmus", tmp_path / f"{n}.out.parquet"
        fits.append(peak("fit", folder, "-o", model, *quick))
        finds.append(peak("detect", model, folder, "-o", out, "--stream", "--quiet"))
    print(fits, finds)
    assert fits[1] / fits[0] < 1.15
    assert finds[1] / finds[0] < 1.15


def test_remarks_on_stretches_add_up():
    told = _Remarks({})
    told.add(
        ["3 cells of 'x 2 cells' are new: a, b", "1 of 1,000 documents looked at hold no word.", "so are 60% of it"]
    )
    told = _Remarks(json.loads(json.dumps(told.heard)))
    told.add(["4 cells of 'x 2 cells' are new: c", "2 of 376 documents looked at hold no word.", "so are 7% of it"])
    assert told.told() == [
        "7 cells of 'x 2 cells' are new: a, b",
        "3 of 1,376 documents looked at hold no word.",
        "so are 60% of it",
    ]
