"""The history: one JSON line for every figure measured, with machine and versions, never rewritten."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Measured

ROOT = Path(__file__).resolve().parent.parent
HISTORY = ROOT / "benchmarks" / "history"
PACKAGES = ("torch", "numpy", "scikit-learn", "pyarrow", "safetensors")


def line(name: str, figure: Figure, measured: Measured, *, quick: bool) -> dict[str, Any]:
    """The entry of one figure."""
    bar = measured.bar or figure.bar
    return {
        "name": name,
        **commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": {**hardware(), "load": round(os.getloadavg()[0], 2)},
        "versions": {**versions(), **measured.versions},
        "data": measured.data,
        "seed": measured.seed,
        "quick": quick,
        "metric": figure.metric,
        "value": measured.value,
        "bar": bar.to_json() if bar else None,
        "met": bar.met(measured.value) if bar else None,
        "seconds": measured.seconds,
        "memory_mb": measured.memory_mb,
        "note": measured.note,
        "runs": measured.runs,
    }


def append(path: Path, entry: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as history:
        history.write(json.dumps(entry, ensure_ascii=False, default=_plain) + "\n")


def _plain(scalar: Any) -> Any:
    """numpy's scalars as Python's; anything else is our own mistake."""
    return scalar.item()


@cache
def commit() -> dict[str, Any]:
    """The commit measured, and whether the tree differs from it (new results do not count)."""

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return run.stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/history")
    return {"commit": git("rev-parse", "HEAD") or None, "dirty": bool(changed)}


@cache
def hardware() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [row for row in cpuinfo.read_text().splitlines() if row.startswith("model name")]
        cpu = named[0].split(":", 1)[1].strip() if named else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu, "cores": os.cpu_count(), "memory": f"{memory / 2**30:.1f} GiB"}


@cache
def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_mb() -> float:
    """Peak resident memory of this process."""
    return megabytes(resource.getrusage(resource.RUSAGE_SELF))


def megabytes(usage: resource.struct_rusage) -> float:
    """Peak resident memory, which some systems count in bytes and others in kilobytes."""
    return round(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), 1)
