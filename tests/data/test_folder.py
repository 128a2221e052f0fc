"""Folders of pictures that are decoded a few at a time: fitted, looked at and written as if they were in memory."""

import json

import numpy as np
import pytest
from PIL import Image

from isthmus.app.cli import main
from isthmus.data.folder import Folder
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.model import Model, open_model
from isthmus.spec import Plan
from isthmus.tasks.codes import encode
from isthmus.tasks.detection.detect import detect

SMALL = {"encoder": {"kind": "mlp", "widths": [16]}, "decoder": {"kind": "mlp", "widths": [16]}}


def made(place, n, seed, scratched=None):
    """Smooth pictures, and one with a scratch."""
    g = np.random.default_rng(seed)
    for i in range(n):
        light = g.uniform(80, 160) + g.uniform(0, 2) * np.arange(24)
        picture = light + g.normal(0, 3, (20, 24))
        if i == scratched:
            picture[8:12, 4:20] = 255
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(place / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made(tmp_path_factory.mktemp("pictures"), 150, 0)


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return made(tmp_path_factory.mktemp("new"), 90, 1, scratched=77)


@pytest.fixture(scope="module")
def model(folder):
    rows = open_rows(folder, stream=True)
    assert rows.large
    return Model.fit(rows, plan=Plan(epochs=2, seed=1), parts=SMALL, latent_dim=4)


def test_a_folder_is_read_in_stretches_only_where_it_would_be_too_much(folder, monkeypatch):
    from isthmus.data import large

    assert isinstance(open_rows(folder).data, list)
    assert isinstance(open_rows(folder, stream=True).data, Folder)
    monkeypatch.setattr(large, "free_memory", lambda: 4.0 * 150 * 480)
    assert open_rows(folder).large
    assert not open_rows(folder, stream=False).large


def test_blocks_are_all_pictures_once_and_chunks_keep_their_names(folder):
    rows = open_rows(folder, stream=True)
    paths = [path for block in range(len(rows.data.counts)) for piece in rows.data.read(block) for path in piece]
    assert paths == rows.data.paths
    assert rows.data.width == 480
    chunks = list(rows.chunks(40))
    assert [len(some) for some in chunks] == [40, 40, 40, 30]
    assert [name for some in chunks for name in some.names] == [path.name for path in paths]
    assert rows.listed().data == paths


def test_the_same_seed_fits_the_same_from_a_stream(folder, model):
    again = Model.fit(open_rows(folder, stream=True), plan=Plan(epochs=2, seed=1), parts=SMALL, latent_dim=4)
    assert again.record.n_train + again.record.n_held_out == 150
    np.testing.assert_array_equal(again.encode(folder), model.encode(folder))
    assert model.record.error < model.record.mean_error


def test_what_is_found_in_stretches_is_what_is_found_in_memory(new, model, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "stretch", property(lambda self: 64))
    whole, stretches = detect(model, str(new)), detect(model, open_rows(new, stream=True))
    one, two = tmp_path / "memory", tmp_path / "stretches"
    whole.save(one)
    stretches.save(two)
    assert sorted(p.relative_to(one) for p in one.rglob("*")) == sorted(p.relative_to(two) for p in two.rglob("*"))
    for path in one.rglob("*.*"):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes(), path
    assert (two / "overlays" / "77.png").exists()
    assert stretches.summary()[0] == whole.summary()[0]
    assert any(line.startswith("77.png: score") for line in stretches.summary())
    with pytest.raises(SpecError, match="goes on with a table"):
        stretches.save(tmp_path / "again", resume=True)


def test_codes_of_a_stream_are_those_of_the_files(folder, model):
    np.testing.assert_array_equal(encode(model, open_rows(folder, stream=True)).codes, encode(model, str(folder)).codes)


def test_from_the_command_line(folder, new, tmp_path, capsys):
    file, out = tmp_path / "m.isthmus", tmp_path / "out"
    assert main(["fit", str(folder), "-o", str(file), "--stream", "--epochs", "1", "--latent-dim", "4"]) == 0
    assert main(["detect", str(file), str(new), "--stream", "-o", str(out), "--budget", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["found"] == 1
    assert said["worst"][0]["row"] == "77.png"
    assert open_model(file).record.n_held_out > 0


def test_what_needs_all_pictures_at_once_is_told(folder):
    with pytest.raises(DataError, match=r"contamination .* all rows at once"):
        Model.fit(open_rows(folder, stream=True), contamination=0.1, plan=Plan(epochs=1))
