"""A subcommand for every task, from the signature of its function: keyword-only arguments are the options."""

from __future__ import annotations

import inspect
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isthmus.app.params import NumberOr
from isthmus.app.voice import STREAM, Voice, check_output, one_line, plain, voiced
from isthmus.errors import SpecError
from isthmus.spec import AUTO

if TYPE_CHECKING:
    from isthmus.model import Model
    from isthmus.tasks import Result, Task

#: Tasks that make rows (or codes), of which the first are shown where nobody asked for a file.
_SHOWN = ("encode", "decode", "denoise", "reconstruct", "sample", "predict", "blend", "shift", "traverse")
#: Seconds between two words of how far a long task is.
_PACE = 5.0


def task_command(name: str, task: Task) -> click.Command:
    """The subcommand of a task, from the signature of its function."""
    function = task.load()
    signature = list(inspect.signature(function).parameters.values())
    inputs = [p for p in signature if p.kind is not p.KEYWORD_ONLY][1:]  # the first is the model
    options = [p for p in signature if p.kind is p.KEYWORD_ONLY and p.name != "watch"]
    watched = any(p.name == "watch" for p in signature)  # long work that says how far it is
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
        watching = {"watch": voice.counted} if watched else {}
        result = function(model, *given, **{p.name: said[p.name] for p in options}, **watching)
        files = _swept(voice, result, output, resume)
        # what others make of the rows, beside it, is no part of the work
        seconds = getattr(result, "seconds", time.perf_counter() - began)
        _show(voice, model, result, given[0] if inputs else None, output, seconds, name, files)

    command.__doc__ = f"{task.about}\n\nMODEL is a file that isthmus fit wrote. Without -o the result is shown."
    made: Any = voiced(command)
    made = click.option("--strict", is_flag=True, help="Refuse files that cannot be used instead of skipping them.")(
        made
    )
    made = click.option("--device", default=AUTO, show_default=True, help="cpu, cuda, cuda:1, ….")(made)
    if any(p.name == "rows" for p in inputs):
        made = click.option("--stream/--no-stream", default=None, help=STREAM)(made)
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
    if isinstance(default, bool) or annotation.startswith("bool"):
        return click.option(f"--{dashed}/--no-{dashed}", default=default, show_default=default is not None, help=about)
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
    # an option that is required has no default, not even None, which would count as said
    given = {"required": True} if required else {"default": default, "show_default": default is not None}
    return click.option(flag, parameter.name, type=kind, help=about, **given)


def _argument_help(function: Callable[..., Any]) -> dict[str, str]:
    """The lines of a docstring's ``Args:`` by name."""
    text = inspect.getdoc(function) or ""
    _, _, listed = text.partition("Args:\n")
    found = re.findall(r"^    (\w+): (.+(?:\n {8,}.+)*)", listed, re.MULTILINE)
    return {name: one_line(about).capitalize() for name, about in found}


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

            text = json.dumps(plain(result.to_json()), ensure_ascii=False, indent=1)
            write_atomic(output, lambda file: file.write(f"{text}\n".encode()) and None)
            files = [output]
        else:
            if hasattr(result, "watched"):  # pictures are cleaned as they are written
                result.watched = voice.counted
            began = time.perf_counter()
            files = result.save(output)
            seconds += time.perf_counter() - began
        rate = (
            f"{_speed((len(rows) - getattr(result, 'begin', 0)) / max(seconds, 1e-9))} rows/s"
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
    elif name in _SHOWN:
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


def _speed(rate: float) -> str:
    """
    >>> _speed(0.34), _speed(12345.6)
    ('0.34', '12,346')
    """
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


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
