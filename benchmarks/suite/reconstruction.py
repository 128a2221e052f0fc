"""How well we reconstruct the MNIST test images: beside PCA, the tutorial and Hinton and Salakhutdinov.

References:
    Reducing the dimensionality of data with neural networks, Geoffrey Hinton and Ruslan Salakhutdinov,
    2006. https://www.science.org/doi/10.1126/science.1127647
"""

from __future__ import annotations

from statistics import median

from benchmarks import data, floors
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.nets import HINTON_SALAKHUTDINOV, SEED_NET
from benchmarks.paired import paired
from benchmarks.rivals import Contestant

PIXELS = 784


def _files(settings: Settings) -> dict[str, str]:
    digits = data.mnist()
    return {
        "train_images": data.hand_over("train", digits.train[: settings.pick(None, 5_000)]),
        "test_images": data.hand_over("test", digits.test),
    }


def linear(settings: Settings) -> Measured:
    """The linear recipe's test error ÷ that of PCA with as many components, both fitted on the same rows."""
    digits = data.mnist()
    train = data.flat(digits.train[: settings.pick(None, 5_000)])
    pca = floors.PCA.fit(train).error(data.flat(digits.test), 32).mean() / PIXELS
    seeds = list(range(settings.pick(3, 1)))
    with Contestant("ours") as ours:
        options = {"recipe": "linear", "latent_dim": 32, "verbose": 0}
        runs = [ours("fit", **_files(settings), options={**options, "random_state": seed}) for seed in seeds]
    return Measured(
        value=median(run["test_mse"] for run in runs) / pca,
        runs=[*runs, {"pca_test_mse": pca}],
        data="mnist",
        seed=seeds,
        memory_mb=max(run["memory_mb"] for run in runs),
    )


def seed_net(settings: Settings) -> Measured:
    """The seed's net after the tutorial's ten epochs ÷ the tutorial's own, seed by seed."""
    epochs, repeats = settings.pick(10, 1), settings.pick(3, 1)
    files = _files(settings)
    with Contestant("ours") as ours, Contestant("tutorial") as tutorial:
        result = paired(
            lambda seed: ours("fit", **files, options={**SEED_NET, "epochs": epochs, "random_state": seed}),
            lambda seed: tutorial("fit", **files, epochs=epochs, seed=seed),
            repeats=repeats,
            key="test_mse",
        )
    return Measured(
        value=result.ratio,
        runs=result.runs,
        data="mnist",
        seed=list(range(repeats)),
        versions=tutorial.versions,
        memory_mb=max(run["memory_mb"] for run in result.a),
    )


def hinton_salakhutdinov(settings: Settings) -> Measured:
    """Squared error summed over each test image, averaged over the images."""
    with Contestant("ours") as ours:
        options = {**HINTON_SALAKHUTDINOV, "random_state": settings.seed, **settings.pick({}, {"epochs": 1})}
        run = ours("fit", **_files(settings), options=options)
    return Measured(
        value=run["test_mse"] * PIXELS,
        runs=[run],
        data="mnist",
        seed=settings.seed,
        memory_mb=run["memory_mb"],
        note="theirs 3.00, logistic PCA 8.01, PCA 13.87",
    )


FIGURES = {
    "linear": Figure("test squared error, `linear` ÷ PCA-32", linear, Bar(at_most=1.005)),
    "seed_net": Figure("test squared error after 10 epochs, ours ÷ the tutorial's", seed_net, Bar(at_most=1)),
    "hinton_salakhutdinov": Figure(
        "test squared error per image, 784-1000-500-250-30", hinton_salakhutdinov, Bar(at_most=3)
    ),
}
