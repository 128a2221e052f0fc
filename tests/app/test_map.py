"""``isthmus map``: a page that holds everything itself, a picture, coordinates; and what it refuses."""

import base64
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import csv, parquet

from isthmus import open_model
from isthmus.app.cli import main
from isthmus.app.map_page import picture, render
from isthmus.spec import Plan
from isthmus.tasks.features.reduce import fit_map, reduce

HOSTILE = "</script><script>alert('x')</script>"
QUICK = Plan(epochs=2)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    g = np.random.default_rng(0)
    which = g.integers(0, 3, 240)
    columns = {f"c{j}": 6.0 * (which == j) + g.normal(size=240) for j in range(4)}
    words = [f"{HOSTILE} {'abc'[w]}" for w in which]
    return pa.table({**columns, HOSTILE: words, "kind": ["red"] * 240, "account": 10**12 + which})


@pytest.fixture(scope="module")
def drawn(table):
    model, held = fit_map(table, labels="kind", plan=QUICK)
    return reduce(model, table, labels="kind", held=held)


@pytest.fixture(scope="module")
def pictures():
    model, held = fit_map("example:digits", plan=QUICK)
    return reduce(model, "example:digits", held=held, most=400)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, table):
    csv.write_csv(table, tmp_path / "rows.csv")
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([word for line in args for word in line.split()])
        return code, *capsys.readouterr()

    return run


def data_of(page: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def numbers(packed: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed), kind)


class TestPage:
    def test_nothing_is_fetched_and_nothing_of_the_rows_can_run(self, drawn):
        page = render(drawn, name=HOSTILE)
        assert page.count("<script") == page.count("</script>") == 2
        assert html.escape(HOSTILE, quote=False).replace("'", "&#39;") in page
        assert not re.search(r"(?:src|href)=\"(?!data:)", page)
        assert "http" not in page.replace("http-equiv", "")
        assert "default-src 'none'" in page
        assert "prefers-color-scheme" in page

    def test_every_row_is_where_the_map_has_it(self, drawn):
        data = data_of(render(drawn))
        ours, pca = data["views"]
        assert (ours["name"], pca["name"]) == ("Map", "PCA")
        at = numbers(ours["at"], "<u2").reshape(-1, 2) / 65535 - 0.5
        np.testing.assert_allclose(at * ours["unit"] + ours["middle"], drawn.places, atol=2e-5 * ours["unit"])

    def test_rows_are_told_by_their_columns(self, drawn, table):
        data = data_of(render(drawn))
        columns = {column["name"]: column for column in data["columns"]}
        assert list(columns)[:2] == ["kind", "anomaly score"]
        assert columns[HOSTILE]["kind"] == "category"
        cells = [columns[HOSTILE]["levels"][c] for c in numbers(columns[HOSTILE]["codes"], "<u2")]
        assert cells == table[HOSTILE].to_pylist()
        np.testing.assert_allclose(numbers(columns["c1"]["values"], "<f4"), table["c1"].to_numpy(), rtol=1e-6)
        # whose last digits float32 would lose
        np.testing.assert_array_equal(numbers(columns["account"]["values"], "<f8"), table["account"].to_numpy())

    def test_free_places_are_decoded_near_rows_alone(self, drawn):
        grid = data_of(render(drawn))["grid"]
        at = numbers(grid["at"], "<f4").reshape(-1, 2)
        assert 0 < len(at) < 24 * 24
        apart = np.linalg.norm(at[:, None] - drawn.places[None], axis=2).min(1)
        assert apart.max() < 3 * grid["step"]
        assert {column["name"] for column in grid["columns"]} >= {"c0", "c1", HOSTILE}

    def test_pictures_are_on_one_sheet(self, pictures):
        shown = data_of(render(pictures))["shown"]
        sheet = Image.open(io.BytesIO(base64.b64decode(shown["src"].split(",")[1])))
        assert shown["side"] == 8
        assert sheet.size == (20 * 8, 20 * 8)
        first = np.asarray(sheet.convert("L"))[:8, :8].astype(float)
        there = np.asarray(pictures.rows.data[0], float)
        assert np.corrcoef(first.ravel(), there.ravel())[0, 1] > 0.9

    def test_trust_is_told_in_words(self, drawn):
        page = render(drawn)
        for word in ("How far to trust it", "held-out rows", "trustworthiness", "distance correlation", "PCA"):
            assert word in page

    def test_many_rows_make_no_large_page(self, drawn):
        from dataclasses import replace

        n = 60_000
        many = replace(
            drawn, rows=drawn.rows.take(np.arange(n) % 240), index=np.arange(n), places=np.resize(drawn.places, (n, 2)),
            pca=np.resize(drawn.pca, (n, 2)), scores=np.resize(drawn.scores, n), labels=["red"] * n,
        )  # fmt: skip
        assert len(render(many)) < 8_000_000

    @pytest.mark.skipif(shutil.which("node") is None, reason="no engine to read the script with")
    def test_the_script_is_a_script(self, drawn, tmp_path):
        script = re.findall(r"<script>(.*?)</script>", render(drawn), re.DOTALL)[0]
        (tmp_path / "page.js").write_text(script)
        subprocess.run(["node", "--check", str(tmp_path / "page.js")], check=True)

    def test_texts_series_and_three_numbers(self):
        texts = [f"{'abc'[i % 3] * 4} {'xyz'[i % 3] * 3} number{i}" for i in range(60)]
        model, _ = fit_map(texts, modality="text", plan=QUICK)
        data = data_of(render(reduce(model, texts)))
        assert data["shown"]["values"] == texts
        assert data["grid"]["shown"]["kind"] == "texts"
        waves = np.sin(np.arange(50) / 5 + np.arange(60)[:, None]).astype(np.float32)
        model, _ = fit_map(waves, dim=3, plan=QUICK)
        data = data_of(render(reduce(model, waves)))
        assert (data["dim"], data["grid"]) == (3, None)
        assert len(numbers(data["shown"]["values"], "u1")) == 60 * data["shown"]["steps"]


class TestPicture:
    def test_both_maps_are_on_it_in_colours(self, pictures):
        image = np.asarray(picture(pictures))
        assert image.shape == (896, 1600, 3)
        left, right = image[100:860, :800], image[100:860, 800:]
        for half in (left, right):
            assert (half.std(axis=2) > 20).mean() > 0.005

    def test_labels_choose_the_colours(self, drawn):
        image = np.asarray(picture(drawn)).reshape(-1, 3)
        assert (np.abs(image.astype(int) - (0x3A, 0x6C, 0xB8)).sum(1) < 6).sum() > 200  # all rows have one label


class TestCommand:
    def test_a_page_and_the_model_beside_it(self, run, tmp_path):
        code, out, err = run("map rows.csv -o map.html --labels kind --epochs 2")
        assert code == 0, err
        assert "trustworthiness" in out
        assert (tmp_path / "map.html").exists()
        assert open_model(tmp_path / "map.isthmus").record.recipe == "map"

    def test_new_rows_go_onto_it_and_old_ones_stay(self, run, tmp_path):
        assert run("map rows.csv -o map.csv --model kept.isthmus --epochs 2 -q") == (0, "", "")
        assert run("map rows.csv --onto kept.isthmus -o again.parquet -q")[0] == 0
        first, again = csv.read_csv(tmp_path / "map.csv"), parquet.read_table(tmp_path / "again.parquet")
        np.testing.assert_allclose(first["x"].to_numpy(), again["x"].to_numpy(), rtol=1e-5)
        assert run("encode kept.isthmus rows.csv -o codes.npy -q")[0] == 0
        assert np.load(tmp_path / "codes.npy").shape == (240, 2)
        assert run("decode kept.isthmus codes.npy -o back.csv -q")[0] == 0

    def test_a_picture(self, run, tmp_path):
        assert run("map rows.csv -o map.png --epochs 2 -q")[0] == 0
        with Image.open(tmp_path / "map.png") as image:
            assert image.size == (1600, 896)

    def test_words_for_a_machine(self, run):
        code, out, _ = run("map rows.csv -o map.csv --epochs 2 --json")
        found = json.loads(out)
        assert code == 0
        assert found["rows"] == 240
        assert 0 < found["trust"]["map"]["trustworthiness"] <= 1
        assert found["model"] == "map.isthmus"

    @pytest.mark.parametrize(
        ("said", "why"),
        [
            ("map rows.csv -o map.pdf", "A map is written as one of .html"),
            ("map rows.csv -o map", "A map is written as one of .html"),
            ("map rows.csv -o map.html --dim 5", "2 numbers or 3"),
            ("map rows.csv -o map.html --labels knid", "Did you mean 'kind'"),
            ("map rows.csv -o nowhere/map.html", "does not exist"),
            ("map rows.csv -o map.html --onto rows.csv", "not a model"),
            ("map rows.csv -o map.html --onto m.isthmus --model other.isthmus", "leave --model out"),
            ("map none.csv -o map.html", "none.csv"),
        ],
    )
    def test_what_it_refuses(self, run, said, why):
        code, _, err = run(said)
        assert code == 2
        assert why in err
        assert err.count("\n") == 1

    def test_a_model_of_another_code(self, run):
        assert run("fit rows.csv -o wide.isthmus --latent-dim 3 --epochs 1 --detector likelihood -q")[0] == 0
        assert run("fit rows.csv -o five.isthmus --latent-dim 5 --epochs 1 --detector likelihood -q")[0] == 0
        assert run("map rows.csv --onto wide.isthmus -o map.html -q")[0] == 0
        code, _, err = run("map rows.csv --onto five.isthmus -o map.html")
        assert code == 2
        assert "a map has 2 or 3 numbers" in err
