"""umap-learn and openTSNE: rows as places in two dimensions, each with its default settings."""

from __future__ import annotations

import warnings
from time import perf_counter, process_time
from typing import Any

import numpy as np
from protocol import serve

warnings.simplefilter("ignore")


def umap(fit: str, test: str | None = None, rows: int | None = None, seed: int | None = None) -> dict[str, Any]:
    """``seconds`` hold `fit_transform` alone; ``places`` of the fitted and ``test_places`` of other rows where there
    are any. A seed costs umap its threads, so that none is said where time is measured.
    """
    from umap import UMAP

    x = np.load(fit)[:rows]
    start, worked = perf_counter(), process_time()
    fitted = UMAP(random_state=seed)
    places = fitted.fit_transform(x)
    spent = {"seconds": perf_counter() - start, "processor_seconds": process_time() - worked}
    return {**spent, **({} if test is None else _places(places, fitted.transform(np.load(test))))}


def tsne(fit: str, test: str, seed: int = 0) -> dict[str, Any]:
    from openTSNE import TSNE

    start = perf_counter()
    fitted = TSNE(random_state=seed).fit(np.load(fit))
    return {"seconds": perf_counter() - start, **_places(fitted, fitted.transform(np.load(test)))}


def _places(fitted: Any, test: Any) -> dict[str, Any]:
    return {"places": np.asarray(fitted).tolist(), "test_places": np.asarray(test).tolist()}


if __name__ == "__main__":
    serve(umap=umap, tsne=tsne)
