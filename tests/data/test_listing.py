"""Folders of any size, and what goes wrong with files while they are read."""

import io
import os
import time

import pytest

from isthmus.data import listing
from isthmus.data.files import READERS
from isthmus.data.listing import listed, watched
from isthmus.data.source import open_rows
from isthmus.errors import FileError


def test_files_are_found_at_any_depth_and_hidden_ones_are_not(tmp_path):
    for name in ("b.txt", "a/c.txt", "a/deep/d.txt", ".hidden", "Thumbs.db", "a/.DS_Store"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("word")
    (tmp_path / "a" / "back").symlink_to(tmp_path)  # a circle
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    (tmp_path / "nowhere.txt").symlink_to(tmp_path / "gone.txt")
    names, closed = listed(tmp_path)
    assert sorted(names) == ["a/c.txt", "a/deep/d.txt", "b.txt", "link.txt"]
    assert [(one.name, one.reason) for one in closed] == [("nowhere.txt", "a link that leads nowhere")]


def test_many_files_are_listed_in_linear_time(tmp_path):
    for i in range(4000):
        (tmp_path / f"{i}.txt").write_bytes(b"a word")
    (tmp_path / "other.bin").write_bytes(b"x")
    began = time.perf_counter()
    rows = open_rows(tmp_path)
    # a look at every file for every file takes half a minute here
    assert time.perf_counter() - began < 5
    assert len(rows) == 4000
    assert [s.name for s in rows.skipped] == ["other.bin"]


def test_whoever_waits_is_told(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(listing.time, "monotonic", lambda: now[0])
    said = io.StringIO()
    for _ in watched(range(2000), "folder: read", "files", 2000, said):
        now[0] += 0.003
    lines = said.getvalue().splitlines()
    assert lines == ["  folder: read 768 of 2,000 files", "  folder: read 1,536 of 2,000 files"]
    said = io.StringIO()
    list(watched(range(2000), "folder: read", "files", 2000, said))
    assert said.getvalue() == "", "what is quick needs no word"


def closed_to_us(monkeypatch, what, only):
    """As if we had no permission: who runs tests may be allowed everything."""
    real = what[1]

    def refuse(path, *rest, **options):
        if only(os.fspath(path)):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path, *rest, **options)

    monkeypatch.setattr(*what[0], refuse)


def test_folders_that_may_not_be_looked_into_are_told(tmp_path, monkeypatch):
    for name in ("a/1.txt", "shut/2.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("some words")
    closed_to_us(monkeypatch, ((listing.os, "scandir"), os.scandir), lambda path: path.rstrip("/").endswith("shut"))
    rows = open_rows(tmp_path)
    assert len(rows) == 1
    assert rows.skipped[0].name == "shut/"
    assert "no permission" in rows.skipped[0].reason
    with pytest.raises(FileError, match=r"'shut/' in .* cannot be used"):
        open_rows(tmp_path, strict=True)
    with pytest.raises(FileError, match=r"shut' cannot be opened: you have no permission"):
        open_rows(tmp_path / "shut")


@pytest.mark.parametrize("ending", [e for e in READERS if e != ".txt"])
def test_files_that_may_not_be_read_or_are_gone(tmp_path, monkeypatch, ending):
    path = tmp_path / f"rows{ending}"
    path.write_bytes(b"a,b\n1,2\n")

    def refuse(self, *rest, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "stat", refuse)
    with pytest.raises(FileError, match="cannot be read: you have no permission"):
        READERS[ending](path)
    monkeypatch.undo()
    path.unlink()
    with pytest.raises(FileError, match="cannot be read: it is no longer there"):
        READERS[ending](path)


def test_documents_that_vanish_are_skipped(tmp_path, monkeypatch):
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text(f"document {i}")
    real = listed

    def then_gone(folder):
        found = real(folder)
        (tmp_path / "3.txt").unlink()
        return found

    monkeypatch.setattr("isthmus.data.source.listed", then_gone)
    rows = open_rows(tmp_path)
    assert rows.names == ("0.txt", "1.txt", "2.txt", "4.txt")
    assert [(s.name, s.reason) for s in rows.skipped] == [("3.txt", "it is no longer there")]
