import io

import pytest

from isthmus.data.lines import LONGEST, Lines, arriving
from isthmus.errors import DataError


class Trickle:
    """A stream that gives what has arrived, a piece at a time."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def read1(self, _):
        return self.pieces.pop(0) if self.pieces else b""

    read = read1


def test_what_arrives_together_comes_together():
    assert list(arriving(Trickle(b"a\nb", b"", b"never"))) == [[b"a"], [b"b"]]
    assert list(arriving(Trickle(b"a\n", b"b\nc\nd", b"e\n"))) == [[b"a"], [b"b", b"c"], [b"de"]]
    assert list(arriving(io.BytesIO(b"a\r\nb"))) == [[b"a\r"], [b"b"]]


def test_a_line_without_end_is_not_kept():
    big = b"9" * (LONGEST + 1)
    found = [line for lines in arriving(Trickle(b"a\n", big, big, b"tail\nb\n")) for line in lines]
    assert (found[0], found[-1]) == (b"a", b"b")
    assert len(found) == 3
    assert len(found[1]) < 100
    with pytest.raises(DataError):
        Lines().read(found[1])


def test_a_header_or_none():
    lines = Lines()
    assert lines.read(b"\xef\xbb\xbfa, b ,\n") is None
    assert lines.names == ["a", "b", "x2"]
    assert lines.read(b" 1 ,?, x y \r\n") == ["1", None, "x y"]
    bare = Lines()
    assert bare.read(b"1.5\t2\n") == ["1.5", "2"]
    assert bare.names == ["x0", "x1"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"1", "1 cells, and 2"),
        (b"1,2,3", "3 cells"),
        (b"\xff,1", "UTF-8"),
        (b"a,b", "header again"),
        (b'"1,2', "quotes"),
    ],
)
def test_garbage_among_csv(line, why):
    lines = Lines()
    lines.read(b"a,b")
    with pytest.raises(DataError, match=why):
        lines.read(line)
    assert lines.read(b"1,2") == ["1", "2"]


@pytest.mark.parametrize("line", [b"{", b"3", b'"x"', b"[" * 100_000, b"null", b"nonsense"])
def test_garbage_among_json(line):
    lines = Lines()
    assert lines.read(b'{"a": 1, "b": null}') == {"a": 1, "b": None}
    with pytest.raises(DataError, match=r"JSON|neither"):
        lines.read(line)
    assert lines.read(b"[1, 2]") == [1, 2]


def test_empty_lines_are_passed_over():
    lines = Lines()
    assert lines.read(b"\n") is None
    assert lines.read(b"a,b\n") is None
    assert lines.read(b"  \r\n") is None
    assert lines.names == ["a", "b"]
