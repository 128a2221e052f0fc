"""Maps of digits: what rows that were not fitted keep of their neighbours, and how long a map takes.

8,000 of the MNIST test images are fitted, the other 2,000 are put on the map. Beside us umap-learn in the same run.
Time is that of `fit_map`, decoder, held-out rows and calibration included, and of the places of all rows,
÷ UMAP's `fit_transform`, each on one thread and after a first small map that is not counted.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings, Skip
from benchmarks.paired import paired
from benchmarks.rivals import Contestant

FITTED = 8_000
#: Of the plain autoencoder beside the map: its code has as many numbers.
DIM = 2


@cache
def _split(quick: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    digits = data.mnist()
    order = np.random.default_rng(0).permutation(len(digits.test))
    fitted, fresh = order[: 1000 if quick else FITTED], order[FITTED:]
    rows = data.flat(digits.test)
    return rows[fitted], rows[fresh], digits.test_labels[fitted], digits.test_labels[fresh]


@cache
def _ours(quick: bool, seed: int) -> dict[str, Any]:
    from isthmus.spec import Plan
    from isthmus.tasks.features.reduce import fit_map

    fitted, fresh, _, _ = _split(quick)
    model, _ = fit_map(fitted, dim=DIM, plan=Plan(seed=seed))
    error = float(np.square(model.reconstruct(fresh) - fresh).sum(1).mean())
    return {
        **_judged(quick, model.encode(fitted), model.encode(fresh)),
        "error": error,
        "seconds": model.record.seconds,
    }


def _judged(quick: bool, fitted: Any, fresh: Any) -> dict[str, float]:
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import KNeighborsClassifier

    _, rows, labels, fresh_labels = _split(quick)
    right = KNeighborsClassifier(10).fit(np.asarray(fitted), labels).score(np.asarray(fresh), fresh_labels)
    return {"neighbours": float(right), "trustworthiness": float(trustworthiness(rows, np.asarray(fresh)))}


@cache
def _theirs(quick: bool, name: str, seed: int) -> dict[str, float]:
    fitted, fresh, _, _ = _split(quick)
    with Contestant("maps", threads=1) as they:
        files = {"fit": data.hand_over("map_fit", fitted), "test": data.hand_over("map_fresh", fresh)}
        found = they(name, **files, seed=seed)
    return _judged(quick, found["places"], found["test_places"])


def quality(measure: str, settings: Settings) -> Measured:
    ours = _ours(settings.quick, settings.seed)
    beside: dict[str, dict[str, float]] = {}
    if settings.rivals:
        with suppress(Skip):
            beside["umap"] = _theirs(settings.quick, "umap", settings.seed)
    said = ", ".join(f"{name} {found[measure]:.4f}" for name, found in beside.items())
    return Measured(ours[measure], [{"ours": ours, **beside}], "mnist", settings.seed, note=said)


def decoder(settings: Settings) -> Measured:
    """Held-out squared error ÷ that of the plain autoencoder with two numbers, default settings."""
    from isthmus import Autoencoder

    ours = _ours(settings.quick, settings.seed)
    fitted, fresh, _, _ = _split(settings.quick)
    plain = Autoencoder(latent_dim=DIM, detector="likelihood", random_state=settings.seed).fit(fitted)
    error = float(np.square(plain.reconstruct(fresh) - fresh).sum(1).mean())
    return Measured(
        ours["error"] / error, [{"ours": ours, "plain": error}], "mnist", settings.seed,
        note=f"{ours['error']:.2f} and {error:.2f} an image",
    )  # fmt: skip


def seconds(rows: int, settings: Settings) -> Measured:
    rows, repeats = settings.pick(rows, 1000), 1
    digits = data.flat(data.mnist().train)
    file, small = data.hand_over("map_rows", digits[:rows]), data.hand_over("map_few", digits[:1000])
    with Contestant("ours", threads=1) as ours, Contestant("maps", threads=1) as they:
        ours("map_rows", fit=small)
        they("umap", fit=small)
        result = paired(
            lambda seed: ours("map_rows", fit=file, seed=seed), lambda _: they("umap", fit=file),
            repeats=repeats, key="seconds",
        )  # fmt: skip
    return Measured(
        result.ratio, result.runs, "mnist", settings.seed, versions=they.versions,
        memory_mb=max(run["memory_mb"] for run in result.a),
        note=", ".join(
            f"{name.replace('_', ' ')} {result.a[0][name]:.0f} and {result.b[0][name]:.0f}"
            for name in ("seconds", "processor_seconds")
        ),
    )  # fmt: skip


FIGURES = {
    "neighbours": Figure(
        "10-NN accuracy by digit in two dimensions, rows not fitted",
        partial(quality, "neighbours"),
        Bar(at_least=0.926),
    ),
    "trustworthiness": Figure(
        "trustworthiness in two dimensions, rows not fitted",
        partial(quality, "trustworthiness"),
        Bar(at_least=0.945),
    ),
    "decoder": Figure(
        "held-out squared error ÷ the plain autoencoder's with two numbers", decoder, Bar(at_most=1.0)
    ),
    "seconds_10k": Figure(
        "seconds for the map of 10,000 rows ÷ umap-learn's", partial(seconds, 10_000), Bar(at_most=1.0), rivals=True
    ),
    "seconds_60k": Figure(
        "seconds for the map of 60,000 rows ÷ umap-learn's", partial(seconds, 60_000), Bar(at_most=1.0), rivals=True
    ),
}  # fmt: skip
