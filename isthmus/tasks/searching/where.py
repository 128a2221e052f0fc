"""Conditions on columns in a small language of their own, of which nothing but comparisons can be said.

    year >= 2020 and topic = sport
    not (price < 10 or colour in (red, 'dark blue')) and note is not missing and title contains pump

Names and values with blanks are quoted. A cell that is missing fulfils no comparison.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from isthmus.errors import DataError, SpecError, unknown

_TOKEN = re.compile(r"""\s*(?:(<=|>=|!=|==|=|<|>|\(|\)|,)|'([^']*)'|"([^"]*)"|([^\s()<>=!,'"]+))""")
_SIGNS = ("=", "==", "!=", "<", "<=", ">", ">=")
_DEEPEST = 50
_LONGEST = 10_000
_EXAMPLE = "Write NAME OPERATOR VALUE, such as: year >= 2020 and topic = sport."


def where_mask(said: str, table: Any) -> np.ndarray:
    """Which rows of a ``pyarrow.Table`` fulfil a condition, bool (n,).

    Raises:
        SpecError: it cannot be read, or names no column.

    >>> import pyarrow as pa
    >>> where_mask("year >= 2020 and not topic = sport", pa.table({"year": [2019, 2021], "topic": ["sport", "art"]}))
    array([False,  True])
    """
    return _Reader(said, table).read()


class _Reader:
    """Recursive descent: or, and, not, comparison."""

    def __init__(self, said: str, table: Any):
        self.said, self.table, self.at, self.depth = said, table, 0, 0
        self.tokens = _tokens(said)

    def read(self) -> np.ndarray:
        if not self.tokens:
            raise SpecError(f"An empty condition chooses nothing. {_EXAMPLE}")
        found = self._any()
        if self.at < len(self.tokens):
            raise self._lost(f"{self.tokens[self.at][1]!r} is one too many")
        return found

    def _any(self) -> np.ndarray:
        found = self._all()
        while self._word("or"):
            found = found | self._all()
        return found

    def _all(self) -> np.ndarray:
        found = self._one()
        while self._word("and"):
            found = found & self._one()
        return found

    def _one(self) -> np.ndarray:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._lost(f"it is nested deeper than {_DEEPEST}")
        if self._word("not"):
            found = ~self._one()
        elif self._sign("("):
            found = self._any()
            if not self._sign(")"):
                raise self._lost("a bracket is never closed")
        else:
            found = self._comparison()
        self.depth -= 1
        return found

    def _comparison(self) -> np.ndarray:
        name = self._value("a column")
        if name not in self.table.column_names:
            raise unknown("column", name, self.table.column_names)
        cells = _Cells(name, self.table[name])
        if self._word("is"):
            negated = self._word("not")
            if not self._word("missing"):
                raise self._lost("after 'is' comes 'missing' or 'not missing'")
            return cells.there if negated else ~cells.there
        if self._word("contains"):
            return cells.contains(self._value("a text"))
        if self._word("in"):
            if not self._sign("("):
                raise self._lost("after 'in' comes a list in brackets")
            found = cells.compare("=", self._value("a value"))
            while self._sign(","):
                found = found | cells.compare("=", self._value("a value"))
            if not self._sign(")"):
                raise self._lost("a bracket is never closed")
            return found
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "sign" and self.tokens[self.at][1] in _SIGNS:
            sign = self.tokens[self.at][1]
            self.at += 1
            return cells.compare(sign, self._value("a value"))
        raise self._lost(f"after {name!r} comes one of = != < <= > >= in contains is")

    def _value(self, what: str) -> str:
        if self.at < len(self.tokens) and self.tokens[self.at][0] != "sign":
            self.at += 1
            return self.tokens[self.at - 1][1]
        raise self._lost(f"{what} was expected {self._here()}")

    def _word(self, word: str) -> bool:
        return self._next("word", word)

    def _sign(self, sign: str) -> bool:
        return self._next("sign", sign)

    def _next(self, kind: str, said: str) -> bool:
        there = self.at < len(self.tokens) and self.tokens[self.at][0] == kind
        there = there and self.tokens[self.at][1].lower() == said
        self.at += there
        return there

    def _here(self) -> str:
        return f"before {self.tokens[self.at][1]!r}" if self.at < len(self.tokens) else "at the end"

    def _lost(self, why: str) -> SpecError:
        return SpecError(f"The condition {self.said[:200]!r} cannot be read: {why}. {_EXAMPLE}")


def _tokens(said: str) -> list[tuple[str, str]]:
    """Signs, words and what is quoted, each with its kind."""
    if len(said) > _LONGEST:
        raise SpecError(f"A condition has at most {_LONGEST:,} letters; got {len(said):,}.")
    found, at = [], 0
    while said[at:].strip():
        match = _TOKEN.match(said, at)
        if match is None:
            raise SpecError(f"The condition {said[:200]!r} cannot be read from {said[at : at + 20]!r} on. {_EXAMPLE}")
        sign, single, double, word = match.groups()
        if sign:
            found.append(("sign", sign))
        elif word is not None:
            found.append(("word", word))
        else:
            found.append(("quoted", single if single is not None else double))
        at = match.end()
    return found


class _Cells:
    """A column that is compared with values as they are written."""

    def __init__(self, name: str, column: Any):
        import pyarrow as pa

        self.name = name
        self.column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        self.there = ~np.asarray(column.is_null().to_numpy(), bool)

    def compare(self, sign: str, said: str) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        compute = {"=": pc.equal, "==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal,
                   ">": pc.greater, ">=": pc.greater_equal}[sign]  # fmt: skip
        kind, column = self.column.type, self.column
        if pa.types.is_signed_integer(kind) and re.fullmatch(r"[-+]?\d{1,18}", said):
            kind, column = pa.int64(), column.cast(pa.int64())  # of long numbers every digit counts
        elif pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            kind, column = pa.float64(), column.cast(pa.float64(), safe=False)
        try:
            value: Any = said
            if pa.types.is_integer(kind):
                value = int(said)
            elif pa.types.is_floating(kind):
                value = float(said)
            elif pa.types.is_boolean(kind):
                value = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[said.lower()]
            return _bools(compute(column, pa.scalar(value).cast(kind)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, KeyError):
            raise DataError(
                f"The column {self.name!r} is of type {self.column.type}, and {said!r} is nothing that it can be "
                "compared with. Write a value like those in it."
            ) from None

    def contains(self, said: str) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not (pa.types.is_string(self.column.type) or pa.types.is_large_string(self.column.type)):
            raise DataError(f"Only texts contain something, and the column {self.name!r} is {self.column.type}.")
        return _bools(pc.match_substring(self.column, said, ignore_case=True))


def _bools(found: Any) -> np.ndarray:
    return np.asarray(found.fill_null(False).to_numpy(), bool)
