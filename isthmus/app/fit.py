"""``isthmus fit``: options → parts, plan and rows → a model file, told while it comes about."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isthmus.app.params import NumberOr, Seconds, Setting, Size
from isthmus.app.voice import STREAM, Voice, check_output, voiced
from isthmus.errors import SpecError, unknown
from isthmus.recipes import RECIPES
from isthmus.spec import AUTO, SINGLE, Part, Plan

if TYPE_CHECKING:
    from isthmus.tasks.jobs import Job


def _places(function: Callable[..., None]) -> Callable[..., None]:
    """``--encoder``, ``--bottleneck`` and so on: a part for every place of the equation."""
    function = click.option(
        "--penalties", metavar="NAME", multiple=True, help="Added to the objective; may be repeated."
    )(function)
    for place in ("critic", *reversed(SINGLE)):
        function = click.option(f"--{place}", metavar="NAME", help=f"The {place}, by name.")(function)
    return function


@click.command(short_help="Fit an autoencoder to rows and write it to one model file.")
@click.argument("data")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The model file to write.")
@click.option("--recipe", default="plain", show_default=True, help="A named composition (isthmus recipes).")
@click.option(
    "--for",
    "job",
    metavar="TASK",
    help="What the model is for: denoise (pictures, signals), or compress (pictures, tables, arrays), which chooses "
    "parts and training.",
)
@click.option(
    "--noise", help="For denoise: what is added to clean pictures (gaussian:25), blind, or own: they are noisy."
)
@click.option("--target", metavar="DATA", help="What should come back for each row: clean rows to noisy ones.")
@click.option("--latent-dim", type=NumberOr(int), default=AUTO, help="Numbers per code; auto asks PCA.")
@_places
@click.option(
    "--set",
    "settings",
    multiple=True,
    type=Setting("encoder.widths=[128,64]"),
    help="Any option: encoder.widths=[128,64], training.clip=3, modality.scaling=robust.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same model.")
@click.option("--epochs", type=NumberOr(int), default=AUTO, help="Passes over the rows.")
@click.option("--batch-size", type=NumberOr(int), default=AUTO, help="Rows per step.")
@click.option("--learning-rate", type=NumberOr(float), default=AUTO, help="The highest step size of the schedule.")
@click.option("--max-time", type=Seconds(), help="Stop after this time: 60s, 5m.")
@click.option("--validation", metavar="FRACTION|DATA", help="Rows to hold out: a share of these, or others.")
@click.option(
    "--warm-start",
    type=click.Choice(["pca", "none"]),
    default="pca",
    show_default=True,
    help="Start at the PCA solution where the parts allow it.",
)
@click.option(
    "--pretrain", type=click.Choice(["stacked"]), help="Train dense bodies layer by layer first, in place of PCA."
)
@click.option("--auto-heal", is_flag=True, help="Fit again, twice at most, with the safe remedies of what is wrong.")
@click.option("--device", default=AUTO, show_default=True, help="cpu, cuda, cuda:1, ….")
@click.option(
    "--kind",
    type=click.Choice(["array", "table", "image", "pixels", "series", "sparse", "text"]),
    help="What the rows are, where that is not clear.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    type=Setting("age=numeric"),
    help="A column's kind: NAME=numeric, boolean, categorical, hashed, date, text, image or ignore.",
)
@click.option("--text", multiple=True, metavar="COLUMN", help="A column that holds the text. May be repeated.")
@click.option("--condition", multiple=True, metavar="COLUMN", help="A column that steers the decoder. May be repeated.")
@click.option("--time", metavar="COLUMN", help="Series: the column of stamps, where it is not clear.")
@click.option("--series-id", metavar="COLUMN", help="Series: the column that tells several series apart.")
@click.option("--window", type=NumberOr(int), help="Series: steps of a window; by itself from the period.")
@click.option("--stride", type=NumberOr(int), help="Series: steps between windows.")
@click.option(
    "--contamination",
    type=NumberOr(float),
    help="The share of rows that may be anomalies, or auto: the strangest are set aside before anything is learned.",
)
@click.option(
    "--members",
    type=click.IntRange(min=2),
    help="Detect by an ensemble: so many networks of each kind, trained together.",
)
@click.option(
    "--backbone",
    metavar="FILE",
    help="Find defects with the weights of a ResNet in a .safetensors file that you have; nothing is downloaded.",
)
@click.option("--size", type=Size(), help="Resize images to height x width.")
@click.option(
    "--tile",
    type=click.IntRange(min=32),
    metavar="SIDE",
    help="Look at images in tiles of SIDE x SIDE pixels, at the size that they have: for small things in large ones.",
)
@click.option("--scaling", help="How numbers are scaled: auto, none, global, standard or robust.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint that a stopped run left.")
@click.option("--strict", is_flag=True, help="Refuse files that cannot be used instead of skipping them.")
@click.option("--stream/--no-stream", default=None, help=STREAM)
@click.option("--profile", is_flag=True, help="Print the seconds of each phase.")
@voiced
def fit(voice: Voice, data: str, output: Path, **said: Any) -> None:
    """Fit an autoencoder to DATA and write it to one model file.

    DATA is a .csv, .tsv, .parquet, .arrow, .npy, .npz, .safetensors, .jsonl or .wav file, a .txt with a document on
    every line, a folder or 'glob' of images, recordings or .txt files, or of files that make one table or one array
    together, example:digits and the like, or - for CSV on standard input.
    What is not said is chosen from the rows and printed.
    """
    check_output(output)
    if said["recipe"] not in RECIPES:
        raise unknown("recipe", said["recipe"], RECIPES)
    parts, training, options = _settings(said)
    plan, others = _plan(said, training)
    _check_parts(parts)

    from isthmus.app import words
    from isthmus.app.told import telling
    from isthmus.data.source import open_rows
    from isthmus.model import Model, Prepared
    from isthmus.tasks import jobs
    from isthmus.tasks.checkup import heal
    from isthmus.tasks.checkup.compare import compared_at_fit
    from isthmus.tasks.checkup.health import remarks
    from isthmus.training.progress import Progress

    began = time.perf_counter()
    job = _job(said)
    of_time = any(said[name] is not None for name in ("time", "series_id", "window", "stride"))
    implied = "series" if of_time else "text" if said["text"] else "table" if said["columns"] else None
    implied = implied or ("tiles" if said["tile"] else None)
    kind = job.modality_of(data, said["kind"]) if job else said["kind"] or implied
    rows = open_rows(data, strict=said["strict"], kind=kind, stream=said["stream"])
    target = (
        None
        if said["target"] is None
        else open_rows(said["target"], strict=said["strict"], kind=kind, stream=said["stream"])
    )
    reading = time.perf_counter() - began
    for line in words.opened(rows) + ([] if target is None else words.opened(target)):
        voice.say(line)
    checkpoint = output.with_name(output.name + ".checkpoint")
    # pre-training has checkpoints of its own, whose names begin with this one's
    left = sorted(output.parent.glob(f"{glob.escape(checkpoint.name)}*"))
    if left and not said["resume"]:
        voice.say(f"{left[0]} is left from a run that was stopped; starting over (--resume goes on from it)")
        for path in left:
            path.unlink()
    elif said["resume"]:
        voice.say(f"going on from {left[0]}" if left else f"no {checkpoint}: starting at the beginning")

    def announce(found: Prepared) -> None:
        for line in words.prepared(found):
            voice.say(line)

    fitted_by: Callable[..., Model] = Model.fit
    more: dict[str, Any] = {}
    if said["auto_heal"]:
        fitted_by, more = heal.fit, {"told": lambda line: voice.say(f"healing: {line}")}
    elif job:
        fitted_by = partial(jobs.fit_for, said["job"])
        more = {"told": voice.say, "options": {"noise": said["noise"]}}
    model = fitted_by(
        rows,
        said["recipe"],
        target=target,
        latent_dim=said["latent_dim"],
        parts=parts,
        plan=plan,
        validation_rows=others,
        warm_start=None if said["warm_start"] == "none" else said["warm_start"],
        modality=kind,
        modality_options=options,
        condition=list(said["condition"]) or None,
        contamination=said["contamination"],
        device=said["device"],
        hooks=[] if voice.quiet else [Progress()],
        prepared=announce,
        checkpoint=checkpoint,
        resume=said["resume"],
        strict=said["strict"],
        **more,
    )
    record = model.record
    # the rows were opened here, so that people see at once what was found
    record.phases["read"] = record.phases.get("read", 0.0) + reading
    record.seconds += reading
    began = time.perf_counter()
    model.save(output, told=telling(model))
    record.phases["save"] = time.perf_counter() - began
    if record.stopped != "interrupted":
        checkpoint.unlink(missing_ok=True)

    voice.say(words.fitted(model))
    compared = compared_at_fit(model)
    for line in compared.summary() if compared else ():
        voice.say(f"held out: {line}" if line.startswith("autoencoder") else f"          {line}")
    found = [line for line in remarks(model) if not line.startswith("skipped ")]
    for line in found:
        voice.say(f"! {line}", fg="yellow")
    if said["profile"]:
        for line in words.profile(record.phases):
            voice.say(line)
    voice.say(f"{output} ({words.bytes_(output.stat().st_size)}) in {record.seconds:.1f} s", bold=True)
    if checkpoint.exists():
        voice.say(f"interrupted: the same command with --resume goes on from {checkpoint}")
    if job:
        where = "FILE.isz" if said["job"] == "compress" else "FOLDER"
        voice.say(f"next: isthmus {said['job']} {_quoted(output)} NEW_ROWS -o {where}")
    else:
        voice.say(f"next: isthmus detect {_quoted(output)} NEW_ROWS -o scored.csv")
    voice.told(
        {
            "model": str(output),
            "bytes": output.stat().st_size,
            "rows": {"origin": record.origin, "target": record.target or None,
                     "train": record.n_train, "held_out": record.n_held_out,
                     "skipped": [{"name": s.name, "reason": s.reason} for s in rows.skipped]},
            "modality": model.modality.describe(),
            "recipe": record.recipe,
            "spec": model.spec.to_json(),
            "plan": model.plan.to_json(),
            "parameters": words.parameters(model.net),
            "architecture": words.architecture(model.net),
            "held_out": compared.to_json() if compared else None,
            "remarks": found,
            "healing": record.healing,
            "job": record.job,
            "stopped": record.stopped,
            "best_epoch": record.best_epoch,
            "seconds": record.seconds,
            "phases": record.phases,
        }
    )  # fmt: skip


def _job(said: Mapping[str, Any]) -> Job | None:
    """What the model is fitted for, if that was said."""
    if said["job"] is None:
        if said["noise"] is not None:
            raise SpecError("--noise goes with --for denoise. For noise on rows of other kinds say --recipe denoising.")
        return None
    from isthmus.tasks.jobs import open_job

    if said["auto_heal"]:
        raise SpecError("--auto-heal looks at codes, and a model fitted --for a task is judged by that. Leave one out.")
    return open_job(said["job"])


def _settings(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What was said of the parts, of the training, and of the rows' own choices."""
    parts: dict[str, Any] = {place: {"kind": said[place]} for place in (*SINGLE, "critic") if said[place]}
    if said["members"]:
        parts["detector"] = {"kind": said["detector"] or "committee", "members": said["members"]}
    if said["backbone"]:
        parts["detector"] = {"kind": "patches", "backbone": said["backbone"]}
    penalties: dict[str, dict[str, Any]] = {name: {"kind": name} for name in said["penalties"]}
    training: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if said["columns"]:
        options["kinds"] = dict(said["columns"])
    if said["text"]:
        options["text"] = list(said["text"])
    if said["tile"]:
        options["side"] = said["tile"]
    for name in ("size", "scaling", "time", "series_id", "window", "stride"):
        if said[name] is not None:
            options[name] = said[name]
    known = (*SINGLE, "penalties", "critic", "training", "modality")
    for name, value in said["settings"]:
        place, dot, option = name.partition(".")
        if place not in known:
            raise unknown("part of a model", place, known)
        if not dot or not option:
            raise SpecError(f"--set {name} names no option. Write {place}.OPTION=VALUE (isthmus parts lists them).")
        if place == "training":
            training[option] = value
        elif place == "modality":
            options[option] = value
        elif place == "penalties":
            kind, _, option = option.rpartition(".")
            kind = kind or (next(iter(penalties)) if len(penalties) == 1 else "")
            if not kind:
                raise SpecError(f"--set {name}: of which penalty? Write penalties.NAME.{option}=VALUE.")
            penalties.setdefault(kind, {"kind": kind})[option] = value
        else:
            parts.setdefault(place, {})[option] = value
    if penalties:
        parts["penalties"] = list(penalties.values())
    return parts, training, options


def _plan(said: Mapping[str, Any], training: Mapping[str, Any]) -> tuple[Plan, str | None]:
    """How to train, and the rows to hold out if they are others."""
    named = {name: said[name] for name in ("seed", "epochs", "batch_size", "learning_rate", "max_time", "pretrain")}
    others = None
    if said["validation"] is not None:
        try:
            named["validation"] = float(said["validation"])
        except ValueError:
            others = said["validation"]
    plan = Plan.from_json({**named, **training})
    for name in ("epochs", "batch_size", "learning_rate"):
        value = getattr(plan, name)
        if value != AUTO and (isinstance(value, bool | str) or not value > 0):
            raise SpecError(f"{name} is a number above 0 or 'auto', got {value!r}.")
    return plan, others


def _check_parts(parts: Mapping[str, Any]) -> None:
    """Find a misspelled part or option before the rows are read, which may take long."""
    if not parts:
        return
    from isthmus.core.autoencoder import MENUS
    from isthmus.core.parts import options_of

    for place, said in parts.items():
        for part in said if place == "penalties" else [said]:
            kind = part.get("kind")
            if kind is None:  # options for a part that the rows choose
                continue
            if kind not in MENUS[place]:
                raise unknown(place.removesuffix("ies") + "y" if place == "penalties" else place, kind, MENUS[place])
            for option in Part.of(part).options:
                known = options_of(MENUS[place][kind])
                if option not in known:
                    raise unknown(f"option of the {place} {kind!r}", option, known)


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))
