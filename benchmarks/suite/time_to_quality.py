"""How soon we are as good as the tutorial's net after its ten epochs, on the MNIST test images.

Ours are whole calls of `fit` with a growing `max_time`, default settings but for the 32 codes and the
detector, which is the network itself; the first call whose test error reaches the tutorial's counts,
with all of its seconds: preparation, PCA start and calibration too. Whole calls, because that is what
a person can do; a callback would stop the clock in the middle of a schedule that nobody could have asked for.
"""

from __future__ import annotations

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.nets import DEFAULTS, NATS
from benchmarks.paired import paired
from benchmarks.rivals import Contestant

FIRST_BUDGET, GROWTH = 0.25, 1.4


def mnist(settings: Settings) -> Measured:
    epochs, repeats = settings.pick(10, 1), settings.pick(3, 1)
    digits = data.mnist()
    files = {
        "train_images": data.hand_over("train", digits.train[: settings.pick(None, 10_000)]),
        "test_images": data.hand_over("test", digits.test),
    }
    with Contestant("ours") as ours, Contestant("tutorial") as tutorial:
        to_beat = []

        def they(seed: int):
            to_beat.append(tutorial("fit", **files, epochs=epochs, seed=seed))
            return to_beat[seed]

        def we(seed: int):
            budget = FIRST_BUDGET
            while True:
                options = {**DEFAULTS, **NATS, "latent_dim": 32, "max_time": budget, "random_state": seed}
                run = ours("fit", **files, options=options)
                reached = run["test_mse"] <= to_beat[seed]["test_mse"]
                # beyond the tutorial's own time there is nothing left to show
                if reached or run["seconds"] > to_beat[seed]["seconds"]:
                    return {**run, "max_time": budget, "reached": reached}
                budget *= GROWTH

        result = paired(they, we, repeats=repeats, key="seconds")
    return Measured(
        value=1 / result.ratio,
        runs=[
            {"ours": b, "theirs": a, "ratio": round(b["seconds"] / a["seconds"], 4)}
            for a, b in zip(result.a, result.b, strict=True)
        ],
        data="mnist",
        seed=list(range(repeats)),
        versions=tutorial.versions,
        memory_mb=max(run["memory_mb"] for run in result.b),
        note="" if all(run["reached"] for run in result.b) else "not reached within the tutorial's own time",
    )


FIGURES = {
    "mnist": Figure(
        metric="seconds to the tutorial's held-out error, ours ÷ theirs",
        measure=mnist,
        bar=Bar(at_most=1 / 20),
    )
}
