"""Likelihoods: what the decoder's output says about x, as a distribution.

.. math:: -\\log p(x \\mid z) = \\sum_d \\tfrac{(x_d-\\mu_d)^2}{2\\sigma^2} + \\tfrac12 \\log 2\\pi\\sigma^2
    \\quad\\text{(gaussian)}

References:
    Rybkin, Daniilidis, Levine, Simple and Effective VAE Training with Calibrated Decoders, 2021,
    https://arxiv.org/abs/2006.13202 (the analytic σ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core.graded import Graded
from isthmus.core.joint import Joint
from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Distribution, Likelihood, Shape, Trace, one_of
from isthmus.core.pixels import PixelLevels

#: The smallest share of the overall variance that one entry is believed to have, and how many rows
#: that belief weighs: a column that the held-out rows happen to repeat exactly is not certain for ever.
_FLOOR, _BELIEF = 1e-3, 10.0
#: A column that comes back more exactly than this share of the data's deviation is not believed to be so exact:
#: else its last digit (age 28, expected 28.01) would outweigh everything else in a score.
_FINEST = 0.03
#: At a linear start, probabilities are kept this far from 0 and 1, and what is divided by them further.
_EDGE, _SLOPE_EDGE = 1e-3, 0.02
#: The share of a document that words nobody expects are believed to have together.
_UNSEEN = 0.05


def _masked(nats: Tensor, observed: Tensor | None) -> Tensor:
    return nats if observed is None else nats * observed


def _variance(squares: Tensor, observed: Tensor | None) -> Tensor:
    """The mean of squared errors over everything observed: the analytic σ² of these rows, a scalar."""
    if observed is None:
        return squares.detach().mean().clamp(min=1e-12)
    return ((squares.detach() * observed).sum() / observed.sum().clamp(min=1)).clamp(min=1e-12)


def _variance_per_entry(squares: Tensor, observed: Tensor | None) -> Tensor:
    """σ² of every entry over rows, drawn towards the overall σ²."""
    overall = _variance(squares, observed)
    weight = torch.ones_like(squares) if observed is None else observed.to(squares)
    total, count = (squares * weight).sum(0), weight.sum(0)
    drawn = (total + _BELIEF * _FLOOR * overall) / (count + _BELIEF)
    return torch.where(count > 0, drawn.clamp(min=_FLOOR * overall), overall)


def _normal_nats(x: Tensor, mean: Tensor, variance: Tensor | None, observed: Tensor | None) -> Tensor:
    squares = (x - mean).square()
    if variance is None:
        variance = _variance(squares, observed)
    return _masked(squares * (-0.5 / variance) - 0.5 * (2 * math.pi * variance).log(), observed)


def _logit_start(mean: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Head weights and bias such that ``sigmoid(head) ≈ mean + weight z`` to first order."""
    steep = mean.clamp(_SLOPE_EDGE, 1 - _SLOPE_EDGE)
    return weight / (steep * (1 - steep))[:, None], mean.clamp(_EDGE, 1 - _EDGE).logit()


def _softmax_start(shares: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The same for ``softmax(head)``: softmax(log π + δ) ≈ π (1 + δ − Σ π δ), so a share's shift is divided by it."""
    return weight / shares.clamp(min=_SLOPE_EDGE)[:, None], shares.clamp(min=_EDGE).log()


def _is_level(values: Tensor, counts: Tensor) -> Tensor:
    """Whether values are among 0 … counts − 1; always true where a count is infinite (a number)."""
    return counts.isinf() | ((values == values.round()) & (values >= 0) & (values < counts))


class _Noise(nn.Module):
    """The σ² of a gaussian: fixed, learned, or analytic (the batch's own until settled on held-out rows)."""

    def __init__(self, shape: Shape, sigma: float | str, per: str):
        super().__init__()
        one_of("choice for 'per'", per, ["entry", "channel", "all"])
        if isinstance(sigma, str):
            one_of("sigma", sigma, ["analytic", "learned"])
        elif not sigma > 0:
            raise ValueError(f"sigma is above 0, 'analytic' or 'learned', got {sigma}")
        self.sigma, self.per = sigma, per
        shape = {"entry": shape, "channel": (shape[0], *[1] * (len(shape) - 1)), "all": (1,)}[per]
        if sigma == "learned":
            self.log_var = nn.Parameter(torch.zeros(shape))
        else:
            known = 0.0 if sigma == "analytic" else float(sigma) ** 2
            self.register_buffer("variance", torch.full(shape, known))
        self.settled = sigma != "analytic"
        self.register_load_state_dict_post_hook(_Noise._look)

    def _look(self, _: object) -> None:
        self.settled = self.sigma == "learned" or bool((self.variance > 0).all())

    def forward(self) -> Tensor | None:
        if self.sigma == "learned":
            return self.log_var.clamp(-14.0, 8.0).exp()
        return self.variance if self.settled else None

    @torch.no_grad()
    def settle(self, x: Tensor, mean: Tensor, observed: Tensor | None) -> None:
        """Fix the analytic σ² on held-out rows: never finer than a share of the data's spread."""
        if self.sigma == "analytic" and x.numel():
            spread = _variance((x - x.mean(0)).square(), observed)
            self.variance.copy_(self._found((x - mean).square(), observed).clamp(min=_FINEST**2 * spread))
            self.settled = True

    def _found(self, squares: Tensor, observed: Tensor | None) -> Tensor:
        if self.per == "all":
            return _variance(squares, observed)
        if self.per == "channel":
            # every place of a channel is a row of its own
            squares, observed = (
                None if t is None else t.movedim(1, -1).reshape(-1, *self.variance.shape) for t in (squares, observed)
            )
        return _variance_per_entry(squares, observed)


@dataclass
class Normal(Distribution):
    """Independent normals; ``variance`` None means the analytic one of the rows that are asked about."""

    mean: Tensor
    variance: Tensor | None

    @property
    def expected(self) -> Tensor:
        return self.mean

    def log_probs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        return _normal_nats(x, self.mean, self.variance, observed)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean if self.variance is None else self.mean + noise * self.variance.sqrt()


class Gaussian(Likelihood):
    """Real numbers. ``sigma`` is a number, ``"learned"`` or ``"analytic"``: the σ that fits best, found
    from each batch while training and settled on held-out rows after it, ``per`` entry, per channel (the
    first axis), or for all.

    ``link="sigmoid"`` keeps the mean in (0, 1).
    """

    def __init__(
        self,
        in_shape: Shape,
        shape: Shape,
        *,
        sigma: float | str = "analytic",
        per: str = "entry",
        link: str = "identity",
    ):
        super().__init__()
        self.features_shape = tuple(shape)
        self.link = one_of("link", link, ["identity", "sigmoid"])
        self.direct = link == "identity"
        self.head, self.noise = Head(in_shape, shape), _Noise(shape, sigma, per)

    def forward(self, h: Tensor) -> Normal:
        mean = self.head(h)
        return Normal(mean.sigmoid() if self.link == "sigmoid" else mean, self.noise())

    def start_linear(self, body: Body, weight: Tensor, mean: Tensor) -> None:
        start = (weight, mean) if self.link == "identity" else _logit_start(mean, weight)
        self.head.start_linear(body, *start)

    def calibrate(self, x: Tensor, observed: Tensor | None, mean: Tensor) -> None:
        self.noise.settle(x, mean, observed)

    def problem(self, x: Tensor) -> str | None:
        if self.link == "sigmoid" and not (x.min() >= 0 and x.max() <= 1):
            return (
                f"the sigmoid link reaches only (0, 1), but the rows span [{x.min():g}, {x.max():g}]; "
                "use link='identity' or scale the rows"
            )
        return None

    def extra_repr(self) -> str:
        return f"sigma={self.noise.sigma!r}, link={self.link!r}"


@dataclass
class Bernoullis(Distribution):
    """Independent coins."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def expected(self) -> Tensor:
        return self.mean

    def log_probs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        return _masked(-F.binary_cross_entropy_with_logits(self.logits, x, reduction="none"), observed)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return torch.bernoulli(self.mean, generator=generator)


class Bernoulli(Likelihood):
    """Zeros and ones, or grey values in [0, 1] taken as probabilities."""

    def __init__(self, in_shape: Shape, shape: Shape):
        super().__init__()
        self.features_shape = tuple(shape)
        self.head = Head(in_shape, shape)

    def forward(self, h: Tensor) -> Bernoullis:
        return Bernoullis(self.head(h))

    def start_linear(self, body: Body, weight: Tensor, mean: Tensor) -> None:
        self.head.start_linear(body, *_logit_start(mean, weight))

    def problem(self, x: Tensor) -> str | None:
        if x.min() >= 0 and x.max() <= 1:
            return None
        return (
            f"a bernoulli likelihood needs values in [0, 1], but the rows span [{x.min():g}, {x.max():g}]; "
            "use likelihood='gaussian', or scale the rows to [0, 1]"
        )


@dataclass
class Columns(Distribution):
    """Numbers, coins and categories side by side, each column by its own law."""

    params: Tensor  # (B, features): means, then logits of coins, then logits of levels
    variance: Tensor | None
    layout: Mixed

    @property
    def expected(self) -> Tensor:
        to = self.layout
        parts = [self.params[:, to.of_numeric], self.params[:, to.of_boolean].sigmoid()]
        parts += [self.params[:, where].softmax(1) for where in to.of_levels]
        return torch.cat(parts, dim=1)

    def _columns(self, numeric: Tensor, boolean: Tensor, levels: list[Tensor]) -> Tensor:
        """Column blocks back into the order of x."""
        to = self.layout
        parts = torch.cat([numeric, boolean, *(v[:, None] for v in levels)], dim=1)
        return parts[:, to.order]

    @property
    def mean(self) -> Tensor:
        to = self.layout
        levels = [self.params[:, where].argmax(1).to(self.params) for where in to.of_levels]
        return self._columns(self.params[:, to.of_numeric], self.params[:, to.of_boolean].sigmoid(), levels)

    def log_probs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        to = self.layout
        seen = None if observed is None else observed[:, to.numeric]
        numeric = _normal_nats(x[:, to.numeric], self.params[:, to.of_numeric], self.variance, seen)
        boolean = -F.binary_cross_entropy_with_logits(self.params[:, to.of_boolean], x[:, to.boolean], reduction="none")
        levels = [
            -F.cross_entropy(self.params[:, where], x[:, column].long(), reduction="none")
            for column, where in zip(to.categorical, to.of_levels, strict=True)
        ]
        return _masked(self._columns(numeric, boolean, levels), observed)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        to = self.layout
        numeric = Normal(self.params[:, to.of_numeric], self.variance).sample(generator)
        boolean = Bernoullis(self.params[:, to.of_boolean]).sample(generator)
        levels = [
            self.params[:, where].softmax(1).multinomial(1, generator=generator)[:, 0].to(numeric)
            for where in to.of_levels
        ]
        return self._columns(numeric, boolean, levels)


class Mixed(Likelihood):
    """The columns of a table. ``levels`` has an entry per column: 0 for a number, 1 for a boolean, and
    k ≥ 2 for a category of k levels, which stands in x as its level's number.
    """

    numeric: Tensor
    boolean: Tensor
    category: Tensor
    begins: Tensor
    order: Tensor
    level_counts: Tensor

    def __init__(
        self,
        in_shape: Shape,
        shape: Shape,
        *,
        levels: Sequence[int],
        sigma: float | str = "analytic",
        per: str = "entry",
    ):
        super().__init__()
        if len(shape) != 1 or len(levels) != shape[0]:
            raise ValueError(f"levels has an entry per column, {shape} columns and {len(levels)} entries")
        self.levels = [int(k) for k in levels]
        numeric = [i for i, k in enumerate(self.levels) if k == 0]
        boolean = [i for i, k in enumerate(self.levels) if k == 1]
        self.categorical = [i for i, k in enumerate(self.levels) if k > 1]
        self.of_numeric = slice(0, len(numeric))
        self.of_boolean = slice(len(numeric), len(numeric) + len(boolean))
        self.of_levels, at = [], len(numeric) + len(boolean)
        for i in self.categorical:
            self.of_levels.append(slice(at, at + self.levels[i]))
            at += self.levels[i]
        self.features_shape = (at,)
        # numbers and booleans may take any value
        counts = torch.tensor([float(k) if k > 1 else math.inf for k in self.levels])
        self.register_buffer("level_counts", counts, persistent=False)
        order = torch.tensor([*numeric, *boolean, *self.categorical], dtype=torch.long).argsort()
        begins = [where.start for where in self.of_levels]
        for name, index in (
            ("numeric", numeric), ("boolean", boolean), ("category", self.categorical), ("begins", begins)
        ):  # fmt: skip
            self.register_buffer(name, torch.tensor(index, dtype=torch.long), persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.head, self.noise = Head(in_shape, self.features_shape), _Noise((len(numeric),), sigma, per)

    def forward(self, h: Tensor) -> Columns:
        return Columns(self.head(h), self.noise(), self)

    def represent(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        features = x.new_zeros(x.shape[0], *self.features_shape)  # a length would be a constant of an exported graph
        features[:, self.of_numeric] = x[:, self.numeric]
        features[:, self.of_boolean] = x[:, self.boolean]
        if self.categorical:
            there = x.new_ones(()) if visible is None else visible[:, self.category].to(x)
            where = x[:, self.category].long() + self.begins
            features.scatter_(1, where, there.expand(where.shape))
        return features

    def sensible(self, shown: Tensor, x: Tensor) -> Tensor:
        return torch.where(_is_level(shown, self.level_counts), shown, x)

    def reach(self, mask: Tensor) -> Tensor:
        levels = [mask[:, i, None].expand(-1, self.levels[i]) for i in self.categorical]
        return torch.cat([mask[:, self.numeric], mask[:, self.boolean], *levels], dim=1)

    def start_linear(self, body: Body, weight: Tensor, mean: Tensor) -> None:
        weight, bias = weight.clone(), mean.clone()
        coins = slice(self.of_boolean.start, self.of_boolean.stop)
        weight[coins], bias[coins] = _logit_start(mean[coins], weight[coins])
        for where in self.of_levels:
            weight[where], bias[where] = _softmax_start(mean[where], weight[where])
        self.head.start_linear(body, weight, bias)

    def calibrate(self, x: Tensor, observed: Tensor | None, mean: Tensor) -> None:
        seen = None if observed is None else observed[:, self.numeric]
        self.noise.settle(x[:, self.numeric], mean[:, self.numeric], seen)

    def extra_repr(self) -> str:
        return f"numeric={len(self.numeric)}, boolean={len(self.boolean)}, categorical={len(self.categorical)}"


@dataclass
class Levels(Distribution):
    """Independent categories of one size, ``logits`` (B, *shape, levels)."""

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        return self.logits.argmax(-1).to(self.logits)

    @property
    def expected(self) -> Tensor:
        return _levels_first(self.logits.softmax(-1))

    def log_probs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        nats = self.logits.log_softmax(-1).gather(-1, x.long().unsqueeze(-1)).squeeze(-1)
        return _masked(nats, observed)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        shares = self.logits.softmax(-1)
        drawn = shares.flatten(0, -2).multinomial(1, generator=generator)
        return drawn.reshape(shares.shape[:-1]).to(shares)


def _levels_first(values: Tensor) -> Tensor:
    """(B, c, …, k) → (B, c·k, …): the levels of an entry become channels."""
    return values.movedim(-1, 2).flatten(1, 2)


class Categorical(Likelihood):
    """Every entry of x is one of the same ``levels`` categories, 0 to levels − 1: bits, tokens, grey steps."""

    def __init__(self, in_shape: Shape, shape: Shape, *, levels: int):
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels is at least 2, got {levels}")
        self.levels, self.shape = levels, tuple(shape)
        self.features_shape = (shape[0] * levels, *shape[1:])
        self.head = Head(in_shape, self.features_shape)

    def forward(self, h: Tensor) -> Levels:
        channels, *rest = self.shape
        return Levels(self.head(h).reshape(-1, channels, self.levels, *rest).movedim(2, -1))

    def represent(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        one_hot = F.one_hot(x.long(), self.levels).to(x)
        return _levels_first(one_hot if visible is None else one_hot * visible[..., None])

    def sensible(self, shown: Tensor, x: Tensor) -> Tensor:
        return torch.where(_is_level(shown, torch.tensor(float(self.levels))), shown, x)

    def reach(self, mask: Tensor) -> Tensor:
        return mask.repeat_interleave(self.levels, dim=1)

    def start_linear(self, body: Body, weight: Tensor, mean: Tensor) -> None:
        self.head.start_linear(body, *_softmax_start(mean, weight))

    def problem(self, x: Tensor) -> str | None:
        if x.min() >= 0 and x.max() <= self.levels - 1 and torch.equal(x, x.round()):
            return None
        return f"a categorical likelihood of {self.levels} levels needs whole numbers from 0 to {self.levels - 1}"

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


@dataclass
class Shares(Distribution):
    """One draw after the other from the same few thousand words: log-shares (B, entries) of the first of ``width``."""

    logs: Tensor
    amount: Tensor  # the usual sum of a row, in whose unit expectations are
    length: Tensor  # the usual number of words
    width: int

    @property
    def mean(self) -> Tensor:
        return self._beside(self.logs.exp() * self.amount)

    @property
    def expected(self) -> Tensor:
        return self.mean

    def log_probs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        words = (x if observed is None else x * observed)[:, : self.logs.shape[1]]
        # every row counts as one of the usual length: else the longest documents would be the strangest
        weights = words * (self.length / words.sum(1, keepdim=True).clamp(min=1e-12))
        return self._beside(weights * self.logs) - self._of_nothing(words, observed)

    def _of_nothing(self, words: Tensor, observed: Tensor | None) -> Tensor | float:
        """What a row without a word costs, spread over all entries: as much as words of which nobody could guess any.
        Else it would be the most usual of all.
        """
        empty = words.detach().amax(1) <= 0
        if observed is not None:  # what is not known costs nothing
            empty = empty & observed[:, : words.shape[1]].all(1)
        if not empty.any():
            return 0.0
        each = self.length * math.log(max(words.shape[1], 2)) / self.width
        return (empty.to(words) * each)[:, None].expand(-1, self.width)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """As many words as a row usually has, each worth the same."""
        n = max(1, round(float(self.length)))
        drawn = self.logs.exp().multinomial(n, replacement=True, generator=generator)
        counts = torch.zeros_like(self.logs).scatter_add_(1, drawn, torch.ones(drawn.shape, device=drawn.device))
        return self._beside(counts * (self.amount / n))

    def _beside(self, of_words: Tensor) -> Tensor:
        """With zeros for the entries of which it does not speak."""
        return F.pad(of_words, (0, self.width - of_words.shape[1]))


class Multinomial(Likelihood):
    r"""Weighed words of documents: how the weight of a row divides among them.

    .. math:: -\log p(x \mid z) = -n \sum_j \tfrac{x_j}{\sum_k x_k} \log \mathrm{softmax}(W z + b)_j

    n is the usual number of words (Σx)² / Σx² of a row, for all alike. It speaks of the first ``entries`` of a row
    alone; others (letters within words) are for the encoder.
    """

    linear_model = "LSA"
    spread = "deviance"
    prices_code = False
    amount: Tensor
    length: Tensor

    def __init__(self, in_shape: Shape, shape: Shape, *, entries: int | None = None):
        super().__init__()
        if len(shape) != 1:
            raise ValueError(f"a multinomial likelihood is for flat rows, got {tuple(shape)}")
        self.features_shape = tuple(shape)
        self.entries = shape[0] if entries is None else int(entries)
        if not 1 <= self.entries <= shape[0]:
            raise ValueError(f"entries is in 1 … {shape[0]}, got {entries}")
        self.head = Head(in_shape, (self.entries,))
        for name in ("amount", "length"):
            self.register_buffer(name, torch.ones(()))

    def forward(self, h: Tensor) -> Shares:
        return Shares(self.head(h).log_softmax(1), self.amount, self.length, self.features_shape[0])

    def start_from(self, trace: Trace) -> None:
        """Begin at the shares that words have in all rows together; what a code adds to them is to be learned."""
        words = trace.x[:, : self.entries]
        sums = words.sum(1)
        self.amount.copy_(sums.mean().clamp(min=1e-6))
        self.length.copy_((sums.square() / words.square().sum(1).clamp(min=1e-12)).mean().clamp(min=1.0))
        if self.head.layer is not None:
            # a word that these few rows lack is rare, not impossible
            shares = words.mean(0) + 0.1 / len(words)
            self.head.layer.bias.copy_((shares / shares.sum()).log())

    @torch.no_grad()
    def start_linear(self, body: Body, weight: Tensor, mean: Tensor) -> None:
        """The encoder's end alone: a softmax is far from linear, and finds its way in a few steps."""
        assert self.head.layer is not None
        self.head.layer.weight.zero_()

    def error(self, shown: Tensor, there: Tensor | None, expected: Tensor) -> Tensor:
        """Nats per row (B,) beyond those of its own shares, n Σ share log(share / expected), 0 where both agree."""
        words, expected = shown[:, : self.entries], expected[:, : self.entries].clamp(min=0)
        if there is not None:
            words = words * there[:, : self.entries]
        words = words / words.sum(1, keepdim=True).clamp(min=1e-12)
        # an expectation that is no distribution (that of a linear model) is made one, with a little for every word
        floor = _UNSEEN / self.entries
        expected = (1 - _UNSEEN) * expected / expected.sum(1, keepdim=True).clamp(min=1e-12) + floor
        return (torch.xlogy(words, words) - torch.xlogy(words, expected)).sum(1) * self.length.to(words)

    def problem(self, x: Tensor) -> str | None:
        if x.min() >= 0:
            return None
        return f"a multinomial likelihood divides weights, none of which is below 0; the rows hold {x.min():g}"

    def extra_repr(self) -> str:
        return f"entries={self.entries}"


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "gaussian": Gaussian,
    "graded": Graded,
    "joint": Joint,
    "mixed": Mixed,
    "multinomial": Multinomial,
    "pixels": PixelLevels,
}
