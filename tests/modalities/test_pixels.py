import numpy as np
import pytest
import torch

from isthmus.data.images import open_pages
from isthmus.errors import DataError, SpecError
from isthmus.modalities.pixels import Pixels

G = np.random.default_rng(0)


def pictures(*shapes, dtype=np.uint8, high=256):
    return open_pages([G.integers(0, high, shape).astype(dtype) for shape in shapes])


def test_crops_are_pieces_of_the_pictures_and_nothing_is_resized():
    rows = pictures((100, 140), (70, 64))
    face = Pixels.fit(rows)
    x = face.to_tensors(rows)["x"]
    assert x.shape[1:] == face.shape == (1, 64, 64)
    known = rows.data[0].read()[..., 0]
    windows = np.lib.stride_tricks.sliding_window_view(known, (64, 64))
    crop = (x[0, 0] * 255).round().numpy().astype(np.uint8)
    turned = [np.flip(crop, axes) for axes in ((), (0,), (1,), (0, 1))]
    assert any((windows == one).all((2, 3)).any() for one in turned)


def test_pairs_are_cropped_at_the_same_places():
    rows = pictures((90, 120), (200, 64), (20, 30))
    other = open_pages([255 - page.read()[..., 0] for page in rows.data])
    face = Pixels.fit(rows)
    torch.testing.assert_close(face.to_tensors(rows)["x"], 1 - face.to_tensors(other)["x"])


@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 256), (np.uint16, 4000), (np.int16, 900), (np.float32, 3)])
def test_the_raw_type_and_range_come_back(dtype, high):
    rows = pictures((64, 64, 2), (64, 64, 2), dtype=dtype, high=high)
    face = Pixels.fit(rows)
    x = face.to_tensors(rows)["x"]
    assert -0.01 < float(x.min()) <= float(x.max()) < 1.01
    back = face.from_tensors(x)
    assert back.dtype == dtype
    seeds = [np.random.default_rng((i, 64, 64)) for i in range(2)]
    for page, found, seed in zip(rows.data, back, seeds, strict=True):
        seed.integers(1), seed.integers(1)
        flips = [axis for axis in (0, 1) if seed.random() < 0.5]
        assert np.allclose(np.flip(found, flips), page.read(), atol=1e-3)


@pytest.mark.parametrize(("turned", "n"), [(False, 4), (True, 8)])
def test_symmetries_are_all_ways_to_lay_a_picture_and_have_a_way_back(turned, n):
    face = Pixels.fit(pictures((64, 64)), turned=turned)
    x = torch.randn(2, 1, 8, 24)
    ways = [way(x) for way in face.symmetries]
    assert len({tuple(w.flatten().tolist()) for w in ways}) == n
    assert torch.equal(ways[0], x)
    assert all(torch.equal(way.back(w), x) for way, w in zip(face.symmetries, ways, strict=True))
    assert len(Pixels(**face.to_json()).symmetries) == n


def test_small_pictures_have_small_crops():
    face = Pixels.fit(pictures((28, 28), (28, 28)))
    assert face.shape == (1, 32, 32)
    assert len(face.to_tensors(pictures((28, 28)))["x"]) == 1


def test_channels_that_differ_are_pictures_of_their_own():
    rows = pictures((64, 64, 3), (64, 64))
    face = Pixels.fit(rows)
    assert face.channels == 1
    assert len(face.to_tensors(rows)["x"]) == 4
    with pytest.raises(DataError, match=r"modality\.channels=1"):
        Pixels.fit(rows.take([0])).to_tensors(rows.take([1]))


def test_other_types_have_their_own_range():
    face = Pixels.fit(pictures((64, 64)))
    deep = pictures((64, 64), dtype=np.uint16, high=65536)
    assert float(face.to_tensors(deep)["x"].max()) <= 1
    with pytest.raises(DataError, match="uint16 and uint8"):
        Pixels.fit(open_pages([np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint16)]))


def test_options_are_checked():
    for wrong in ({"side": 30}, {"channels": 0}):
        with pytest.raises(SpecError):
            Pixels.fit(pictures((64, 64)), **wrong)
