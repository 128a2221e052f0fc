"""Are two samples of one distribution? As well as somebody who learned from half of them tells the other half.

.. math:: \\mathrm{accuracy} = \\max_c \\; P(c(w) = \\text{where } w \\text{ is from}), \\quad w \\text{ held out}

½ is a coin toss: nobody could tell. References: Lopez-Paz and Oquab, Revisiting Classifier Two-Sample
Tests, 2017, https://arxiv.org/abs/1610.06545
"""

from __future__ import annotations

from typing import Any

import numpy as np


def two_sample_accuracy(a: Any, b: Any, *, most: int = 10_000, seed: int = 0) -> float:
    """The held-out accuracy of the best of three classifiers that tell rows of ``a`` from rows of ``b``.

    A linear probe sees a shift, neighbours see a hole or a clump, boosted trees see the margins. As many rows of
    each are taken (up to ``most``), standardised together; half of them are for learning. From samples of one
    distribution it is ½ to within about ``1/√n``, a little above rather than below, since the best of three is
    told: with few rows read it as an upper bound.

    Args:
        a, b: arrays or tensors (n, …) and (m, …), rows flattened; at least 20 of each.
        most: rows of each that are looked at, so that it takes seconds.
        seed: which rows are taken, and which of them are held out.

    >>> g = np.random.default_rng(0)
    >>> near, far = g.normal(size=(2000, 2)), g.normal(size=(2000, 2)) + 3
    >>> bool(two_sample_accuracy(near, g.normal(size=(2000, 2))) < 0.55), bool(two_sample_accuracy(near, far) > 0.97)
    (True, True)
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    a, b = _rows(a), _rows(b)
    n = min(len(a), len(b), most)
    if n < 20 or a.shape[1] != b.shape[1]:
        raise ValueError(f"two samples of at least 20 rows of one width, got {a.shape} and {b.shape}")
    generator = np.random.default_rng(seed)
    rows = np.concatenate([generator.permutation(a)[:n], generator.permutation(b)[:n]])
    rows = (rows - rows.mean(0)) / rows.std(0).clip(min=1e-12)
    which = np.repeat([0, 1], n)
    learn = np.tile(np.arange(n) < n // 2, 2)
    classifiers = (
        LogisticRegression(),
        KNeighborsClassifier(max(5, round(n**0.5 / 2))),
        HistGradientBoostingClassifier(max_iter=50, early_stopping=False, random_state=seed),
    )
    return max(float(c.fit(rows[learn], which[learn]).score(rows[~learn], which[~learn])) for c in classifiers)


def _rows(sample: Any) -> np.ndarray:
    if hasattr(sample, "detach"):
        sample = sample.detach().cpu()
    array = np.asarray(sample, dtype=np.float64)
    return array.reshape(len(array), -1)
