"""A small table with default settings: 1,000 rows of 20 columns, in a process that has only imported us.

The rows lie near a curved surface of five dimensions. The held-out error is taken per column in units
of its deviation, and beside it stands PCA with as many components as our code has numbers.
"""

from __future__ import annotations

from functools import cache
from statistics import median

import numpy as np

from benchmarks import data, floors
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.nets import DEFAULTS
from benchmarks.rivals import Contestant

ROWS, COLUMNS = 1000, 20


def curved_rows(seed: int) -> np.ndarray:
    """2,000 rows: the first half to fit, the other to test."""
    generator = np.random.default_rng(seed)
    hidden = generator.normal(size=(2 * ROWS, 5))
    inner = np.tanh(hidden @ generator.normal(size=(5, 16)))
    rows = inner @ generator.normal(size=(16, COLUMNS)) / 4
    return (rows + 0.1 * generator.normal(size=rows.shape)).astype(np.float32)


@cache
def fits(settings: Settings) -> list[dict]:
    """One fresh process a run, since a person's first fit pays for everything that is loaded late."""
    runs = []
    for seed in range(settings.pick(5, 2)):
        rows = curved_rows(seed)
        train, test = rows[:ROWS], rows[ROWS:]
        files = {"train": data.hand_over("train", train), "rows": data.hand_over("test", test)}
        output = data.scratch("reconstructed.npy")
        with Contestant("ours") as ours:
            options = {**DEFAULTS, "random_state": seed, "verbose": 1}
            run = ours("fit_detector", train=files["train"], options=options)
            ours("reconstruct", rows=files["rows"], output=str(output))
            said = [line.strip() for line in ours.said().splitlines() if "PCA" in line]
        standard = floors.Standard.fit(train)
        pca = floors.PCA.fit(standard(train)).error(standard(test), run["latent_dim"]).mean()
        error = np.square(standard(np.load(output)) - standard(test)).sum(axis=1).mean()
        runs.append({**run, "seed": seed, "error": error, "pca_error": pca, "ratio": error / pca, "said": said})
    return runs


def seconds(settings: Settings) -> Measured:
    return _measured(fits(settings), "seconds")


def held_out(settings: Settings) -> Measured:
    runs = fits(settings)
    silent = [run for run in runs if run["ratio"] > 1 and not run["said"]]
    return _measured(runs, "ratio", note=f"{len(silent)} of {len(runs)} lost to PCA without a word")


def _measured(runs: list[dict], key: str, note: str = "") -> Measured:
    return Measured(
        value=median(run[key] for run in runs),
        runs=runs,
        data="synthetic: curved surface of 5 dimensions in 20 columns",
        seed=[run["seed"] for run in runs],
        memory_mb=max(run["memory_mb"] for run in runs),
        note=note,
    )


FIGURES = {
    "seconds": Figure("seconds of the first fit, after imports", seconds, Bar(at_most=2)),
    "held_out": Figure("held-out squared error, ours ÷ same-size PCA's", held_out, Bar(at_most=1)),
}
