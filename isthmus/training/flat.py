"""All parameters of a group in one buffer: one optimiser step, one norm, one copy to go back to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatGroup:
    """The parameters of one loss as views of one tensor, with Adam on it.

    References:
        Kingma and Ba, Adam, 2015, https://arxiv.org/abs/1412.6980
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float):
        self.parameters = list(parameters)
        self.values = nn.Parameter(torch.cat([p.detach().flatten() for p in self.parameters]))
        self.values.grad = torch.zeros_like(self.values)
        at = 0
        for p in self.parameters:
            here = slice(at, at + p.numel())
            p.data = self.values.data[here].view_as(p)
            p.grad = self.values.grad[here].view_as(p)
            at = here.stop
        self.adam = torch.optim.AdamW([self.values], lr=learning_rate, weight_decay=weight_decay, fused=True)
        self.norm = torch.zeros((), device=self.values.device)  # running mean of the gradient's

    def backward(self, loss: Tensor, alone: bool) -> None:
        """The gradient of ``loss`` for this group, and for no other."""
        assert self.values.grad is not None
        self.values.grad.zero_()
        loss.backward(inputs=None if alone else self.parameters)

    def step(self, learning_rate: float, clip: float | None) -> None:
        """One Adam step. ``clip`` bounds the gradient to a multiple of its running mean norm."""
        gradient = self.values.grad
        assert gradient is not None
        if clip is not None:
            norm = gradient.norm()
            first = self.norm == 0
            bound = torch.where(first, norm, clip * self.norm)
            gradient.mul_((bound / norm.clamp(min=1e-30)).clamp(max=1.0))
            self.norm = torch.where(first, norm, self.norm.lerp(torch.minimum(norm, bound), 0.02))
        self.adam.param_groups[0]["lr"] = learning_rate
        self.adam.step()

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, copied."""
        adam = self.adam.state[self.values]
        return {
            "values": self.values.detach().clone(),
            "norm": self.norm.clone(),
            **{name: adam[name].clone() for name in ("step", "exp_avg", "exp_avg_sq") if name in adam},
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        self.values.copy_(state["values"])
        self.norm = state["norm"].clone().to(self.norm.device)
        self.adam.state.clear()
        if "step" in state:
            moments = {n: state[n].clone().to(self.values.device) for n in ("exp_avg", "exp_avg_sq")}
            self.adam.state[self.values] = {"step": state["step"].clone(), **moments}
