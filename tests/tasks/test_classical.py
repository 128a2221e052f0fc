import importlib.util
from pathlib import Path

import numpy as np
import pytest

from isthmus.tasks.denoising.classical import Method, calibrated, held_out_error, squared_error

pytest.importorskip("skimage")
spec = importlib.util.spec_from_file_location("scenes", Path(__file__).with_name("scenes.py"))
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)

CLEAN = [p[..., None].astype(np.float32) for p in made_up.scenes(3, 96, 96)]
SIGMA = 0.1
NOISY = [p + np.random.default_rng(i).normal(0, SIGMA, p.shape).astype(np.float32) for i, p in enumerate(CLEAN)]


def box(picture):
    """The mean of 3 × 3 pixels."""
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    h, w = picture.shape[:2]
    return np.mean([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=0)


def test_the_error_at_hidden_pixels_is_the_true_one_plus_the_noise():
    """Measured without the clean pictures, for a denoiser whose answer at hidden pixels does not depend on them."""
    for denoise in (box, lambda p: np.full_like(p, p.mean())):
        for noisy, clean in zip(NOISY, CLEAN, strict=True):
            truth = held_out_truth(denoise, noisy, clean)
            assert held_out_error(denoise, noisy) - SIGMA**2 == pytest.approx(truth, abs=0.15 * SIGMA**2)


def held_out_truth(denoise, noisy, clean):
    """The same pixels hidden, held against the clean picture."""
    padded = np.pad(noisy, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    around = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4
    errors = []
    for place in range(2):
        hidden = np.zeros(noisy.shape[:2], bool)
        hidden[place % 4 :: 4, (2 * place + 1) % 4 :: 4] = True
        errors.append(np.square(denoise(np.where(hidden[..., None], around, noisy))[hidden] - clean[hidden]).mean())
    return float(np.mean(errors))


def test_leaving_pictures_as_they_are_wins_nothing():
    """Its error on the picture itself would be zero; hidden pixels see through it."""
    assert held_out_error(lambda p: p, NOISY[0]) > SIGMA**2


@pytest.mark.parametrize("name", ["nlm", "wavelet"])
def test_classical_methods_take_noise_off(name):
    for noisy, clean in zip(NOISY, CLEAN, strict=True):
        assert squared_error(Method(name, 0.8), noisy, clean) < 0.5 * SIGMA**2
    assert Method(name, 0.8)(np.repeat(NOISY[0], 3, axis=2)).shape == (96, 96, 3)


def test_calibration_without_clean_pictures_chooses_nearly_what_the_clean_ones_would():
    alone = calibrated(NOISY, lambda denoise, i: held_out_error(denoise, NOISY[i]))
    shown = calibrated(NOISY, lambda denoise, i: squared_error(denoise, NOISY[i], CLEAN[i]))
    for name, (method, _) in alone.items():
        truth = np.mean([squared_error(method, n, c) for n, c in zip(NOISY, CLEAN, strict=True)])
        assert truth < 1.3 * shown[name][1]
