"""Progress for people: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from isthmus.training.hooks import Hook

if TYPE_CHECKING:
    from rich.live import Live

    from isthmus.training.run import Epoch, Run

#: Silence for this long, then a line: short fits stay quiet.
_PATIENCE = 2.0


def _count(rows_per_second: float) -> str:
    return f"{rows_per_second / 1000:.1f}k" if rows_per_second >= 1000 else f"{rows_per_second:.0f}"


def _clock(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"


class Progress(Hook):
    """Epoch, loss by term (nats per row), held-out error, rows per second, time left."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.live: Live | None = None
        self.said = time.monotonic()

    def start(self, run: Run) -> None:
        if self.stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self.live = Live(console=Console(file=self.stream), transient=True, refresh_per_second=8)
            self.live.start()

    def step(self, run: Run) -> None:
        if self.live is not None and time.monotonic() - self.said > 0.25 and run.history:
            self._show(run, run.history[-1])

    def epoch(self, run: Run, epoch: Epoch) -> None:
        if self.live is not None:
            self._show(run, epoch)
        elif time.monotonic() - self.said > _PATIENCE:
            self.said = time.monotonic()
            print("  " + "   ".join(f"{k} {v}" for k, v in _fields(run, epoch)), file=self.stream, flush=True)

    def close(self) -> None:
        if self.live is not None:
            self.live.stop()

    def _show(self, run: Run, epoch: Epoch) -> None:
        from rich.table import Table

        assert self.live is not None
        self.said = time.monotonic()
        table = Table(box=None, pad_edge=False, header_style="dim")
        fields = _fields(run, epoch)
        for name, _ in fields:
            table.add_column(name, justify="right")
        table.add_row(*(value for _, value in fields))
        self.live.update(table, refresh=True)


def _fields(run: Run, epoch: Epoch) -> list[tuple[str, str]]:
    fields = [("epoch", f"{epoch.number}/{epoch.of}" if run.plan.max_time is None else f"{epoch.number}")]
    fields += [(name, f"{value:.4g}") for name, value in epoch.terms.items()]
    if epoch.error is not None:
        fields.append(("held-out error", f"{epoch.error:.4g}"))
    if epoch.rows_per_second:
        fields.append(("rows/s", _count(epoch.rows_per_second)))
    left = epoch.left if run.plan.max_time is None else max(run.plan.max_time - run.elapsed(), 0.0)
    return [*fields, ("left", _clock(left))]
