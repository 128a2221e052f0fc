r"""A codebook: vectors that follow what they stand for.

.. math::
    N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad m_k \leftarrow \gamma m_k + (1 - \gamma) \sum_{i \to k} h_i,
    \quad e_k = m_k / \tilde N_k

References:
    van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017, https://arxiv.org/abs/1711.00937
    Dhariwal et al., Jukebox, 2020, https://arxiv.org/abs/2005.00341 (revival of dead codewords).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.core.kmeans import kmeans, means, nearest

#: A codeword that stands for less than this part of an equal share is dead.
_DEAD = 0.1
#: The share that every codeword is given beyond what was seen.
_SEEN = 1e-6
#: Vectors per codeword that the start looks at, and that an automatic memory holds at least.
_START, _MEMORY = 32, 16
#: An automatic memory is no shorter than ten steps.
_FRESH = 0.1


class Codebook(nn.Module):
    """``words`` (G, K, W): K codewords of W numbers for each of G groups."""

    def __init__(self, groups: int, n: int, width: int):
        super().__init__()
        words = torch.randn(groups, n, width)
        self.register_buffer("words", words)
        # counted as shares of the vectors of a batch, so that nothing depends on its size
        self.register_buffer("shares", torch.full((groups, n), 1 / n))
        self.register_buffer("sums", words / n)

    def __len__(self) -> int:
        return self.words.shape[1]

    def nearest(self, vectors: Tensor) -> Tensor:
        """(G, N, W) → the symbol of each (G, N)."""
        return nearest(vectors, self.words)

    def look_up(self, symbols: Tensor) -> Tensor:
        """(G, N) → the codewords (G, N, W)."""
        return _gather(self.words, symbols)

    def start(self, vectors: Tensor) -> None:
        """Begin at the centres of these vectors (G, N, W)."""
        vectors = vectors[:, torch.randperm(vectors.shape[1])[: _START * len(self)]]
        self.words.copy_(kmeans(vectors, len(self)))
        shares, sums = means(vectors, self.nearest(vectors), len(self))
        self.shares.copy_(shares)
        self.sums.copy_(sums)

    def follow(self, vectors: Tensor, symbols: Tensor, decay: float | str) -> None:
        """Codewords follow what they stand for; dead ones begin again at vectors that were badly served."""
        shares, sums = means(vectors, symbols, len(self))
        fresh = min(_FRESH, vectors.shape[1] / (_MEMORY * len(self)))
        fresh = fresh if isinstance(decay, str) else 1 - decay
        self.shares.lerp_(shares, fresh)
        self.sums.lerp_(sums, fresh)
        smoothed = self.probabilities * self.shares.sum(1, keepdim=True)
        self.words.copy_(self.sums / smoothed[..., None])
        # a candidate for every codeword, so that nobody waits for the count of the dead
        far = (vectors - self.look_up(symbols)).square().sum(2)
        drawn = torch.multinomial(far + 1e-12, len(self), replacement=True)
        dead, found = self.dead, _gather(vectors, drawn)
        self.shares.masked_fill_(dead, 1 / len(self))
        self.words.copy_(torch.where(dead[..., None], found, self.words))
        self.sums.copy_(torch.where(dead[..., None], found / len(self), self.sums))

    @property
    def probabilities(self) -> Tensor:
        """In which part of all vectors each codeword is used (G, K), as if all had been seen a little (Laplace)."""
        return (self.shares + _SEEN) / (self.shares.sum(1, keepdim=True) + len(self) * _SEEN)

    @property
    def perplexity(self) -> Tensor:
        """exp of the entropy per group (G,): so many codewords, used alike, would say as much."""
        p = self.probabilities
        return (-(p * p.log()).sum(1)).exp()

    @property
    def dead(self) -> Tensor:
        """Which codewords hardly ever stand for anything (G, K)."""
        return self.shares < _DEAD / len(self)


def _gather(vectors: Tensor, at: Tensor) -> Tensor:
    return vectors.gather(1, at[..., None].expand(-1, -1, vectors.shape[2]))
