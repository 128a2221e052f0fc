"""Network intrusion on mixed columns: NSL-KDD, fitted on normal traffic only, with default settings."""

from __future__ import annotations

from functools import cache, partial
from statistics import mean
from typing import Any

import numpy as np

from benchmarks import data, floors
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.record import peak_memory_mb
from benchmarks.suite._estimator import autoencoder

#: The one that F1 is counted at: as many false alarms as the 95th percentile of usual rows gives.
FALSE_ALARM_RATE = 0.05
NOT_FEATURES = ["attack", "difficulty", "is_attack"]


@cache
def evaluate(settings: Settings) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """A run a seed, and the floors."""
    import pandas as pd
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    Autoencoder = autoencoder()
    place = data.folder("nsl_kdd")
    train = pd.read_parquet(place / "nsl_kdd_train_20percent.parquet")
    test = pd.read_parquet(place / "nsl_kdd_test.parquet")
    labels = test["is_attack"].to_numpy()
    normal = train[train["is_attack"] == 0].drop(columns=NOT_FEATURES)
    test = test.drop(columns=NOT_FEATURES)
    runs = []
    for seed in range(settings.pick(3, 1)):
        model = Autoencoder(random_state=seed, verbose=0, **settings.pick({}, {"epochs": 1})).fit(normal)
        found = model.detect(test, false_alarm_rate=FALSE_ALARM_RATE)
        scores = found.scores
        runs.append(
            {
                "seed": seed,
                "auroc": roc_auc_score(labels, scores),
                "average_precision": average_precision_score(labels, scores),
                "f1": f1_score(labels, found.anomalies),
                "latent_dim": model.transform(normal[:2]).shape[1],
            }
        )
    floor = {f"pca-{size}_auroc": roc_auc_score(labels, _pca(normal, test, size)) for size in (8, 16)}
    return runs, floor


def measured(what: str, settings: Settings) -> Measured:
    runs, floor = evaluate(settings)
    return Measured(
        value=mean(run[what] for run in runs),
        runs=[*runs, floor],
        data="nsl_kdd",
        seed=[run["seed"] for run in runs],
        memory_mb=peak_memory_mb(),
    )


def _pca(normal, test, size: int) -> np.ndarray:
    """One-hot, log(1 + x), standardised, squared reconstruction error."""
    import pandas as pd

    both = pd.get_dummies(pd.concat([normal, test]), dtype=float)
    logged = np.log1p(both.to_numpy())
    fitted, rows = logged[: len(normal)], logged[len(normal) :]
    standard = floors.Standard.fit(fitted)
    return floors.PCA.fit(standard(fitted)).error(standard(rows), size)


FIGURES = {
    "auroc": Figure("AUROC on the test part", partial(measured, "auroc"), Bar(at_least=0.970)),
    "f1": Figure(f"F1 at a false-alarm rate of {FALSE_ALARM_RATE:.0%}", partial(measured, "f1"), Bar(at_least=0.90)),
}
