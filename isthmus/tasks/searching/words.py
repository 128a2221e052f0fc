r"""Which documents hold the words of a query, and hold them often, although few documents do.

.. math:: s(q, r) = \sum_{w \in q} \log\Bigl(1 + \frac{N - n_w + ½}{n_w + ½}\Bigr)
    \frac{f_w(r)}{f_w(r) + k_1 (1 - b + b\, |r| / \overline{|r|})}

Words are those of the text modality, so that any script does. Which language's stop words are left out is found out
from the documents; of English, endings are cut too.

References:
    Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009.
    Lù, BM25S: Orders of magnitude faster lexical search via eager sparse scoring, 2024, https://arxiv.org/abs/2407.03618
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.modalities.text import parts_of, words_of
from isthmus.tasks.searching.stems import stem

#: Documents that the language is found out from, evenly spread, and the share of their words that its stop words have.
_LOOKED_AT, _SPOKEN = 2000, 0.1
_LANGUAGES = {"english": "EN_PLUS", **{name: name.upper() for name in (
    "german", "dutch", "french", "spanish", "portuguese", "italian", "russian", "swedish", "norwegian", "danish",
    "turkish",
)}}  # fmt: skip


class Words:
    """BM25 of documents: for every word the documents that hold it, with what it is worth there."""

    def __init__(self, vocabulary: Sequence[str], scores: dict[str, np.ndarray], n: int, language: str | None):
        import bm25s

        self.vocabulary, self.scores, self.language = list(vocabulary), scores, language
        self._at = {word: j for j, word in enumerate(self.vocabulary)}
        self._stop = _stop_words(language)
        self._bm25 = bm25s.BM25(method="lucene")
        self._bm25.scores = {**scores, "num_docs": n}
        self._bm25.nonoccurrence_array = None

    @classmethod
    def of(cls, documents: Sequence[str]) -> Words:
        """The words of ``documents``."""
        import bm25s

        language = spoken(documents[:: -(-len(documents) // _LOOKED_AT)])
        stop, at = _stop_words(language), dict[str, int]()
        said = [[at.setdefault(word, len(at)) for word in _terms(document, language, stop)] for document in documents]
        if not at:  # not one word: bm25s would divide by the mean length
            empty = {"data": np.zeros(0, "<f4"), "indices": np.zeros(0, "<i4"), "indptr": np.zeros(1, "<i8")}
            return cls([], empty, len(documents), language)
        counted = bm25s.BM25(method="lucene")
        counted.index(bm25s.tokenization.Tokenized(said, at), create_empty_token=False, show_progress=False)
        types = {"data": "<f4", "indices": "<i4", "indptr": "<i8"}
        scores = {name: np.asarray(counted.scores[name]).astype(kind) for name, kind in types.items()}
        return cls(list(at), scores, len(documents), language)

    def known(self, query: str) -> list[str]:
        """The words of a query that some document holds."""
        return [word for word in _terms(query, self.language, self._stop) if word in self._at]

    def score(self, query: str) -> np.ndarray:
        """What every document is worth to a query (n,): 0 where it holds none of its words."""
        known = [self._at[word] for word in self.known(query)]
        return self._bm25.get_scores_from_ids(known) if known else np.zeros(self._bm25.scores["num_docs"], np.float32)

    def matches(self, word: str, known: set[str]) -> bool:
        """Whether a word as it stands in a document is one of those that were asked for."""
        return any(part in known for part in _terms(word, self.language, self._stop))


def spoken(documents: Sequence[str]) -> str | None:
    """The language whose stop words are most of the words of ``documents``; None where no list's are.

    >>> spoken(["the cat is on the mat"]), spoken(["der Hund ist in dem Haus"]), spoken(["pump 3 8 0"])
    ('english', 'german', None)
    """
    counted = Counter(word for document in documents for word in words_of(document))
    n = counted.total()
    shares = {name: sum(counted[word] for word in _stop_words(name)) / max(n, 1) for name in _LANGUAGES}
    most = max(shares, key=lambda name: shares[name])
    return most if shares[most] > _SPOKEN else None


def _stop_words(language: str | None) -> frozenset[str]:
    if language is None:
        return frozenset()
    from bm25s import stopwords

    words: Any = getattr(stopwords, f"STOPWORDS_{_LANGUAGES[language]}")
    return frozenset(words)


def _terms(document: str, language: str | None, stop: frozenset[str]) -> list[str]:
    parts = [part for word in words_of(document) if word not in stop for part in parts_of(word)]
    return [stem(part) for part in parts] if language == "english" else parts
