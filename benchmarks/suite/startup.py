"""What it costs to start: the help page, and the imports beside torch's. Processor time, fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from statistics import median

from benchmarks.figures import Bar, Figure, Measured, Settings, Skip
from benchmarks.paired import paired
from benchmarks.record import ROOT, megabytes

HELP = ("-m", "isthmus", "--help")


def processor_seconds(*arguments: str) -> dict[str, float]:
    """User and system time of one Python process, its peak memory, and how it ended."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Skip(f"`python {' '.join(arguments)}` does not run yet (exit code {process.returncode})")
    return {"seconds": usage.ru_utime + usage.ru_stime, "memory_mb": megabytes(usage)}


def help_page(settings: Settings) -> Measured:
    processor_seconds(*HELP)  # the first run writes the byte code
    runs = [processor_seconds(*HELP) for _ in range(settings.pick(15, 3))]
    milliseconds = 1000 * median(run["seconds"] for run in runs)
    return Measured(milliseconds, runs, data="none", seed=[], memory_mb=runs[-1]["memory_mb"])


def torch_modules(settings: Settings) -> Measured:
    """How many of torch's modules the help page loads."""
    processor_seconds(*HELP)
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *HELP], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = [line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines() if "|" in line]
    heavy = [name for name in loaded if name.split(".")[0] == "torch"]
    return Measured(len(heavy), [{"modules": len(loaded), "torch": heavy[:5]}], data="none", seed=[])


def imports(statement: str, settings: Settings) -> Measured:
    """Our import beside torch's, in pairs."""
    ours, theirs = ("-c", statement), ("-c", "import torch")
    processor_seconds(*ours)
    processor_seconds(*theirs)
    result = paired(
        lambda _: processor_seconds(*ours),
        lambda _: processor_seconds(*theirs),
        repeats=settings.pick(9, 2),
        key="seconds",
    )
    memory = max(run["memory_mb"] for run in result.a)
    return Measured(result.ratio, result.runs, data="none", seed=[], memory_mb=memory)


FIGURES = {
    "help": Figure("milliseconds of processor time of `isthmus --help`", help_page, Bar(at_most=150)),
    "help_without_torch": Figure("torch modules loaded by `isthmus --help`", torch_modules, Bar(at_most=0)),
    "import": Figure(
        "processor time, `import isthmus` ÷ `import torch`",
        partial(imports, "import isthmus"),
        Bar(at_most=1.05),
    ),
    # `import isthmus` loads nothing until something is asked for; this is what a first line of work costs
    "import_estimator": Figure(
        "processor time, `from isthmus import Autoencoder` ÷ `import torch`",
        partial(imports, "from isthmus import Autoencoder"),
    ),
}
