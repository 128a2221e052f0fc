"""Small things in large pictures: what a resizing loses, tiles find, and say where it is."""

import json

import numpy as np
import pytest
from PIL import Image as PIL

from isthmus import Autoencoder, open_model
from isthmus.app.cli import main
from isthmus.errors import SpecError

SIDE = 64


def sound(n, size=(192, 256), seed=0):
    g = np.random.default_rng(seed)
    light = g.uniform(0.4, 0.6, (n, 1, 1)) + g.uniform(0, 0.1, (n, 1, 1)) * np.linspace(0, 1, size[1])
    return (255 * (light + 0.02 * g.standard_normal((n, *size)))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    options = {"modality": {"kind": "tiles", "side": SIDE}, "epochs": 1, "random_state": 0}
    options |= {"encoder": "linear", "decoder": "linear", "latent_dim": 2}
    with pytest.MonkeyPatch.context() as patch:  # a third of the tiles that the detector would learn from
        patch.setattr("isthmus.core.detectors.patches._MOST_LARGE", 200)
        return Autoencoder(**options).fit(sound(60))


def scratched(n, seed):
    pictures, places = sound(n, seed=seed), []
    g = np.random.default_rng(seed)
    for one in pictures:
        row, column = int(g.integers(8, 180)), int(g.integers(8, 240))
        one[row : row + 2, column : column + 8] += 60
        places.append((row, column))
    return pictures, places


def test_a_scratch_is_found_where_it_is(model):
    pictures, places = scratched(20, 5)
    found = model.detect(np.concatenate([sound(20, seed=4), pictures]), false_alarm_rate=0.05)
    assert found.scores[20:].min() > np.median(found.scores[:20])
    assert found.anomalies[20:].mean() > 0.9
    for i, (row, column) in enumerate(places, start=20):
        assert found.heat_maps[i].shape == (192, 256)
        at = np.unravel_index(found.heat_maps[i].argmax(), (192, 256))
        assert abs(at[0] - row) <= 12
        assert abs(at[1] - column - 4) <= 16
        assert found.mask(i).shape == (192, 256)
        assert any(x <= column + 8 and x + w >= column and y <= row + 2 and y + h >= row
                   for x, y, w, h in found.boxes(i))  # fmt: skip
        top, left = found.places[i]
        (reason,) = found.reasons(i)
        first = int(reason.name.removeprefix("rows ").split("–")[0])
        assert top <= first < top + SIDE
        assert left <= column + 8
        assert column < left + SIDE


def test_the_strangest_tile_adds_up_to_the_score_and_is_the_same_alone(model):
    pictures = sound(3, seed=9)
    found = model.detect(pictures)
    total = found.contributions.reshape(3, -1).sum(1, dtype=np.float64) + found.rest
    np.testing.assert_allclose(found.scores, total)
    np.testing.assert_allclose(model.model_.score(pictures), found.scores, rtol=1e-5)
    np.testing.assert_allclose(model.model_.score(pictures[1:2]), found.scores[1:2], rtol=1e-5)


def test_pictures_calibrate_whole_and_as_if_new(model):
    """All 60, not the tiles; and fresh ones score alike: whose tiles were learned from is not held for usual."""
    calibration = model.model_.calibration
    assert len(calibration) == 60
    fresh = model.model_.score(sound(60, seed=11))
    beyond = (fresh > np.quantile(calibration, 0.9)).mean()
    assert 0.0 < beyond < 0.3
    learned = model.model_.score(sound(60))
    assert np.median(learned) < np.median(calibration)  # known pictures would have promised too much


def test_other_sizes_are_scored_at_their_own(model):
    large = sound(2, (300, 420), seed=3)
    large[1, 200:203, 300:310] += 60
    found = model.detect(large)
    assert found.heat_maps[1].shape == (300, 420)
    at = np.unravel_index(found.heat_maps[1].argmax(), (300, 420))
    assert abs(at[0] - 201) <= 12
    assert abs(at[1] - 305) <= 16
    assert found.scores[1] > found.scores[0]


def test_another_detector_calibrates_on_held_out_pictures_alone():
    options = {"modality": {"kind": "tiles", "side": 32}, "epochs": 1, "random_state": 0, "detector": "likelihood"}
    ae = Autoencoder(encoder="linear", decoder="linear", latent_dim=2, **options).fit(sound(24, (64, 80)))
    assert len(ae.model_.calibration) == ae.record_.n_held_out == 6
    assert ae.detect(sound(3, (64, 80))).scores.shape == (3,)


def test_from_the_command_line_folders_of_several_sizes(tmp_path, capsys):
    for name, seed in (("fit", 0), ("new", 1)):
        (tmp_path / name).mkdir()
        for i in range(24):
            picture = sound(1, (96 + 8 * (i % 3), 128), seed=100 * seed + i)[0]
            if name == "new" and i == 5:
                picture[60:63, 80:90] += 70
            PIL.fromarray(picture).save(tmp_path / name / f"{i:02}.png")
    model, out = tmp_path / "m.isthmus", tmp_path / "found"
    small = ["--encoder", "linear", "--decoder", "linear", "--latent-dim", "2", "--epochs", "1"]
    assert main(["fit", str(tmp_path / "fit"), "-o", str(model), "--tile", "64", *small]) == 0
    assert "tiles of 64 x 64" in capsys.readouterr().out
    assert main(["detect", str(model), str(tmp_path / "new"), "-o", str(out), "--budget", "1"]) == 0
    boxes = json.loads((out / "boxes.coco.json").read_text())
    assert [image["file_name"] for image in boxes["images"]] == ["05.png"]
    with PIL.open(out / "masks" / "05.png") as mask:
        assert mask.size == (128, 112)
    # what opens again scores alike
    again = open_model(model)
    assert again.on_tiles
    assert again.score(str(tmp_path / "new")).argmax() == 5
    back = again.reconstruct(str(tmp_path / "new"))
    assert back[5].shape == (112, 128)


def test_what_tiles_cannot_take_is_told():
    tiles = {"modality": {"kind": "tiles", "side": 32}, "epochs": 1, "encoder": "linear", "decoder": "linear"}
    with pytest.raises(SpecError, match="contamination"):
        Autoencoder(contamination=0.1, **tiles).fit(sound(8, (64, 64)))
    with pytest.raises(SpecError, match="no condition"):
        Autoencoder("conditional", **tiles).fit(sound(8, (64, 64)), condition=[0, 1] * 4)
