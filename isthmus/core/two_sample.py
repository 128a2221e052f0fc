"""Two samples of codes: how often can a classifier say which of them a code is from?

.. math:: \\mathrm{accuracy} \\in [\\tfrac12, 1], \\quad \\tfrac12 \\text{ where the samples are alike}

References:
    Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017, https://arxiv.org/abs/1610.06545
    Rahimi and Recht, Random Features for Large-Scale Kernel Machines, 2007.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Rows of each sample that are looked at, random features, and directions through which wide codes are seen.
_ROWS, _FEATURES, _WIDEST = 2000, 256, 64
_RIDGE = 1e-2


@torch.no_grad()
def told_apart(a: Tensor, b: Tensor, generator: torch.Generator | None = None) -> float:
    """The held-out accuracy of a ridge classifier on the entries, their squares and random rectified mixes.

    ``a`` and ``b`` are (n, …) and (m, …); equally many rows of both count, one half to fit and one to test.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=a.device).double()

    n = min(len(a), len(b), _ROWS) // 2 * 2
    if n < 2:
        return 0.5
    a, b = (t[torch.randperm(len(t), generator=generator, device=t.device)[:n]] for t in (a, b))
    x = torch.cat([a, b])
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-12)
    if x.shape[1] > _WIDEST:
        x = x @ noise(x.shape[1], _WIDEST) / x.shape[1] ** 0.5
    mixes = (x @ noise(x.shape[1], _FEATURES) / x.shape[1] ** 0.5 + noise(_FEATURES)).relu()
    features = torch.cat([torch.ones_like(x[:, :1]), x, x.square(), mixes], dim=1)
    side = torch.ones(n, dtype=x.dtype, device=x.device)
    side = torch.cat([side, -side])
    fitted = torch.arange(2 * n, device=x.device) % 2 == 0  # rows are in random order within each sample
    known, answers = features[fitted], side[fitted]
    ridge = _RIDGE * len(known) * torch.eye(features.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(known.mT @ known + ridge, known.mT @ answers)
    return max(0.5, float(((features[~fitted] @ weights) * side[~fitted] > 0).double().mean()))
