"""Whether the codewords of a quantised code are in use: the `vq` recipe on MNIST, as it comes but for its epochs."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings

EPOCHS = 3


@cache
def fitted(settings: Settings) -> dict[str, Any]:
    import torch

    from isthmus import Autoencoder, open_rows

    digits = data.mnist()
    train = digits.train[: settings.pick(None, 2_000)]
    epochs = settings.pick(EPOCHS, 1)
    model = Autoencoder("vq", epochs=epochs, random_state=settings.seed, verbose=0).fit(train).model_
    x = model.modality.to_tensors(open_rows(digits.test))["x"]
    with torch.no_grad():
        used = torch.cat([model.net.trace(x=some).code.aux["indices"] for some in x.split(1000)])
    book = model.net.bottleneck
    counts = np.bincount(used.flatten().numpy(), minlength=book.codewords)
    shares = counts[counts > 0] / counts.sum()
    return {
        "used": float((counts > 0).mean()),
        "dead": int(book.codebook.dead.sum()),
        "perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
        "symbols_per_row": used.shape[1],
        "error": model.record.error,
        "pca_error": model.record.pca_error,
        "seconds": model.record.seconds,
    }


def used(settings: Settings) -> Measured:
    """Share of the codewords that the test images use."""
    run = fitted(settings)
    note = (
        f"perplexity {run['perplexity']:.0f}, {run['symbols_per_row']} symbols per image, "
        f"held-out error ÷ PCA's {run['error'] / run['pca_error']:.2f}"
    )
    return Measured(run["used"], [run], data="mnist", seed=settings.seed, note=note)


def dead(settings: Settings) -> Measured:
    """Codewords that stand for less than a tenth of an equal share when the training ends."""
    run = fitted(settings)
    return Measured(float(run["dead"]), [run], data="mnist", seed=settings.seed)


FIGURES = {
    "used": Figure("share of 512 codewords that the MNIST test images use", used, Bar(at_least=0.95)),
    "dead": Figure("dead codewords of 512 after training on MNIST", dead, Bar(at_most=0)),
}
