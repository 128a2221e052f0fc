"""Measures figures one after the other, records them, and draws the table at the end."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from time import perf_counter

from benchmarks import record
from benchmarks.figures import Bar, Figure, Measured, Settings, Skip
from benchmarks.suite import FIGURES


@dataclass(frozen=True)
class Row:
    """A line of the table. ``met`` is "yes", "no", "skipped" or "failed"; empty without a bar."""

    name: str
    value: str = ""
    bar: str = ""
    met: str = ""
    note: str = ""


def run(names: list[str], settings: Settings, output: Path | None) -> list[Row]:
    """Measure one by one, each group in a fresh process, so that peak memory is the group's own."""
    rows = []
    for _, group in groupby(names, key=lambda name: name.split("/")[0]):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            for name in group:
                print(f"measuring {name} …", file=sys.stderr, flush=True)
                figure = FIGURES[name]
                try:
                    measured = process.submit(measure, name, settings).result()
                except Skip as reason:
                    rows.append(Row(name, bar=bar_text(figure.bar), met="skipped", note=str(reason)))
                except BrokenProcessPool:
                    rows.append(Row(name, bar=bar_text(figure.bar), met="failed", note="the process died"))
                except Exception as error:  # one broken figure must not cost the others
                    rows.append(Row(name, bar=bar_text(figure.bar), met="failed", note=f"{error!r}"))
                else:
                    rows.append(summary(name, figure, measured))
                    if output:
                        record.append(output, record.line(name, figure, measured, quick=settings.quick))
    return rows


def measure(name: str, settings: Settings) -> Measured:
    """Runs in the group's process."""
    figure = FIGURES[name]
    if figure.rivals and not settings.rivals:
        raise Skip("--no-rivals")
    start = perf_counter()
    measured = figure.measure(settings)
    return replace(
        measured,
        seconds=round(measured.seconds or perf_counter() - start, 2),
        memory_mb=measured.memory_mb or record.peak_memory_mb(),
    )


def summary(name: str, figure: Figure, measured: Measured) -> Row:
    bar = measured.bar or figure.bar
    met = "" if bar is None else "yes" if bar.met(measured.value) else "no"
    return Row(name, f"{measured.value:.4g}", bar_text(bar), met, measured.note)


def bar_text(bar: Bar | None) -> str:
    return str(bar) if bar else ""


def table(rows: list[Row]) -> str:
    """Aligned columns; the note comes last because it may be long."""
    heads = ("figure", "value", "bar", "met", "note")
    cells = [heads, *[(row.name, row.value, row.bar, row.met, row.note) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads) - 1)] + [0]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    rule = "─" * (sum(widths) + 2 * len(widths) + len("note"))
    return "\n".join([lines[0], rule, *lines[1:]])


def tally(rows: list[Row]) -> str:
    """What a person reads first: how many bars are met, missed and not measured.

    >>> tally([Row("a", met="yes"), Row("b", met="skipped"), Row("c")])
    '3 figures: 1 met, 0 missed, 1 without a bar, 1 skipped, 0 failed'
    """
    words = {"yes": "met", "no": "missed", "": "without a bar", "skipped": "skipped", "failed": "failed"}
    counts = [f"{sum(row.met == met for row in rows)} {word}" for met, word in words.items()]
    return f"{len(rows)} figures: {', '.join(counts)}"
