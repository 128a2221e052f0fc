"""Training rows a second on the seed's net: 784-128-64-32 mirrored, MNIST, batch 128, Adam 1e-3.

The training alone, for everybody, with what each does to a batch on its way. Not charged: reading the data,
our preparation and calibration, JAX's compilation, the scoring that ends PyOD's `fit`, and a first small fit.
What a whole call of `fit` takes is the business of `time_to_quality`.
"""

from __future__ import annotations

from functools import partial

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.nets import SEED_NET
from benchmarks.paired import paired
from benchmarks.rivals import Contestant

WARM_UP_ROWS = 2560


def against(rival: str, threads: int | None, settings: Settings) -> Measured:
    epochs, repeats = settings.pick(3, 1), settings.pick(5, 1)
    digits = data.mnist()
    files = {
        "train_images": data.hand_over("train", digits.train[: settings.pick(None, 10_000)]),
        "test_images": data.hand_over("test", digits.test),
    }
    with Contestant("ours", threads=threads) as ours, Contestant(rival, threads=threads) as theirs:

        def we(seed: int, epochs: int = epochs, rows: int | None = None):
            options = {**SEED_NET, "epochs": epochs, "random_state": seed}
            return ours("fit", **files, options=options, rows=rows)

        def they(seed: int, epochs: int = epochs, rows: int | None = None):
            return theirs("fit", **files, epochs=epochs, seed=seed, rows=rows)

        we(0, epochs=1, rows=WARM_UP_ROWS)
        they(0, epochs=1, rows=WARM_UP_ROWS)
        result = paired(we, they, repeats=repeats, key="rows_per_second")
    return Measured(
        value=result.ratio,
        runs=result.runs,
        data="mnist",
        seed=list(range(repeats)),
        versions=theirs.versions,
        memory_mb=max(run["memory_mb"] for run in result.a),
        note=f"{threads or 'default'} threads",
    )


BARS = {
    "tutorial": Bar(at_least=6),
    "tensor_dataset": Bar(at_least=1.8),
    "pythae": Bar(at_least=1.8),
    "pyod": Bar(at_least=1.8),
    "jax": Bar(at_least=1, goal=True),
}

FIGURES = {
    f"{rival}{suffix}": Figure(
        metric="training rows/s, ours ÷ theirs",
        measure=partial(against, rival, threads),
        bar=bar,
        rivals=rival in ("pythae", "pyod", "jax"),
    )
    for rival, bar in BARS.items()
    for suffix, threads in {"": None, "/one_thread": 1}.items()
}
