"""Search by codes: what it finds, how fast, in how much memory, and whether two faces are of one person.

Nothing is fitted to labels but the turn of verification, which is taught by the people that the model was fitted on and
judged on others. Texts are in ``text``.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings

#: Digits that are fitted and searched, and those that ask.
_KNOWN, _ASKING = 20_000, 2_000
#: Pixels that digits are moved by, so that there are a million.
_MOVED = [(down, right) for down in (0, -1, 1, -2, 2) for right in (0, -1, 1, -2, 2)][:17]


def digits(settings: Settings) -> Measured:
    """Share of the ten nearest of 20,000 MNIST digits that are of the class of a test digit, 32 numbers."""
    from sklearn.decomposition import PCA

    from isthmus import Index, Model
    from isthmus.core.scan import Kept, best, unit
    from isthmus.spec import Plan

    mnist = data.mnist()
    n, m = settings.pick(_KNOWN, 1000), settings.pick(_ASKING, 200)
    known, asking = mnist.train[:n], mnist.test[:m]

    def precise(places: Any) -> float:
        return float((mnist.train_labels[:n][np.asarray(places)] == mnist.test_labels[:m, None]).mean())

    def alone(rows: np.ndarray, queries: np.ndarray) -> float:
        return precise(best(unit(queries), Kept(unit(rows)), 10)[1])

    pixels = [data.flat(images) for images in (known, asking)]
    pca = PCA(32, random_state=settings.seed).fit(pixels[0])
    plan = Plan(epochs=settings.pick(15, 1), seed=settings.seed)
    model = Model.fit(known, "denoising", latent_dim=32, plan=plan, device="cpu")
    found = {
        "code": precise(Index.build(model, known).search(asking, 10).places),
        "pixels": alone(*pixels),
        "PCA-32": alone(*map(pca.transform, pixels)),
    }
    others = max(found["pixels"], found["PCA-32"])
    return Measured(
        value=found["code"],
        bar=Bar(at_least=others),
        runs=[found],
        data="mnist",
        seed=settings.seed,
        note=f"recipe denoising; pixels {found['pixels']:.4f}, PCA-32 {found['PCA-32']:.4f}",
    )


@cache
def _million(settings: Settings) -> dict[str, Any]:
    """An index of a million digits, each of 60,000 moved by up to two pixels, codes of 64 numbers; test digits ask."""
    import faiss
    import torch

    from isthmus import Index, Model
    from isthmus.core.scan import best, unit
    from isthmus.spec import Plan

    mnist = data.mnist()
    n, asking = settings.pick(1_000_000, 110_000), mnist.test[: settings.pick(10_000, 500)]
    model = Model.fit(
        mnist.train[: settings.pick(20_000, 2000)], latent_dim=64, device="cpu",
        plan=Plan(epochs=settings.pick(2, 1), seed=settings.seed),
    )  # fmt: skip
    moved = np.concatenate([np.roll(mnist.train, by, (1, 2)) for by in _MOVED[: -(-n // len(mnist.train))]])[:n]
    found: dict[str, Any] = {}
    kept: Any = None
    for codes in ("float", "binary"):
        began = time.process_time()
        built = Index.build(model, moved, codes=codes)
        found[f"{codes} built"] = time.process_time() - began
        path = data.scratch(f"{codes}.idx")
        built.save(path)
        found[f"{codes} file"] = path.stat().st_size
        kept = kept or built.kept
        del built
    del moved
    queries = unit(model.encode(asking))
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    began = time.process_time()
    exact = best(queries, kept, 10)[1]
    found["exact queries/s"] = len(queries) / (time.process_time() - began)
    least = np.einsum("md,md->m", queries, kept.numbers[exact[:, -1]]) - 1e-6
    del exact

    def recall(places: np.ndarray) -> float:
        return float(
            (np.einsum("md,mkd->mk", queries[: len(places)], kept.numbers[places]) >= least[: len(places), None]).mean()
        )

    for codes, most in (("float", len(queries)), ("binary", settings.pick(1000, 100))):
        began = time.perf_counter()
        index = Index.open(data.scratch(f"{codes}.idx"))
        found[f"{codes} open"] = time.perf_counter() - began
        index.nearest(queries[:1], 10)
        found[f"{codes} open and first answer"] = time.perf_counter() - began
        index.nearest(queries[:100], 10)  # makes the lists ready
        began, busy = time.perf_counter(), time.process_time()
        places = index.nearest(queries[:most], 10)[1]
        found[f"{codes} queries/s"] = most / (time.process_time() - busy)
        found[f"{codes} queries/s on the clock"] = most / (time.perf_counter() - began)
        found[f"{codes} recall"] = recall(places)
        found[f"{codes} how"] = index.how()
        if codes == "binary":
            found["binary memory"] = index.bits.bits.nbytes / (4 * len(index) * index.kept.width)
        else:
            found["float memory"] = index.lists.n_bytes() / (4 * len(index) * index.kept.width)
    return found


def _of_million(key: str, bar: Bar) -> Any:
    def measure(settings: Settings) -> Measured:
        found = _million(settings)
        codes = key.split()[0]
        note = (
            f"{found[f'{codes} how']}; {found[f'{codes} queries/s']:,.0f} queries a processor-second, "
            f"{found[f'{codes} queries/s on the clock']:,.0f} a second (all rows: {found['exact queries/s']:,.0f}); "
            f"file {found[f'{codes} file'] / 1e6:.0f} MB; built "
            f"in {found[f'{codes} built']:.0f} processor-seconds, encoding included; first answer "
            f"{found[f'{codes} open and first answer']:.3f} s after opening"
        )
        return Measured(value=found[key], bar=bar, runs=[found], data="mnist", seed=settings.seed, note=note)

    return measure


def faces(settings: Settings) -> Measured:
    """Equal error rate of verification on the 20 people of ORL that nothing was learned from, mean of five splits."""
    from sklearn.decomposition import PCA

    from isthmus import Model
    from isthmus.core.scan import unit
    from isthmus.spec import Plan
    from isthmus.tasks.searching.verify import calibrated, equal_error_rate

    with np.load(data.folder("orl_faces") / "orl_faces.npz") as file:
        images, people = file["images"], file["subject"]

    def wrong(x: np.ndarray, of: np.ndarray) -> float:
        left, right = np.triu_indices(len(x), 1)
        scores, same = (x @ x.T)[left, right], of[left] == of[right]
        return equal_error_rate(scores[same], scores[~same])

    runs = []
    for split in range(settings.pick(5, 1)):
        chosen = np.random.default_rng(split).permutation(40)[:20] + 1
        known = np.isin(people, chosen)
        plan = Plan(epochs=settings.pick(10, 1), seed=split)
        model = Model.fit(images[known], latent_dim=64, plan=plan, modality_options={"size": (56, 46)}, device="cpu")
        flat = data.flat(images)
        pca = PCA(64, random_state=split).fit(flat[known])
        codes = {"code": model.encode(images).reshape(len(images), -1), "PCA-64": pca.transform(flat)}
        run = {"pixels": wrong(unit(flat[~known]), people[~known])}
        for name, z in codes.items():
            line = calibrated(z[known].astype(np.float64), people[known].astype(str), 0.01)
            run[name] = wrong(unit(z[~known]), people[~known])
            run[f"{name}, turned"] = wrong(line.place(z[~known]), people[~known])
        runs.append(run)
    mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    return Measured(
        value=mean["code, turned"],
        bar=Bar(at_most=float(np.nextafter(min(mean["pixels"], mean["PCA-64"]), 0))),
        runs=runs,
        data="orl_faces",
        seed=settings.seed,
        note=", ".join(f"{name} {value:.4f}" for name, value in mean.items()),
    )


FIGURES = {
    "digits": Figure("P@10 by class of MNIST digits, 32 numbers, ≥ pixels' and PCA-32's", digits),
    **{
        f"million/{name}": Figure(metric, _of_million(key, bar), bar)
        for name, key, metric, bar in (
            ("recall", "float recall", "recall@10, 10⁶ × 64", Bar(at_least=0.97)),
            ("speed", "float queries/s", "queries a processor-second of one thread", Bar(at_least=5000)),
            ("open", "float open", "seconds to open the index", Bar(at_most=0.1)),
            ("bits_recall", "binary recall", "recall@10 of 128 bits and another look", Bar(at_least=0.95)),
            (
                "bits_memory",
                "binary memory",
                "bytes that are looked through ÷ those of float codes",
                Bar(at_most=1 / 16),
            ),
        )
    },
    "faces": Figure("equal error rate on people that were not seen, < PCA-64's and pixels'", faces),
}
