"""A hundred labels: classifiers on codes that were learned from all rows without a label, beside raw columns and PCA.

Rows that judge are seen by nobody before: not by the autoencoder, and not by PCA. For codes the way to use the rows
without labels is chosen by the hundred labels alone (as ``isthmus head`` does); raw columns get the best of their
supervised models by the rows that judge, so the bar leans towards them. What the same ways make of raw columns and of
PCA is in the note.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings

LABELS, DRAWS, NUMBERS, HEADS = 100, 5, 64, 1
#: MNIST rows that are learned from, and that judge.
ROWS, JUDGE = 10_000, 2000


@cache
def _measured(name: str, quick: bool) -> dict[str, Any]:
    import torch

    from isthmus.model import Model
    from isthmus.spec import Plan
    from isthmus.tasks.features.heads import Teaching, fit_head, predict
    from isthmus.tasks.features.judges import SUPERVISED, WITH_ALL_ROWS
    from isthmus.tasks.features.labelled import drawn, labelled
    from isthmus.tasks.features.probe import features_of

    rows, labels, n = _rows(name, quick)
    plan = Plan(seed=0, epochs=1 if quick else 10)
    parts = {"detector": "likelihood"}  # as little as there is: nobody asks what is strange
    model = Model.fit(rows[:n], "plain", latent_dim=NUMBERS, parts=parts, plan=plan)
    found = labelled(model, rows, labels)
    fit, judge = np.arange(n), np.arange(n, len(rows))
    ways = features_of(model, found.rows, fit, judge)
    y, truth, classes = torch.from_numpy(found.y), found.y[judge], len(found.classes)
    errors: dict[str, list[float]] = {}
    for draw in range(1 if quick else DRAWS):
        shown = drawn(found.y[fit], found.classes, LABELS, np.random.default_rng([0, draw]))
        places = torch.from_numpy(shown)
        for way in ways:
            for kind, function in (SUPERVISED | WITH_ALL_ROWS).items():
                wrong = float((function(way, places, y[places], classes) != truth).mean())
                errors.setdefault(f"{way.name}, {kind}", []).append(wrong)
        known = np.full(n, None, dtype=object)
        known[shown] = labels[shown]
        # what the labels themselves say of the ways to use rows without
        teacher = Teaching(model, labelled(model, rows[:n], known), None, draw).choose("auto") or "linear"
        errors.setdefault("chosen", []).append(errors[f"{ways[-1].name}, {teacher}"][-1])
        if draw < HEADS:
            head = fit_head(model, rows[:n], known, seed=draw)
            wrong = float((predict(head, rows[n:]).values.astype(str) != labels[n:].astype(str)).mean())
            errors.setdefault("head", []).append(wrong)
    mean = {key: float(np.mean(wrong)) for key, wrong in errors.items()}
    raw = min(mean[f"raw, {kind}"] for kind in SUPERVISED)
    return {"errors": {key: [round(e, 4) for e in wrong] for key, wrong in errors.items()}, "mean": mean,
            "raw": raw, "code": mean["chosen"]}  # fmt: skip


def _rows(name: str, quick: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows, labels, and how many of them are learned from; the others judge."""
    if name == "mnist":
        n, m = (500, 200) if quick else (ROWS, JUDGE)
        digits = data.mnist()
        rows = np.concatenate([data.flat(digits.train[:n]), data.flat(digits.test[:m])])
        return rows, np.concatenate([digits.train_labels[:n], digits.test_labels[:m]]), n
    with np.load(data.folder("isolet") / "isolet_1560.npz") as file:
        rows, labels = file["X"], file["y"]
    order = np.random.default_rng(0).permutation(len(rows))
    return rows[order], labels[order], round(0.75 * len(rows))


def _figure(name: str):
    def measure(settings: Settings) -> Measured:
        run = _measured(name, settings.quick)
        told = ", ".join(f"{key} {100 * wrong:.1f}" for key, wrong in run["mean"].items())
        return Measured(value=run["code"] / run["raw"], runs=[run], data=name, seed=0, note=f"errors in %: {told}")

    return measure


FIGURES = {
    name: Figure(
        f"error with {LABELS} labels of a classifier on codes ÷ the best supervised one on raw columns, {name}",
        _figure(name),
        Bar(at_most=0.75),
    )
    for name in ("isolet", "mnist")
}
