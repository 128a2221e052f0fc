"""The commands that make, change and ask an index."""

import json

import numpy as np
import pytest
from PIL import Image

from isthmus.app.cli import main

G = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    things = ["pump", "valve", "cat", "dog", "bank", "bond"]
    lines = [
        json.dumps({"title": f"the {a} and the {b}", "year": 2000 + i % 25}, ensure_ascii=False)
        for i, (a, b) in enumerate(zip(20 * things, G.permutation(20 * things), strict=True))
    ]
    (folder / "news.jsonl").write_text("\n".join(lines))
    (folder / "more.jsonl").write_text('{"title": "a quokka at the pump", "year": 2030}\n')
    for name, more in (("m", []), ("n", ["--seed", "1"])):
        assert main(["fit", str(folder / "news.jsonl"), "--text", "title", "-o", str(folder / f"{name}.isthmus"),
                     "--epochs", "2", "--latent-dim", "6", "-q", *more]) == 0  # fmt: skip
    assert (
        main(["index", str(folder / "m.isthmus"), str(folder / "news.jsonl"), "-o", str(folder / "a.idx"), "-q"]) == 0
    )
    return folder


@pytest.fixture
def run(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)

    def run(*words):
        capsys.readouterr()
        code = main(list(words))
        return code, *capsys.readouterr()

    return run


def test_a_search_needs_nothing_but_the_index(run, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("search", str(folder / "a.idx"), "pump", "-k", "3")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert all("pump" in line for line in out.splitlines())


def test_a_machine_is_told_all(run):
    code, out, _ = run("search", "a.idx", "pump", "-k", "2", "--where", "year >= 2010", "--json")
    told = json.loads(out)
    hits = told["queries"][0]["hits"]
    assert code == 0
    assert [hit["rank"] for hit in hits] == [1, 2]
    assert all(hit["row"]["year"] >= 2010 for hit in hits)
    assert {hit["found_by"] for hit in hits} <= {"code", "words", "both"}


def test_hits_go_to_a_file(run, folder):
    (folder / "q.txt").write_text("pump\ncat and dog\n")
    assert run("search", "a.idx", "q.txt", "-k", "4", "-o", "hits.csv")[0] == 0
    lines = (folder / "hits.csv").read_text().splitlines()
    assert len(lines) == 9
    assert lines[0] == '"query","rank","score","id","cosine","found_by","title","year"'


def test_rows_are_added_and_deleted(run, folder):
    (folder / "b.idx").write_bytes((folder / "a.idx").read_bytes())
    code, out, _ = run("index", "b.idx", "more.jsonl")
    assert (code, out.splitlines()[0]) == (0, "1 rows were added")
    assert "id 120" in run("search", "b.idx", "quokka", "-k", "1")[1]
    code, out, _ = run("index", "b.idx", "--delete", "120,3")
    assert (code, out.splitlines()[0]) == (0, "2 rows were taken out")
    code, out, _ = run("index", "b.idx", "--delete-where", "year < 2010", "--json")
    assert json.loads(out)["deleted"] > 10
    assert json.loads(out)["rows"] == 119 - json.loads(out)["deleted"]
    assert "every checksum matches" in run("info", "b.idx")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "a.idx", ""], "empty query"),
        (["search", "a.idx", "pump", "-k", "0"], "at least 1"),
        (["search", "a.idx", "pump", "--where", "yeer = 3"], "Did you mean 'year'"),
        (["search", "a.idx", "pump", "--where", "year ="], "cannot be read"),
        (["search", "a.idx", "pump", "--model", "n.isthmus"], "made by another model"),
        (["search", "a.idx", "p.png"], "kind 'image'"),
        (["search", "m.isthmus", "pump"], "not an index"),
        (["search", "cut.idx", "pump"], "cut short"),
        (["search", "no.idx", "pump"], "There is no file no.idx"),
        (["index", "m.isthmus", "news.jsonl"], "where the index goes"),
        (["index", "m.isthmus", "-o", "c.idx"], "needs rows"),
        (["index", "a.idx"], "Nothing was asked"),
        (["index", "a.idx", "--delete", "x"], "whole numbers"),
        (["index", "a.idx", "--delete", "999"], "no row with the id 999"),
        (["index", "a.idx", "news.jsonl", "--codes", "int8"], "as it was built"),
        (["duplicates", "no.csv"], "no.csv"),
        (["duplicates", "news.jsonl", "--threshold", "-1"], "a distance"),
    ],
)
def test_what_is_refused_is_said_in_a_line(run, folder, words, said):
    Image.new("L", (8, 8)).save(folder / "p.png")
    (folder / "cut.idx").write_bytes((folder / "a.idx").read_bytes()[:5000])
    code, _, err = run(*words)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_the_right_model_is_taken(run):
    assert run("search", "a.idx", "pump", "--model", "m.isthmus", "-k", "1")[0] == 0


def test_duplicates(run, folder):
    code, out, _ = run("duplicates", "news.jsonl", "-o", "groups.csv", "--json")
    told = json.loads(out)
    assert code == 0
    rows = [line.split(",") for line in (folder / "groups.csv").read_text().splitlines()]
    assert len(rows) - 1 == sum(map(len, told["groups"]))


def test_verify(run):
    code, out, _ = run("verify", "m.isthmus", "the pump", "a pump and the cat", "--pairs", "news.jsonl",
                       "--false-accept-rate", "0.05")  # fmt: skip
    assert code == 0
    assert "score" in out
