"""What a search found: rows of an index for every query, best first, and which ranking found them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.tasks.base import Result

if TYPE_CHECKING:
    import pyarrow as pa

    from isthmus.tasks.searching.search import Index

#: Letters of a text that are shown.
_SHOWN = 160


@dataclass
class Hits(Result):
    """What was found for every query: ``places`` in the index, ``scores`` and ``cosines``, best first, an array each;
    of texts ``rankings`` (n, 2) are the places by code and by words, from 1 on, 0 where a row is not among the first
    thousand.
    """

    index: Index
    queries: list[str]
    places: list[np.ndarray]
    scores: list[np.ndarray]
    cosines: list[np.ndarray]
    rankings: list[np.ndarray] | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def ids(self) -> list[np.ndarray]:
        return [self.index.ids[places] for places in self.places]

    def found_by(self, query: int) -> list[str]:
        """Of each hit, the ranking in which it stands among the first as many: ``code``, ``words`` or ``both``."""
        if self.rankings is None:
            return ["code"] * len(self.places[query])
        k = len(self.places[query])
        in_top = (self.rankings[query] > 0) & (self.rankings[query] <= k)
        # among the first of neither: each alone would not have shown it
        return [
            "code" if code and not words else "words" if words and not code else "both"
            for code, words in in_top.tolist()
        ]

    def to_table(self) -> pa.Table:
        """A line for every hit: query, rank, score, id, of texts what found it, and the row's columns."""
        import pyarrow as pa

        n = [len(places) for places in self.places]
        every = np.concatenate(self.places) if self.places else np.zeros(0, np.int64)
        columns = {
            "query": np.repeat(np.arange(len(n)), n),
            "rank": np.concatenate([np.arange(1, m + 1) for m in n]) if n else every,
            "score": np.concatenate(self.scores) if n else every,
            "id": self.index.ids[every],
        }
        if self.rankings is not None:
            columns["cosine"] = np.concatenate(self.cosines)
            columns["found_by"] = np.array([said for q in range(len(n)) for said in self.found_by(q)], object)
        shown = self.index.table.take(every)
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        for name in shown.column_names:
            table = table.append_column(name if name not in table.column_names else f"{name} (row)", shown[name])
        return table

    def lines(self, query: int) -> list[str]:
        """The hits of one query, for people."""
        found = self.found_by(query)
        shown = self.index.table.take(self.places[query]).to_pylist()
        lines = []
        for i, row in enumerate(shown or [{}] * len(found)):
            by = f"{found[i]:<6}" if self.rankings is not None else ""
            identity = f"id {self.ids[query][i]}"
            lines.append(
                f"{i + 1:>3}  {self.scores[query][i]:.3f}  {by}{identity:<10} {self._row(row, query)}".rstrip()
            )
        return lines

    def _row(self, row: dict[str, Any], query: int) -> str:
        if self.rankings is not None:
            columns = [name for name in self.index.model.modality.columns if name in row] or ["text"]
            said = "\n".join(str(row[name]) for name in columns if row.get(name) is not None)
            name = f"{row['name']}: " if "name" in row and "name" not in columns else ""
            return f"{printable(name)}{self._snippet(said, query)}"
        if "path" in row:
            return printable(str(row["path"]))
        return short(", ".join(f"{k}={v}" for k, v in row.items() if v is not None), _SHOWN)

    def _snippet(self, text: str, query: int) -> str:
        """The stretch of a text in which the first of the query's words stands."""
        text = printable(text)
        if len(text) <= _SHOWN:
            return text
        words, known = self.index.words, set(self.index.words.known(self.queries[query]))
        at = next((m.start() for m in re.finditer(r"\w+", text[:20_000]) if words.matches(m[0], known)), 0)
        begin = max(0, min(at - _SHOWN // 3, len(text) - _SHOWN))
        begin = text.find(" ", begin - 1) + 1 if begin else 0
        return f"{'… ' * bool(begin)}{text[begin : begin + _SHOWN]}{' …' * (begin + _SHOWN < len(text))}"

    def summary(self) -> list[str]:
        lines = []
        for i, said in enumerate(self.queries):
            if len(self.queries) > 1:
                lines.append(f"{i}: {short(said, 80)}")
            lines += self.lines(i)
        return [*lines, *(f"! {remark}" for remark in self.remarks)]

    def to_json(self) -> dict[str, Any]:
        found = []
        for i, said in enumerate(self.queries):
            rows = self.index.table.take(self.places[i]).to_pylist() or [{}] * len(self.places[i])
            by = self.found_by(i)
            hits = [
                {"rank": j + 1, "score": float(self.scores[i][j]), "id": int(self.ids[i][j]),
                 **({"found_by": by[j], "cosine": float(self.cosines[i][j])} if self.rankings is not None else {}),
                 "row": row}
                for j, row in enumerate(rows)
            ]  # fmt: skip
            found.append({"query": said, "hits": hits})
        return {"queries": found, "how": self.index.how(), "remarks": self.remarks}


def printable(text: str) -> str:
    """On one line, and nothing that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def short(text: str, most: int) -> str:
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 2]} …"
