r"""Whole numbers as tokens, tables and weights as bytes: what coders of numbers write.

.. math:: u = 2 |r| - [r < 0], \qquad \text{token} = \begin{cases} u & u < 64 \\ 64 + 4 (e - 6) + m & u \ge 64
    \end{cases}

e is the exponent of u and m the two bits behind its first; the others stand beside the tokens as they are.

References:
    The tokens are those of JPEG XL's hybrid integers, ISO/IEC 18181-1.
"""

from __future__ import annotations

import zlib

import numpy as np

#: Residuals below this have a token each; beyond, four to an octave.
DIRECT = 64
TOKENS = DIRECT + 4 * 40
#: Category levels at most.
MOST_LEVELS = 4096
#: Weights have so many bits behind the point, and are within this.
WEIGHT_BITS = 14
MOST_WEIGHT = (1 << 17) - 1


def token_of(residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals → tokens, and how many low bits stand beside each, and these."""
    u = (residuals << 1) ^ (residuals >> 63)
    exponent = np.frexp(np.maximum(u, 1).astype(np.float64))[1].astype(np.int64) - 1
    n_bits = np.where(u < DIRECT, 0, exponent - 2)
    token = np.where(u < DIRECT, u, DIRECT + (exponent - 6) * 4 + ((u >> n_bits) & 3))
    return token, n_bits, u & ((1 << n_bits) - 1)


def low_bits(residuals: np.ndarray) -> np.ndarray:
    """The low bits of a column's residuals, one after the other."""
    _, n_bits, low = token_of(residuals)
    few = n_bits > 0
    if not few.any():
        return np.zeros(0, bool)
    n_bits, low = n_bits[few], low[few]
    places = np.arange(int(n_bits.max()))[::-1]
    return ((low[:, None] >> places) & 1).astype(bool)[places < n_bits[:, None]]


def residuals_of(tokens: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, int]:
    """Tokens and the bits behind them → residuals, and how many bits these took."""
    exponent = np.where(tokens < DIRECT, 0, (tokens - DIRECT) // 4 + 6)
    n_bits = np.maximum(exponent - 2, 0)
    used = int(n_bits.sum())
    if used > len(bits):
        raise ValueError("its low bits end too early.")
    u = np.where(tokens < DIRECT, tokens, (4 + ((tokens - DIRECT) & 3)) << n_bits)
    few = n_bits > 0
    if used:
        places = np.arange(int(n_bits.max()))[::-1]
        low = np.zeros((int(few.sum()), len(places)), np.int64)
        low[places < n_bits[few, None]] = bits[:used]
        u[few] |= (low << places).sum(1)
    return (u >> 1) ^ -(u & 1), used


def as_small_floats(counts: np.ndarray) -> np.ndarray:
    """Counts as bytes, four bits of mantissa each: what is above 0 stays above it, and order stays."""
    counts = np.minimum(counts.astype(np.int64), 31 << 14)
    exponent = np.maximum(np.frexp(np.maximum(counts, 1).astype(np.float64))[1].astype(np.int64) - 5, 0)
    mantissa = (counts + (1 << exponent >> 1)) >> exponent
    over = mantissa == 32
    exponent, mantissa = exponent + over, np.where(over, 16, mantissa)
    return np.where(exponent > 0, 16 * exponent + mantissa, mantissa).clip(0, 255).astype(np.uint8)


def small_floats(data: np.ndarray) -> np.ndarray:
    v = data.astype(np.int64)
    return np.where(v < 32, v, (16 + (v & 15)) << np.maximum((v >> 4) - 1, 0))


def written_weights(weights: np.ndarray) -> bytes:
    """Weights (d, features) without the zeros at their ends, their first bytes first."""
    every = np.bitwise_or.reduce(weights, axis=1) | 1 << WEIGHT_BITS
    zeros = np.frexp((every & -every).astype(np.float64))[1].astype(np.int64) - 1
    short = (weights >> zeros[:, None]).astype("<i4")
    turned = (short << 1) ^ (short >> 31)  # so that small ones have zeros before them whatever their sign
    return zeros.astype(np.uint8).tobytes() + turned.T.copy().view(np.uint8).reshape(-1, 4).T.tobytes()


def read_weights(data: bytes, n_features: int) -> np.ndarray:
    d = len(data) // (1 + 4 * n_features)
    zeros = np.minimum(np.frombuffer(data[:d], np.uint8), WEIGHT_BITS).astype(np.int64)
    planes = np.frombuffer(data[d:], np.uint8).reshape(4, -1).T
    turned = np.ascontiguousarray(planes).view("<u4").astype(np.int64).reshape(n_features, d).T
    weights = ((turned >> 1) ^ -(turned & 1)) << zeros[:, None]
    return np.clip(weights, -MOST_WEIGHT - 1, MOST_WEIGHT + 1)


def read_tables(data: bytes, sizes: np.ndarray) -> dict[int, np.ndarray]:
    found, at = {}, 0
    for key in np.flatnonzero(sizes):
        counts = small_floats(np.frombuffer(data[at : at + int(sizes[key])], np.uint8))
        at += int(sizes[key])
        if len(counts) > max(TOKENS, MOST_LEVELS) or not counts.any():
            raise ValueError("a table of it is impossible.")
        found[int(key)] = counts
    return found


def inflate(data: bytes, size: int) -> bytes:
    """Exactly ``size`` bytes out of zlib's."""
    try:
        found = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError("a section of it cannot be unpacked.") from error
    if len(found) != size:
        raise ValueError("a section of it is not as long as it should be.")
    return found
