"""The command line. A task of the menu is a subcommand, and its keyword-only arguments are the options.

Exit codes: 0 for success, 2 for what the user can mend (one line, ``error: …``), 1 for our own mistakes,
130 when interrupted. Nothing heavy is imported before a command needs it, so help comes at once.
"""

from __future__ import annotations

import glob
import inspect
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isthmus import __version__
from isthmus.errors import FileError, SpecError, UserError, unknown
from isthmus.recipes import RECIPES
from isthmus.spec import AUTO, SINGLE, Part, Plan
from isthmus.tasks import TASKS

if TYPE_CHECKING:
    from isthmus.model import Model
    from isthmus.tasks import Result, Task
    from isthmus.tasks.jobs import Job

#: Seconds of silence after which long work says how far it has come.
_PATIENCE = 2.0

#: Seconds between two words of how far a long task is.
_PACE = 5.0
_STREAM = "Read tables and shards in stretches, with flat memory, or whole; by itself where memory would be short."
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        isthmus.main(argv, prog_name="isthmus", standalone_mode=False)
        sys.stdout.flush()
        return 0
    except UserError as error:
        if debug:
            raise
        return _failed(str(error))
    except click.exceptions.Exit as stopped:
        return stopped.exit_code
    except click.exceptions.NoArgsIsHelpError as alone:
        click.echo(alone.ctx.get_help() if alone.ctx else "isthmus --help")
        return 0
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "isthmus"
        return _failed(f"{error.format_message()} ({where} --help lists what there is.)")
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except SystemExit as stopped:  # click's own, for shell completion
        return int(stopped.code or 0)
    except MemoryError:
        return _failed("the memory of this machine is not enough. Take fewer rows, or a smaller --batch-size.")
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        click.echo(f"error: {kind}: {_one_line(error)}", err=True)
        click.echo(
            "This is a bug in isthmus, not your mistake. Run again with --debug and report what it says.",
            err=True,
        )
        return 1


def _failed(message: str) -> int:
    click.echo(f"{_painted('error:', sys.stderr, fg='red', bold=True)} {_one_line(message)}", err=True)
    return 2


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


# -- the menu -----------------------------------------------------------------------------------


class Menu(click.Group):
    """Own commands, and one for every task; listing them imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        own = list(self.commands)
        return [own[0], *TASKS, *own[1:]]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in TASKS:
            return task_command(name, TASKS[name])
        return super().get_command(ctx, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # whoever read us has seen enough; and Python must not flush into the closed pipe at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        about = {name: command.get_short_help_str(90) for name, command in self.commands.items()}
        about |= {name: task.about for name, task in TASKS.items()}
        with formatter.section("Commands"):
            formatter.write_dl([(name, about[name]) for name in self.list_commands(ctx)])


@click.group(cls=Menu, context_settings=_CONTEXT)
@click.version_option(__version__, "--version", "-V", message="isthmus %(version)s")
def isthmus() -> None:
    """One autoencoder, many jobs: fit it to rows that nobody labelled, keep it in one file, use it.

    \b
    isthmus fit flows.parquet -o flows.isthmus
    isthmus detect flows.isthmus today.csv -o scored.csv
    """


class Voice:
    """Where words go: to standard output, or to standard error when standard output is for a machine."""

    def __init__(self, quiet: bool, as_json: bool):
        self.quiet, self.as_json = quiet, as_json
        self.said = time.monotonic()

    @property
    def stream(self) -> Any:
        return sys.stderr if self.as_json else sys.stdout

    def say(self, text: str = "", **style: Any) -> None:
        if not self.quiet:
            click.echo(_painted(text, self.stream, **style) if style else text, file=self.stream)

    def counted(self, done: int, of: int) -> None:
        """How far long work has come: a line every two seconds."""
        now = time.monotonic()
        if self.quiet or now - self.said < _PATIENCE or done == of:
            return
        self.said = now
        click.echo(f"  {done:,} of {of:,}", err=True)

    def told(self, found: Mapping[str, Any]) -> None:
        """The result for a machine: one JSON object, and nothing else, on standard output."""
        if self.as_json:
            click.echo(json.dumps(_plain(found), ensure_ascii=False))


def _painted(text: str, stream: Any, **style: Any) -> str:
    colours = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return click.style(text, **style) if colours else text


def _plain(value: Any) -> Any:
    """Anything as JSON: numpy's numbers as Python's, and what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def _voiced(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--quiet --json --debug`` and, as its first argument, a :class:`Voice`."""

    def command(*, quiet: bool, as_json: bool, debug: bool, **options: Any) -> None:
        function(Voice(quiet, as_json), **options)

    command = update_wrapper(command, function)
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, words on stderr."),
        click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors."),
    ):  # fmt: skip
        command = option(command)
    return command


# -- fit ----------------------------------------------------------------------------------------


class NumberOr(click.ParamType):
    """A number, or one word."""

    def __init__(self, kind: type, word: str = AUTO):
        self.kind, self.word, self.name = kind, word, f"{kind.__name__}|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value == self.word:
            return value
        try:
            return self.kind(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor {self.word!r}.", param, ctx)


class Seconds(click.ParamType):
    """``90``, ``60s``, ``5m``, ``1h``."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|)\s*", str(value))
        if not found or float(found[1]) <= 0:
            self.fail(f"{value!r} is no time. Write 60s, 5m or 1h.", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}[found[2]]


class Size(click.ParamType):
    """``HxW``."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        found = re.fullmatch(r"(\d+)[x×](\d+)", str(value).lower())
        if not found or not int(found[1]) or not int(found[2]):
            self.fail(f"{value!r} is no size. Write height and width, such as 64x64.", param, ctx)
        return int(found[1]), int(found[2])


class Setting(click.ParamType):
    """``NAME=VALUE``; the value is JSON where it can be read as such, else a word."""

    name = "NAME=VALUE"

    def __init__(self, example: str):
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        name, equals, said = str(value).partition("=")
        if not equals or not name.strip():
            self.fail(f"{value!r} sets nothing. Write NAME=VALUE, such as {self.example}.", param, ctx)
        try:
            return name.strip(), json.loads(said)
        except ValueError:
            return name.strip(), said


def _places(function: Callable[..., None]) -> Callable[..., None]:
    """``--encoder``, ``--bottleneck`` and so on: a part for every place of the equation."""
    function = click.option(
        "--penalties", metavar="NAME", multiple=True, help="Added to the objective; may be repeated."
    )(function)
    for place in ("critic", *reversed(SINGLE)):
        function = click.option(f"--{place}", metavar="NAME", help=f"The {place}, by name.")(function)
    return function


@isthmus.command(short_help="Fit an autoencoder to rows and write it to one model file.")
@click.argument("data")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The model file to write.")
@click.option("--recipe", default="plain", show_default=True, help="A named composition (isthmus recipes).")
@click.option("--for", "job", metavar="TASK", help="What the model is for: denoise chooses parts and training for it.")
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
@click.option("--scaling", help="How numbers are scaled: auto, none, global, standard or robust.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint that a stopped run left.")
@click.option("--strict", is_flag=True, help="Refuse files that cannot be used instead of skipping them.")
@click.option("--stream/--no-stream", default=None, help=_STREAM)
@click.option("--profile", is_flag=True, help="Print the seconds of each phase.")
@_voiced
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
    from isthmus.data.source import open_rows
    from isthmus.model import Model, Prepared
    from isthmus.tasks import heal, jobs
    from isthmus.tasks.compare import compared_at_fit
    from isthmus.tasks.health import remarks
    from isthmus.training.progress import Progress

    began = time.perf_counter()
    job = _job(said)
    of_time = any(said[name] is not None for name in ("time", "series_id", "window", "stride"))
    implied = "series" if of_time else "text" if said["text"] else "table" if said["columns"] else None
    kind = said["kind"] or (job.modality if job else implied)
    rows = open_rows(data, strict=said["strict"], kind=kind, stream=said["stream"])
    target = None if said["target"] is None else open_rows(said["target"], strict=said["strict"], kind=kind)
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
    model.save(output)
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
        voice.say(f"next: isthmus {said['job']} {_quoted(output)} NEW_ROWS -o FOLDER")
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


def check_output(path: Path, *, folders: bool = False) -> None:
    """Refuse a place that cannot be written to, before the work is done rather than after."""
    if path.is_dir() and not folders:
        raise FileError(f"Cannot write {path}: it is a folder. Name a file in it.")
    folder = path.parent
    if not folder.is_dir():
        if folder.exists():
            raise FileError(f"Cannot write {path}: {folder} is a file, not a folder.")
        raise FileError(f"Cannot write {path}: the folder {folder} does not exist. Make it first.")
    if path.exists() and not path.is_dir() and not path.is_file():
        raise FileError(f"Cannot write {path}: it is a device or a pipe. Name a file.")
    if not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise FileError(f"Cannot write {path}: no permission. Choose another place.")


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


# -- tasks --------------------------------------------------------------------------------------


def task_command(name: str, task: Task) -> click.Command:
    """The subcommand of a task, from the signature of its function."""
    function = task.load()
    signature = list(inspect.signature(function).parameters.values())
    inputs = [p for p in signature if p.kind is not p.KEYWORD_ONLY][1:]  # the first is the model
    options = [p for p in signature if p.kind is p.KEYWORD_ONLY]
    about = _argument_help(function)

    def command(
        voice: Voice,
        model_path: Path,
        output: Path | None,
        device: str,
        strict: bool,
        stream: bool | None = None,
        resume: bool = False,
        **said: Any,
    ) -> None:
        if output is not None:
            check_output(output, folders=not output.suffix)
        if task.follows and _follows(voice, model_path, output, device, said, options):
            return
        from isthmus.model import open_model

        model = open_model(model_path, device=device)
        # rows are opened here, so that --strict holds for every task; what is no rows, the task opens itself
        opened = (p.name == "rows" and said[p.name] is not None for p in inputs)
        given = [
            model.open(said[p.name], strict=strict, stream=stream) if is_rows else said[p.name]
            for p, is_rows in zip(inputs, opened, strict=True)
        ]
        began = time.perf_counter()
        result = function(model, *given, **{p.name: said[p.name] for p in options})
        files = _swept(voice, result, output, resume)
        seconds = time.perf_counter() - began
        _show(voice, model, result, given[0] if inputs else None, output, seconds, name, files)

    command.__doc__ = f"{task.about}\n\nMODEL is a file that isthmus fit wrote. Without -o the result is shown."
    made: Any = _voiced(command)
    made = click.option("--strict", is_flag=True, help="Refuse files that cannot be used instead of skipping them.")(
        made
    )
    made = click.option("--device", default=AUTO, show_default=True, help="cpu, cuda, cuda:1, ….")(made)
    if any(p.name == "rows" for p in inputs):
        made = click.option("--stream/--no-stream", default=None, help=_STREAM)(made)
    if task.sweeps:
        made = click.option(
            "--resume", is_flag=True, help="Rows that stream: go on from the .part that a stopped run left."
        )(made)
    if task.follows:
        made = _follow_options(made)
    for parameter in reversed(options):
        made = _option_of(parameter, about.get(parameter.name, ""))(made)
    made = click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        help="Where to write; its ending chooses the format.",
    )(made)
    for parameter in reversed(inputs):
        made = click.argument(
            parameter.name,
            metavar="DATA" if parameter.name == "rows" else None,
            required=parameter.default is parameter.empty,
        )(made)
    made = click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))(made)
    return click.command(name, short_help=task.about)(made)


def _follow_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--recalibrate", metavar="ROWS", type=int,
                     help="With --follow: hold scores against the last so many, not against the held-out rows."),
        click.option("--rejects", type=click.Path(path_type=Path), metavar="FILE",
                     help="With --follow: keep the lines that hold no row here."),
        click.option("--follow", is_flag=True, help="Score rows from the standard input as they come, a line each."),
    ):  # fmt: skip
        command = option(command)
    return command


def _follows(
    voice: Voice,
    model_path: Path,
    output: Path | None,
    device: str,
    said: dict[str, Any],
    options: Sequence[inspect.Parameter],
) -> bool:
    """Go on row by row, if that was asked for."""
    wanted, rejects, recalibrate = (said.pop(name) for name in ("follow", "rejects", "recalibrate"))
    if not wanted:
        for name, value in (("rejects", rejects), ("recalibrate", recalibrate)):
            if value is not None:
                raise SpecError(f"--{name} goes with --follow, which scores rows as they come.")
        return False
    whole = [p.name for p in options if p.name != "false_alarm_rate" and said[p.name] != p.default]
    if whole:
        raise SpecError(f"--{whole[0]} needs all rows at once, and --follow has one: leave one of them out.")
    if output is not None:
        raise SpecError("--follow writes to the standard output as it goes: leave out -o and say > FILE.")
    if said["rows"] != "-":
        raise SpecError(f"--follow reads the standard input: isthmus detect MODEL - --follow, not {said['rows']!r}.")
    if rejects is not None:
        check_output(rejects)
    from isthmus.app.follow import follow, standard_input
    from isthmus.model import open_model

    voice.as_json, as_json = True, voice.as_json  # every word goes to the standard error, whatever the lines are
    follow(
        open_model(model_path, device=device), standard_input(), sys.stdout, voice.say,
        as_json=as_json, rejects=rejects, false_alarm_rate=said["false_alarm_rate"], recalibrate=recalibrate,
    )  # fmt: skip
    return True


def _option_of(parameter: inspect.Parameter, about: str) -> Callable[..., Any]:
    """``false_alarm_rate: float = 0.01`` → ``--false-alarm-rate FLOAT``, ``n: int = 64`` → ``-n INTEGER``."""
    dashed = parameter.name.replace("_", "-")
    flag = f"--{dashed}" if len(dashed) > 1 else f"-{dashed}"
    default = None if parameter.default is parameter.empty else parameter.default
    required = parameter.default is parameter.empty
    annotation = str(getattr(parameter.annotation, "__name__", parameter.annotation))
    if isinstance(default, bool) or annotation == "bool":
        return click.option(f"--{dashed}/--no-{dashed}", default=bool(default), show_default=True, help=about)
    words = re.match(r"(?:typing\.)?Literal\[(.*?)\]", str(parameter.annotation))
    kind: Any
    if words:
        kind = click.Choice([word.strip(" '\"") for word in words[1].split(",")])
    elif isinstance(default, str) or annotation.startswith("str"):
        kind = NumberOr(int) if "int" in annotation else str
    elif isinstance(default, int) or annotation.startswith("int"):
        kind = NumberOr(int) if "str" in annotation else int
    elif isinstance(default, float) or annotation.startswith("float"):
        kind = float
    elif "Path" in annotation:
        kind = click.Path(path_type=Path)
    else:
        kind = str
    return click.option(flag, parameter.name, type=kind, default=default, required=required,
                        show_default=default is not None, help=about)  # fmt: skip


def _argument_help(function: Callable[..., Any]) -> dict[str, str]:
    """The lines of a docstring's ``Args:`` by name."""
    text = inspect.getdoc(function) or ""
    _, _, listed = text.partition("Args:\n")
    found = re.findall(r"^    (\w+): (.+(?:\n {8,}.+)*)", listed, re.MULTILINE)
    return {name: _one_line(about).capitalize() for name, about in found}


def _swept(voice: Voice, result: Any, output: Path | None, resume: bool) -> list[Path]:
    """Rows that stream are looked at and written in one go; what was written, of other rows nothing."""
    if not hasattr(result, "watch"):
        if resume:
            raise SpecError(
                "--resume goes on with rows that are read in stretches, and these are in memory: leave it out."
            )
        return []
    if output is None and resume:
        raise SpecError("--resume goes on with a file that was begun: say which, -o FILE.")
    began = said = time.monotonic()

    def watch(done: int) -> None:
        nonlocal said
        if time.monotonic() - said > _PACE:
            said = time.monotonic()
            voice.say(f"{done:,} of {len(result):,} rows after {said - began:.0f} s")

    result.watch = watch
    if output is None:
        result.run()
        return []
    try:
        files = list(result.save(output, resume=resume))
        if result.begin:
            voice.say(f"went on from row {result.begin:,}")
        return files
    except KeyboardInterrupt:
        voice.say(f"interrupted: {output}.part holds what was done, and the same command with --resume goes on from it")
        raise


def _show(
    voice: Voice,
    model: Model,
    result: Result,
    rows: Any,
    output: Path | None,
    seconds: float,
    name: str,
    files: list[Path],
) -> None:
    """Say what a task found; write it where it was asked for, or show a glimpse."""
    skipped = getattr(rows, "skipped", ())
    for one in skipped:
        voice.say(f"skipped {one.name}: {one.reason}", fg="yellow")
    remarks = [
        *getattr(rows, "remarks", ()),
        # of rows that stream they were gathered on the way
        *getattr(result, "remarks", model.remarks(rows) if hasattr(rows, "chunks") and not rows.large else ()),
    ]
    for line in remarks:
        voice.say(f"! {line}", fg="yellow")
    glimpse = output is None and hasattr(result, "reasons")
    for line in result.verdict() if glimpse else result.summary():  # type: ignore[attr-defined]
        voice.say(line)
    if output is not None:
        if files:
            pass  # while it went
        elif output.suffix.lower() == ".json":
            from isthmus.files import write_atomic

            text = json.dumps(_plain(result.to_json()), ensure_ascii=False, indent=1)
            write_atomic(output, lambda file: file.write(f"{text}\n".encode()) and None)
            files = [output]
        else:
            if hasattr(result, "watched"):  # pictures are cleaned as they are written
                result.watched = voice.counted
            began = time.perf_counter()
            files = result.save(output)
            seconds += time.perf_counter() - began
        rate = (
            f"{(len(rows) - getattr(result, 'begin', 0)) / max(seconds, 1e-9):,.0f} rows/s"
            if hasattr(rows, "__len__") and not isinstance(rows, str) and rows.kind != "recordings"
            else f"{seconds:.1f} s"
        )
        shown = str(files[0]) if len(files) == 1 else f"{len(files):,} files in {output}"
        voice.say(f"{shown} ({rate})", bold=True)
        for line in getattr(result, "failed", ()):
            voice.say(f"! {line}", fg="yellow")
    elif glimpse:
        if not voice.quiet:
            _worst_rows(result, voice)
        voice.say("-o scored.csv keeps the score, the p-value and the reason of every row")
    elif name in ("encode", "decode", "denoise", "reconstruct", "sample"):
        for line in result.glimpse():
            voice.say(line)
        voice.say("-o FILE keeps them")
    voice.told(
        {
            "task": name,
            **result.to_json(),
            # a folder of a million images is one name
            "files": [str(file) for file in files] if len(files) <= 100 else str(output),
            "skipped": [{"name": one.name, "reason": one.reason} for one in skipped],
            "remarks": remarks,
            "seconds": seconds,
        }
    )


def _worst_rows(found: Any, voice: Voice, most: int = 10) -> None:
    """The strangest rows with their reasons, as a table for the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2))
    for title in ("row", "score", "p-value", "", "why"):
        table.add_column(title, justify="right" if title in ("row", "score", "p-value") else "left",
                         overflow="fold", no_wrap=title != "why")  # fmt: skip
    for i in found.worst(most):
        flagged = bool(found.anomalies[i])
        why = "; ".join(map(str, found.reasons(i)))
        table.add_row(
            Text(str(found.rows.names[i] if found.rows.names else i)),
            f"{found.scores[i]:.4g}",
            f"{found.p_values[i]:.2g}",
            Text("anomaly" if flagged else "", style="bold red"),
            Text(why, style="" if flagged else "dim"),
        )
    # a pipe has no width of its own, and folding there would only break lines that are read whole
    width = None if voice.stream.isatty() else 160
    Console(file=voice.stream, width=width, highlight=False).print(table)


# -- looking things up --------------------------------------------------------------------------


@isthmus.command(short_help="Tell what a model was fitted on, its parts and training; or what an .isz file holds.")
@click.argument("model_path", metavar="FILE", type=click.Path(path_type=Path))
@_voiced
def info(voice: Voice, model_path: Path) -> None:
    """Tell what the model in FILE was fitted on, its parts, sizes, training record, calibration and versions.

    Of a file that isthmus compress wrote: its rows, columns, promised error, and whether all of it is whole.
    """
    from isthmus.app import words
    from isthmus.data.container import is_container

    if is_container(model_path):
        from isthmus.tasks.compress import Inspected

        found = Inspected.of(model_path)
        for line in found.summary():
            voice.say(line)
        voice.told(found.to_json())
        return
    from isthmus.model import open_model

    model = open_model(model_path, device="cpu")
    for title, lines in words.about(model, model_path).items():
        for i, line in enumerate(lines):
            voice.say(_painted(f"{'' if i else title:<13}", voice.stream, dim=True) + line)
    voice.told(words.about_json(model, model_path))


@isthmus.command(short_help="List the named compositions, a line each.")
@_voiced
def recipes(voice: Voice) -> None:
    """List the named compositions, a line each."""
    width = max(map(len, RECIPES))
    for name, recipe in RECIPES.items():
        voice.say(f"{_painted(f'{name:<{width}}', voice.stream, bold=True)}  {recipe.about}")
    voice.told({name: {"about": recipe.about, "parts": dict(recipe.parts)} for name, recipe in RECIPES.items()})


@isthmus.command(short_help="List every part with its options.")
@click.argument("place", required=False)
@_voiced
def parts(voice: Voice, place: str | None) -> None:
    """List every part with its options, or those of one PLACE: encoder, bottleneck, ….

    --set PLACE.OPTION=VALUE reaches each of them in isthmus fit.
    """
    from isthmus.core.autoencoder import MENUS
    from isthmus.core.parts import options_of

    if place is not None and place not in MENUS:
        raise unknown("part of a model", place, MENUS)
    found: dict[str, dict[str, Any]] = {}
    width = max(len(kind) for menu in MENUS.values() for kind in menu) + 2
    for name in [place] if place else MENUS:
        found[name] = {}
        voice.say(name, bold=True)
        for kind, cls in MENUS[name].items():
            options = options_of(cls)
            first = (inspect.getdoc(cls) or "").split("\n\n")[0]
            found[name][kind] = {
                "about": _one_line(first),
                "options": {o: None if p.default is p.empty else p.default for o, p in options.items()},
            }
            listed = ", ".join(
                o if p.default is p.empty else f"{o}={json.dumps(_plain(p.default))}" for o, p in options.items()
            )
            voice.say(f"  {kind:<{width}}{_one_line(first)}")
            if listed:
                voice.say(f"  {'':<{width}}{_painted(listed, voice.stream, dim=True)}")
    voice.told(found)


@isthmus.command(short_help="Draw a report: one self-contained page about a model and rows.")
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The .html file to write.")
@click.option("--false-alarm-rate", type=float, default=0.01, show_default=True, help="Where the threshold is drawn.")
@click.option("--labels", metavar="COLUMN", help="A column of known labels: shows ROC, precision and confusion.")
@click.option(
    "--rows",
    "most",
    type=click.IntRange(min=10),
    default=5000,
    show_default=True,
    help="At most so many rows are drawn, chosen at random.",
)
@_voiced
def report(
    voice: Voice, model_path: Path, data: str, output: Path, false_alarm_rate: float, labels: str | None, most: int
) -> None:
    """Draw a report of MODEL on DATA: one self-contained HTML file, light and dark."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise FileError(f"A report is a page: name it .html, not {output.name!r}.")
    check_output(output)
    from isthmus.app import words
    from isthmus.app.report import write_report
    from isthmus.model import open_model

    began = time.perf_counter()
    model = open_model(model_path)
    write_report(
        model, model.open(data), output,
        name=model_path.name, false_alarm_rate=false_alarm_rate, labels=labels, most=most,
    )  # fmt: skip
    size, seconds = output.stat().st_size, time.perf_counter() - began
    voice.say(f"{output} ({words.bytes_(size)}) in {seconds:.1f} s: open it in a browser", bold=True)
    voice.told({"report": str(output), "bytes": size, "seconds": seconds})
