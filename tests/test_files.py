"""Files are replaced whole or not at all, and what goes wrong is said in words."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.errors import FileError
from isthmus.files import open_file, write_atomic

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX file system")
not_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may do everything")


def put(data):
    return lambda file: file.write(data)


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old.txt"
    path.write_bytes(b"old")
    return path


def test_replaces_the_content_and_leaves_nothing_else(old):
    write_atomic(old, put(b"new"))
    assert old.read_bytes() == b"new"
    assert os.listdir(old.parent) == ["old.txt"]


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_failing_writer_leaves_the_old_file(old, error):
    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomic(old, fail)
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == ["old.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "only be read"), (errno.EIO, "Input/output error")],
)
def test_a_failing_disk_leaves_the_old_file(old, monkeypatch, call, code, words):
    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(FileError, match=words):
        write_atomic(old, put(b"new"))
    monkeypatch.undo()
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == ["old.txt"]


def test_an_error_about_another_file_is_not_blamed_on_the_target(old):
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        write_atomic(old, lambda file: file.write(Path("/no/elsewhere").read_bytes()))


@posix
def test_a_file_larger_than_allowed_leaves_the_old_file(old):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from isthmus.files import write_atomic\n"
        "write_atomic(sys.argv[1], lambda f: f.write(b'x' * 100_000))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(old)], capture_output=True, text=True)
    assert "FileError: Cannot write" in done.stderr
    assert "larger than this system allows" in done.stderr
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == ["old.txt"]


@posix
def test_permissions_are_the_usual_ones_or_those_of_the_old_file(old):
    before = os.umask(0o027)
    try:
        write_atomic(old.parent / "new.txt", put(b""))
    finally:
        os.umask(before)
    assert stat.S_IMODE((old.parent / "new.txt").stat().st_mode) == 0o640
    old.chmod(0o604)
    write_atomic(old, put(b"new"))
    assert stat.S_IMODE(old.stat().st_mode) == 0o604


@posix
def test_a_link_is_followed(old):
    link = old.parent / "link"
    link.symlink_to(old)
    write_atomic(link, put(b"new"))
    assert link.is_symlink()
    assert old.read_bytes() == b"new"


@posix
def test_what_is_not_a_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in [
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "a pipe"),
        ("/dev/null", "a device"),
        (tmp_path / "a" / "b", "folder .*a does not exist"),
        (tmp_path / ("x" * 300), "name is too long"),
        (tmp_path / "nul\0", "null byte"),
    ]:
        with pytest.raises(FileError, match=words):
            write_atomic(path, put(b""))
        with pytest.raises(FileError):
            open_file(path)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_file_where_a_folder_should_be(old):
    with pytest.raises(FileError, match=r"old\.txt is a file, not a folder"):
        write_atomic(old / "deep" / "new", put(b""))
    with pytest.raises(FileError, match=r"old\.txt is a file, not a folder"):
        open_file(old / "new")


@posix
def test_a_write_protected_file_stays(old):
    old.chmod(0o444)
    with pytest.raises(FileError, match="write-protected"):
        write_atomic(old, put(b"new"))
    assert old.read_bytes() == b"old"


@not_root
def test_no_permission(old):
    old.parent.chmod(0o500)
    try:
        with pytest.raises(FileError, match="no permission"):
            write_atomic(old, put(b"new"))
    finally:
        old.parent.chmod(0o700)
    old.chmod(0o000)
    with pytest.raises(FileError, match="no permission"):
        open_file(old)


def test_a_missing_file_is_guessed(old):
    with pytest.raises(FileError, match=r"Did you mean .*old\.txt\?"):
        open_file(old.parent / "odl.txt")
    with pytest.raises(FileError, match=r"There is no file .*\.$"):
        open_file(old.parent / "something else")


@posix
def test_links_to_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    for name in ("loop", "dangling"):
        with pytest.raises(FileError):
            open_file(tmp_path / name)
