r"""Heads: a model is taught a label by few rows that have one, and then says it of others.

.. math::
    \text{frozen: } \min_W \mathcal{L}(W f(x)), \qquad \text{then: } \min_{W, f} \mathcal{L}(W f(\mathrm{corrupt}(x)))

Rows that nobody labelled may help: labels spread to them over the graph of neighbours, or the classes are gaussians
of one shape that all rows tell. Which of the two (or neither) is chosen by the labels themselves, each told by the
others.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isthmus import devices
from isthmus.core.gaussians import Gaussians
from isthmus.core.head import Head
from isthmus.core.spreading import Graph
from isthmus.data.batches import InMemory
from isthmus.data.sink import save_rows
from isthmus.data.sparse import Sparse, dense
from isthmus.errors import DataError, SpecError, unknown
from isthmus.fitting import tensors_of
from isthmus.spec import AUTO, Plan
from isthmus.tasks.base import Result
from isthmus.tasks.features.labelled import Labelled, labelled
from isthmus.tasks.features.said import Said, said_words
from isthmus.tasks.sweep import Sweep
from isthmus.training.hooks import Callback, Guard, Hook, KeepBest, Watch
from isthmus.training.loop import evaluate, train

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.model import Model

#: What rows without labels may be used for.
TEACHERS = ("spread", "gaussians")
#: Labels below which nothing is held out, and from which on what was held out is not learned from in the end.
_LEAST, _PLENTY = 10, 5000
#: Steps of the map alone and of everything, and the fewest and most epochs that these may be.
_FROZEN_STEPS, _STEPS = 400, 1500
#: Prices of the map's weights that are tried; without held-out rows the middle one.
_STRENGTHS = (1e-4, 1e-3, 1e-2)
#: Folds of the labels by which a teacher is chosen; rows without labels that are asked at most.
_FOLDS, _MOST = 5, 20_000
#: What all labelled rows weigh together, at least, as a share of the others.
_SHARE = 0.25


class _Ended(NamedTuple):
    """Where the two parts of a training ended: epochs, and how held-out rows are told."""

    strength: float
    frozen: int
    tuned: int
    loss: float = float("nan")
    error: float = float("nan")


def fit_head(
    model: Model,
    rows: Any,
    label: Any,
    *,
    kind: str = AUTO,
    unlabelled: Any = None,
    teach: str | None = AUTO,
    fine_tune: bool = True,
    validation: float | str = AUTO,
    seed: int = 0,
    max_time: float | None = None,
    hooks: Sequence[Hook] = (),
    told: Callable[[str], Any] = lambda line: None,
) -> Model:
    """A model with a head that says ``label``; the model that is brought stays as it is, and so do its weights in this
    one.

    Args:
        rows, label, kind: as :func:`isthmus.tasks.features.labelled.labelled` takes them. Rows whose label is missing
            count as unlabelled.
        unlabelled: more rows without labels.
        teach: how rows without labels help: ``"spread"``, ``"gaussians"``, None (not at all), or ``"auto"``: what tells
            the known labels best. Of classes alone.
        fine_tune: let the encoder's copy learn along, where held-out rows gain by it.
        validation: the share of the labels to hold out.
        told: called with what was found and chosen, a line each.

    Raises:
        DataError: labels that teach nothing.
    """
    if teach not in (AUTO, None, *TEACHERS):
        raise unknown("teacher", teach, (AUTO, *TEACHERS))
    if validation != AUTO and (isinstance(validation, bool) or not 0 <= float(validation) < 1):
        raise SpecError(f"validation is a share from 0 to below 1, or 'auto', got {validation!r}.")
    if not model.net.bottleneck.narrows:
        raise SpecError("The code of this model is the whole row: a head needs one that narrows. Fit another recipe.")
    found = labelled(model, rows, label, kind=kind).few(seed)
    for line in (found.words(), *(f"! {remark}" for remark in found.remarks)):
        told(line)
    began = time.perf_counter()
    teaching = Teaching(model, found, unlabelled, seed)
    with devices.seeded(seed), devices.threads_for(1e7, model.device):
        teacher = teaching.choose(teach)
        for line in teaching.told(teacher):
            told(line)
        held = teaching.hold_out(validation)
        limit = None if max_time is None else max_time / (1 if held is None or found.n >= _PLENTY else 2)
        head, ended = teaching.learn(teacher, held, None, fine_tune, limit, hooks)
        if held is not None and found.n < _PLENTY:  # each label counts: again with all of them, as long as was best
            head, _ = teaching.learn(teacher, None, ended, fine_tune, limit, hooks)
    head.record = {
        "labels": found.n, "held_out": 0 if held is None else int(held.sum()), "unlabelled": teaching.n_others,
        "teacher": teacher, "error": None if held is None else ended.error, "strength": ended.strength,
        "epochs": [ended.frozen, ended.tuned], "seconds": time.perf_counter() - began,
    }  # fmt: skip
    for line in words(head):
        told(line)
    taught = copy.copy(model)
    taught.head = head.eval()
    return taught


def words(head: Head) -> list[str]:
    """How a head was learned, for people."""
    said = head.record
    lines = [f"says {head.name}: {'a number' if head.numbers else f'one of {len(head.classes or ())} classes'}"]
    if not said:
        return lines
    lines.append(f"taught by {said['labels']:,} labels" + (
        f" and {said['unlabelled']:,} rows without ({said['teacher']})" if said.get("teacher") else ""
    ))  # fmt: skip
    tuned = said["epochs"][1]
    lines.append(
        "the encoder learned along" if tuned else "the encoder stayed as it was: learning along gained nothing"
    )
    if said["error"] is not None:
        right = 1 - said["error"]
        lines.append(
            f"{said['held_out']:,} labels were held out: "
            + (f"R² {right:.3f}" if head.numbers else f"{right:.1%} of them told right")
        )
    return lines


class Teaching:
    """The labelled rows and the others as tensors and codes, and how a head learns from them."""

    def __init__(self, model: Model, found: Labelled, unlabelled: Any, seed: int):
        self.model, self.found, self.seed = model, found, seed
        known = found.known
        mine = found.take(np.flatnonzero(known))
        self.y = torch.from_numpy(np.asarray(mine.y))
        self.labels = self._tensors(mine.rows)
        self.z = torch.from_numpy(model.encode(mine.rows)).flatten(1)
        others = [found.rows.take(np.flatnonzero(~known))] if not known.all() else []
        if unlabelled is not None:
            others.append(model.open(unlabelled).some(seed))
        self.others, self.n_others = [], sum(map(len, others))
        if found.classes is not None:
            g = np.random.default_rng(seed)
            for some in others:
                most = _MOST * len(some) // max(self.n_others, 1)
                picked = np.sort(g.choice(len(some), most, replace=False)) if len(some) > most else np.arange(len(some))
                some = some.take(picked)
                self.others.append((self._tensors(some), torch.from_numpy(model.encode(some)).flatten(1)))
        self.classes = 0 if found.classes is None else len(found.classes)
        self._graph: Graph | None = None

    def _tensors(self, rows: Any) -> dict[str, Any]:
        return dict(tensors_of(rows, self.model.modality, self.model.conditions, steered=False))

    # -- rows without labels --------------------------------------------------------------------

    def choose(self, asked: str | None) -> str | None:
        """The teacher of the rows without labels: of those asked for the one by which labels are told best that it was
        not shown; None where the labels alone do as well.
        """
        self.scores: dict[str, float] = {}
        if asked is None or not self.others:
            return None
        if asked != AUTO:
            return asked
        fold = _folds(self.y, self.seed)
        if fold is None:
            return TEACHERS[0]  # a label each: nothing can be asked
        wrong = dict.fromkeys(("labels alone", *TEACHERS), 0)
        for k in range(int(fold.max()) + 1):
            out = fold == k
            for name in wrong:
                if name == "labels alone":
                    guess = self._alone(~out)[out]
                else:
                    guess = self.spread(name, ~out)[: len(self.y)][out]
                wrong[name] += int((guess.argmax(1) != self.y[out]).sum())
        self.scores = {name: count / len(self.y) for name, count in wrong.items()}
        best = min(wrong, key=wrong.__getitem__)
        return None if best == "labels alone" else best

    def told(self, teacher: str | None) -> list[str]:
        if self.n_others and not self.classes:
            return [f"{self.n_others:,} rows without a number are left out"]
        if not self.scores:
            return []
        told = ", ".join(f"{name} {1 - wrong:.1%}" for name, wrong in self.scores.items())
        how = "the rows without labels are left out" if teacher is None else f"taught by {teacher}"
        return [f"labels told right that were hidden: {told}: {how}"]

    def _alone(self, use: Tensor) -> Tensor:
        """What a linear map of the codes of labelled rows says of all of them."""
        z, y = self.z[use].double(), torch.nn.functional.one_hot(self.y[use], self.classes).double()
        middle = self.z.double().mean(0)
        z = z - middle
        size = z.square().sum(1).mean().clamp(min=1e-12)
        # ridge regression to one-hot labels, in the dual: nearly as good as the map that is trained, and at once
        gram = z @ z.T + 0.05 * size * torch.eye(len(z)).double()
        weight = z.T @ torch.linalg.solve(gram, y - y.mean(0))
        return (self.z.double() - middle) @ weight + y.mean(0)

    def spread(self, teacher: str, use: Tensor) -> Tensor:
        """What labelled rows where ``use`` say of all rows (n, classes), labelled ones first."""
        z = torch.cat([self.z, *(z for _, z in self.others)])
        seeds = torch.zeros(len(z), self.classes)
        seeds[: len(self.y)][use] = torch.nn.functional.one_hot(self.y[use], self.classes).float()
        if teacher == "gaussians":
            return Gaussians.fit(z, seeds).told(z).softmax(1).float()
        if self._graph is None:
            self._graph = Graph.of(z)
        return self._graph.spread(seeds)

    # -- learning -------------------------------------------------------------------------------

    def hold_out(self, validation: float | str) -> Tensor | None:
        """Which labels are held out: of every class a share, and of a lone one none."""
        n = len(self.y)
        share = 0.2 if validation == AUTO else float(validation)
        if n < _LEAST or not share:
            return None
        g, out = torch.Generator().manual_seed(self.seed), torch.zeros(n, dtype=torch.bool)
        kinds = self.y.unique() if self.classes else [None]
        for kind in kinds:
            where = torch.arange(n) if kind is None else torch.nonzero(self.y == kind).flatten()
            some = min(round(share * len(where)), len(where) - 1)
            out[where[torch.randperm(len(where), generator=g)[:some]]] = True
        return out if out.any() else None

    def learn(
        self,
        teacher: str | None,
        held: Tensor | None,
        as_before: _Ended | None,
        fine_tune: bool,
        max_time: float | None,
        hooks: Sequence[Hook],
    ) -> tuple[Head, _Ended]:
        """Two trainings in the one loop, the map on codes and then everything: to the best of each, or as before."""
        device, use = self.model.device, torch.ones(len(self.y), dtype=torch.bool) if held is None else ~held
        head = self._begin(use).to(device)
        x, z, t, weight = self._fed(head, teacher, use)
        shown = None
        if held is not None:
            t_held = head.targets(self.y[held].to(device))
            kept = _picked(self.labels, held)
            shown = [{"z": self.z[held].to(device), "t": t_held}, {**_to(kept, device), "t": t_held}]
        ended = as_before or _Ended(_STRENGTHS[1], 0, 0)
        half = max_time and max_time / 2
        strengths = (ended.strength,) if shown is None else _STRENGTHS
        best = None
        for strength in strengths:
            head.strength = strength
            torch.nn.init.zeros_(head.map.weight)
            torch.nn.init.zeros_(head.map.bias)
            run = self._train(
                head, {"z": z.to(device), "t": t, "weight": weight}, shown and shown[0], _FROZEN_STEPS, 0.02,
                as_before and as_before.frozen, half and half / len(strengths), hooks,
            )  # fmt: skip
            loss = run.best["loss"] if run.best else float("inf")
            if best is None or loss < best[0]:
                best = (loss, strength, run.best["epoch"] if run.best else run.epoch, run.weights())
        assert best is not None
        loss, strength, frozen, state = best
        head.load_state_dict(state)
        head.strength = strength
        error = evaluate(head, shown[0])[1] if shown else float("nan")
        ended = _Ended(strength, frozen, 0, loss, error)
        # without held-out rows nothing tells whether an encoder that learns along still says more than its labels
        tuned = fine_tune and (shown is not None or (as_before is not None and as_before.tuned > 0))
        if not tuned or not _learns(head, x, t):
            return head, ended
        head.frozen = False
        n_parameters = sum(p.numel() for p in head.parameters())
        rate = 1e-3 * min(1.0, 250_000 / n_parameters) ** 0.25
        run = self._train(
            head, {**_to(x, device), "t": t, "weight": weight}, shown and shown[1], _STEPS, rate,
            as_before and as_before.tuned, half, hooks,
        )  # fmt: skip
        head.frozen = True
        if shown is None:
            return head, ended._replace(tuned=run.epoch)
        loss, error = evaluate(head, shown[1])
        return head, ended._replace(tuned=run.best["epoch"] if run.best else run.epoch, loss=loss, error=error)

    def _begin(self, use: Tensor) -> Head:
        found = self.found
        classes = None if found.classes is None else found.classes.tolist()
        head = Head(self.model.net, self.classes or 1, numbers=classes is None, classes=classes, name=found.name)
        head.settle(torch.cat([self.z, *(z for _, z in self.others)]), None if classes else self.y[use])
        return head

    def _fed(self, head: Head, teacher: str | None, use: Tensor) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
        """Rows, codes, targets and weights: of labelled rows, and of the others as they were taught."""
        device = self.model.device
        x = _picked(self.labels, use)
        z, t = self.z[use], head.targets(self.y[use].to(head.map.weight.device))
        if teacher is None:
            return x, z, t, torch.ones(len(t), device=device)
        guess = self.spread(teacher, use)[len(self.y) :]
        sure = guess.sum(1) > 0  # whom no label has reached says nothing
        others = torch.nn.functional.one_hot(guess.argmax(1), self.classes).float()
        x = _joined([x, *(some for some, _ in self.others)])
        z = torch.cat([z, *(some for _, some in self.others)])
        mine = max(1.0, _SHARE * float(sure.sum()) / len(t))
        weight = torch.cat([torch.full((len(t),), mine), sure.float()])
        return x, z, torch.cat([t, others.to(t)]), weight.to(device)

    def _train(
        self,
        head: Head,
        tensors: dict[str, Any],
        held: dict[str, Any] | None,
        steps: int,
        rate: float,
        stop_at: int | None,
        max_time: float | None,
        hooks: Sequence[Hook],
    ) -> Any:
        n = len(tensors["t"])
        batch = int(2 ** np.clip(np.round(np.log2(n / 10)), 4, 8))
        epochs = int(np.clip(np.ceil(steps / -(-n // batch)), 5, 100))
        plan = Plan(epochs=epochs, batch_size=batch, learning_rate=rate, max_time=max_time, seed=self.seed)
        all_hooks: list[Hook] = [Guard(), KeepBest(plan.patience), *hooks]
        if stop_at is not None:
            all_hooks.append(Callback(lambda epoch: epoch.number >= stop_at))
        if max_time is not None:
            all_hooks.append(Watch(max_time))
        return train(head, InMemory(tensors, batch, self.seed), plan, held_out=held, hooks=all_hooks)


def _folds(y: Tensor, seed: int) -> Tensor | None:
    """The fold of each label, every class spread evenly over them; None where each class has a label at most."""
    g, fold = torch.Generator().manual_seed(seed), torch.zeros(len(y), dtype=torch.long)
    at = 0
    for kind in y.unique():
        where = torch.nonzero(y == kind).flatten()
        where = where[torch.randperm(len(where), generator=g)]
        fold[where] = (at + torch.arange(len(where))) % _FOLDS
        at += len(where)
    counts = y.unique(return_counts=True)[1]
    return fold if int(counts.max()) > 1 else None


def _learns(head: Head, x: dict[str, Any], t: Tensor) -> bool:
    """Whether a gradient reaches the encoder: not through every code."""
    few = dense({name: value[:2] for name, value in x.items()})
    return bool(head.codes(**_to(few, t.device)).requires_grad)


def _picked(tensors: dict[str, Any], where: Tensor) -> dict[str, Any]:
    """The rows where a mask is true."""
    places = torch.nonzero(where).flatten()
    return {name: value.index_select(0, places) for name, value in tensors.items()}


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows below rows; where some say nothing of what was observed, all of it was."""
    if isinstance(parts[0]["x"], Sparse):
        return {"x": Sparse.cat([part["x"] for part in parts])}
    names = {name for part in parts for name in part}
    there = [{name: part.get(name, torch.ones_like(part["x"], dtype=torch.bool)) for name in names} for part in parts]
    return {name: torch.cat([part[name] for part in there]) for name in names}


def _to(tensors: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) for name, value in tensors.items()}


# -- at use ---------------------------------------------------------------------------------------


@dataclass
class Predicted(Result):
    """What a head says: ``values`` (n,), a class or a number a row, and of classes ``probabilities`` (n, c)."""

    values: np.ndarray
    probabilities: np.ndarray | None
    classes: list[Any] | None
    name: str
    row_names: tuple[str, ...] | None = None
    #: Where labels are known: the share told right, or R², over how many rows; and what is to be said of them.
    score: float | None = None
    judged: int = 0
    remarks: tuple[str, ...] = ()

    def to_table(self) -> Any:
        """A row each: its file where it has one, what is said, and how sure that is of every class."""
        import pyarrow as pa

        columns: dict[str, Any] = {} if self.row_names is None else {"row": list(self.row_names)}
        columns[self.name] = self.values
        if self.probabilities is not None:
            columns |= {f"p_{c}": self.probabilities[:, k] for k, c in enumerate(self.classes or ())}
        return pa.table(columns)

    def save(self, path: Path) -> list[Path]:
        return save_rows(self.values if path.suffix == ".npy" else self.to_table(), path)

    def glimpse(self) -> list[str]:
        from isthmus.tasks.codes import first_rows

        return first_rows(self.to_table())

    def summary(self) -> list[str]:
        ends, counts, unsure = None, list[tuple[int, str]](), 0
        if self.probabilities is None:
            ends = (float(self.values.min()), float(self.values.max()))
        else:
            counts = [(int((self.values == c).sum()), str(c)) for c in self.classes or ()]
            unsure = int((self.probabilities.max(1) < 0.5).sum())
        lines = said_words(len(self.values), self.name, ends, counts, unsure, self.score, self.judged)
        return [*lines, *(f"! {remark}" for remark in self.remarks)]

    def to_json(self) -> dict[str, Any]:
        return {"rows": len(self.values), "label": self.name, "classes": self.classes, "score": self.score,
                "judged": self.judged, "remarks": list(self.remarks)}  # fmt: skip


def predict(model: Model, rows: Any, *, label: str | None = None) -> Predicted | Sweep:
    """Say the label of rows that a head was taught (isthmus head). Of rows that are read in stretches nothing is kept
    but known labels: see :class:`Sweep`.

    Args:
        label: A column (or file) of known labels: says how many are told right.
    """
    head = model.head
    if head is None:
        model.label(rows)  # says so
    assert head is not None
    rows = model.open(rows)
    known, remarks = None, []
    if label is not None:
        kind = "numbers" if head.numbers else "classes"
        known = labelled(model, rows, label, kind=kind, least=1)
        # in a stretch the column of labels is one more that the model does not look at
        rows, remarks = rows if rows.large else known.rows, known.remarks
    remarks = [r for r in remarks if not r.startswith("only one")]
    if rows.large:
        remarks += [] if known is None or known.classes is None else _unknown(known, head.classes or [])
        said = Said(head.name, head.classes, known, tuple(remarks))
        told = f"predict {label} {head.to_json()} " + ("" if known is None else hashlib.sha256(known.y).hexdigest())
        return Sweep(model, rows, lambda some: _predicted(model, some), said, told, Predicted.to_table)
    found = _predicted(model, rows)
    if known is not None:
        found.score, found.judged, more = _judged(found, known)
        found.remarks = (*remarks, *more)
    return found


def _predicted(model: Model, rows: Rows) -> Predicted:
    head, said = model.head, model.label(rows)
    assert head is not None
    if head.numbers:
        return Predicted(said[:, 0], None, None, head.name, rows.names)
    return Predicted(np.array(head.classes)[said.argmax(1)], said, head.classes, head.name, rows.names)


def _judged(found: Predicted, known: Labelled) -> tuple[float, int, list[str]]:
    where = known.known
    if known.classes is None:
        y = known.y[where]
        spread = float(((y - y.mean()) ** 2).sum())
        return 1 - float(((y - found.values[where]) ** 2).sum()) / max(spread, 1e-30), int(where.sum()), []
    truth = known.classes[known.y[where].astype(int)]
    right = truth.astype(str) == found.values[where].astype(str)
    return float(right.mean()), int(where.sum()), _unknown(known, found.classes or [])


def _unknown(known: Labelled, classes: list[Any]) -> list[str]:
    """What is to be said of labels that a head was never taught.

    Raises:
        DataError: none of them is one that it knows.
    """
    assert known.classes is not None
    new = [c for c in known.classes.tolist() if c not in classes]
    if not new:
        return []
    n = int(np.isin(known.classes[known.y[known.known].astype(int)], new).sum())
    if n == known.n:
        raise DataError(
            f"None of the labels in {known.name!r} ({', '.join(map(repr, new[:5]))}) is a class that this head "
            f"knows: {', '.join(map(repr, classes[:20]))}."
        )
    return [
        f"{n:,} rows are labelled {', '.join(map(repr, new[:5]))}, which the head was never taught: they count as wrong"
    ]
