"""What is wrong with a model: a figure, the words for it, and the change of options that mends it.

What the record of a fit knows is found without a single row (:func:`recorded`); the rest needs the network to be
looked at on rows (:func:`seen`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.parts import Schedule, options_of
from isthmus.core.vitals import ACTIVE, Vitals
from isthmus.tasks.checkup.compare import compared_at_fit

if TYPE_CHECKING:
    from isthmus.model import Model

#: Findings below this are notes: good to know, and nothing is wrong.
SERIOUS = 0.25
#: A row is far beyond the others at so many times their own reach from the middle row to the 98th in a hundred.
_FAR = 5
#: A price of the code so many times what the error warrants is too high.
_DEAR = 4
#: What a collapsed code brings about, and what needs no telling beside it.
_FOLLOWS_COLLAPSE = ("PCA is better", "nothing learned")


@dataclass(frozen=True)
class Remedy:
    """What helps, in words, and as a change of what a fit was asked for: options by place, a plan, a size.

    ``safe`` ones may be applied without asking (``auto_heal``).
    """

    words: str
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    latent_dim: int | None = None
    safe: bool = False

    def change(self) -> dict[str, Any]:
        """The change by name, as ``--set`` has it.

        >>> Remedy("keep codes busy", parts={"bottleneck": {"free_bits": 0.25}}, latent_dim=8).change()
        {'bottleneck.free_bits': 0.25, 'latent_dim': 8}
        """
        named = {f"{place}.{name}": value for place, options in self.parts.items() for name, value in options.items()}
        named |= {f"training.{name}": value for name, value in self.plan.items()}
        return named if self.latent_dim is None else named | {"latent_dim": self.latent_dim}

    def __str__(self) -> str:
        said = ", ".join(f"{name}={value}" for name, value in self.change().items())
        return f"{self.words} ({said})" if said else self.words


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: ``what`` in two words, its ``figure``, how much it matters (0…1), and the remedy."""

    what: str
    figure: float
    severity: float
    words: str
    remedy: Remedy | None = None

    def __str__(self) -> str:
        return f"{self.words}; {self.remedy}" if self.remedy else self.words

    def to_json(self) -> dict[str, Any]:
        remedy = self.remedy and {"words": self.remedy.words, "change": self.remedy.change()}
        return {"what": self.what, "figure": self.figure, "severity": self.severity, "words": self.words,
                "remedy": remedy}  # fmt: skip


def recorded(model: Model) -> list[Finding]:
    """What the record of a fit gives reason to say, what matters most first."""
    found = [*_recorded(model)]
    spread = model.code_variance
    if spread is not None and model.net.bottleneck.noisy:
        found += _idle(model, int((spread > ACTIVE).sum()), len(spread))
    return _ranked(found)


def seen(model: Model, vitals: Vitals) -> list[Finding]:
    """What the record says and rows show, what matters most first."""
    codes = vitals.codes
    in_use = codes.active
    if model.net.bottleneck.expansion is None:
        # of many sparse codes each matters little; of a few, one that nobody misses is one too many
        matters = (codes.importance > 1e-2 * vitals.error) | (codes.importance > 1e-3 * vitals.spread)
        in_use &= matters | codes.importance.isnan()
    found = [*_recorded(model), *_idle(model, int(in_use.sum()), len(in_use)), *_latents(model, vitals)]
    for look in (_still, _prior, _price, _shortcut, _outliers):
        found += look(model, vitals)
    return _ranked(found)


def _ranked(found: list[Finding]) -> list[Finding]:
    if any(finding.what == "posterior collapse" for finding in found):
        found = [finding for finding in found if finding.what not in _FOLLOWS_COLLAPSE]
    return sorted(found, key=lambda finding: -finding.severity)


# -- what the record knows ----------------------------------------------------------------------


def _recorded(model: Model) -> Iterator[Finding]:
    record = model.record
    for said in record.remarks:
        yield Finding("training", 1.0, 0.2, said)
    compared = compared_at_fit(model)
    if compared is None and not model.net.bottleneck.narrows:
        return  # nothing of PCA is its like; what it was fitted for has judged it
    if compared is None:
        yield Finding(
            "nothing held out", 0.0, 0.15,
            "no rows were held out: nothing can be said about new rows, and detect has no threshold",
            Remedy("hold some out", plan={"validation": 0.1}),
        )  # fmt: skip
        return
    # who was never asked for what it sees, or was fitted for something else, is not judged by how well that comes back
    ratio = compared.ratio if compared.asked_for_all and not record.job else math.nan
    if ratio > 1.0001 and compared.autoencoder > 1e-6 * compared.mean:
        yield Finding(
            "PCA is better", ratio, min(0.3 + 0.3 * (ratio - 1), 0.6),
            f"same-size {compared.linear} is better on held-out rows "
            f"(error {compared.pca:.4g} against {compared.autoencoder:.4g})",
            Remedy("use recipe 'linear', or give the fit more rows or time"),
        )  # fmt: skip
    if compared.autoencoder > 0.98 * compared.mean:
        yield Finding(
            "nothing learned", compared.explained(compared.autoencoder), 0.9,
            "hardly better than answering with the mean row: the code is too small, or the columns are unrelated",
        )  # fmt: skip
    elif ratio <= 1.05:
        yield from _too_small(model, compared.explained(compared.autoencoder))
    if record.train_error is not None and compared.autoencoder > 2 * record.train_error and record.n_train > 1:
        times = compared.autoencoder / max(record.train_error, 1e-30)
        yield Finding(
            "overfit", times, min(0.3 + 0.05 * times, 0.7),
            f"overfit: the error on held-out rows is {times:.1f} times that on training rows",
            Remedy("more rows, a smaller code, narrower widths or recipe 'denoising' help"),
        )  # fmt: skip
    if record.best_epoch == 0 and record.history and len(record.history) > 1 and ratio <= 1.0001:
        yield Finding(
            "linear rows", ratio, 0.1,
            f"training brought nothing beyond the start at {compared.linear}: these rows are linear, 'linear' is as "
            "good",
        )  # fmt: skip
    if record.stopped is None and record.best_epoch == len(record.history) - 1 and _still_falling(record.history):
        yield Finding(
            "unfinished", record.epochs, 0.2, "the held-out error was still falling at the end",
            Remedy("more epochs will lower it", plan={"epochs": 2 * record.epochs}),
        )  # fmt: skip
    n = 0 if model.calibration is None else len(model.calibration)
    if n < 99:
        rate = 1 / (n + 1)
        yield Finding(
            "few to calibrate by", rate, 0.05,
            f"{n} calibration rows can promise a false-alarm rate of {rate:.1%} at the least",
        )  # fmt: skip


def _still_falling(history: list[dict[str, Any]]) -> bool:
    """Did the last tenth of the epochs still gain more than 2 %?"""
    errors = [epoch["error"] for epoch in history if epoch["error"] is not None]
    back = max(1, len(errors) // 10)
    return len(errors) > back and errors[-1] < 0.98 * errors[-1 - back]


def _too_small(model: Model, explained: float) -> Iterator[Finding]:
    """Most is lost, and one more code like the last would bring back a good part of what PCA left out."""
    pca = model.pca
    if explained > 0.5 or pca is None or model.net.bottleneck.expansion is not None:
        return
    left = pca.total - float(pca.variances.double().sum())
    if left > 0 and float(pca.variances[-1]) > 0.05 * left:
        yield Finding(
            "code too small", explained, 0.4,
            f"code too small: {explained:.0%} of the variance comes back, and it still grew with the last codes",
            Remedy("take more codes", latent_dim=2 * int(model.spec.latent_dim), safe=True),
        )  # fmt: skip


def _idle(model: Model, in_use: int, n: int) -> Iterator[Finding]:
    """Codes that say nothing: too many of them, or posterior collapse where what they could say is missing."""
    if in_use == n or model.net.bottleneck.n_numbers < n:  # a code that finds its own size has done so
        return
    net, share = model.net, in_use / n
    if net.bottleneck.noisy and (share < 0.2 or (share < 0.8 and _missed(model))):
        yield Finding(
            "posterior collapse", share, 0.5 + 0.5 * (1 - share),
            f"posterior collapse: {in_use} of {n} codes are in use, the others say nothing about the row",
            _keep_busy(model),
        )  # fmt: skip
    elif net.bottleneck.expansion is None:
        fewer = max(1, round(int(model.spec.latent_dim) * share))
        yield Finding(
            "idle codes", share, 0.1 + 0.2 * (1 - share), f"{in_use} of {n} codes are in use",
            Remedy("a smaller code costs nothing", latent_dim=fewer, safe=True),
        )  # fmt: skip


def _keep_busy(model: Model) -> Remedy:
    """Nats that cost nothing, and a price that begins at zero and ends at one at most."""
    net, parts = model.net, {}
    if "free_bits" in options_of(type(net.bottleneck)):
        now = model.spec.bottleneck.options.get("free_bits", 0.0)
        parts["bottleneck"] = {"free_bits": max(0.25, 2 * now)}
    if "beta" in options_of(type(net.objective)):
        end = min(Schedule.of(model.spec.objective.options.get("beta", 1.0)).end, 1.0)
        parts["objective"] = {"beta": {"start": 0.0, "end": end, "over": 0.5}}
    return Remedy("keep codes busy: nats that cost nothing, and a price that begins at zero", parts=parts, safe=True)


# -- what rows show -----------------------------------------------------------------------------


def _latents(model: Model, vitals: Vitals) -> Iterator[Finding]:
    never = int((vitals.codes.nonzero == 0).sum())
    n = len(vitals.codes.nonzero)
    if model.net.bottleneck.expansion is not None and never > 0.01 * n:
        yield Finding(
            "dead latents", never / n, 0.2 + 0.5 * never / n,
            f"dead latents: {never:,} of {n:,} ({never / n:.0%}) were zero in all of {vitals.n_rows:,} rows",
            _slower(model, "steps that are not so large kill fewer of them"),
        )  # fmt: skip
    book = vitals.codebook
    if book is not None and book.perplexity < 2:
        yield Finding(
            "codebook collapse", book.perplexity, 0.9,
            f"codebook collapse: {book.used} of its entries are used, as evenly as {book.perplexity:.1f} would be",
            _slower(model, "smaller steps keep more of them alive"),
        )  # fmt: skip


def _still(model: Model, vitals: Vitals) -> Iterator[Finding]:
    for place, (dead, n) in vitals.still.items():
        if dead > 0.1 * n:
            part = getattr(model.spec, place)
            remedy = _slower(model, "smaller steps leave fewer units behind")
            if part.options.get("activation") == "relu":
                words = "an activation that is nowhere flat revives them"
                remedy = Remedy(words, parts={place: {"activation": "gelu"}}, safe=True)
            yield Finding(
                "dead units", dead / n, 0.2 + 0.5 * dead / n,
                f"dead units: {dead:,} of {n:,} hidden units of the {place} never move", remedy,
            )  # fmt: skip


def _slower(model: Model, words: str) -> Remedy:
    return Remedy(words, plan={"learning_rate": float(f"{float(model.plan.learning_rate) / 3:.3g}")}, safe=True)


def _prior(model: Model, vitals: Vitals) -> Iterator[Finding]:
    gap = vitals.prior_gap
    if gap is not None and gap.nats > 1 and gap.p_value <= 0.01:
        name = "N(0, I)" if model.spec.prior.kind == "standard_normal" else "the prior"
        # up to half a nat a code it is the usual price of an ELBO: a note
        yield Finding(
            "prior elsewhere", gap.nats, 0.2 if gap.nats < 0.5 * model.latent_dim else 0.4,
            f"codes are not where {name} is: a mixture describes them {gap.nats:.1f} nats a row better "
            f"(MMD permutation p = {gap.p_value:.2g}), so it prices them wrongly; new rows are drawn from elsewhere",
            Remedy("price codes by a mixture fitted to them", parts={"prior": {"kind": "mixture"}}),
        )  # fmt: skip


def _price(model: Model, vitals: Vitals) -> Iterator[Finding]:
    """β and σ together price the code; far above what the error warrants, the price drowns what the code is for."""
    if vitals.sigma is None or vitals.beta is None or vitals.rms == 0:
        return
    times, missed = (vitals.sigma / vitals.rms) ** 2, _missed(model)
    price = vitals.beta * times
    if times < _DEAR and (price < _DEAR or not missed):
        return
    parts = dict(_keep_busy(model).parts) if missed else {}
    if times > _DEAR:
        parts["likelihood"] = {"sigma": "analytic"}
    yield Finding(
        "code too dear", price, 0.3 + 0.3 * missed,
        f"code too dear: priced at {price:.3g} times what the error warrants (β = {vitals.beta:g}, and a noise of "
        f"σ = {vitals.sigma:.3g} is assumed where the error is {vitals.rms:.3g})",
        Remedy("let σ be found, or keep codes busy", parts=parts, safe=True),
    )  # fmt: skip


def _missed(model: Model) -> float:
    """The share of the error on held-out rows that same-size PCA would not make; 0 where it is small."""
    compared = compared_at_fit(model)
    return 0.0 if compared is None or not compared.asked_for_all or compared.ratio < 1.1 else 1 - 1 / compared.ratio


def _shortcut(model: Model, vitals: Vitals) -> Iterator[Finding]:
    if vitals.explained < 0.5 or vitals.noise < 0.95 * vitals.explained:
        return
    remedy = Remedy("add noise to what the encoder is shown", parts={"corruption": {"kind": "gaussian"}})
    if model.net.bottleneck.expansion is None:
        remedy = Remedy("take a smaller code", latent_dim=max(1, int(model.spec.latent_dim) // 2), safe=True)
    yield Finding(
        "identity shortcut", vitals.noise / vitals.explained, 0.6,
        f"identity shortcut: {vitals.explained:.0%} of the variance comes back, and {vitals.noise:.0%} of that of "
        "noise with the same columns: the code holds anything, so what belongs together was not learned", remedy,
    )  # fmt: skip


def _outliers(model: Model, vitals: Vitals) -> Iterator[Finding]:
    """Rows far beyond those held out; or, where they are many, rows of another kind."""
    if model.held_nats is None or len(model.held_nats) < 20:
        return
    held, scores = model.held_nats, vitals.scores.cpu().double().numpy()
    # roots, because a score is a square: long tails are no strangers
    even = vitals.even_scores.cpu().double().numpy().clip(min=0) ** 0.5
    (middle, high), (even_middle, even_high) = np.quantile(held, (0.5, 0.98)), np.quantile(even, (0.5, 0.98))
    beyond = (scores > high + _FAR * (high - middle)) & (even > even_high + _FAR * (even_high - even_middle))
    strange = float((scores > np.quantile(held, 0.95)).mean())
    if strange > 0.25 and len(scores) >= 20:
        yield Finding(
            "other rows", strange, 0.5,
            f"{strange:.0%} of these rows score as high as 5 % of the held-out rows do: they are of another kind",
            Remedy("fit anew on rows like these"),
        )  # fmt: skip
    elif beyond.any():
        share = float(beyond.mean())
        n = int(beyond.sum())
        yield Finding(
            "contamination", share, 0.75,
            f"{n:,} of {len(scores):,} rows score far beyond the others (up to {scores.max():.4g} nats, where 98 % of "
            f"the held-out rows stay below {high:.4g})",
            Remedy("if they were fitted, look at them with detect and fit without those that do not belong"),
        )  # fmt: skip
