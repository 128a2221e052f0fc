"""Which kind a column is, from its cells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from isthmus.errors import DataError
from isthmus.modalities.columns import COLUMNS
from isthmus.modalities.columns.arrow import is_text, seconds
from isthmus.modalities.columns.aside import Aside
from isthmus.modalities.columns.base import Column, Studied
from isthmus.modalities.columns.boolean import Boolean
from isthmus.modalities.columns.categorical import Categorical
from isthmus.modalities.columns.date import Date
from isthmus.modalities.columns.hashed import Hashed
from isthmus.modalities.columns.numeric import ABSENT, NUMBER, Numeric
from isthmus.modalities.columns.picture import Picture, names_pictures
from isthmus.modalities.columns.sentences import Sentences, reads_as_text

if TYPE_CHECKING:
    import pyarrow as pa

#: Texts that are this often numbers are numbers, and the rest is missing.
PARSED = 0.95
#: Fewer cells do not tell text from names.
_TELLING = 20

# 007 and 01234 are codes: as numbers they would lose their zeros
_CODE = r"^0\d+$"
_DATE = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?$"
_IDENTIFIER = re.compile(r"(?:^|[\W_])(?:id|idx|index|key|nr|rowid|uuid)$|[a-z](?:Id|ID)$|^unnamed", re.IGNORECASE)


def study(name: str, raw: pa.Array, said: str | None, studied: Studied) -> tuple[Column, np.ndarray | None]:
    """Decide one column. Also gives its numbers if one is to be scaled."""
    import pyarrow as pa

    type_, n_found = raw.type, studied.there(name, raw)
    if said == "ignore":
        return Aside.fit(name, raw, studied), None
    if n_found == 0:
        return Aside(name, "null", reason="has no value at all"), None
    if pa.types.is_nested(type_) or pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return Aside(name, str(type_), reason=f"is {type_}, neither number, text nor date"), None
    if said in ("text", "image") and not is_text(type_):
        raise DataError(f"The column {name!r} of {studied.origin} is {type_} and cannot be {said}.")
    if said not in (None, "numeric", "date") or (said == "date" and is_text(type_)):
        return _fitted(COLUMNS[said], name, raw, studied)
    if pa.types.is_temporal(type_) and said in (None, "numeric", "date"):
        value = _constant_of(studied.with_bounds(name, raw, seconds(raw), seconds))
        if said is None and value is not None:
            return Aside(name, str(type_), value, f"always holds {raw.drop_null()[0]}"), None
        return _fitted(Date, name, raw, studied)
    if said == "date":
        raise DataError(
            f"The column {name!r} of {studied.origin} should hold dates; it is {type_}. Convert it to dates."
        )
    if is_text(type_) and said is None and (found := _of_texts(name, raw, studied)) is not None:
        return found
    return _of_numbers(name, raw, said, studied)


def _fitted(kind: type[Column], name: str, raw: pa.Array, studied: Studied) -> tuple[Column, np.ndarray | None]:
    column = kind.fit(name, raw, studied)
    if not column.scaled:
        return column, None
    numbers = column.numbers(raw, studied.origin, [])
    return column, numbers if numbers.ndim == 1 else numbers[:, 0]


def _of_texts(name: str, raw: pa.Array, studied: Studied) -> tuple[Column, np.ndarray | None] | None:
    """A column of texts; None where they are numbers written as such."""
    dtype, n_found = str(raw.type), studied.there(name, raw)
    found = studied.counts(name, raw, dtype)
    different = studied.different(name, found)
    if len(found) == 1:
        value = next(iter(found))
        return Aside(name, dtype, value, f"always holds {value!r}"), None
    written = {text: n for text, n in found.items() if text.strip() not in ABSENT}
    parsed = sum(n for text, n in written.items() if re.match(NUMBER, text.strip()))
    coded = any(re.match(_CODE, text.strip()) for text in found)
    if not coded and parsed and parsed >= PARSED * sum(written.values()):
        return None
    if all(re.match(_DATE, text.strip()) for text in list(found)[:_TELLING]):
        try:
            return _fitted(Date, name, raw, studied)
        except DataError:
            pass  # some only look like dates
    pictures = names_pictures(raw, studied.folder)
    if pictures is True:
        return _fitted(Picture, name, raw, studied)
    if different > max(20, n_found / 2) or different == n_found >= 10:
        if n_found >= _TELLING and reads_as_text(raw):
            return _fitted(Sentences, name, raw, studied)
        many = studied.how_many(name, different)
        reason = f"holds {many} different texts in {n_found:,} rows, like an identifier or free text"
        if pictures:
            reason = f"seems to name pictures, and {pictures!r} is not there"
        return Aside(name, dtype, reason=reason), None
    return _fitted(Hashed if different > studied.max_levels else Categorical, name, raw, studied)


def _of_numbers(name: str, raw: pa.Array, said: str | None, studied: Studied) -> tuple[Column, np.ndarray | None]:
    import pyarrow as pa

    column, numbers = Numeric.learned(name, raw, studied)
    if said == "numeric":
        return column, numbers
    if np.isnan(numbers).all():
        return Aside(name, column.dtype, reason="has no finite value"), None
    every = (
        numbers if is_text(raw.type) else studied.with_bounds(name, raw, numbers, lambda cells: cells.cast("double"))
    )
    if (value := _constant_of(every)) is not None:
        held = raw.drop_null()[0].as_py() if not is_text(raw.type) else value
        held = held if isinstance(held, (bool, int, float)) and held == value else value
        return Aside(name, column.dtype, held, f"always holds {held!r}"), None
    finite = numbers if not np.isnan(numbers).any() else numbers[~np.isnan(numbers)]
    if pa.types.is_boolean(raw.type) or (np.isnan(every) | (every == 0) | (every == 1)).all():
        return Boolean(name, column.dtype), None
    if (
        _IDENTIFIER.search(name)
        and column.dtype.lstrip("u").startswith("int")
        and len(finite) >= 20
        and len(np.unique(finite)) == len(finite)
    ):
        return Aside(name, str(raw.type), reason="numbers the rows, like an identifier"), None
    return column, numbers


def _constant_of(numbers: np.ndarray) -> float | None:
    """The one finite value of these numbers, if there is only one."""
    low, high = np.fmin.reduce(numbers), np.fmax.reduce(numbers)
    return float(low) if low == high else None
