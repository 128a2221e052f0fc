"""``isthmus head``: teach a fitted model a label by the rows that have one."""

from __future__ import annotations

from pathlib import Path

import click

from isthmus.app.params import Seconds
from isthmus.app.voice import STREAM, Voice, check_output, voiced
from isthmus.spec import AUTO


@click.command(short_help="Teach a model a label by few rows that have one; isthmus predict says it of others.")
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("data")
@click.option(
    "--label",
    metavar="COLUMN",
    required=True,
    help="The column to be said; or a file with a label a row; or 'folder', which each picture is in.",
)
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), help="The model with its head, one file."
)
@click.option(
    "--kind",
    type=click.Choice(["auto", "classes", "numbers"]),
    default=AUTO,
    show_default=True,
    help="What labels are; by itself words and few whole numbers are classes.",
)
@click.option(
    "--unlabelled", metavar="DATA", help="More rows, without labels, that may help. Rows whose label is missing do."
)
@click.option(
    "--teach",
    type=click.Choice([AUTO, "spread", "gaussians", "none"]),
    default=AUTO,
    show_default=True,
    help="How rows without labels help.",
)
@click.option("--fine-tune/--frozen", default=True, show_default=True, help="Let a copy of the encoder learn along.")
@click.option("--validation", type=float, help="The share of the labels to hold out.  [default: 0.2]")
@click.option("--max-time", type=Seconds(), help="Stop after so long: 60s, 5m.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same head.")
@click.option("--stream/--no-stream", default=None, help=STREAM)
@click.option("--device", default=AUTO, show_default=True, help="cpu, cuda, cuda:1, ….")
@voiced  # fmt: skip
def head(
    voice: Voice,
    model_path: Path,
    data: str,
    label: str,
    output: Path,
    kind: str,
    unlabelled: str | None,
    teach: str,
    fine_tune: bool,
    validation: float | None,
    max_time: float | None,
    seed: int,
    stream: bool | None,
    device: str,
) -> None:
    """Teach MODEL a label by the rows of DATA that have one, and write both to one file.

    A linear map learns behind the encoder, and then a copy of the encoder learns along. The model in the file is as it
    was: everything that MODEL does, the file does too.
    """
    check_output(output)
    from isthmus.app.told import telling
    from isthmus.model import open_model
    from isthmus.tasks.features.heads import fit_head
    from isthmus.training.progress import Progress

    model = open_model(model_path, device=device)
    taught = fit_head(
        model, model.open(data, stream=stream), label,
        kind=kind, unlabelled=unlabelled, teach=None if teach == "none" else teach, fine_tune=fine_tune,
        validation=AUTO if validation is None else validation, seed=seed, max_time=max_time,
        hooks=[] if voice.quiet else [Progress()], told=voice.say,
    )  # fmt: skip
    taught.save(output, told=telling(taught))
    voice.say(f"{output}: isthmus predict {output} DATA", bold=True)
    assert taught.head is not None
    voice.told({"file": str(output), **taught.head.to_json()})
