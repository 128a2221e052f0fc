r"""Vector quantisation: every vector of the code is the nearest of a few codewords, which follow what they stand for.

.. math::
    z = e_k, \; k = \arg\min_j \|h - e_j\|^2, \qquad
    N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad m_k \leftarrow \gamma m_k + (1 - \gamma) \sum_{i \to k} h_i,
    \quad e_k = m_k / \tilde N_k

The gradient passes straight through to h, which pays :math:`\beta \|h - \mathrm{sg}\,e_k\|^2` for straying.

References:
    van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017, https://arxiv.org/abs/1711.00937
    Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, 2011 (groups).
    Dhariwal et al., Jukebox, 2020, https://arxiv.org/abs/2005.00341 (revival of dead codewords).
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.kmeans import kmeans, means, nearest
from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Bottleneck, Code, Shape, Trace, size

#: Automatic groups are at most this wide.
_WIDEST = 4
#: A codeword that stands for less than this part of an equal share is dead.
_DEAD = 0.1
#: The share that every codeword is given beyond what was seen.
_SEEN = 1e-6
#: Vectors per codeword that the start looks at, and that an automatic memory holds at least.
_START, _MEMORY = 32, 16
#: An automatic memory is no shorter than ten steps.
_FRESH = 0.1


class VQ(Bottleneck):
    """One of ``codewords`` for every position of a feature map (``spatial="auto"``: behind a body that gives one),
    or for each of ``groups`` of the numbers of a vector; every group has a codebook of its own.

    The rate is what an entropy coder pays, −log of the share in which a codeword is used: log K where all are used
    alike, and more for a row of rare ones. ``commitment`` is β, in nats per squared unit of the code. ``decay`` is
    γ; by itself it remembers ten steps, since encoders are quick at the start, or as many as it takes to see some
    vectors per codeword.
    """

    rated = True

    def __init__(
        self,
        in_shape: Shape,
        dim: int,
        *,
        codewords: int = 512,
        groups: int | str = "auto",
        commitment: float = 0.25,
        decay: float | str = "auto",
        spatial: bool | str = "auto",
    ):
        super().__init__()
        if codewords < 2:
            raise ValueError(f"codewords is at least 2, got {codewords}")
        if decay != "auto" and not (isinstance(decay, int | float) and 0 < decay < 1):
            raise ValueError(f"decay is between 0 and 1 or 'auto', got {decay!r}")
        if commitment < 0:
            raise ValueError(f"commitment is at least 0, got {commitment}")
        maps = len(in_shape) > 1 if spatial == "auto" else bool(spatial)
        if groups == "auto":
            groups = 1 if maps else next(g for g in range(1, dim + 1) if dim % g == 0 and dim <= _WIDEST * g)
        if not isinstance(groups, int) or groups < 1 or dim % groups:
            raise ValueError(f"groups is a whole number that divides the {dim} numbers of the code, got {groups!r}")
        self.codewords, self.groups, self.commitment, self.decay = codewords, groups, commitment, decay
        self.code_shape = (dim, *in_shape[1:]) if maps else (dim,)
        self.head = Head(in_shape, self.code_shape)
        book = torch.randn(groups, codewords, dim // groups)
        self.register_buffer("codebook", book)
        # counted as shares of the vectors of a batch, so that nothing depends on its size
        self.register_buffer("shares", torch.full((groups, codewords), 1 / codewords))
        self.register_buffer("sums", book / codewords)
        self.latest: tuple[Tensor, Tensor] | None = None

    @property
    def n_numbers(self) -> int:
        """The symbols of a row: each is one choice, however many numbers its codeword has."""
        return self.groups * size(self.code_shape[1:])

    def forward(self, h: Tensor) -> Code:
        vectors = self._split(self.head(h))
        symbols = nearest(vectors.detach(), self.codebook)
        if self.training and torch.is_grad_enabled():  # held-out rows are scored without
            self.latest = vectors.detach(), symbols
        chosen = self._look_up(symbols)
        commitment = self.commitment * (vectors - chosen).square().sum(2)
        prices = -self.probabilities.log().gather(1, symbols)
        return Code(
            self._through(vectors, chosen),
            self._per_row(prices),
            {"indices": symbols.T.reshape(len(h), -1)},  # (B, symbols): of each position its groups
            {"commitment": self._per_row(commitment)},
        )

    def mode(self, h: Tensor) -> Tensor:
        vectors = self._split(self.head(h))
        return self._through(vectors, self._look_up(nearest(vectors.detach(), self.codebook)))

    def project(self) -> None:
        """Codewords follow what they stand for; dead ones begin again at vectors that were badly served."""
        if self.latest is None:
            return
        (vectors, symbols), self.latest = self.latest, None
        shares, sums = means(vectors, symbols, self.codewords)
        fresh = min(_FRESH, vectors.shape[1] / (_MEMORY * self.codewords))
        fresh = fresh if isinstance(self.decay, str) else 1 - self.decay
        self.shares.lerp_(shares, fresh)
        self.sums.lerp_(sums, fresh)
        smoothed = self.probabilities * self.shares.sum(1, keepdim=True)
        self.codebook.copy_(self.sums / smoothed[..., None])
        # a candidate for every codeword, so that nobody waits for the count of the dead
        far = (vectors - self._look_up(symbols)).square().sum(2)
        drawn = torch.multinomial(far + 1e-12, self.codewords, replacement=True)
        dead, found = self.dead, self._gather(vectors, drawn)
        self.shares.masked_fill_(dead, 1 / self.codewords)
        self.codebook.copy_(torch.where(dead[..., None], found, self.codebook))
        self.sums.copy_(torch.where(dead[..., None], found / self.codewords, self.sums))

    def start_from(self, trace: Trace) -> None:
        vectors = self._split(self.head(trace.h))
        vectors = vectors[:, torch.randperm(vectors.shape[1])[: _START * self.codewords]]
        self.codebook.copy_(kmeans(vectors, self.codewords))
        shares, sums = means(vectors, nearest(vectors, self.codebook), self.codewords)
        self.shares.copy_(shares)
        self.sums.copy_(sums)

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        self.head.start_linear(body, weight, bias)

    def remarks(self) -> list[str]:
        live, perplexity = self.codewords - int(self.dead.sum(1).max()), float(self.perplexity.min())
        return [f"{live} of {self.codewords} codewords are in use, which say as much as {perplexity:.0f} used alike"]

    @property
    def probabilities(self) -> Tensor:
        """In which part of all vectors each codeword is used (G, K), as if all had been seen a little (Laplace)."""
        return (self.shares + _SEEN) / (self.shares.sum(1, keepdim=True) + self.codewords * _SEEN)

    @property
    def perplexity(self) -> Tensor:
        """exp of the entropy per group (G,): so many codewords, used alike, would say as much."""
        p = self.probabilities
        return (-(p * p.log()).sum(1)).exp()

    @property
    def dead(self) -> Tensor:
        """Which codewords hardly ever stand for anything (G, K)."""
        return self.shares < _DEAD / self.codewords

    def _split(self, z: Tensor) -> Tensor:
        """A code (B, *code_shape) as the vectors of each group (G, B · positions, W)."""
        rows = z.movedim(1, -1).reshape(-1, self.code_shape[0])
        # neighbours go to different groups: where codes begin as principal components every group gets strong ones
        return rows.reshape(-1, self.codebook.shape[2], self.groups).permute(2, 0, 1)

    def _through(self, vectors: Tensor, chosen: Tensor) -> Tensor:
        """Exactly the codewords, with the gradient of the vectors, as a code (B, *code_shape)."""
        rows = (chosen + (vectors - vectors.detach())).permute(1, 2, 0).reshape(-1, self.code_shape[0])
        return rows.reshape(-1, *self.code_shape[1:], self.code_shape[0]).movedim(-1, 1)

    def _per_row(self, values: Tensor) -> Tensor:
        """(G, B · positions) summed to (B,)."""
        return values.sum(0).reshape(-1, size(self.code_shape[1:])).sum(1)

    def _look_up(self, symbols: Tensor) -> Tensor:
        return self._gather(self.codebook, symbols)

    @staticmethod
    def _gather(vectors: Tensor, at: Tensor) -> Tensor:
        return vectors.gather(1, at[..., None].expand(-1, -1, vectors.shape[2]))

    def extra_repr(self) -> str:
        return (
            f"dim={self.code_shape[0]}, codewords={self.codewords}, groups={self.groups}, "
            f"commitment={self.commitment}, decay={self.decay}"
        )
