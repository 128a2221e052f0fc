"""A fitted model: rows in, rows out. Here data meets maths.

``Model.fit`` looks at rows, composes parts that suit them, trains, and calibrates on held-out rows.
What it learned about the rows travels with the weights in one file.
"""

from __future__ import annotations

import copy
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isthmus import devices, modelfile
from isthmus.conditions import Conditions, with_condition
from isthmus.core.autoencoder import Net
from isthmus.core.detectors import DETECTORS
from isthmus.core.detectors.likelihood import Likelihood
from isthmus.core.evidence import log_evidence
from isthmus.core.head import Head
from isthmus.core.parts import Detector, Surprise, make
from isthmus.core.pca import PCA
from isthmus.data.batches import Batch, in_order
from isthmus.data.rows import Rows
from isthmus.data.seen import MOST
from isthmus.data.source import open_rows
from isthmus.data.sparse import Sparse, dense, joined
from isthmus.data.targets import wanted_of, with_target, without_target
from isthmus.data.tiles import worst_of
from isthmus.data.windows import Paid, Windows
from isthmus.errors import DataError, FileError, SpecError
from isthmus.fitting import (
    Prepared,
    begin,
    feed,
    in_windows,
    keep_linear,
    learn,
    made,
    phase,
    set_aside,
    split,
    stretches_told,
    teach,
    tensors_of,
)
from isthmus.modalities import modality_from_json, modality_to_json
from isthmus.modalities.base import Modality
from isthmus.modalities.recording import recording_remark
from isthmus.modalities.tiles import Tiled
from isthmus.recipes import modality_of
from isthmus.record import Record
from isthmus.sampling import Drawn, Sampling, codes_of, draws_cells
from isthmus.spec import AUTO, Plan, Spec
from isthmus.training.hooks import Hook
from isthmus.training.loop import chunk_rows, evaluate
from isthmus.training.run import Epoch

#: Held-out scores that are kept to calibrate new ones.
_MOST_CALIBRATION = 100_000
#: Training rows whose codes the prior is fitted to, and those whose error is held against the held-out rows'.
_MOST_PRIOR, _MOST_ERROR = 10_000, 4096
#: Numbers in sparse rows that a noise level is settled on.
_MOST_ENTRIES = 1 << 26
#: Training rows that calibrate beside those held out, where the detector can score them as if it had not seen them.
_MOST_FRESH = 20_000
#: Rows that were set aside and are listed in the file.
_MOST_ASIDE = 1000
#: Numbers in the codes that the prior is fitted to: fewer rows where codes are wide.
_MOST_CODES = 1 << 25
#: A classifier that tells the prior's draws from codes this often is reason to warn of what is sampled.
_TOLD_APART = 0.75
#: Rows from which on a flow is tried for those that others should be like.
_LEAST_FLOW = 1000

#: Held-out time of fewer windows' length than this says little about rare scores.
_LEAST_WORTH = 20
#: How often gaps are filled with what the network makes of what was filled in before.
_PASSES = 10
#: Held-out rows whose codes are kept to see later whether the world has changed, and numbers of each.
_MOST_KNOWN, _MARKS = 500, 6
#: Held-out rows from which the usual distance to what comes back is taken.
_MOST_SPREAD = 4096

#: Numbers of an array that the allocator gives back at once (32 MiB), whatever small is kept beside it.
_GIVEN_BACK = 1 << 23

#: Fewer rows than this are scored as this many.
_FEW = 64


class Model:
    """A network with the modality that feeds it and the record of how it was fitted."""

    def __init__(
        self,
        net: Net,
        modality: Modality,
        plan: Plan,
        record: Record,
        calibration: np.ndarray | None = None,
        usual: Tensor | None = None,
        pca: PCA | None = None,
        conditions: Conditions | None = None,
        detector: Detector | None = None,
        held_nats: np.ndarray | None = None,
        spread: Tensor | None = None,
        codes: Tensor | None = None,
        head: Head | None = None,
        sampling: Sampling | None = None,
    ):
        self.head = head and head.eval()
        self.net, self.modality, self.plan, self.record = net.eval(), modality, plan, record
        self.conditions, self.detector = conditions, (detector or Likelihood(net.shape, net.shape)).eval()
        self.calibration, self.pca, self._usual = calibration, pca, usual
        #: the sorted negative log-likelihoods of the held-out rows
        self.held_nats = calibration if held_nats is None else held_nats
        self._spread, self._known_codes = spread, codes
        #: what new rows are drawn with; files of before draw from the network's prior, and nothing more
        self.sampling = Sampling(net.spec.prior) if sampling is None else sampling

    @property
    def spec(self) -> Spec:
        return self.net.spec

    @property
    def latent_dim(self) -> int:
        """Numbers per code: the size of the isthmus."""
        return self.net.bottleneck.n_numbers

    @property
    def on_recordings(self) -> bool:
        """Whether rows are steps of recordings, which are scored through the windows that hold them."""
        return getattr(self.modality, "layout", None) is not None

    @property
    def on_tiles(self) -> bool:
        """Whether rows are pictures that are looked at in tiles, and judged by the strangest of them."""
        return isinstance(self.modality, Tiled)

    @property
    def pca_size(self) -> int:
        """The components of PCA beside this model: as many as the code of a row has numbers that are not zero."""
        return self.latent_dim if self.pca is None else len(self.pca.components)

    @property
    def code_variance(self) -> np.ndarray | None:
        """The variance of each code over training rows, where the fitted prior knows it."""
        spread = self.record.code_variance
        return None if spread is None else np.asarray(spread)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    # -- fitting --------------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        source: Any,
        recipe: str = "plain",
        *,
        target: Any = None,
        latent_dim: int | str = AUTO,
        parts: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        validation_rows: Any = None,
        warm_start: str | None = "pca",
        modality: str | None = None,
        modality_options: Mapping[str, Any] | None = None,
        condition: Any = None,
        contamination: float | str | None = None,
        device: str = "auto",
        hooks: Sequence[Hook] = (),
        callbacks: Sequence[Callable[[Epoch], Any]] = (),
        prepared: Callable[[Prepared], Any] | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
        strict: bool = False,
    ) -> Model:
        """Fit an autoencoder to rows.

        Args:
            source: anything that :func:`isthmus.open_rows` opens.
            recipe: a name from ``isthmus.recipes.RECIPES``.
            target: what should come back for each row, in the same order and form: the clean rows to noisy ones.
                The pairs take the place of the recipe's corruption. At use rows come alone.
            latent_dim: numbers per code; ``"auto"`` asks PCA how many explain 70 % of the variance.
            parts: place → part (a name, ``{"kind": ..., option: value}``, or an ``nn.Module`` body).
            validation_rows: rows to hold out, instead of a fraction of ``source``.
            modality: ``"array"``, ``"table"``, ``"image"``, ``"series"`` or ``"text"``, where the rows' own kind is
                not meant.
            condition: what steers the decoder: the name of a column (or several), or a label for each row.
            contamination: the share of the rows that may be anomalies, or ``"auto"``: the strangest are set aside, and
                a detector that anomalies among the rows do not fool is the default. None takes all rows for usual.
            callbacks: called after every epoch; returning True stops the training.
            prepared: called once everything is decided, before the training begins.
            checkpoint: where to keep the state of the training; with ``resume`` it goes on from there.

        Raises:
            DataError: rows that cannot be learned from.
            SpecError: a part or option that does not exist or does not fit the rows.
        """
        began = time.perf_counter()
        phases: dict[str, float] = {}
        plan, aside = plan or Plan(), np.zeros(0, int)
        with phase(phases, "read"):
            modality = modality or modality_of(recipe)
            rows = open_rows(source, strict=strict, kind=modality)
            if modality == Tiled.kind:
                rows = rows.listed()  # of their tiles as many are learned from as memory should hold
            if target is not None:
                rows = with_target(rows, open_rows(target, strict=strict, kind=modality))
            if condition is not None:
                rows = with_condition(rows, condition)
            if target is not None and validation_rows is not None:
                raise SpecError("Rows that come in pairs are held out by their share, such as validation=0.1.")
            hint = recording_remark(rows) if modality is None else None
            rows, options = in_windows(rows, modality, modality_options or {})
            everything = rows
            if contamination is not None:
                rows, aside = set_aside(rows, contamination, modality, options, plan.seed)
            kept, held = split(rows, plan if validation_rows is None else plan.replace(validation=0.0))
            if validation_rows is not None:
                held = open_rows(validation_rows, strict=strict, kind=modality).some()
            if held is not None and "layout" in options:
                held = held if held.kind == "windows" else options["layout"].cut(held)
            if len(kept) < 2:
                raise DataError(f"{rows.origin} has {len(rows)} sample(s); fitting needs at least 2. Bring more rows.")
        with phase(phases, "prepare"):
            fed = feed(kept, held, modality, options)
        with devices.seeded(plan.seed):
            with phase(phases, "pca"):
                begun = begin(
                    fed, recipe, parts or {}, plan, latent_dim, warm_start, contaminated=contamination is not None
                )
            net, plan = begun.net, begun.plan
            if prepared is not None:
                prepared(Prepared(net, fed.modality, len(kept), 0 if held is None else len(held), held))
            fed = fed.to(devices.pick(device))
            net.to(fed.device)
            run, remarks = learn(
                begun, fed, phases, began, hooks=hooks, callbacks=callbacks,
                checkpoint=None if checkpoint is None else Path(checkpoint), resume=resume,
            )  # fmt: skip
            if held is not None:
                again, found = keep_linear(begun, fed, held, phases)
                run, remarks = again or run, remarks + found
        if fed.large is not None:
            devices.give_back()
        best = next(epoch for epoch in run.history if epoch.number == (run.best or {"epoch": run.epoch})["epoch"])
        record = Record(
            recipe=recipe,
            origin=rows.origin,
            target=rows.beside["target"].origin if "target" in rows.beside else "",
            n_train=len(kept),
            n_held_out=0 if held is None else len(held),
            phases=phases,
            history=[asdict(epoch) for epoch in run.history],
            best_epoch=best.number,
            error=best.error,
            stopped=run.stopped,
            set_aside=len(aside),
            set_aside_rows=aside[:_MOST_ASIDE].tolist(),
            remarks=[
                *(f"skipped {s.name}: {s.reason}" for s in rows.skipped),
                *(rows.remarks if rows.kind == "windows" else ()),
                *([hint] if hint else []),
                *stretches_told(kept, held),
                *([_aside(aside, len(rows) + len(aside))] if contamination is not None else []),
                *remarks,
                *run.remarks,
                *net.bottleneck.remarks(),
            ],
            made=made(),
        )
        fair = begun.pca and begun.pca.first(net.bottleneck.n_numbers)
        model = cls(net, fed.modality, plan, record, pca=fair, conditions=fed.conditions)
        if not net.bottleneck.narrows:  # no code and no score of a row says anything: every part of it passes
            record.seconds = time.perf_counter() - began
            return model
        with phase(phases, "calibrate"):
            model._calibrate(fed.tensors, fed.held)
        with phase(phases, "detector"):
            model._learn_to_detect(fed.tensors, fed.held, model._wholes(kept, held))
            if model.on_tiles:
                model._calibrate_pictures(kept, held)
            model.detector.release()
            if held is not None and fed.held is not None and held.kind == "windows":
                model._calibrate_steps(held.data, without_target(fed.held))
                record.remarks += _few_windows(held.data)
        if contamination not in (None, AUTO):
            record.contamination_score = float(np.quantile(model.score(everything), 1 - float(contamination)))
        record.seconds = time.perf_counter() - began
        return model

    @torch.no_grad()  # not inference_mode: penalties on a gradient take one while they are scored
    def _calibrate(self, tensors: Mapping[str, Tensor], held: Mapping[str, Tensor] | None) -> None:
        """Settle the noise level and the prior, then score the held-out rows once and for all."""
        net, record = self.net, self.record
        most = min(_MOST_PRIOR, _MOST_CODES // self.latent_dim)
        known = {name: t[:most] for name, t in tensors.items()}
        # scores of new rows, which come without a target, are held against scores that were made without one
        few = without_target(known)
        settle = few if held is None else {n: t[:_MOST_CALIBRATION] for n, t in without_target(held).items()}
        with devices.threads_for(self._work(), self.device):
            means, draws = codes_of(net, few)
            net.renew_prior(few.get("condition"))
            net.prior.fit(draws)
            if self.pca is not None and net.bottleneck.expansion is not None:
                # of a wide code a row uses few numbers: PCA beside it gets as many
                self.pca = self.pca.first(max(1, round(float((means != 0).flatten(1).sum(1).float().mean()))))
            record.code_variance = means.flatten(1).var(0, correction=0).tolist()
            spread = held is not None and bool(self.modality.names) and not self.modality.sparse
            back = torch.zeros(0)
            if net.likelihood.calibrates or spread:
                few_enough = _MOST_ENTRIES // int(np.prod(net.shape)) if self.modality.sparse else len(settle["x"])
                some = dense({name: t[: max(1, few_enough)] for name, t in settle.items()})
                back = self._means(some)
                net.likelihood.calibrate(some["x"], some.get("observed"), back)
            record.train_error = evaluate(net, {name: t[:_MOST_ERROR] for name, t in known.items()})[1]
            if held is not None:
                record.pca_error, record.mean_error = self._linear_errors(held)
                nats = torch.cat([self._nats(b) for b in in_order(settle, self._chunk)])
                self._spread = _usual_distance(settle, back) if spread else None
                some = {name: t[:_MOST_KNOWN] for name, t in settle.items()}
                self._known_codes = code_marks(codes_of(net, some)[0], self.code_variance).cpu()
                self.held_nats = np.sort(nats.cpu().numpy())
            rows = {name: t[:MOST] for name, t in tensors.items()} if draws_cells(self.modality) else known
            self.sampling = Sampling.fit(
                net, self.modality, rows, None if held is None else settle, codes=(means, draws)
            )
            record.sampler_accuracy = self.sampling.accuracy

    def _wholes(self, kept: Rows, held: Rows | None) -> Tensor | None:
        """Of rows that come in pieces: which of the kept and, after them, held-out rows every piece is of."""
        found, first = [], 0
        for rows in (kept,) if held is None else (kept, held):
            of = self.modality.wholes(rows)
            if of is None:
                return None
            found.append(torch.from_numpy(of) + first)
            first += len(rows)
        return torch.cat(found)

    def _learn_to_detect(
        self, tensors: Mapping[str, Tensor], held: Mapping[str, Tensor] | None, wholes: Tensor | None = None
    ) -> None:
        """Teach the detector, and see how rows score that it did not learn from: those held out, and its own where it
        can tell. Of few rows it then learns from all, since each counts; but windows of recordings overlap, and what a
        training window would score if it were new is told by later ones alone.
        """
        tensors, held = without_target(tensors), held and without_target(held)
        kind = DETECTORS[self.spec.detector.kind]
        few = held is not None and len(tensors["x"]) + len(held["x"]) <= _MOST_FRESH
        fresh = kind.tells_fresh if wholes is None else kind.tells_apart
        if held is not None and few and fresh and not self.on_recordings:
            tensors, held = _joined(tensors, held), None
        self.detector = teach(self.net, tensors, self.plan, None if wholes is None else wholes[: len(tensors["x"])])
        with torch.no_grad(), devices.threads_for(self._work(), self.device):
            self._calibrate_detector(tensors, held and {n: t[:_MOST_CALIBRATION] for n, t in held.items()})

    def _calibrate_detector(self, tensors: Mapping[str, Tensor], held: Mapping[str, Tensor] | None) -> None:
        n, most = len(tensors["x"]), _MOST_FRESH
        index = torch.arange(n) if n <= most else torch.linspace(0, n - 1, most).round().long()
        known = () if held is None else (self._surprise(b) for b in in_order(held, self._chunk))
        fresh = (self.detector.fresh(self.net, tensors, some.to(self.device)) for some in index.split(self._chunk))
        scores: list[Tensor] = []
        expected: list[Tensor] = []
        usual = torch.zeros(int(np.prod(self.net.shape)) + 1, dtype=torch.float64)
        for found in itertools.chain(known, fresh):
            if found is not None:
                scores.append(found.score.double().cpu())
                if found.expected is not None and sum(map(len, expected)) < _MOST_SPREAD:
                    expected.append(found.expected)
                # summed as they come: entries of all these rows would be as many as rows times entries
                usual += torch.cat([found.entries.flatten(1).sum(0), found.rest.sum()[None]]).double().cpu()
        if not scores:
            of_all = torch.cat([self._surprise(b).score for b in in_order(tensors, self._chunk)])
            self.record.usual_score = float(of_all[:_MOST_CALIBRATION].quantile(0.99))
            return
        self.calibration = np.sort(torch.cat(scores).numpy())
        self._usual = (usual / len(self.calibration)).float()
        if expected and self._spread is not None:
            back = torch.cat(expected)
            ours = {name: t[index.to(t.device)] for name, t in tensors.items()}
            both = ours if held is None else _joined(held, ours)
            self._spread = _usual_distance({name: t[: len(back)] for name, t in both.items()}, back)

    @torch.no_grad()
    def _calibrate_pictures(self, kept: Rows, held: Rows | None) -> None:
        """Score pictures as new ones are, by the strangest of their tiles: those held out, and those that the detector
        learned from as if it had not, where it can tell.
        """
        apart = self.detector.tells_apart and self.detector.wholes is not None
        scores, first = [], 0
        with devices.threads_for(self._work(), self.device):
            for rows in (kept, held):
                if rows is None or (rows is kept and not apart):
                    continue
                for _, tiles in self.pictures(rows):
                    fed = self.modality.to_tensors(tiles) | {"whole": torch.from_numpy(tiles.data.picture) + first}
                    found = []
                    for b in in_order(fed, self._chunk):
                        x = b["x"].to(self.device)
                        told = self.detector.apart(self.net, x, b["whole"]) if apart else self._surprise({"x": x})
                        found.append(told.score.double().cpu())
                    scores.append(worst_of(tiles.data, torch.cat(found).numpy())[0])
                    first += len(tiles.data.sizes)
        self.calibration = np.sort(np.concatenate(scores)) if scores else None

    @torch.no_grad()
    def _calibrate_steps(self, windows: Windows, held: Mapping[str, Tensor]) -> None:
        """Score the steps of held-out windows as those of new recordings are: each once, where windows overlap."""
        with devices.threads_for(self._work(), self.device):
            found = torch.cat([self._paid(b) for b in in_order(held, self._chunk)]).cpu().numpy()
        paid = windows.paid(found[:, :-1], found[:, -1])
        # the edges of a stretch are held by few windows, whose mean is less sure than it will be at use
        cover = np.concatenate(windows.cover())
        inside = (2 * cover > cover.max()) & np.isfinite(paid.rest)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a channel that is never there
            channels, rest = np.nanmean(paid.channels[inside], 0), np.nanmean(paid.rest[inside])
        usual = Paid(np.nan_to_num(channels), np.asarray(rest))
        self._usual = torch.from_numpy(np.append(usual.channels, usual.rest)).float()
        self.calibration = np.sort(paid.filled(usual).score[inside])

    def _paid(self, b: Mapping[str, Tensor]) -> Tensor:
        """What windows bring to the score, (B, channels + 1): what is missing brings as much as the rest of its
        channel, and the last is what belongs to none.
        """
        found = self._surprise(b)
        channels = found.entries.sum(2)
        if "observed" in b:
            there = b["observed"].to(channels)
            channels = (found.entries * there).sum(2) / there.mean(2).clamp(min=1e-9)
        return torch.cat([channels, found.rest[:, None]], dim=1)

    def paid(self, source: Any) -> Paid:
        """What every row of recordings brings to its score: each channel (n, channels), and what belongs to none (n,).

        What is missing costs what is usual.
        """
        windows = self.modality.samples(self.open(source)).data
        assert isinstance(windows, Windows)
        found = self._over(source, self._paid)
        paid = windows.paid(found[:, :-1], found[:, -1])
        channels, rest = self.usual_of_steps
        return paid.filled(Paid(channels, np.asarray(rest))).at_rows(windows.recorded)

    @property
    def usual_of_steps(self) -> tuple[np.ndarray, float]:
        """What held-out steps of recordings bring to their score on average: each channel, and what belongs to none."""
        self._held_out_scores()
        assert self._usual is not None
        usual = self._usual.double().numpy()
        return usual[:-1], float(usual[-1])

    @torch.inference_mode()
    def _linear_errors(self, tensors: Mapping[str, Tensor]) -> tuple[float, float]:
        """Squared error per row of same-size PCA and of the mean row, like ``record.error``: against the target
        where there is one, which PCA finds by taking the row onto the plane of the targets.
        """
        if not self.net.bottleneck.narrows:
            raise DataError("A code that holds the whole row has no PCA of its size beside it.")
        if self.pca is None:
            raise DataError(
                "This model was fitted without PCA beside it (no held-out rows, a random start). "
                "Fit again with validation=0.1."
            )
        by_pca = by_mean = count = 0.0
        for b in in_order(tensors, self._chunk):
            x = self.net.likelihood.represent(b["x"], b.get("observed")).flatten(1).cpu()
            clean = wanted_of(b)
            wanted = self.net.likelihood.represent(clean["x"], clean.get("observed")).flatten(1).cpu()
            there = None
            if "observed" in clean:
                there = self.net.likelihood.reach(clean["observed"]).flatten(1).cpu().to(x)
            error = self.net.likelihood.error
            by_pca += float(error(wanted, there, self.pca.reconstruct(x)).sum())
            by_mean += float(error(wanted, there, self.pca.mean.expand_as(wanted)).sum())
            count += len(x)
        return by_pca / count, by_mean / count

    # -- use: always deterministic --------------------------------------------------------------

    def encode(self, source: Any) -> np.ndarray:
        """Rows → codes (n, *code_shape), float32: the code's mode, never a random draw."""
        return self._over(source, lambda b: self.net.encode(b["x"], b.get("observed")), steered=False)

    def decode(self, z: Any, *, condition: Any = None) -> Any:
        """Codes (n, *code_shape) → rows as they were brought: array, ``pyarrow.Table`` or images.

        ``condition`` steers a conditional model: one value for all codes, or one for each; or, as a tensor, the
        numbers that :meth:`tensors` makes of it.
        """
        z = torch.as_tensor(np.asarray(z), dtype=torch.float32)
        shape = self.net.bottleneck.code_shape
        if tuple(z.shape[1:]) != shape:
            raise DataError(f"Codes of this model have shape (n, {', '.join(map(str, shape))}); got {tuple(z.shape)}.")
        batch = {"z": z} | (
            {"condition": condition} if isinstance(condition, Tensor) else self._said(condition, len(z))
        )
        if not len(z):
            return self.modality.from_tensors(torch.zeros(0, *self.net.shape))
        with torch.inference_mode(), devices.threads_for(self._work(), self.device):
            parts = ({k: t.to(self.device) for k, t in b.items()} for b in in_order(batch, self._chunk))
            return self._raw(self.net.decode(**part).mean.cpu() for part in parts)

    def _raw(self, means: Iterable[Tensor], like: Rows | None = None) -> Any:
        """Tensors like x that come piece by piece → raw rows, ``like`` them one for one; sparse ones never all at
        once.
        """
        if not self.modality.sparse:
            return self.modality.from_tensors(torch.cat(list(means)), like)
        pieces, at = [], 0
        for mean in means:
            part = like and like.take(np.arange(at, at + len(mean)))
            pieces.append(self.modality.from_tensors(mean, part))
            at += len(mean)
        return joined(pieces)

    def _said(self, condition: Any, n: int) -> dict[str, Tensor]:
        """The condition that is said for ``n`` codes."""
        if self.conditions is None:
            if condition is not None:
                raise SpecError("No condition steers this model. Fit one with condition='COLUMN', or say none here.")
            return {}
        if condition is None:
            names = ", ".join(map(repr, self.conditions.names))
            raise SpecError(
                f"The decoder of this model is steered by {names}. Say condition=VALUE (--condition VALUE)."
            )
        return {"condition": self.conditions.of(condition, n)}

    def reconstruct(self, source: Any) -> Any:
        """Rows → the rows that come back through the isthmus, as they were brought."""
        rows = self.open(source)
        size = max(self._chunk, _GIVEN_BACK // int(np.prod(self.net.shape)) + 1) if self.modality.sparse else None
        return self._raw(self._chunks_of(self.modality.samples(rows), self._mean, size=size), rows)

    def score(self, source: Any) -> np.ndarray:
        """How strange each row is to the model's detector, float64 (n,): higher is stranger.

        The detector ``likelihood`` says nats, as :meth:`nats` does; others say how many deviations a row stands above
        rows that were not fitted, on the scale of their logarithms.
        """
        rows = self.open(source)
        if self.on_recordings:
            return self.paid(rows).score
        if self.on_tiles:
            return np.concatenate([worst_of(t.data, self._score(t))[0] for _, t in self.pictures(rows)])
        return self._score(rows)

    def _score(self, rows: Rows) -> np.ndarray:
        return self._over(rows, lambda b: self._surprise(b, explain=False).score)

    def nats(self, source: Any) -> np.ndarray:
        """Negative log-likelihood of each row in nats, float64 (n,): higher is less likely.

        It is −log p(x | z) plus what the code costs: its rate, or −log of the fitted prior's density. Of recordings it
        is that of each window.
        """
        return self._over(source, self._nats)

    def contributions(self, source: Any, *, expected: bool = True) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """Where the score comes from: per entry (n, *shape), what belongs to none (n,), which add up to it, and the
        ``expected`` x (n, *shape), or None where nobody asks.

        Of sparse rows the entries are a ``scipy.sparse`` array, and nothing is said to be expected.
        """

        def explain(b: Mapping[str, Tensor]) -> Tensor:
            found = self._surprise(b)
            told = [found.entries.flatten(1), found.rest[:, None]]
            if expected:
                told.append((self._mean(b) if found.expected is None else found.expected).flatten(1))
            return torch.cat(told, dim=1)

        if self.modality.sparse:
            return self._few_contributions(source)
        found = self._over(source, explain)
        n = int(np.prod(self.net.shape))
        entries, rest = found[:, :n].reshape(-1, *self.net.shape), found[:, n]
        return entries, rest, found[:, n + 1 :].reshape(-1, *self.net.shape) if expected else None

    def _few_contributions(self, source: Any) -> tuple[Any, np.ndarray, None]:
        """The same of sparse rows: what is not there brings nothing, and what is expected of each of ten thousand words
        is more than anybody reads.
        """
        import scipy.sparse

        x = self.modality.to_tensors(self.open(source))["x"]
        assert isinstance(x, Sparse)
        # made before the first batch: small arrays that stay, between dense ones that go, would keep their place taken
        brought, rest = np.empty(len(x.values), np.float32), np.empty(len(x), np.float32)
        with torch.inference_mode(), devices.threads_for(self._work(), self.device):
            for at in range(0, len(x), self._chunk):
                some = x[at : at + self._chunk]
                found = self._surprise({"x": _filled(some.dense()).to(self.device)})
                rows = torch.arange(len(some)).repeat_interleave(some.starts.diff())
                where = slice(int(x.starts[at]), int(x.starts[at + len(some)]))
                brought[where] = found.entries.cpu()[rows, some.columns.long()].numpy()
                rest[at : at + len(some)] = found.rest[: len(some)].cpu().numpy()
        entries = scipy.sparse.csr_array((brought, x.columns.numpy(), x.starts.numpy()), shape=tuple(x.shape))
        entries.eliminate_zeros()  # of text, groups of letters are for the encoder alone
        return entries, rest, None

    def label(self, source: Any) -> np.ndarray:
        """What the head says of each row (n, c): probabilities of its classes, or a number in its own units."""
        head = self.head
        if head is None:
            raise SpecError(
                "This model has no head: it was never taught a label. Say isthmus head MODEL DATA --label y."
            )
        return self._over(source, lambda b: head(b["x"], b.get("observed")), steered=False)

    def log_likelihood(self, source: Any, samples: int = 256, *, seed: int = 0) -> np.ndarray:
        """log p(x) of each row in nats, float64 (n,), of a variational model: higher is likelier.

        A bound by importance sampling with ``samples`` codes per row, the tighter the more; the prior is the one
        that :meth:`sample` draws from. Rows are measured as the network sees them, scaled. The same rows and seed
        give the same numbers.
        """
        if samples < 1:
            raise SpecError(f"samples is at least 1, got {samples}.")
        generator = torch.Generator(self.device).manual_seed(seed)
        return self._over(source, lambda b: log_evidence(self.net, samples, generator, **b))

    def sample(
        self, n: int, *, seed: int = 0, noise: bool | None = None, condition: Any = None, copies: bool = False
    ) -> Any:
        """``n`` new rows as rows were brought: codes drawn from the density that held-out codes chose, and what the
        decoder expects of them. The same seed gives the same rows.

        Args:
            noise: Draw every entry too, from the likelihood; None does so for the cells of tables alone. Columns then
                have the distribution that they had in training, and cells are missing as often and together.
            condition: What steers a conditional model: one value for all rows, or one for each.
            copies: Of a table let rows through that are training rows, cell by cell; else they are drawn again.

        Warns where draws are easily told from the codes of rows.
        """
        if remark := self.sampling_remark():
            warnings.warn(remark, stacklevel=2)
        return self.draw(n, seed=seed, noise=noise, condition=condition, copies=copies).rows

    def draw(
        self,
        n: int,
        *,
        seed: int = 0,
        noise: bool | None = None,
        condition: Any = None,
        copies: bool = False,
        sampling: Sampling | None = None,
    ) -> Drawn:
        """The same with how many drafts were refused, or by another ``sampling``, such as :meth:`sampling_of` rows."""
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise SpecError(f"n is the number of rows to draw, at least 1; got {n}.")
        self._can_draw()
        generator = torch.Generator(self.device).manual_seed(seed)
        with torch.inference_mode(), devices.threads_for(self._work(), self.device):
            given = {"condition": condition} if isinstance(condition, Tensor) else self._said(condition, n)
            said = {name: t.to(self.device) for name, t in given.items()}
            sampling = sampling or self.sampling
            return sampling.draw(self.net, self.modality, int(n), generator, said, noise=noise, copies=copies)

    def sampling_of(self, source: Any, *, flow: bool = True) -> Sampling:
        """How to draw rows like those in ``source``, which may be some of the kind that the model knows: one label,
        say. Densities are chosen anew, on their codes; a ``flow`` among them takes longest.
        """
        self._can_draw()
        rows = self.modality.samples(self.open(source)).some()
        if len(rows) < 2:
            raise DataError(f"{rows.origin} has {len(rows)} row; rows like it need at least 2.")
        order = np.random.default_rng(0).permutation(len(rows))
        tensors = {n: t.to(self.device) for n, t in self.tensors(rows.take(order)).items()}
        with devices.threads_for(self._work(), self.device):
            found = Sampling.fit(self.net, self.modality, tensors, others=True, flow=flow and len(rows) >= _LEAST_FLOW)
        return replace(found, also=self.sampling.seen)

    def _can_draw(self) -> None:
        if not self.net.bottleneck.narrows:
            raise SpecError(
                "The code of this model is the whole row: nothing says which codes are likely, so none is drawn."
            )

    def sampling_remark(self, sampling: Sampling | None = None) -> str | None:
        """Why rows that :meth:`sample` draws may look unlike the rows that were fitted, with the remedy."""
        accuracy = self.record.sampler_accuracy if sampling is None else sampling.accuracy
        if accuracy is None or accuracy < _TOLD_APART:
            return None
        kind = (sampling or self.sampling).part.kind.replace("_", " ")
        return (
            f"draws of the density that suits codes best ({kind}) are told from the codes of rows {accuracy:.0%} of "
            "the time (50% is chance), so rows decoded from them may look unlike the fitted ones. Fit again with "
            "prior='flow', or a smaller latent_dim"
        )

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Conformal p-values against the held-out rows: (1 + #{calibration ≥ s}) / (n + 1).

        References:
            Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005.
        """
        calibration = self._held_out_scores()
        at_least = len(calibration) - np.searchsorted(calibration, scores - _tie(scores), side="left")
        return (1 + at_least) / (len(calibration) + 1)

    def threshold(self, false_alarm_rate: float) -> float:
        """The least score whose p-value is at most ``false_alarm_rate``; infinite where too few rows were held out."""
        calibration = self._held_out_scores()
        # p ≤ rate where at most this many calibration scores are as high (the 1e-9 is for 0.07 · 100 = 7.000…1)
        allowed = int(np.floor(false_alarm_rate * (len(calibration) + 1) + 1e-9)) - 1
        if allowed < 0:
            return float("inf")
        beaten = calibration[max(len(calibration) - 1 - allowed, 0)]
        return float(beaten + 2 * _tie(beaten))

    def _held_out_scores(self) -> np.ndarray:
        if self.calibration is None:
            raise DataError(
                "This model was fitted without held-out rows, so nothing says how high a score is usual. "
                "Fit again with validation=0.1."
            )
        return self.calibration

    @property
    def usual(self) -> tuple[np.ndarray, float]:
        """What rows that were not fitted score on average: per entry (*shape), and what belongs to none."""
        self._held_out_scores()
        assert self._usual is not None
        usual = self._usual.numpy()
        return usual[:-1].reshape(self.net.shape), float(usual[-1])

    @property
    def spread(self) -> np.ndarray | None:
        """How far held-out rows are from what comes back (*shape), as the network sees them: 68 % are nearer."""
        return None if self._spread is None else self._spread.numpy().reshape(self.net.shape)

    @property
    def known_codes(self) -> np.ndarray | None:
        """The most telling numbers of the codes of some held-out rows (m, k): what later codes are held against."""
        return None if self._known_codes is None else self._known_codes.numpy()

    def compare(self, source: Any, target: Any = None) -> dict[str, float]:
        """Squared error per row (in the network's features) of this model, same-size PCA and the mean row:
        against the ``target`` rows where they are given, else against the rows themselves.
        """
        rows = self.open(source)
        rows = rows.some() if target is None else with_target(rows, self.open(target))
        tensors = tensors_of(rows, self.modality, self.conditions)
        pca, mean = self._linear_errors(tensors)
        where = {name: t.to(self.device) for name, t in tensors.items()}
        return {"autoencoder": evaluate(self.net, where)[1], "pca": pca, "mean": mean}

    def open(self, source: Any, *, strict: bool = False, stream: bool | None = None) -> Rows:
        """Anything that holds rows of the kind that this model takes."""
        return open_rows(source, strict=strict, kind=self.modality.kind, stream=stream)

    def remarks(self, rows: Rows) -> list[str]:
        """What is unusual about these rows and still usable."""
        return self.modality.remarks(rows if self.conditions is None else self.conditions.beside(rows))

    def _mean(self, b: Mapping[str, Tensor]) -> Tensor:
        return self.net.decode(self.net.encode(b["x"], b.get("observed")), b.get("condition")).mean

    def _means(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """What comes back for rows, all of it in the place that it keeps: pieces that stay, between activations that
        go, would keep the place of these taken.
        """
        whole, at = torch.zeros(0), 0
        for b in in_order(tensors, self._chunk):
            found = self._mean(b)
            if not at:
                whole = found.new_empty(len(tensors["x"]), *found.shape[1:])
            whole[at : at + len(found)] = found
            at += len(found)
        return whole

    def tensors(self, rows: Rows, *, steered: bool = True) -> dict[str, Tensor]:
        """Rows → what the network is fed; without the condition, which encoding needs not, unless ``steered``.

        Dense, so of a few rows at a time where rows are sparse.
        """
        return dense(tensors_of(rows, self.modality, self.conditions, steered=steered))

    def _surprise(self, b: Mapping[str, Tensor], explain: bool = True) -> Surprise:
        found = self.detector(self.net, b["x"], b.get("observed"), b.get("condition"), explain=explain)
        if not self.modality.sparse:
            return found
        # of sparse rows what is there is told, and all zeros together: else every row had as many reasons as columns
        told = found.entries * (b["x"] != 0)
        return replace(found, entries=told, rest=found.rest + (found.entries - told).flatten(1).sum(1))

    def _nats(self, b: Mapping[str, Tensor]) -> Tensor:
        trace = self.net.trace(**b)
        nats = -trace.p.log_probs(trace.x, trace.observed).flatten(1).sum(1, dtype=torch.float64)
        return nats + self.net.code_nats(trace.code)

    def _over(
        self, source: Any, function: Callable[[Mapping[str, Tensor]], Tensor], *, steered: bool = True
    ) -> np.ndarray:
        """Apply ``function`` to rows in chunks that fit anywhere; the one way that rows take at use."""
        samples, whole, at = self.modality.samples(self.open(source)), torch.zeros(0), 0
        for found in self._chunks_of(samples, function, steered=steered):
            if not at:  # small arrays that stay, between large ones that go, would keep the place of these taken
                whole = found.new_empty(len(samples), *found.shape[1:])
            whole[at : at + len(found)] = found
            at += len(found)
        return whole.numpy()

    def _chunks_of(
        self,
        samples: Rows,
        function: Callable[[Mapping[str, Tensor]], Tensor],
        *,
        steered: bool = True,
        size: int | None = None,
    ) -> Iterator[Tensor]:
        size = size or self._chunk
        with torch.inference_mode(), devices.threads_for(self._work(), self.device):
            for chunk in samples.chunks(8 * size):
                for b in in_order(tensors_of(chunk, self.modality, self.conditions, steered=steered), size):
                    n = len(b["x"])
                    b = self._completed({k: _filled(t).to(self.device) for k, t in b.items()})
                    yield function(b)[:n].cpu()

    def _completed(self, b: Batch) -> Batch:
        """Windows with gaps, where the network never saw any: what is missing becomes what it makes of the rest."""
        if "observed" not in b or self.net.spec.tell_missing or not self.on_recordings:
            return b
        for _ in range(_PASSES):
            b = {**b, "x": torch.where(b["observed"], b["x"], self._mean(b))}
        return b

    @property
    def _chunk(self) -> int:
        return chunk_rows(self.net)

    def pictures(self, rows: Rows) -> Iterator[tuple[Rows, Rows]]:
        """Pictures that are looked at in tiles, some at a time, and their tiles."""
        assert isinstance(self.modality, Tiled)
        return self.modality.pictures(rows, self.stretch)

    @property
    def stretch(self) -> int:
        """Rows that are looked at together: what is found does not depend on cuts at its multiples, to the last bit."""
        return 8 * self._chunk

    def _work(self) -> float:
        numbers = [*self.net.parameters(), *self.detector.state_dict().values()]
        return self._chunk * sum(t.numel() for t in numbers)

    # -- the file -------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the network, of PCA beside it and of the face that they show to rows: what a compressed file
        needs to be read, whatever else was written down or settled since.
        """
        said = {"shape": list(self.net.shape), "spec": self.spec.to_json(), "modality": modality_to_json(self.modality)}
        return modelfile.fingerprint(said, self._weights())

    def _weights(self) -> dict[str, Tensor]:
        tensors = {f"net/{name}": value for name, value in self.net.state_dict().items()}
        if self.pca is not None:
            tensors |= {f"pca/{name}": getattr(self.pca, name) for name in ("mean", "components", "variances")}
        return tensors

    def save(self, path: str | Path) -> Path:
        """Write the model to one file, whole or not at all."""
        header = {
            "shape": list(self.net.shape),
            "spec": self.spec.to_json(),
            "plan": self.plan.to_json(),
            "modality": modality_to_json(self.modality),
            "conditions": self.conditions and self.conditions.to_json(),
            "record": asdict(self.record),
            "pca_total": self.pca.total if self.pca else None,
            "pca_centred": self.pca is None or self.pca.centred,
            "sampling": self.sampling.to_json(),
        }
        tensors: dict[str, Any] = self._weights()
        tensors |= {f"detector/{name}": value for name, value in self.detector.state_dict().items()}
        if self.calibration is not None:
            tensors["calibration"] = torch.from_numpy(self.calibration)
            tensors["usual"] = self._usual
        if self.held_nats is not None and self.held_nats is not self.calibration:
            tensors["held_nats"] = torch.from_numpy(self.held_nats)
        for name, kept in (("spread", self._spread), ("codes", self._known_codes)):
            if kept is not None:
                tensors[name] = kept
        if self.head is not None:
            header["head"] = self.head.to_json()
            tensors |= {f"head/{name}": value for name, value in self.head.state_dict().items()}
        tensors |= {f"sampling/{name}": value for name, value in self.sampling.tensors().items()}
        path = Path(path)
        modelfile.write(path, header, tensors)
        return path


def open_model(
    path: str | Path,
    *,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    device: str = "auto",
) -> Model:
    """Open a model file. Nothing in it can run code: a person's own module is handed in again.

    Raises:
        FileError: no such file, not a model, damaged, or of a newer version.
        SpecError: the model has a person's own module and it was not given.
    """
    path = Path(path)
    file = modelfile.read(path)
    header, tensors = file.header, file.tensors
    own = {name: module for name, module in (("encoder", encoder), ("decoder", decoder)) if module is not None}
    try:
        spec = Spec.from_json(header["spec"])
        face = modality_from_json(header["modality"])
        steering = Conditions.from_json(header["conditions"]) if header.get("conditions") else None
        with devices.seeded(0):  # its random start is overwritten: the person's own numbers go on undisturbed
            net = Net(spec, tuple(header["shape"]), copy.deepcopy(own))
            detector = make(DETECTORS, "detector", spec.detector, net.shape, net.likelihood.features_shape)
            head = Head.from_json(net, header["head"]) if header.get("head") else None
        drawn = {n.removeprefix("sampling/"): t for n, t in tensors.items() if n.startswith("sampling/")}
        sampling = Sampling.from_json(header["sampling"], drawn, net) if "sampling" in header else None
        record, plan = Record(**header["record"]), Plan.from_json(header["plan"])
        pca = None
        if "pca/mean" in tensors:
            mean, components, variances = (tensors[f"pca/{n}"] for n in ("mean", "components", "variances"))
            pca = PCA(mean, components, variances, header["pca_total"], header.get("pca_centred", True))
    except SpecError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise FileError(f"{path} is not a model of isthmus, or a damaged one: {error!r}. Fit it again.") from error
    try:
        for prefix, module in (("net/", net), ("detector/", detector), ("head/", head)):
            if module is not None:
                module.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise FileError(f"The weights in {path} do not fit its parts: {reason}") from error
    where = devices.pick(device)
    scores: dict[str, Any] = {name: tensors[name].numpy() for name in ("calibration", "held_nats") if name in tensors}
    return Model(
        net.to(where),
        face,
        plan,
        record,
        pca=pca,
        conditions=steering,
        detector=detector.to(where),
        usual=tensors.get("usual"),
        spread=tensors.get("spread"),
        codes=tensors.get("codes"),
        head=head and head.to(where),
        sampling=sampling and sampling.to(where),
        **scores,
    )


def code_marks(codes: Tensor, variance: np.ndarray | None) -> Tensor:
    """The numbers of codes (n, …) that vary most (n, k), k small."""
    flat = codes.flatten(1)
    if variance is None or flat.shape[1] <= _MARKS:
        return flat[:, :_MARKS].contiguous()
    return flat[:, np.sort(np.argsort(-variance, kind="stable")[:_MARKS])].contiguous()


def _joined(first: Mapping[str, Tensor], then: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rows below rows; where one of them is whole, so that nothing says what was observed, all of it was."""
    there = {**first, **then}
    return {
        name: torch.cat([rows.get(name, torch.ones_like(rows["x"], dtype=torch.bool)) for rows in (first, then)])
        for name in there
    }


def _usual_distance(tensors: Mapping[str, Tensor], back: Tensor) -> Tensor:
    """The distance to what comes back that 68 % of the rows keep, per entry: one σ where errors are gaussian."""
    away = (tensors["x"][:_MOST_SPREAD] - back[:_MOST_SPREAD]).abs().flatten(1)
    if "observed" in tensors:
        away = away.masked_fill(~tensors["observed"][:_MOST_SPREAD].flatten(1), float("nan"))
    # in blocks of columns, because torch takes quantiles of so many numbers at most
    found = [block.nanquantile(0.683, dim=0) for block in away.split(2048, dim=1)]
    return torch.cat(found).nan_to_num(0.0).cpu()


def _aside(which: np.ndarray, n: int) -> str:
    """Which rows were set aside, in words.

    >>> _aside(np.array([3, 8]), 100), _aside(np.zeros(0), 100)
    ('set 2 of 100 rows (2.0%) aside as possible anomalies: rows 3, 8', 'no row was set aside as a possible anomaly')
    """
    if not len(which):
        return "no row was set aside as a possible anomaly"
    listed = ", ".join(str(i) for i in which[:10]) + (", …" if len(which) > 10 else "")
    return f"set {len(which):,} of {n:,} rows ({len(which) / n:.1%}) aside as possible anomalies: rows {listed}"


def _filled(t: Tensor) -> Tensor:
    """Few rows are filled up to one size, because products of other sizes take other paths and round differently:
    a row alone gives what it gives among a few, to the last bit on most processors.
    """
    missing = _FEW - len(t)
    return t if missing <= 0 else torch.cat([t, t.new_zeros(missing, *t.shape[1:])])


def _few_windows(held: Windows) -> list[str]:
    """What can be promised of steps, where little time was held out: neighbours say nearly the same."""
    worth = int((np.concatenate(held.cover()) > 0).sum()) / held.length
    if worth >= _LEAST_WORTH:
        return []
    return [
        f"the time held out is {worth:.1f} windows long, and windows that overlap say nearly the same: p-values of "
        "stamps are a rough guide. A longer recording helps, or a shorter window (--window)"
    ]


def _tie(scores: Any) -> Any:
    """How far apart scores still count as equal: float32 sums differ in their last digits with the batch."""
    return 1e-5 * (1 + np.abs(scores))
