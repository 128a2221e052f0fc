"""The menu of modalities, and the way from rows to a fitted one and from JSON back to it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from isthmus.data.rows import Rows
from isthmus.errors import SpecError, unknown
from isthmus.modalities.array import Array
from isthmus.modalities.base import Modality
from isthmus.modalities.image import Image
from isthmus.modalities.matrix import Matrix
from isthmus.modalities.pixels import Pixels
from isthmus.modalities.series import Series
from isthmus.modalities.signals import Signals
from isthmus.modalities.table import Table
from isthmus.modalities.text import Text
from isthmus.modalities.tiles import Tiled

MODALITIES: dict[str, type[Modality]] = {
    "array": Array, "table": Table, "image": Image, "pixels": Pixels, "series": Series, "sparse": Matrix, "text": Text,
    "tiles": Tiled, "signals": Signals,
}  # fmt: skip

#: Rows of these kinds are taken by another modality than one of their own name.
_OF = {"recordings": "series", "windows": "series"}


def fit_modality(rows: Rows, kind: str | None = None, **options: Any) -> Modality:
    """The modality of ``rows``, or the one called ``kind``, learned from them; of large ones from ``rows.data.some``,
    unless it goes through all of them.

    >>> from isthmus.data.source import open_rows
    >>> fit_modality(open_rows("example:iris")).shape
    (4,)
    """
    kind = kind or _OF.get(rows.kind, rows.kind)
    if kind not in MODALITIES:
        raise unknown("modality", kind, MODALITIES)
    known = [name for name in inspect.signature(MODALITIES[kind].fit).parameters if name != "rows"]
    for name in options:
        if name not in known:
            raise unknown(f"option of the modality {kind!r}", name, known)
    if rows.large and not MODALITIES[kind].goes_through:
        rows = rows.of(rows.data.some)
    return MODALITIES[kind].fit(rows, **options)


def modality_to_json(modality: Modality) -> dict[str, Any]:
    """The state of a modality with its name on the menu, which no state uses as a key."""
    state = modality.to_json()
    assert "kind" not in state
    return {"kind": modality.kind, **state}


def modality_from_json(said: Mapping[str, Any]) -> Modality:
    """The modality that :func:`modality_to_json` wrote."""
    kind = said.get("kind")
    if kind not in MODALITIES:
        raise unknown("modality", kind, MODALITIES)
    state = {name: value for name, value in said.items() if name != "kind"}
    known = inspect.signature(MODALITIES[kind]).parameters
    for name in state:
        if name not in known:
            raise unknown(f"part of the state of the modality {kind!r}", name, known)
    # what has a default came later than the first files
    if lacking := [name for name, p in known.items() if name not in state and p.default is p.empty]:
        raise SpecError(
            f"The state of the modality {kind!r} lacks {', '.join(map(repr, lacking))}. The file is incomplete."
        )
    try:
        return MODALITIES[kind](**state)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise SpecError(f"The state of the modality {kind!r} is damaged: {error}.") from error
