"""Sixteen tables with labelled anomalies, beside every detector that a person would pick instead, default settings.

*One-class*: a random half of the normal rows is fitted, the rest and the anomalies are tested (`data.table_split`:
every distinct row once, none on both sides). *Unsupervised*: all rows are fitted, anomalies included, and the same rows
are scored; ours is told `contamination="auto"` and nothing else.

Beside us, on standardised columns: kNN-5 by mean distance (with k = 5 % of the rows too where anomalies are fitted),
the distance to the mean, and PyOD's isolation forest, ECOD, LOF, one-class SVM, MCD, PCA, kNN, AutoEncoder and DeepSVDD
with its defaults; the last two, which take a hundred times as long, on the first two seeds alone. Each is given at most
`MOST` rows, drawn at random; so are we.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import data, floors
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.record import peak_memory_mb
from benchmarks.rivals import Contestant
from benchmarks.suite._estimator import autoencoder
from benchmarks.suite.tables import ranking

RIVALS, NETS = ("iforest", "ecod", "lof", "ocsvm", "mcd", "pca", "knn"), ("autoencoder", "deepsvdd")
#: Seeds that the slow ones are tried on.
NET_SEEDS = 2
#: Rows that anybody is given of one table: only shuttle has more.
MOST = 8000


@dataclass(frozen=True)
class Evaluation:
    runs: list[dict[str, Any]]
    seconds: float
    versions: dict[str, str]

    def mean(self, measure: str, method: str) -> float:
        return mean(run[measure][method] for run in self.runs if method in run[measure])

    def methods(self) -> list[str]:
        return list(self.runs[0]["auroc"])


@cache
def evaluate(anomalies_fitted: bool, settings: Settings) -> Evaluation:
    start, runs = perf_counter(), []
    with Contestant("pyod_tables", threads=1) as pyod:
        for name in data.table_names()[: settings.pick(None, 2)]:
            for seed in range(settings.pick(5, 1)):
                fit, test, labels = _rows(name, seed, anomalies_fitted)
                began = perf_counter()
                options = {"contamination": "auto"} if anomalies_fitted else {}
                model = autoencoder()(random_state=seed, **options, **settings.pick({}, {"epochs": 2})).fit(fit)
                scores = {"ours": model.detect(test).scores}
                seconds = {"ours": round(perf_counter() - began, 2)}
                scores |= _floors(fit, test, anomalies_fitted)
                paths = {"fit": data.hand_over("fit", fit), "test": None}
                if not anomalies_fitted:
                    paths["test"] = data.hand_over("test", test)
                for method in (*RIVALS, *(NETS if seed < NET_SEEDS else ())):
                    answer = pyod("scores", method=method, **paths, seed=seed, most=MOST)
                    scores[method], seconds[method] = np.array(answer["scores"]), round(answer["seconds"], 2)
                runs.append({"table": name, "seed": seed, "seconds": seconds, **ranking(labels, scores)})
        return Evaluation(runs, perf_counter() - start, pyod.versions)


def _rows(name: str, seed: int, anomalies_fitted: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(fitted, tested, labels of the tested)."""
    g = np.random.default_rng(seed)
    if anomalies_fitted:
        rows, labels = data.table(name)
        some = g.permutation(len(rows))[:MOST]
        return rows[some], rows[some], labels[some]
    split = data.table_split(name, seed)
    return split.fit[:MOST], split.test, split.labels


def _floors(fit: np.ndarray, test: np.ndarray, same: bool) -> dict[str, np.ndarray]:
    standard = floors.Standard.fit(fit)
    fitted, tested = standard(fit), standard(test)
    found = {"distance_to_mean": np.linalg.norm(tested, axis=1)}
    for name, k in {"knn_5": 5, **({"knn_5_percent": max(5, round(0.05 * len(fit)))} if same else {})}.items():
        distances = floors.neighbour_distances(fitted, tested, k + same)
        found[name] = distances[:, int(same) :].mean(axis=1)  # a fitted row's nearest is itself
    return found


def beyond(measure: str, anomalies_fitted: bool, settings: Settings) -> Measured:
    """Ours less the best of the others; one-class: less kNN-5's, against which the bar was set."""
    found = evaluate(anomalies_fitted, settings)
    others = {method: found.mean(measure, method) for method in found.methods() if method != "ours"}
    best = max(others, key=lambda method: others[method])
    against = best if anomalies_fitted else "knn_5"
    ours = found.mean(measure, "ours")
    listed = ", ".join(f"{name} {100 * value:.1f}" for name, value in sorted(others.items(), key=lambda kv: -kv[1]))
    return Measured(
        value=100 * (ours - others[against]),
        runs=found.runs,
        data="tabular_anomaly",
        seed=sorted({run["seed"] for run in found.runs}),
        memory_mb=peak_memory_mb(),
        seconds=found.seconds,
        versions=found.versions,
        note=f"ours {100 * ours:.1f}, less {against}; {listed}",
    )


_NAMES = {"auroc": "AUROC", "average_precision": "average precision"}
FIGURES = {
    f"{protocol}_{measure}": Figure(
        f"mean {_NAMES[measure]}, points above {'the best of the others' if fitted else 'kNN-5'}",
        partial(beyond, measure, fitted),
        bar,
        rivals=True,
    )
    for protocol, fitted, measure, bar in [
        ("one_class", False, "auroc", Bar(at_least=0.7)),
        ("one_class", False, "average_precision", Bar(at_least=2.9)),
        ("unsupervised", True, "auroc", Bar(at_least=0)),
        ("unsupervised", True, "average_precision", Bar(at_least=0)),
    ]
}
