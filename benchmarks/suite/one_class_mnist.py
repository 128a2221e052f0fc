"""One-class MNIST: fitted on one digit, tested on all: mean AUROC over the ten."""

from __future__ import annotations

import time
from statistics import mean

import numpy as np

from benchmarks import data, floors
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.record import peak_memory_mb
from benchmarks.suite._estimator import autoencoder


def auroc(settings: Settings) -> Measured:
    from sklearn.metrics import roc_auc_score

    Autoencoder = autoencoder()
    place = data.folder("mnist")
    with np.load(place / "mnist_train.npz") as file:
        train, digits = file["images"], file["labels"]
    with np.load(place / "mnist_test.npz") as file:
        test, labels = file["images"], file["labels"]
    runs = []
    for digit in range(settings.pick(10, 1)):
        fit = train[digits == digit][:: settings.pick(1, 20)]
        began = time.perf_counter()
        # one epoch: the detector learns from pictures, and asks nothing of the network beside it
        model = Autoencoder(random_state=settings.seed, verbose=0, epochs=1).fit(fit)
        scores = model.detect(test).scores
        seconds = time.perf_counter() - began
        pca = floors.PCA.fit(data.flat(fit)).error(data.flat(test), 30)
        nearest = floors.neighbour_distances(data.flat(fit), data.flat(test)[::10]).mean(1)
        runs.append(
            {
                "digit": digit,
                "auroc": roc_auc_score(labels != digit, scores),
                "pca-30": roc_auc_score(labels != digit, pca),
                "knn-5 (a tenth of the test images)": roc_auc_score(labels[::10] != digit, nearest),
                "seconds": seconds,
            }
        )
    means = {name: mean(run[name] for run in runs) for name in runs[0] if name not in ("digit", "seconds")}
    return Measured(
        value=means["auroc"],
        runs=runs,
        data="mnist",
        seed=settings.seed,
        memory_mb=peak_memory_mb(),
        seconds=max(run["seconds"] for run in runs),
        bar=Bar(at_least=max(0.975, means["pca-30"])),
        note=", ".join(f"{name} {value:.4f}" for name, value in means.items() if name != "auroc"),
    )


FIGURES = {"auroc": Figure("mean AUROC of ten digits", auroc, Bar(at_least=0.975))}
