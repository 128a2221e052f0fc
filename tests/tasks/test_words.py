import math

import numpy as np

from isthmus.modalities.text import words_of
from isthmus.tasks.searching.stems import stem
from isthmus.tasks.searching.words import Words, spoken

DOCUMENTS = ["the pump is hot and the pump hums", "a valve of the pump", "the cat sleeps on the mat", "", "hot cats"]


def test_scores_are_those_of_the_formula():
    words = Words.of(DOCUMENTS)
    assert words.language == "english"
    terms = [["pump", "hot", "pump", "hum"], ["valv", "pump"], ["cat", "sleep", "mat"], [], ["hot", "cat"]]
    n, mean = len(terms), np.mean([len(t) for t in terms])
    for query in ("pump", "hot pumps", "sleeping"):
        expected = np.zeros(n)
        for word in {stem(w) for w in words_of(query)}:
            held = sum(word in t for t in terms)
            idf = math.log(1 + (n - held + 0.5) / (held + 0.5))
            for i, t in enumerate(terms):
                f = t.count(word)
                expected[i] += idf * f / (f + 1.5 * (1 - 0.75 + 0.75 * len(t) / mean))
        assert np.allclose(words.score(query), expected, rtol=1e-5)


def test_a_query_of_unknown_words_or_stop_words_finds_nothing():
    words = Words.of(DOCUMENTS)
    for query in ("xyzzy", "the and of", "", "!?"):
        assert not words.score(query).any()


def test_documents_without_a_word():
    words = Words.of(["", "...", " "])
    assert words.score("pump").tolist() == [0, 0, 0]


def test_any_script_does():
    words = Words.of(["我爱北京", "東京は大きい", "Straße nach Köln", "naïve café"])
    for i, query in enumerate(["北京", "大きい", "STRASSE", "CAFÉ"]):
        assert words.score(query).argmax() == i
    assert spoken(["我爱北京"]) is None
