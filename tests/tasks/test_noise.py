"""What was planted is found."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from isthmus.tasks.denoising.noise import diagnose, level

spec = importlib.util.spec_from_file_location("scenes", Path(__file__).with_name("scenes.py"))
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)

CLEAN = [p[..., None] for p in made_up.scenes(6, 160, 160)]
G = np.random.default_rng(0)


def noisy(function):
    return [p + function(p) for p in CLEAN]


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1, 0.2])
def test_a_level_is_found_within_a_tenth(sigma):
    pictures = noisy(lambda p: G.normal(0, sigma, p.shape))
    found = diagnose(pictures)
    assert found.sigma == pytest.approx(sigma, rel=0.1)
    assert found.independent
    assert not found.clean
    assert level(pictures[0][..., 0]) == pytest.approx(sigma, rel=0.1)


def test_clean_pictures_are_clean():
    found = diagnose(CLEAN)
    assert found.clean
    assert "as good as clean" in found.words()[0]


@pytest.mark.parametrize(("axis", "across", "down"), [(1, 2, 0), (0, 0, 2)])
def test_noise_that_is_smeared_is_alike_in_that_direction(axis, across, down):
    def smeared(p):
        raw = G.normal(0, 0.1, p.shape)
        return (raw + np.roll(raw, 1, axis) + np.roll(raw, 2, axis)) / 3**0.5

    found = diagnose(noisy(smeared))
    assert (found.across, found.down) == (across, down)
    assert found.alike == pytest.approx(2 / 3, abs=0.1)
    assert found.sigma == pytest.approx(0.1, rel=0.15)
    assert ("rows" if across else "columns") in found.words()[1]


def test_photon_noise_grows_with_light():
    found = diagnose(noisy(lambda p: G.normal(0, 1, p.shape) * np.sqrt(p / 60)))
    assert found.grows > 2
    assert diagnose(noisy(lambda p: G.normal(0, 0.08, p.shape))).grows < 1.5


def test_impulses_are_counted():
    lost = [np.where(G.random(p.shape) < 0.1, G.random(p.shape) < 0.5, p) for p in CLEAN]
    assert diagnose(lost).impulses == pytest.approx(0.1, rel=0.15)
    assert diagnose(CLEAN).impulses < 0.001


def test_blocks_of_jpeg_are_seen():
    import torch

    from isthmus.core.noises import Jpeg

    x = torch.from_numpy(np.stack([p[..., 0] for p in CLEAN])[:, None]).float()
    coded = Jpeg(low=6, high=6)(x, None).x.movedim(1, 3).numpy()
    assert diagnose(list(coded)).blocks > 1.3
    assert diagnose(CLEAN).blocks < 1.2


def test_tiny_pictures_have_a_level_too():
    assert diagnose([G.normal(0.5, 0.1, (10, 9, 1))]).sigma == pytest.approx(0.1, rel=0.4)
