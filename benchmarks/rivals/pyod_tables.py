"""PyOD's detectors on tables, each with its default settings, on standardised columns."""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any

import numpy as np
import torch
from protocol import serve
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.deep_svdd import DeepSVDD
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.lof import LOF
from pyod.models.mcd import MCD
from pyod.models.ocsvm import OCSVM
from pyod.models.pca import PCA

torch.set_num_threads(1)  # small nets are slower with more

#: name → how it is made for rows of so many columns, and a seed.
DETECTORS = {
    "iforest": lambda n, seed: IForest(random_state=seed),
    "ecod": lambda n, seed: ECOD(),
    "lof": lambda n, seed: LOF(),
    "ocsvm": lambda n, seed: OCSVM(),
    "mcd": lambda n, seed: MCD(random_state=seed),
    "pca": lambda n, seed: PCA(random_state=seed),
    "knn": lambda n, seed: KNN(),
    "autoencoder": lambda n, seed: AutoEncoder(random_state=seed, verbose=0),
    "deepsvdd": lambda n, seed: DeepSVDD(n_features=n, random_state=seed, verbose=0),
}


def scores(method: str, fit: str, test: str | None, seed: int, most: int) -> dict[str, Any]:
    """Scores of the test rows, or where there are none of the fitted rows themselves.

    One-class support vectors and the like take hours on tens of thousands of rows: `most` of them are fitted.
    """
    warnings.simplefilter("ignore")
    rows = np.load(fit).astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread[spread == 0] = 1
    rows = (rows - mean) / spread
    kept = rows[np.random.default_rng(seed).permutation(len(rows))[:most]] if test else rows
    start = perf_counter()
    detector = DETECTORS[method](rows.shape[1], seed).fit(kept)
    found = detector.decision_function((np.load(test) - mean) / spread) if test else detector.decision_scores_
    finite = np.nan_to_num(np.asarray(found, dtype=np.float64), posinf=1e300)
    return {"seconds": perf_counter() - start, "scores": finite.tolist()}


if __name__ == "__main__":
    serve(scores=scores)
