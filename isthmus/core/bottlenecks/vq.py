r"""Vector quantisation: every vector of the code is the nearest of a few codewords, which follow what they stand for.

.. math::
    z = e_k, \qquad k = \arg\min_j \|h - e_j\|^2

The gradient passes straight through to h, which pays :math:`\beta \|h - \mathrm{sg}\,e_k\|^2` for straying.

References:
    van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017, https://arxiv.org/abs/1711.00937
    Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, 2011 (groups).
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.codebook import Codebook
from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Bottleneck, Code, Shape, Trace, size

#: Automatic groups are at most this wide.
_WIDEST = 4


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
        self.codebook = Codebook(groups, codewords, dim // groups)
        self.latest: tuple[Tensor, Tensor] | None = None

    @property
    def n_numbers(self) -> int:
        """The symbols of a row: each is one choice, however many numbers its codeword has."""
        return self.groups * size(self.code_shape[1:])

    def forward(self, h: Tensor) -> Code:
        vectors = self._split(self.head(h))
        symbols = self.codebook.nearest(vectors.detach())
        if self.training and torch.is_grad_enabled():  # held-out rows are scored without
            self.latest = vectors.detach(), symbols
        chosen = self.codebook.look_up(symbols)
        commitment = self.commitment * (vectors - chosen).square().sum(2)
        prices = -self.codebook.probabilities.log().gather(1, symbols)
        return Code(
            self._through(vectors, chosen),
            self._per_row(prices),
            {"indices": symbols.T.reshape(len(h), -1)},  # (B, symbols): of each position its groups
            {"commitment": self._per_row(commitment)},
        )

    def mode(self, h: Tensor) -> Tensor:
        vectors = self._split(self.head(h))
        return self._through(vectors, self.codebook.look_up(self.codebook.nearest(vectors.detach())))

    def settled(self, z: Tensor) -> Tensor:
        vectors = self._split(z)
        return self._through(vectors, self.codebook.look_up(self.codebook.nearest(vectors)))

    def project(self) -> None:
        """The codebook follows, after the step."""
        if self.latest is not None:
            self.codebook.follow(*self.latest, self.decay)
            self.latest = None

    def start_from(self, trace: Trace) -> None:
        self.codebook.start(self._split(self.head(trace.h)))

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        self.head.start_linear(body, weight, bias)

    def remarks(self) -> list[str]:
        live, perplexity = self.codewords - int(self.codebook.dead.sum(1).max()), float(self.codebook.perplexity.min())
        return [f"{live} of {self.codewords} codewords are in use, which say as much as {perplexity:.0f} used alike"]

    def _split(self, z: Tensor) -> Tensor:
        """A code (B, *code_shape) as the vectors of each group (G, B · positions, W)."""
        rows = z.movedim(1, -1).reshape(-1, self.code_shape[0])
        # neighbours go to different groups: where codes begin as principal components every group gets strong ones
        return rows.reshape(-1, self.codebook.words.shape[2], self.groups).permute(2, 0, 1)

    def _through(self, vectors: Tensor, chosen: Tensor) -> Tensor:
        """Exactly the codewords, with the gradient of the vectors, as a code (B, *code_shape)."""
        rows = (chosen + (vectors - vectors.detach())).permute(1, 2, 0).reshape(-1, self.code_shape[0])
        return rows.reshape(-1, *self.code_shape[1:], self.code_shape[0]).movedim(-1, 1)

    def _per_row(self, values: Tensor) -> Tensor:
        """(G, B · positions) summed to (B,)."""
        return values.sum(0).reshape(-1, size(self.code_shape[1:])).sum(1)

    def extra_repr(self) -> str:
        return (
            f"dim={self.code_shape[0]}, codewords={self.codewords}, groups={self.groups}, "
            f"commitment={self.commitment}, decay={self.decay}"
        )
