"""Noise taken off natural pictures, documents, digits and signals, beside non-local means and wavelets in the same run.

``--minutes`` is the time of each training; the bar of an hour is BM3D's published figure, that of less the best of the
classical methods. Trained on two threads, so that the minutes mean the same wherever they are spent; the processor's
seconds are recorded beside them.
"""

from __future__ import annotations

import time
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.record import peak_memory_mb

SIGMA = 25
#: Published mean PSNR on Set12 at σ = 25 (Zhang et al., DnCNN, 2017).
BM3D, DNCNN = 29.97, 30.44
MINUTES = 10.0


def _minutes(settings: Settings) -> float:
    return settings.pick(MINUTES if settings.minutes is None else settings.minutes, 0.05)


def _pictures(folder: Path, most: int | None = None) -> list[np.ndarray]:
    from PIL import Image

    return [np.asarray(Image.open(path).convert("L")) for path in sorted(folder.glob("*.png"))[:most]]


def _noisy(pictures: list[np.ndarray], sigma: float, seed: int) -> list[np.ndarray]:
    """Eight bits again, as a file has them."""
    generator = np.random.default_rng(seed)
    found = (p + generator.normal(0, sigma, p.shape) for p in pictures)
    return [p.round().clip(0, 255).astype(np.uint8) for p in found]


def _fitted(rows: list[np.ndarray], minutes: float, seed: int, **asked):
    """A model fitted for the job, in so many minutes on two threads, and the processor's seconds that it took."""
    import torch

    from isthmus.spec import Plan
    from isthmus.tasks.jobs import fit_for

    torch.set_num_threads(2)
    began = time.process_time()
    model = fit_for("denoise", rows, plan=Plan(max_time=60 * minutes, seed=seed), **asked)
    return model, time.process_time() - began


def _cleaned(model, method: str, pictures: list[np.ndarray], tta: bool = False) -> list[np.ndarray]:
    from isthmus.tasks.denoising.denoise import denoise

    return list(denoise(model, pictures, method=method, tta=tta))


def _psnr(found: list[np.ndarray], clean: list[np.ndarray]) -> float:
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(found, clean, strict=True)]
    return float(np.mean([10 * np.log10(255**2 / max(e, 1e-9)) for e in errors]))


@cache
def _set12(settings: Settings, alone: bool) -> dict:
    """Mean PSNR on Set12: noisy, ours, and the classical methods, calibrated on held-out training pictures."""
    place = data.folder("denoise_natural")
    train = _pictures(place / "bsd400_gray180", settings.pick(None, 20))
    clean = _pictures(place / "set12", settings.pick(None, 2))
    noisy = _noisy(clean, SIGMA, settings.seed)
    if alone:
        model, seconds = _fitted(
            _noisy(train, SIGMA, settings.seed + 1), _minutes(settings), settings.seed, options={"noise": "own"}
        )
    else:
        model, seconds = _fitted(train, _minutes(settings), settings.seed, options={"noise": f"gaussian:{SIGMA}"})
    found = {"noisy": _psnr(noisy, clean), "network": _psnr(_cleaned(model, "network", noisy), clean)}
    found["tta"] = _psnr(_cleaned(model, "network", noisy, tta=True), clean)
    for name in ("nlm", "wavelet") if not alone else ():
        found[name] = _psnr(_cleaned(model, name, noisy), clean)
    found |= {"minutes": _minutes(settings), "processor_seconds": round(seconds, 1), "epochs": model.record.epochs}
    return found


def _supervised(how: str, settings: Settings) -> Measured:
    found = _set12(settings, False)
    classical = max(found["nlm"], found["wavelet"])
    return Measured(
        value=found[how],
        runs=[found],
        data="denoise_natural",
        seed=settings.seed,
        memory_mb=peak_memory_mb(),
        bar=Bar(at_least=BM3D if found["minutes"] >= 60 else classical),
        note=f"{found['minutes']:g} min ({found['processor_seconds']:.0f} s of processor): noisy {found['noisy']:.2f}, "
        f"nlm {found['nlm']:.2f}, wavelet {found['wavelet']:.2f}; published BM3D {BM3D} "
        f"({found[how] - BM3D:+.2f}), DnCNN {DNCNN} ({found[how] - DNCNN:+.2f})",
    )


def _only_noisy(settings: Settings) -> Measured:
    clean, alone = _set12(settings, False), _set12(settings, True)
    return Measured(
        value=clean["network"] - alone["network"],
        runs=[clean, alone],
        data="denoise_natural",
        seed=settings.seed,
        memory_mb=peak_memory_mb(),
        note=f"{clean['minutes']:g} min each: taught by clean pictures {clean['network']:.2f}, by noisy ones alone "
        f"{alone['network']:.2f}",
    )


@cache
def _documents(settings: Settings) -> dict:
    """Every fifth page held out; pairs teach. PSNR, and how well ink is found by a threshold (F-measure)."""
    place = data.folder("denoise_documents")
    noisy, clean = (_pictures(place / kind, settings.pick(None, 10)) for kind in ("noisy", "clean"))
    test = np.arange(len(noisy)) % 5 == 0
    fit = [[p for p, out in zip(ps, test, strict=True) if not out] for ps in (noisy, clean)]
    other = [[p for p, out in zip(ps, test, strict=True) if out] for ps in (noisy, clean)]
    model, seconds = _fitted(fit[0], _minutes(settings), settings.seed, target=fit[1])
    methods = {"noisy": other[0]} | {name: _cleaned(model, name, other[0]) for name in ("network", "nlm", "wavelet")}
    found = {name: {"psnr": _psnr(p, other[1]), "ink": _ink(p, other[1])} for name, p in methods.items()}
    return found | {"minutes": _minutes(settings), "processor_seconds": round(seconds, 1)}


def _ink(found: list[np.ndarray], clean: list[np.ndarray]) -> float:
    """The F-measure of dark pixels, each picture cut by Otsu's threshold, against the clean one cut in the middle."""
    from skimage.filters import threshold_otsu

    scores = []
    for one, truth in zip(found, clean, strict=True):
        said, there = one < threshold_otsu(one), truth < 128
        hit = float((said & there).sum())
        scores.append(2 * hit / max(float(said.sum() + there.sum()), 1.0))
    return float(np.mean(scores))


def _document(settings: Settings, what: str) -> Measured:
    found = _documents(settings)
    floor = max(found[name][what] for name in ("nlm", "wavelet"))
    bar = max(floor, found["noisy"]["psnr"] + 8) if what == "psnr" else floor
    shown = ", ".join(f"{name} {found[name][what]:.3f}" for name in ("noisy", "nlm", "wavelet"))
    return Measured(
        value=found["network"][what],
        runs=[found],
        data="denoise_documents",
        seed=settings.seed,
        memory_mb=peak_memory_mb(),
        bar=Bar(at_least=bar),
        note=f"{found['minutes']:g} min: {shown}",
    )


def _digits(settings: Settings, noise: str) -> Measured:
    """MSE on MNIST test digits as a share of the noisy digits' own."""
    digits = data.mnist()
    train, test = digits.train[: settings.pick(6000, 200)], digits.test[: settings.pick(500, 20)]
    generator = np.random.default_rng(settings.seed)
    clean = [d / np.float32(255) for d in test]
    if noise.startswith("gaussian"):
        noisy = [(c + generator.normal(0, 0.5, c.shape)).astype(np.float32) for c in clean]
    else:
        noisy = [np.where(generator.random(c.shape) < 0.5, 0, c).astype(np.float32) for c in clean]
    rows = [d / np.float32(255) for d in train]
    model, seconds = _fitted(rows, min(_minutes(settings), 2.0), settings.seed, options={"noise": noise})
    found = _cleaned(model, "network", noisy)
    before, after = (
        float(np.mean([np.square(a - b).mean() for a, b in zip(ps, clean, strict=True)])) for ps in (noisy, found)
    )
    return Measured(
        value=after / before,
        runs=[{"before": before, "after": after, "processor_seconds": round(seconds, 1)}],
        data="mnist",
        seed=settings.seed,
        memory_mb=peak_memory_mb(),
        note=f"MSE {before:.4f} → {after:.4f}",
    )


#: Signal to noise of what is added to signals, dB.
LEVELS = (0, 5, 10)


def _signals(settings: Settings, name: str) -> Measured:
    """SNR gained (dB) on signals held out, the least lead over wavelets at any level; the network is blind to it."""
    from isthmus.tasks.denoising.denoise import denoise, snr

    signals = _ecg() if name == "ecg5000" else _spoken()
    signals = signals[: settings.pick(None, 60)]
    test = np.arange(len(signals)) % 5 == 0
    clean = [s for s, out in zip(signals, test, strict=True) if out]
    train = [s for s, out in zip(signals, test, strict=True) if not out]
    model, seconds = _fitted(
        train, min(_minutes(settings), 2.0), settings.seed, modality="signals", options={"noise": "blind"}
    )
    gains: dict[int, dict[str, float]] = {}
    for level in LEVELS:
        generator = np.random.default_rng(level)
        noisy = [s + generator.normal(0, s.std() * 10 ** (-level / 20), s.shape).astype(np.float32) for s in clean]
        before = np.mean([snr(n, c) for n, c in zip(noisy, clean, strict=True)])
        found = {method: list(denoise(model, noisy, method=method)) for method in ("network", "wavelet")}
        gains[level] = {
            method: float(np.mean([snr(f, c[:, 0]) for f, c in zip(some, clean, strict=True)]) - before)
            for method, some in found.items()
        }
    shown = ", ".join(f"{level} dB {g['network']:+.2f} ({g['wavelet']:+.2f})" for level, g in gains.items())
    return Measured(
        value=min(g["network"] - g["wavelet"] for g in gains.values()),
        runs=[{str(level): g for level, g in gains.items()} | {"processor_seconds": round(seconds, 1)}],
        data=name,
        seed=settings.seed,
        memory_mb=peak_memory_mb(),
        note=f"{seconds:.0f} s of processor; gained, wavelets in brackets: {shown}",
    )


def _ecg() -> list[np.ndarray]:
    with np.load(data.folder("ecg5000") / "ecg5000.npz") as file:
        return list(file["X"].astype(np.float32)[:, :, None])


def _spoken() -> list[np.ndarray]:
    with np.load(data.folder("fsdd") / "fsdd_8khz.npz") as file:
        ends = np.cumsum(file["length"])[:-1]
        return [s.astype(np.float32)[:, None] for s in np.split(file["samples"], ends)]


def _speed(settings: Settings) -> Measured:
    """Megapixels a second of a 12-megapixel grey PNG, from file to file, and what reading and writing it take."""
    from PIL import Image

    from isthmus.data.images import open_image
    from isthmus.tasks.denoising.denoise import denoise

    rows = [np.random.default_rng(i).integers(0, 256, (64, 64), dtype=np.uint8) for i in range(20)]
    model, _ = _fitted(rows, 0.02, settings.seed, options={"noise": "gaussian:25"})
    height, width = settings.pick((3000, 4000), (300, 400))
    source, target = data.scratch("large.png"), data.scratch("clean.png")
    tile = np.kron(rows[0], np.ones((8, 8), np.uint8))
    big = np.tile(tile, (height // 512 + 1, width // 512 + 1))[:height, :width]
    Image.fromarray(_noisy([big], 25, 0)[0]).save(source)
    began = time.perf_counter()
    open_image(source).copy(target, lambda _, page: page)
    files = time.perf_counter() - began
    found = denoise(model, source, method="network")
    before = peak_memory_mb()
    began = time.perf_counter()
    found.save(target)
    seconds = time.perf_counter() - began
    millions = height * width / 1e6
    return Measured(
        value=millions / seconds,
        runs=[
            {"seconds": seconds, "files": files, "megapixels": millions, "memory_grew_mb": peak_memory_mb() - before}
        ],
        data="generated",
        seed=settings.seed,
        memory_mb=peak_memory_mb(),
        note=f"{millions:g} megapixels in {seconds:.1f} s, of which reading and writing alone {files:.1f} s",
    )


FIGURES = {
    "set12": Figure("mean PSNR on Set12, σ = 25 (dB)", partial(_supervised, "network")),
    "set12/tta": Figure("the same, the mean over mirrors and turns (dB)", partial(_supervised, "tta")),
    "only_noisy": Figure("dB lost where noisy pictures alone teach", _only_noisy, Bar(at_most=1.0)),
    "documents/psnr": Figure("PSNR on held-out pages (dB)", lambda settings: _document(settings, "psnr")),
    "documents/ink": Figure("F-measure of ink on held-out pages", lambda settings: _document(settings, "ink")),
    "mnist/gaussian": Figure(
        "MSE ÷ the noisy digits', σ = 0.5", lambda s: _digits(s, "gaussian:0.5"), Bar(at_most=0.25)
    ),
    "mnist/masking": Figure(
        "MSE ÷ the noisy digits', half hidden", lambda s: _digits(s, "masking:0.5"), Bar(at_most=0.25)
    ),
    "signals/ecg5000": Figure(
        "dB of SNR gained above wavelets, heart beats, least of 0, 5, 10 dB",
        lambda s: _signals(s, "ecg5000"),
        Bar(at_least=0),
    ),
    "signals/digits": Figure("the same, spoken digits", lambda s: _signals(s, "fsdd"), Bar(at_least=0)),
    "speed": Figure("megapixels a second, file to file", _speed),
}
