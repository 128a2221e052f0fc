"""Where a training stands: the record of each epoch, and everything that a step depends on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from isthmus import devices
from isthmus.core.parts import Losses
from isthmus.spec import Plan
from isthmus.training.flat import FlatGroup

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net


@dataclass
class Epoch:
    """One line of the record. Losses are nats per row; ``error`` is the squared error per held-out row."""

    number: int
    of: int
    terms: dict[str, float] = field(default_factory=dict)
    held_out: float | None = None
    error: float | None = None
    learning_rate: float = 0.0
    rows_per_second: float = 0.0
    seconds: float = 0.0

    @property
    def left(self) -> float:
        """Seconds that the remaining epochs will take at this pace."""
        return self.seconds / max(self.number, 1) * (self.of - self.number)


@dataclass
class Run:
    """Where a training stands: everything that hooks read, keep or put back."""

    net: Net
    groups: dict[str, FlatGroup]
    plan: Plan
    epochs: int
    steps: int  # per epoch
    n_rows: int
    forward: Callable[..., Losses]
    epoch: int = 0  # finished ones
    at: int = 0  # steps done in this one
    sums: dict[str, Tensor] = field(default_factory=dict)  # of the terms in this epoch
    broken: dict[str, Tensor] = field(default_factory=dict)  # steps in which a term was not a number
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Any] | None = None
    remarks: list[str] = field(default_factory=list)
    stopped: str | None = None
    rollbacks: int = 0
    slow_down: float = 1.0
    jumped: bool = False
    before: float = 0.0  # seconds of earlier runs that this one resumes
    began: float = field(default_factory=time.monotonic)

    @property
    def step(self) -> int:
        return self.epoch * self.steps + self.at

    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.began

    def progress(self) -> float:
        """The fraction of the training that is done, by steps or by the clock, whichever is further."""
        done = self.step / max(self.epochs * self.steps, 1)
        if self.plan.max_time is not None:
            done = max(done, self.elapsed() / self.plan.max_time)
        return min(done, 1.0)

    def learning_rate(self) -> float:
        """A linear warm-up, then a cosine down to a hundredth."""
        assert not isinstance(self.plan.learning_rate, str)
        done, warmup = self.progress(), self.plan.warmup
        peak = self.plan.learning_rate * self.slow_down
        if done < warmup:
            return peak * max(done / warmup, 0.01)
        falling = 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(1 - warmup, 1e-9)))
        return peak * (0.01 + 0.99 * falling)

    def stop(self, why: str) -> None:
        self.stopped = self.stopped or why

    def weights(self) -> dict[str, Tensor]:
        """A copy of the whole network's state."""
        return {name: value.detach().clone() for name, value in self.net.state_dict().items()}

    # -- going back and going on ----------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "place": (self.epoch, self.at),
            "groups": {name: group.state() for name, group in self.groups.items()},
            "buffers": {name: value.clone() for name, value in self.net.named_buffers()},
            "sums": {name: value.clone() for name, value in self.sums.items()},
            "rng": {"cpu": torch.get_rng_state()} | devices.gpu_rng_state(),
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.at = state["place"]
        for name, group in self.groups.items():
            group.restore(state["groups"][name])
        for name, value in self.net.named_buffers():
            value.copy_(state["buffers"][name])
        self.sums = {name: value.clone() for name, value in state["sums"].items()}
        devices.set_rng_state(state["rng"])
        del self.history[self.epoch + 1 :]
        self.jumped = True

    def dump(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The state as JSON and tensors, for a checkpoint."""
        state, tensors = self.state(), {}
        for kind in ("buffers", "sums", "rng"):
            tensors |= {f"{kind}/{name}": value for name, value in state[kind].items()}
        for group, values in state["groups"].items():
            tensors |= {f"groups/{group}/{name}": value for name, value in values.items()}
        if self.best is not None:
            tensors |= {f"best/{name}": value for name, value in self.best["net"].items()}
        header = {
            "place": list(state["place"]),
            "history": [asdict(epoch) for epoch in self.history],
            "best": self.best and {"loss": self.best["loss"], "epoch": self.best["epoch"]},
            "remarks": self.remarks,
            "stopped": self.stopped,
            "rollbacks": self.rollbacks,
            "slow_down": self.slow_down,
            "seconds": self.elapsed(),
        }
        return header, tensors

    def load(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint, bit for bit."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}

        self.restore(
            {
                "place": header["place"],
                "groups": {name: under(f"groups/{name}/") for name in self.groups},
                **{kind: under(f"{kind}/") for kind in ("buffers", "sums", "rng")},
            }
        )
        self.history = [Epoch(**epoch) for epoch in header["history"]]
        self.best = header["best"] and {**header["best"], "net": under("best/")}
        self.remarks, self.stopped = list(header["remarks"]), header["stopped"]
        self.rollbacks, self.slow_down = header["rollbacks"], header["slow_down"]
        self.before, self.began = header["seconds"], time.monotonic()
