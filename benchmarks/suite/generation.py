"""How close drawn digits come to real ones: the Fréchet distance in the features of a small classifier.

.. math:: \\|m_1 - m_2\\|^2 + \\operatorname{tr}\\bigl(C_1 + C_2 - 2 (C_1 C_2)^{1/2}\\bigr)

The classifier is fitted here, on the labels of the training images, so distances are comparable within one run
only. ``floor`` is the distance between real images and other real images.

References:
    GANs Trained by a Two Time-Scale Update Rule, Martin Heusel et al., 2017 (the distance).
    From Variational to Deterministic Autoencoders, Partha Ghosh et al., 2020 (mixtures fitted after training).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.suite._estimator import autoencoder

NET = {
    "latent_dim": 16,
    "encoder": {"kind": "conv", "widths": [32, 64]},
    "decoder": {"kind": "conv", "widths": [64, 32]},
    "likelihood": "bernoulli",
    "batch_size": 64,
    "epochs": 20,
    "verbose": 0,
}
#: Who is drawn from, by what: the first two must stay below the last two.
MODELS = {"AE": {"recipe": "plain"}, "RAE": {"recipe": "regularized"}, "VAE": {"recipe": "variational"}}
OURS = (("AE", "mixture"), ("RAE", "mixture"))
THEIRS = (("AE", "standard_normal"), ("VAE", "standard_normal"))
PRINTED = (("AE", "gaussian"), ("AE", "flow"), ("VAE", "mixture"))


def frechet(settings: Settings) -> Measured:
    """The worse of AE and RAE with a mixture ÷ the better of AE and VAE with N(0, I)."""
    digits = data.mnist()
    rows, drawn = settings.pick((7_000, 5_000), (300, 200))
    train = digits.train[:rows]
    features = classifier(digits.train[-settings.pick(20_000, 500) :], digits.train_labels, settings.pick(3, 1))
    real = features(digits.test)
    distances = {"floor": distance(features(digits.train[-drawn:]), real)}
    fitted = {
        name: autoencoder()(random_state=settings.seed, **options, **NET | settings.pick({}, {"epochs": 1})).fit(train)
        for name, options in MODELS.items()
    }
    for name, prior in OURS + THEIRS + PRINTED:
        images = draw(fitted[name].model_, prior, train, drawn, settings.seed)
        distances[f"{name} {prior}"] = distance(features(images), real)
    ours, theirs = ([distances[f"{name} {prior}"] for name, prior in pairs] for pairs in (OURS, THEIRS))
    return Measured(
        value=max(ours) / min(theirs),
        runs=[{"model": name, "distance": value} for name, value in distances.items()],
        data=f"mnist, {rows} rows",
        seed=settings.seed,
        note=", ".join(f"{name} {value:.4g}" for name, value in distances.items()),
    )


def draw(model: Any, prior: str, rows: np.ndarray, n: int, seed: int) -> np.ndarray:
    """``n`` images of a fitted model, whose codes come from another prior fitted to them."""
    from isthmus.core.priors import PRIORS

    sampler = PRIORS[prior](model.net.bottleneck.code_shape, model.net.seen_shape)
    sampler.fit(torch.from_numpy(model.encode(rows)))
    return model.decode(sampler.sample(n, torch.Generator().manual_seed(seed)).numpy())


def classifier(images: np.ndarray, labels: np.ndarray, epochs: int) -> Any:
    """Images → features (n, 64) of a small convolutional net that knows the digits."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 49, 64), nn.ReLU(),
    )  # fmt: skip
    head = nn.Linear(64, 10)
    optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], 1e-3)
    x, y = _pixels(images), torch.from_numpy(labels[-len(images) :].astype(np.int64))
    for _ in range(epochs):
        for at in torch.randperm(len(x)).split(100):
            optimiser.zero_grad()
            nn.functional.cross_entropy(head(body(x[at])), y[at]).backward()
            optimiser.step()

    @torch.no_grad()
    def features(images: np.ndarray) -> np.ndarray:
        return torch.cat([body(part) for part in _pixels(images).split(1000)]).double().numpy()

    return features


def _pixels(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images.astype(np.float32) / 255)[:, None]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between the normal distributions that have the moments of ``a`` and of ``b``."""
    (m, c), (n, d) = ((x.mean(0), np.cov(x.T)) for x in (a, b))
    # the trace of (CD)^½: CD has the eigenvalues of a symmetric matrix, none below 0 but by rounding
    root = np.sqrt(np.linalg.eigvals(c @ d).real.clip(min=0)).sum()
    return float(np.square(m - n).sum() + np.trace(c) + np.trace(d) - 2 * root)


FIGURES = {
    "frechet": Figure(
        "Fréchet distance: worse of AE, RAE with a mixture ÷ better of AE, VAE with N(0, I)", frechet, Bar(at_most=1)
    ),
}
