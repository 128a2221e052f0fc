"""Documents that are read as they come are those that are read at once."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data import corpus
from isthmus.data.source import open_rows
from isthmus.errors import FileError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.codes import encode
from isthmus.tasks.detection.detect import detect


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(corpus, "_BLOCK", 200)
    monkeypatch.setattr(corpus, "_FILES", 7)
    monkeypatch.setattr("isthmus.data.dataset._JSON_BLOCK", 300)


def lines():
    said = ["\ufeffthe first", "zwei Straßen", "", "猫が好き", "word " * 30, *(f"line {i} of many" for i in range(60))]
    return "\r\n".join(said).encode() + b"\nna\xefve\n" + b"x" * 40 + b"\n\nlast"


def whole(rows):
    assert rows.large
    assert len(rows.data.counts) > 2
    return rows.data.whole()


def test_lines_are_those_read_at_once_and_so_is_what_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.data.documents.LONGEST", 100)
    monkeypatch.setattr(corpus, "LONGEST", 100)
    (tmp_path / "a.txt").write_bytes(lines())
    large, rows = (open_rows(tmp_path / "a.txt", stream=stream) for stream in (True, False))
    assert whole(large) == rows.data
    assert len(large) == len(rows)
    assert sorted(large.remarks) == sorted(rows.remarks)
    assert len(rows.remarks) == 3  # cut, Latin-1, empty
    assert large.data.span(3, 70) == rows.data[3:70]


def test_utf16_is_refused_in_stretches_and_binary_anyhow(tmp_path):
    (tmp_path / "a.txt").write_bytes("zwei\nStraßen".encode("utf-16"))
    with pytest.raises(FileError, match="UTF-16, which cannot be read in stretches"):
        open_rows(tmp_path / "a.txt", stream=True)
    (tmp_path / "a.txt").write_bytes(b"line\n" * 90 + b"\0\0\n")
    with pytest.raises(FileError, match="binary data"):
        open_rows(tmp_path / "a.txt", stream=True)


def test_a_folder_of_files_and_one_that_vanishes(tmp_path):
    for i in range(30):
        (tmp_path / f"{i:02}.txt").write_bytes(f"document {i} é".encode("latin-1" if i % 2 else "utf-8"))
    (tmp_path / "bad.txt").write_bytes(b"\0\1\2")
    large, rows = (open_rows(tmp_path, stream=stream) for stream in (True, False))
    assert whole(large) == rows.data
    assert large.data.names == rows.names
    assert large.skipped == rows.skipped
    assert large.remarks == ("01.txt, 03.txt, 05.txt and 12 more files are not UTF-8, read as Latin-1.",)
    (tmp_path / "11.txt").unlink()
    with pytest.raises(FileError, match=r"'11.txt' was there when the rows were opened.*no longer there"):
        large.data.whole()


def test_lines_of_json_are_the_same_table(tmp_path):
    said = [{"id": i, "title": f"title {i} ü", "n": i / 3 if i > 20 else i} for i in range(50)]
    said[30] = {"id": "thirty", "more": [1, 2]}
    text = "\n".join(json.dumps(one) for one in said[:40]) + "\n\n\n" + "\n".join(map(json.dumps, said[40:]))
    (tmp_path / "a.jsonl").write_text(text)
    large, rows = (open_rows(tmp_path / "a.jsonl", stream=stream) for stream in (True, False))
    assert whole(large).to_pydict() == rows.data.to_pydict()
    (tmp_path / "a.jsonl").write_text(text + "\nno json")
    with pytest.raises(FileError, match=r"Line 53 of 'a.jsonl' is no JSON"):
        open_rows(tmp_path / "a.jsonl", stream=True)


def made(n):
    g = np.random.default_rng(0)
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrt"]
    topic = g.integers(0, 5, n)
    return [" ".join(words[25 * t + k] for k in g.integers(0, 25, 8)) for t in topic]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet", "folder"])
def test_a_text_that_streams_scores_and_encodes_as_in_memory(tmp_path, monkeypatch, kind):
    # smaller than what stands for all: vocabulary and training see more
    monkeypatch.setattr("isthmus.data.large._MOST", 80)
    monkeypatch.setattr("isthmus.data.large._LEAST", 80)
    monkeypatch.setattr("isthmus.data.large._MOST_HELD", 60)
    monkeypatch.setattr("isthmus.fitting._BUFFER", 1 << 13)
    monkeypatch.setattr("isthmus.scorer.chunk_rows", lambda net: 16)
    documents, path, options = made(300), tmp_path / f"a.{kind}", {}
    if kind == "txt":
        path.write_text("\n".join(documents))
    elif kind == "folder":
        path.mkdir()
        for i, document in enumerate(documents):
            (path / f"{i:03}.txt").write_text(document)
    else:
        options = {"text": "title"}
        both = {"title": documents, "other": ["x"] * 300}
        if kind == "parquet":
            pq.write_table(pa.table(both), path, row_group_size=40)
        else:
            path.write_text("\n".join(json.dumps({"title": d, "other": "x"}) for d in documents))
    large, rows = (open_rows(path, kind="text", stream=stream) for stream in (True, False))
    plan = Plan(epochs=2, batch_size=32)
    model = Model.fit(large, modality="text", modality_options=options, latent_dim=4, plan=plan)
    assert model.record.n_train + model.record.n_held_out <= 300
    # a word for each, also of those that only the rest of the rows hold
    assert model.modality.documents == model.record.n_train > 200
    assert model.record.best_epoch > 0
    found, wanted = detect(model, large), detect(model, rows)
    found.save(tmp_path / "found.parquet")
    scores = pq.read_table(tmp_path / "found.parquet")["score"].to_numpy()
    assert np.allclose(scores, wanted.scores, rtol=1e-6, atol=1e-6)
    assert found.summary() == wanted.summary()
    encode(model, large).save(tmp_path / "codes.parquet")
    codes = pq.read_table(tmp_path / "codes.parquet")
    assert np.allclose(codes["code_0"].to_numpy(), model.encode(rows)[:, 0], atol=1e-6)


def test_the_vocabulary_is_that_of_the_same_documents_in_memory(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(made(300)))
    large, rows = (open_rows(tmp_path / "a.txt", kind="text", stream=stream) for stream in (True, False))
    from isthmus.modalities.text import Text

    kept = large.replace(data=corpus_kept(large))
    held = np.setdiff1d(np.arange(300), places(kept))
    assert 10 < len(held) < 60
    assert Text.fit(kept).to_json() == Text.fit(rows.take(places(kept))).to_json()


def corpus_kept(rows):
    from isthmus.data.large import Kept

    return Kept(rows.data, 0.1, 0)


def places(kept):
    from isthmus.data.large import hashed

    return np.flatnonzero(hashed(np.arange(300)) >= kept.data.share)


def test_terms_that_are_counted_have_a_bound(monkeypatch):
    from collections import Counter

    from isthmus.modalities import text

    monkeypatch.setattr(text, "_COUNTED", 2)
    monkeypatch.setattr(text, "_LEAST_COUNTED", 100)
    counted = Counter()
    for i in range(3000):
        counted.update({"common", f"rare {i}", f"twice {i // 2}", f"four times {i // 4}"})
        text._bounded(counted, 20)
        assert len(counted) <= 100
    assert counted["common"] == 3000
