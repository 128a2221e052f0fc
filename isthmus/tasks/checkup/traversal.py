"""What each code does: one code moves from low to high, the others stay, and the decoder shows what follows.

.. math:: z_j \\in [q_{2\\%}, q_{98\\%}], \\qquad z_{\\setminus j} \\text{ of the row nearest to the middle}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isthmus.core.vitals import Vitals
from isthmus.picture import Picture, bars, image_grid

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.model import Model

#: Codes that are shown, steps from low to high, and columns named per code.
_CODES, _STEPS, _COLUMNS = 10, 7, 3
_LOW, _HIGH = 0.02, 0.98


def traverse_picture(model: Model, rows: Rows, vitals: Vitals) -> Picture:
    """Images: a line per code and its steps. Other rows: the columns that move most, in standard deviations."""
    z = torch.from_numpy(model.encode(rows))
    held = middle_condition(model, rows, z)
    codes = [j for j in vitals.codes.ranked() if bool(vitals.codes.active[j])][:_CODES]
    if not model.modality.names and len(model.net.shape) == 3:
        decode = model.net.decode
        with torch.inference_mode():
            lines = [model.modality.from_tensors(decode(moved(z, j, _STEPS).to(model.device), *held(_STEPS)).mean.cpu())
                     for j in codes]  # fmt: skip
        share = vitals.codes.importance.nan_to_num().cpu() / max(vitals.spread, 1e-30)
        return image_grid(
            lines, [f"code {j} ({float(share[j]):.0%})" for j in codes], tops=["low", *[""] * (_STEPS - 2), "high"]
        )
    names, values = [], []
    for j in codes:
        shift = _shift(model, rows, moved(z, j, 2), held(2))
        for k, column in enumerate(np.argsort(-np.abs(shift), kind="stable")[:_COLUMNS]):
            name = model.modality.names[column] if model.modality.names else f"entry {column}"
            names.append(name if k else f"code {j}: {name}")
            values.append(float(shift[column]))
    return bars(names, values, value_label="from low to high, standard deviations")


def moved(z: Tensor, j: int, steps: int) -> Tensor:
    """The code nearest to the middle of ``z`` (n, *code_shape), ``steps`` times, with code ``j`` from low to high."""
    nearest = z[_middle(z)]
    path = nearest.expand(steps, *nearest.shape).clone()
    low, high = z[:, j].quantile(_LOW), z[:, j].quantile(_HIGH)
    steps_of = torch.linspace(0, 1, steps).reshape(-1, *[1] * (z.ndim - 2))
    path[:, j] = low + (high - low) * steps_of
    return path


def _middle(z: Tensor) -> int:
    """The row whose code is nearest to the middle."""
    flat = z.flatten(1)
    spread = flat.std(0, correction=0).clamp(min=1e-6)
    return int(((flat - flat.mean(0)) / spread).square().sum(1).argmin())


def middle_condition(model: Model, rows: Rows, z: Tensor) -> Callable[[int], tuple[Tensor, ...]]:
    """What steers the decoder for that row, so many times; nothing where nothing does."""
    condition = model.tensors(rows.take([_middle(z)])).get("condition")
    return lambda n: () if condition is None else (condition.expand(n, -1).to(model.device),)


@torch.inference_mode()
def _shift(model: Model, rows: Rows, ends: Tensor, held: tuple[Tensor, ...]) -> np.ndarray:
    """How far each column of x moves between two codes, in its standard deviations over rows; a category's move is
    the probability that changes hands.
    """
    likelihood, width = model.net.likelihood, int(np.prod(model.net.shape))
    tensors = model.tensors(rows)
    expected = model.net.decode(ends.to(model.device), *held).expected.flatten(1).cpu()
    apart = expected[1] - expected[0]
    if len(apart) == width:
        spread = likelihood.represent(tensors["x"].to(model.device)).flatten(1).std(0, correction=0).cpu()
        # what is the same in all these rows has no deviation to be measured in
        return torch.where(spread > 1e-6, apart / spread.clamp(min=1e-6), 0.0).numpy()
    # the levels of a category belong together
    owner = likelihood.reach(torch.eye(width, dtype=torch.bool, device=model.device)).cpu()
    spread = tensors["x"].std(0, correction=0).clamp(min=1e-6)
    alone = owner.sum(1) == 1
    together = (owner * apart.abs()).sum(1) / 2
    return torch.where(alone, (owner * apart).sum(1) / spread, together).numpy()
