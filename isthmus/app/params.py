"""What people may write behind an option: times, sizes, settings, a number or a word."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from isthmus.spec import AUTO

#: Endings of pages, and of pictures, that something is drawn into.
PAGES, PICTURES = (".html", ".htm"), (".png",)


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
