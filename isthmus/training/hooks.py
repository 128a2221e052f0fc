"""What happens beside the training: keeping the best, guarding against NaN, stopping, checkpoints, logging."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus import modelfile
from isthmus.errors import FileError, TrainingError

if TYPE_CHECKING:
    from isthmus.training.run import Epoch, Run


class Hook:
    """Called by the loop; does nothing unless a method is overridden. Hooks start in reverse order, so that
    those that act last on an epoch (a checkpoint) put their state back before the others look at it.
    """

    def start(self, run: Run) -> None: ...

    def step(self, run: Run) -> None:
        """After every step. Must not read a tensor's value: on a GPU that would wait for it."""

    def epoch(self, run: Run, epoch: Epoch) -> None:
        """After every epoch; ``run.stop("reason")`` ends the training."""

    def end(self, run: Run) -> None:
        """After a training that came to its end, early or not."""

    def close(self) -> None:
        """At the very last, whatever happened."""


class KeepBest(Hook):
    """Remembers the weights with the lowest held-out loss, and stops when they no longer change.

    Beside a critic the last weights stay. A held-out loss cannot choose among them: without the critic's share the
    lowest is where the codes obey it least (the start), and that share is measured by a critic that moves. What a
    game has come to is where it is when the learning rate has gone down.
    """

    def __init__(self, patience: float | None):
        self.patience = patience

    def epoch(self, run: Run, epoch: Epoch) -> None:
        if epoch.held_out is None or math.isnan(epoch.held_out) or run.net.critic is not None:
            return
        if run.best is None or epoch.held_out < run.best["loss"]:
            run.best = {"loss": epoch.held_out, "epoch": epoch.number, "net": run.weights()}
        elif self.patience is not None and epoch.number - run.best["epoch"] >= math.ceil(self.patience * run.epochs):
            run.stop(f"no better on held-out rows since epoch {run.best['epoch']}")

    def end(self, run: Run) -> None:
        if run.best is not None:
            run.net.load_state_dict(run.best["net"])


class Guard(Hook):
    """Goes back to the last good state when a loss is no longer a number, with half the learning rate."""

    def __init__(self, every: int = 200, tries: int = 5):
        self.every, self.tries = every, tries
        self.good: dict[str, Any] | None = None

    def start(self, run: Run) -> None:
        self.good = run.state()

    def step(self, run: Run) -> None:
        if run.step % self.every == 0:
            self._look(run)

    def epoch(self, run: Run, epoch: Epoch) -> None:
        self._look(run)

    def _look(self, run: Run) -> None:
        broken = [name for name, total in run.sums.items() if not math.isfinite(float(total))]
        if not broken and all(bool(g.values.isfinite().all()) for g in run.groups.values()):
            self.good = run.state()
            return
        # by now one term has spoilt the others, but it was not a number in more steps than they
        broken.sort(key=lambda name: -float(run.broken.get(name, 0)))
        what = f"the term {broken[0]!r}" if broken else "a weight"
        run.rollbacks += 1
        if run.rollbacks > self.tries:
            raise TrainingError(
                f"Training broke {run.rollbacks} times: {what} is not a finite number in epoch {run.epoch}. "
                "Lower learning_rate, scale the rows, or look for extreme values in them."
            )
        rollbacks = run.rollbacks
        assert self.good is not None
        run.restore(self.good)
        run.rollbacks, run.slow_down = rollbacks, 0.5**rollbacks
        run.remarks.append(
            f"{what} became infinite or NaN in epoch {run.epoch}: went back and halved the learning rate"
        )


class Checkpoint(Hook):
    """Writes everything that the run depends on beside the output, so that a killed run can go on."""

    def __init__(self, path: Path, fingerprint: str, resume: bool, seconds: float = 20.0):
        self.path, self.fingerprint, self.resume, self.seconds = path, fingerprint, resume, seconds
        self.written = time.monotonic()

    def start(self, run: Run) -> None:
        if not self.resume or not self.path.exists():
            return
        saved = modelfile.read(self.path)
        header, tensors = saved.header, saved.tensors
        if header.get("fingerprint") != self.fingerprint:
            raise FileError(
                f"The checkpoint {self.path} belongs to another run (other rows, parts or options). "
                "Delete it, or give the options of that run."
            )
        run.load(header["run"], tensors)

    def step(self, run: Run) -> None:
        if time.monotonic() - self.written > self.seconds:
            self._write(run)

    def epoch(self, run: Run, epoch: Epoch) -> None:
        self._write(run)

    def _write(self, run: Run) -> None:
        header, tensors = run.dump()
        modelfile.write(self.path, {"fingerprint": self.fingerprint, "run": header}, tensors)
        self.written = time.monotonic()

    def end(self, run: Run) -> None:
        self.written = math.inf


class Callback(Hook):
    """A person's function, called with every :class:`Epoch`; returning True stops the training."""

    def __init__(self, function: Callable[[Epoch], Any]):
        self.function = function

    def epoch(self, run: Run, epoch: Epoch) -> None:
        if self.function(epoch) is True:
            run.stop("a callback asked for it")


class Watch(Hook):
    """Ends the training when its time is up, in the middle of an epoch if need be."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def step(self, run: Run) -> None:
        if run.elapsed() > self.seconds:
            run.stop(f"the time of {self.seconds:.0f} s was up")
