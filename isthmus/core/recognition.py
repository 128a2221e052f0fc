r"""Do codes know two halves of one thing for the same? What a code is worth in search, without a label.

.. math:: \frac{1}{\mathrm{place}_i}, \quad
    \mathrm{place}_i = 1 + \#\{j : \cos(z_i, z'_j) > \cos(z_i, z'_i)\}

Each code of a first half looks for its second half among those of all rows; 1 ÷ place is 1 where it comes first.

References:
    Voorhees, The TREC-8 Question Answering Track Report, 1999 (mean reciprocal rank).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize


def recognised(first: Tensor, second: Tensor) -> Tensor:
    """Codes of halves (n, …), row by row of the same thing → 1 ÷ the place at which each finds the other (n,)."""
    cosines = normalize(first.flatten(1)) @ normalize(second.flatten(1)).T
    own = cosines.diagonal()[:, None]
    # those that are as near count half: codes that are all alike recognise nothing
    place = 1 + (cosines > own).sum(1) + ((cosines == own).sum(1) - 1) / 2
    return 1 / place
