"""Does the check of an augmentation ever keep one that hurts?

Of every data set some rows go through ``augment``, and all others are fresh: what the check never saw. The rows are
drawn in any case, and the same classifier is fitted with and without them and judged on the fresh rows. An
augmentation that was kept, and with which fewer fresh rows are told right, is harmful.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings, Skip

#: Rows that go through the check.
_ROWS = 300


@cache
def runs(settings: Settings) -> list[dict[str, Any]]:
    """One a data set and seed."""
    try:
        from isthmus.tasks.generation.augment import _accuracy, _seen, augment
    except ImportError as error:
        raise Skip(f"isthmus does not start: {error}") from None
    from isthmus.model import Model
    from isthmus.spec import Plan

    found = []
    for name, (x, y) in list(_sets().items())[settings.pick(slice(None), slice(1, 2))]:
        for seed in range(settings.seed, settings.seed + settings.pick(2, 1)):
            order = np.random.default_rng(seed).permutation(len(x))
            ours, fresh = order[:_ROWS], order[_ROWS:][:4000]
            said = augment(x[ours], y[ours], seed=seed, splits=settings.pick(5, 2), anyway=True, max_time=3)
            known = np.isin(y[fresh].astype(str), np.unique(said.labels.astype(str)))
            fresh = fresh[known]
            face = Model.fit(x[ours], plan=Plan(epochs=1), parts={"detector": "likelihood"})
            sides = [_seen(face, face.open(rows)) for rows in (x[ours], said.rows, x[fresh])]
            both = np.concatenate(sides[:2]), np.append(y[ours].astype(object), said.labels)
            alone, more = (
                _accuracy(rows, labels, sides[2], y[fresh], seed) for rows, labels in ((sides[0], y[ours]), both)
            )
            found.append({"data": name, "seed": seed, "kept": said.helps, "checked": said.gain, "low": said.low,
                          "alone": alone, "with_drawn": more})  # fmt: skip
    return found


def _sets() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from sklearn.datasets import load_breast_cancer, load_digits

    sets = {name: load(return_X_y=True) for name, load in (("digits", load_digits), ("cancer", load_breast_cancer))}
    for name in ("pendigits", "letter", "satellite"):
        sets[name] = data.table(name)
    with np.load(data.folder("ecg5000") / "ecg5000.npz") as file:
        sets["ecg5000"] = file["X"], file["class5"]
    with np.load(data.folder("isolet") / "isolet_1560.npz") as file:
        sets["isolet"] = file["X"], file["y"]
    known = data.mnist()
    sets["mnist"] = known.test, known.test_labels
    return sets


def harmful(settings: Settings) -> Measured:
    kept = [run for run in runs(settings) if run["kept"]]
    bad = [run for run in kept if run["with_drawn"] < run["alone"]]
    turned = [run for run in runs(settings) if not run["kept"] and run["with_drawn"] < run["alone"]]
    missed = [run for run in runs(settings) if not run["kept"] and run["with_drawn"] > run["alone"]]
    gains = {run["data"]: f"{100 * (run['with_drawn'] - run['alone']):+.1f}" for run in kept}
    note = (
        f"{len(kept)} of {len(runs(settings))} kept ({', '.join(f'{n} {g}' for n, g in gains.items()) or 'none'} "
        f"points on fresh rows); of those turned down {len(turned)} would have hurt and {len(missed)} have helped"
    )
    return Measured(len(bad), runs(settings), "eight data sets, 300 rows each", settings.seed, note=note)


FIGURES = {
    "harmful": Figure("augmentations that were kept and lower the accuracy on fresh rows", harmful, Bar(at_most=0)),
}
