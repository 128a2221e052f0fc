r"""Text of any language: the words of a document and the letters within them, weighed by how rare they are.

.. math:: x_j \propto (1 + \log n_j) \left(1 + \log \frac{1 + N}{1 + N_j}\right), \qquad \|x\| = 1

n_j is how often term j stands in the document, N_j in how many of the N documents it does (TF-IDF).

References:
    Salton and Buckley, Term-weighting approaches in automatic text retrieval, 1988.
    Damashek, Gauging similarity with n-grams: language-independent categorization of text, 1995.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.data.sparse import Sparse
from isthmus.errors import DataError, SpecError
from isthmus.modalities.base import Modality

#: Letters of a document that are looked at; what comes after them changes little.
_LONGEST = 1 << 20
#: Documents that the vocabulary is learned from, evenly spread.
_MOST_READ = 200_000
#: From so many documents on a term has to stand in two of them: else it says nothing of any other.
_FEW = 50
#: Terms that are counted, for each that is kept, and at least.
_COUNTED, _LEAST_COUNTED = 25, 250_000
#: Documents that are weighed at once.
_BLOCK = 4096
#: Words that are remembered with their terms, so that each is taken apart once.
_REMEMBERED = 50_000
#: Letters of a word that are taken apart; a longer one is no word.
_LONGEST_WORD = 64
#: Entries that all words outside the vocabulary share.
_SHARED = 256
#: What words have of the square of a row; groups of letters, which know "flow" in "flows", have the rest.
_WORDS_SHARE = 1 / 4
#: Words of an expected document that are shown.
TOP_WORDS = 10

#: Scripts that put no spaces between words, and the pictures that stand for one.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han, kana
)
_PICTURES = "\u2600-\u27bf\u2b50\u2b55\U0001f000-\U0001faff"


class Text(Modality):
    """Documents as weighed terms: words, then groups of letters within them. Nearly all entries are zero.

    A word of a script without spaces stands for its letters, one by one and in pairs. Words that are not in the
    vocabulary share a few hundred entries, so that a document full of them is not one that says nothing.

    Arguments:
        words, letters: The terms, those in most documents first.
        found: In how many documents each entry stands: words, then what other words share, then letters.
        documents: The documents that were counted.
        sizes: Shortest and longest group of letters.
        columns: The columns of a table that hold the text; empty where rows are texts themselves.
        seen: What was noticed while fitting, for :meth:`describe`.
    """

    kind = "text"
    sparse = goes_through = True

    def __init__(
        self,
        words: list[str],
        letters: list[str],
        found: list[int],
        documents: int,
        sizes: list[int],
        columns: list[str],
        seen: list[str],
    ):
        self.words, self.letters, self.columns, self.seen = list(words), list(letters), list(columns), list(seen)
        self.found, self.documents, self.sizes = [int(n) for n in found], int(documents), _sizes(sizes)
        self._entries = len(self.words) + _SHARED
        if not all(0 <= n <= self.documents for n in self.found):
            raise SpecError(f"A term stands in 0 to {self.documents} documents, and one is said to stand in others.")
        if len(self.found) != self._entries + len(self.letters):
            raise SpecError(f"{len(self.words)} words and {len(self.letters)} groups have {len(self.found)} counts.")
        self._weights = np.log((1 + self.documents) / (1 + np.array(self.found, np.float64))) + 1
        self._word_at = {word: j for j, word in enumerate(self.words)}
        self._letters_at = {group: j + self._entries for j, group in enumerate(self.letters)}
        self._remembered: dict[str, list[int]] = {}

    @classmethod
    def fit(
        cls,
        rows: Rows,
        *,
        text: str | Sequence[str] | None = None,
        words: int = 8_000,
        letters: int = 16_000,
        sizes: Sequence[int] = (2, 4),
    ) -> Self:
        """Learn the vocabulary.

        Arguments:
            rows: Texts, or a table with a column of them.
            text: The column of a table that holds the text, or several, which are read one after the other.
            words, letters: At most so many words, and so many groups of letters; 0 leaves them out.
            sizes: Shortest and longest group of letters.
        """
        for name, most in (("words", words), ("letters", letters)):
            if isinstance(most, bool) or not isinstance(most, int) or most < 0:
                raise SpecError(f"{name} is a whole number of at least 0; got {most!r}.")
        if words < 1:
            raise SpecError("words is at least 1: what is expected of a document is told in words.")
        sizes = _sizes(sizes)
        columns = text_columns(rows.replace(data=rows.data.some) if rows.large else rows, text)
        # evenly spread, and read as they come where they are large
        step = -(-len(rows) // _MOST_READ)
        chunks = (_documents(chunk, columns) for chunk in rows.chunks(_BLOCK))
        documents = itertools.islice(itertools.chain.from_iterable(chunks), 0, None, step)
        counted, groups, n = Counter[str](), Counter[str](), 0
        empty = 0
        # a word is taken apart once, however often it stands
        apart = functools.lru_cache(_REMEMBERED)(lambda word: tuple(groups_of(word, sizes)))
        for document in documents:
            there = set(words_of(document))
            counted.update(term for word in there for term in parts_of(word))
            groups.update({group for word in there for group in apart(word)} if letters else ())
            empty += not there
            n += 1
            _bounded(counted, words)
            _bounded(groups, letters)
        if not counted:
            raise DataError(f"{rows.origin} holds no word: every document is empty.")
        least = 2 if n >= _FEW else 1
        chosen, chosen_groups = _most_common(counted, words, least), _most_common(groups, letters, least)
        if not chosen:  # every word stands once
            chosen, chosen_groups = _most_common(counted, words, 1), _most_common(groups, letters, 1)
        shared = [0] * _SHARED
        for word in counted.keys() - set(chosen):
            at = _shared_entry(word)
            shared[at] = min(n, shared[at] + counted[word])
        found = [*(counted[word] for word in chosen), *shared, *(groups[group] for group in chosen_groups)]
        seen = []
        if empty:
            seen.append(f"{empty:,} of {n:,} documents hold no word.")
        if (rare := len(counted) - len(chosen)) > 0:
            seen.append(f"{rare:,} rare words were left out; their groups of letters may still be known.")
        return cls(chosen, chosen_groups, found, n, list(sizes), columns, seen)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.found),)

    @property
    def names(self) -> list[str]:
        return [
            *map(repr, self.words),
            *["a rare word"] * _SHARED,
            *(f"the letters {group!r}" for group in self.letters),
        ]

    def to_tensors(self, rows: Rows) -> dict[str, Tensor | Sparse]:
        """``{"x": Sparse (n, terms)}``: each row of length 1, or 0 where no term is known."""
        documents = _documents(rows, self._columns_in(rows))
        parts = [self._weighed(documents[at : at + _BLOCK]) for at in range(0, len(documents), _BLOCK)]
        lengths, columns, values = (np.concatenate([part[i] for part in parts]) for i in range(3))
        starts = np.concatenate([[0], lengths.cumsum()])
        return {"x": Sparse(*map(torch.from_numpy, (starts, columns, values)), *self.shape)}

    def _weighed(self, documents: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The number of terms of each document, and all terms with their weights, document by document."""
        said = [[term for word in words_of(document) for term in self._terms(word)] for document in documents]
        n, width = len(said), self.shape[0]
        lengths = np.fromiter(map(len, said), np.int64, n)
        terms = np.fromiter(itertools.chain.from_iterable(said), np.int64, int(lengths.sum()))
        places, counts = np.unique(np.repeat(np.arange(n), lengths) * width + terms, return_counts=True)
        document, column = places // width, places % width
        weights = (1 + np.log(counts)) * self._weights[column]
        # words and groups of letters have their shares of a row's square, however many there are of each
        is_word = column < self._entries
        squares = np.bincount(2 * document + is_word, weights**2, minlength=2 * n)
        share = np.where(np.arange(2 * n) % 2, _WORDS_SHARE, 1 - _WORDS_SHARE)
        whole = np.bincount(np.arange(2 * n) // 2, share * (squares > 0), minlength=n)  # one of the two may be empty
        weights *= np.sqrt(share / squares.clip(min=1e-24))[2 * document + is_word] / np.sqrt(whole[document])
        return np.bincount(document, minlength=n), column.astype(np.int32), weights.astype(np.float32)

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> list[str]:
        """The strongest words of each row, strongest first."""
        if not len(x):
            return []
        words = x.detach().cpu()[:, : len(self.words)]
        values, at = words.topk(min(TOP_WORDS, words.shape[1]), dim=1)
        return [
            " ".join(self.words[j] for j, value in zip(row, shown, strict=True) if value > 0)
            for row, shown in zip(at.tolist(), values.tolist(), strict=True)
        ]

    def parts(self) -> dict[str, Any]:
        return {
            "encoder": {"kind": "bag"},
            "decoder": {"kind": "linear"},
            "likelihood": {"kind": "multinomial", "entries": self._entries},
            "corruption": {"kind": "words"},
        }

    def describe(self) -> list[str]:
        where = f" in {', '.join(map(repr, self.columns))}" if self.columns else ""
        short, long = self.sizes
        said = f"Texts{where}: {len(self.words):,} words"
        if self.letters:
            said += f" and {len(self.letters):,} groups of {short} to {long} letters within words"
        return [f"{said}, weighed by how rare they are.", *self.seen]

    def remarks(self, rows: Rows) -> list[str]:
        documents = _documents(rows, self._columns_in(rows))
        some = documents[:: -(-len(documents) // 1000)]
        met = known = empty = 0
        for document in some:
            words = [part for word in words_of(document) for part in parts_of(word)]
            met += len(words)
            known += sum(word in self._word_at for word in words)
            empty += not words
        said = []
        if empty:
            said.append(f"{empty:,} of {len(some):,} documents looked at hold no word.")
        if met and known < met / 2:
            said.append(
                f"of the words of these documents {1 - known / met:.0%} are not in the vocabulary: they are unlike "
                "those that the model was fitted on."
            )
        return said

    def texts(self, rows: Rows) -> list[str]:
        """The texts of rows, one string each."""
        return _documents(rows, self._columns_in(rows))

    def halves(self, rows: Rows) -> tuple[Rows, Rows]:
        """Every other word to one side: so the two tell of the same in other words."""
        words = [words_of(document) for document in _documents(rows, self._columns_in(rows))]
        torn = ([" ".join(said[side::2]) for said in words] for side in (0, 1))
        first, second = (Rows("text", documents, rows.origin) for documents in torn)
        return first, second

    def to_json(self) -> dict[str, Any]:
        return {
            "words": self.words,
            "letters": self.letters,
            "found": self.found,
            "documents": self.documents,
            "sizes": list(self.sizes),
            "columns": self.columns,
            "seen": self.seen,
        }

    def __repr__(self) -> str:
        return f"Text(words={len(self.words)}, letters={len(self.letters)}, columns={self.columns})"

    def _columns_in(self, rows: Rows) -> list[str]:
        """Where the text stands in these rows: in the columns it was fitted on, if they are a table."""
        return [] if rows.kind == "text" else _columns(rows, self.columns)

    def _terms(self, word: str) -> list[int]:
        """The entries of x that a word counts for."""
        if (known := self._remembered.get(word)) is not None:
            return known
        terms = [self._word_at[p] if p in self._word_at else len(self.words) + _shared_entry(p) for p in parts_of(word)]
        if self.letters:
            terms += [self._letters_at[group] for group in groups_of(word, self.sizes) if group in self._letters_at]
        if len(self._remembered) < _REMEMBERED:
            self._remembered[word] = terms
        return terms


def _shared_entry(word: str) -> int:
    """Which of the shared entries a word belongs to: by its letters alone, the same everywhere."""
    return zlib.crc32(word.encode("utf-8", "replace")) % _SHARED


def words_of(document: str) -> list[str]:
    """The words of a document, normalised (NFKC) and casefolded; a run of a script without spaces is one.

    >>> words_of("Straße, ﬁne: 3.5 €!"), words_of("我爱北京 ok 🙂🙂")
    (['strasse', 'fine', '3', '5'], ['我爱北京', 'ok', '🙂', '🙂'])
    """
    return _pattern().findall(unicodedata.normalize("NFKC", document[:_LONGEST]).casefold())


def parts_of(word: str) -> list[str]:
    """What a word counts for: itself, or its letters and their pairs where its script has no spaces.

    >>> parts_of("word"), parts_of("北京市")
    (['word'], ['北', '京', '市', '北京', '京市'])
    """
    if not _unspaced().match(word):
        return [word[:_LONGEST_WORD]]
    return [*word, *(word[i : i + 2] for i in range(len(word) - 1))]


def groups_of(word: str, sizes: tuple[int, int]) -> Iterator[str]:
    """Groups of letters within a word, whose ends count as letters.

    >>> list(groups_of("cat", (2, 3)))
    [' c', 'ca', 'at', 't ', ' ca', 'cat', 'at ']
    """
    padded = f" {word[:_LONGEST_WORD]} " if not _unspaced().match(word) else f" {word} "
    for n in range(sizes[0], sizes[1] + 1):
        if n >= len(padded):
            yield padded
            return  # longer groups would be the same once more
        for i in range(len(padded) - n + 1):
            yield padded[i : i + n]


@functools.cache
def _pattern() -> re.Pattern[str]:
    # Python counts no combining mark as a letter, and without them the words of many scripts fall apart
    marks = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c) in ("Mn", "Mc"))
    marks = re.escape(marks)
    return re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])[\w{marks}])+|[{_PICTURES}]")


@functools.cache
def _unspaced() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}]")


def text_columns(rows: Rows, said: str | Sequence[str] | None) -> list[str]:
    """The columns of a table that hold the text: those that are said, or the only one that could."""
    return _columns(rows, [said] if isinstance(said, str) else list(said or ()))


def _columns(rows: Rows, said: Sequence[str]) -> list[str]:
    """The columns of a table that hold the text."""
    if rows.kind != "table":
        if rows.kind == "text" and not said:
            return []
        if rows.kind != "text":
            raise DataError(
                f"{rows.origin} holds {rows.kind} rows, and text is wanted: a list of texts, a .txt, or a table with "
                "a column of them."
            )
        raise SpecError(f"{rows.origin} holds texts alone and has no column {said[0]!r}. Leave the column out.")
    import pyarrow as pa

    table = rows.data
    if lacking := [name for name in said if name not in table.column_names]:
        raise DataError(f"{rows.origin} has no column {lacking[0]!r}. It has: {', '.join(table.column_names[:20])}.")
    if said:
        return list(said)
    texts = [
        name
        for name, type_ in zip(table.column_names, table.schema.types, strict=True)
        if pa.types.is_string(type_) or pa.types.is_large_string(type_)
    ]
    if len(texts) == 1:
        return texts
    raise DataError(
        f"{rows.origin} has {len(texts)} columns of text"
        + (f" ({', '.join(texts[:10])}). Say which is meant: --text {texts[0]}." if texts else ", and one is wanted.")
    )


def _documents(rows: Rows, columns: Sequence[str]) -> list[str]:
    if rows.kind == "text":
        return rows.data
    cells = [rows.data[name].to_pylist() for name in columns]
    return ["\n".join(str(cell) for cell in row if cell is not None) for row in zip(*cells, strict=True)]


def _most_common(counted: Counter[str], most: int, least: int) -> list[str]:
    """The terms in most documents; those in equally many by the alphabet, so that a fit repeats."""
    ranked = sorted((term for term, n in counted.items() if n >= least), key=lambda term: (-counted[term], term))
    return ranked[:most]


def _bounded(counted: Counter[str], kept: int) -> None:
    """Forget the rarest where there are far more than will be ``kept``, so that memory has a bound."""
    least, most = 0, max(_COUNTED * kept, _LEAST_COUNTED)
    while len(counted) > (most if not least else most // 2):
        least += 1
        for term in [term for term, n in counted.items() if n <= least]:
            del counted[term]


def _sizes(said: Iterable[Any]) -> tuple[int, int]:
    sizes = list(said)
    if len(sizes) != 2 or not all(isinstance(n, int) and n >= 1 for n in sizes) or sizes[0] > sizes[1]:
        raise SpecError(f"sizes are the shortest and longest group of letters, such as [2, 4]; got {sizes!r}.")
    return sizes[0], sizes[1]
