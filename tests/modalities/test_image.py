import numpy as np
import pytest
import torch
from PIL import Image as PIL

from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.modalities.image import Image

G = np.random.default_rng(0)


def pixels(*shape, dtype=np.uint8):
    return G.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.fixture
def save(tmp_path):
    def write(name, array, **options):
        PIL.fromarray(array).save(tmp_path / name, **options)
        return tmp_path

    return write


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 9, 7), (5, 9, 7, 1), (5, 9, 7, 3), (5, 9, 7, 4)])
def test_arrays_come_back_exactly(shape, dtype):
    x = pixels(*shape, dtype=dtype)
    image = Image.fit(open_rows(x))
    tensor = image.to_tensors(open_rows(x))["x"]
    assert tensor.shape == (5, *image.shape)
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    back = image.from_tensors(tensor)
    assert back.dtype == x.dtype
    assert np.array_equal(back, x)


@pytest.mark.parametrize(
    "array",
    [pixels(9, 7), pixels(9, 7, dtype=np.uint16), pixels(9, 7, 3), pixels(9, 7, 4)],
    ids=["L", "I;16", "RGB", "RGBA"],
)
def test_files_come_back_exactly(save, array):
    rows = open_rows(save("p.png", array))
    image = Image.fit(rows)
    back = image.from_tensors(image.to_tensors(rows)["x"])
    assert back.dtype == array.dtype
    assert np.array_equal(back[0], array)


def test_floats_within_a_known_range():
    for x in (G.random((4, 8, 8)), G.random((4, 8, 8, 3)).astype(np.float32) * 255):
        image = Image.fit(open_rows(x))
        back = image.from_tensors(image.to_tensors(open_rows(x))["x"])
        assert back.dtype == x.dtype
        assert np.allclose(back, x, atol=1e-4)
    with pytest.raises(DataError, match=r"within \[0, 1\] or \[0, 255\].*Rescale"):
        Image.fit(open_rows(G.normal(size=(4, 8, 8))))
    image = Image.fit(open_rows(G.random((4, 8, 8))))
    with pytest.raises(DataError, match="trained on 0 to 1"):
        image.to_tensors(open_rows(G.random((4, 8, 8)) * 255))


def test_mixed_sizes_take_the_most_common(save):
    for i in range(4):
        save(f"a{i}.png", np.full((12, 10), 50, np.uint8))
    rows = open_rows(save("b.png", np.full((40, 30), 50, np.uint8)))
    image = Image.fit(rows)
    assert image.size == (12, 10)
    assert "12 x 10" in image.describe()[1]
    assert "4 of 5" in image.describe()[1]
    assert torch.allclose(image.to_tensors(rows)["x"], torch.tensor(50 / 255))
    assert Image.fit(rows, size=6).shape == (1, 6, 6)
    assert Image.fit(rows, size=(6, 5), channels=3).shape == (3, 6, 5)


def test_no_size_in_common_takes_the_median(save):
    for side in (8, 10, 12):
        folder = save(f"{side}.png", pixels(side, 2 * side))
    assert Image.fit(open_rows(folder)).size == (10, 20)


def test_large_pictures_are_made_smaller_and_that_is_told():
    image = Image.fit(open_rows(pixels(1, 600, 300)))
    assert image.size == (256, 128)
    assert "say size=… to override" in image.describe()[1]
    assert Image.fit(open_rows(pixels(1, 600, 300)), size=(600, 300)).size == (600, 300)


def test_shrinking_keeps_the_mean():
    x = pixels(1, 64, 64)
    image = Image.fit(open_rows(x), size=16)
    assert np.isclose(image.to_tensors(open_rows(x))["x"].mean(), x.mean() / 255, atol=1e-3)


def test_orientation_is_applied(save):
    array = np.zeros((4, 8), np.uint8)
    array[:, 0] = 255
    exif = PIL.Exif()
    exif[0x0112] = 6
    rows = open_rows(save("p.png", array, exif=exif))
    image = Image.fit(rows)
    assert image.size == (8, 4)
    # a quarter turn to the right brings the left edge to the top
    assert image.from_tensors(image.to_tensors(rows)["x"])[0][0].tolist() == [255] * 4


def test_palettes_become_colours(tmp_path):
    picture = PIL.fromarray(pixels(9, 7, 3)).quantize(8)
    picture.save(tmp_path / "p.gif")
    picture.save(tmp_path / "q.png", transparency=bytes([0, 128, 255]))
    rows = open_rows(tmp_path)
    image = Image.fit(rows)
    assert image.channels == 3
    back = image.from_tensors(image.to_tensors(rows)["x"])
    assert np.array_equal(back[0], np.asarray(picture.convert("RGB")))


def test_an_opaque_alpha_channel_says_nothing(save):
    array = pixels(9, 7, 4)
    array[..., 3] = 255
    assert Image.fit(open_rows(save("p.png", array))).channels == 3


def test_other_sizes_and_channels_are_adapted():
    image = Image.fit(open_rows(pixels(3, 8, 8)))
    rows = open_rows(np.full((2, 16, 16, 3), 51, np.uint8))
    assert torch.allclose(image.to_tensors(rows)["x"], torch.full((2, 1, 8, 8), 0.2), atol=1e-6)
    assert len(image.remarks(rows)) == 2
    colour = Image.fit(open_rows(pixels(3, 8, 8, 3)))
    assert torch.allclose(colour.to_tensors(open_rows(np.full((2, 8, 8), 51, np.uint8)))["x"], torch.tensor(0.2))
    # 16 bits for a model of 8, and the other way round
    assert torch.allclose(image.to_tensors(open_rows(np.full((1, 8, 8), 65535, np.uint16)))["x"], torch.tensor(1.0))


def test_small_pictures_are_vectors_and_large_ones_are_convolved():
    assert Image.fit(open_rows(pixels(2, 28, 28))).parts()["encoder"] == {"kind": "mlp"}
    assert Image.fit(open_rows(pixels(2, 65, 64))).parts()["encoder"] == {"kind": "conv"}


def test_mistakes(monkeypatch):
    rows = open_rows(pixels(3, 8, 8))
    for size in (3.5, (1, 2, 3), 0, "8"):
        with pytest.raises(SpecError, match="size is one number or"):
            Image.fit(rows, size=size)
    with pytest.raises(SpecError, match="channels is"):
        Image.fit(rows, channels=2)
    with pytest.raises(DataError, match=r"np.moveaxis\(X, 1, 3\)"):
        Image.fit(open_rows(pixels(5, 3, 20, 20)))
    with pytest.raises(DataError, match="Reshape"):
        Image.fit(open_rows(np.zeros((5, 64))))
    monkeypatch.setattr("isthmus.modalities.image.MAX_BYTES", 100)
    with pytest.raises(DataError, match=r"rows.chunks\(1024\)"):
        Image.fit(rows).to_tensors(rows)
