"""``isthmus map``: rows as points on a page that holds everything itself, or as a picture, or as coordinates."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from isthmus.app.params import PAGES, PICTURES, NumberOr, Seconds, Setting
from isthmus.app.voice import Voice, check_output, voiced
from isthmus.errors import FileError, SpecError
from isthmus.spec import AUTO, Plan

#: The files that coordinates go to.
TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather", ".jsonl", ".npy", ".npz")
#: Rows whose layout takes a while.
_MANY = 5_000


@click.command("map", short_help="Draw rows as a map: alike rows lie near each other; a page, a picture or a table.")
@click.argument("data")
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path),
    help="A page (.html), a picture (.png), or the coordinates (.csv, .parquet, …).",
)  # fmt: skip
@click.option("--onto", type=click.Path(path_type=Path), metavar="MODEL", help="Put the rows on the map of this model.")
@click.option("--model", type=click.Path(path_type=Path), metavar="FILE",
              help="Where the fitted model goes; by itself beside the output, with the ending .isthmus.")  # fmt: skip
@click.option("--dim", type=int, default=2, show_default=True, help="Numbers of a place: 2 or 3.")
@click.option(
    "--labels",
    metavar="NAME",
    help="What to colour by, at which the map does not look: a column, a file with one a row, or folder.",
)
@click.option("--rows", "most", type=click.IntRange(min=10), default=60_000, show_default=True,
              help="At most so many rows are drawn, chosen at random.")  # fmt: skip
@click.option(
    "--kind",
    type=click.Choice(["array", "table", "image", "series", "sparse", "text"]),
    help="What the rows are, where that is not clear.",
)
@click.option("--column", "columns", multiple=True, type=Setting("age=numeric"),
              help="A column's kind, or NAME=ignore to leave it out of the map.")  # fmt: skip
@click.option("--text", multiple=True, metavar="COLUMN", help="A column that holds the text. May be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same map.")
@click.option("--epochs", type=NumberOr(int), default=AUTO, help="Passes over the rows, for the way back to them.")
@click.option("--max-time", type=Seconds(), help="Stop training after this time: 60s, 5m.")
@click.option("--device", default=AUTO, show_default=True, help="cpu, cuda, cuda:1, ….")
@click.option("--strict", is_flag=True, help="Refuse files that cannot be used instead of skipping them.")
@voiced
def map_(
    voice: Voice, data: str, output: Path, onto: Path | None, model: Path | None, dim: int, labels: str | None,
    most: int, **said: Any,
) -> None:  # fmt: skip
    """Fit a map to DATA and draw it: rows that are alike lie near each other.

    The page needs no network: pan, zoom, look at rows, search them, colour them, draw round some and keep these as
    CSV, click a free place to see what the map makes of it. PCA's map is beside it, and how far both can be trusted.
    The map is an ordinary model: encode puts new rows on it, decode brings a place back.
    """
    known = (*PAGES, *PICTURES, *TABLES)
    if output.suffix.lower() not in known:
        raise FileError(f"A map is written as one of {', '.join(known)}; got {output.name!r}.")
    check_output(output)
    kept = model or output.with_suffix(".isthmus")
    if onto is not None and model is not None:
        raise SpecError("--onto puts rows on a map that is there, so no model is written: leave --model out.")
    if onto is None:
        check_output(kept)
        if kept == output:
            raise FileError(f"The map and its model cannot both be {output}. Say --model FILE.")

    from isthmus.app import words
    from isthmus.app.map_page import write
    from isthmus.data.source import open_rows
    from isthmus.model import open_model
    from isthmus.tasks.features.reduce import fit_map, reduce
    from isthmus.training.progress import Progress

    began = time.perf_counter()
    held = None
    if onto is not None:
        found = open_model(onto, device=said["device"])
        rows = found.open(data, strict=said["strict"])
        for line in words.opened(rows):
            voice.say(line)
    else:
        kind = said["kind"] or ("text" if said["text"] else "table" if said["columns"] else None)
        rows = open_rows(data, strict=said["strict"], kind=kind)
        for line in words.opened(rows):
            voice.say(line)
        options: dict[str, Any] = {}
        if said["columns"]:
            options["kinds"] = dict(said["columns"])
        if said["text"]:
            options["text"] = list(said["text"])
        if len(rows) > _MANY:
            voice.say(f"looking for the neighbours of {len(rows):,} rows, and laying them out")
        found, held = fit_map(
            rows, dim=dim, labels=labels, modality=kind, modality_options=options, device=said["device"],
            plan=Plan(seed=said["seed"], epochs=said["epochs"], max_time=said["max_time"]), strict=said["strict"],
            hooks=[] if voice.quiet else [Progress()],
        )  # fmt: skip
        found.save(kept)
    drawn = reduce(found, rows, labels=labels, held=held, most=most, seed=said["seed"])
    for line in drawn.summary():
        voice.say(line)
    if onto is None:
        voice.say(f"{kept} ({words.bytes_(kept.stat().st_size)}): isthmus map NEW_ROWS --onto {kept} -o new.html")
    write(drawn, output, name=Path(data).name if "://" not in data else data, counted=voice.counted)
    seconds = time.perf_counter() - began
    voice.say(f"{output} ({words.bytes_(output.stat().st_size)}) in {seconds:.1f} s", bold=True)
    voice.told({
        "map": str(output), "model": str(onto or kept), **drawn.to_json(), "seconds": seconds,
        "skipped": [{"name": s.name, "reason": s.reason} for s in rows.skipped],
    })  # fmt: skip
