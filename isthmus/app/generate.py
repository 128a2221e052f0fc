"""``isthmus augment``: more rows for a classifier, written only where held-out rows say that they help."""

from __future__ import annotations

import time
from pathlib import Path

import click

from isthmus.app.params import Seconds
from isthmus.app.voice import Voice, check_output, voiced
from isthmus.errors import unknown
from isthmus.recipes import RECIPES


@click.command(short_help="Draw more rows of each class, if a classifier gains by them on held-out rows.")
@click.argument("data")
@click.option(
    "--label",
    required=True,
    metavar="COLUMN|FILE|folder",
    help="The column of labels; a file with one for each row; or folder, where each class has one.",
)
@click.option(
    "--times", type=float, default=2.0, show_default=True, help="With the drawn rows there are so many times as many."
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Where to write; without it nothing but the check."
)
@click.option("--anyway", is_flag=True, help="Write rows even where they do not help.")
@click.option("--recipe", default="plain", show_default=True, help="Of the autoencoder that draws (isthmus recipes).")
@click.option("--splits", type=click.IntRange(min=2), default=5, show_default=True, help="How often the check is made.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same rows.")
@click.option("--max-time", type=Seconds(), help="Stop each fit after this time: 60s, 5m.")
@click.option(
    "--kind", type=click.Choice(["array", "table", "image"]), help="What the rows are, where that is not clear."
)
@voiced
def augment(
    voice: Voice,
    data: str,
    label: str,
    times: float,
    output: Path | None,
    anyway: bool,
    recipe: str,
    splits: int,
    seed: int,
    max_time: float | None,
    kind: str | None,
) -> None:
    """Draw more rows of each class of DATA, if they help a classifier.

    The rows are split several times; an autoencoder draws new rows from one part, and a classifier is fitted with and
    without them and judged on the other. Rows are written only where the gain is surely above zero.
    """
    if output is not None:
        check_output(output, folders=not output.suffix)
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    from isthmus.tasks.generation.augment import augment as augmented

    began = time.perf_counter()
    found = augmented(
        data, label, times=times, recipe=recipe, splits=splits, seed=seed, anyway=anyway, max_time=max_time,
        modality=kind, told=voice.say,
    )  # fmt: skip
    for line in found.summary():
        voice.say(line, bold=line.startswith(("yes", "no")))
    files = found.save(output) if output is not None else []
    if files:
        shown = str(files[0]) if len(files) == 1 else f"{len(files):,} files in {output}"
        voice.say(f"{shown}: {found.to_json()['rows']:,} drawn rows ({time.perf_counter() - began:.1f} s)", bold=True)
    voice.told({**found.to_json(), "files": [str(file) for file in files] if len(files) <= 100 else str(output)})
