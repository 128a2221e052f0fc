"""Between codes and beyond them: from one row to another, along a direction, and each number by itself.

.. math:: z_t = (1 - t)\\, z_A + t\\, z_B, \\qquad z' = z + s\\,(\\bar z_{\\text{toward}} - \\bar z_{\\text{away}})

On a sphere, and where codes were asked to be N(0, I), whose draws lie near one, the way from A to B is an arc.

References:
    Shoemake, Animating Rotation with Quaternion Curves, 1985 (the arc); White, Sampling Generative Networks, 2016.
    Larsen et al., Autoencoding beyond Pixels using a Learned Similarity Metric, 2016 (means of codes as attributes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isthmus import devices
from isthmus.data.sink import as_table, save_rows, save_sheet
from isthmus.errors import DataError, SpecError
from isthmus.files import write_atomic
from isthmus.picture import Picture, image_grid
from isthmus.tasks.base import Result
from isthmus.tasks.checkup.health import look
from isthmus.tasks.checkup.traversal import middle_condition, moved, traverse_picture
from isthmus.tasks.codes import Returned, said_condition

if TYPE_CHECKING:
    from isthmus.model import Model

#: Pairs of rows that are blended at once: more are no picture.
_MOST_PAIRS = 100


@dataclass
class Walk(Result):
    """``rows`` as they were brought, ``steps`` of them a line; ``lines`` are what each line is called."""

    rows: Any
    lines: tuple[str, ...]
    steps: int
    what: str
    picture: Picture

    def to_table(self) -> Any:
        """The rows behind the line and the step that they belong to."""
        import pyarrow as pa

        table = as_table(self.rows)
        names = [name for name in self.lines for _ in range(self.steps)]
        table = table.add_column(0, "step", pa.array(list(range(self.steps)) * len(self.lines)))
        return table.add_column(0, "line", pa.array(names))

    def save(self, path: Path) -> list[Path]:
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".svg":
            write_atomic(path, lambda file: file.write(self.picture.svg.encode()) and None)
            return [path]
        if ending == ".png":
            return save_sheet(self.rows, path, across=self.steps)
        if ending in (".npy", ".npz", ".txt", "") or isinstance(self.rows, list):
            return save_rows(self.rows, path)
        return save_rows(self.to_table(), path)

    def glimpse(self) -> list[str]:
        if isinstance(self.rows, np.ndarray) and self.rows.ndim > 2:
            return []
        return Returned(self.to_table()).glimpse()

    def summary(self) -> list[str]:
        return [f"{len(self.lines):,} × {self.steps} rows {self.what}"]

    def to_json(self) -> dict[str, Any]:
        return {"lines": list(self.lines), "steps": self.steps}


def blend(model: Model, rows: Any, to: Any, *, steps: int = 9, condition: str | None = None) -> Walk:
    """From each row to the row of ``to`` in the same place, or all to one: what comes back at even steps between.

    Args:
        steps: rows of the way, both ends among them.
        condition: What steers a conditional model all the way; else it goes from the one's to the other's.
    """
    if isinstance(steps, bool) or steps < 2:
        raise SpecError(f"steps are the rows of the way, both ends among them: at least 2; got {steps}.")
    needs_codes(model)
    rows, to = (model.modality.samples(model.open(some)).some() for some in (rows, to))
    n = max(len(rows), len(to))
    if len(rows) != len(to) and 1 not in (len(rows), len(to)):
        raise DataError(
            f"{rows.origin} has {len(rows):,} rows and {to.origin} {len(to):,}: a row is blended with the one in the "
            "same place. Bring as many, or one for all."
        )
    if n > _MOST_PAIRS:
        raise DataError(f"{n:,} pairs of rows are more than {_MOST_PAIRS}, which is as many as a person looks at.")
    a, b = (torch.from_numpy(model.encode(some)).expand(n, *model.net.bottleneck.code_shape) for some in (rows, to))
    t = torch.linspace(0, 1, steps)
    arc = model.spec.bottleneck.kind == "spherical" or model.spec.prior.kind == "standard_normal"
    z = between(a, b, t, arc=arc).flatten(0, 1)
    said: Any = said_condition(condition)
    if model.conditions is not None and said is None:
        ends = [model.tensors(some)["condition"].expand(n, -1) for some in (rows, to)]
        said = between(*ends, t, arc=False).flatten(0, 1)
    back = _decoded(model, z, said)
    lines = tuple(f"{_name(rows, i)} to {_name(to, i)}" for i in range(n))
    return Walk(
        back, lines, steps, "between " + ("codes, along an arc" if arc else "codes"), _drawn(back, lines, steps)
    )


def shift(model: Model, rows: Any, toward: Any, *, away: Any = None, strength: float = 1.0) -> Returned:
    """Rows with what those in TOWARD have and those in AWAY lack: the difference of their mean codes is added.

    Args:
        away: rows without it, such as faces that do not smile; by default the rows themselves.
        strength: how much of it; below 0 takes it off.
    """
    if not np.isfinite(strength):
        raise SpecError(f"strength is a number, got {strength}.")
    needs_codes(model)
    rows, toward = model.open(rows).in_memory("This needs"), model.open(toward)
    codes = model.encode(rows)
    apart = model.encode(toward).mean(0) - (codes if away is None else model.encode(away)).mean(0)
    z = torch.from_numpy(codes + np.float32(strength) * apart)
    said = model.tensors(rows)["condition"] if model.conditions is not None else None
    return Returned(_decoded(model, z, said), rows.names, came="were shifted")


def traverse(model: Model, rows: Any, *, steps: int = 7, codes: int = 10) -> Walk:
    """Every number of the code by itself from low to high, from the row nearest to the middle, the strongest first.

    Args:
        steps: rows from low to high.
        codes: how many numbers of the code, at most.
    """
    if min(steps, codes) < 2 - (codes == 1):
        raise SpecError(f"steps are at least 2 and codes at least 1; got {steps} and {codes}.")
    needs_codes(model)
    some, vitals = look(model, model.open(rows))
    z = torch.from_numpy(model.encode(some))
    which = [j for j in vitals.codes.ranked() if bool(vitals.codes.active[j])][:codes]
    if not which:
        raise DataError("No number of the code moves over these rows, so there is nothing to walk along.")
    path = torch.cat([moved(z, j, steps) for j in which])
    said = middle_condition(model, some, z)(len(path))
    back = _decoded(model, path, said[0].cpu() if said else None)
    lines = tuple(f"code {j}" for j in which)
    return Walk(back, lines, steps, "from low to high", traverse_picture(model, some, vitals))


def between(a: Tensor, b: Tensor, t: Tensor, *, arc: bool) -> Tensor:
    """Codes (n, …) to codes (n, …) at ``t`` (steps,): (n, steps, …), on a line, or on an arc whose length goes evenly
    from the one's to the other's.

    >>> x, y = torch.eye(2)[:1], torch.eye(2)[1:]
    >>> between(x, y, torch.tensor([0.0, 0.5, 1.0]), arc=True)[0].norm(dim=1).round(decimals=3)
    tensor([1., 1., 1.])
    """
    t = t.reshape(1, -1, *[1] * (a.ndim - 1))
    a, b = a[:, None], b[:, None]
    if not arc:
        return (1 - t) * a + t * b
    places = tuple(range(2, a.ndim))
    lengths = [z.square().sum(places, keepdim=True).sqrt().clamp(min=1e-12) for z in (a, b)]
    angle = ((a / lengths[0]) * (b / lengths[1])).sum(places, keepdim=True).clamp(-1, 1).acos()
    # nearly the same direction, or the opposite one, which has no one arc: a line
    flat = angle.sin() < 1e-3
    sine = torch.where(flat, torch.ones_like(angle), angle.sin())
    along = ((1 - t) * angle).sin() / sine * a / lengths[0] + (t * angle).sin() / sine * b / lengths[1]
    return torch.where(flat, (1 - t) * a + t * b, along * ((1 - t) * lengths[0] + t * lengths[1]))


def needs_codes(model: Model) -> None:
    """Refuse a model whose code is the row itself."""
    if not model.net.bottleneck.narrows:
        raise SpecError(
            f"The code of this model ({model.record.recipe}) is the whole row, so nothing is learned about codes. Fit "
            "one with a code that narrows, such as the recipe 'plain'."
        )


def _decoded(model: Model, z: Tensor, condition: Any) -> Any:
    """Codes that need not be any row's → rows, under a condition in words or as the numbers (n, c) that it became."""
    with torch.inference_mode(), devices.threads_for(float(z.numel()), model.device):
        z = model.net.bottleneck.settled(z.to(model.device)).cpu()
    return model.decode(z, condition=condition)


def _drawn(rows: Any, lines: Sequence[str], steps: int) -> Picture:
    """Lines of pictures; of other rows there is none."""
    images = rows if isinstance(rows, np.ndarray) and rows.dtype == np.uint8 and rows.ndim > 2 else []
    return image_grid([images[i * steps : (i + 1) * steps] for i in range(len(lines) if len(images) else 0)], lines)


def _name(rows: Any, i: int) -> str:
    i = i if len(rows) > 1 else 0
    return str(rows.names[i] if rows.names else f"row {i}")
