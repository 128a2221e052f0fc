import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.searching import duplicates as module
from isthmus.tasks.searching.duplicates import duplicates

G = np.random.default_rng(0)
WORDS = [f"word{i}" for i in range(400)]


def groups(found):
    return [group.tolist() for group in found.groups]


def text(n=12):
    return " ".join(G.choice(WORDS, n))


class TestKinds:
    def test_texts_that_lost_a_word(self):
        texts = [text() for _ in range(100)]
        texts += [" ".join(texts[3].split()[1:]), texts[8].upper(), texts[8]]
        found = duplicates(texts)
        assert groups(found) == [[3, 100], [8, 101, 102]]
        assert found.apart[1].tolist() == pytest.approx([0, 0, 0], abs=1e-6)
        assert found.keep.tolist() == list(range(100))

    def test_rows_that_were_rounded(self):
        x = G.normal(size=(200, 6)) * [1, 10, 100, 0.1, 1, 5]
        more = [float(f"{value:.3g}") for value in x[5]]
        found = duplicates(pa.table(np.concatenate([x, [more], x[7:8]]).T.tolist(), names=list("abcdef")))
        assert groups(found) == [[5, 200], [7, 201]]
        assert "rounded to three digits" in found.how

    def test_a_category_or_a_missing_cell_makes_another_row(self):
        x = np.linspace(-3, 3, 100).tolist()
        table = pa.table({"x": [*x, x[0], x[1], None], "kind": [*["a", "b"] * 50, "b", "b", "a"]})
        assert groups(duplicates(table)) == [[1, 101]]

    def test_a_column_of_sentences_may_lose_a_word(self):
        titles, price = [text() for _ in range(120)], G.gamma(2, 50, 120).round(2).tolist()
        table = pa.table({"title": [*titles, " ".join(titles[7].split()[:-1])], "price": [*price, price[7]]})
        assert groups(duplicates(table)) == [[7, 120]]

    @pytest.mark.parametrize("as_files", [False, True])
    def test_pictures_that_were_saved_again(self, as_files, tmp_path):
        pictures = []
        for _ in range(40):
            small = Image.fromarray(G.integers(0, 255, (6, 6)).astype(np.uint8))
            pictures.append(np.asarray(small.resize((48, 48), Image.Resampling.BICUBIC)))
        if as_files:
            for i, one in enumerate(pictures):
                Image.fromarray(one).save(tmp_path / f"{i:02}.png")
            Image.fromarray(pictures[4]).resize((30, 30)).save(tmp_path / "copy.jpg", quality=80)
            found = duplicates(tmp_path)
            assert [found.rows.names[i] for i in found.groups[0]] == ["04.png", "copy.jpg"]
        else:
            copy = np.clip(pictures[4].astype(int) + 4, 0, 255).astype(np.uint8)
            found = duplicates(np.stack([*pictures, copy]))
            assert groups(found) == [[4, 40]]
        assert len(found.groups) == 1

    def test_series_and_sparse_matrices(self):
        import scipy.sparse

        series = [G.normal(size=n) for n in G.integers(10, 20, 60)]
        assert groups(duplicates([*series, series[2]])) == [[2, 60]]
        matrix = scipy.sparse.random(80, 300, 0.05, random_state=0, format="csr")
        doubled = scipy.sparse.vstack([matrix, matrix[5]]).tocsr()
        assert [5, 80] in groups(duplicates(doubled))


def test_nothing_is_grouped_that_is_not():
    found = duplicates(G.normal(size=(300, 8)))
    assert found.groups == []
    assert found.to_table().num_rows == 0
    assert found.keep.tolist() == list(range(300))
    assert found.usual > 100 * found.threshold


def test_what_copies_connect_is_one_group():
    """0 – 1 – 2: the ends are farther apart than the threshold."""
    x = np.concatenate([[[0.0, 0], [0.9, 0], [1.8, 0]], 100 + 50 * G.normal(size=(50, 2))])
    found = duplicates(x, threshold=0.9 / x.std(0)[0] * 1.001)
    assert [0, 1, 2] in groups(found)


def test_all_pairs_are_found_whatever_the_blocks(monkeypatch):
    x = G.normal(size=(400, 3)).astype(np.float32)
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    expected = {tuple(pair) for pair in np.argwhere(np.triu(apart <= 0.3, 1)).tolist()}
    for size in (1 << 22, 500):
        monkeypatch.setattr(module, "_AT_ONCE", size)
        found = {tuple(sorted(pair)) for pair in module._pairs(x, 0.3).tolist()}
        assert found == expected
    assert len(expected) > 20


def test_many_exact_copies_are_one_group():
    x = np.repeat(G.normal(size=(3, 4)), 2000, axis=0)
    assert [len(group) for group in duplicates(x).groups] == [2000, 2000, 2000]


def test_a_threshold_that_separates_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_PAIRS", 1000)
    with pytest.raises(DataError, match="says nothing"):
        duplicates(G.normal(size=(200, 3)), threshold=100.0)
    with pytest.raises(SpecError, match="a distance"):
        duplicates(G.normal(size=(200, 3)), threshold=-1.0)


def test_rows_as_near_as_copies_are_told():
    found = duplicates([" ".join(["same"] * 20 + [f"other{i}"]) for i in range(100)])
    assert any(line.startswith("!") for line in found.summary())


def test_a_model_compares_by_its_codes(tmp_path):
    x = G.normal(size=(200, 6))
    x[50] = x[3] + 1e-7
    model = Model.fit(x, latent_dim=3, plan=Plan(epochs=1), device="cpu")
    model.save(tmp_path / "m.isthmus")
    assert [3, 50] in groups(duplicates(x, model=tmp_path / "m.isthmus"))


def test_recordings_are_not_rows(tmp_path):
    (tmp_path / "a.csv").write_text("x\n" + "\n".join(map(str, range(50))))
    (tmp_path / "b.csv").write_text("x\n" + "\n".join(map(str, range(50))))
    from isthmus.data.source import open_rows

    with pytest.raises(DataError, match="recordings"):
        duplicates(open_rows(tmp_path, kind="series"))


def test_a_line_for_every_row_of_a_group(tmp_path):
    found = duplicates(np.repeat(G.normal(size=(5, 4)), 2, axis=0))
    assert found.save(tmp_path / "g.csv") == [tmp_path / "g.csv"]
    assert found.to_table().to_pydict()["group"] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert found.to_json()["groups"][1] == [2, 3]
