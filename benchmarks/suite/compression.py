"""Rows in few bytes: lossless with a variational model, with a promised error, on any machine, damaged.

References:
    Townsend, Bird and Barber, Practical Lossless Compression with Latent Variables using Bits Back Coding, 2019
    (MNIST test bits per pixel: binarised 0.19, grey 1.41).
"""

from __future__ import annotations

import random
import resource
import runpy
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.nets import mirrored
from benchmarks.record import ROOT

#: What both nets of digits have in common; the detector is as cheap as one can be.
COMMON = {"recipe": "variational", "warm_start": None, "seed": 0}
BINARY = {"latent_dim": 40, **mirrored(400, activation="gelu"), "likelihood": "bernoulli"}
GREY = {"latent_dim": 50, "encoder": {"kind": "mlp", "widths": [400]}, "decoder": {"kind": "mlp", "widths": [300]},
        "likelihood": "pixels"}  # fmt: skip
#: Maximum errors that heart beats are held to, in their own units: they have a deviation of 1.
ERRORS = ("0.01", "0.05", "0.1")


def fitted(rows: Any, *, recipe: str = "plain", epochs: int, latent_dim: int, batch_size: Any = "auto",
           learning_rate: Any = "auto", warm_start: str | None = "pca", seed: int = 0, modality: str | None = None,
           **parts: Any) -> Any:  # fmt: skip
    from isthmus.model import Model
    from isthmus.spec import Plan

    plan = Plan(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    parts = {"detector": "likelihood", **parts}
    return Model.fit(rows, recipe, latent_dim=latent_dim, plan=plan, parts=parts, warm_start=warm_start,
                     modality=modality)  # fmt: skip


def elbo(model: Any, levels: np.ndarray, of: int) -> float:
    """−ELBO in bits per entry, one code a row, of levels scaled to [0, 1]."""
    import torch

    net, total = model.net, 0.0
    torch.manual_seed(0)
    with torch.no_grad():
        for part in torch.from_numpy(levels.reshape(-1, *net.shape)).float().div(of).split(1000):
            code = net.bottleneck(net.encoded(net.features(part)))
            mu, log_var = code.aux["mu"], code.aux["log_var"]
            p = net.decode(mu + torch.randn_like(mu) * (log_var / 2).exp())
            total += float((code.rate - p.log_prob(part)).sum())
    return total / levels.size / np.log(2)


@cache
def binary(seed: int, quick: bool) -> dict[str, Any]:
    train, test = (rows.astype(np.uint8) for rows in data.binarised(seed))
    train, test, epochs = (train[:2000], test[:200], 2) if quick else (train, test, 60)
    model = fitted(train, epochs=epochs, batch_size=128, learning_rate=3e-3, **COMMON, **BINARY)
    return packed(model, test, 1)


@cache
def grey(seed: int, quick: bool) -> dict[str, Any]:
    digits = data.mnist()
    train, test, epochs = (digits.train[:2000], digits.test[:200], 1) if quick else (digits.train, digits.test, 14)
    model = fitted(train, epochs=epochs, batch_size=128, learning_rate=2e-3, **COMMON, **GREY)
    return packed(model, test, 255)


def packed(model: Any, test: np.ndarray, most: int) -> dict[str, Any]:
    """Compress, bring back, compare; bits per pixel of ours and of others."""
    from isthmus.tasks.compression.compress import compress, decompress

    found = compress(model, test)
    assert np.array_equal(decompress(model, found).rows, test)
    bits = {one.name: 8 * one.size / test.size for one in found.beside}
    return {"bits": 8 * len(found.data) / test.size, "elbo": elbo(model, test, most), "ways": found.ways, **bits}


def digits_of(name: str):
    def measure(settings: Settings) -> Measured:
        run = (binary if name == "binarised" else grey)(settings.seed, settings.quick)
        others = ", ".join(f"{k} {run[k]:.3f}" for k in ("zstd", "xz", "Parquet", "PNG", "WebP") if k in run)
        bar = Bar(at_most=min(run["PNG"], run["WebP"])) if name == "grey" else None
        note = f"ELBO {run['elbo']:.4f}; {others}" + ("; the goal is below xz" if name == "grey" else "")
        return Measured(run["bits"], [run], f"mnist test, {name}", settings.seed, bar=bar, note=note)

    return measure


def gap(settings: Settings) -> Measured:
    """How much longer files are than −ELBO says, the worse of both."""
    runs = [binary(settings.seed, settings.quick), grey(settings.seed, settings.quick)]
    shares = [run["bits"] / run["elbo"] - 1 for run in runs]
    return Measured(
        max(shares), runs, "mnist test", settings.seed, note=f"binarised {shares[0]:.2%}, grey {shares[1]:.2%}"
    )


def beats() -> np.ndarray:
    with np.load(data.folder("ecg5000") / "ecg5000.npz") as file:
        return file["X"]


def heart_beats(settings: Settings) -> Measured:
    """Half of the beats fitted, the other half compressed."""
    from isthmus.tasks.compression.compress import compress, decompress

    rows = np.random.default_rng(settings.seed).permutation(beats())
    fit, fresh = rows[:2500], rows[2500 : settings.pick(5000, 3000)]
    model = fitted(fit, epochs=settings.pick(60, 3), latent_dim=16, modality="series", seed=settings.seed)
    runs = []
    for error in ERRORS:
        found = compress(model, fresh, max_error=error)
        away = np.abs(decompress(model, found).rows.astype("f8") - fresh.astype("f8")).max()
        sizes = {one.name: one.size for one in found.beside}
        runs.append({"max_error": error, "largest": float(away), "bytes": len(found.data), "ways": found.ways, **sizes})
        assert away <= float(error)
    ratios = [run["bytes"] / run["zstd"] for run in runs]
    told = ", ".join(
        f"{r:.3f} at {e} ({'/'.join(run['ways'])})" for r, e, run in zip(ratios, ERRORS, runs, strict=True)
    )
    return Measured(max(ratios), runs, "ecg5000, half fitted, the rest compressed", settings.seed, note=told)


def people(settings: Settings) -> Measured:
    """A table of 8 categories and 4 numbers, all of it exact."""
    import pyarrow.parquet as parquet

    from isthmus.tasks.compression.compress import compress, decompress

    table = parquet.read_table(data.folder("adult_income") / "adult_income.parquet")
    table = table.slice(0, settings.pick(len(table), 1000))
    model = fitted(table, epochs=settings.pick(20, 2), latent_dim=8, seed=settings.seed)
    found = compress(model, table)
    back = decompress(model, found).rows
    assert all(back[name].combine_chunks().equals(table[name].combine_chunks()) for name in table.column_names)
    sizes = {one.name: one.size for one in found.beside}
    run = {"bytes": len(found.data), "ways": found.ways, **sizes}
    best = min(sizes, key=lambda name: sizes[name])
    return Measured(
        run["bytes"] / sizes[best], [run], "adult_income", settings.seed, note=f"best of the others: {best}"
    )


def people_variational(settings: Settings) -> Measured:
    """The same table by a variational model, whose numbers are not believed to be surer than half a deviation: finer
    than their whole numbers are, a gaussian is rewarded for nothing.
    """
    import pyarrow.parquet as parquet

    from isthmus.data.source import open_rows
    from isthmus.modalities.table import Table
    from isthmus.tasks.compression.compress import compress, decompress

    table = parquet.read_table(data.folder("adult_income") / "adult_income.parquet")
    table = table.slice(0, settings.pick(len(table), 1000))
    law = {**Table.fit(open_rows(table)).parts()["likelihood"], "sigma": 0.5}
    body = {"kind": "mlp", "widths": [128]}
    model = fitted(table, epochs=settings.pick(30, 2), latent_dim=8, batch_size=128, learning_rate=2e-3, encoder=body,
                   decoder=body, likelihood=law, **COMMON)  # fmt: skip
    found = compress(model, table)
    back = decompress(model, found).rows
    assert all(back[name].combine_chunks().equals(table[name].combine_chunks()) for name in table.column_names)
    sizes = {one.name: one.size for one in found.beside}
    run = {"bytes": len(found.data), "ways": found.ways, **sizes}
    best = min(sizes, key=lambda name: sizes[name])
    note = f"{len(found.data):,} bytes by {'/'.join(found.ways)}; best of the others: {best}"
    return Measured(run["bytes"] / sizes[best], [run], "adult_income", settings.seed, note=note)


def sounds(settings: Settings) -> Measured:
    """Spoken digits as 200 WAV files, of which others were fitted; FLAC makes a file of each."""
    from isthmus.data.rows import Rows
    from isthmus.data.sounds import Sound
    from isthmus.tasks.compression.compress import compress, decompress

    with np.load(data.folder("fsdd") / "fsdd_8khz.npz") as file:
        parts = np.split(file["samples"], np.cumsum(file["length"])[:-1])
        test = file["index"] < settings.pick(5, 1)

    def opened(which: np.ndarray) -> Rows:
        items = [Sound(parts[i], 8000) for i in which]
        return Rows("recordings", items, "spoken digits", tuple(f"{i:04}.wav" for i in which))

    model = fitted(opened(np.flatnonzero(~test)[::20]), epochs=1, latent_dim=8, modality="series", seed=settings.seed)
    fresh = opened(np.flatnonzero(test))
    found = compress(model, fresh)
    back = decompress(model, found).rows
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(fresh.data, back, strict=True))
    sizes = {one.name: one.size for one in found.beside}
    run = {"bytes": len(found.data), "raw": found.raw_bytes, "ways": found.ways, **sizes}
    told = f"{found.raw_bytes:,} bytes became {len(found.data):,}; FLAC {sizes['FLAC']:,}, xz {sizes['xz']:,}"
    return Measured(run["bytes"] / sizes["FLAC"], [run], "fsdd, 200 recordings", settings.seed, note=told)


def elsewhere(settings: Settings) -> Measured:
    """Files of beats and digits, read without oneDNN, with other threads, other batches and in float64."""
    import torch

    from isthmus.tasks.compression import compress as task
    from isthmus.tasks.compression import foresight

    rows = np.random.default_rng(settings.seed).permutation(beats())
    digits = (data.flat(data.mnist().test) > 0.5).astype(np.uint8)
    n = settings.pick(100, 5)
    models = [
        (fitted(rows[:1000], epochs=3, latent_dim=8, modality="series"), rows[1000:], "0.05", 30),
        (
            fitted(digits[:2000], epochs=2, batch_size=128, learning_rate=3e-3, **COMMON, **BINARY),
            digits[2000:],
            None,
            60,
        ),
    ]
    different, runs = 0, []
    usual = torch.get_num_threads(), foresight._ROWS
    for model, fresh, error, size in models:
        files, expected, ways = [], [], set()
        for i in range(n):
            found = task.compress(model, fresh[i * size : (i + 1) * size], max_error=error, compare=False)
            files.append(found.data)
            ways |= set(found.ways)
            expected.append(task.decompress(model, found).rows)
        settings_of = [(1, True, 7, False), (2, False, 64, False), (3, False, 1000, True)]
        for threads, onednn, batch, wide in settings_of:
            torch.set_num_threads(threads)
            foresight._ROWS = batch
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with torch.backends.mkldnn.flags(enabled=onednn):
                    back = [read(task, model, file, wide) for file in files]
            wrong = sum(not np.array_equal(rows, e) for rows, e in zip(back, expected, strict=True))
            different += wrong
            runs.append({"ways": sorted(ways), "threads": threads, "oneDNN": onednn, "batch": batch, "float64": wide,
                         "files": n, "different": wrong})  # fmt: skip
    torch.set_num_threads(usual[0])
    foresight._ROWS = usual[1]
    return Measured(different, runs, "ecg5000 and mnist, 200 files", settings.seed,
                    note=f"{2 * n} files, each read in {len(settings_of)} other ways")  # fmt: skip


def read(task: Any, model: Any, file: bytes, wide: bool) -> np.ndarray:
    """The rows of a file, by the network in float64 where that is wanted (which is another model by its name)."""
    if not wide:
        return task.decompress(model, file).rows
    from isthmus.data.container import pack, unpack

    found = unpack(file)
    model.net.double()
    try:
        header = {**found.header, "model": model.fingerprint}
        return task.decompress(model, pack(header, [(chunk.rows, found.read(chunk)) for chunk in found.chunks])).rows
    finally:
        model.net.float()


def damaged(settings: Settings) -> Measured:
    """Files with bits flipped, cut, swapped, shortened and lengthened: refused, told, or whole."""
    from isthmus.errors import FileError
    from isthmus.tasks.compression.compress import compress, decompress

    damage = runpy.run_path(str(ROOT / "tests" / "conftest.py"))["damage"]
    rows = beats()[:90, :16]
    model = fitted(beats()[:1000, :16], epochs=3, latent_dim=4, modality="series")
    file = compress(model, rows, max_error="0.05", chunk_rows=30, compare=False)
    whole, chance = decompress(model, file).rows, random.Random(settings.seed)
    parts = [whole[i : i + 30].tobytes() for i in (0, 30, 60)]
    known = {b"".join(p for k, p in enumerate(parts) if kept >> k & 1) for kept in range(8)}
    counts = {"refused": 0, "told": 0, "wrong": 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(settings.pick(10_000, 200)):
        broken = damage(file.data, chance)
        try:
            back = decompress(model, broken, salvage=True)
        except FileError as error:
            counts["refused" if str(error).endswith(".") else "wrong"] += 1
            continue
        fine = back.rows.tobytes() in known and (back.remark or broken == file.data)
        counts["told" if fine else "wrong"] += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    note = f"{counts['refused']:,} refused, {counts['told']:,} told and salvaged; {grown:.0f} MB more"
    return Measured(
        counts["wrong"] + (grown > 200), [{**counts, "grown_mb": grown}], "ecg5000", settings.seed, note=note
    )


def _photographs(settings: Settings, colour: bool) -> tuple[list[Path], list[Path]]:
    """Files that a codec is taught by, and others that it is measured on: BSD400 and Set12 in grey; in colour the few
    that scikit-learn and scikit-image hold.
    """
    if not colour:
        place = data.folder("denoise_natural")
        train, test = (sorted((place / name).glob("*.png")) for name in ("bsd400_gray180", "set12"))
        return train[: settings.pick(None, 4)], test[: settings.pick(None, 1)]
    import skimage
    import sklearn

    theirs, ours = Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images"
    train = [
        theirs / name
        for name in ("hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg")
    ]
    test = [theirs / name for name in ("astronaut.png", "chelsea.png", "coffee.png")]
    return [*train, *sorted(ours.glob("*.jpg"))][: settings.pick(None, 2)], test[: settings.pick(None, 1)]


@cache
def _pictures(settings: Settings, colour: bool) -> dict[str, Any]:
    """A codec taught by photographs, and its files of others against other formats' at equal error, one per picture."""
    from PIL import Image

    from benchmarks.rate_distortion import QUALITIES, bd_rate, curve_of
    from isthmus.spec import Plan
    from isthmus.tasks.compression.compress import compress, decompress
    from isthmus.tasks.compression.pictures_packed import psnr
    from isthmus.tasks.jobs import fit_for

    train, test = _photographs(settings, colour)
    began = time.process_time()
    limit = None if settings.minutes is None else 60 * settings.minutes
    plan = Plan(seed=settings.seed, max_time=limit, epochs=settings.pick("auto", 1))
    model = fit_for("compress", [str(path) for path in train], plan=plan)
    seconds = time.process_time() - began
    others = [name for name in QUALITIES if name != "AVIF" or features.check("avif")]
    ours, gains = [], {name: [] for name in others}
    for path in test:
        with Image.open(path) as opened:
            pixels = np.atleast_3d(np.asarray(opened.convert("RGB" if colour else "L")))
        shown, curve = pixels if colour else pixels[..., 0], []
        for quality in settings.pick((1, 15, 30, 45, 60, 75, 90, 100), (1, 50, 100)):
            file = compress(model, [shown], quality=quality, compare=False).data
            near = psnr(pixels, np.atleast_3d(decompress(model, file).rows[0]))
            curve.append((8 * len(file) / pixels[..., 0].size, near))
        ours.append({"picture": path.name, "curve": curve})
        for name in others:
            gains[name].append(bd_rate(curve, curve_of(pixels, name)))
    return {"bd_rate": gains, "pictures": ours, "processor_seconds": seconds, "epochs": model.record.epochs}


def pictures_against(name: str, colour: bool = False) -> Callable[[Settings], Measured]:
    def measure(settings: Settings) -> Measured:
        run = _pictures(settings, colour)
        means = {other: float(np.mean(each)) for other, each in run["bd_rate"].items()}
        told = ", ".join(f"{other} {mean:+.1%}" for other, mean in means.items())
        at = zip(*(one["curve"] for one in run["pictures"]), strict=True)
        curve = "; ".join(f"{np.mean([r for r, _ in p]):.3f} bpp {np.mean([n for _, n in p]):.2f} dB" for p in at)
        note = f"{told}; their mean: {curve}; trained for {run['processor_seconds']:.0f} s of processor"
        what = "7 photographs fitted, 3 measured" if colour else "bsd400 fitted, set12 measured"
        return Measured(means[name], [run], what, settings.seed, note=note)

    return measure


def broken_pictures(settings: Settings) -> Measured:
    """Files of pictures with bits flipped, cut, swapped, shortened and lengthened: refused, told, or whole."""
    from isthmus.errors import FileError
    from isthmus.spec import Plan
    from isthmus.tasks.compression.compress import compress, decompress
    from isthmus.tasks.jobs import fit_for

    helpers = runpy.run_path(str(ROOT / "tests" / "conftest.py"))
    chance, y, x = random.Random(settings.seed), *np.mgrid[:40, :56]
    pictures = [(128 + 90 * np.sin(x / (5 + i)) * np.cos(y / 7)).astype(np.uint8) for i in range(3)]
    small = {"encoder": {"width": 2}, "decoder": {"width": 2}, "bottleneck": {"width": 8, "hyper": 4, "told": 4}}
    model = fit_for("compress", pictures, plan=Plan(epochs=1), parts=small)
    files = [compress(model, some, quality=40, compare=False).data for some in (pictures, pictures[:1])]
    whole = [one.tobytes() for one in decompress(model, files[0]).rows]
    counts = {"refused": 0, "told": 0, "wrong": 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(settings.pick(10_000, 100)):
        file = files[i % 2]
        broken = helpers["damage"](file, chance)
        try:
            back = decompress(model, broken, salvage=True)
        except FileError as error:
            counts["refused" if str(error).endswith(".") else "wrong"] += 1
            continue
        fine = all(one.tobytes() in whole for one in back.rows) and (back.remark or broken == file)
        counts["told" if fine else "wrong"] += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    note = f"{counts['refused']:,} refused, {counts['told']:,} told and salvaged; {grown:.0f} MB more"
    return Measured(counts["wrong"] + (grown > 200), [{**counts, "grown_mb": grown}], "waves", settings.seed, note=note)


FIGURES = {
    "binarised": Figure("binarised MNIST test, lossless, bits per pixel", digits_of("binarised"), Bar(at_most=0.20)),
    "grey": Figure("grey MNIST test, lossless, bits per pixel; bar: WebP and PNG", digits_of("grey")),
    "elbo": Figure("how much longer files are than −ELBO", gap, Bar(at_most=0.01)),
    "heart_beats": Figure("ECG5000, equal maximum error: bytes ÷ (quantise + delta + zstd), worst of 3 errors",
                          heart_beats, Bar(at_most=0.8)),
    "table": Figure("adult_income, exact: bytes ÷ the best of zstd, xz and Parquet", people, Bar(at_most=1.0)),
    "table_variational": Figure("adult_income, exact, variational: bytes ÷ the best of zstd, xz and Parquet",
                                people_variational, Bar(at_most=1.0)),
    "sounds": Figure("spoken digits, every sample: bytes ÷ FLAC, file by file", sounds, Bar(at_most=1.0)),
    "elsewhere": Figure("files that read otherwise on other threads, libraries, batches or types", elsewhere,
                        Bar(at_most=0)),
    "pictures": Figure("lossy pictures, BD-rate against JPEG, mean over Set12 (−0.35: 35 % shorter)",
                       pictures_against("JPEG"), Bar(at_most=-0.35)),
    "pictures/webp": Figure("the same against WebP", pictures_against("WebP"), Bar(at_most=0.0)),
    "pictures/colour": Figure("in colour, BD-rate against JPEG, mean over 3 photographs, 7 others fitted",
                              pictures_against("JPEG", True)),
    "pictures/damaged": Figure("damaged files of pictures that gave wrong ones, no clear error, or took 200 MB",
                               broken_pictures, Bar(at_most=0)),
    "damaged": Figure("damaged files that gave wrong rows, no clear error, or took 200 MB", damaged, Bar(at_most=0)),
}  # fmt: skip
