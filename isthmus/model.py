"""A fitted model: rows in, rows out. Here data meets maths.

``Model.fit`` looks at rows, composes parts that suit them, trains, and calibrates on held-out rows.
What it learned about the rows travels with the weights in one file.
"""

from __future__ import annotations

import copy
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
from isthmus.calibration import (
    Calibration,
    few_windows,
    learn_to_detect,
    of_pictures,
    of_steps,
    settle,
    wholes_of,
)
from isthmus.conditions import Conditions, with_condition
from isthmus.core.autoencoder import Net
from isthmus.core.detectors import DETECTORS
from isthmus.core.detectors.likelihood import Likelihood
from isthmus.core.evidence import log_evidence
from isthmus.core.head import Head
from isthmus.core.parts import Detector, make
from isthmus.core.pca import PCA
from isthmus.data.batches import Batch, in_order
from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.data.sparse import Sparse, dense, joined
from isthmus.data.targets import with_target, without_target
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
    tensors_of,
)
from isthmus.modalities import modality_from_json, modality_to_json
from isthmus.modalities.base import Modality
from isthmus.modalities.recording import recording_remark
from isthmus.modalities.tiles import Tiled
from isthmus.recipes import modality_of
from isthmus.record import Record
from isthmus.sampling import Drawn, Sampling
from isthmus.scorer import Scorer
from isthmus.spec import AUTO, Plan, Spec
from isthmus.training.hooks import Hook
from isthmus.training.loop import evaluate
from isthmus.training.run import Epoch

#: Rows that were set aside and are listed in the file.
_MOST_ASIDE = 1000
#: A classifier that tells the prior's draws from codes this often is reason to warn of what is sampled.
_TOLD_APART = 0.75
#: Rows from which on a flow is tried for those that others should be like.
_LEAST_FLOW = 1000

#: How often gaps are filled with what the network makes of what was filled in before.
_PASSES = 10
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
        calibrated: Calibration | None = None,
        *,
        pca: PCA | None = None,
        conditions: Conditions | None = None,
        detector: Detector | None = None,
        head: Head | None = None,
        sampling: Sampling | None = None,
    ):
        self.modality, self.plan, self.record = modality, plan, record
        self.scorer = Scorer(net, detector or Likelihood(net.shape, net.shape), sparse=modality.sparse)
        self.calibrated = calibrated or Calibration()
        self.conditions, self.pca, self.head = conditions, pca, head and head.eval()
        #: what new rows are drawn with; files of before draw from the network's prior, and nothing more
        self.sampling = Sampling(net.spec.prior) if sampling is None else sampling

    @property
    def net(self) -> Net:
        return self.scorer.net

    @property
    def detector(self) -> Detector:
        return self.scorer.detector

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
        return self.scorer.device

    @property
    def calibration(self) -> np.ndarray | None:
        """Sorted scores of rows that were not fitted; None where none were held out."""
        return self.calibrated.scores

    @property
    def held_nats(self) -> np.ndarray | None:
        """Their sorted negative log-likelihoods."""
        return self.calibrated.nats

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
                    fed, recipe, parts or {}, plan, latent_dim, warm_start,
                    contaminated=contamination is not None, device=devices.pick(device),
                )  # fmt: skip
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
        scorer = model.scorer
        with phase(phases, "calibrate"):
            calibrated, model.pca, model.sampling = settle(scorer, fed.modality, record, fair, fed.tensors, fed.held)
        with phase(phases, "detector"):
            record.usual_score = learn_to_detect(
                scorer, plan, calibrated, fed.tensors, fed.held,
                wholes=wholes_of(fed.modality, kept, held), overlapping=model.on_recordings,
            )  # fmt: skip
            if isinstance(fed.modality, Tiled):
                calibrated.scores = of_pictures(scorer, fed.modality, kept, held)
            scorer.detector.release()
            if held is not None and fed.held is not None and held.kind == "windows":
                calibrated.scores, calibrated.usual = of_steps(scorer, held.data, without_target(fed.held))
                record.remarks += few_windows(held.data)
        model.calibrated = calibrated
        if contamination not in (None, AUTO):
            record.contamination_score = float(np.quantile(model.score(everything), 1 - float(contamination)))
        record.seconds = time.perf_counter() - began
        return model

    def paid(self, source: Any) -> Paid:
        """What every row of recordings brings to its score: each channel (n, channels), and what belongs to none (n,).

        What is missing costs what is usual.
        """
        windows = self.modality.samples(self.open(source)).data
        assert isinstance(windows, Windows)
        found = self._over(source, self.scorer.paid)
        paid = windows.paid(found[:, :-1], found[:, -1])
        channels, rest = self.usual_of_steps
        return paid.filled(Paid(channels, np.asarray(rest))).at_rows(windows.recorded)

    @property
    def usual_of_steps(self) -> tuple[np.ndarray, float]:
        """What held-out steps of recordings bring to their score on average: each channel, and what belongs to none."""
        usual = self._usual.double().numpy()
        return usual[:-1], float(usual[-1])

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
        with torch.inference_mode(), self.scorer.threads():
            parts = ({k: t.to(self.device) for k, t in b.items()} for b in in_order(batch, self.scorer.chunk))
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
        size = max(self.scorer.chunk, _GIVEN_BACK // int(np.prod(self.net.shape)) + 1) if self.modality.sparse else None
        found = self._chunks_of(self.modality.samples(rows), lambda b: (self.scorer.mean(b),), size=size)
        return self._raw((mean for (mean,) in found), rows)

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
        return self._over(rows, lambda b: self.scorer.surprise(b, explain=False).score)

    def nats(self, source: Any) -> np.ndarray:
        """Negative log-likelihood of each row in nats, float64 (n,): higher is less likely.

        It is −log p(x | z) plus what the code costs: its rate, or −log of the fitted prior's density. Of recordings it
        is that of each window.
        """
        return self._over(source, self.scorer.nats)

    def contributions(self, source: Any, *, expected: bool = True) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """Where the score comes from: per entry (n, *shape), what belongs to none (n,), which add up to it, and the
        ``expected`` x (n, *shape), or None where nobody asks.

        Of sparse rows the entries are a ``scipy.sparse`` array, and nothing is said to be expected.
        """

        def explain(b: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
            found = self.scorer.surprise(b)
            if not expected:
                return found.entries, found.rest
            return found.entries, found.rest, self.scorer.mean(b) if found.expected is None else found.expected

        if self.modality.sparse:
            return self._few_contributions(source)
        entries, rest, *mean = self._all_over(source, explain)
        return entries, rest, mean[0] if expected else None

    def _few_contributions(self, source: Any) -> tuple[Any, np.ndarray, None]:
        """The same of sparse rows: what is not there brings nothing, and what is expected of each of ten thousand words
        is more than anybody reads.
        """
        import scipy.sparse

        x = self.modality.to_tensors(self.open(source))["x"]
        assert isinstance(x, Sparse)
        # made before the first batch: small arrays that stay, between dense ones that go, would keep their place taken
        brought, rest = np.empty(len(x.values), np.float32), np.empty(len(x), np.float32)
        with torch.inference_mode(), self.scorer.threads():
            for at in range(0, len(x), self.scorer.chunk):
                some = x[at : at + self.scorer.chunk]
                found = self.scorer.surprise({"x": _filled(some.dense()).to(self.device)})
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
        with torch.inference_mode(), self.scorer.threads():
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
        with self.scorer.threads():
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
        return self.calibrated.p_values(scores)

    def threshold(self, false_alarm_rate: float) -> float:
        """The least score whose p-value is at most ``false_alarm_rate``; infinite where too few rows were held out."""
        return self.calibrated.threshold(false_alarm_rate)

    @property
    def usual(self) -> tuple[np.ndarray, float]:
        """What rows that were not fitted score on average: per entry (*shape), and what belongs to none."""
        usual = self._usual.numpy()
        return usual[:-1].reshape(self.net.shape), float(usual[-1])

    @property
    def _usual(self) -> Tensor:
        assert len(self.calibrated.held_out)  # or it says why there are none
        assert self.calibrated.usual is not None
        return self.calibrated.usual

    @property
    def spread(self) -> np.ndarray | None:
        """How far held-out rows are from what comes back (*shape), as the network sees them: 68 % are nearer."""
        found = self.calibrated.spread
        return None if found is None else found.numpy().reshape(self.net.shape)

    @property
    def known_codes(self) -> np.ndarray | None:
        """The most telling numbers of the codes of some held-out rows (m, k): what later codes are held against."""
        found = self.calibrated.codes
        return None if found is None else found.numpy()

    def compare(self, source: Any, target: Any = None) -> dict[str, float]:
        """Squared error per row (in the network's features) of this model, same-size PCA and the mean row:
        against the ``target`` rows where they are given, else against the rows themselves.
        """
        rows = self.open(source)
        rows = (rows if target is None else with_target(rows, self.open(target))).some()
        tensors = tensors_of(rows, self.modality, self.conditions)
        pca, mean = self.scorer.linear_errors(self.pca, tensors)
        where = {name: t.to(self.device) for name, t in tensors.items()}
        return {"autoencoder": evaluate(self.net, where)[1], "pca": pca, "mean": mean}

    def open(self, source: Any, *, strict: bool = False, stream: bool | None = None) -> Rows:
        """Anything that holds rows of the kind that this model takes."""
        return open_rows(source, strict=strict, kind=self.modality.kind, stream=stream)

    def remarks(self, rows: Rows) -> list[str]:
        """What is unusual about these rows and still usable."""
        return self.modality.remarks(rows if self.conditions is None else self.conditions.beside(rows))

    def tensors(self, rows: Rows, *, steered: bool = True) -> dict[str, Tensor]:
        """Rows → what the network is fed; without the condition, which encoding needs not, unless ``steered``.

        Dense, so of a few rows at a time where rows are sparse.
        """
        return dense(tensors_of(rows, self.modality, self.conditions, steered=steered))

    def _over(
        self, source: Any, function: Callable[[Mapping[str, Tensor]], Tensor], *, steered: bool = True
    ) -> np.ndarray:
        """Apply ``function`` to rows in chunks that fit anywhere; the one way that rows take at use."""
        found = self._all_over(source, lambda b: (function(b),), steered=steered)
        return found[0] if found else np.zeros(0, np.float32)

    def _all_over(
        self, source: Any, function: Callable[[Mapping[str, Tensor]], tuple[Tensor, ...]], *, steered: bool = True
    ) -> list[np.ndarray]:
        """The same of a function that finds several things of each row."""
        samples, at = self.modality.samples(self.open(source)), 0
        whole: list[Tensor] = []
        for found in self._chunks_of(samples, function, steered=steered):
            if not at:  # small arrays that stay, between large ones that go, would keep the place of these taken
                whole = [t.new_empty(len(samples), *t.shape[1:]) for t in found]
            for all_, t in zip(whole, found, strict=True):
                all_[at : at + len(t)] = t
            at += len(found[0])
        return [t.numpy() for t in whole]

    def _chunks_of(
        self,
        samples: Rows,
        function: Callable[[Mapping[str, Tensor]], tuple[Tensor, ...]],
        *,
        steered: bool = True,
        size: int | None = None,
    ) -> Iterator[tuple[Tensor, ...]]:
        size = size or self.scorer.chunk
        with torch.inference_mode(), self.scorer.threads():
            for chunk in samples.chunks(8 * size):
                for b in in_order(tensors_of(chunk, self.modality, self.conditions, steered=steered), size):
                    n = len(b["x"])
                    b = self._completed({k: _filled(t).to(self.device) for k, t in b.items()})
                    yield tuple(t[:n].cpu() for t in function(b))

    def _completed(self, b: Batch) -> Batch:
        """Windows with gaps, where the network never saw any: what is missing becomes what it makes of the rest."""
        if "observed" not in b or self.net.spec.tell_missing or not self.on_recordings:
            return b
        for _ in range(_PASSES):
            b = {**b, "x": torch.where(b["observed"], b["x"], self.scorer.mean(b))}
        return b

    def pictures(self, rows: Rows) -> Iterator[tuple[Rows, Rows]]:
        """Pictures that are looked at in tiles, some at a time, and their tiles."""
        assert isinstance(self.modality, Tiled)
        return self.modality.pictures(rows, self.stretch)

    @property
    def stretch(self) -> int:
        """Rows that are read together: what is found does not depend on cuts at its multiples, to the last bit."""
        return self.scorer.stretch

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

    def save(self, path: str | Path, *, told: Mapping[str, Any] | None = None) -> Path:
        """Write the model to one file, whole or not at all.

        Args:
            told: what the file says of itself, JSON, so that it can be told without opening the model.
        """
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
            **({"told": told} if told else {}),
        }
        tensors: dict[str, Any] = self._weights()
        tensors |= {f"detector/{name}": value for name, value in self.detector.state_dict().items()}
        tensors |= self.calibrated.tensors()
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
    return Model(
        net.to(where),
        face,
        plan,
        record,
        Calibration.from_tensors(tensors),
        pca=pca,
        conditions=steering,
        detector=detector.to(where),
        head=head and head.to(where),
        sampling=sampling and sampling.to(where),
    )


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
    # of what is added nothing is missing
    return t if missing <= 0 else torch.cat([t, t.new_full((missing, *t.shape[1:]), t.dtype == torch.bool)])
