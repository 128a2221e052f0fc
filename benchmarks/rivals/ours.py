"""isthmus, under the same conditions as everybody else."""

from __future__ import annotations

from time import perf_counter, process_time
from typing import Any

import numpy as np
from protocol import serve

from isthmus import Autoencoder

fitted: Autoencoder


def fit(train_images: str, test_images: str, options: dict[str, Any], rows: int | None = None) -> dict[str, Any]:
    """``seconds`` hold the whole call of `fit` on the images as they are; the rate is that of the training in it,
    as for everybody (PyOD's scoring and JAX's compilation are left out too). The error is per pixel in [0, 1].
    """
    images = np.load(train_images)[:rows]
    model = Autoencoder(**options)
    start = perf_counter()
    model.fit(images)
    seconds = perf_counter() - start
    test = np.load(test_images)
    error = float(np.square((model.reconstruct(test) - test.astype(np.float32)) / 255).mean())
    return {
        "seconds": seconds,
        "training_seconds": model.record_.phases["train"],
        "epochs": model.record_.epochs,
        "rows_per_second": model.record_.epochs * len(images) / model.record_.phases["train"],
        "test_mse": error,
    }


def fit_detector(train: str, options: dict[str, Any]) -> dict[str, Any]:
    global fitted
    X = np.load(train)
    start = perf_counter()
    fitted = Autoencoder(**options).fit(X)
    return {"seconds": perf_counter() - start, "latent_dim": fitted.transform(X[:2]).shape[1]}


def score(rows: str) -> dict[str, Any]:
    X = np.load(rows)
    start = perf_counter()
    scores = fitted.score_samples(X)
    seconds = perf_counter() - start
    assert scores.shape == (len(X),)
    return {"seconds": seconds, "rows_per_second": len(X) / seconds}


def map_rows(fit: str, seed: int = 0) -> dict[str, Any]:
    """``seconds`` hold the whole fit of the map and the places of all rows."""
    from isthmus.spec import Plan
    from isthmus.tasks.features.reduce import fit_map

    X = np.load(fit)
    start, worked = perf_counter(), process_time()
    model, _ = fit_map(X, plan=Plan(seed=seed))
    places = model.encode(X)
    spent = {"seconds": perf_counter() - start, "processor_seconds": process_time() - worked}
    assert places.shape == (len(X), 2)
    return {**spent, "phases": model.record.phases, "epochs": model.record.epochs}


def reconstruct(rows: str, output: str) -> dict[str, Any]:
    np.save(output, fitted.reconstruct(np.load(rows)))
    return {}


if __name__ == "__main__":
    serve(fit=fit, fit_detector=fit_detector, map_rows=map_rows, score=score, reconstruct=reconstruct)
