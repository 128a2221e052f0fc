"""Measure the figures and compare them with their bars.

python -m benchmarks                        all of them (about three hours)
python -m benchmarks startup tables/auroc   a group, a figure
python -m benchmarks --quick                small settings: does everything run?
"""

from __future__ import annotations

import argparse
import difflib
import os
from datetime import date
from pathlib import Path

from benchmarks import record
from benchmarks.figures import Settings
from benchmarks.runner import Row, bar_text, run, table, tally
from benchmarks.suite import FIGURES


def main(arguments: list[str] | None = None) -> int:
    said = parse(arguments)
    chosen = [name for name in FIGURES if not said.names or any(matches(name, x) for x in said.names)]
    if said.list:
        print(table([Row(name, bar=bar_text(FIGURES[name].bar), note=FIGURES[name].metric) for name in chosen]))
        return 0
    # the bars are set for processors; every side takes an accelerator only where a person hands it over
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    settings = Settings(quick=said.quick, rivals=said.rivals, minutes=said.minutes)
    output = said.output
    if output is None and not said.quick:
        output = record.HISTORY / f"{date.today().isoformat()}.jsonl"
    rows = run(chosen, settings, output)
    print(f"{table(rows)}\n\n{tally(rows)}")
    if output:
        print(f"Written to {output}")
    return int(any(row.met == "failed" for row in rows))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="groups or figures; all of them if none is named")
    parser.add_argument("--list", action="store_true", help="show the figures and their bars, measure nothing")
    parser.add_argument("--quick", action="store_true", help="small settings, written to no history unless asked")
    parser.add_argument(
        "--rivals",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure the figures that need the rivals' environment",
    )
    parser.add_argument("--minutes", type=float, help="the time of each training that time decides (denoise: 10)")
    parser.add_argument("--output", type=Path, help="JSON lines file to append to (benchmarks/history/<date>.jsonl)")
    said = parser.parse_args(arguments)
    for name in said.names:
        if not any(matches(figure, name) for figure in FIGURES):
            known = [*FIGURES, *{figure.split("/")[0] for figure in FIGURES}]
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            parser.error(f"No figure is called {name!r}.{hint} `--list` shows them all.")
    return said


def matches(figure: str, said: str) -> bool:
    return figure == said or figure.startswith(f"{said}/")


if __name__ == "__main__":
    raise SystemExit(main())
