import json

import numpy as np
import pytest

from isthmus.data.rows import Rows
from isthmus.errors import FileError, SpecError
from isthmus.tasks.detection.detection import Detection
from isthmus.tasks.detection.regions import boxes_of, coco, overlay, resized, yolo


def found(shape=(2, 1, 8, 8), rows=None):
    contributions = np.zeros(shape, np.float32)
    contributions[1, ..., 2:4, 4:8] = 5.0
    n = len(contributions)
    rows = rows or Rows("image", np.full((n, 16, 32), 100, np.uint8))
    return Detection(
        scores=contributions.reshape(n, -1).sum(1), p_values=np.array([0.5, 0.01]),
        anomalies=np.array([False, True]), contributions=contributions, rest=np.zeros(n), false_alarm_rate=0.01,
        threshold=1.0, n_calibration=100, rows=rows, usual=np.zeros(shape[1:], np.float32), usual_rest=0.0, how="",
        line=4.0,
    )  # fmt: skip


def test_a_known_mask_has_known_boxes():
    mask = np.zeros((20, 30), bool)
    mask[2:5, 3:10] = True
    mask[12:18, 20:29] = True
    assert boxes_of(mask) == [(20, 12, 9, 6), (3, 2, 7, 3)]


def test_a_known_box_as_coco_and_yolo():
    box = (20, 12, 10, 6)
    said = coco(["a.png"], [(40, 100)], [[box]])
    assert said["images"] == [{"id": 1, "file_name": "a.png", "height": 40, "width": 100}]
    assert said["annotations"][0]["bbox"] == [20, 12, 10, 6]
    assert said["annotations"][0]["area"] == 60
    assert [float(v) for v in yolo([box], 40, 100).split()] == [0, 0.25, 0.375, 0.1, 0.15]


def test_a_map_comes_back_in_the_picture_s_own_size():
    detection = found()
    assert detection.heat_maps.shape == (2, 8, 8)
    assert detection.mask(1).shape == (16, 32)
    (box,) = detection.boxes(1)
    # twice as tall and four times as wide as the map, less what is below the line at the border
    assert box[0] >= 15
    assert box[0] + box[2] == 32
    assert 4 <= box[1] + box[3] <= 8
    assert detection.boxes(0) == []
    assert detection.overlay(1).shape == (16, 32, 3)


def test_a_quiet_map_leaves_the_picture_as_it_is():
    picture = np.random.default_rng(0).integers(0, 255, (5, 6, 3), np.uint8)
    assert (overlay(picture, np.zeros((5, 6)), 1.0) == picture).all()
    assert (resized(np.ones((3, 3)), 6, 6) == 1).all()


def test_a_folder_holds_what_a_person_needs_and_originals_stay(tmp_path):
    from PIL import Image

    paths = []
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((16, 32), 100, np.uint8)).save(tmp_path / name)
        paths.append(tmp_path / name)
    before = [path.read_bytes() for path in paths]
    rows = Rows("image", paths, names=("a.png", "b.png"))
    out = tmp_path / "out"
    written = found(rows=rows).save(out)
    assert all(path.exists() for path in written)
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*")) == [
        "boxes.coco.json", "labels/b.txt", "masks/b.png", "overlays/b.png", "scores.csv",
    ]  # fmt: skip
    assert json.loads((out / "boxes.coco.json").read_text())["images"][0]["file_name"] == "b.png"
    mask = np.asarray(Image.open(out / "masks" / "b.png"))
    assert mask.shape == (16, 32)
    assert set(np.unique(mask)) == {0, 255}
    assert [path.read_bytes() for path in paths] == before


def test_an_original_in_the_way_is_told(tmp_path):
    from PIL import Image

    place = tmp_path / "out" / "overlays" / "b.png"
    place.parent.mkdir(parents=True)
    Image.fromarray(np.full((16, 32), 100, np.uint8)).save(place)
    before = place.read_bytes()
    rows = Rows("image", [place, place], names=("a.png", "b.png"))
    with pytest.raises(FileError, match="one of the pictures themselves"):
        found(rows=rows).save(tmp_path / "out")
    assert place.read_bytes() == before


def test_rows_that_are_no_pictures_have_no_map():
    detection = found()
    detection.contributions = np.zeros((2, 5))
    with pytest.raises(SpecError, match="these rows are none"):
        _ = detection.heat_maps
