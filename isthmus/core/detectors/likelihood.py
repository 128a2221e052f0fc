r"""The network's own nats.

.. math:: s(x) = -\log p(x \mid z) + \mathrm{cost}(z)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isthmus.core.parts import Detector, Shape, Surprise

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net


class Likelihood(Detector):
    """Negative log-likelihood of the row, and the cost of its code: an unusual combination of usual values."""

    def __init__(self, shape: Shape, features_shape: Shape):
        super().__init__()

    def settle(self, net: Net, tensors: Mapping[str, Tensor], generator: torch.Generator) -> None:
        """Nothing to learn: the network is what scores."""

    def forward(
        self,
        net: Net,
        x: Tensor,
        observed: Tensor | None = None,
        condition: Tensor | None = None,
        *,
        explain: bool = True,
    ) -> Surprise:
        trace = net.trace(x, observed=observed, condition=condition)
        entries, rest = -trace.p.log_probs(trace.x, trace.observed), net.code_nats(trace.code)
        # what comes back is there already; asked for later it would take a second pass
        expected = trace.p.mean if explain else None
        return Surprise(entries.flatten(1).sum(1, dtype=torch.float64) + rest, entries, rest, expected)
