"""From signals to signals: what is chosen, what comes off, and what stays as it was."""

import json

import numpy as np
import pytest

from isthmus.app.cli import main
from isthmus.data.signals import open_signals
from isthmus.errors import SpecError
from isthmus.spec import Plan
from isthmus.tasks.denoising.classical import candidates, held_out_error
from isthmus.tasks.denoising.denoise import denoise, snr
from isthmus.tasks.denoising.noise import diagnose
from isthmus.tasks.jobs import fit_for

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("skimage")
SMALL = {place: {"kind": "unet", "widths": [8, 16, 16], "blocks": 1} for place in ("encoder", "decoder")}


def tones(n, steps=640, seed=0):
    """Two tones that come and go, (steps, 1) each."""
    g, t = np.random.default_rng(seed), np.arange(steps)
    found = []
    for _ in range(n):
        rates, phases = g.uniform(0.02, 0.12, 2), g.uniform(0, 6, 2)
        envelope = np.exp(-(((t - g.uniform(0.3, 0.7) * steps) / (0.25 * steps)) ** 2))
        found.append((envelope * (np.sin(rates[0] * t + phases[0]) + 0.5 * np.sin(rates[1] * t + phases[1])))[:, None])
    return found


def noisy(signals, sigma, seed=1, smooth=1):
    g = np.random.default_rng(seed)
    found = []
    for s in signals:
        noise = g.standard_normal((len(s) + smooth - 1, s.shape[1]))
        wide = np.lib.stride_tricks.sliding_window_view(noise, smooth, 0).sum(-1) / smooth**0.5
        found.append(s + sigma * wide)
    return found


def fitted(rows, epochs=4, **asked):
    said = []
    plan = Plan(epochs=epochs, learning_rate=5e-3)
    return fit_for("denoise", rows, modality="signals", parts=SMALL, plan=plan, told=said.append, **asked), said


@pytest.fixture(scope="module")
def model():
    return fitted(tones(60), 12, options={"noise": "blind"})[0]


def mean_snr(found, clean):
    return np.mean([snr(f.reshape(c.shape), c) for f, c in zip(found, clean, strict=True)])


def test_it_takes_noise_off_signals_that_it_has_never_seen_and_knows_by_how_much(model):
    clean = tones(8, 1000, seed=5)
    rows = noisy(clean, 0.2)
    found = denoise(model, rows, method="network", target=clean)
    assert mean_snr(found, clean) > mean_snr(rows, clean) + 6
    before, after = found.scorecard.snr
    assert before == pytest.approx(mean_snr(rows, clean), abs=0.01)
    assert after == pytest.approx(mean_snr(found, clean), abs=0.01)
    wavelet = denoise(model, rows, method="wavelet")
    assert mean_snr(wavelet, clean) > mean_snr(rows, clean) + 3
    assert "signal to noise" in found.summary()[1]
    assert found[0].shape == (1000,)


def test_a_long_signal_is_cleaned_as_if_it_went_through_whole(model, monkeypatch):
    from isthmus.tasks.denoising import denoise as module

    (long,) = noisy(tones(1, 5000, seed=6), 0.2)
    whole = denoise(model, [long], method="network")[0]
    monkeypatch.setattr(module, "_SIGNAL_TILE", 512)
    np.testing.assert_allclose(denoise(model, [long], method="network")[0], whole, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "asked", "how"),
    [
        (noisy(tones(20), 0.2), {}, "neighbours"),
        (noisy(tones(20), 0.2, smooth=4), {"options": {"noise": "own"}}, "blind_spot"),
        (noisy(tones(20), 0.2), {"target": tones(20)}, "supervised"),
        (noisy(tones(20), 0.2), {"target": noisy(tones(20), 0.2, seed=9)}, "noise2noise"),
        (tones(20), {"options": {"noise": "gaussian:0.2"}}, "synthetic"),
    ],
)
def test_the_training_follows_from_what_there_is(rows, asked, how):
    model, said = fitted(rows, 1, **asked)
    assert model.record.job["how"] == how
    assert model.record.job["signals"]
    assert "held-out signal(s)" in said[-1] or "held-out signal(s)" in said[-2]


def test_noise_is_diagnosed():
    white, alike = (diagnose([s[None] for s in noisy(tones(40), 0.3, smooth=n)]) for n in (1, 5))
    assert white.sigma == pytest.approx(0.3, rel=0.15)
    assert white.independent
    assert not alike.independent
    assert alike.across >= 2


def test_hidden_steps_choose_the_strength_that_the_truth_would():
    (clean,) = tones(1, 30_000)
    (rows,) = noisy([clean], 0.2)
    assert list(candidates(signals=True)) == ["wavelet"]  # non-local means are of pictures
    tried = candidates(signals=True)["wavelet"]
    truth = [float(np.square(method(rows[None]) - clean).mean()) for method in tried]
    told = [held_out_error(method, rows[None]) for method in tried]
    assert np.argmin(told) == np.argmin(truth)
    assert max(told) < held_out_error(lambda signal: signal, rows[None])


def test_sounds_from_the_command_line(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for i, s in enumerate(noisy(tones(24, 800), 0.1)):
        soundfile.write(tmp_path / "in" / f"{i:02}.wav", (8000 * s[:, 0]).astype(np.int16), 8000)
    model, out = tmp_path / "m.isthmus", tmp_path / "out"
    widths = ["--set", "encoder.widths=[8,8]", "--set", "decoder.widths=[8,8]"]
    kinds = ["--encoder", "unet", "--decoder", "unet"]
    assert (
        main(["fit", str(tmp_path / "in"), "--for", "denoise", "-o", str(model), "--epochs", "3", *kinds, *widths]) == 0
    )
    assert "every step's neighbour is its second shot" in capsys.readouterr().out
    assert main(["denoise", str(model), str(tmp_path / "in"), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signals"] == 24
    before, after = (soundfile.read(tmp_path / name / "07.wav", dtype="int16") for name in ("in", "out"))
    assert before[1] == after[1] == 8000
    assert 0 < np.abs(before[0].astype(int) - after[0]).mean() < 2000
    # originals are only read
    assert main(["denoise", str(model), str(tmp_path / "in"), "-o", str(tmp_path / "in")]) == 2
    assert "originals themselves" in capsys.readouterr().err


def test_missing_values_stay_missing_and_channels_keep_their_own_units():
    g = np.random.default_rng(0)
    signals = [np.hstack([s, 1000 + 50 * s[::-1]]) + g.normal(0, [0.1, 5.0], (640, 2)) for s in tones(20)]
    model, _ = fitted(signals, 6, options={"noise": "own"})
    holed = signals[0].copy()
    holed[100:103, 0] = np.nan
    found = denoise(model, [holed], method="network")[0]
    assert np.isnan(found[100:103, 0]).all()
    assert np.isfinite(np.delete(found, range(100, 103), 0)).all()
    assert abs(np.nanmean(found[:, 1]) - 1000) < 20
    assert open_signals([holed]).data[0].shape == (1, 640, 2)


def test_noise_that_signals_do_not_have_is_told():
    with pytest.raises(SpecError, match="Noise on signals is gaussian"):
        fitted(tones(4), options={"noise": "jpeg:20"})
    with pytest.raises(SpecError, match="'pixels' or 'signals'"):
        fit_for("denoise", tones(4), modality="table")
