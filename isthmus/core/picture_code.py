r"""Pictures ⇄ bytes by a transform and a hyperprior, in whole numbers wherever a byte or a pixel depends on it.

.. math:: \text{bits} \approx -\sum_i \log_2 p_{k_i}(s_i), \qquad s_i = \lfloor y_i - \mu_i \rceil, \quad
    (\mu_i, k_i) = c(\text{what is known})

What chooses tables (the hyper-code's way up, and the stages behind it) and what makes pixels (the decoder) run in
fixed point (:mod:`isthmus.core.exact`): the same bytes and the same pixels on every machine. Only the encoder is free,
because what it finds is written down. Tables are those of normals with one of 64 deviations, from a series of single
exact steps, with a way out for what lies further away.

Pixels are made piece by piece, each with as much around it as they depend on, so that memory stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core import arithmetic
from isthmus.core.arithmetic import ONE
from isthmus.core.autoencoder import Net
from isthmus.core.bottlenecks.hyperprior import (
    BEND,
    COUNTED,
    HEIGHTS,
    OFFSET,
    PER_UNIT,
    TABLES,
    Hyperprior,
    Stage,
    chessboard,
)
from isthmus.core.entropy import Reader, Writer
from isthmus.core.exact import LIMIT, Product
from isthmus.core.networks.transform import BLOCK, KNOTS, Steered, TransformDecoder, centred, hats
from isthmus.core.tiling import mirrored

#: Qualities are whole numbers from 1 to this.
QUALITIES = 100
#: Blocks along a side of the piece of a picture that becomes pixels at once.
_PIECE = 48
#: Tables reach so many deviations; a symbol beyond is escaped, and no height is further away than so many steps.
_REACH, FURTHEST = 7, 1 << 14
#: A counted table is believed as if so many symbols more had come from the normal.
_BELIEF = 64.0
#: How readily the encoder takes a smaller step where it is cheaper: at 1 a nat saved counts as a nat.
THRIFT = 0.3
#: Bits behind the point of what lies between knots.
_BITS = 16


def quality_of(quality: int) -> float:
    """A quality from 1 to 100 as the networks know it, from 0 to 1."""
    return (quality - 1) / (QUALITIES - 1)


def between(knots: Tensor, quality: int) -> np.ndarray:
    """Values (KNOTS, n) at knots → those at a quality (n,), whole numbers of 2⁻¹⁶."""
    whole = np.floor(knots.detach().double().cpu().numpy() * (1 << _BITS) + 0.5).astype(np.int64)
    at, rest = divmod((quality - 1) * (KNOTS - 1), QUALITIES - 1)
    if rest == 0:
        return whole[at]
    return (whole[at] * (QUALITIES - 1 - rest) + whole[at + 1] * rest) // (QUALITIES - 1)


def _offsets(knots: Tensor, quality: int) -> Tensor:
    """The same as something to add to fixed-point maps (1, n, 1, 1)."""
    return torch.from_numpy(between(knots, quality) >> (_BITS - arithmetic.FRACTION)).double()[None, :, None, None]


class _Conv:
    """A convolution of stride 1 that keeps the size, kernels of one or of three by three: a product for each place of
    the kernel, on the map laid out as one line. Sums of whole numbers may come in any order.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        self.product = Product(weight.flatten(1), bias)
        self.side = weight.shape[2]
        places = self.product.weight.reshape(*weight.shape[:2], -1)
        self.places = [places[:, :, k].contiguous() for k in range(self.side**2)]

    def __call__(self, a: Tensor) -> Tensor:
        """(1, in, h, w) → (1, out, h, w)."""
        _, channels, height, width = a.shape
        edge = self.side // 2
        wide = width + 2 * edge
        n = height * wide
        # after the last line come zeros for the places to the right of its end
        line = a.new_zeros(channels, (height + 2 * edge) * wide + 2 * edge)
        line[:, : (height + 2 * edge) * wide].view(channels, -1, wide)[:, edge : edge + height, edge : edge + width] = (
            a[0]
        )
        total = self.product.bias[:, None].repeat(1, n)
        for k, weight in enumerate(self.places):
            begin = k // self.side * wide + k % self.side
            total.addmm_(weight, line[:, begin : begin + n])
        total.mul_(2.0**-self.product.bits).add_(0.5).floor_().clamp_(-LIMIT, LIMIT)
        return total.view(1, -1, height, wide)[..., :width]


def _of(layer: nn.Conv2d) -> _Conv:
    return _Conv(layer.weight, layer.bias)


def bent(a: Tensor) -> Tensor:
    """y · 2 / (2 + |y|) of fixed-point numbers: one exact division."""
    edge = BEND * ONE
    return (a * edge / (a.abs() + edge) + 0.5).floor()


class _Steered:
    def __init__(self, block: Steered):
        self.one, self.two, self.steer = _of(block.one), _of(block.two), block.steer

    def __call__(self, h: Tensor, quality: int) -> Tensor:
        return h + self.two((self.one(h) + _offsets(self.steer, quality)).clamp(min=0))


class ExactDecoder:
    """A transform decoder: coefficients in fixed point (1, n, h, w) → grey levels (8 h, 8 w, channels), uint8."""

    def __init__(self, body: TransformDecoder):
        self.body, self.channels = body, body.channels
        self.linear = _Conv(centred(body.start, body.shift), None)
        self.head, self.up, self.up_again = _of(body.head), _of(body.up), _of(body.up_again)
        self.seen, self.tail = _of(body.seen), _of(body.tail)
        self.late, self.middle, self.last = (
            [_Steered(b) for b in part] for part in (body.late, body.middle, body.last)
        )

    #: Blocks around a block that its pixels may depend on: 1 of the linear map, 4 of the late blocks, and what finer
    #: scales see (2 · 4 + 14 · 2 + 4 pixels).
    margin = 10

    def __call__(self, y: Tensor, quality: int) -> np.ndarray:
        _, _, height, width = y.shape
        out = np.empty((height * BLOCK, width * BLOCK, self.channels), np.uint8)
        with torch.inference_mode():
            for top in range(0, height, _PIECE):
                for left in range(0, width, _PIECE):
                    begin = max(0, top - self.margin), max(0, left - self.margin)
                    some = y[:, :, begin[0] : top + _PIECE + self.margin, begin[1] : left + _PIECE + self.margin]
                    down, right = (top - begin[0]) * BLOCK, (left - begin[1]) * BLOCK
                    into = out[top * BLOCK :, left * BLOCK :][: _PIECE * BLOCK, : _PIECE * BLOCK]
                    into[...] = self._piece(some, quality)[down:, right:][: into.shape[0], : into.shape[1]]
        return out

    def _piece(self, y: Tensor, quality: int) -> np.ndarray:
        steps = arithmetic.exp(between(self.body.log_step, quality) / (1 << _BITS))
        scale = torch.from_numpy(np.floor(steps * (1 << 20) + 0.5))[None, :, None, None]
        levels = (y * scale / (1 << 20) + 0.5).floor()
        linear = F.pixel_shuffle(self.linear(levels), BLOCK)
        h = self.head(4 * levels)
        for block in self.late:
            h = block(h, quality)
        h = F.pixel_shuffle(self.up(h), 2)
        for block in self.middle:
            h = block(h, quality)
        h = F.pixel_shuffle(self.up_again(h), 2) + self.seen(4 * F.pixel_unshuffle(linear, 2))
        for block in self.last:
            h = block(h, quality)
        x = linear + (F.pixel_shuffle(self.tail(h), 2) / 8 + 0.5).floor() + ONE // 2
        grey = (x * 255 / ONE + 0.5).floor().clamp(0, 255)
        return grey[0].movedim(0, 2).numpy().astype(np.uint8)


class _Stage:
    def __init__(self, stage: Stage):
        self.n, self.steps, self.steer, self.log_scale = stage.n, stage.steps, stage.steer, stage.log_scale
        self.one, self.two, self.three = map(_of, (stage.one, stage.two, stage.three))
        self.line = None if stage.line is None else _of(stage.line)
        self.heard = 0 if stage.line is None else stage.line.in_channels

    def __call__(self, known: Tensor, heights: Tensor, quality: int) -> tuple[Tensor, np.ndarray]:
        """Means (1, n, h, w) in fixed point, and the numbers of tables (n, h, w)."""
        h = (self.one(known) + _offsets(self.steer, quality)).clamp(min=0)
        mean, log_scale = self.three(self.two(h).clamp(min=0)).chunk(2, dim=1)
        if self.line is not None:
            mean = mean + self.line(heights[:, : self.heard])
        limit = float(FURTHEST * ONE)
        return mean.clamp(-limit, limit), _table_numbers(log_scale + _offsets(self.log_scale, quality))


def _table_numbers(log_scale: Tensor) -> np.ndarray:
    index = (log_scale * PER_UNIT / ONE + (OFFSET + 0.5)).floor().clamp(0, TABLES - 1)
    return index[0].numpy().astype(np.int64)


class Tables:
    """Whole counts of symbols −reach … reach, and of what lies beyond, for each of 64 deviations.

    They are those of normals, and of narrow ones what was counted in training, which ``_BELIEF`` symbols of the normal
    are added to.
    """

    def __init__(self, counts: Tensor):
        self.counted = counts.detach().double().cpu().round().numpy()
        self.known: dict[int, tuple[int, np.ndarray]] = {}

    def __getitem__(self, number: int) -> tuple[int, np.ndarray]:
        if number not in self.known:
            self.known[number] = self._made(number)
        return self.known[number]

    def _made(self, number: int) -> tuple[int, np.ndarray]:
        reach, mass = _normal(number)
        if number < COUNTED and (total := float(self.counted[number].sum())) > 0:
            seen = np.append(self.counted[number, : min(reach + 1, HEIGHTS - 1)], np.zeros(max(0, reach + 2 - HEIGHTS)))
            both = np.concatenate([seen[:0:-1], seen]) * 0.5
            both[reach] = seen[0]
            mass = (both + mass * _BELIEF) / (total + _BELIEF)
        return reach, np.append(np.floor(mass * (1 << 24)) + 1, 16.0)

    def nats(self) -> np.ndarray:
        """What heights cost (COUNTED, HEIGHTS), both signs alike: for the encoder's choices alone."""
        found = np.zeros((COUNTED, HEIGHTS))
        for number in range(COUNTED):
            reach, counts = self[number]
            costs = -np.log(counts / counts.sum())[reach:]
            found[number] = costs[np.minimum(np.arange(HEIGHTS), len(costs) - 1)]
        return found


@cache
def _normal(number: int) -> tuple[int, np.ndarray]:
    """How far the table of a deviation reaches, and the masses of −reach … reach."""
    sigma = float(arithmetic.exp(np.array([(number - OFFSET) / PER_UNIT]))[0])
    reach = math.ceil(_REACH * sigma) + 1
    edges = (np.arange(-reach, reach + 2, dtype=np.float64) - 0.5) / sigma
    below = arithmetic.normal_cdf(edges)
    return reach, below[1:] - below[:-1]


def _put(writer: Writer, symbols: np.ndarray, numbers: np.ndarray, tables: Tables) -> None:
    """Symbols (m,) each with the table of its number; those of one table go together."""
    order = np.argsort(numbers, kind="stable")
    symbols, numbers = symbols[order], numbers[order]
    far = []
    for number, begin, end in _runs(numbers):
        reach, counts = tables[number]
        some = symbols[begin:end]
        outside = np.abs(some) > reach
        far.append(some[outside])
        writer.put(np.where(outside, 2 * reach + 1, some + reach), counts)
    rest = np.concatenate([*far, np.zeros(0, np.int64)]) + 2 * FURTHEST
    for shift in (0, 8):
        writer.put((rest >> shift) & 255, np.ones(256))


def _take(reader: Reader, numbers: np.ndarray, tables: Tables) -> np.ndarray:
    order = np.argsort(numbers, kind="stable")
    found = np.empty(len(numbers), np.int64)
    outside = np.zeros(len(numbers), bool)
    for number, begin, end in _runs(numbers[order]):
        reach, counts = tables[number]
        some = reader.take(end - begin, counts)
        found[begin:end], outside[begin:end] = some - reach, some > 2 * reach
    m = int(outside.sum())
    low, high = reader.take(m, np.ones(256)), reader.take(m, np.ones(256))
    found[outside] = (low | high << 8) - 2 * FURTHEST
    symbols = np.empty(len(numbers), np.int64)
    symbols[order] = found
    return symbols


def _runs(numbers: np.ndarray) -> list[tuple[int, int, int]]:
    """Equal numbers that follow each other: which, from, to."""
    cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    return [(int(numbers[a]), a, b) for a, b in pairwise(cuts) if b > a]


class ExactHyperprior:
    """A hyperprior as a coder of coefficients, for one picture at a time."""

    def __init__(self, part: Hyperprior):
        self.part = part
        self.up, self.up_again = _of(part.up), _of(part.up_again)
        self.stages = [_Stage(stage) for stage in part.stages]
        self.tables = Tables(part.counts)
        self.nats = self.tables.nats()

    def _chosen(self, apart: np.ndarray, numbers: np.ndarray, price: np.ndarray) -> np.ndarray:
        """Whole steps (n, m) for what is apart from the mean: the nearest, or the next towards it where that saves more
        nats than its error is worth, ``price`` (n, 1) for a whole step of error.
        """
        near = np.rint(apart).astype(np.int64)
        less = near - np.sign(near)
        error = np.square(apart - less) - np.square(apart - near)
        narrow = np.minimum(numbers, COUNTED - 1)
        cost = self.nats[narrow, np.minimum(np.abs(near), HEIGHTS - 1)]
        saved = cost - self.nats[narrow, np.minimum(np.abs(less), HEIGHTS - 1)]
        worth = (numbers < COUNTED) & (np.abs(near) < HEIGHTS - 1) & (error * price < THRIFT * saved)
        return np.where(worth, less, near)

    def encode(self, y: Tensor, z: Tensor, quality: int, price: np.ndarray) -> tuple[bytes, Tensor]:
        """Coefficients (1, n, h, w) and their hyper-code → bytes, and the coefficients that come back, fixed point.

        ``price`` (n,) is what a whole step of squared error is worth, in nats.
        """
        writer = Writer()
        z = z.double().round().clamp(-FURTHEST, FURTHEST)
        _put(writer, z.numpy().astype(np.int64).ravel(), self._hyper_numbers(z.shape, quality), self.tables)
        y = y.double().clamp(-FURTHEST, FURTHEST)

        def code(channels: slice, where: np.ndarray, mean: Tensor, numbers: np.ndarray) -> np.ndarray:
            apart = (y[0, channels] - mean[0] / ONE).numpy()[:, where]
            symbols = self._chosen(apart, numbers[:, where], price[channels, None])
            _put(writer, symbols.ravel(), numbers[:, where].ravel(), self.tables)
            return symbols

        found = self._walk(z, quality, y.shape[2:], code)
        data = writer.bytes()
        # zeros at the end of the last word need not be written
        return data[: max(len(data) - 3, len(data.rstrip(b"\0")))], found

    def decode(self, data: bytes, height: int, width: int, quality: int) -> Tensor:
        """The coefficients (1, n, height, width) that :meth:`encode` found, in fixed point.

        Raises:
            ValueError: no coder wrote these bytes.
        """
        reader = Reader(data + bytes(-len(data) % 4))
        shape = (1, self.part.hyper, -(-height // 4), -(-width // 4))
        z = _take(reader, self._hyper_numbers(shape, quality), self.tables)
        z = torch.from_numpy(z.astype(np.float64)).reshape(shape)

        def code(channels: slice, where: np.ndarray, mean: Tensor, numbers: np.ndarray) -> np.ndarray:
            some = numbers[:, where]
            return _take(reader, some.ravel(), self.tables).reshape(some.shape)

        return self._walk(z, quality, (height, width), code)

    def _hyper_numbers(self, shape: Sequence[int], quality: int) -> np.ndarray:
        numbers = _table_numbers(_offsets(self.part.hyper_scale, quality))
        return np.broadcast_to(numbers, shape[1:]).ravel()

    def _walk(self, z: Tensor, quality: int, size: Sequence[int], code) -> Tensor:
        """Stage by stage, step by step: ask for means and tables, let ``code`` write or read, go on."""
        height, width = size
        h = self.up_again(self.up(z * ONE).clamp(min=0))
        told = F.pixel_shuffle(h, 4)[:, :, :height, :width]
        light = chessboard(told).bool()[0, 0].numpy()
        known, begin = told, 0
        heights = told[:, :0]
        for stage in self.stages:
            channels = slice(begin, begin + stage.n)
            here = told.new_zeros(1, stage.n, height, width)
            for turn in range(stage.steps):
                where = np.ones_like(light) if stage.steps == 1 else light if turn else ~light
                asked, seen = known, heights
                if stage.steps > 1:
                    there = torch.from_numpy(~light).to(told)[None, None] * (ONE * turn)
                    asked = torch.cat([known, bent(here), there], dim=1)
                    seen = torch.cat([heights, here], dim=1)
                mean, numbers = stage(asked, seen, quality)
                symbols = torch.from_numpy(code(channels, where, mean, numbers)).double()
                at = torch.from_numpy(where)
                here[0][:, at] = symbols * ONE + mean[0][:, at]
            known = torch.cat([known, bent(here)], dim=1)
            heights = torch.cat([heights, here], dim=1)
            begin += stage.n
        return heights


class PictureCode:
    """The three together: grey levels (h, w, channels) ⇄ bytes, at a quality from 1 to 100.

    Args:
        net: one that was trained for it (the recipe ``codec``).
    """

    #: Pixels around a piece that its coefficients may depend on.
    margin = 64

    def __init__(self, net: Net):
        encoder, bottleneck, decoder, self.likelihood = net.encoder, net.bottleneck, net.decoder, net.likelihood
        self.encoder, self.hyper, self.decoder = encoder, ExactHyperprior(bottleneck), ExactDecoder(decoder)
        self.channels = encoder.channels

    @torch.inference_mode()
    def coefficients(self, picture: np.ndarray, quality: int) -> tuple[Tensor, Tensor]:
        """What :meth:`encode` writes down: coefficients (1, n, ⌈h / 8⌉, ⌈w / 8⌉) and their hyper-code, floats."""
        height, width = (-(-side // BLOCK) * BLOCK for side in picture.shape[:2])
        q = torch.tensor([quality_of(quality)])
        x = torch.from_numpy(np.moveaxis(picture, 2, 0).astype(np.float32))[None]
        x = mirrored(x / 255, (height, width))
        y = torch.empty(1, self.channels * BLOCK**2, height // BLOCK, width // BLOCK)
        side, core = self.margin, _PIECE * BLOCK
        for top in range(0, height, core):
            for left in range(0, width, core):
                begin = max(0, top - side), max(0, left - side)
                some = x[:, :, begin[0] : top + core + side, begin[1] : left + core + side]
                into = y[:, :, top // BLOCK :, left // BLOCK :][:, :, :_PIECE, :_PIECE]
                found = self.encoder.analyse(some, q)
                found = found[:, :, (top - begin[0]) // BLOCK :, (left - begin[1]) // BLOCK :]
                into[...] = found[:, :, : into.shape[2], : into.shape[3]]
        return y, self.hyper.part.hyper_code(y)

    def encode(self, picture: np.ndarray, quality: int) -> bytes:
        """Grey levels (h, w, channels), uint8 → bytes."""
        with torch.inference_mode():
            q = torch.tensor([quality_of(quality)])
            steps = (hats(q) @ self.decoder.body.log_step)[0].exp().double().numpy()
            price = np.square(steps) / (2 * float(self.likelihood.sigma(q)) ** 2)
            return self.hyper.encode(*self.coefficients(picture, quality), quality, price)[0]

    def decode(self, data: bytes, height: int, width: int, quality: int) -> np.ndarray:
        """Bytes → grey levels (height, width, channels), uint8.

        Raises:
            ValueError: no coder wrote these bytes.
        """
        with torch.inference_mode():
            y = self.hyper.decode(data, -(-height // BLOCK), -(-width // BLOCK), quality)
            return self.decoder(y, quality)[:height, :width]
