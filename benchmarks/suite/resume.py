"""Killed and resumed: the same command ends with the same weights, bit for bit.

`isthmus fit` runs once without disturbance. Then, again and again, it is killed with SIGKILL at a random
moment, started once more with `--resume`, and its tensors are compared with the undisturbed ones.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings, Skip
from benchmarks.record import ROOT

KILLS = 10


def command(rows: Path, model: Path, epochs: int) -> list[str]:
    options = ["--seed", "0", "--epochs", str(epochs), "--quiet", "--resume"]
    return [sys.executable, "-m", "isthmus", "fit", str(rows), "-o", str(model), *options]


def tensors(model: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    from safetensors.numpy import load_file

    return {name: (str(t.dtype), t.shape, t.tobytes()) for name, t in load_file(model).items()}


def killed(settings: Settings) -> Measured:
    count, epochs = settings.pick(20_000, 2_000), settings.pick(5, 2)
    rows = Path(data.hand_over("rows", data.flat(data.mnist().train[:count])))
    whole = data.scratch("whole.isthmus")
    start = perf_counter()
    run = subprocess.run(command(rows, whole, epochs), cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise Skip(f"`isthmus fit` does not run yet: {(run.stderr.strip().splitlines() or ['no word'])[-1]}")
    seconds = perf_counter() - start
    expected = tensors(whole)

    generator = np.random.default_rng(settings.seed)
    runs: list[dict[str, Any]] = []
    while len(runs) < settings.pick(KILLS, 2):
        model = data.scratch(f"killed-{len(runs)}.isthmus")
        outcome = kill_once(command(rows, model, epochs), model, after=seconds * generator.uniform(0.1, 1))
        if outcome is None:
            continue  # it was done before the blow fell
        resumed = subprocess.run(command(rows, model, epochs), cwd=ROOT, capture_output=True, text=True, check=True)
        same = tensors(model) == expected
        runs.append({**outcome, "identical": same, "said": resumed.stderr.strip()[-200:]})
    with_checkpoint = sum(run["checkpoint"] for run in runs)
    return Measured(
        value=sum(run["identical"] for run in runs) / len(runs),
        runs=runs,
        data=f"mnist, {count:,} rows",
        seed=settings.seed,
        note=f"{len(runs)} kills, {with_checkpoint} of them after a first checkpoint",
    )


def kill_once(command: list[str], model: Path, *, after: float) -> dict[str, Any] | None:
    """Start, wait, SIGKILL. None when the command had ended by then."""
    model.unlink(missing_ok=True)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sleep(after)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        return None
    checkpoint = model.with_name(f"{model.name}.checkpoint").exists()
    return {"killed_after": round(after, 3), "checkpoint": checkpoint}


FIGURES = {"killed": Figure("share of killed and resumed fits that end bit for bit", killed, Bar(at_least=1))}
