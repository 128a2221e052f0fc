"""What rows that were not fitted look like to a model: what every new score is held against.

.. math:: p = \\frac{1 + \\#\\{\\text{calibration} \\ge s\\}}{n + 1}

References:
    Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.core.detectors import DETECTORS
from isthmus.core.pca import PCA
from isthmus.data.batches import in_order
from isthmus.data.rows import Rows
from isthmus.data.seen import MOST as MOST_SEEN
from isthmus.data.sparse import dense
from isthmus.data.targets import without_target
from isthmus.data.tiles import worst_of
from isthmus.data.windows import Paid, Windows
from isthmus.errors import DataError
from isthmus.fitting import teach
from isthmus.modalities.base import Modality
from isthmus.modalities.tiles import Tiled
from isthmus.record import Record
from isthmus.sampling import Sampling, codes_of, draws_cells
from isthmus.scorer import Scorer
from isthmus.spec import Plan
from isthmus.training.loop import evaluate

Tensors = Mapping[str, Tensor]

#: Held-out scores that are kept to calibrate new ones.
MOST = 100_000
#: Training rows whose codes the prior is fitted to, and those whose error is held against the held-out rows'.
_MOST_PRIOR, _MOST_ERROR = 10_000, 4096
#: Numbers in the codes that the prior is fitted to: fewer rows where codes are wide.
_MOST_CODES = 1 << 25
#: Numbers in sparse rows that a noise level is settled on.
_MOST_ENTRIES = 1 << 26
#: Training rows that calibrate beside those held out, where the detector can score them as if it had not seen them.
_MOST_FRESH = 20_000
#: Held-out time of fewer windows' length than this says little about rare scores.
_LEAST_WORTH = 20
#: Held-out rows whose codes are kept to see later whether the world has changed, and numbers of each.
_MOST_KNOWN, _MARKS = 500, 6
#: Held-out rows from which the usual distance to what comes back is taken.
_MOST_SPREAD = 4096


@dataclass
class Calibration:
    """Sorted scores of rows that were not fitted, and what is usual among them.

    ``nats`` are their negative log-likelihoods, sorted; ``usual`` is what each entry brings to a score on average and,
    last, what belongs to none; ``spread`` how far 68 % of them are from what comes back; ``codes`` (m, k) are the most
    telling numbers of the codes of some. Each is None where no rows were held out.
    """

    scores: np.ndarray | None = None
    nats: np.ndarray | None = None
    usual: Tensor | None = None
    spread: Tensor | None = None
    codes: Tensor | None = None

    @property
    def held_out(self) -> np.ndarray:
        """The scores, where there are any.

        Raises:
            DataError: no rows were held out.
        """
        if self.scores is None:
            raise DataError(
                "This model was fitted without held-out rows, so nothing says how high a score is usual. "
                "Fit again with validation=0.1."
            )
        return self.scores

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Conformal p-values of new scores."""
        known = self.held_out
        at_least = len(known) - np.searchsorted(known, scores - _tie(scores), side="left")
        return (1 + at_least) / (len(known) + 1)

    def threshold(self, false_alarm_rate: float) -> float:
        """The least score whose p-value is at most ``false_alarm_rate``; infinite where too few rows were held out."""
        known = self.held_out
        # p ≤ rate where at most this many scores are as high (the 1e-9 is for 0.07 · 100 = 7.000…1)
        allowed = int(np.floor(false_alarm_rate * (len(known) + 1) + 1e-9)) - 1
        if allowed < 0:
            return float("inf")
        beaten = known[max(len(known) - 1 - allowed, 0)]
        return float(beaten + 2 * _tie(beaten))

    def tensors(self) -> dict[str, Tensor]:
        """As a model file holds it; nats that are the scores are not said twice."""
        said = {"usual": self.usual, "spread": self.spread, "codes": self.codes}
        if self.scores is not None:
            said["calibration"] = torch.from_numpy(self.scores)
        if self.nats is not None and self.nats is not self.scores:
            said["held_nats"] = torch.from_numpy(self.nats)
        return {name: t for name, t in said.items() if t is not None}

    @classmethod
    def from_tensors(cls, said: Mapping[str, Tensor]) -> Self:
        scores, nats = (said[n].numpy() if n in said else None for n in ("calibration", "held_nats"))
        return cls(scores, scores if nats is None else nats, *map(said.get, ("usual", "spread", "codes")))


@torch.no_grad()  # not inference_mode: penalties on a gradient take one while they are scored
def settle(
    scorer: Scorer, modality: Modality, record: Record, pca: PCA | None, tensors: Tensors, held: Tensors | None
) -> tuple[Calibration, PCA | None, Sampling]:
    """Settle the noise level and the prior of a trained network, and score the held-out rows once and for all: their
    likelihoods, PCA of the code's size beside it, and what new rows are drawn with.
    """
    net, size = scorer.net, scorer.chunk
    most = min(_MOST_PRIOR, _MOST_CODES // net.bottleneck.n_numbers)
    known = {name: t[:most] for name, t in tensors.items()}
    # scores of new rows, which come without a target, are held against scores that were made without one
    few = without_target(known)
    unseen = few if held is None else {n: t[:MOST] for n, t in without_target(held).items()}
    found = Calibration()
    with scorer.threads():
        means, draws = codes_of(net, few)
        net.renew_prior(few.get("condition"))
        net.prior.fit(draws)
        if pca is not None and net.bottleneck.expansion is not None:
            # of a wide code a row uses few numbers: PCA beside it gets as many
            pca = pca.first(max(1, round(float((means != 0).flatten(1).sum(1).float().mean()))))
        record.code_variance = means.flatten(1).var(0, correction=0).tolist()
        spread = held is not None and bool(modality.names) and not modality.sparse
        back = torch.zeros(0)
        if net.likelihood.calibrates or spread:
            few_enough = _MOST_ENTRIES // int(np.prod(net.shape)) if modality.sparse else len(unseen["x"])
            some = dense({name: t[: max(1, few_enough)] for name, t in unseen.items()})
            back = scorer.means(some)
            net.likelihood.calibrate(some["x"], some.get("observed"), back)
        record.train_error = evaluate(net, {name: t[:_MOST_ERROR] for name, t in known.items()})[1]
        if held is not None:
            record.pca_error, record.mean_error = scorer.linear_errors(pca, held)
            nats = torch.cat([scorer.nats(b) for b in in_order(unseen, size)])
            found.nats = np.sort(nats.cpu().numpy())
            found.spread = _usual_distance(unseen, back) if spread else None
            some = {name: t[:_MOST_KNOWN] for name, t in unseen.items()}
            found.codes = code_marks(codes_of(net, some)[0], np.asarray(record.code_variance)).cpu()
        rows = {name: t[:MOST_SEEN] for name, t in tensors.items()} if draws_cells(modality) else known
        sampling = Sampling.fit(net, modality, rows, None if held is None else unseen, codes=(means, draws))
        record.sampler_accuracy = sampling.accuracy
    return found, pca, sampling


def wholes_of(modality: Modality, kept: Rows, held: Rows | None) -> Tensor | None:
    """Of rows that come in pieces: which of the kept and, after them, held-out rows every piece is of."""
    found, first = [], 0
    for rows in (kept,) if held is None else (kept, held):
        of = modality.wholes(rows)
        if of is None:
            return None
        found.append(torch.from_numpy(of) + first)
        first += len(rows)
    return torch.cat(found)


def learn_to_detect(
    scorer: Scorer,
    plan: Plan,
    found: Calibration,
    tensors: Tensors,
    held: Tensors | None,
    *,
    wholes: Tensor | None = None,
    overlapping: bool = False,
) -> float | None:
    """Teach the detector, and see how rows score that it did not learn from: those held out, and its own where it
    can tell. Of few rows it then learns from all, since each counts; but windows of recordings overlap, and what a
    training window would score if it were new is told by later ones alone.

    Returns:
        A score that few of the rows exceed, where none can be told as if it were new, so that nothing calibrates.
    """
    tensors, held = without_target(tensors), held and without_target(held)
    kind = DETECTORS[scorer.net.spec.detector.kind]
    few = held is not None and len(tensors["x"]) + len(held["x"]) <= _MOST_FRESH
    fresh = kind.tells_fresh if wholes is None else kind.tells_apart
    if held is not None and few and fresh and not overlapping:
        tensors, held = _joined(tensors, held), None
    scorer.detector = teach(scorer.net, tensors, plan, None if wholes is None else wholes[: len(tensors["x"])])
    with torch.no_grad(), scorer.threads():
        return _scored(scorer, found, tensors, held and {n: t[:MOST] for n, t in held.items()})


def _scored(scorer: Scorer, calibration: Calibration, tensors: Tensors, held: Tensors | None) -> float | None:
    n, size, device = len(tensors["x"]), scorer.chunk, scorer.device
    index = torch.arange(n) if n <= _MOST_FRESH else torch.linspace(0, n - 1, _MOST_FRESH).round().long()
    known = () if held is None else (scorer.surprise(b) for b in in_order(held, size))
    fresh = (scorer.detector.fresh(scorer.net, tensors, some.to(device)) for some in index.split(size))
    scores: list[Tensor] = []
    expected: list[Tensor] = []
    usual = torch.zeros(int(np.prod(scorer.net.shape)) + 1, dtype=torch.float64)
    for found in itertools.chain(known, fresh):
        if found is not None:
            scores.append(found.score.double().cpu())
            if found.expected is not None and sum(map(len, expected)) < _MOST_SPREAD:
                expected.append(found.expected)
            # summed as they come: entries of all these rows would be as many as rows times entries
            usual += torch.cat([found.entries.flatten(1).sum(0), found.rest.sum()[None]]).double().cpu()
    if not scores:
        of_all = torch.cat([scorer.surprise(b).score for b in in_order(tensors, size)])
        return float(of_all[:MOST].quantile(0.99))
    calibration.scores = np.sort(torch.cat(scores).numpy())
    calibration.usual = (usual / len(calibration.scores)).float()
    if expected and calibration.spread is not None:
        back = torch.cat(expected)
        ours = {name: t[index.to(t.device)] for name, t in tensors.items()}
        both = ours if held is None else _joined(held, ours)
        calibration.spread = _usual_distance({name: t[: len(back)] for name, t in both.items()}, back)
    return None


@torch.no_grad()
def of_pictures(scorer: Scorer, modality: Tiled, kept: Rows, held: Rows | None) -> np.ndarray | None:
    """Scores of pictures as new ones get them, by the strangest of their tiles: of those held out, and of those that
    the detector learned from as if it had not, where it can tell.
    """
    apart = scorer.detector.tells_apart and scorer.detector.wholes is not None
    scores, first = [], 0
    with scorer.threads():
        for rows in (kept, held):
            if rows is None or (rows is kept and not apart):
                continue
            for _, tiles in modality.pictures(rows, scorer.stretch):
                fed = modality.to_tensors(tiles) | {"whole": torch.from_numpy(tiles.data.picture) + first}
                found = []
                for b in in_order(fed, scorer.chunk):
                    x = b["x"].to(scorer.device)
                    told = (
                        scorer.detector.apart(scorer.net, x, b["whole"]) if apart else scorer.surprise({"x": x})
                    )  # fmt: skip
                    found.append(told.score.double().cpu())
                scores.append(worst_of(tiles.data, torch.cat(found).numpy())[0])
                first += len(tiles.data.sizes)
    return np.sort(np.concatenate(scores)) if scores else None


@torch.no_grad()
def of_steps(scorer: Scorer, windows: Windows, held: Tensors) -> tuple[np.ndarray, Tensor]:
    """Scores of the steps of held-out windows as those of new recordings get them, each once where windows overlap;
    and what is usual among them.
    """
    with scorer.threads():
        found = torch.cat([scorer.paid(b) for b in in_order(held, scorer.chunk)]).cpu().numpy()
    paid = windows.paid(found[:, :-1], found[:, -1])
    # the edges of a stretch are held by few windows, whose mean is less sure than it will be at use
    cover = np.concatenate(windows.cover())
    inside = (2 * cover > cover.max()) & np.isfinite(paid.rest)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a channel that is never there
        channels, rest = np.nanmean(paid.channels[inside], 0), np.nanmean(paid.rest[inside])
    usual = Paid(np.nan_to_num(channels), np.asarray(rest))
    scores = np.sort(paid.filled(usual).score[inside])
    return scores, torch.from_numpy(np.append(usual.channels, usual.rest)).float()


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


def few_windows(held: Windows) -> list[str]:
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
