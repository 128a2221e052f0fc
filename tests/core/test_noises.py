"""What noises are, measured."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from isthmus.core.noises import Impulses, Jpeg, PoissonGaussian, Speckle, White
from isthmus.errors import SpecError

X = torch.full((64, 1, 32, 32), 0.5)


def noise(corruption, x=X):
    torch.manual_seed(0)
    return corruption(x, None).x - x


def test_white_noise_has_the_level_that_was_said():
    assert float(noise(White(low=0.1, high=0.1)).std()) == pytest.approx(0.1, rel=0.02)
    levels = noise(White(low=0.0, high=0.2)).flatten(1).std(1)
    assert float(levels.min()) < 0.03 < 0.17 < float(levels.max())  # each row has its own


def test_photon_noise_grows_with_the_signal():
    corruption = PoissonGaussian(low=0.2, high=0.2, sigma=0.01)
    for value in (0.1, 0.9):
        found = noise(corruption, torch.full_like(X, value)).var()
        assert float(found) == pytest.approx(0.2**2 * value + 0.01**2, rel=0.05)


def test_speckle_is_in_proportion():
    found = [float(noise(Speckle(low=0.3, high=0.3), torch.full_like(X, v)).std()) for v in (0.2, 0.8)]
    assert found == pytest.approx([0.06, 0.24], rel=0.03)


def test_impulses_are_black_and_white():
    found = X + noise(Impulses(low=0.2, high=0.2))
    assert sorted(found.unique().tolist()) == [0.0, 0.5, 1.0]
    assert float((found != 0.5).float().mean()) == pytest.approx(0.2, rel=0.05)
    assert float((X + noise(Impulses(low=0.2, high=0.2, white=0.0))).max()) == 0.5


@pytest.mark.parametrize("quality", [10, 40, 80])
def test_jpeg_is_jpeg(quality):
    """Nearly what a real encoder gives: it rounds its pixels too, and its tables once more."""
    smooth = np.add.outer(np.arange(64), np.arange(64)) + 40 * np.sin(np.arange(64) / 3)
    grey = (smooth + np.random.default_rng(0).normal(0, 12, (64, 64))).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=quality)
    theirs = np.asarray(Image.open(file)).astype(float)
    x = torch.from_numpy(grey.astype(np.float32) / 255)[None, None]
    ours = Jpeg(low=quality, high=quality)(x, None).x[0, 0].numpy() * 255
    assert np.abs(ours - theirs).mean() < 0.2 * np.abs(grey - theirs).mean()


def test_levels_and_shapes_are_checked():
    with pytest.raises(ValueError, match="levels go from low to high"):
        White(low=0.3, high=0.1)
    with pytest.raises(ValueError, match="≤ 1"):
        Impulses(low=0.1, high=1.5)
    with pytest.raises(SpecError, match="multiples of 8"):
        Jpeg()(torch.zeros(1, 1, 9, 9), None)
