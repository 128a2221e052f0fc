r"""What a network does with rows: the figures that its health is judged by.

.. math:: \mathrm{active}_j \iff \mathrm{Var}_x(\mu_j) > 0.01, \qquad
    \mathrm{importance}_j = E\,\|x - g(z_{j \to \bar z_j})\|^2 - E\,\|x - g(z)\|^2

References:
    Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2016 (active units).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isthmus.core.movement import Movement, columns
from isthmus.core.prior_gap import PriorGap, prior_gap

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net

#: A noisy code whose mean varies less than this over rows says nothing: its rate keeps codes at unit size.
ACTIVE = 0.01
#: Codes without a rate have no unit: they are constant below this share of the largest variance.
_CONSTANT = 1e-6
#: Rows that are shuffled and silenced, codes that are silenced one by one, and the widest code with a density.
_SOME, _MOST_CODES, _WIDEST = 512, 256, 128


@dataclass(frozen=True)
class Codes:
    """One entry per number of the code (per channel of a feature map), each (c,).

    ``nonzero`` is the share of rows in which it is not zero, ``importance`` the squared error per row that
    silencing it adds (NaN beyond the first few hundred), ``kl`` its cost in nats (None where it is not noisy).
    """

    variance: Tensor
    nonzero: Tensor
    importance: Tensor
    kl: Tensor | None

    @property
    def active(self) -> Tensor:
        """Whether it says anything (c,)."""
        least = ACTIVE if self.kl is not None else _CONSTANT * float(self.variance.max())
        return self.variance > least

    @property
    def l0(self) -> float:
        """How many numbers of a row's code are not zero, on average."""
        return float(self.nonzero.sum())

    def ranked(self) -> list[int]:
        """The numbers of the codes, most important first."""
        return self.importance.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True).tolist()


@dataclass(frozen=True)
class Codebook:
    """How many entries were used; the perplexity is how many it would be if all were used alike."""

    used: int
    perplexity: float


@dataclass(frozen=True)
class Vitals:
    """Squared errors are per row, in the network's features; nats per row.

    ``spread`` is the error of answering with these rows' own mean. ``noise`` is the share of the spread that
    comes back of rows whose entries were permuted independently, ``explained`` that of the rows as they are.
    ``rms`` is the root of the mean squared error of one feature, ``sigma`` the noise level in which the likelihood
    believes (None where it has none), ``beta`` what the objective multiplies the rate by. ``still`` counts the
    hidden units (dead, all) of the encoder and the decoder. ``scores`` (n,) are the nats of every row, and
    ``even_scores`` what they would be with one noise level for all entries, which a rare pixel alone cannot raise.
    """

    n_rows: int
    error: float
    spread: float
    noise: float
    rms: float
    sigma: float | None
    beta: float | None
    code_nats: float
    reconstruction_nats: float
    scores: Tensor
    even_scores: Tensor
    codes: Codes
    still: Mapping[str, tuple[int, int]]
    codebook: Codebook | None
    prior_gap: PriorGap | None

    @property
    def explained(self) -> float:
        """The share of the spread that comes back."""
        return _share(self.error, self.spread)

    @property
    def beta_at_unit_sigma(self) -> float | None:
        """The one unit to compare by: the β that beside ½‖x − x̂‖² prices the code as this loss does, β σ²."""
        return None if self.beta is None else self.beta * (self.sigma or self.rms) ** 2


@torch.no_grad()
def measure(net: Net, tensors: Mapping[str, Tensor], chunk: int = 1024) -> Vitals:
    """Look at a network at use on rows (``x``, ``observed``), ``chunk`` at a time; the same every time."""
    net.eval()
    watch = {"encoder": Movement(), "decoder": Movement()}
    with watch["encoder"].of(net.encoder), watch["decoder"].of(net.decoder):
        passes = [_pass(net, batch) for batch in _cut(tensors, chunk)]
    found = {name: torch.cat([one[name] for one in passes]) for name in passes[0]}
    step = -(-len(found["x"]) // _SOME)
    some = {name: t[::step] for name, t in tensors.items()}
    noise = _noise(some)
    noise_codes = torch.cat([net.encode(batch["x"], batch.get("observed")) for batch in _cut(noise, chunk)])
    return Vitals(
        n_rows=len(found["x"]),
        error=float(found["error"].mean()),
        spread=_spread(net, found["x"], found["there"]),
        noise=_share(
            _error_of(net, noise, noise_codes, chunk), _spread(net, found["x"][::step], found["there"][::step])
        ),
        rms=(float(found["error"].sum()) / max(float(found["there"].sum()), 1.0)) ** 0.5,
        sigma=float(found["sigma"].mean()) ** 0.5 if "sigma" in found else None,
        beta=_beta(net, {name: t[:chunk] for name, t in some.items()}),
        code_nats=float(found["rate"].mean()),
        reconstruction_nats=float(found["nats"].mean()),
        scores=found["nats"] + found["rate"],
        even_scores=_even_scores(found),
        codes=_codes(net, found, some, step, chunk),
        still={place: seen.still() for place, seen in watch.items()},
        codebook=_codebook(found["indices"]) if "indices" in found else None,
        prior_gap=_gap(net, found),
    )


def _pass(net: Net, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What one pass through the network at use gives, row by row."""
    trace = net.trace(**batch)
    x, observed, code, p = trace.x, trace.observed, trace.code, trace.p
    shown = net.likelihood.represent(x, observed)
    there = torch.ones_like(shown) if observed is None else net.likelihood.reach(observed).to(shown)
    found = {
        "x": (shown * there).flatten(1),
        "there": there.flatten(1),
        "error": net.squared_error(x, observed, p),
        "nats": -p.log_prob(x, observed),
        "rate": net.code_nats(code),
        "z": code.z,
    }
    variance = getattr(p, "variance", None)
    if variance is not None and variance.numel():
        found["sigma"] = variance.mean().expand(len(x))
    return found | {name: code.aux[name] for name in ("log_var", "rates", "indices") if name in code.aux}


def _codes(net: Net, found: Mapping[str, Tensor], some: Mapping[str, Tensor], step: int, chunk: int) -> Codes:
    z = columns(found["z"], 1)
    variance = z.var(0, correction=0)
    kl = None
    if "rates" in found:  # (n, c · places)
        kl = found["rates"].mean(0).reshape(z.shape[1], -1).sum(1)
    importance = torch.full_like(variance, torch.nan)
    few, middle = found["z"][::step], found["z"].mean(0)
    usual = _error_of(net, some, few, chunk)
    for j in variance.argsort(descending=True, stable=True)[:_MOST_CODES].tolist():
        quiet = few.clone()
        quiet[:, j] = middle[j]
        importance[j] = _error_of(net, some, quiet, chunk) - usual
    return Codes(variance, (z != 0).float().mean(0), importance, kl)


def _error_of(net: Net, tensors: Mapping[str, Tensor], z: Tensor, chunk: int) -> float:
    """The mean squared error per row when rows are decoded from these codes."""
    total = 0.0
    for batch, part in zip(_cut(tensors, chunk), z.split(chunk), strict=True):
        p = net.decode(part, batch.get("condition"))
        total += float(net.squared_error(batch["x"], batch.get("observed"), p).sum())
    return total / len(z)


def _noise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same rows with every entry permuted by itself: no structure, the same marginals, the same spread."""
    shape = tensors["x"].shape
    order = torch.rand(shape, generator=torch.Generator().manual_seed(0)).flatten(1).argsort(0).to(tensors["x"].device)
    return {
        name: t.flatten(1).gather(0, order).reshape(shape) if t.shape == shape else t for name, t in tensors.items()
    }


def _beta(net: Net, batch: Mapping[str, Tensor]) -> float | None:
    """What the objective multiplies the rate by at the end of the training; None where it does not price it."""
    trace = net.trace(**batch)
    trace.progress = 1.0
    rate = float(trace.code.rate.mean())
    priced = net.objective(trace).get("rate")
    return float(priced.mean()) / rate if priced is not None and rate > 1e-9 else None


def _even_scores(found: Mapping[str, Tensor]) -> Tensor:
    """‖x − x̂‖² / 2σ² + cost, with the σ² of the middle row."""
    variance = found["error"].median() / found["there"].sum(1).median()
    return found["error"] / (2 * variance).clamp(min=1e-30) + found["rate"]


def _codebook(indices: Tensor) -> Codebook:
    shares = indices.flatten().unique(return_counts=True)[1].double() / indices.numel()
    return Codebook(len(shares), float((-(shares * shares.log()).sum()).exp()))


def _gap(net: Net, found: Mapping[str, Tensor]) -> PriorGap | None:
    """None where the prior was fitted to the codes afterwards, or where they have no density."""
    noisy, z = "log_var" in found, found["z"]
    promised = net.spec.prior.kind == "standard_normal" or net.prior.learned
    if net.spec.condition_dim:  # one prior for every condition
        return None
    if not promised or (net.bottleneck.rated and not noisy) or z[0].numel() > _WIDEST or len(z) < 20:
        return None
    if noisy:  # the aggregate posterior is what the decoder was trained on, not the means alone
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(z)
        z = z + noise * (found["log_var"] / 2).exp()
    return prior_gap(net.prior, z)


def _spread(net: Net, x: Tensor, there: Tensor) -> float:
    """The error per row of answering with the mean (x is 0 where nothing is there)."""
    middle = x.sum(0) / there.sum(0).clamp(min=1)
    return float(net.likelihood.error(x, there, middle.expand_as(x)).mean())


def _share(error: float, spread: float) -> float:
    return 1 - error / max(spread, 1e-30)


def _cut(tensors: Mapping[str, Tensor], chunk: int) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(tensors["x"]), chunk):
        yield {name: t[start : start + chunk] for name, t in tensors.items()}
