"""What is wrong with a model, in words with the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isthmus.tasks.compare import compared_at_fit

if TYPE_CHECKING:
    from isthmus.model import Model


def remarks(model: Model) -> list[str]:
    """What the record of a fit gives reason to say; empty when there is nothing to say."""
    record, said = model.record, list(model.record.remarks)
    compared = compared_at_fit(model)
    if compared is None:
        said.append("no rows were held out: nothing can be said about new rows, and detect has no threshold")
        return said
    if compared.ratio > 1.0001:
        said.append(
            f"same-size PCA is better on held-out rows (error {compared.pca:.4g} against {compared.autoencoder:.4g}): "
            "use recipe 'linear', or give the fit more rows or time"
        )
    if compared.autoencoder > 0.98 * compared.mean:
        said.append(
            "hardly better than answering with the mean row: the code is too small, or the columns are unrelated"
        )
    if record.train_error is not None and compared.autoencoder > 2 * record.train_error and record.n_train > 1:
        said.append(
            f"overfit: the error on held-out rows is {compared.autoencoder / record.train_error:.1f} times that on "
            "training rows; more rows, a smaller code, narrower widths or recipe 'denoising' help"
        )
    if record.best_epoch == 0 and record.history and len(record.history) > 1 and compared.ratio <= 1.0001:
        said.append("training brought nothing beyond the start at PCA: these rows are linear, 'linear' is as good")
    last = len(record.history) - 1
    if record.stopped is None and record.best_epoch == last and _still_falling(record.history):
        said.append("the held-out error was still falling at the end: more epochs will lower it")
    if record.n_held_out < 99:
        said.append(
            f"{record.n_held_out} held-out rows can promise a false-alarm rate of {1 / (record.n_held_out + 1):.1%} "
            "at the least"
        )
    said += _idle_codes(model)
    return said


def _still_falling(history: list[dict[str, float]]) -> bool:
    """Did the last tenth of the epochs still gain more than 2 %?"""
    errors = [epoch["error"] for epoch in history if epoch["error"] is not None]
    back = max(1, len(errors) // 10)
    return len(errors) > back and errors[-1] < 0.98 * errors[-1 - back]


def _idle_codes(model: Model) -> list[str]:
    """Codes of a variational model that say nothing: posterior collapse.

    References:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2016 (active units: Var of means > 0.01).
    """
    spread = model.code_variance
    if spread is None or model.spec.bottleneck.kind != "gaussian":
        return []
    active = int((np.asarray(spread) > 0.01).sum())
    if active == len(spread):
        return []
    collapse = "posterior collapse: " if active < 0.2 * len(spread) else ""
    return [
        f"{collapse}{active} of {len(spread)} codes are in use; a smaller latent_dim costs nothing, or keep them "
        "busy with bottleneck={'kind': 'gaussian', 'free_bits': 0.1}"
    ]
