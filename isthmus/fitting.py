"""How a fit comes about, room by room: rows are split and fed, a network is begun, and it learns.

What is left open is decided here, from the rows: the size of the code, the plan, where the weights begin.
"""

from __future__ import annotations

import copy
import datetime
import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

import isthmus
from isthmus import devices
from isthmus.conditions import Conditions
from isthmus.core.autoencoder import Net
from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.core.corruptions import CORRUPTIONS
from isthmus.core.detectors import DETECTORS, Neighbours
from isthmus.core.parts import Bottleneck, Detector, make, size
from isthmus.core.pca import PCA, fit_lsa, fit_pca, linear_effect
from isthmus.core.recognition import recognised
from isthmus.data.batches import Batches, InMemory, Streamed, in_order
from isthmus.data.corpus import Columns
from isthmus.data.large import Kept, hashed
from isthmus.data.rows import Rows
from isthmus.data.sparse import Sparse, dense
from isthmus.data.targets import wanted_of
from isthmus.errors import DataError, SpecError
from isthmus.modalities import fit_modality, modality_to_json
from isthmus.modalities.base import Modality
from isthmus.modalities.long import Grid, LargeWindows
from isthmus.modalities.recording import Layout
from isthmus.modalities.text import text_columns
from isthmus.recipes import compose
from isthmus.spec import AUTO, Part, Plan, Spec
from isthmus.training.hooks import Callback, Checkpoint, Guard, Hook, KeepBest, Watch
from isthmus.training.loop import chunk_rows, train
from isthmus.training.run import Epoch, Run
from isthmus.training.stacked import Stack

#: What finds anomalies among rows that hold some: these may be near each other, so many neighbours are asked.
WIDE = Part("neighbours", {"k": 0.1, "local": 0.0, "most": 2048})
#: Quarters of a normal curve's upper half beyond which a row is set aside: 2.5 deviations.
_STRANGE = 2.5 / 0.6745
#: PCA looks at this many rows, or at this many per column if that is more; beyond, nothing changes.
_MOST_PCA, _PCA_PER_COLUMN = 16_384, 20
#: The time of a detector that learns, as a share of ``max_time``, on top of it.
_DETECTOR_SHARE = 0.2
#: Steps of a training of which nothing is said, in so far as that is 10 to 100 epochs; a quarter for rows that repeat.
_STEPS = 4000
#: Of very many rows fewer than 10 epochs are enough: those that make so many steps.
_ENOUGH_STEPS = 100_000
#: Numbers in the widest map of a step on rows that stream.
_STEP = 1 << 24
#: The side of rows from which products may be of bfloat16.
_COARSE_FROM = 32
#: Bytes of rows in the buffer from which rows that stream are trained on.
_BUFFER = 1 << 26
#: Training rows, evenly spread, that parts which begin on real rows (a codebook, a centre) may look at.
_MOST_START, _START_ENTRIES = 4096, 1 << 25
#: The time of a decoder that is trained again, as a share of ``max_time``, on top of it.
_AGAIN_SHARE = 0.5
#: Held-out rows that are torn in two.
_MOST_HALVES = 1000
#: Rows in memory that are held out as those of rows that stream are: so many may not be in memory another day.
_MANY = 1 << 17
#: LSA looks at this many rows.
_MOST_LSA = 100_000


@dataclass(frozen=True)
class Prepared:
    """What was decided about rows before the training begins, and which are ``held`` out."""

    net: Net
    modality: Modality
    n_train: int
    n_held_out: int
    held: Rows | None = None


@dataclass(frozen=True)
class Fed:
    """What the network is fed, and what was learned about the rows so that it can be.

    ``tensors`` are the training rows, or of ``large`` ones some that stand for all: what everything but the network
    learns from.
    """

    modality: Modality
    conditions: Conditions | None
    tensors: dict[str, Tensor]
    held: dict[str, Tensor] | None
    large: Rows | None = None

    @property
    def device(self) -> torch.device:
        return self.tensors["x"].device

    def to(self, device: torch.device) -> Self:
        held = None if self.held is None else {name: t.to(device) for name, t in self.held.items()}
        # rows that stream go there batch by batch
        return replace(self, tensors={name: t.to(device) for name, t in self.tensors.items()}, held=held)

    def answered(self, net: Net, answers: Tensor | None) -> Self:
        """With what the encoder answers to every row beside it, where that is settled: then none is asked twice."""
        if answers is None or self.large is not None or net.noisy:
            return self
        tensors, held = {**self.tensors, "h": answers.to(self.device)}, self.held
        if held is not None:
            with torch.no_grad():
                found = [
                    net.encoded(net.features(b["x"], b.get("observed")), b.get("observed"))
                    for b in in_order(held, chunk_rows(net))
                ]
            held = {**held, "h": torch.cat(found)}
        return replace(self, tensors=tensors, held=held)

    @property
    def n_rows(self) -> int:
        """The rows of an epoch."""
        return len(self.tensors["x"]) if self.large is None else len(self.large)

    def batches(self, plan: Plan) -> Batches:
        """The training rows, cut into steps."""
        if self.large is None:
            return InMemory(self.tensors, int(plan.batch_size), plan.seed, self.modality.symmetries)
        large = self.large

        def read(block: int) -> Iterator[dict[str, Tensor]]:
            for data in large.data.read(block):
                yield tensors_of(large.of(data), self.modality, self.conditions)

        each = sum(_bytes_of(t) for t in self.tensors.values()) // len(self.tensors["x"])
        return Streamed(
            large.data.counts, read, int(plan.batch_size), plan.seed, buffer=_BUFFER // max(1, each), device=self.device
        )


@dataclass(frozen=True)
class Begun:
    """A network before its first step; ``pca`` is the baseline of its size, and ``answers`` what an encoder that
    remembers rows says to those that it is trained on.
    """

    net: Net
    plan: Plan
    pca: PCA | None
    stack: Stack | None
    answers: Tensor | None = None


def feed(kept: Rows, held: Rows | None, modality: str | None, options: Mapping[str, Any]) -> Fed:
    """Learn what the rows are made of, and turn them into tensors."""
    options = dict(options)
    large = kept if kept.large else None
    whole = kept
    if large is not None:
        kept = _counted(kept.of(kept.data.some), kept, options.get("kinds"))
        whole = whole.replace(census=kept.census)
    conditions = None
    if "condition" in kept.beside:
        conditions = Conditions.fit(kept, options.get("kinds"))
        if "kinds" in options:
            options["kinds"] = {k: v for k, v in options["kinds"].items() if k not in conditions.names}
    # what comes back looks like the targets
    face = fit_modality(kept.beside.get("target", whole), modality, **options)
    if conditions is not None and face.wholes(kept) is not None:
        raise SpecError("Pictures in tiles take no condition: it would steer tiles, and is said of pictures.")
    tensors = tensors_of(kept, face, conditions)
    if "observed" not in tensors and any(kept.census[name].missing for name in face.looks_at if name in kept.census):
        # none of these is missing, and some of the others are
        tensors["observed"] = torch.ones_like(tensors["x"], dtype=torch.bool)
    return Fed(face, conditions, tensors, held and tensors_of(held, face, conditions), large)


def _counted(some: Rows, large: Rows, kinds: Mapping[str, str] | None) -> Rows:
    """Some of large rows, with what is known of the columns of all."""
    levels = [name for name, kind in (kinds or {}).items() if kind in ("boolean", "categorical", "hashed")]
    beside = {name: rows.replace(census=large.beside[name].data.census(levels)) for name, rows in some.beside.items()}
    return some.replace(census=large.data.census(levels), beside=beside)


def set_aside(
    rows: Rows, contamination: float | str, modality: str | None, options: Mapping[str, Any], seed: int
) -> tuple[Rows, np.ndarray]:
    """The rows without those that hardly any other is near, and where these stood.

    ``contamination`` is their share; ``"auto"`` takes those whose log-distance lies beyond what the upper half of a
    normal curve would hold. Distances are to a tenth of the rows, since anomalies are often near each other.

    Raises:
        SpecError: a share that is none.
    """
    rows.in_memory("contamination holds every row against its neighbours, which takes")
    said = contamination
    if said != AUTO and (isinstance(said, bool | str) or not 0 < float(said) < 0.5):
        raise SpecError(f"contamination is a share above 0 and below 0.5, or 'auto', got {said!r}. Say 0.05, or None.")
    fed = feed(rows, None, modality, options)
    if fed.modality.wholes(rows) is not None:
        raise SpecError("Distances between tiles set no picture aside. Leave contamination out, or resize (--size).")
    if fed.modality.sparse:
        raise SpecError("Distances between sparse rows (texts, say) set none aside. Leave contamination out.")
    suited = {name: part for name, part in fed.modality.parts().items() if name != "detector"}
    probe = _probe(compose(kind=fed.modality.kind, suited=suited), fed.modality.shape).eval()
    wide = Neighbours(probe.shape, probe.likelihood.features_shape, **WIDE.options)
    with torch.no_grad():
        wide.settle(probe, fed.tensors, torch.Generator().manual_seed(seed))
        chunks = in_order(fed.tensors, chunk_rows(probe))
        scores = torch.cat([wide(probe, b["x"], b.get("observed"), explain=False).score for b in chunks]).numpy()
    if said == AUTO:
        middle, upper = np.quantile(scores, (0.5, 0.75))
        strange = scores > middle + _STRANGE * (upper - middle)
    else:
        strange = np.zeros(len(scores), bool)
        strange[np.argsort(-scores, kind="stable")[: round(float(said) * len(scores))]] = True
    return rows.take(~strange), np.flatnonzero(strange)


def begin(
    fed: Fed,
    recipe: str,
    parts: Mapping[str, Any],
    plan: Plan,
    latent_dim: int | str,
    warm_start: str | None,
    *,
    contaminated: bool = False,
    device: torch.device | None = None,
) -> Begun:
    """Compose the parts, decide what was left open, build the network and set it to where it begins."""
    if plan.pretrain and fed.large is not None:
        fed.large.in_memory("pretrain shows each layer what the one before it says of the rows, which takes")
    said, own = _split_own(parts)
    warm_start = None if plan.pretrain else warm_start  # two ways to begin
    face, tensors = fed.modality, fed.tensors
    _check_latent_dim(latent_dim)
    spec = compose(recipe, kind=face.kind, suited=face.parts(), said=said, latent_dim=latent_dim, warm_start=warm_start)
    if "target" in tensors and said.get("corruption") is None:
        spec = spec.replace(corruption=Part("identity"))  # what the rows differ by is the corruption
    if fed.conditions is not None:
        spec = spec.replace(condition_dim=fed.conditions.width)
        if said.get("detector") is None:
            spec = spec.replace(detector=Part("likelihood"))  # the one that knows of conditions
    elif recipe == "conditional":
        raise SpecError(
            "Nothing is said to steer the recipe 'conditional'. Say condition='COLUMN' (--condition COLUMN), "
            "or a label for each row."
        )
    if contaminated and said.get("detector") is None and spec.detector.kind in ("neighbours", "committee"):
        spec = spec.replace(detector=WIDE)
    hides = spec.corruption.kind in CORRUPTIONS and CORRUPTIONS[spec.corruption.kind].hides
    spec = spec.replace(tell_missing="observed" in tensors or hides)
    if face.sparse and spec.detector.kind != "likelihood":
        raise SpecError(f"The detector {spec.detector.kind!r} looks at dense rows; sparse ones take 'likelihood'.")
    probe = _probe(spec, face.shape)
    _check_range(probe, wanted_of(tensors))
    # a random start without held-out rows has no use for it
    narrows = getattr(BOTTLENECKS.get(spec.bottleneck.kind), "narrows", True)
    wanted = narrows and (fed.held is not None or warm_start == "pca" or latent_dim == AUTO)
    pca = _fit_pca(probe, wanted_of(tensors), latent_dim) if wanted else None
    narrowed = spec.corruption.kind != "identity" or "target" in tensors or bool(spec.penalties)
    spec = spec.replace(latent_dim=_latent_dim(latent_dim, pca, probe, spec, narrowed))
    pca = pca and pca.first(int(spec.latent_dim))
    net = Net(spec, face.shape, own)
    with devices.seeded(0):  # one that does not suit the rows is refused before the training, not after it
        make(DETECTORS, "detector", spec.detector, net.shape, net.likelihood.features_shape).prepare()
    stack = Stack(net) if plan.pretrain == "stacked" else None
    numbers = net.bottleneck.n_numbers
    if pca is not None and net.bottleneck.expansion is None and numbers > len(pca.components):
        pca = _fit_pca(probe, wanted_of(tensors), numbers)  # the code is a map: PCA beside it has as many
    if pca is not None and spec.warm_start == "pca" and net.starts_linear:
        net.start_at_pca(*_steered_pca(probe, tensors, pca))
    most = max(64, min(_MOST_START, _START_ENTRIES // int(np.prod(face.shape))))
    net.start_from(**dense({name: t[:: -(-len(t) // most)] for name, t in tensors.items()}))
    answers = _remembered(net, probe, tensors, plan) if net.encoder.remembers else None
    n_parameters = sum(p.numel() for p in net.parameters())
    decided = _decide(plan, fed.n_rows, n_parameters, face.alike)
    if fed.large is not None and plan.batch_size == AUTO and int(decided.batch_size) > (most := _rows_of_a_step(net)):
        decided = _decide(plan.replace(batch_size=most), fed.n_rows, n_parameters, face.alike)
    if plan.precision == AUTO:
        coarse = net.encoder.coarse and net.decoder.coarse and device and devices.multiplies_bfloat16(device)
        # small rows gain nothing, and on maps of one pixel oneDNN's gradients of strided convolutions are no numbers
        coarse = coarse and min(net.shape[1:]) >= _COARSE_FROM
        decided = decided.replace(precision="bfloat16" if coarse else "float32")
    return Begun(net, decided, pca, stack, answers)


def learn(
    begun: Begun,
    fed: Fed,
    phases: dict[str, float],
    began: float,
    *,
    hooks: Sequence[Hook],
    callbacks: Sequence[Callable[[Epoch], Any]],
    checkpoint: Path | None,
    resume: bool,
) -> tuple[Run, list[str]]:
    """Train, layer by layer first where that was asked for; the finished run, and what a person should know."""
    net, plan, stack = begun.net, begun.plan, begun.stack
    all_hooks = [Guard(), KeepBest(plan.patience), *map(Callback, callbacks), *hooks]
    mark, remarks, whole = "", [], plan
    if checkpoint is not None:
        mark = _fingerprint(net.spec, plan, fed)
    # a checkpoint of the whole network's training holds all that pre-training has brought
    if stack is not None and not (resume and checkpoint is not None and checkpoint.exists()):
        with phase(phases, "pretrain"):
            remarks = stack.train(
                fed.tensors, plan, held_out=fed.held, hooks=hooks, checkpoint=checkpoint, mark=mark, resume=resume
            )
    if plan.max_time is not None:
        left = max(plan.max_time - (time.perf_counter() - began), 1e-3)
        all_hooks.append(Watch(left))
        whole = plan if stack is None else plan.replace(max_time=left)
    if checkpoint is not None:
        all_hooks.append(Checkpoint(checkpoint, mark, resume))
    with phase(phases, "train"):
        fed = fed.answered(net, begun.answers)
        run = train(net, fed.batches(plan), whole, held_out=fed.held, hooks=all_hooks)
    if stack is not None and checkpoint is not None:
        stack.clear(checkpoint)
    return run, remarks


def keep_linear(begun: Begun, fed: Fed, held: Rows, phases: dict[str, float]) -> tuple[Run | None, list[str]]:
    """Go back to the linear start where its codes are better than the trained ones; the run that this took, and what
    was found.

    A loss cannot judge that: the decoder has learned to read the trained codes alone. So held-out rows are torn in
    two, where they can be, and the trained codes have to let halves find each other better, by two standard errors.
    Behind an encoder that stays linear the decoder is trained again.
    """
    net, pca = begun.net, begun.pca
    halves = fed.modality.halves(held.take(np.arange(min(len(held), _MOST_HALVES))))
    if halves is None or pca is None or net.spec.warm_start != "pca" or not net.starts_linear or net.encoder.frozen:
        return None, []
    torn = [fed.modality.to_tensors(half) for half in halves]

    def recognise() -> Tensor:
        with torch.inference_mode():
            codes = [[net.encode(b["x"].to(fed.device)) for b in in_order(half, chunk_rows(net))] for half in torn]
        return recognised(*(torch.cat(half) for half in codes))

    trained = {name: value.clone() for name, value in net.state_dict().items()}
    after = recognise()
    net.start_at_pca(pca)
    before = recognise()
    name, gain = net.likelihood.linear_model, after - before
    said = (
        f"held-out rows were torn in two, and halves found each other (mean 1 ÷ place) to {float(after.mean()):.1%} by "
        f"the trained codes and to {float(before.mean()):.1%} by those of {name}"
    )
    if float(gain.mean()) > 2 * float(gain.std(correction=0)) / len(gain) ** 0.5:
        net.load_state_dict(trained)
        return None, [said]
    net.encoder.frozen = True
    with phase(phases, "train again"):
        plan, limit = begun.plan, begun.plan.max_time and _AGAIN_SHARE * begun.plan.max_time
        hooks: list[Hook] = [Guard(), KeepBest(plan.patience), *([Watch(limit)] if limit else [])]
        run = train(net, fed.batches(plan), plan.replace(max_time=limit), held_out=fed.held, hooks=hooks)
    return run, [f"{said}: the codes are those of {name}, and the decoder alone was trained"]


def teach(net: Net, tensors: Mapping[str, Tensor], plan: Plan, wholes: Tensor | None = None) -> Detector:
    """The detector of a fitted network, taught on the training rows; ``wholes`` say which whole each is a piece of."""
    device = tensors["x"].device
    with devices.seeded(plan.seed):
        detector = make(DETECTORS, "detector", net.spec.detector, net.shape, net.likelihood.features_shape)
        detector.prepare()
        detector.to(device)
        generator = torch.Generator().manual_seed(plan.seed)
        if detector.learns:
            fed = detector.feed(net, tensors, generator)
            batches = InMemory(fed, detector.batch_size, plan.seed)
            epochs = -(-detector.steps // len(batches))
            limit = plan.max_time and _DETECTOR_SHARE * plan.max_time
            own = Plan(epochs=epochs, learning_rate=detector.learning_rate, max_time=limit, weight_decay=0.02)
            train(detector, batches, own, hooks=[Guard(), *([Watch(limit)] if limit else [])])
        detector.wholes = wholes
        detector.eval().settle(net, tensors, generator)
    return detector


def tensors_of(rows: Rows, face: Modality, conditions: Conditions | None, *, steered: bool = True) -> dict[str, Tensor]:
    """Rows → what the network is fed; without the condition, which encoding needs not, unless ``steered``."""
    rows = rows if conditions is None else conditions.beside(rows)
    tensors = face.to_tensors(rows)
    if "target" in rows.beside:
        wanted = face.to_tensors(rows.beside["target"])
        tensors |= {f"target{'_observed' * (name == 'observed')}": t for name, t in wanted.items()}
    if conditions is not None and steered:
        tensors["condition"] = conditions.numbers(rows)
    return tensors


def _bytes_of(t: Tensor | Sparse) -> int:
    return sum(one.element_size() * one.numel() for one in (t.parts() if isinstance(t, Sparse) else [t]))


def _split_own(parts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, nn.Module]]:
    """Separate a person's modules from parts that a spec can name."""
    said, own = dict(parts), {}
    for place, part in parts.items():
        if isinstance(part, nn.Module):
            if place not in ("encoder", "decoder"):
                raise SpecError(f"Only encoder and decoder take a module of your own, not {place!r}.")
            own[place] = part
            said[place] = Part("own", {"name": type(part).__name__})
    # copied, so that the person's own stay as they are, and together, so that shared weights stay shared
    return said, copy.deepcopy(own)


def in_windows(rows: Rows, modality: str | None, options: Mapping[str, Any]) -> tuple[Rows, dict[str, Any]]:
    """Recordings → their windows, before any are held out: neighbours share most of their steps. Of large tables of
    text only the columns that are looked at.
    """
    options = dict(options)
    if modality == "text" and rows.large and rows.kind == "table":
        columns = text_columns(rows, options.get("text"))
        return rows.replace(data=Columns(rows.data, columns)), options
    if (modality or rows.kind) not in ("series", "recordings"):
        return rows, options
    said = {name: options.pop(name) for name in LAYOUT if name in options}
    if rows.large:
        return _in_large_windows(rows, said, options)
    layout = Layout.fit(rows, **said)
    if layout is None:
        return rows, options
    if "condition" in rows.beside:
        raise SpecError("Recordings take no condition. Cut them into windows, one a row, with a label each.")
    beside = {name: layout.cut(other) for name, other in rows.beside.items()}
    return layout.cut(rows).replace(beside=beside), {**options, "layout": layout}


def _in_large_windows(rows: Rows, said: Mapping[str, Any], options: dict[str, Any]) -> tuple[Rows, dict[str, Any]]:
    grid = Grid.fit(rows, **said)
    if grid is None:
        return rows, options
    windows = Rows("windows", LargeWindows(grid), rows.origin, skipped=rows.skipped)
    return windows.replace(remarks=(*rows.remarks, *grid.remarks)), {**options, "layout": grid.layout}


#: What is said of recordings, among the options of the modality.
LAYOUT = ("time", "series_id", "window", "stride", "kinds")


def split(rows: Rows, plan: Plan) -> tuple[Rows, Rows | None]:
    """Hold out rows: a tenth, but enough to calibrate a false-alarm rate of 1 % where a quarter allows it.

    Of large rows, and of very many in memory, those that a hash of their place chooses: both ways the same, also after
    rows were appended.
    """
    n = len(rows)
    share = 0.1 if plan.validation == AUTO else float(plan.validation)
    if rows.large:
        in_time = isinstance(rows.data, LargeWindows)
        kept = rows.data.hold_out(share, plan.seed) if in_time else Kept(rows.data, share, plan.seed)
        return rows.of(kept), rows.of(kept.held) if kept.held is not None and len(kept.held) else None
    if n >= _MANY and rows.kind in ("array", "table"):
        out = hashed(np.arange(n)) < share
        return (rows.take(~out), rows.take(out)) if out.any() else (rows, None)
    if plan.validation == AUTO and rows.kind == "windows":
        held = rows.data.enough(n // 10)
    elif plan.validation == AUTO:
        held = max(n // 10, min(128, n // 4), 1)
    else:
        held = round(n * float(plan.validation))
    if held == 0 or n < 3:
        return rows, None
    if rows.kind == "windows":
        kept, out = rows.data.hold_out(held, np.random.default_rng(plan.seed))
        return (rows.take(kept), rows.take(out)) if len(kept) > 1 else (rows, None)
    order = np.random.default_rng(plan.seed).permutation(n)
    return rows.take(np.sort(order[held:])), rows.take(np.sort(order[:held]))


def _rows_of_a_step(net: Net) -> int:
    """Rows that a step should hold at most where memory is short: those that stream do because it is."""
    widest = max(map(size, (net.shape, net.encoder.out_shape, net.decoder.out_shape)))
    return max(16, 1 << (_STEP // widest).bit_length() - 1) if widest <= _STEP else 16


def _decide(plan: Plan, n_rows: int, n_parameters: int, alike: float) -> Plan:
    """Fill in what was left to us, from the number of rows, how alike they are, and the size of the network."""
    batch_size, epochs, rate = plan.batch_size, plan.epochs, plan.learning_rate
    if batch_size == AUTO:
        # where time is short, many small steps get further than few large ones
        most = 8 if plan.max_time is None else 6
        batch_size = int(2 ** np.clip(np.round(np.log2(n_rows / 40)), 4, most))
    if epochs == AUTO:
        steps = -(-n_rows // int(batch_size))
        epochs = (
            100_000
            if plan.max_time is not None
            else int(np.clip(np.ceil(_STEPS / min(alike, 4) / steps), np.clip(_ENOUGH_STEPS // steps, 1, 10), 100))
        )
    if rate == AUTO:
        # smaller for small batches, whose gradients are noisy, and for large networks
        rate = 4e-3 * np.sqrt(np.clip(int(batch_size) / 64, 0.25, 1)) * min(1, 250_000 / n_parameters) ** 0.25
    return plan.replace(batch_size=int(batch_size), epochs=int(epochs), learning_rate=float(rate))


def _probe(spec: Spec, shape: tuple[int, ...]) -> Net:
    """A network of the same likelihood and no size, to ask how it represents rows."""
    bare = spec.replace(
        encoder=Part("linear"), decoder=Part("linear"), bottleneck=Part("plain"), latent_dim=1,
        objective=Part("reconstruction"), penalties=(), critic=None, tell_missing=False,
    )  # fmt: skip
    with devices.seeded(0):
        return Net(bare, shape)


def _check_range(probe: Net, tensors: Mapping[str, Tensor]) -> None:
    x = tensors["x"]
    problem = probe.likelihood.problem(x.values[None] if isinstance(x, Sparse) else x)
    if problem:
        raise SpecError(f"The likelihood does not fit the rows: {problem}.")


def _fit_pca(probe: Net, tensors: Mapping[str, Tensor], latent_dim: int | str) -> PCA:
    n, width = len(tensors["x"]), int(np.prod(probe.likelihood.features_shape))
    wanted = 128 if latent_dim == AUTO else int(latent_dim)
    if isinstance(tensors["x"], Sparse):
        return fit_lsa(*tensors["x"][:: -(-n // _MOST_LSA)].parts(), width, wanted)
    step = max(1, n // max(_MOST_PCA, _PCA_PER_COLUMN * width))
    some = {name: t[::step] for name, t in tensors.items()}

    def chunks() -> Iterator[Tensor]:
        for b in in_order(some, chunk_rows(probe)):
            yield probe.likelihood.represent(b["x"], b.get("observed")).flatten(1)

    return fit_pca(chunks, wanted)


def _steered_pca(probe: Net, tensors: Mapping[str, Tensor], pca: PCA) -> tuple[PCA, Tensor | None]:
    """The components to begin at, and a condition's own effect: the components are of what it leaves over."""
    if "condition" not in tensors or isinstance(tensors["x"], Sparse):
        return pca, None
    some = {name: t[:: max(1, len(t) // _MOST_PCA)] for name, t in tensors.items()}
    x = probe.likelihood.represent(some["x"], some.get("observed")).flatten(1)
    effect = linear_effect(some["condition"], x)
    left = x - some["condition"] @ effect.T
    return fit_pca(lambda: [left], len(pca.components)), effect


def _remembered(net: Net, probe: Net, tensors: Mapping[str, Tensor], plan: Plan) -> Tensor:
    """Let the encoder take in the training rows: what it answers to each."""
    pca = _fit_pca(probe, tensors, net.encoder.components)
    if not pca.total > 0:
        raise DataError("All rows are the same, so nothing tells them apart on a map. Bring others.")

    def rows() -> Iterator[tuple[Tensor, Tensor | None]]:
        for b in in_order(tensors, chunk_rows(probe)):
            there = b.get("observed")
            yield net.features(b["x"], there), None if there is None else net.likelihood.reach(there)

    with devices.threads_for(len(tensors["x"]) * 2.0**16, torch.device("cpu")):
        return net.encoder.remember(pca, rows, torch.Generator().manual_seed(plan.seed))


def _check_latent_dim(said: Any) -> None:
    if said != AUTO and (isinstance(said, bool) or not isinstance(said, int | np.integer) or said < 1):
        raise SpecError(f"latent_dim is a whole number of at least 1 or 'auto', got {said!r}.")


def _latent_dim(said: int | str, pca: PCA | None, probe: Net, spec: Spec, narrowed: bool) -> int:
    n_in = int(np.prod(probe.likelihood.features_shape))
    kind = BOTTLENECKS.get(spec.bottleneck.kind, Bottleneck)  # where there is none, building it will say so
    expansion = kind.expansion
    if said == AUTO:
        if expansion is not None:
            return max(1, round(expansion * n_in))
        assert pca is not None
        return max(kind.at_least, min(pca.dim_for(kind.explains), len(pca.components), max(1, n_in // 2)))
    if int(said) > n_in and expansion is None and not narrowed:
        raise SpecError(
            f"latent_dim={said} is larger than the entries of a row (n_features = {n_in}): nothing would be "
            f"narrowed. Choose at most {n_in}, or 'auto', or something else that narrows: a sparse bottleneck, "
            "a corruption or a penalty."
        )
    return int(said)


def _fingerprint(spec: Spec, plan: Plan, fed: Fed) -> str:
    """What a checkpoint must agree on before it is taken up again: parts, plan, and every row."""
    said = json.dumps([spec.to_json(), plan.to_json(), modality_to_json(fed.modality)], sort_keys=True)
    digest = hashlib.blake2b((said + ("" if fed.large is None else fed.large.data.mark())).encode())
    for tensors in (fed.tensors, fed.held or {}):
        for name, t in sorted(tensors.items()):
            digest.update(f"{name}{tuple(t.shape)}".encode())
            for piece in t.parts() if isinstance(t, Sparse) else [t]:
                digest.update(piece.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def stretches_told(kept: Rows, held: Rows | None) -> list[str]:
    """What is different where rows stream."""
    if not kept.large:
        return []
    some, n = len(kept.data.some), len(kept.data.rows)
    what = "windows" if kept.kind == "windows" else "rows"
    said = [f"read in stretches: columns, scales, the start and the detector were learned from {some:,} of the {what}"]
    if kept.kind == "table":
        said[0] += "; categories, ranges and missing cells were counted over all"
    if held is not None and len(held) < (out := n - len(kept)):
        near = " or share a step with one that is" * (what == "windows")
        said.append(f"{out:,} {what} are held out{near}, of which {len(held):,} were looked at")
    return said


def made() -> dict[str, str]:
    return {
        "isthmus": isthmus.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@contextmanager
def phase(phases: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    phases[name] = phases.get(name, 0.0) + time.perf_counter() - began
