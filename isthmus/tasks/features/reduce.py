"""Maps: rows as points that people can look at, with PCA's map beside them and how far both can be trusted.

.. math:: z = \\mathrm{encode}(x) \\in R^2 \\text{ or } R^3
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.core.faithful import Faithful, faithful
from isthmus.core.pca import PCA, fit_pca
from isthmus.data.batches import in_order
from isthmus.data.labels import Labels, find_labels
from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import AUTO, Plan
from isthmus.tasks.base import Result

#: Fewer rows than this have no neighbourhoods worth drawing.
LEAST = 10
#: Steps in which the decoder learns to read the map, and the epochs that this may be.
_STEPS, _EPOCHS = 1200, (5, 40)
#: Rows that a map is judged by: at most so many, and not by those held out where these are fewer than the least.
_MOST_JUDGED, _LEAST_JUDGED = 2000, 30
#: A map that is less than this better than PCA's is no better.
_BETTER = 0.01
#: Rows whose features are held at once.
_CHUNK = 1024


@dataclass
class Map(Result):
    """``places`` (n, 2 or 3) of the rows and ``pca``'s beside them; ``scores`` are how strange the model finds each.

    ``trust`` and ``pca_trust`` say how far both maps can be trusted, found on ``judged`` rows. ``labels`` are what a
    person said of each row, ``index`` is which of the rows that were brought each is, and ``drawn`` says in words where
    these are not all.
    """

    model: Model
    rows: Rows
    index: np.ndarray
    places: np.ndarray
    pca: np.ndarray
    scores: np.ndarray
    trust: Faithful | None
    pca_trust: Faithful | None
    judged: str
    labels: list[Any] | None = None
    label: str = "label"
    drawn: str = ""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def pca_is_as_good(self) -> bool:
        """Whether PCA keeps neighbours as well as the map."""
        if self.trust is None or self.pca_trust is None:
            return False
        measures = ("trustworthiness", "agreement")
        return all(getattr(self.pca_trust, m) > getattr(self.trust, m) - _BETTER for m in measures)

    def to_table(self) -> Any:
        """A line for each row: which it is, its place, PCA's place, score, label."""
        import pyarrow as pa

        columns: dict[str, Any] = {"row": self.index}
        if self.rows.names:
            columns["name"] = list(self.rows.names)
        axes = "xyz"[: self.places.shape[1]]
        columns |= {axis: self.places[:, j] for j, axis in enumerate(axes)}
        columns |= {f"pca_{axis}": self.pca[:, j] for j, axis in enumerate(axes)}
        columns["score"] = self.scores
        if self.labels is not None:
            columns[self.label] = [None if v is None else str(v) for v in self.labels]
        return pa.table(columns)

    def summary(self) -> list[str]:
        lines = [f"{len(self):,} rows on a map of {self.places.shape[1]} numbers" + self.drawn]
        if self.trust is None or self.pca_trust is None:
            return [*lines, f"{self.judged}: too few rows to say how far the map can be trusted"]
        linear = self.model.net.likelihood.linear_model
        lines.append(f"{self.judged}: the map, and {linear}'s with as many numbers in brackets")
        lines += [f"  {line}" for line in words(self.trust, self.pca_trust)]
        if self.pca_is_as_good:
            lines.append(f"{linear}'s map keeps neighbours as well, and its axes mean something: prefer it")
        if self.pca_trust.distances > self.trust.distances + _BETTER:
            lines.append(f"how far groups lie apart says little on this map; {linear}'s keeps far distances better")
        return lines

    def to_json(self) -> dict[str, Any]:
        from dataclasses import asdict

        both = {"map": self.trust, "pca": self.pca_trust}
        return {
            "rows": len(self),
            "dim": self.places.shape[1],
            "judged_on": self.judged,
            "trust": {name: None if found is None else asdict(found) for name, found in both.items()},
            "pca_is_as_good": self.pca_is_as_good,
        }


def words(ours: Faithful, pca: Faithful) -> list[str]:
    """The four figures of two maps, and what each means."""
    said = [
        ("trustworthiness", f"what lies near on the map is alike ({ours.k} neighbours; 1 is always)"),
        ("continuity", "what is alike lies near on the map (1 is always)"),
        ("agreement", f"of a row's {ours.k} nearest, so many are the same on the map"),
        ("distances", "rank correlation of all distances with those on the map (1 is perfect)"),
    ]
    lines = []
    for name, meaning in said:
        one, other = getattr(ours, name), getattr(pca, name)
        shown = (f"{one:.0%}", f"{other:.0%}") if name == "agreement" else (f"{one:.3f}", f"{other:.3f}")
        called = {"agreement": "kNN agreement", "distances": "distance correlation"}.get(name, name)
        lines.append(f"{called} {shown[0]} ({shown[1]}): {meaning}")
    return lines


def fit_map(
    source: Any, *, dim: int = 2, labels: str | None = None, plan: Plan | None = None, **asked: Any
) -> tuple[Model, Rows | None]:
    """Fit a map of ``dim`` numbers to rows: the model, and the rows that were held out.

    The column ``labels`` is not looked at. Everything else is as in :meth:`isthmus.Model.fit`.

    Raises:
        DataError: too few rows, rows that are all the same, or no such column.
        SpecError: a map of other than 2 or 3 numbers.
    """
    if dim not in (2, 3):
        raise SpecError(f"A map has 2 numbers or 3, got dim={dim!r}. Codes of any size: isthmus fit --latent-dim.")
    rows = open_rows(source, strict=asked.get("strict", False), kind=asked.get("modality"))
    if labels is not None:
        rows, _ = _apart(rows, labels)
    if len(rows) < LEAST and rows.kind not in ("recordings", "windows"):
        raise DataError(
            f"{rows.origin} has {len(rows)} row(s), and a map shows which rows are alike: it takes at least {LEAST}. "
            "Bring more, or put these on a map of others: --onto MODEL."
        )
    plan, held = plan or Plan(), list[Rows | None]()
    model = Model.fit(
        rows,
        asked.pop("recipe", "map"),
        **{"prepared": lambda found: held.append(found.held), **asked},
        latent_dim=dim,
        plan=_paced(plan, len(rows)),
    )
    return model, held[0] if held else None


def _paced(plan: Plan, n: int) -> Plan:
    """A map is settled before the training; the decoder that is left learns in few steps."""
    if plan.epochs != AUTO or plan.max_time is not None:
        return plan
    batch_size = int(2 ** np.clip(np.round(np.log2(n / 40)), 4, 8)) if plan.batch_size == AUTO else plan.batch_size
    epochs = int(np.clip(_STEPS * int(batch_size) // n, *_EPOCHS))
    return plan.replace(batch_size=int(batch_size), epochs=epochs)


def reduce(
    model: Model, rows: Any, *, labels: Any = None, held: Rows | None = None, most: int = 60_000, seed: int = 0
) -> Map:
    """Put rows on the map of a model whose code has 2 or 3 numbers.

    Args:
        labels: a column of the rows, or a label for each: for people to look at, and nothing else.
        held: rows that the model did not learn from, by which it is judged; else the rows themselves are new to it.
        most: rows that are put on it; of more, so many chosen at random.

    Raises:
        SpecError: a model whose code is no place on a map.
    """
    shape = model.net.bottleneck.code_shape
    if shape not in ((2,), (3,)):
        raise SpecError(
            f"The code of this model has shape {shape}, and a map has 2 or 3 numbers. Fit one: isthmus map DATA "
            "-o map.html, or isthmus fit DATA --latent-dim 2."
        )
    rows, said, called = model.open(rows), None, "label"
    if labels is not None:
        rows, found = _apart(rows, labels)
        said, called = found.cells, found.name if isinstance(labels, str | Path) else called
    samples = model.modality.samples(rows.some())
    if said is not None and len(said) != len(samples):
        raise DataError(f"There are {len(samples):,} rows to draw and {len(said):,} labels. Leave the labels out.")
    index, drawn = np.arange(len(samples)), ""
    if rows.large:
        drawn = f", of {len(rows):,} some that stand for all, numbered by themselves"
    if len(index) > most:
        drawn = drawn or f", of {len(samples):,} chosen at random"
        index = np.sort(np.random.default_rng(seed).choice(len(index), most, replace=False))
        samples = samples.take(index)
    if not len(samples):
        raise DataError(f"{rows.origin} has no rows to draw.")
    new = held is None or len(held) < _LEAST_JUDGED
    judged = samples if new else held
    assert judged is not None
    if len(judged) > _MOST_JUDGED:
        judged = judged.take(np.sort(np.random.default_rng(seed).choice(len(judged), _MOST_JUDGED, replace=False)))
    linear = _linear(model, samples)
    trust = pca_trust = None
    if len(judged) >= _LEAST_JUDGED:
        features, flat = _features(model, judged), torch.from_numpy(model.encode(judged))
        trust = faithful(features, flat)
        pca_trust = faithful(features, _along(linear, features, shape[0]))
    what = f"held-out rows ({len(judged):,})"
    if new:
        what = f"these rows ({len(judged):,})" + (", which the map knows" if held is not None else "")
    pca = torch.cat([_along(linear, _features(model, chunk), shape[0]) for chunk in samples.chunks(_CHUNK)])
    scores = model.nats(samples) if model.on_recordings else model.score(samples)
    labelled = None if said is None else [said[i] for i in index]
    return Map(
        model, samples, index, model.encode(samples), pca.numpy(), np.asarray(scores), trust, pca_trust, what,
        labelled, called, drawn,
    )  # fmt: skip


def _apart(rows: Rows, labels: Any) -> tuple[Rows, Labels]:
    """The rows without their column of labels, and the labels; of large rows that have one, some."""
    found = find_labels(rows, labels)
    if rows.large and found.column is not None:
        found = find_labels(rows.some(), labels)
    return found.bare(), found


@torch.inference_mode()
def _features(model: Model, rows: Rows) -> Tensor:
    """Rows as networks see them (n, width)."""
    found = []
    for chunk in rows.chunks(_CHUNK):
        b = model.tensors(chunk, steered=False)
        found.append(model.net.likelihood.represent(b["x"], b.get("observed")).flatten(1))
    return torch.cat(found)


def _linear(model: Model, rows: Rows) -> PCA:
    """The PCA that stands beside the model, or where there is none that of these rows."""
    if model.pca is not None:
        return model.pca
    features = {"x": _features(model, rows if len(rows) <= 4096 else rows.take(np.arange(4096)))}
    return fit_pca(lambda: [b["x"] for b in in_order(features, _CHUNK)], model.latent_dim)


def _along(linear: PCA, features: Tensor, dim: int) -> Tensor:
    """Places along the first components (n, dim); where there are fewer, the rest is 0."""
    apart = features - linear.mean if linear.centred else features
    found = apart @ linear.components[:dim].T
    return torch.nn.functional.pad(found, (0, dim - found.shape[1]))
