"""Series: heart beats, one a row, and recordings, whose every time stamp gets a score. Default settings throughout.

- *ECG5000*: half of the normal beats are fitted; the other half and all abnormal beats are tested.
- *NAB*: the 23 series of ``realKnownCause`` and ``realAWSCloudwatch`` with at least one labelled window. Each is fitted
  as it is, anomalies included and unknown, and then scored, as a person does who has one recording and no labels; the
  figures ``nab_start_…`` fit the first 15 % (the benchmark's own probation period) and score the rest.
- *MSL*: 27 channels of a Mars rover's telemetry, 55 columns each; the training part is fitted, the test part scored.

Every stamp is judged by itself: area under the curves over the stamps of a series, and the mean over series. No point
adjustment, which lifts random scores from 0.32 to 0.85 (F1).

Beside us, on the same stamps, standardised by the fitted part, with windows as long as ours at every step, whose score
each of their stamps gets on average:

- *sub_pca*, the squared distance from the plane of 90 % of the variance; *sub_pca_whitened*, the components' squares
  divided by their variances and summed, which is what TSB-AD calls Sub-PCA;
- *lof*, local outlier factor of windows, 20 neighbours, at most 2,000 fitted windows;
- *knn*, the distance to the fifth of at most 2,000 fitted windows;
- *moving_z*, how many deviations a stamp lies from the mean of the window that ends at it.

References:
    Liu, Paparrizos, The Elephant in the Room: Towards A Reliable Time-Series Anomaly Detection Benchmark, 2024.
    Kim et al., Towards a Rigorous Evaluation of Time-Series Anomaly Detection, 2022 (on point adjustment).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import data, floors
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.record import peak_memory_mb
from benchmarks.suite._estimator import autoencoder

GROUPS = ("realKnownCause", "realAWSCloudwatch")
PROBATION = 0.15
MOST = 2000


@dataclass(frozen=True)
class Recording:
    """One series: what is fitted and what is scored, (time, channels), and the labels of the latter."""

    name: str
    fit: np.ndarray
    test: np.ndarray
    labels: np.ndarray


def nab(start: float | None = None) -> Iterator[Recording]:
    import pandas as pd

    table = pd.read_parquet(data.folder("nab") / "nab.parquet")
    for name, rows in table.groupby("series", sort=True):
        values, labels = rows["value"].to_numpy()[:, None], rows["in_anomaly_window"].to_numpy()
        first = 0 if start is None else round(start * len(rows))
        if name.split("/")[0] in GROUPS and labels[first:].any():
            yield Recording(name, values if start is None else values[:first], values[first:], labels[first:])


def msl() -> Iterator[Recording]:
    with np.load(data.folder("msl") / "msl.npz") as file:
        for name in sorted({key.split("_")[0] for key in file}):
            fit, test = (
                np.column_stack([file[f"{name}_{part}_value"], file[f"{name}_{part}_cmd"]]).astype(np.float64)
                for part in ("train", "test")
            )
            yield Recording(name, fit, test, file[f"{name}_test_label"])


SETS = {"nab": lambda: nab(), "nab_start": lambda: nab(PROBATION), "msl": msl}


# -- beside us ----------------------------------------------------------------------------------


def rivals(recording: Recording, length: int) -> dict[str, np.ndarray]:
    """The scores of every stamp under every simple method."""
    standard = floors.Standard.fit(recording.fit)
    fit, test = standard(recording.fit), standard(recording.test)
    known, asked = _windows(fit, length), _windows(test, length)
    some = known[:: max(1, -(-len(known) // MOST))]
    scores = {**_pca(known, asked), **_neighbours(some, asked)}
    found = {name: _over_stamps(score, length, len(test)) for name, score in scores.items()}
    return found | {"moving_z": _moving_z(recording.test, length)}


def _windows(x: np.ndarray, length: int) -> np.ndarray:
    """(n, channels × length), one at every step."""
    return np.lib.stride_tricks.sliding_window_view(x, length, axis=0).reshape(len(x) - length + 1, -1)


def _over_stamps(score: np.ndarray, length: int, n: int) -> np.ndarray:
    """The mean score of the windows that hold each stamp."""
    total = np.concatenate([[0.0], np.cumsum(score)])
    stamp = np.arange(n)
    first, last = np.maximum(stamp - length + 1, 0), np.minimum(stamp, len(score) - 1)
    return (total[last + 1] - total[first]) / (last + 1 - first)


def _pca(known: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
    middle = known.mean(axis=0)
    # of a wide window the rows are fewer than the columns
    some = known[:: max(1, -(-len(known) // MOST))] if known.shape[1] > MOST else known
    _, values, directions = np.linalg.svd((some - middle).astype(np.float32), full_matrices=False)
    variance = np.square(values, dtype=np.float64) / len(some)
    there = variance > 1e-7 * variance[0]
    variance, directions = variance[there], directions[there]
    size = 1 + int(np.searchsorted(np.cumsum(variance) / variance.sum(), 0.9))
    error, whitened = [], []
    for part in np.array_split(asked - middle, max(1, len(asked) // 2000)):
        squares = np.square(part @ directions.T.astype(np.float64))
        error.append(np.square(part).sum(axis=1) - squares[:, :size].sum(axis=1))
        whitened.append((squares / variance).sum(axis=1))
    return {"sub_pca": np.concatenate(error), "sub_pca_whitened": np.concatenate(whitened)}


def _neighbours(known: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
    from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

    lof = LocalOutlierFactor(n_neighbors=min(20, len(known) - 1), novelty=True).fit(known)
    near = NearestNeighbors(n_neighbors=min(5, len(known))).fit(known)
    return {"lof": -lof.score_samples(asked), "knn": near.kneighbors(asked)[0][:, -1]}


def _moving_z(x: np.ndarray, length: int) -> np.ndarray:
    import pandas as pd

    frame = pd.DataFrame(x)
    moving = frame.rolling(length, min_periods=1)
    spread = moving.std().fillna(0.0) + 1e-3 * frame.std() + 1e-12
    return ((frame - moving.mean()) / spread).abs().max(axis=1).to_numpy()


# -- measuring ----------------------------------------------------------------------------------


@cache
def evaluate(name: str, settings: Settings) -> list[dict[str, Any]]:
    """A run a series: AUROC and average precision of us and of everybody beside us."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    Autoencoder = autoencoder()
    runs = []
    for i, recording in enumerate(SETS[name]()):
        if i >= settings.pick(100, 2):
            break
        began = perf_counter()
        model = Autoencoder(modality={"kind": "series", "window": "auto"}, random_state=settings.seed,
                            **settings.pick({}, {"epochs": 1})).fit(recording.fit)  # fmt: skip
        seconds = perf_counter() - began
        length = model.model_.modality.layout.window
        scores = {"ours": -model.score_samples(recording.test), **rivals(recording, length)}
        run: dict[str, Any] = {"series": recording.name, "window": length, "fit_seconds": round(seconds, 2)}
        for method, score in scores.items():
            run[method] = [
                round(float(measure(recording.labels, score)), 4)
                for measure in (roc_auc_score, average_precision_score)
            ]
        runs.append(run)
    return runs


METHODS = ("sub_pca", "sub_pca_whitened", "lof", "knn", "moving_z")
#: Those that we must be above; kNN is printed.
BEATEN = ("sub_pca", "sub_pca_whitened", "lof", "moving_z")


def recorded(name: str, which: int, bar: float | None, settings: Settings) -> Measured:
    """The mean over series, in per cent, of AUROC (0) or average precision (1)."""
    began = perf_counter()
    runs = evaluate(name, settings)
    means = {method: 100 * mean(run[method][which] for run in runs) for method in ("ours", *METHODS)}
    best = max(means[method] for method in BEATEN)
    return Measured(
        value=means["ours"],
        runs=runs,
        data=name.split("_")[0],
        seed=settings.seed,
        memory_mb=peak_memory_mb(),
        seconds=perf_counter() - began,
        bar=Bar(at_least=best if bar is None else bar),
        note=", ".join(f"{method} {value:.1f}" for method, value in means.items() if method != "ours"),
    )


def ecg5000(settings: Settings) -> Measured:
    from sklearn.metrics import average_precision_score, roc_auc_score

    Autoencoder = autoencoder()
    with np.load(data.folder("ecg5000") / "ecg5000.npz") as file:
        beats, labels = file["X"], file["y"]
    runs = []
    for seed in range(settings.pick(3, 1)):
        normal = np.random.default_rng(seed).permutation(np.flatnonzero(labels == 0))
        fit, fresh = np.array_split(normal, 2)
        test = np.concatenate([fresh, np.flatnonzero(labels == 1)])
        began = perf_counter()
        model = Autoencoder(modality="series", random_state=seed, **settings.pick({}, {"epochs": 1})).fit(beats[fit])
        seconds = perf_counter() - began
        score = -model.score_samples(beats[test])
        pca = floors.PCA.fit(beats[fit].astype(np.float64)).error(beats[test].astype(np.float64), 8)
        near = floors.neighbour_distances(beats[fit], beats[test])[:, -1]
        runs.append(
            {
                "seed": seed,
                "auroc": roc_auc_score(labels[test], score),
                "average_precision": average_precision_score(labels[test], score),
                "pca-8_auroc": roc_auc_score(labels[test], pca),
                "knn-5_auroc": roc_auc_score(labels[test], near),
                "fit_seconds": round(seconds, 2),
            }
        )
    beside = [f"{name} {mean(run[f'{name}_auroc'] for run in runs):.4f}" for name in ("pca-8", "knn-5")]
    return Measured(
        value=mean(run["auroc"] for run in runs),
        runs=runs,
        data="ecg5000",
        seed=[run["seed"] for run in runs],
        memory_mb=peak_memory_mb(),
        note=", ".join(beside),
    )


def _figure(name: str, which: int, bar: float | None, told: str) -> Figure:
    measure = ("AUROC", "average precision")[which]
    return Figure(f"mean {measure} of time stamps, in %, {told}", lambda s: recorded(name, which, bar, s))


FIGURES = {
    "ecg5000": Figure("AUROC of abnormal heart beats, normal ones fitted", ecg5000, Bar(at_least=0.993)),
    "nab_auroc": _figure("nab", 0, 75.0, "23 series, each fitted as it is"),
    "nab_ap": _figure("nab", 1, 44.0, "the same"),
    "nab_start_auroc": _figure("nab_start", 0, None, "the first 15 % fitted; bar: the best of those beside"),
    "nab_start_ap": _figure("nab_start", 1, None, "the same"),
    "msl_auroc": _figure("msl", 0, None, "27 channels; bar: the best of those beside"),
    "msl_ap": _figure("msl", 1, None, "the same"),
}
