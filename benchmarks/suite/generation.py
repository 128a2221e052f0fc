"""How close drawn digits come to real ones: the Fréchet distance in the features of a small classifier.

.. math:: \\|m_1 - m_2\\|^2 + \\operatorname{tr}\\bigl(C_1 + C_2 - 2 (C_1 C_2)^{1/2}\\bigr)

The classifier is fitted here, on the labels of the training images, so distances are comparable within one run
only. ``floor`` is the distance between real images and other real images.

References:
    GANs Trained by a Two Time-Scale Update Rule, Martin Heusel et al., 2017 (the distance).
    From Variational to Deterministic Autoencoders, Partha Ghosh et al., 2020 (mixtures fitted after training).
"""

from __future__ import annotations

from collections import Counter
from functools import cache, partial
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
    from isthmus.core.fidelity import frechet as of

    return of(torch.from_numpy(a), torch.from_numpy(b))


@cache
def digits(settings: Settings) -> dict[str, Any]:
    """All training digits, five minutes, default sampling; the density of codes is what the fit chose."""
    from isthmus.core.fidelity import fidelity

    known = data.mnist()
    n = settings.pick(5_000, 200)
    features = classifier(known.train[-settings.pick(20_000, 500) :], known.train_labels, settings.pick(3, 1))
    minutes = settings.minutes or settings.pick(5, 0.1)
    net = {**NET, "batch_size": 128, "epochs": "auto", "max_time": 60 * minutes, "validation": 0.05}
    ae = autoencoder()(random_state=settings.seed, detector="likelihood", **net)
    ae.fit(known.train[: settings.pick(60_000, 500)])
    drawn = ae.sample(n)
    real, theirs, ours = (features(images) for images in (known.test, known.train[-n:], drawn))
    order = np.random.default_rng(settings.seed).permutation(len(real))[:n]
    found, floor = (fidelity(torch.from_numpy(real[order]), torch.from_numpy(some)) for some in (ours, theirs))
    sampling = ae.model_.sampling
    return {
        "frechet": distance(ours, real),
        "floor": distance(theirs, real),
        "recall": found.recall,
        "note": f"{ae.record_.epochs} epochs in {ae.record_.phases['train']:.0f} s, "
        f"{sampling.part.options.get('components', 1)} gaussians; floor {distance(theirs, real):.3g}; "
        f"precision {found.precision:.3f} (floor {floor.precision:.3f}), "
        f"recall {found.recall:.3f} ({floor.recall:.3f}), density {found.density:.3f} ({floor.density:.3f}), "
        f"coverage {found.coverage:.3f} ({floor.coverage:.3f})",
        "runs": [{"drawn": vars(found), "real": vars(floor), "nats": dict(sampling.nats)}],
    }


def mnist(name: str, settings: Settings) -> Measured:
    found = digits(settings)
    value, note = found[name], found["note"]
    if name == "frechet":
        # classifiers differ in the size of their features: in the unit in which real images are 5.6 apart
        value, note = 5.6 * found["frechet"] / found["floor"], f"{found['frechet']:.4g} as it is; {note}"
    return Measured(value, found["runs"], "mnist, 60,000 rows, a code of 16", settings.seed, note=note)


@cache
def census(settings: Settings) -> dict[str, Any]:
    """Adult income: a classifier fitted to drawn rows ÷ one fitted to real ones, on real rows that none has seen."""
    import pyarrow.parquet as pq

    from isthmus.data.seen import row_hashes

    table = pq.read_table(data.folder("adult_income") / "adult_income.parquet")
    order = np.random.default_rng(settings.seed).permutation(len(table))
    n = settings.pick(17_000, 600)
    train, test = table.take(order[:n]), table.take(order[n:])
    ae = autoencoder()(random_state=settings.seed, detector="likelihood", verbose=0).fit(train)
    drawn = ae.model_.draw(n)
    encode, runs = _cells(train), []
    scores = {name: _auroc(encode(rows), encode(test)) for name, rows in (("real", train), ("drawn", drawn.rows))}
    known = set(row_hashes(train).tolist())
    copies = sum(h in known for h in row_hashes(drawn.rows.select(train.column_names)).tolist())
    apart = {name: _variation(train[name], drawn.rows[name]) for name in train.column_names if name != "fnlwgt"}
    runs.append({**scores, "copies": copies, "refused": drawn.refused, "variation": apart})
    worst = max(apart, key=apart.get)
    note = (
        f"AUROC {scores['drawn']:.4f} fitted to drawn rows, {scores['real']:.4f} to real ones; {drawn.refused} drafts "
        f"refused; shares of a column differ by {np.mean(list(apart.values())):.3f} on average, {worst} by "
        f"{apart[worst]:.3f}; the density is {ae.model_.sampling.part.kind}"
    )
    return {"ratio": scores["drawn"] / scores["real"], "copies": copies, "note": note, "runs": runs}


def adult(name: str, settings: Settings) -> Measured:
    found = census(settings)
    return Measured(found[name], found["runs"], "adult_income", settings.seed, note=found["note"])


def _cells(table: Any) -> Any:
    """Tables → (numbers, answers), with categories as the places that they have in ``table``."""
    levels = {f.name: sorted(set(table[f.name].to_pylist())) for f in table.schema if str(f.type).endswith("string")}

    def encode(rows: Any) -> tuple[np.ndarray, np.ndarray]:
        columns = []
        for name in table.column_names:
            if name in levels:
                place = {level: i for i, level in enumerate(levels[name])}
                columns.append([place.get(cell, np.nan) for cell in rows[name].to_pylist()])
            else:
                columns.append(rows[name].to_numpy())
        x = np.column_stack(columns).astype(float)
        at = table.column_names.index("income")
        return np.delete(x, at, 1), x[:, at] > 0

    return encode


def _auroc(fitted: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    trees = HistGradientBoostingClassifier(random_state=0).fit(*fitted)
    return float(roc_auc_score(test[1], trees.predict_proba(test[0])[:, 1]))


def _variation(a: Any, b: Any) -> float:
    counts = [Counter(column.to_pylist()) for column in (a, b)]
    return sum(abs(counts[0][v] / len(a) - counts[1][v] / len(b)) for v in set(counts[0]) | set(counts[1])) / 2


FIGURES = {
    "frechet": Figure(
        "Fréchet distance: worse of AE, RAE with a mixture ÷ better of AE, VAE with N(0, I)", frechet, Bar(at_most=1)
    ),
    "mnist": Figure(
        "digits drawn after 5 minutes: Fréchet distance, in the unit in which real ones are 5.6 apart",
        partial(mnist, "frechet"),
        Bar(at_most=24),
    ),
    "mnist_recall": Figure("recall of the same", partial(mnist, "recall"), Bar(at_least=0.75)),
    "adult": Figure(
        "adult_income: AUROC of a classifier fitted to drawn rows ÷ fitted to real ones",
        partial(adult, "ratio"),
        Bar(at_least=0.95),
    ),
    "adult_copies": Figure("training rows among the drawn ones", partial(adult, "copies"), Bar(at_most=0)),
}
