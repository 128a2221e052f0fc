"""What critics promise: codes like draws of the prior, and codes whose numbers know nothing of each other."""

from __future__ import annotations

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.nets import mirrored
from benchmarks.suite._estimator import autoencoder

#: A side of the pictures of ellipses, and how many are fitted and tested.
_SIDE, _FITTED, _TESTED = 16, 10_000, 5_000


def aae_two_sample(settings: Settings) -> Measured:
    """How well the 2-D codes of the MNIST test images are told from draws of N(0, I), worst of three seeds."""
    from benchmarks.two_sample import two_sample_accuracy

    digits = data.mnist()
    train, test = data.flat(digits.train[: settings.pick(None, 2_000)]), data.flat(digits.test)
    runs = []
    for seed in range(settings.pick(3, 1)):
        options = {**mirrored(256, 128, activation="gelu"), "epochs": settings.pick(20, 1), "random_state": seed}
        fitted = autoencoder()("adversarial", latent_dim=2, **options).fit(train)
        codes = fitted.transform(test)
        accuracy = two_sample_accuracy(codes, np.random.default_rng(seed).normal(size=codes.shape))
        runs.append(
            {"seed": seed, "accuracy": accuracy, "error": fitted.record_.error, "pca": fitted.record_.pca_error}
        )
    return Measured(
        value=max(run["accuracy"] for run in runs),
        runs=runs,
        data="mnist",
        seed=[run["seed"] for run in runs],
        note=f"squared error per image {runs[0]['error']:.1f}, of PCA {runs[0]['pca']:.1f}",
    )


def ellipses(n: int, seed: int) -> np.ndarray:
    """Soft ellipses, twice as wide as high, of independent uniform place and size: (n, side²) in [0, 1]."""
    x, y, radius = np.random.default_rng(seed).uniform([[4], [4], [1.5]], [[11], [11], [3.5]], (3, n))[..., None, None]
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    outside = np.hypot((columns - x) / 2, rows - y) - radius
    return (1 / (1 + np.exp(3 * outside))).astype(np.float32).reshape(n, -1)


def factor(settings: Settings) -> Measured:
    """Total correlation of codes of ellipses, as if normal (−½ log det R): `factor` ÷ `variational`, in the mean."""
    train, test = ellipses(settings.pick(_FITTED, 1_000), 0), ellipses(_TESTED, 1)
    # σ is fixed, so that both weigh the same reconstruction against the same rate; codes that begin as principal
    # components begin uncorrelated, which leaves nothing to be measured
    options = {
        **mirrored(128, 64, activation="gelu"),
        "likelihood": {"kind": "gaussian", "sigma": 0.3},
        "latent_dim": 5,
        "epochs": settings.pick(20, 1),
        "batch_size": 256,
        "learning_rate": 1e-3,
        "warm_start": None,
    }
    runs = []
    for seed in range(settings.pick(3, 1)):
        run = {"seed": seed}
        for recipe in ("variational", "factor"):
            fitted = autoencoder()(recipe, **options, random_state=seed).fit(train)
            codes = fitted.transform(test)
            used = codes[:, codes.var(0) > 0.01]
            run[recipe] = {
                "total_correlation": -0.5 * np.linalg.slogdet(np.corrcoef(used.T))[1],
                "codes_used": used.shape[1],
                "error": fitted.record_.error,
            }
        runs.append(run)
    mean = {
        recipe: {key: float(np.mean([run[recipe][key] for run in runs])) for key in ("total_correlation", "error")}
        for recipe in ("variational", "factor")
    }
    return Measured(
        value=mean["factor"]["total_correlation"] / mean["variational"]["total_correlation"],
        runs=runs,
        data="ellipses",
        seed=[run["seed"] for run in runs],
        note=f"squared error {mean['factor']['error']:.2f}, of the variational {mean['variational']['error']:.2f}",
    )


FIGURES = {
    "aae_two_sample": Figure(
        "2-D codes of test images told from N(0, I), worst seed", aae_two_sample, Bar(at_most=0.6)
    ),
    "factor": Figure("total correlation of codes of ellipses, `factor` ÷ `variational`", factor, Bar(at_most=0.9)),
}
