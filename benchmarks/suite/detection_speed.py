"""Seconds of fit and score together, 100,000 rows of 30 columns, default settings.

Beside us PyOD's AutoEncoder with its defaults, in turn, and scikit-learn's isolation forest with a hundred trees.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.nets import DEFAULTS
from benchmarks.paired import paired
from benchmarks.rivals import Contestant

COLUMNS = 30


def _rows(settings: Settings) -> np.ndarray:
    generator = np.random.default_rng(settings.seed)
    mixing = generator.normal(size=(COLUMNS, COLUMNS))
    return (generator.normal(size=(settings.pick(100_000, 2000), COLUMNS)) @ mixing).astype(np.float32)


def against_pyod(settings: Settings) -> Measured:
    rows = data.hand_over("rows", _rows(settings))
    with Contestant("ours") as ours, Contestant("pyod") as theirs:

        def both(contestant: Contestant, **fit: object) -> dict[str, float]:
            fitted, scored = contestant("fit_detector", train=rows, **fit), contestant("score", rows=rows)
            return {**scored, "fit_seconds": fitted["seconds"], "seconds": fitted["seconds"] + scored["seconds"]}

        result = paired(
            lambda seed: both(ours, options={**DEFAULTS, "random_state": seed}),
            lambda seed: both(theirs, seed=seed, options={}),
            repeats=settings.pick(2, 1),
            key="seconds",
        )
    return Measured(
        value=result.ratio,
        runs=result.runs,
        data=f"synthetic: {settings.pick(100_000, 2000):,} × {COLUMNS} correlated normal columns",
        seed=settings.seed,
        versions=theirs.versions,
        memory_mb=max(run["memory_mb"] for run in result.a),
        note=f"{result.a[0]['seconds']:.1f} against {result.b[0]['seconds']:.1f} s",
    )


def against_iforest(settings: Settings) -> Measured:
    from sklearn.ensemble import IsolationForest

    rows = _rows(settings)
    path = data.hand_over("rows", rows)
    with Contestant("ours") as ours:

        def forest(seed: int) -> dict[str, float]:
            start = perf_counter()
            IsolationForest(n_estimators=100, random_state=seed).fit(rows).score_samples(rows)
            return {"seconds": perf_counter() - start}

        def we(seed: int) -> dict[str, float]:
            fitted = ours("fit_detector", train=path, options={**DEFAULTS, "random_state": seed})
            return {"seconds": fitted["seconds"] + ours("score", rows=path)["seconds"]}

        result = paired(we, forest, repeats=settings.pick(3, 1), key="seconds")
    return Measured(
        value=result.ratio,
        runs=result.runs,
        data=f"synthetic: {len(rows):,} × {COLUMNS} correlated normal columns",
        seed=settings.seed,
        note=f"{result.a[0]['seconds']:.1f} against {result.b[0]['seconds']:.1f} s",
    )


FIGURES = {
    "pyod": Figure("seconds of fit and score ÷ PyOD's AutoEncoder", against_pyod, Bar(at_most=0.5), rivals=True),
    "iforest": Figure("seconds of fit and score ÷ isolation forest", against_iforest),
}
