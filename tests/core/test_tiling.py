"""A picture in tiles is the picture as a whole."""

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.core.tiling import mirrored, tiled


def network(channels):
    """Halves twice, looks around, comes back: an output pixel sees at most 2 + 2·2 + 4·1 + 3 pixels away."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 6, 2, stride=2), nn.ReLU(),
        nn.Conv2d(6, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 6, 2, stride=2), nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(6, channels, 4, stride=4),
    ).eval()  # fmt: skip


@torch.inference_mode()
@pytest.mark.parametrize("size", [(64, 64), (61, 47), (16, 90), (5, 33), (1, 1), (37, 2)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tile", [16, 23, 40])
def test_tiles_are_the_whole(size, channels, tile):
    net, picture = network(channels), np.random.default_rng(1).random((*size, channels), np.float32)
    found = tiled(net, picture, stride=4, reach=13, tile=tile)
    whole = torch.from_numpy(np.moveaxis(picture, 2, 0).copy())[None]
    whole = net(mirrored(whole, tuple(-(-side // 4) * 4 for side in size)))[0].movedim(0, 2).numpy()
    assert found.shape == picture.shape
    assert np.abs(found - whole[: size[0], : size[1]]).max() <= 1e-5  # at its edges too


@torch.inference_mode()
def test_too_small_a_margin_would_be_seen():
    net, picture = network(1), np.random.default_rng(1).random((64, 64, 1), np.float32)
    good, bad = (tiled(net, picture, stride=4, reach=reach, tile=16) for reach in (13, 4))
    assert np.abs(good - bad).max() > 1e-5


def test_a_mirror_goes_on_for_as_long_as_it_has_to():
    x = torch.arange(3.0).reshape(1, 1, 1, 3)
    assert mirrored(x, (1, 8)).flatten().tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert mirrored(x[..., :1], (2, 3)).flatten().tolist() == [0.0] * 6
