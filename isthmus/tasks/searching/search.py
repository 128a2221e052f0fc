"""Search: rows that mean nearly the same as a query, by the cosine of their codes, and of texts by their words too.

.. math:: s(q, r) = \\cos(f(q), f(r)), \\qquad
    \\text{of texts } \\tfrac12 \\sum_{i \\in \\{\\cos, BM25\\}} \\frac{11}{10 + \\mathrm{place}_i(r)}

Codes are never whitened: of short texts that took the share of the hundred nearest on the same topic from 0.835 to
0.571. An :class:`Index` is one file that holds the codes, what is shown of the rows, and the model, so it is all that
a search needs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from isthmus.core.bits import Bits
from isthmus.core.lists import Lists, faiss_is_here
from isthmus.core.ranks import fused
from isthmus.core.scan import Kept, again, best, eight_bits, unit
from isthmus.data import sections
from isthmus.data.rows import Rows
from isthmus.errors import DataError, FileError, SpecError, unknown
from isthmus.tasks.searching.asking import asked_rows
from isthmus.tasks.searching.hits import Hits, short
from isthmus.tasks.searching.index_file import (
    CODES,
    MOST_CANDIDATES,
    bits_in,
    checked,
    lists_in,
    model_in,
    table_bytes,
    table_in,
    words_in,
)
from isthmus.tasks.searching.shown import below, shown
from isthmus.tasks.searching.where import where_mask
from isthmus.tasks.searching.words import Words

if TYPE_CHECKING:
    import pyarrow as pa

    from isthmus.model import Model

#: Where the rankings come from that are fused.
BY = ("both", "code", "words")
#: From so many rows on not all of them are looked at.
MANY = 100_000
#: Rows of each ranking that take part in the fusion.
_DEEP = 1000
#: Rows that recall is measured with, neighbours that are to be found, and how many of them that should be.
_MEASURED, _NEAR, _WANTED = 300, 10, 0.98
_LOOKED, _CANDIDATES = (4, 8, 16, 32, 64, 128, 256), (50, 100, 200, 400, 800, 1600, MOST_CANDIDATES)
#: Queries from which on it pays to make the lists ready, which takes as long as looking at all rows for so many.
_FEW = 50
#: Looking at a row again by its code costs as much as looking at so many in the lists.
_AGAIN = 30
#: Rows that are made bits of together.
_BLOCK = 65536


class Index:
    """Rows that can be searched. Make one with :meth:`build` or :meth:`open`.

    >>> from isthmus import Autoencoder
    >>> ae = Autoencoder(latent_dim=2, epochs=1, random_state=0).fit("example:iris")
    >>> index = Index.build(ae.model_, "example:iris")
    >>> index.search({"petal length (cm)": 1.4, "petal width (cm)": 0.2}, k=3).scores[0].shape
    (3,)
    """

    def __init__(
        self,
        model: Model | None,
        said: dict[str, Any],
        kept: Kept,
        ids: np.ndarray,
        table: pa.Table | None,
        words: Words | None = None,
        bits: Bits | None = None,
        lists: Lists | None = None,
        file: sections.Sections | None = None,
    ):
        self.said, self.kept, self.ids = said, kept, ids
        self._model, self._table, self._words, self._file = model, table, words, file
        self.bits, self.lists = bits, lists
        self._asked = 0
        #: what a person should know of what was done last
        self.remarks: list[str] = []

    # -- making one -----------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        model: Any,
        rows: Any,
        *,
        codes: str = "float",
        columns: Any = None,
        told: Callable[[str], object] = lambda line: None,
    ) -> Self:
        """Encode rows and keep them with what can be shown of them.

        Args:
            model: a fitted model, its file, or a fitted ``Autoencoder``.
            codes: ``"float"`` keeps codes as they are; ``"int8"`` in a quarter of that; ``"binary"`` looks through
                bits, in a sixteenth of the memory or less, and again at candidates by eight bits a number.
            columns: a table with a row for each, to filter by and to show beside.
            told: called with what is being done, where that takes long.
        """
        model = model_of(model)
        if codes not in CODES:
            raise unknown("kind of codes", codes, CODES)
        if not model.net.bottleneck.narrows:
            raise SpecError("The code of this model is the whole row, so it says nothing of what a row means.")
        opened = model.open(rows)
        told(f"encoding {len(opened):,} rows")
        vectors, table, texts = _looked_at(model, opened, columns)
        said = {
            "kind": model.modality.kind,
            "model": model.fingerprint,
            "codes": codes,
            "origin": opened.origin,
            "next": len(vectors),
        }
        index = cls(model, said, Kept(vectors), np.arange(len(vectors), dtype="<i8"), table)
        if texts is not None:
            told("counting words")
            index._words = Words.of(texts)
        index._shorten(vectors, told)
        return index

    def _shorten(self, vectors: np.ndarray, told: Callable[[str], object] = lambda line: None) -> None:
        """Keep codes as was asked for, find out what need not be looked at, and measure what that costs."""
        self.remarks, self.bits, self.lists = [], None, None
        if self.said["codes"] != "float":
            self.kept = Kept(eight_bits(vectors))
        if self.said["codes"] == "binary":
            self.bits = Bits.fit(vectors[:: -(-len(vectors) // 100_000)])
            self.bits.bits = np.concatenate(
                [self.bits.of(vectors[i : i + 65536]) for i in range(0, len(vectors), 65536)]
            )
        elif len(vectors) >= MANY:
            if faiss_is_here():
                self.lists = Lists.fit(self.kept, told)
            else:
                self.remarks.append(
                    f"faiss is not installed, so all of {len(vectors):,} rows are looked at for every query: exact, "
                    "and slow. pip install 'isthmus[index]', then build the index again"
                )
        self._measure(Kept(vectors), told)

    def _measure(self, exact: Kept, told: Callable[[str], object]) -> None:
        """How much is looked at, so that of the nearest rows enough are found, on some of the rows themselves."""
        for name in ("looked", "candidates", "recall"):
            self.said.pop(name, None)
        if self.bits is None and self.lists is None and self.said["codes"] == "float":
            return
        if len(exact) < 3:
            self.said |= {"candidates": len(exact), "looked": 1}
            return
        told("measuring recall")
        asking = np.sort(np.random.default_rng(1).choice(len(exact), min(_MEASURED, len(exact)), replace=False))
        queries = np.ascontiguousarray(exact.take(asking).numpy())
        near = min(_NEAR, len(exact) - 1)
        itself, places = asking[:, None], best(queries, exact, near + 1)[1]
        last = _without(places, itself, near)[:, -1]
        # counted by the cosine, so that of equal rows any will do
        enough = np.einsum("md,md->m", queries, exact.take(last).numpy()) - 1e-6
        tried: list[tuple[float, int, int, float]] = []
        for looked in _LOOKED if self.lists is not None else (0,):
            for candidates in _CANDIDATES if self.bits is not None or self.lists is not None else (0,):
                self.said |= {"looked": looked, "candidates": candidates}
                found = _without(self.nearest(queries, near + 1)[1], itself, near)
                cosines = np.einsum("md,mkd->mk", queries, exact.take(found).numpy()) - 2.0 * (found < 0)
                recall = float((cosines >= enough[:, None]).mean())
                share = len(exact) / len(self.lists.centres) if self.lists is not None else 0
                tried.append((looked * share + _AGAIN * candidates, looked, candidates, recall))
                if recall >= _WANTED or candidates >= len(exact):
                    break
        good = [one for one in tried if one[3] >= _WANTED]
        _, looked, candidates, recall = min(good) if good else max(tried, key=lambda one: one[3])
        self.said |= {"looked": looked, "candidates": candidates, "recall": round(recall, 4), "recall_of": near}

    # -- searching ------------------------------------------------------------------------------

    def search(self, queries: Any, k: int = 10, *, where: str | None = None, by: str = "both") -> Hits:
        """The ``k`` rows nearest to each query.

        Args:
            queries: a text or several; a path; rows as the model takes them; a dict of a row's columns.
            where: a condition on columns, such as ``"year >= 2020"`` (:mod:`isthmus.tasks.searching.where`).
            by: of texts, ``"both"`` fuses the ranking by codes with that by words; ``"code"`` and ``"words"`` are each
                alone.

        Raises:
            DataError: a query of another kind of rows, or an empty one.
            SpecError: a condition that cannot be read, or names no column.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise SpecError(f"k is how many rows to find, at least 1; got {k!r}.")
        if by not in BY:
            raise unknown("ranking", by, BY)
        if by == "words" and "words" not in self._rankings:
            raise SpecError("Only texts are found by words. Leave that out.")
        among = None if where is None else self.where(where)
        model = self.model
        asked = asked_rows(model, queries)
        asked = model.modality.samples(asked)
        codes = unit(model.encode(asked))
        if codes.shape[1] != self.kept.width:
            raise FileError(f"The index is damaged: its codes have {self.kept.width} numbers. Build it again.")
        remarks = list(model.remarks(asked)) if not asked.large and asked.kind != "windows" else []
        there = len(self) if among is None else len(among)
        if k > there:
            which = "are in the index" if among is None else "fulfil the condition"
            remarks.append(f"{k:,} rows were asked for and {there:,} {which}: all of these are told")
        texts = model.modality.texts(asked) if "words" in self._rankings else None
        found = self._found(codes, texts, min(k, there), among, by, remarks)
        return Hits(self, _told(asked, texts), *found, remarks=remarks)

    def _found(
        self, codes: np.ndarray, texts: list[str] | None, k: int, among: np.ndarray | None, by: str, remarks: list[str]
    ) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[np.ndarray] | None]:
        """Places, scores, cosines and, of texts, the places in both rankings, for every query."""
        if texts is None or by == "code":
            cosines, places = self.nearest(codes, k, among)
            there, cosines = [one >= 0 for one in places], cosines.clip(-1, 1)
            cut = [[row[keep] for row, keep in zip(rows, there, strict=True)] for rows in (places, cosines, cosines)]
            return cut[0], cut[1], cut[2], None
        deep = min(max(_DEEP, k), len(self) if among is None else len(among))
        by_code = self.nearest(codes, deep, among)[1] if by == "both" else np.zeros((len(codes), 0), np.int64)
        blank = ~codes.any(1)
        rows, scores, cosines, lists = [], [], [], []
        for i, text in enumerate(texts):
            # a code of zeros is near nothing
            first = np.zeros(0, np.int64) if blank[i] else by_code[i][by_code[i] >= 0]
            worth = self.words.score(text)
            if by == "both" and not worth.any():
                remarks.append(f"no word of {short(text, 60)!r} stands in the index: found by its code alone")
            one, score, places = fused([first, _most(worth, deep, among)], k)
            if by == "words":
                score = worth[one]
            rows.append(one)
            scores.append(score)
            lists.append(places)
            cosines.append(self.kept.take(one).numpy() @ codes[i])
        return rows, scores, cosines, lists

    def nearest(self, codes: np.ndarray, k: int, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and places (m, k) of the rows nearest to unit codes (m, d); −1 where there are no more.

        ``among`` are the places of the rows to choose from.
        """
        candidates = max(self.said.get("candidates", 0), 2 * k)
        self._asked += len(codes)
        # of few rows all are looked at, and so are those that fulfil a condition
        few = among is not None or (self.bits is None and self.lists is None) or candidates >= len(self)
        if few or (self.bits is None and self._asked < _FEW and not self.lists.ready):
            return best(codes, self.kept, k, among)
        if self.bits is not None:
            return again(codes, self.kept, self.bits.nearest(codes, candidates), k)
        return again(codes, self.kept, self.lists.nearest(codes, candidates, self.said["looked"]), k)

    def where(self, condition: str) -> np.ndarray:
        """Places of the rows that fulfil a condition (:func:`isthmus.tasks.searching.where.where_mask`)."""
        return np.flatnonzero(where_mask(condition, self.filterable))

    # -- changing -------------------------------------------------------------------------------

    def add(self, rows: Any, *, columns: Any = None) -> np.ndarray:
        """Put more rows in; their ids, which go on from the largest there was. Keep it with :meth:`save`."""
        model = self.model
        vectors, table, texts = _looked_at(model, model.open(rows), columns)
        n, more = len(self), np.arange(self.said["next"], self.said["next"] + len(vectors), dtype="<i8")
        joined = below(self.table, table)
        if texts is not None:
            self._words = Words.of([*self._texts(), *texts])
        self._table, self.ids = joined, np.concatenate([self.ids, more])
        self.said["next"] += len(vectors)
        as_kept = vectors if self.kept.numbers.dtype == np.float32 else eight_bits(vectors)
        self.kept = Kept(np.concatenate([self.kept.numbers, as_kept]))
        if self.bits is not None:
            self.bits = Bits(
                np.concatenate([self.bits.bits, self.bits.of(vectors)]), self.bits.planes, self.bits.middle
            )
        elif self.lists is not None:
            self.lists = self.lists.with_rows(self.kept, range(n, n + len(vectors)))
        elif len(self) >= MANY:
            whole = self.kept.take(slice(None)).numpy()
            self._shorten(whole)
        return more

    def delete(self, ids: Iterable[int]) -> int:
        """Take rows out by their ids: codes, words and what was shown of them. Keep it with :meth:`save`."""
        ids = np.asarray(list(ids), np.int64)
        if len(lost := np.setdiff1d(ids, self.ids)):
            raise DataError(f"The index has no row with the id {lost[0]}. Ids are told with what is found.")
        stay = np.flatnonzero(~np.isin(self.ids, ids))
        if not len(stay):
            raise DataError("Nothing would be left of the index. Delete its file instead.")
        texts = self._texts() if "words" in self._rankings else None
        self._table = self.table.take(stay)
        if texts is not None:
            self._words = Words.of([texts[i] for i in stay])
        n = len(self)
        self.ids, self.kept = self.ids[stay], Kept(self.kept.numbers[stay])
        if self.bits is not None:
            self.bits = Bits(self.bits.bits[stay], self.bits.planes, self.bits.middle)
        elif self.lists is not None:
            self.lists = self.lists.take(stay)
        return n - len(stay)

    def _texts(self) -> list[str]:
        """The documents again, from what is kept of them."""
        columns = self.model.modality.columns
        if columns and set(columns) <= set(self.table.column_names):
            return self.model.modality.texts(Rows("table", self.table))
        return self.table["text"].to_pylist()

    # -- what is in it --------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.kept)

    def __repr__(self) -> str:
        return f"Index(rows={len(self)}, kind={self.said['kind']!r}, codes={self.said['codes']!r})"

    @property
    def model(self) -> Model:
        """The model that made the codes, read from the index when it is first asked for."""
        if self._model is None:
            self._model = model_in(self._file, self.said)
        return self._model

    @property
    def table(self) -> pa.Table:
        """What is shown of every row, one for one: its columns, text, name or path; there may be no column."""
        if self._table is None:
            self._table = table_in(self._file, len(self))
        return self._table

    @property
    def filterable(self) -> pa.Table:
        """The columns that a condition may name."""
        import pyarrow as pa

        return self.table if "id" in self.table.column_names else self.table.append_column("id", pa.array(self.ids))

    @property
    def _rankings(self) -> tuple[str, ...]:
        has = self._words is not None or (self._file is not None and "words" in self._file)
        return ("code", "words") if has else ("code",)

    @property
    def words(self) -> Words:
        if self._words is None:
            self._words = words_in(self._file, len(self), self.said.get("language"))
        return self._words

    def how(self) -> str:
        """How rows are found, in words."""
        recall = self.said.get("recall")
        measured = f"recall@{self.said.get('recall_of', _NEAR)} {recall:.3f}, measured on these rows" if recall else ""
        width = self.kept.width
        if self.bits is not None:
            n = self.bits.planes.shape[1]
            return (
                f"{n} bits a row are looked through, {32 * width / n:.0f} times less than float codes, and "
                f"{self.said['candidates']:,} candidates again by their codes: {measured}"
            )
        if self.lists is not None:
            return (
                f"{self.said['looked']} of {len(self.lists.centres):,} lists are looked through, and "
                f"{self.said['candidates']:,} candidates again by their codes: {measured}"
            )
        exact = "every row is looked at: exact"
        return f"{exact} but for codes in eight bits a number: {measured}" if measured else exact

    def summary(self) -> list[str]:
        """What is in it and how it is searched, a sentence a line."""
        said = self.said
        lines = [f"{len(self):,} rows of {short(said['origin'], 200)} ({self.said['kind']}), "]
        lines[0] += f"codes of {self.kept.width} numbers"
        lines.append(self.how())
        if "words" in self._rankings:
            language = self.words.language or "no language that is known"
            lines.append(f"{len(self.words.vocabulary):,} words ({language}), by BM25")
        if self.table.num_columns:
            lines.append(f"columns: {short(', '.join(self.table.column_names), 500)}")
        return [*lines, *(f"! {remark}" for remark in self.remarks)]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": len(self), "width": self.kept.width, **self.said, "columns": self.table.column_names,
            "remarks": self.remarks,
        }  # fmt: skip

    # -- the file -------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write it to one file, whole or not at all; the model goes with it."""
        said = {**self.said, "rows": len(self)}
        arrays: dict[str, np.ndarray] = {
            "codes": self.kept.numbers, "ids": self.ids, "table": table_bytes(self.table),
            "model": self._model_bytes(),
        }  # fmt: skip
        if "words" in self._rankings:
            said["language"] = self.words.language
            listed = "\n".join(self.words.vocabulary).encode("utf8", "surrogatepass")
            arrays["words"] = np.frombuffer(listed, np.uint8)
            arrays |= {f"words/{name}": values for name, values in self.words.scores.items()}
        if self.bits is not None:
            arrays |= {"bits": self.bits.bits, "planes": self.bits.planes, "middle": self.bits.middle}
        if self.lists is not None:
            arrays |= {name: getattr(self.lists, name) for name in ("centres", "codewords", "cell", "packed")}
        sections.write(path, dict(sorted(said.items())), arrays)
        return Path(path)

    def _model_bytes(self) -> np.ndarray:
        if self._file is not None:
            return self._file.array("model", "|u1", (None,))
        with tempfile.TemporaryDirectory() as folder:
            return np.frombuffer(self.model.save(Path(folder) / "model").read_bytes(), np.uint8)

    @classmethod
    def open(cls, path: str | Path, *, model: Any = None) -> Self:
        """Open an index; nothing of it is read before it is needed, and nothing in it can run code.

        Args:
            model: the model that it should be of, whose place in the file is then not read.

        Raises:
            FileError: no such file, no index, damaged, cut short, or of a newer version.
            DataError: it was made by another model.
        """
        file = sections.Sections(path)
        said = checked(file)
        if model is not None:
            model = model_of(model)
            if model.fingerprint != said["model"]:
                raise DataError(
                    f"{path} was made by another model (its hash begins {said['model'][:12]}, this one's "
                    f"{model.fingerprint[:12]}), and codes of two models cannot be compared. Leave the model out, "
                    "since the index holds its own, or build it again."
                )
        n = said.pop("rows")
        kept = Kept(file.array("codes", "<f4" if said["codes"] == "float" else "|i1", (n, None)))
        bits = lists = None
        if said["codes"] == "binary":
            bits = bits_in(file, kept)
        elif "centres" in file:
            lists = lists_in(file, kept)
        return cls(model, said, kept, file.array("ids", "<i8", (n,)), None, bits=bits, lists=lists, file=file)


def model_of(said: Any) -> Model:
    from isthmus.model import Model, open_model

    if isinstance(said, Model):
        return said
    if isinstance(said, str | Path):
        return open_model(said)
    if isinstance(getattr(said, "model_", None), Model):
        return said.model_
    raise SpecError(f"A model is a fitted one, its file or a fitted Autoencoder; got {type(said).__name__}.")


def _looked_at(model: Model, rows: Rows, columns: Any) -> tuple[np.ndarray, pa.Table, list[str] | None]:
    """Unit codes, what is shown, and the texts of those rows that have words."""
    table = shown(rows, model.modality.samples(rows), columns)
    texts = None
    if model.modality.kind == "text":
        texts = [text for chunk in rows.chunks(_BLOCK) for text in model.modality.texts(chunk)]
    return unit(model.encode(rows)), table, texts


def _told(asked: Rows, texts: list[str] | None) -> list[str]:
    """What every query is called."""
    if texts is not None:
        return list(texts)
    if asked.names is not None:
        return [str(name) for name in asked.names]
    return [f"row {i} of {asked.origin}" for i in range(len(asked))]


def _most(worth: np.ndarray, deep: int, among: np.ndarray | None) -> np.ndarray:
    """Places of the documents that are worth most, best first, none of which is worth nothing."""
    places = np.flatnonzero(worth > 0) if among is None else among[worth[among] > 0]
    if len(places) > deep:
        places = places[np.argpartition(-worth[places], deep - 1)[:deep]]
    return places[np.lexsort((places, -worth[places]))]


def _without(places: np.ndarray, itself: np.ndarray, k: int) -> np.ndarray:
    """Neighbours (m, k + 1) without the row itself (m, 1): the first k others."""
    order = np.argsort(places == itself, axis=1, kind="stable")
    return np.take_along_axis(places, order, 1)[:, :k]
