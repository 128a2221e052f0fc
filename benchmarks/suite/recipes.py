"""What each recipe costs: an epoch on MNIST beside `plain`'s, and the work that its parts ask for.

Work is counted in multiplications of one training step on the gradient tape, forward and backward, so that a
recipe that is slower than its work explains stands out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Figure, Measured, Settings
from benchmarks.paired import paired

BATCH, LATENT = 128, 16


def _fit(recipe: str, images: np.ndarray, labels: np.ndarray, epochs: int = 1) -> Any:
    from isthmus.conditions import with_condition
    from isthmus.data.source import open_rows
    from isthmus.model import Model
    from isthmus.spec import Plan

    rows = open_rows(images)
    if recipe == "conditional":
        rows = with_condition(rows, labels)
    plan = Plan(epochs=epochs, batch_size=BATCH, validation=0.02)
    return Model.fit(rows, recipe, latent_dim=LATENT, plan=plan)


class _Everywhere:
    """In place of the counter's own watch over modules, which breaks where a gradient is taken within a loss."""

    parents = ("Global",)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@contextmanager
def _counted() -> Iterator[Any]:
    """Count multiplications, also those that otherwise go to an operator that the counter does not know."""
    from torch.utils.flop_counter import FlopCounterMode

    from isthmus.core.networks import dense

    before, dense._ONEDNN = dense._ONEDNN, False
    try:
        counter = FlopCounterMode(display=False)
        counter.mod_tracker = _Everywhere()
        with counter:
            yield counter
    finally:
        dense._ONEDNN = before


def work(recipe: str, images: np.ndarray, labels: np.ndarray) -> float:
    """Multiplications of a training step, per row."""
    import torch

    model = _fit(recipe, images[:500], labels[:500], epochs=0)
    rows = images[: 2 * BATCH]
    tensors = {k: t[:BATCH] for k, t in model.tensors(_rows(recipe, rows, labels[: 2 * BATCH])).items()}
    net = model.net.train()
    torch.manual_seed(0)
    with _counted() as counter:
        losses = net.losses(**tensors)
        for group, parameters in net.groups().items():
            losses.backward(group, parameters)
    return counter.get_total_flops() / 2 / BATCH


def _rows(recipe: str, images: np.ndarray, labels: np.ndarray) -> Any:
    from isthmus.conditions import with_condition
    from isthmus.data.source import open_rows

    rows = open_rows(images)
    return with_condition(rows, labels) if recipe == "conditional" else rows


def epoch(settings: Settings) -> Measured:
    """The longest epoch ÷ plain's; every recipe's own ratio, and that of its work, stand in the runs."""
    from isthmus.recipes import RECIPES

    n, repeats = settings.pick(10_000, 500), settings.pick(3, 1)
    images, labels = data.mnist().train[:n], data.mnist().train_labels[:n]

    def seconds(recipe: str) -> dict[str, float]:
        return {"seconds": _fit(recipe, images, labels).record.phases["train"]}

    seconds("plain")  # the first fit of a process is slower
    plain_work = work("plain", images, labels)
    runs = []
    for recipe in RECIPES:
        if recipe == "plain":
            continue
        result = paired(lambda _, r=recipe: seconds(r), lambda _: seconds("plain"), repeats=repeats, key="seconds")
        runs.append(
            {
                "recipe": recipe,
                "ratio": round(result.ratio, 3),
                "work": round(work(recipe, images, labels) / plain_work, 3),
                "seconds": median(run["seconds"] for run in result.a),
            }
        )
    longest = max(runs, key=lambda run: run["ratio"])
    return Measured(
        value=longest["ratio"],
        runs=runs,
        data="mnist",
        seed=settings.seed,
        note=" ".join(f"{run['recipe']} {run['ratio']:.2g}({run['work']:.2g})" for run in runs),
    )


FIGURES = {
    "epoch": Figure("one epoch on 10,000 digits ÷ plain's, the longest; each with its work (in brackets)", epoch),
}
