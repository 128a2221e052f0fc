import io

import pytest

from isthmus.training import progress
from isthmus.training.progress import Progress
from isthmus.training.run import Epoch


class Run:
    """As much of a run as progress looks at."""

    def __init__(self, max_time=None):
        self.plan = type("Plan", (), {"max_time": max_time})()

    def elapsed(self):
        return 2.0


EPOCH = Epoch(3, 10, {"reconstruction": 1.5, "rate": 0.25}, 2.0, 0.75, 1e-3, 12_345.0, 6.0)


def test_short_fits_are_quiet():
    stream = io.StringIO()
    shown = Progress(stream)
    shown.start(Run())
    shown.epoch(Run(), EPOCH)
    shown.end(Run())
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("max_time", "count", "left"), [(None, "epoch 3/10", "14.0 s"), (100.0, "epoch 3 ", "1:38 min")]
)
def test_a_line_says_it_all(monkeypatch, max_time, count, left):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    stream = io.StringIO()
    Progress(stream).epoch(Run(max_time), EPOCH)
    line = stream.getvalue()
    for said in (count, "reconstruction 1.5", "rate 0.25", "held-out error 0.75", "rows/s 12.3k", f"left {left}"):
        assert said in line


def test_a_terminal_gets_a_table(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    shown = Progress(stream)
    shown.start(Run())
    shown.epoch(Run(), EPOCH)
    shown.end(Run())
    assert "held-out error" in stream.getvalue()
