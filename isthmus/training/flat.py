"""All parameters of a group in one buffer: one optimiser step, one norm, one copy to go back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

#: AdamW as one operation. The function around it sorts tensors by device at every step, which takes small networks
#: longer than the step itself; it is there in case a version of torch has the operation no more.
_FUSED: Any = getattr(torch, "_fused_adamw_", None)


class FlatGroup:
    """The parameters of one loss as views of one tensor, their gradients as views of another, and AdamW.

    References:
        Kingma and Ba, Adam, 2015, https://arxiv.org/abs/1412.6980
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, https://arxiv.org/abs/1711.05101
    """

    def __init__(self, parameters: Sequence[nn.Parameter], weight_decay: float = 0.0):
        self.parameters, self.weight_decay = list(parameters), weight_decay
        self.values = torch.cat([p.detach().flatten() for p in self.parameters])
        self.gradient = torch.zeros_like(self.values)
        at = 0
        for p in self.parameters:
            here = slice(at, at + p.numel())
            p.data = self.values[here].view_as(p)
            p.grad = self.gradient[here].view_as(p)
            at = here.stop
        self.mean, self.square = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.count = torch.zeros((), device=self.values.device)  # steps taken
        self.norm = torch.zeros((), device=self.values.device)  # running mean of the gradient's

    @torch.no_grad()
    def step(self, learning_rate: float, clip: float | None = None) -> None:
        """One AdamW step. ``clip`` bounds the gradient to a multiple of its running mean norm."""
        if clip is not None:
            self._clip(clip)
        if _FUSED is not None:
            self.count += 1
            _FUSED(
                [self.values], [self.gradient], [self.mean], [self.square], [], [self.count],
                lr=learning_rate, beta1=0.9, beta2=0.999, weight_decay=self.weight_decay, eps=1e-8,
                amsgrad=False, maximize=False, grad_scale=None, found_inf=None,
            )  # fmt: skip
            return
        adamw(
            [self.values],
            [self.gradient],
            [self.mean],
            [self.square],
            [],
            [self.count],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate,
            weight_decay=self.weight_decay,
            eps=1e-8,
            maximize=False,
        )

    def _clip(self, clip: float) -> None:
        norm = self.gradient.norm()
        if norm.device.type == "cpu":  # where a number is read at once, what would change nothing is left out
            if not self.norm:
                self.norm = norm
                return
            bound = clip * self.norm
            if not norm <= bound:
                self.gradient.mul_((bound / norm.clamp(min=1e-30)).clamp(max=1.0))
            self.norm = self.norm.lerp(torch.minimum(norm, bound), 0.02)
            return
        first = self.norm == 0
        bound = torch.where(first, norm, clip * self.norm)
        self.gradient.mul_((bound / norm.clamp(min=1e-30)).clamp(max=1.0))
        self.norm = torch.where(first, norm, self.norm.lerp(torch.minimum(norm, bound), 0.02))

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, copied."""
        return {name: getattr(self, name).clone() for name in ("values", "mean", "square", "count", "norm")}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        for name, value in state.items():
            getattr(self, name).copy_(value)
