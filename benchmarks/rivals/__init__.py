"""Everyone who takes part in a comparison, each in a process of its own.

A contestant is a small script that answers one JSON request a line (:mod:`benchmarks.rivals.protocol`),
so that each has its own environment, its own threads and its own peak memory. Ours is one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.figures import Skip
from benchmarks.record import ROOT

HERE = Path(__file__).resolve().parent
OURS = Path(sys.executable)
THEIRS = ROOT / ".venv-rivals" / "bin" / "python"
MISSING = "the rivals' environment is missing: benchmarks/README.md has the two commands that make it"


@dataclass(frozen=True)
class Entry:
    """How a contestant is started, and which package's version its results depend on."""

    script: str
    python: Path
    package: str


CONTESTANTS = {
    "ours": Entry("ours.py", OURS, "isthmus"),
    "tutorial": Entry("tutorial.py", OURS, "torch"),
    "tensor_dataset": Entry("tensor_dataset.py", OURS, "torch"),
    "pyod": Entry("pyod_autoencoder.py", THEIRS, "pyod"),
    "pyod_tables": Entry("pyod_tables.py", THEIRS, "pyod"),
    "pythae": Entry("pythae_autoencoder.py", THEIRS, "pythae"),
    "maps": Entry("maps.py", THEIRS, "umap-learn"),
    "jax": Entry("jax_scan.py", THEIRS, "jax"),
}


class Contestant:
    """A running contestant: ``contestant("fit", epochs=3)`` sends a request and returns the answer.

    ``threads`` limits the process to that many cores as well as the usual thread pools, since JAX
    sizes its pool by the cores that it may use. None leaves all defaults alone.
    """

    def __init__(self, name: str, *, threads: int | None = None):
        entry = CONTESTANTS[name]
        if not entry.python.exists():
            raise Skip(MISSING)
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [entry.python, HERE / entry.script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=_environment(threads),
            preexec_fn=(lambda: _keep_to(threads)) if threads else None,
        )
        try:
            self.versions = {entry.package: self("version", package=entry.package)["version"]}
        except RuntimeError as error:
            self.close()
            raise Skip(f"{name} does not start: {error}") from None

    def __call__(self, request: str, **options: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"request": request, "options": options}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; what it said last is in the log
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError((self.said().strip().splitlines() or ["it ended without a word"])[-1])
        return json.loads(answer)

    def said(self) -> str:
        """Everything that it has printed so far."""
        self._log.seek(0)
        return self._log.read()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # its end of input is its signal to leave
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _environment(threads: int | None) -> dict[str, str]:
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS") if threads else ()
    return {**os.environ, "PYTHONPATH": search, **{name: str(threads) for name in limits}}


def _keep_to(threads: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
