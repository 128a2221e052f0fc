"""PyOD's AutoEncoder: the seed's net for training speed, its own default net for scoring."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import torch
from protocol import serve
from pyod.models.auto_encoder import AutoEncoder

BATCH = 128
fitted: AutoEncoder


def fit(train_images: str, test_images: str, epochs: int, seed: int, rows: int | None = None) -> dict[str, Any]:
    """The clock leaves out the scoring of the training rows with which its `fit` ends."""
    images = np.load(train_images)[:rows]
    detector = AutoEncoder(
        preprocessing=False,
        epoch_num=epochs,
        batch_size=BATCH,
        lr=1e-3,
        hidden_neuron_list=[128, 64, 32],
        batch_norm=False,
        dropout_rate=0.0,
        optimizer_params={},
        random_state=seed,
        verbose=0,
    )
    scoring = 0.0
    decide = detector.decision_function

    def timed(X: np.ndarray) -> np.ndarray:
        nonlocal scoring
        start = perf_counter()
        scores = decide(X)
        scoring = perf_counter() - start
        return scores

    detector.decision_function = timed
    start = perf_counter()
    detector.fit(_rows(images))
    seconds = perf_counter() - start - scoring
    # its loader drops the last, incomplete batch
    rate = epochs * (len(images) // BATCH) * BATCH / seconds
    x = torch.from_numpy(_rows(np.load(test_images)))
    detector.model.eval()
    with torch.no_grad():
        error = (detector.model(x) - x).square().mean().item()
    return {"seconds": seconds, "rows_per_second": rate, "test_mse": error}


def fit_detector(train: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    global fitted
    start = perf_counter()
    fitted = AutoEncoder(random_state=seed, verbose=0, **options).fit(np.load(train))
    return {"seconds": perf_counter() - start}


def score(rows: str) -> dict[str, Any]:
    X = np.load(rows)
    start = perf_counter()
    scores = fitted.decision_function(X)
    seconds = perf_counter() - start
    assert scores.shape == (len(X),)
    return {"seconds": seconds, "rows_per_second": len(X) / seconds}


def _rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255


if __name__ == "__main__":
    serve(fit=fit, fit_detector=fit_detector, score=score)
