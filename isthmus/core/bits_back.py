r"""Lossless coding with a variational autoencoder: the code is paid for, and gives its own randomness back.

.. math:: \text{bits}(x) = \underbrace{-\log_2 p(x \mid z)}_{\text{put}} \underbrace{-\log_2 p(z)}_{\text{put}}
    \underbrace{+ \log_2 q(z \mid x)}_{\text{taken}}, \qquad \mathbb{E}_q[\text{bits}] = -\mathrm{ELBO} / \log 2

The code z is drawn by *taking* it from what was coded before, under the posterior; then x and z are put. Going back, z
is put again, and what was coded before lies open. Codes are cut into intervals of equal mass under N(0, I), so that
their prior is even. Both ends ask the network in whole numbers (:mod:`isthmus.core.exact`).

References:
    Townsend, Bird and Barber, Practical Lossless Compression with Latent Variables using Bits Back Coding, 2019,
    https://arxiv.org/abs/1901.04866
    Hinton and van Camp, Keeping Neural Networks Simple by Minimizing the Description Length of the Weights, 1993.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from isthmus.core.arithmetic import (
    FRACTION,
    ONE,
    exp,
    logistic_cdf_fast,
    normal_cdf_fast,
    normal_quantiles,
)
from isthmus.core.bottlenecks.gaussian import _LOG_VAR, Gaussian
from isthmus.core.entropy import Cumulative, Stack, filler
from isthmus.core.exact import NotExact, activate, chained, exact_body, exact_head, fixed
from isthmus.core.likelihoods import Bernoulli, Categorical
from isthmus.core.likelihoods import Gaussian as Normal
from isthmus.core.pixels import LOG_SCALE, PixelLevels

#: A number of the code is one of 2 to this many intervals.
_DEPTH = 12
#: Rows that are coded together at most: as many as there are bits on the stack to take their codes from.
_TOGETHER = 64
#: Every level has at least this share of the mass, divided evenly.
_FLOOR = 2.0**-16


class Law(Protocol):
    """What rows are to a network, and how likely it finds them: both ends ask it alike.

    ``width`` whole numbers a row; ``rows`` says which of all rows are meant.
    """

    width: int

    def shown(self, values: np.ndarray, rows: slice) -> Tensor:
        """Rows (n, width) → what the encoder sees of them, in steps of 1 / 4096."""

    def put(self, stack: Stack, values: np.ndarray, out: Tensor, rows: slice) -> None:
        """Rows onto the stack, as likely as the decoder's answer ``out`` (n, *features) has them."""

    def take(self, stack: Stack, out: Tensor, rows: slice) -> np.ndarray:
        """The rows (n, width) again."""


class Channel:
    """A variational network in whole numbers, through which rows go by any law: rows ⇄ words.

    Raises NotExact, with the reason, where the network is not of that kind. At most ``together`` rows are coded
    at once.
    """

    def __init__(self, net: Any, together: int = _TOGETHER):
        spec = net.spec
        if type(net.bottleneck) is not Gaussian or spec.prior.kind != "standard_normal":
            raise NotExact("only a variational model with the prior N(0, I) gives its code back")
        if spec.condition_dim:
            raise NotExact("a condition steers it")
        self.code_shape, self.together = net.bottleneck.code_shape, together
        self.dim = math.prod(self.code_shape)
        body = exact_body(net.encoder)
        self._mu = chained(body, exact_head(net.bottleneck.mu))
        self._log_var = chained(body, exact_head(net.bottleneck.log_var))
        self._decode = chained(exact_body(net.decoder), exact_head(net.likelihood.head))
        inner = normal_quantiles(1 << _DEPTH)
        self._edges = np.concatenate([[-8.0], inner, [8.0]])
        twice = normal_quantiles(2 << _DEPTH)[::2]  # the middle of every interval, by mass
        self._centres = np.floor(twice * ONE + 0.5)

    def encode(self, law: Law, values: np.ndarray) -> bytes:
        """Whole numbers (n, width) → bytes."""
        stack, sizes, start = Stack(self._bottom(), seal=True), bytearray(), 0
        while start < len(values):
            # more than there is would come out as zeros: a poor draw of z
            size = min(max(1, stack.bits // (self.dim * _DEPTH)), self.together, len(values) - start)
            rows = slice(start, start + size)
            part = values[rows].astype(np.int64)
            sizes.append(size)
            start += size
            bins = stack.take_levels(size * self.dim, self._posterior(law.shown(part, rows)), _DEPTH)
            law.put(stack, part, self.answer(bins, size), rows)
            stack.put_even(bins, 1 << _DEPTH)
        groups = zlib.compress(bytes(sizes), 9)
        return struct.pack("<I", len(groups)) + groups + stack.words().astype("<u4").tobytes()

    def decode(self, law: Law, data: bytes, n: int) -> np.ndarray:
        """The rows (n, width) again. Raises ValueError where what is left is not what lay at the bottom."""
        sizes, words = _groups(data, n, self.together)
        stack = Stack(words, seal=False)
        values = np.zeros((n, law.width), np.int64)
        stop = n
        for count in reversed(sizes):
            rows = slice(stop - count, stop)
            stop -= count
            bins = stack.take_even(count * self.dim, 1 << _DEPTH)
            values[rows] = law.take(stack, self.answer(bins, count), rows)
            stack.put_levels(bins, self._posterior(law.shown(values[rows], rows)), _DEPTH)
        if not np.array_equal(stack.words(unseal=True), self._bottom()):
            raise ValueError("its coded rows do not end where they began.")
        return values

    def draw(self, shown: Tensor, seed: int = 0) -> np.ndarray:
        """The intervals (n · dim,) of codes as likely as the posterior has them: to see what the decoder will say."""
        chance = np.random.default_rng(seed).random(len(shown) * self.dim)
        below, low = self._posterior(shown), np.zeros(len(chance), np.int64)
        for bit in range(_DEPTH - 1, -1, -1):
            middle = low + (1 << bit)
            low = np.where(below(middle) <= chance, middle, low)
        return low

    def answer(self, bins: np.ndarray, count: int) -> Tensor:
        """What the decoder says of ``count`` codes, by the intervals of their numbers: (count, *features)."""
        return self._decode(torch.from_numpy(self._centres[bins]).reshape(count, *self.code_shape))

    def _bottom(self) -> np.ndarray:
        return filler(self.dim * _DEPTH // 32 + 2)

    def _posterior(self, shown: Tensor) -> Cumulative:
        """The mass of q(z | x) below an interval's edge, for every number of the codes of these rows."""
        mu = self._mu(shown).flatten().numpy() / ONE
        log_var = self._log_var(shown).flatten().clamp(_LOG_VAR[0] * ONE, _LOG_VAR[1] * ONE).numpy() / ONE
        precision = exp(log_var * -0.5)

        def below(k: np.ndarray) -> np.ndarray:
            mass = normal_cdf_fast((self._edges[k] - mu) * precision)
            return with_floor(np.where(k <= 0, 0.0, np.where(k >= 1 << _DEPTH, 1.0, mass)), k, 1 << _DEPTH)

        return below


class BitsBack:
    """Rows of whole numbers that are all among the same ``levels`` ⇄ words, by a variational ``net``.

    Raises NotExact, with the reason, where the network is not of that kind.
    """

    def __init__(self, net: Any, levels: int):
        spec, likelihood = net.spec, net.likelihood
        self.channel = Channel(net)
        if spec.tell_missing:
            raise NotExact("it is told what is missing")
        self.net, self.levels, self.depth = net, levels, max(1, math.ceil(math.log2(levels)))
        self.shape, self.width = net.shape, math.prod(net.shape)
        fits = type(likelihood) in (Bernoulli, Categorical, PixelLevels, Normal)
        if not fits or levels != {Bernoulli: 2, Categorical: getattr(likelihood, "levels", 0)}.get(
            type(likelihood), levels
        ):
            raise NotExact(f"its likelihood, {spec.likelihood.kind}, does not speak of {levels} levels")
        if type(likelihood) is Normal and likelihood.noise() is None:
            raise NotExact("its noise level was never settled")
        if type(likelihood) is PixelLevels and levels != likelihood.levels:
            raise NotExact(f"its pixels have {likelihood.levels} levels, the rows {levels}")

    def encode(self, rows: np.ndarray) -> bytes:
        """Whole numbers (n, entries) below ``levels`` → bytes."""
        return self.channel.encode(self, rows)

    def decode(self, data: bytes, n: int) -> np.ndarray:
        """The rows (n, entries) again. Raises ValueError where what is left is not what lay at the bottom."""
        return self.channel.decode(self, data, n)

    def shown(self, values: np.ndarray, rows: slice) -> Tensor:
        x = torch.from_numpy(values).double().reshape(-1, *self.shape)
        if type(self.net.likelihood) is Categorical:
            return fixed(self.net.likelihood.represent(x).double())
        return fixed(x / float(self.levels - 1))

    def put(self, stack: Stack, values: np.ndarray, out: Tensor, rows: slice) -> None:
        stack.put_levels(values.ravel(), self._entries(out), self.depth)

    def take(self, stack: Stack, out: Tensor, rows: slice) -> np.ndarray:
        return stack.take_levels(len(out) * self.width, self._entries(out), self.depth).reshape(len(out), -1)

    def _entries(self, out: Tensor) -> Cumulative:
        """The mass of p(x | z) below a level, for every entry of these rows."""
        count, likelihood, levels = len(out), self.net.likelihood, self.levels
        if type(likelihood) is Bernoulli:
            dark = logistic_cdf_fast(out.flatten().numpy() / -ONE)
            return lambda k: np.where(k <= 0, 0.0, np.where(k >= 2, 1.0, dark))
        if type(likelihood) is Categorical:
            return _categorical(out.reshape(count, self.shape[0], levels, -1), levels)
        if type(likelihood) is PixelLevels:
            law = _mixture(out.reshape(count, 3, likelihood.components, -1))
        else:
            law = _normal(likelihood, out)

        def below(k: np.ndarray) -> np.ndarray:
            mass = law((k - 0.5) / float(levels - 1))
            return with_floor(np.where(k <= 0, 0.0, np.where(k >= levels, 1.0, mass)), k, levels)

        return below


def _groups(data: bytes, n: int, together: int) -> tuple[bytes, np.ndarray]:
    """How many rows were coded together, time after time, and the words of the stack."""
    (size,) = struct.unpack_from("<I", data) if len(data) >= 4 else (len(data),)
    words = data[4 + size :]
    unpacker = zlib.decompressobj()
    sizes = unpacker.decompress(data[4 : 4 + size], n + 1)
    if len(words) % 4 or sum(sizes) != n or (sizes and max(sizes) > together) or not all(sizes):
        raise ValueError("its groups of rows contradict its rows.")
    return sizes, np.frombuffer(words, "<u4")


def with_floor(mass: np.ndarray, k: np.ndarray, levels: Any) -> np.ndarray:
    """No level without a little mass."""
    even = np.clip(k, 0, levels) / np.asarray(levels, np.float64)
    return mass + (even - mass) * _FLOOR


def _mixture(parts: Tensor) -> Any:
    """Logistics (count, 3, components, entries) as one distribution function of every entry."""
    logits, mu, log_scale = (parts[:, i].transpose(0, 1).reshape(parts.shape[2], -1).numpy() / ONE for i in range(3))
    weights = exp(logits - logits.max(0))
    total = weights[0]
    for other in weights[1:]:
        total = total + other
    weights = weights / total
    inverse = exp(-np.clip(log_scale, *LOG_SCALE))

    def law(edge: np.ndarray) -> np.ndarray:
        mass = np.zeros_like(edge)
        for w, m, i in zip(weights, mu, inverse, strict=True):
            mass = mass + logistic_cdf_fast((edge - m) * i) * w
        return mass

    return law


def _normal(likelihood: Normal, out: Tensor) -> Any:
    """Gaussians on grey values, each level with the mass of its interval."""
    mean = activate("sigmoid", out) if likelihood.link == "sigmoid" else out
    count, *shape = mean.shape
    mean, inverse = mean.flatten().numpy() / ONE, np.tile(precision(likelihood.noise, tuple(shape)).ravel(), count)
    return lambda edge: normal_cdf_fast((edge - mean) * inverse)


def precision(noise: Any, shape: tuple[int, ...]) -> np.ndarray:
    """1 / σ of every entry of a row, by single exact steps."""
    if noise.sigma == "learned":
        log_var = noise.log_var.detach().double().cpu().clamp(-14.0, 8.0).expand(shape)
        return exp(log_var.numpy() * -0.5)  # not the library's, which differs in its last digit
    # a square root and a division are exact steps
    return 1.0 / np.sqrt(noise().detach().double().cpu().expand(shape).numpy())


def _categorical(logits: Tensor, levels: int) -> Cumulative:
    """Logits (count, channels, levels, places) as whole counts below every level."""
    flat = logits.transpose(2, 3).reshape(-1, levels).numpy() / ONE
    counts = np.floor(exp(flat - flat.max(1, keepdims=True)) * (1 << 24)).astype(np.int64) + 16
    below = np.concatenate([np.zeros((len(counts), 1), np.int64), counts.cumsum(1)], 1).astype(np.float64)
    rows = np.arange(len(below))
    return lambda k: below[rows, np.clip(k, 0, levels)]


assert FRACTION == 12, "the fixed point that files were written with"
