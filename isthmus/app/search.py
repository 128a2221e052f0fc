"""Commands that make, change and ask an index, and the one that finds rows which are nearly the same."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from isthmus.app.voice import Voice, check_output, voiced
from isthmus.errors import SpecError
from isthmus.spec import AUTO

_CODES = click.Choice(["float", "int8", "binary"])
_BY = click.Choice(["both", "code", "words"])


@click.command(short_help="Make rows searchable: their codes, words and the model in one file.")
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("data", required=False)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The index to write, such as corpus.idx.")
@click.option("--codes", type=_CODES, default="float", show_default=True,
              help="How codes are kept: as they are, in a quarter, or as bits that are looked through.")  # fmt: skip
@click.option("--columns", metavar="TABLE", help="A table with a row for each, to filter by and to show beside.")
@click.option("--delete", metavar="IDS", help="Take rows out of an index by their ids: 3,17,20.")
@click.option("--delete-where", metavar="CONDITION", help="Take out the rows that fulfil it: 'year < 1990'.")
@click.option("--device", default=AUTO, show_default=True, help="cpu, cuda, cuda:1, ….")
@click.option("--strict", is_flag=True, help="Refuse files that cannot be used instead of skipping them.")
@voiced
def index(
    voice: Voice,
    model_path: Path,
    data: str | None,
    output: Path | None,
    codes: str,
    columns: str | None,
    delete: str | None,
    delete_where: str | None,
    device: str,
    strict: bool,
) -> None:
    """Make the rows of DATA searchable by MODEL: codes, words, what is shown of rows, and the model, in one file.

    \b
    isthmus index news.isthmus news.jsonl -o news.idx
    isthmus search news.idx "rate cut" -k 5

    In place of MODEL, an index that is there already: the rows of DATA are added to it, and it is written again.
    """
    from isthmus.data.sections import is_sections

    known = is_sections(model_path)
    output = output or (model_path if known else None)
    if output is None:
        raise SpecError("Say where the index goes: -o corpus.idx.")
    check_output(output)
    ids = None if delete is None else _ids(delete)
    if not known and (data is None or delete is not None or delete_where is not None):
        raise SpecError("A new index needs rows: isthmus index MODEL DATA -o corpus.idx. --delete is for one that is.")
    if known and data is None and ids is None and delete_where is None:
        raise SpecError("Nothing was asked of the index: name rows to add, or --delete IDS.")
    if known and codes != "float":
        raise SpecError("An index keeps codes as it was built. Leave --codes out, or build it again from a model.")
    from isthmus.model import open_model
    from isthmus.tasks.searching.search import Index

    began = time.perf_counter()
    skipped: tuple[Any, ...] = ()
    done: dict[str, Any] = {}
    if known:
        made = Index.open(model_path)
        if ids is not None or delete_where is not None:
            chosen = list(ids or [])
            if delete_where is not None:
                chosen += made.ids[made.where(delete_where)].tolist()
            done["deleted"] = made.delete(chosen) if chosen else 0
            voice.say(f"{done['deleted']:,} rows were taken out")
        if data is not None:
            rows = made.model.open(data, strict=strict)
            skipped = rows.skipped
            done["added"] = len(made.add(rows, columns=columns))
            voice.say(f"{done['added']:,} rows were added")
    else:
        model = open_model(model_path, device=device)
        rows = model.open(data, strict=strict)
        skipped = rows.skipped
        made = Index.build(model, rows, codes=codes, columns=columns, told=voice.say)
    for one in skipped:
        voice.say(f"skipped {one.name}: {one.reason}", fg="yellow")
    made.save(output)
    for line in made.summary():
        voice.say(line)
    from isthmus.app.words import bytes_

    size, seconds = output.stat().st_size, time.perf_counter() - began
    voice.say(f"{output} ({bytes_(size)}) in {seconds:.1f} s", bold=True)
    voice.told({
        "task": "index", **made.to_json(), **done, "files": [str(output)], "bytes": size, "seconds": seconds,
        "skipped": [{"name": one.name, "reason": one.reason} for one in skipped],
    })  # fmt: skip


def _ids(said: str) -> list[int]:
    try:
        return [int(one) for one in said.replace(" ", "").split(",")]
    except ValueError:
        raise SpecError(f"Ids are whole numbers, such as --delete 3,17; got {said!r}.") from None


@click.command(short_help="Find the rows of an index that are nearest to a query.")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument("query")
@click.option("-k", "k", type=int, default=10, show_default=True, help="How many rows to find.")
@click.option("--where", metavar="CONDITION", help="Only rows that fulfil it: 'year >= 2020 and topic = sport'.")
@click.option("--by", type=_BY, default="both", show_default=True, help="Of texts: what ranks them.")
@click.option("--model", "model_path", type=click.Path(path_type=Path),
              help="The model that the index should be of; another is refused.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write all hits; .csv, .parquet, ….")
@voiced
def search(
    voice: Voice,
    index_path: Path,
    query: str,
    k: int,
    where: str | None,
    by: str,
    model_path: Path | None,
    output: Path | None,
) -> None:
    """Find the rows of INDEX nearest to QUERY: a text, the path of a picture, recording or table, or a row written out.

    \b
    isthmus search news.idx "rate cut" --where "topic = business"
    isthmus search digits.idx seven.png
    isthmus search flowers.idx "petal length=1.4,petal width=0.2"
    isthmus search news.idx queries.txt -o hits.csv

    A file may hold several queries. Of texts it is told what found a hit: code, words, or both.
    """
    if output is not None:
        check_output(output)
    from isthmus.tasks.searching.search import Index

    began = time.perf_counter()
    asked = Index.open(index_path, model=model_path)
    found = asked.search(query, k, where=where, by=by)
    seconds = time.perf_counter() - began
    for remark in found.remarks:
        voice.say(f"! {remark}", fg="yellow")
    files = [] if output is None else found.save(output)
    if files:
        hits = sum(map(len, found.places))
        voice.say(f"{files[0]}: {hits:,} hits of {len(found.queries):,} queries", bold=True)
    else:
        for i, said in enumerate(found.queries):
            if len(found.queries) > 1:
                voice.say(f"{i}: {' '.join(said.split())[:80]}", bold=True)
            for line in found.lines(i):
                voice.say(line)
    voice.told({"task": "search", **found.to_json(), "files": [str(file) for file in files], "seconds": seconds})


def tell_index(voice: Voice, path: Path) -> None:
    """What an index holds, and whether all of it is whole: everything is read for that."""
    from isthmus.data.sections import Sections
    from isthmus.tasks.searching.search import Index

    told, damaged = Index.open(path), Sections(path).check()
    for line in told.summary():
        voice.say(line)
    voice.say(f"! damaged: {', '.join(damaged)}" if damaged else "every checksum matches")
    voice.told({**told.to_json(), "damaged": damaged})


@click.command(short_help="Find rows that are nearly the same, as groups.")
@click.argument("data")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write the groups; .csv, .parquet, ….")
@click.option("--model", "model_path", type=click.Path(path_type=Path), help="Compare the codes of this model.")
@click.option("--threshold", type=float, help="The distance up to which rows are the same; by itself from copies.")
@click.option("--strict", is_flag=True, help="Refuse files that cannot be used instead of skipping them.")
@voiced
def duplicates(
    voice: Voice, data: str, output: Path | None, model_path: Path | None, threshold: float | None, strict: bool
) -> None:
    """Find rows of DATA that are nearly the same, as groups: pictures, texts, series, or rows of numbers.

    No model is needed. What is near enough is found on copies that are made of some rows, and told.
    """
    if output is not None:
        check_output(output)
    from isthmus.tasks.searching.duplicates import duplicates as find

    began = time.perf_counter()
    found = find(data, model=model_path, threshold=threshold, strict=strict, told=voice.say)
    seconds = time.perf_counter() - began
    for one in found.rows.skipped:
        voice.say(f"skipped {one.name}: {one.reason}", fg="yellow")
    for line in found.summary():
        voice.say(line)
    files = [] if output is None else found.save(output)
    if files:
        voice.say(str(files[0]), bold=True)
    else:
        for line in found.glimpse():
            voice.say(line)
    voice.told({
        "task": "duplicates", **found.to_json(), "files": [str(file) for file in files], "seconds": seconds,
        "skipped": [{"name": one.name, "reason": one.reason} for one in found.rows.skipped],
    })  # fmt: skip
