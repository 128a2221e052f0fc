"""A line in, a line out."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from isthmus.app import cli
from isthmus.app.cli import main
from isthmus.app.follow import follow
from isthmus.data.source import open_rows
from isthmus.errors import DataError
from isthmus.model import Model, open_model
from isthmus.spec import Plan
from isthmus.tasks.detection.detect import detect

pytestmark = pytest.mark.usefixtures("brief_committee")


def lines(n, seed=0, shift=0.0):
    g = np.random.default_rng(seed)
    x = (g.normal(size=(n, 2)) + shift) @ np.random.default_rng(1).normal(size=(2, 4)) + 0.2 * g.normal(size=(n, 4))
    return [",".join(f"{v:.4f}" for v in row) + f",{'tcp' if row[0] > 0 else 'udp'}" for row in x]


HEADER = "a,b,c,d,kind"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("follow")
    (folder / "rows.csv").write_text("\n".join([HEADER, *lines(1500)]))
    model = Model.fit(str(folder / "rows.csv"), latent_dim=2, plan=Plan(epochs=3, seed=0), device="cpu")
    model.save(folder / "m.isthmus")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return open_model(folder / "m.isthmus", device="cpu")


def run(model, text, **options):
    out, said = io.StringIO(), []
    follow(model, io.BytesIO(text if isinstance(text, bytes) else text.encode()), out, said.append, **options)
    return out.getvalue(), said


def test_a_line_for_a_line_is_the_batch(model, folder):
    rows = lines(300, seed=7)
    rows[5] = "9,9,-9,9,icmp"
    text = "\n".join([HEADER, *rows])
    (folder / "new.csv").write_text(text)
    found = detect(model, open_rows(str(folder / "new.csv")))
    out, said = run(model, text)
    told = list(csv.DictReader(io.StringIO(out)))
    assert [int(t["line"]) for t in told] == list(range(2, 302))
    np.testing.assert_allclose([float(t["score"]) for t in told], found.scores, rtol=1e-5, atol=1e-4)
    assert [t["anomaly"] == "true" for t in told] == found.anomalies.tolist()
    assert [bool(t["why"]) for t in told] == found.anomalies.tolist()
    assert said[0].startswith(f"300 rows scored, {found.anomalies.sum()} flagged")


def test_json_lines(model):
    rows = [
        dict(zip(HEADER.split(","), (*map(float, line.split(",")[:4]), line.split(",")[4]), strict=True))
        for line in lines(50, 7)
    ]
    del rows[3]["b"]
    out, _ = run(model, "\n".join(map(json.dumps, rows)), as_json=True)
    told = [json.loads(line) for line in out.splitlines()]
    assert [t["line"] for t in told] == list(range(1, 51))
    same, _ = run(
        model,
        "\n".join(
            [HEADER, *(",".join("" if row.get(c) is None else str(row[c]) for c in HEADER.split(",")) for row in rows)]
        ),
        as_json=True,
    )
    assert [t["score"] for t in told] == [json.loads(line)["score"] for line in same.splitlines()]


def test_garbage_is_counted_kept_and_passed_over(model, tmp_path):
    good = lines(6, seed=7)
    bad = [
        b"garbage",
        b"1,2,3",
        b"\xff\xfe,1,2,3,tcp",
        HEADER.encode(),
        b"1,2,x,4,tcp",
        b'"1,2,3,4,tcp',
        b"a" * 3_000_000,
    ]
    mixed = [HEADER.encode(), good[0].encode()]
    for line in bad:
        mixed += [line, b"", good[1].encode()]
    rejects = tmp_path / "rejects.txt"
    out, said = run(model, b"\r\n".join(mixed), rejects=rejects)
    told = list(csv.DictReader(io.StringIO(out)))
    assert sum(t["why"].startswith("rejected: ") for t in told) == len(bad)
    assert sum(bool(t["score"]) for t in told) == len(bad) + 1
    scores = np.array([float(t["score"]) for t in told if t["score"]])
    kept = rejects.read_bytes().split(b"\n")[:-1]
    assert kept[:6] == bad[:6]
    assert bad[6].startswith(kept[6][:80])
    assert f"{len(bad)} of {len(mixed)} lines held no row, kept in {rejects}" in said[-1]
    clean, _ = run(model, "\n".join([HEADER, good[0], good[1]]))
    first, second = (float(t["score"]) for t in csv.DictReader(io.StringIO(clean)))
    np.testing.assert_allclose(scores, [first] + [second] * len(bad), rtol=1e-5)  # as if the garbage had not come


def test_another_schema_ends_it(model):
    with pytest.raises(DataError, match=r"The column 'kind' is missing in the stream\. Is 'kinds' the renamed 'kind'"):
        run(model, "a,b,c,d,kinds\n1,2,3,4,tcp")
    out = io.StringIO()
    with pytest.raises(DataError):
        follow(model, io.BytesIO(b"a,b,c,d,kinds\n1,2,3,4,tcp"), out, print)
    assert out.getvalue() == ""  # no header of an answer that never comes


def test_drift_is_said_while_it_goes_on(model):
    out, said = run(model, "\n".join([HEADER, *lines(600, 7), *lines(600, 8, shift=3)]), as_json=True)
    assert len(out.splitlines()) == 1200
    drifting = [json.loads(line)["line"] for line in out.splitlines() if "drift" in line]
    assert 602 < drifting[0] < 1200
    assert said[0].startswith("! drift by row")


def test_nothing_comes(model):
    out, said = run(model, "")
    assert out == "line,score,p_value,anomaly,why\n"
    assert said == ["0 rows scored, 0 flagged (0.00%) at a promised false-alarm rate of 1.00%"]


def started(folder, *more):
    where = {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-m", "isthmus", "detect", "m.isthmus", "-", "--follow", *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env={**os.environ, **where},
    )  # fmt: skip


def test_lines_are_answered_at_once_and_an_interrupt_ends_it_with_a_summary(folder):
    with started(folder, "--json") as process:
        process.stdin.write(f"{HEADER}\n".encode())
        for line in lines(3, seed=7):
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            assert b"score" in process.stdout.readline()  # before the next one is sent
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == b""
    assert b"interrupted\n3 rows scored" in err
    assert b"Traceback" not in err


def test_a_reader_that_goes_away(folder):
    with contextlib.suppress(BrokenPipeError), started(folder) as process:
        process.stdin.write("\n".join([HEADER, *lines(1), ""]).encode())
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            for line in lines(2000, seed=7):
                process.stdin.write(line.encode() + b"\n")
                process.stdin.flush()
        assert process.wait(timeout=30) == 0
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("m.isthmus - --follow --fdr 0.1", "needs all rows at once"),
        ("m.isthmus - --follow --labels kind", "needs all rows at once"),
        ("m.isthmus - --follow -o x.csv", "leave out -o"),
        ("m.isthmus rows.csv --follow", "reads the standard input"),
        ("m.isthmus rows.csv --rejects x", "--rejects goes with --follow"),
        ("m.isthmus rows.csv --recalibrate 200", "--recalibrate goes with --follow"),
        ("m.isthmus - --follow --rejects no/where", "does not exist"),
    ],
)
def test_options_that_contradict(folder, monkeypatch, capsys, more, why):
    monkeypatch.chdir(folder)
    assert main(["detect", *more.split()]) == 2
    assert why in capsys.readouterr().err
