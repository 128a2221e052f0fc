"""The index: what it finds, what it keeps, what it refuses."""

import random
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from isthmus import Index
from isthmus.core.scan import Kept, best, unit
from isthmus.errors import DataError, FileError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.searching import search as module

G = np.random.default_rng(0)
PLAN = Plan(epochs=2, batch_size=64)
#: a committee would take longer to learn than everything else here
QUICK = {"detector": "likelihood"}
THINGS = ["pump", "valve", "cat", "dog", "bank", "bond"]
TEXTS = [
    f"the {a} and a {b} number {i}"
    for i, (a, b) in enumerate(zip(60 * THINGS, G.permutation(60 * THINGS), strict=True))
]


@pytest.fixture(scope="module")
def numbers():
    return pa.table(
        {"year": G.integers(1990, 2025, 300), "price": G.gamma(2, 50, 300), "kind": G.choice(["a", "b"], 300)}
    )


@pytest.fixture(scope="module")
def of_numbers(numbers):
    return Model.fit(numbers, latent_dim=3, plan=PLAN, parts=QUICK, device="cpu")


@pytest.fixture(scope="module")
def of_texts():
    return Model.fit(TEXTS, "lsa", latent_dim=8, plan=PLAN, device="cpu")


@pytest.fixture
def index(of_numbers, numbers):
    return Index.build(of_numbers, numbers)


@pytest.fixture
def texts(of_texts):
    return Index.build(of_texts, TEXTS)


def table_of(hits):
    return hits.to_table().to_pydict()


class TestSearch:
    def test_a_row_finds_itself_first(self, index, numbers):
        hits = index.search(numbers, 3)
        assert all(cosines[0] == pytest.approx(1, abs=1e-5) for cosines in hits.scores)
        codes = unit(index.model.encode(numbers))
        assert all(np.allclose(codes[i], codes[places[0]], atol=1e-3) for i, places in enumerate(hits.places))

    def test_the_order_is_that_of_the_cosine_of_codes(self, index, numbers):
        codes = unit(index.model.encode(numbers))
        hits = index.search(numbers.slice(7, 1), 300)
        assert np.allclose(hits.scores[0], np.sort(codes @ codes[7])[::-1], atol=1e-5)

    def test_codes_are_not_whitened(self, index, numbers):
        """The cosine is that of codes as they are, about no middle but their own."""
        z = index.model.encode(numbers)
        hits = index.search(numbers.slice(0, 1), 5)
        there = z[hits.places[0]]
        expected = there @ z[0] / np.linalg.norm(there, axis=1) / np.linalg.norm(z[0])
        assert np.allclose(hits.scores[0], expected, atol=1e-5)

    def test_a_row_may_be_written_in_many_ways(self, index, numbers):
        row = numbers.slice(4, 1).to_pylist()[0]
        ways = [row, [row], pa.table({k: [v] for k, v in row.items()}), numbers.slice(4, 1).to_pandas(),
                f'{{"year": {row["year"]}, "price": {row["price"]!r}, "kind": "{row["kind"]}"}}',
                f"year={row['year']},price={row['price']!r},kind={row['kind']}"]  # fmt: skip
        found = [index.search(way, 5).ids[0].tolist() for way in ways]
        assert all(ids == found[0] for ids in found)

    def test_what_is_not_said_is_missing(self, index):
        assert len(index.search("year=2020", 4).ids[0]) == 4

    def test_conditions_hold_for_all_that_is_found(self, index):
        found = table_of(index.search("year=2020", 50, where="year >= 2010 and kind = a"))
        assert found["year"]
        assert min(found["year"]) >= 2010
        assert set(found["kind"]) == {"a"}

    def test_more_than_there_are(self, index):
        hits = index.search("year=2020", 1000)
        assert len(hits.ids[0]) == 300
        assert "1,000 rows were asked for and 300 are in the index" in hits.remarks[0]
        none = index.search("year=2020", 5, where="year > 3000")
        assert len(none.ids[0]) == 0
        assert none.to_table().num_rows == 0

    @pytest.mark.parametrize("query", ["", "  ", "{}", [], {}, "year=", "[1]", "{broken", "words", "nosuch=3"])
    def test_what_is_no_query_is_said(self, index, query):
        with pytest.raises(DataError):
            index.search(query)

    @pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
    def test_k_is_a_number_of_rows(self, index, k):
        with pytest.raises(SpecError, match="at least 1"):
            index.search("year=2020", k)

    def test_a_query_of_another_modality(self, index, texts, tmp_path):
        Image.new("L", (8, 8)).save(tmp_path / "a.png")
        for one in (index, texts):
            with pytest.raises(DataError, match="kind 'image'"):
                one.search(tmp_path / "a.png")
        with pytest.raises(DataError, match="nothing else that this model takes"):
            index.search("a text about pumps")

    def test_a_column_that_there_is_not(self, index):
        with pytest.raises(SpecError, match="No column is called 'yaer'"):
            index.search("year=2020", where="yaer = 3")


class TestTexts:
    def test_words_and_codes_are_fused_by_place(self, texts):
        hits = texts.search("pump", 5)
        assert all("pump" in text for text in table_of(hits)["text"])
        places = hits.rankings[0]
        expected = np.where(places > 0, 11 / (10 + places), 0).mean(1)
        assert np.allclose(hits.scores[0], expected)
        assert set(hits.found_by(0)) <= {"code", "words", "both"}

    def test_which_ranking_found_a_hit(self, texts):
        by_words = texts.search("number 7", 4, by="words").ids[0]
        both = texts.search("number 7", 4)
        alone = texts.search("number 7", 4, by="code").ids[0]
        for name, one in zip(both.found_by(0), both.ids[0], strict=True):
            if name == "words":
                assert one in by_words
                assert one not in alone
            if name == "code":
                assert one in alone
                assert one not in by_words

    def test_a_name_that_no_code_knows_is_found_by_its_word(self, of_texts):
        index = Index.build(of_texts, [*TEXTS, "the pump of Xylanthia"])
        hits = index.search("Xylanthia", 1)
        assert hits.ids[0].tolist() == [len(TEXTS)]
        assert index.search("xylanthia", 1, by="words").ids[0].tolist() == [len(TEXTS)]

    def test_words_that_stand_nowhere_are_told(self, texts):
        hits = texts.search(["qqqq", "pump"], 3)
        assert any("no word of 'qqqq'" in remark for remark in hits.remarks)
        assert not any("'pump'" in remark for remark in hits.remarks)

    def test_a_file_holds_several_queries(self, texts, tmp_path):
        (tmp_path / "q.txt").write_text("pump\ncat\n")
        hits = texts.search(str(tmp_path / "q.txt"), 2)
        assert hits.queries == ["pump", "cat"]
        assert table_of(hits)["query"] == [0, 0, 1, 1]
        assert hits.save(tmp_path / "h.csv") == [tmp_path / "h.csv"]

    def test_a_snippet_is_where_the_word_stands(self, of_texts):
        long = "word " * 100 + "the flow of Xylanthia " + "more " * 100
        index = Index.build(of_texts, [*TEXTS, long])
        line = index.search("xylanthia", 1).lines(0)[0]
        assert "Xylanthia" in line
        assert len(line) < 250

    def test_a_terminal_is_not_told_what_to_do(self, of_texts):
        index = Index.build(of_texts, [*TEXTS, "Xylanthia \x1b[31m\x07 red"])
        assert "\x1b" not in index.search("xylanthia", 1).lines(0)[0]

    def test_an_empty_document_is_never_found_by_its_code(self, of_texts):
        index = Index.build(of_texts, ["", *TEXTS])
        assert 0 not in index.search("pump", 50).ids[0]

    def test_by_words_needs_words(self, index, texts):
        with pytest.raises(SpecError, match="Only texts"):
            index.search("year=2020", by="words")
        with pytest.raises(SpecError, match="No ranking is called 'word'"):
            texts.search("pump", by="word")


class TestChanges:
    def test_rows_that_are_added_are_found_and_have_new_ids(self, texts):
        ids = texts.add(["a quokka on a pump", "another quokka"])
        assert ids.tolist() == [len(TEXTS), len(TEXTS) + 1]
        assert set(texts.search("quokka", 2).ids[0].tolist()) == set(ids.tolist())

    def test_texts_for_a_model_of_a_column(self):
        """The column that the model was fitted on, or texts alone."""
        model = Model.fit(
            pa.table({"title": TEXTS, "n": range(len(TEXTS))}), "lsa", latent_dim=8, plan=PLAN,
            modality="text", modality_options={"text": "title"}, device="cpu",
        )  # fmt: skip
        for rows in (TEXTS, pa.table({"title": TEXTS})):
            index = Index.build(model, rows)
            index.delete([0])
            assert "pump" in index.search("pump", 1).lines(0)[0]

    def test_rows_that_are_deleted_are_gone(self, texts, tmp_path):
        ids = texts.add(["a secret quokka"])
        assert texts.delete(ids) == 1
        texts.save(tmp_path / "t.idx")
        assert b"quokka" not in (tmp_path / "t.idx").read_bytes()
        assert "quokka" not in texts.words.vocabulary
        # an id is never given twice
        assert texts.add(["more"]).tolist() == [ids[0] + 1]

    def test_the_others_keep_their_ids(self, index, numbers):
        before = index.search(numbers.slice(9, 1), 5).ids[0]
        index.delete([i for i in range(300) if i not in before])
        assert index.search(numbers.slice(9, 1), 5).ids[0].tolist() == before.tolist()

    def test_what_cannot_be_deleted(self, index):
        with pytest.raises(DataError, match="no row with the id 300"):
            index.delete([3, 300])
        with pytest.raises(DataError, match="Nothing would be left"):
            index.delete(range(300))

    def test_rows_of_other_columns_are_not_added(self, of_numbers, numbers):
        index = Index.build(of_numbers, numbers, columns=pa.table({"who": ["x"] * 300}))
        with pytest.raises(DataError, match="lack the column 'who'"):
            index.add(numbers)
        assert len(index.add(numbers, columns=pa.table({"who": ["y"] * 300}))) == 300
        assert set(table_of(index.search("year=2020", 5, where="who = y"))["who"]) == {"y"}


@pytest.mark.parametrize("codes", ["float", "int8", "binary"])
class TestFile:
    def test_what_is_opened_answers_the_same(self, of_texts, codes, tmp_path):
        index = Index.build(of_texts, TEXTS, codes=codes, columns=pa.table({"n": np.arange(len(TEXTS))}))
        index.save(tmp_path / "t.idx")
        opened = Index.open(tmp_path / "t.idx")
        for how in ({}, {"where": "n > 100"}, {"by": "code"}, {"by": "words"}):
            ours, theirs = index.search(["pump", "a cat"], 7, **how), opened.search(["pump", "a cat"], 7, **how)
            assert ours.to_table().equals(theirs.to_table())
        assert opened.summary() == index.summary()
        opened.save(tmp_path / "again.idx")
        assert (tmp_path / "again.idx").read_bytes() == (tmp_path / "t.idx").read_bytes()

    def test_it_may_be_changed_and_written_where_it_lies(self, of_texts, codes, tmp_path):
        Index.build(of_texts, TEXTS, codes=codes).save(tmp_path / "t.idx")
        opened = Index.open(tmp_path / "t.idx")
        opened.delete([0, 1])
        new = opened.add(["the quokka"])
        opened.save(tmp_path / "t.idx")
        again = Index.open(tmp_path / "t.idx")
        assert len(again) == len(TEXTS) - 1
        assert again.search("quokka", 1).ids[0].tolist() == new.tolist()


class TestRefused:
    @pytest.fixture
    def path(self, of_numbers, numbers, tmp_path):
        return Index.build(of_numbers, numbers).save(tmp_path / "n.idx")

    def test_another_model(self, path, of_numbers, numbers):
        assert len(Index.open(path, model=of_numbers)) == 300
        other = Model.fit(numbers, latent_dim=3, plan=PLAN.replace(seed=1), parts=QUICK, device="cpu")
        with pytest.raises(DataError, match="made by another model"):
            Index.open(path, model=other)

    def test_a_model_that_was_put_in_place_of_another(self, path, of_numbers, numbers, tmp_path):
        other = Model.fit(numbers, latent_dim=3, plan=PLAN.replace(seed=1), parts=QUICK, device="cpu")
        index = Index.open(path)
        index.said["model"] = other.fingerprint
        index.save(tmp_path / "forged.idx")
        with pytest.raises(FileError, match="not the one that made it"):
            Index.open(tmp_path / "forged.idx").search("year=2020")

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
    def test_an_index_cut_short(self, path, share):
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(FileError, match=r"cut short|not an index|damaged"):
            Index.open(path)

    def test_what_is_no_index(self, tmp_path, of_numbers):
        of_numbers.save(tmp_path / "m.isthmus")
        (tmp_path / "a.csv").write_text("a,b\n1,2\n")
        for name in ("m.isthmus", "a.csv"):
            with pytest.raises(FileError, match="not an index"):
                Index.open(tmp_path / name)
        with pytest.raises(FileError, match="There is no file"):
            Index.open(tmp_path / "no.idx")

    def test_damage_gives_an_error_or_sound_answers(self, of_texts, tmp_path, damaged):
        path = Index.build(of_texts, TEXTS, codes="binary").save(tmp_path / "t.idx")
        whole, chance = path.read_bytes(), random.Random(1)
        right = Index.open(path).search("pump", 5).ids[0].tolist()
        refused = 0
        for _ in range(40):
            path.write_bytes(damaged(whole, chance))
            try:
                assert Index.open(path).search("pump", 5).ids[0].tolist() == right
            except FileError:
                refused += 1
        assert refused > 10

    @pytest.mark.parametrize(
        "lie", [{"codes": "float64"}, {"next": -1}, {"next": "x"}, {"kind": 3}, {"model": None}, {"rows": 0},
                {"rows": 299}, {"candidates": 2**60}, {"candidates": True}, {"recall": "x"}, {"language": 7}]
    )  # fmt: skip
    def test_a_file_that_says_the_impossible(self, path, lie, monkeypatch):
        index, write = Index.open(path), module.sections.write
        monkeypatch.setattr(module.sections, "write", lambda where, said, arrays: write(where, {**said, **lie}, arrays))
        index.save(path)
        with pytest.raises(FileError, match="damaged"):
            Index.open(path)

    @pytest.mark.parametrize(
        ("name", "forge"),
        [("words/indices", lambda a: a + 10**6), ("words/indices", lambda a: -a - 1),
         ("words/indptr", lambda a: a[::-1]), ("words/indptr", lambda a: a + 1),
         ("words", lambda a: np.full_like(a, 255)), ("table", lambda a: a[: len(a) // 2]),
         ("table", lambda a: np.zeros_like(a)), ("model", lambda a: a[: len(a) // 2]), ("ids", lambda a: a[:-1])]
    )  # fmt: skip
    def test_a_forged_section_is_refused(self, of_texts, tmp_path, name, forge, monkeypatch):
        """With right checksums: what a stranger may write."""
        index, write = Index.build(of_texts, TEXTS), module.sections.write
        monkeypatch.setattr(
            module.sections,
            "write",
            lambda where, said, arrays: write(where, said, {**arrays, name: forge(arrays[name])}),
        )
        index.save(tmp_path / "f.idx")
        with pytest.raises(FileError):
            Index.open(tmp_path / "f.idx").search("pump", 3).to_table()

    def test_a_code_that_is_the_whole_row(self):
        pictures = G.integers(0, 255, (6, 32, 32)).astype(np.uint8)
        model = Model.fit(pictures, "residual", plan=Plan(epochs=1), modality="pixels", device="cpu")
        with pytest.raises(SpecError, match="whole row"):
            Index.build(model, pictures)

    def test_unknown_codes(self, of_numbers, numbers):
        with pytest.raises(SpecError, match="Did you mean 'int8'"):
            Index.build(of_numbers, numbers, codes="int")

    def test_columns_are_one_for_each_row(self, of_numbers, numbers):
        with pytest.raises(DataError, match="one row for each"):
            Index.build(of_numbers, numbers, columns=pa.table({"a": [1, 2]}))
        with pytest.raises(DataError, match="both have 'year'"):
            Index.build(of_numbers, numbers, columns=numbers)


@pytest.fixture(scope="module")
def wide():
    z = G.normal(size=(3000, 6))
    return (z @ G.normal(size=(6, 24)) + 0.05 * G.normal(size=(3000, 24))).astype(np.float32)


@pytest.fixture(scope="module")
def of_wide(wide):
    return Model.fit(wide, latent_dim=6, plan=PLAN, device="cpu")


class TestMany:
    @pytest.fixture
    def few_are_many(self, monkeypatch):
        monkeypatch.setattr(module, "MANY", 2000)
        monkeypatch.setattr(module, "_FEW", 2)

    def recall(self, index, wide):
        codes = unit(index.model.encode(wide))
        truth = best(codes[:300], Kept(codes), 10)[1]
        found = index.search(wide[:300], 10).places
        return np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)])

    def test_lists_find_what_was_measured_and_say_so(self, few_are_many, of_wide, wide, tmp_path):
        pytest.importorskip("faiss")
        index = Index.build(of_wide, wide)
        assert index.lists is not None
        assert self.recall(index, wide) >= 0.95
        assert f"recall@10 {index.said['recall']:.3f}, measured on these rows" in index.how()
        index.save(tmp_path / "w.idx")
        opened = Index.open(tmp_path / "w.idx")
        assert opened.search(wide[:60], 10).to_table().equals(index.search(wide[:60], 10).to_table())
        ids = opened.add(wide[:5] + 0.001)
        assert set(ids.tolist()) & set(opened.search(wide[:1], 3).ids[0].tolist())
        opened.delete(ids)
        assert self.recall(opened, wide) >= 0.95

    def test_without_faiss_all_rows_are_looked_at_and_that_is_said(
        self, few_are_many, of_wide, wide, monkeypatch, tmp_path
    ):
        monkeypatch.setitem(sys.modules, "faiss", None)
        index = Index.build(of_wide, wide)
        assert index.lists is None
        assert "faiss is not installed" in index.summary()[-1]
        assert self.recall(index, wide) == 1.0

    def test_an_index_with_lists_can_be_asked_without_faiss(self, few_are_many, of_wide, wide, monkeypatch, tmp_path):
        pytest.importorskip("faiss")
        Index.build(of_wide, wide).save(tmp_path / "w.idx")
        monkeypatch.setitem(sys.modules, "faiss", None)
        assert self.recall(Index.open(tmp_path / "w.idx"), wide) == 1.0

    @pytest.mark.parametrize(
        ("name", "forge"),
        [("cell", lambda a: a + 60_000), ("centres", lambda a: a * np.nan), ("packed", lambda a: a[:-1]),
         ("codewords", lambda a: a[:, :8]), ("codewords", lambda a: a[:1])]
    )  # fmt: skip
    def test_forged_lists_are_refused(self, few_are_many, of_wide, wide, tmp_path, name, forge, monkeypatch):
        pytest.importorskip("faiss")
        index, write = Index.build(of_wide, wide), module.sections.write
        monkeypatch.setattr(
            module.sections,
            "write",
            lambda where, said, arrays: write(where, said, {**arrays, name: forge(arrays[name])}),
        )
        index.save(tmp_path / "f.idx")
        with pytest.raises(FileError, match="damaged"):
            Index.open(tmp_path / "f.idx")

    def test_bits_take_little_memory_and_find_nearly_all(self, of_wide, wide):
        index = Index.build(of_wide, wide, codes="binary")
        assert index.bits.bits.nbytes == 16 * len(wide)
        assert self.recall(index, wide) >= 0.95
        assert index.said["recall"] >= 0.95

    def test_growing_past_the_limit_makes_lists(self, of_wide, wide, few_are_many):
        pytest.importorskip("faiss")
        index = Index.build(of_wide, wide[:1500])
        assert index.lists is None
        index.add(wide[1500:])
        assert index.lists is not None


def test_pictures_are_shown_by_their_path(tmp_path):
    for i in range(12):
        Image.fromarray(G.integers(0, 255, (8, 8)).astype(np.uint8)).save(tmp_path / f"{i}.png")
    model = Model.fit(tmp_path, latent_dim=4, plan=PLAN, device="cpu")
    index = Index.build(model, tmp_path)
    hits = index.search(tmp_path / "3.png", 2)
    assert str(tmp_path / "3.png") in hits.lines(0)[0]
    assert hits.queries == ["3.png"]
    assert table_of(index.search(tmp_path, 1, where="name = '5.png'"))["name"] == ["5.png"] * 12


def test_of_recordings_windows_are_found(tmp_path):
    steps = np.sin(np.arange(600) / 5)[:, None] + 0.1 * G.normal(size=(600, 1))
    model = Model.fit(steps, modality="series", modality_options={"window": 32}, latent_dim=2, plan=PLAN, device="cpu")
    index = Index.build(model, steps)
    found = table_of(index.search(steps[:32], 1))
    assert found["begin"] == [0]
    assert found["end"] == [32]


def test_models_come_in_three_ways(of_numbers, numbers, tmp_path):
    of_numbers.save(tmp_path / "m.isthmus")
    assert len(Index.build(tmp_path / "m.isthmus", numbers)) == 300
    with pytest.raises(SpecError, match="A model is"):
        Index.build(3, numbers)
