"""Writes the pages of this folder that the code itself can tell: recipes.md and parts.md.

python docs/reference/make.py
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from isthmus.core.autoencoder import MENUS
from isthmus.core.parts import options_of
from isthmus.recipes import RECIPES

HERE = Path(__file__).parent


def recipes() -> str:
    lines = [
        "# Recipes",
        "",
        "A recipe is a composition of [parts](parts.md). What it leaves open, the rows decide; every part and option",
        'can be replaced: `Autoencoder("beta", objective={"beta": 8})`, `isthmus fit … --set objective.beta=8`.',
        "",
        "| recipe | what it is for | parts |",
        "|---|---|---|",
    ]
    for name, recipe in RECIPES.items():
        said = ", ".join(f"{place}: {_said(part)}" for place, part in recipe.parts.items())
        lines.append(f"| `{name}` | {recipe.about} | {said} |")
    return "\n".join(lines) + "\n"


def parts() -> str:
    lines = [
        "# Parts",
        "",
        "Every place of the equation and what can stand there, with its options and their defaults.",
    ]
    for place, menu in MENUS.items():
        lines += ["", f"## {place}", "", "| part | what it is | options |", "|---|---|---|"]
        for name, cls in menu.items():
            about = (
                " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")
            )
            options = ", ".join(
                f"`{o}`" if p.default is p.empty else f"`{o}={json.dumps(_plain(p.default))}`"
                for o, p in options_of(cls).items()
            )
            lines.append(f"| `{name}` | {about} | {options} |")
    return "\n".join(lines) + "\n"


def _said(part: Any) -> str:
    if isinstance(part, list):
        return " + ".join(map(_said, part))
    if isinstance(part, str):
        return f"`{part}`"
    options = ", ".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in part.items() if k != "kind")
    return f"`{part.get('kind', '')}({options})`"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


PAGES = {"recipes.md": recipes, "parts.md": parts}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write(), encoding="utf-8")
