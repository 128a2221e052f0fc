"""What priors share that are small networks: they are fitted to whitened codes when all else is settled.

.. math:: p(z) = p_w\\bigl(L^{-1}(z - m)\\bigr) \\, / \\, |\\det L|
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from isthmus.core.parts import Prior, Shape, size
from isthmus.core.priors.gaussian import FullGaussian

#: Rows a step. Fewer rows than ``_FEWEST`` tell a gaussian and no more.
_BATCH, _FEWEST = 256, 50
_LEARNING_RATE = 3e-3
#: The share of the codes that decides when to stop, and the epochs without improvement that it waits.
_HELD_OUT, _PATIENCE = 0.1, 8


class Trained(Prior):
    """The gaussian of the codes, bent by ``network``, which begins without effect and departs from it only where
    held-out codes become likelier.
    """

    #: Optimiser steps, however many codes there are: a matter of seconds.
    steps: ClassVar[int]

    def __init__(self, code_shape: Shape, network: nn.Module):
        super().__init__()
        self.code_shape, self.dim = tuple(code_shape), size(code_shape)
        self.gaussian = FullGaussian(code_shape, ())
        self.network = network
        # Buffers, so that the optimiser of the autoencoder does not know them, and the file does.
        self._weights = [(m, name) for m in network.modules() for name, _ in m.named_parameters(recurse=False)]
        for module, name in self._weights:
            weight = getattr(module, name).detach()
            delattr(module, name)
            module.register_buffer(name, weight)

    @abstractmethod
    def cost(self, w: Tensor, generator: torch.Generator) -> Tensor:
        """(B, d) → (B,) nats to minimise: −log p_w, or a bound on it."""

    @abstractmethod
    def log_density(self, w: Tensor) -> Tensor:
        """(B, d) → (B,): log p_w of whitened codes, the same every time."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        """(n, d) from p_w."""

    def log_prob(self, z: Tensor) -> Tensor:
        return self.log_density(self.gaussian.whiten(z)) - self.gaussian.log_det

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.gaussian.colour(self.draw(n, generator))

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        self.gaussian.fit(z)
        if len(z) < _FEWEST:
            return
        generator = torch.Generator(z.device).manual_seed(0)
        w = self.gaussian.whiten(z)
        w = w[torch.randperm(len(w), generator=generator, device=w.device)]
        held, kept = w.tensor_split([max(1, round(_HELD_OUT * len(w)))])
        weights = [getattr(module, name).requires_grad_() for module, name in self._weights]
        best, waited = math.inf, 0
        state = [p.detach().clone() for p in weights]
        optimiser = torch.optim.Adam(weights, _LEARNING_RATE)
        epochs = max(1, self.steps * _BATCH // len(kept))
        for epoch in range(epochs + 1):
            # the same noise for every epoch, so that they are comparable
            loss = float(self.cost(held, torch.Generator(w.device).manual_seed(1)).mean())
            if loss < best:
                best, waited, state = loss, 0, [p.detach().clone() for p in weights]
            else:
                waited += 1
            if waited > _PATIENCE or epoch == epochs:
                break
            optimiser.param_groups[0]["lr"] = _LEARNING_RATE * (0.01 + 0.99 * math.cos(math.pi / 2 * epoch / epochs))
            for rows in kept[torch.randperm(len(kept), generator=generator, device=w.device)].split(_BATCH):
                with torch.enable_grad():
                    optimiser.zero_grad()
                    self.cost(rows, generator).mean().backward()
                nn.utils.clip_grad_norm_(weights, 10.0, error_if_nonfinite=False)
                optimiser.step()
        for weight, value in zip(weights, state, strict=True):
            weight.requires_grad_(False).copy_(value)
            weight.grad = None
