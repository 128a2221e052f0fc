"""Scoring a million rows of 30 columns, beside PyOD's AutoEncoder.

`likelihood` has default settings but for the detector: the network's own nats, which is what PyOD's AutoEncoder scores
by too. `same_net` gives us PyOD's net as well, and PyOD batches of 1,024 rows instead of its 32. `defaults` is the
default detector, which looks for each row's neighbours: better (`anomaly_tables`), and slower. PyOD scores the first
tenth of the rows: it takes minutes for all of them, at the same rows a second.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.nets import DEFAULTS, NATS, PYOD_NET
from benchmarks.paired import paired
from benchmarks.rivals import Contestant

COLUMNS = 30
FIT_ROWS = 10_000


def against_pyod(our_options: dict[str, Any], their_options: dict[str, Any], settings: Settings) -> Measured:
    generator = np.random.default_rng(settings.seed)
    mixing = generator.normal(size=(COLUMNS, COLUMNS))
    rows = generator.normal(size=(settings.pick(1_000_000, 20_000), COLUMNS)) @ mixing
    rows = rows.astype(np.float32)
    train, many = data.hand_over("train", rows[:FIT_ROWS]), data.hand_over("rows", rows)
    tenth = data.hand_over("tenth", rows[: len(rows) // 10])
    repeats = settings.pick(5, 1)
    with Contestant("ours") as ours, Contestant("pyod") as theirs:
        ours("fit_detector", train=train, options={**our_options, "random_state": settings.seed})
        theirs("fit_detector", train=train, seed=settings.seed, options={"epoch_num": 1, **their_options})
        result = paired(
            lambda _: ours("score", rows=many),
            lambda _: theirs("score", rows=tenth),
            repeats=repeats,
            key="rows_per_second",
        )
    return Measured(
        value=result.ratio,
        runs=result.runs,
        data=f"synthetic: {len(rows):,} × {COLUMNS} correlated normal columns",
        seed=settings.seed,
        versions=theirs.versions,
        memory_mb=max(run["memory_mb"] for run in result.a),
    )


FIGURES = {
    name: Figure(
        metric="rows scored/s, ours ÷ PyOD's AutoEncoder",
        measure=partial(against_pyod, our_options, their_options),
        bar=bar,
        rivals=True,
    )
    for name, our_options, their_options, bar in [
        ("likelihood", {**DEFAULTS, **NATS}, {}, Bar(at_least=3)),
        ("same_net", {**PYOD_NET, **NATS, "epochs": 1}, {"batch_size": 1024}, Bar(at_least=3)),
        ("defaults", DEFAULTS, {}, None),
    ]
}
