"""The command line. A task of the menu is a subcommand, and its keyword-only arguments are the options.

Exit codes: 0 for success, 2 for what the user can mend (one line, ``error: …``), 1 for our own mistakes,
130 when interrupted. Nothing heavy is imported before a command needs it, so help comes at once.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from isthmus import __version__
from isthmus.app.commands import task_command
from isthmus.app.fit import fit
from isthmus.app.generate import augment
from isthmus.app.head import head
from isthmus.app.map import map_
from isthmus.app.search import duplicates, index, search
from isthmus.app.voice import Voice, check_output, one_line, painted, plain, voiced
from isthmus.errors import FileError, UserError, unknown
from isthmus.recipes import RECIPES
from isthmus.tasks import TASKS

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
        click.echo(f"error: {kind}: {one_line(error)}", err=True)
        click.echo(
            "This is a bug in isthmus, not your mistake. Run again with --debug and report what it says.",
            err=True,
        )
        return 1


def _failed(message: str) -> int:
    click.echo(f"{painted('error:', sys.stderr, fg='red', bold=True)} {one_line(message)}", err=True)
    return 2


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


for command in (fit, head, map_, index, search, duplicates, augment):
    isthmus.add_command(command)


# -- looking things up --------------------------------------------------------------------------


@isthmus.command(
    short_help="Tell what a model was fitted on, its parts and training; what an .isz file or an index holds."
)
@click.argument("model_path", metavar="FILE", type=click.Path(path_type=Path))
@voiced
def info(voice: Voice, model_path: Path) -> None:
    """Tell what the model in FILE was fitted on, its parts, sizes, training record, calibration and versions.

    Of a file that isthmus compress wrote: its rows, columns, promised error, and whether all of it is whole. Of an
    index: what it holds, how it is searched, and whether all of it is whole.
    """
    from isthmus.data.container import is_container
    from isthmus.data.sections import is_sections

    if is_container(model_path):
        from isthmus.tasks.compression.compress import Inspected

        found = Inspected.of(model_path)
        for line in found.summary():
            voice.say(line)
        voice.told(found.to_json())
        return
    if is_sections(model_path):
        from isthmus.app.search import tell_index

        tell_index(voice, model_path)
        return
    from isthmus.app.told import told

    about, said = told(model_path)
    for title, lines in about.items():
        for i, line in enumerate(lines):
            voice.say(painted(f"{'' if i else title:<13}", voice.stream, dim=True) + line)
    voice.told(said)


@isthmus.command(short_help="List the named compositions, a line each.")
@voiced
def recipes(voice: Voice) -> None:
    """List the named compositions, a line each."""
    width = max(map(len, RECIPES))
    for name, recipe in RECIPES.items():
        voice.say(f"{painted(f'{name:<{width}}', voice.stream, bold=True)}  {recipe.about}")
    voice.told({name: {"about": recipe.about, "parts": dict(recipe.parts)} for name, recipe in RECIPES.items()})


@isthmus.command(short_help="List every part with its options.")
@click.argument("place", required=False)
@voiced
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
                "about": one_line(first),
                "options": {o: None if p.default is p.empty else p.default for o, p in options.items()},
            }
            listed = ", ".join(
                o if p.default is p.empty else f"{o}={json.dumps(plain(p.default))}" for o, p in options.items()
            )
            voice.say(f"  {kind:<{width}}{one_line(first)}")
            if listed:
                voice.say(f"  {'':<{width}}{painted(listed, voice.stream, dim=True)}")
    voice.told(found)


@isthmus.command(short_help="Draw a report: one self-contained page about a model and rows.")
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The .html file to write.")
@click.option("--false-alarm-rate", type=float, default=0.01, show_default=True, help="Where the threshold is drawn.")
@click.option(
    "--labels",
    metavar="NAME",
    help="Known labels, of which ROC, precision and confusion are shown: a column, a file with one a row, or folder.",
)
@click.option(
    "--rows",
    "most",
    type=click.IntRange(min=10),
    default=5000,
    show_default=True,
    help="At most so many rows are drawn, chosen at random.",
)
@voiced
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
