"""Every kind of column: cells → entries → cells, one cell at a time as in a file, and back out of the model file."""

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image as PIL

from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.modalities import modality_from_json, modality_to_json
from isthmus.modalities.cells import Cells
from isthmus.modalities.columns import COLUMNS, Column
from isthmus.modalities.columns.date import CYCLES
from isthmus.modalities.table import Table
from isthmus.model import Model, open_model
from isthmus.spec import Plan

N = 400
WORDS = {
    "sea": ["boat", "sailed", "over", "a", "calm", "sea", "past", "the", "island", "harbour", "wind", "waves"],
    "bank": ["bank", "raised", "its", "rates", "again", "as", "markets", "fell", "and", "bonds", "rose", "money"],
}


def sentences(n=N, seed=0):
    g = np.random.default_rng(seed)
    topics = g.choice(list(WORDS), n)
    return topics, [" ".join(g.choice(WORDS[topic], 8)) for topic in topics]


@pytest.fixture
def folder(tmp_path):
    """A CSV whose rows name pictures beside it: bright ones where 'light' is high."""
    g = np.random.default_rng(0)
    topics, titles = sentences()
    light = g.random(N)
    (tmp_path / "photos").mkdir()
    for i in range(N):
        pixels = np.clip(255 * light[i] + g.normal(0, 8, (12, 10)), 0, 255).astype(np.uint8)
        PIL.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    table = pa.table(
        {
            "light": light,
            "price": np.where(topics == "sea", 1.0, 3.0) + g.normal(0, 0.2, N),
            "title": titles,
            "photo": [f"photos/{i}.png" for i in range(N)],
        }
    )
    from pyarrow import csv

    csv.write_csv(table, tmp_path / "rows.csv")
    return tmp_path


def fitted(rows, **options):
    return Table.fit(open_rows(rows), **options)


def kinds(table):
    return {column.name: column.kind for column in table.columns}


def every_kind():
    g = np.random.default_rng(1)
    _, titles = sentences()
    start = datetime.datetime(2022, 1, 1)
    return pa.table(
        {
            "number": g.normal(size=N),
            "flag": g.random(N) < 0.3,
            "letter": g.choice(list("abc"), N),
            "user": [f"u{int(k)}" for k in g.zipf(1.5, N) % 150],
            "when": [start + datetime.timedelta(hours=float(h)) for h in g.uniform(0, 24 * 900, N)],
            "title": titles,
            "always": ["x"] * N,
        }
    )


def test_the_menu_is_walked():
    """Every kind comes back out of JSON as it was, with the same entries and names."""
    rows = every_kind()
    table = fitted(rows, max_levels=20)
    assert set(kinds(table).values()) == set(COLUMNS) - {"image"}
    again = modality_from_json(json.loads(json.dumps(modality_to_json(table))))
    assert again.names == table.names
    assert len(again.names) == again.shape[0]
    for name, t in table.to_tensors(open_rows(rows)).items():
        assert torch.equal(t, again.to_tensors(open_rows(rows))[name])


def test_one_cell_at_a_time_is_the_same():
    rows = every_kind()
    table = fitted(rows, max_levels=20)
    whole = table.to_tensors(open_rows(rows.slice(0, 30)))
    one_by_one = Cells(table, rows.column_names)(rows.slice(0, 30).to_pylist())
    torch.testing.assert_close(one_by_one["x"], whole["x"], rtol=0, atol=1e-6)


class TestHashed:
    def rows(self):
        often = [f"shop{i % 5}" for i in range(900)]
        return pa.table({"user": [*often, *(f"u{i:03d}" for i in range(100))], "n": np.arange(1000.0) % 7})

    def test_too_many_levels_share_buckets_and_nothing_is_dropped(self):
        table = fitted(self.rows(), max_levels=5)
        (column,) = [c for c in table.columns if c.name == "user"]
        assert column.kind == "hashed"
        (law,) = column.laws
        assert law == 1 + 5 + 32, "the network does not grow with the number of categories"
        x = table.to_tensors(open_rows(self.rows()))["x"]
        assert ((x[:, 0] > 5).numpy() == (np.arange(1000) >= 900)).all()
        assert len(x[900:, 0].unique()) > 20, "rare ones are spread"
        assert (
            "105 categories: the 5 most frequent are kept, and the others, 100 row(s), share 32 bucket(s)"
            in " ".join(table.describe())
        )

    def test_what_is_kept_comes_back_and_a_crowded_bucket_is_missing(self):
        table = fitted(self.rows(), max_levels=5)
        back = table.from_tensors(table.to_tensors(open_rows(self.rows()))["x"])["user"].to_pylist()
        assert back[:900] == self.rows()["user"].to_pylist()[:900]
        rare = self.rows()["user"].to_pylist()[900:]
        assert all(got in (None, was) or got.startswith("u") for got, was in zip(back[900:], rare, strict=True))
        assert back[900:].count(None) > 50

    def test_a_bucket_that_is_mostly_one_category_comes_back_as_it(self):
        column = pa.array(["a"] * 50 + ["b"] * 40 + ["lone"] * 30)
        table = fitted(pa.table({"c": column}), max_levels=2, kinds={"c": "hashed"})
        assert table.from_tensors(table.to_tensors(open_rows(pa.table({"c": ["lone"]})))["x"])["c"].to_pylist() == [
            "lone"
        ]

    def test_a_new_category_shares_a_bucket(self):
        table = fitted(self.rows(), max_levels=5)
        x = table.to_tensors(open_rows(pa.table({"user": ["never seen", None], "n": [1.0, 2.0]})))
        assert x["x"][0, 0] > 5
        assert x["observed"][:, 0].tolist() == [True, False]

    def test_buckets_are_the_same_everywhere(self):
        column = fitted(self.rows(), max_levels=5).columns[0]
        assert column.reader()("u042") == column.numbers(pa.array(["u042"]), "", [])[0] == 1 + 5 + 21


class TestDates:
    def moments(self, hours):
        start = np.datetime64("2023-01-02T00:00:00")  # a Monday
        return pa.array(start + (np.asarray(hours) * 3600).astype("timedelta64[s]"))

    def test_cycles_are_those_that_were_gone_through_twice(self):
        def cycles(hours):
            return fitted(pa.table({"t": self.moments(hours)})).columns[0].cycles

        assert cycles(np.linspace(0, 40, 99)) == ()
        assert cycles(np.linspace(0, 24 * 10, 99)) == ("day",)
        assert cycles(np.linspace(0, 24 * 30, 999)) == ("day", "week")
        assert cycles(np.linspace(0, 24 * 800, 999)) == tuple(CYCLES)
        assert cycles(24.0 * np.arange(99)) == ("week",), "all at midnight tell nothing of the day"

    def test_entries_stand_where_the_clock_does(self):
        table = fitted(pa.table({"t": self.moments(np.linspace(0, 24 * 30, 9999))}))
        assert table.names == ["t", "t: hour of day, sine", "t: hour of day, cosine", "t: day of week, sine",
                               "t: day of week, cosine"]  # fmt: skip
        x = table.to_tensors(open_rows(pa.table({"t": self.moments([6.0, 24 * 7 + 6.0, 18.0])})))["x"]
        root = 2**0.5
        np.testing.assert_allclose(x[:, 1:3], [[root, 0], [root, 0], [-root, 0]], atol=1e-4)
        np.testing.assert_allclose(x[0, 3:], x[1, 3:], atol=1e-4), "a Monday is a Monday"
        np.testing.assert_allclose(x[0, 3:], [root * np.sin(2 * np.pi / 28), root * np.cos(2 * np.pi / 28)], atol=1e-4)
        all_of_it = table.to_tensors(open_rows(pa.table({"t": self.moments(np.linspace(0, 24 * 28, 9999))})))["x"]
        np.testing.assert_allclose(all_of_it[:, 1:].std(0), 1, atol=0.01)

    def test_the_date_comes_back(self):
        column = self.moments(np.random.default_rng(0).uniform(0, 24 * 800, 500))
        table = fitted(pa.table({"t": column}))
        back = table.from_tensors(table.to_tensors(open_rows(pa.table({"t": column})))["x"])["t"]
        away = np.abs((back.to_numpy() - column.to_numpy()).astype("timedelta64[s]").astype(float))
        assert away.max() <= 30

    def test_dates_written_as_text_are_dates(self):
        column = [f"2023-{1 + i % 12:02d}-{1 + i % 28:02d} {i % 24:02d}:00" for i in range(200)]
        table = fitted(pa.table({"t": column}))
        assert kinds(table) == {"t": "date"}
        assert "given back as dates" in " ".join(table.describe())
        assert kinds(fitted(pa.table({"t": [*column[:-1], "2023-99-99 00:00"]}))) != {"t": "date"}
        with pytest.raises(DataError, match=r"'t' .* should hold dates such as"):
            fitted(pa.table({"t": ["soon", "later"] * 9}), kinds={"t": "date"})

    def test_an_hour_that_nobody_keeps_is_strange(self):
        """Rows come by day; one at three in the night stands out, though its date is among the others."""
        g = np.random.default_rng(0)
        hours = 24 * g.integers(0, 60, N) + g.uniform(8, 17, N)
        model = Model.fit(pa.table({"t": self.moments(hours), "n": g.normal(size=N)}), plan=Plan(epochs=30))
        test = pa.table({"t": self.moments([24 * 30 + 12.0, 24 * 30 + 3.0]), "n": [0.0, 0.0]})
        usual, night = model.score(test)
        assert night > usual + 2
        from isthmus.tasks.detection.detect import detect

        found = detect(model, test)
        assert found.reasons(1)[0].name == "t"
        assert "2023-02-01 03:00" in found.reasons(1)[0].observed
        np.testing.assert_allclose(sum(found.by_column.values()) + found.rest, found.scores, rtol=1e-4)


class TestText:
    def test_sentences_are_told_from_names(self):
        _, titles = sentences()
        names = [f"Person {i} of Town {i % 7}" for i in range(N)]
        ids = [f"{i:x}-{i * 7919 % 10007:x}" for i in range(N)]
        table = fitted(pa.table({"title": titles, "name": [f"n{i}" for i in range(N)], "id": ids, "x": G(N)}))
        assert kinds(table) == {"title": "text", "name": "aside", "id": "aside", "x": "numeric"}
        assert kinds(fitted(pa.table({"name": names, "x": G(N)}), kinds={"name": "text"}))["name"] == "text"
        assert table.parts()["detector"] == {"kind": "likelihood"}
        with pytest.raises(DataError, match="'x' of the table is double and cannot be text"):
            fitted(pa.table({"x": G(N)}), kinds={"x": "text"})
        with pytest.raises(DataError, match="holds no word, so it is no text"):
            fitted(pa.table({"t": ["--", "!!"] * 20, "x": G(40)}), kinds={"t": "text"})

    def test_words_and_numbers_vary_alike(self):
        """Neither side drowns the other, however many words there are."""
        _, titles = sentences()
        g = np.random.default_rng(3)
        table = fitted(pa.table({"title": titles, **{f"x{j}": g.normal(size=N) for j in range(5)}}))
        x = table.to_tensors(open_rows(pa.table({"title": titles, **{f"x{j}": g.normal(size=N) for j in range(5)}})))[
            "x"
        ]
        squares = x[:, 5:].square().sum(1)
        np.testing.assert_allclose(squares, 5, rtol=1e-4)

    def test_a_missing_text_costs_nothing(self):
        table = fitted(every_kind())
        rows = every_kind().set_column(5, "title", pa.array([None, ""] * (N // 2), pa.string()))
        batch = table.to_tensors(open_rows(rows))
        place = table.places[table.looks_at.index("title")]
        assert not batch["observed"][:, place].any()
        assert batch["observed"][:, : place.start].all()


def G(n):
    return np.random.default_rng(5).normal(size=n)


class TestMixedRows:
    def test_pictures_and_texts_are_found(self, folder):
        rows = open_rows(folder / "rows.csv")
        table = Table.fit(rows)
        assert kinds(table) == {"light": "numeric", "price": "numeric", "title": "text", "photo": "image"}
        assert [side["of"]["kind"] for side in table.parts()["likelihood"]["sides"]] == [
            "gaussian", "multinomial", "gaussian",
        ]  # fmt: skip
        x = table.to_tensors(rows)["x"]
        assert x[:, table.places[-1]].var(0, correction=0).sum() == pytest.approx(2, rel=0.05)

    def test_one_code_speaks_of_all(self, folder, tmp_path):
        """The text tells the price and the picture the light: each is known from the others, by one code."""
        model = Model.fit(folder / "rows.csv", plan=Plan(epochs=40), latent_dim=4)
        back = model.reconstruct(folder / "rows.csv")
        rows = open_rows(folder / "rows.csv").data
        for name in ("light", "price"):
            assert np.corrcoef(back[name].to_numpy(), rows[name].to_numpy())[0, 1] > 0.9, name
        told = np.array([cell.split()[0] in WORDS["sea"] for cell in back["title"].to_pylist()])
        assert np.mean(told == (rows["price"].to_numpy() < 2)) > 0.95

        # strange are: another picture than the light says, another text than the price says
        odd = rows.slice(0, 60).to_pydict()
        bright = int(np.argmax(odd["light"]))
        odd["photo"][bright] = odd["photo"][int(np.argmin(odd["light"]))]
        found = model_detect(model, Rows("table", pa.table(odd), folder=str(folder)))
        assert found.worst(1) == [bright]
        assert found.reasons(bright)[0].name in ("photo", "light", "the combination of columns")
        assert set(found.by_column) == {"light", "price", "title", "photo"}
        assert set(found.to_table()["top_1"].to_pylist()) <= {"light", "price", "title", "photo"}

        # and all of it travels in the file; what comes back is written so that it can be read again
        model.save(tmp_path / "m.isthmus")
        again = open_model(tmp_path / "m.isthmus", device="cpu")
        np.testing.assert_allclose(again.score(folder / "rows.csv"), model.score(folder / "rows.csv"), rtol=1e-5)
        from isthmus.data.sink import save_rows

        (tmp_path / "out").mkdir()
        written = save_rows(back, tmp_path / "out" / "back.csv")
        assert len(written) == 1 + N
        codes = again.encode(tmp_path / "out" / "back.csv")
        assert codes.shape == (N, 4)
        mean = [
            np.asarray(PIL.open(tmp_path / "out" / c)).mean()
            for c in open_rows(tmp_path / "out" / "back.csv").data["photo"].to_pylist()
        ]
        assert np.corrcoef(mean, rows["light"].to_numpy())[0, 1] > 0.9

    def test_a_cell_without_a_picture_is_missing(self, folder):
        table = Table.fit(open_rows(folder / "rows.csv"))
        rows = open_rows(folder / "rows.csv").data
        rows = rows.set_column(3, "photo", pa.array(["", *rows["photo"].to_pylist()[1:]]))
        batch = table.to_tensors(Rows("table", rows, folder=str(folder)))
        assert not batch["observed"][0, table.places[-1]].any()
        assert batch["observed"][1:].all()

    def test_pictures_that_are_not_there_are_told(self, folder):
        rows = open_rows(folder / "rows.csv")
        table = Table.fit(rows)
        (folder / "photos" / "7.png").unlink()
        (folder / "photos" / "9.png").write_bytes(b"no picture")
        with pytest.raises(
            DataError,
            match=r"'photo' of rows.csv names 1 of 400 pictures that are not there: the first, 'photos/7.png'",
        ):
            table.to_tensors(rows)
        with pytest.raises(DataError, match=r"cannot be read: the first, .*9.png.*not a picture"):
            table.to_tensors(rows.take(np.arange(8, 12)))
        assert "seems to name pictures, and 'photos/7.png' is not there" in " ".join(Table.fit(rows).describe())
        with pytest.raises(DataError, match="cannot be image"):
            Table.fit(rows, kinds={"light": "image"})

    def test_pictures_do_not_come_line_by_line(self, folder):
        with pytest.raises(DataError, match="do not come line by line"):
            Cells(Table.fit(open_rows(folder / "rows.csv")))

    def test_more_than_memory_holds_is_refused(self, folder, monkeypatch):
        rows = open_rows(folder / "rows.csv")
        table = Table.fit(rows)
        monkeypatch.setattr("isthmus.modalities.table._MOST_BYTES", 1000)
        with pytest.raises(DataError, match=r"GiB\. Take fewer rows at once, or leave a column out"):
            table.to_tensors(rows)


def model_detect(model, rows):
    from isthmus.tasks.detection.detect import detect

    return detect(model, rows, budget=1)


def test_a_kind_that_does_not_exist():
    with pytest.raises(SpecError, match="Did you mean 'hashed'"):
        fitted(every_kind(), kinds={"user": "hashd"})


def test_columns_that_are_called_silent_have_nothing_to_tell():
    """Rows that are read in stretches are asked for what is unusual, and these need not be read for it."""
    cells = [pa.array([1.5, None, float("nan"), float("inf"), 1e308]), pa.array([3, None, -(2**62)]),
             pa.array([0, None, 2**40], pa.timestamp("s")), pa.array([0, None, 9000], pa.date32())]  # fmt: skip
    asked = 0
    for name, kind in COLUMNS.items():
        for raw in cells:
            if name in ("numeric", "date"):
                column = kind("x", str(raw.type))
                if column.silent(raw.type):
                    remarks = []
                    column.numbers(raw, "the rows", remarks)
                    assert not remarks
                    asked += 1
        assert name not in ("boolean", "categorical", "hashed") or kind.silent is Column.silent
    assert asked == 4
