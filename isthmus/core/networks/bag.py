r"""A bag of entries: the first layer of rows of which nearly all entries are zero works on the others alone.

.. math:: y = [a(\textstyle\sum_{j\,:\,x_j \ne 0} x_j V_j + b), \; \sum_{j\,:\,x_j \ne 0} x_j W_j]

One look into one table serves both, the deep part and the linear path; more layers may follow the deep part.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from isthmus.core.networks.dense import ACTIVATIONS, chain
from isthmus.core.parts import Body, Shape, one_of, size

#: The deviation of the table's entries: a row of length 1 gives the activations this size at the beginning. Larger,
#: and the deep part begins by knowing every row by heart.
_BEGINS = 0.1


class Bag(Body):
    """``widths`` as those of an mlp; with none there is no deep part. The linear path has as many numbers as the code.

    ``frozen`` stays at what it begins with: of text, codes are then those of latent semantic analysis.
    """

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        widths: Sequence[int] = (256,),
        activation: str = "gelu",
        linear_path: bool = False,
        frozen: bool = False,
    ):
        super().__init__()
        one_of("activation", activation, list(ACTIVATIONS))
        if len(in_shape) != 1:
            raise ValueError(f"a bag takes flat rows, got {tuple(in_shape)}")
        self.widths, self.activation = [int(w) for w in widths], activation
        if not (self.widths or linear_path) or min(self.widths, default=1) < 1:
            raise ValueError(f"widths are whole numbers of at least 1, got {list(widths)}")
        self.frozen, beside = frozen, size(target_shape) if linear_path else 0
        self.first, last = (self.widths[0], self.widths[-1]) if self.widths else (0, 0)
        self.table = nn.Parameter(torch.randn(in_shape[0], self.first + beside) * _BEGINS)
        self.bias = nn.Parameter(torch.zeros(self.first))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(self.widths))
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"))
            nn.init.zeros_(layer.bias)
        self.out_shape = (last + beside,)
        self.linear = slice(last, last + beside) if linear_path else None
        self.drawn = " → ".join(map(str, self.widths)) or "linear"

    def forward(self, x: Tensor) -> Tensor:
        first = self._looked_up(x)
        deep, straight = first.tensor_split([self.first], dim=1)
        h = chain(ACTIVATIONS[self.activation][0](deep + self.bias), list(self.layers), self.activation)
        return h if self.linear is None else torch.cat([h, straight], dim=1)

    def _looked_up(self, x: Tensor) -> Tensor:
        """``x @ table``."""
        if x.requires_grad or torch.compiler.is_exporting():  # a penalty wants to know how the code moves with x
            return x @ self.table
        rows, columns = x.nonzero(as_tuple=True)
        begins = torch.searchsorted(rows, torch.arange(len(x), device=x.device))
        return embedding_bag(columns, self.table, begins, mode="sum", per_sample_weights=x[rows, columns])

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        # the path is wide enough for the whole map, and behind it nothing is left to do
        self.table[:, self.first :] = weight.T.to(self.table)
        return torch.eye(len(weight)), bias

    def extra_repr(self) -> str:
        path = self.linear is not None
        return f"widths={self.widths}, activation={self.activation!r}, linear_path={path}, frozen={self.frozen}"
