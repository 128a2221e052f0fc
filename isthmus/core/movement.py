"""Hidden units that never move, whoever wrote the network.

Activation functions are watched where torch dispatches them, because a chain of dense layers is no chain of modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

#: A unit that moves less than this share of what the others of its layer do is dead.
_STILL = 1e-3
_ACTIVATIONS = frozenset(
    getattr(torch.ops.aten, name + ending)
    for name in ("elu", "gelu", "hardtanh", "leaky_relu", "mish", "relu", "sigmoid", "silu", "tanh")
    for ending in ("", "_")
)


class Movement(TorchDispatchMode):
    """Between what every hidden unit of a module moves, over all batches that pass while it is watched."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[tuple[Tensor, Tensor]] = []
        self.at = 0

    @contextmanager
    def of(self, module: nn.Module) -> Iterator[None]:
        """Watch what happens inside ``module``."""

        def begin(*_: Any) -> None:
            self.at = 0
            self.__enter__()

        hooks = [
            module.register_forward_pre_hook(begin),
            module.register_forward_hook(lambda *_: self.__exit__(None, None, None), always_call=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in _ACTIVATIONS:
            self._look(out)
        return out

    def _look(self, out: Tensor) -> None:
        units = columns(out, 1 if out.ndim == 4 else -1)
        low, high = units.amin(0), units.amax(0)
        if self.at < len(self.ranges):
            before = self.ranges[self.at]
            self.ranges[self.at] = torch.minimum(before[0], low), torch.maximum(before[1], high)
        else:
            self.ranges.append((low, high))
        self.at += 1

    def still(self) -> tuple[int, int]:
        """How many units never moved, and how many there are."""
        moves = [high - low for low, high in self.ranges]
        dead = sum(int((move <= _STILL * move.quantile(0.9)).sum()) for move in moves)
        return dead, sum(map(len, moves))


def columns(t: Tensor, axis: int) -> Tensor:
    """One column per entry of an axis, everything else in the rows."""
    return t.movedim(axis, -1).flatten(0, -2) if t.ndim > 2 else t
