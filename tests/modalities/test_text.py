"""Words of any language, and weights that are scikit-learn's."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.modalities import modality_from_json, modality_to_json
from isthmus.modalities import text as module
from isthmus.modalities.text import Text, groups_of, parts_of, words_of

TOY = [
    "the cat sat on the mat",
    "the dog sat on the log and the cat looked",
    "a cat and a dog and a bird",
    "birds fly over the sea",
    "the sea is wide and the sky is wide too",
]


def dense(text, rows):
    return text.to_tensors(open_rows(rows))["x"].dense().numpy()


class TestWeights:
    """With the same words the weights are those of TfidfVectorizer."""

    def test_words(self):
        text = Text.fit(open_rows(TOY), letters=0)
        theirs = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        expected = theirs.fit_transform(TOY).toarray()
        assert sorted(text.words) == sorted(theirs.vocabulary_)
        order = [theirs.vocabulary_[word] for word in text.words]
        np.testing.assert_allclose(dense(text, TOY)[:, : len(text.words)], expected[:, order], atol=1e-6)

    def test_groups_of_letters(self):
        text = Text.fit(open_rows(TOY), sizes=(2, 4))
        theirs = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 4))
        expected = theirs.fit_transform(TOY).toarray()
        assert sorted(text.letters) == sorted(theirs.vocabulary_)
        order = [theirs.vocabulary_[group] for group in text.letters]
        found = dense(text, TOY)[:, -len(text.letters) :]
        np.testing.assert_allclose(found, expected[:, order] * (1 - module._WORDS_SHARE) ** 0.5, atol=1e-6)

    def test_rows_have_length_one(self):
        x = dense(Text.fit(open_rows(TOY)), [*TOY, "cat", ""])
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), [1, 1, 1, 1, 1, 1, 0], atol=1e-6)

    def test_a_block_of_documents_gives_what_one_by_one_gives(self, monkeypatch):
        text = Text.fit(open_rows(TOY))
        whole = dense(text, TOY)
        monkeypatch.setattr(module, "_BLOCK", 2)
        assert np.array_equal(dense(text, TOY), whole)
        assert np.array_equal(np.concatenate([dense(text, [one]) for one in TOY]), whole)

    def test_rare_words_are_left_out_of_larger_corpora(self):
        documents = [f"common words here number{i}" for i in range(60)]
        text = Text.fit(open_rows(documents))
        assert sorted(text.words) == ["common", "here", "words"]
        assert any("60 rare words were left out" in said for said in text.describe())
        # and still say that something is there
        shared = dense(text, ["number7"])[0, 3 : text._entries]
        assert (shared > 0).sum() == 1


class TestWords:
    def test_normalised_and_casefolded(self):
        # full-width letters, a ligature, a combining accent, a sharp s
        assert words_of("ＡＢＣ ﬁne cafe\u0301 STRASSE straße") == ["abc", "fine", "café", "strasse", "strasse"]

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ("हिन्दी में पढ़ना", ["हिन्दी", "में", "पढ़ना"]),  # vowel signs are no letters to Python
            ("مرحبا بالعالم!", ["مرحبا", "بالعالم"]),
            ("привет, мир", ["привет", "мир"]),
            ("我爱北京", ["我爱北京"]),
            ("ok👍👍 gut", ["ok", "👍", "👍", "gut"]),
            ("…!?—", []),
        ],
    )
    def test_scripts(self, said, words):
        assert words_of(said) == words_of(" ".join(words)) == [w for word in words for w in words_of(word)]
        assert len(words_of(said)) == len(words)

    def test_scripts_without_spaces_are_taken_apart(self):
        assert parts_of("我爱北京") == ["我", "爱", "北", "京", "我爱", "爱北", "北京"]
        assert words_of("東京tower") == ["東京", "tower"]
        text = Text.fit(open_rows(["我爱北京天安门", "北京很大", "上海也很大", "我喜欢上海"]))
        x = dense(text, ["北京", "北京市", "上海"])
        assert x[0] @ x[1] > 0.5 > x[0] @ x[2]

    def test_groups_are_those_of_scikit_learn(self):
        theirs = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).build_analyzer()
        for word in ("a", "ab", "abc", "abcdefg"):
            assert sorted(groups_of(word, (2, 4))) == sorted(theirs(word))


class TestRows:
    TABLE = pa.table({"title": ["one cat", "two dogs", None], "body": ["a", "b", "c"], "n": [1, 2, 3]})

    def test_a_column_of_a_table(self):
        rows = Rows("table", self.TABLE)
        text = Text.fit(rows, text="title")
        assert sorted(text.words) == ["cat", "dogs", "one", "two"]
        assert np.array_equal(text.to_tensors(rows)["x"].dense().numpy(), dense(text, ["one cat", "two dogs", ""]))
        both = Text.fit(rows, text=["title", "body"])
        assert {"cat", "a", "b", "c"} <= set(both.words)

    def test_which_column_is_asked_for(self):
        with pytest.raises(DataError, match=r"2 columns of text \(title, body\)"):
            Text.fit(Rows("table", self.TABLE))
        assert Text.fit(Rows("table", self.TABLE.drop_columns(["body"]))).columns == ["title"]
        with pytest.raises(DataError, match="no column 'headline'"):
            Text.fit(Rows("table", self.TABLE), text="headline")
        with pytest.raises(DataError, match="array rows, and text is wanted"):
            Text.fit(open_rows([[1.0, 2.0]]))
        with pytest.raises(SpecError, match="has no column"):
            Text.fit(open_rows(TOY), text="title")

    def test_without_a_word(self):
        with pytest.raises(DataError, match="holds no word"):
            Text.fit(open_rows(["", "…", "!!"]))

    def test_remarks(self):
        text = Text.fit(open_rows(TOY))
        assert text.remarks(open_rows(TOY)) == []
        said = text.remarks(open_rows(["völlig fremde Worte hier", ""]))
        assert "1 of 2 documents looked at hold no word." in said
        assert any("are not in the vocabulary" in line for line in said)

    def test_halves_share_no_place(self):
        first, second = Text.fit(open_rows(TOY)).halves(open_rows(["a b c d e", "x"]))
        assert (first.data, second.data) == (["a c e", "x"], ["b d", ""])

    def test_what_comes_back_are_words(self):
        text = Text.fit(open_rows(TOY))
        x = torch.zeros(2, *text.shape)
        x[0, [text.words.index("cat"), text.words.index("dog")]] = torch.tensor([0.9, 0.5])
        assert text.from_tensors(x) == ["cat dog", ""]


def test_the_state_is_bounded_json():
    text = Text.fit(open_rows(TOY))
    said = json.loads(json.dumps(modality_to_json(text)))
    again = modality_from_json(said)
    assert np.array_equal(dense(again, TOY), dense(text, TOY))
    assert again.describe() == text.describe()
    with pytest.raises(SpecError, match="counts"):
        modality_from_json({**said, "words": said["words"][1:]})


def test_memory_stays_far_below_dense():
    import tracemalloc

    rng = np.random.default_rng(0)
    words = np.array([f"w{i:04}" for i in range(5000)])
    documents = [" ".join(rng.choice(words, 6)) for _ in range(4000)]
    tracemalloc.start()
    text = Text.fit(open_rows(documents))
    x = text.to_tensors(open_rows(documents))["x"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    as_dense = 4 * x.shape[0] * x.shape[1]
    assert sum(t.numel() * t.element_size() for t in x.parts()) < as_dense / 50
    assert peak < as_dense / 3
