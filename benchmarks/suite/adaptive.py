"""Whether the `adaptive` recipe finds the dimension of the surface on which rows lie, as it comes.

Rows of 100 columns lie on smooth surfaces of 5, 10 and 20 dimensions, with a little noise. One is curved, a layer of
tanh between the dimensions and the columns; one is flat, where PCA's count is the answer.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks import floors
from benchmarks.figures import Bar, Figure, Measured, Settings

ROWS, COLUMNS, HIDDEN, NOISE = 10_000, 100, 200, 0.05
DIMENSIONS = (5, 10, 20)


def surface(dimension: int, seed: int, curved: bool) -> np.ndarray:
    """Rows of unit variance beside the noise."""
    generator = np.random.default_rng(seed)
    inner = generator.normal(size=(ROWS, dimension))
    if curved:
        # slopes that take most of the rows out of the part of tanh that is nearly straight
        inner = np.tanh(inner @ generator.normal(size=(dimension, HIDDEN)) * 1.5 / np.sqrt(dimension))
    rows = inner @ generator.normal(size=(inner.shape[1], COLUMNS))
    rows /= rows.std()
    return (rows + NOISE * generator.normal(size=rows.shape)).astype(np.float32)


@cache
def fits(settings: Settings, curved: bool) -> list[dict[str, Any]]:
    from isthmus import Autoencoder

    runs = []
    for seed in range(settings.pick(3, 1)):
        for dimension in settings.pick(DIMENSIONS, (5,)):
            rows = surface(dimension, seed, curved)[: settings.pick(None, 500)]
            standard = floors.Standard.fit(rows)
            pca = floors.PCA.fit(standard(rows))
            model = Autoencoder("adaptive", random_state=seed, verbose=0).fit(rows).model_
            runs.append(
                {
                    "seed": seed,
                    "dimension": dimension,
                    "found": model.latent_dim,
                    "pca_95": pca.size_for(0.95),
                    "pca_99": pca.size_for(0.99),
                    "error": model.record.error,
                    "pca_error": model.record.pca_error,
                    "seconds": model.record.seconds,
                }
            )
    return runs


def _measured(settings: Settings, curved: bool) -> Measured:
    runs = fits(settings, curved)
    told = [
        f"{d}: " + ", ".join(f"{r['found']} (PCA {r['pca_95']}/{r['pca_99']})" for r in runs if r["dimension"] == d)
        for d in sorted({run["dimension"] for run in runs})
    ]
    mean = np.mean([abs(run["found"] - run["dimension"]) for run in runs])
    return Measured(
        value=max(abs(run["found"] - run["dimension"]) for run in runs),
        runs=runs,
        data=f"synthetic: {'curved' if curved else 'flat'} surfaces in {COLUMNS} columns",
        seed=sorted({run["seed"] for run in runs}),
        note=f"found (PCA for 95/99 %) {'; '.join(told)}; mean miss {mean:.2f}",
    )


def curved(settings: Settings) -> Measured:
    return _measured(settings, curved=True)


def flat(settings: Settings) -> Measured:
    return _measured(settings, curved=False)


FIGURES = {
    "curved": Figure("largest |found − true| dimension, 5, 10 and 20 on curved surfaces", curved, Bar(at_most=1)),
    "flat": Figure("largest |found − true| dimension, 5, 10 and 20 on flat surfaces", flat, Bar(at_most=1)),
}
