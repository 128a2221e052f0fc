"""CSV files that are not what they seem: told, or refused with the reason."""

import numpy as np
import pytest

from isthmus.data.source import open_rows
from isthmus.errors import FileError


def write(path, data):
    path.write_bytes(data)
    return path


def lines(*cells):
    return b"".join(cell + b",1\n" for cell in cells)


def test_two_encodings_in_one_file_are_told_and_both_read(tmp_path):
    data = b"name,n\n" + 20 * lines("Zoë".encode(), "Jürgen".encode("latin-1"), b"Ann")
    rows = open_rows(write(tmp_path / "m.csv", data))
    assert set(rows.data["name"].to_pylist()) == {"Zoë", "Jürgen", "Ann"}
    assert rows.remarks == (
        "m.csv mixes UTF-8 with something else: 20 cell(s) were read as UTF-8, the rest as Latin-1. Look at its "
        "letters.",
    )


def test_a_late_letter_is_as_good_as_an_early_one(tmp_path):
    data = b"name,n\n" + 30_000 * lines(b"abcdefghij") + lines("Jürgen".encode("latin-1"), "Zoë".encode())
    rows = open_rows(write(tmp_path / "m.csv", data))
    assert rows.data["name"].to_pylist()[-2:] == ["Jürgen", "Zoë"]
    assert "mixes" in rows.remarks[0]


def test_latin_1_alone_is_read_as_that(tmp_path):
    data = "größe,n\n".encode("latin-1") + 20 * lines("Köln".encode("latin-1"), b"Bonn")
    rows = open_rows(write(tmp_path / "l.csv", data))
    assert rows.data.column_names == ["größe", "n"]
    assert rows.remarks == ("l.csv is not UTF-8; it was read as Latin-1.",)


def test_utf_16_with_its_mark_is_read_and_without_it_refused(tmp_path):
    text = "name,n\n" + "Zoë,1\n" * 30
    assert open_rows(write(tmp_path / "a.csv", text.encode("utf-16"))).data["name"].to_pylist() == ["Zoë"] * 30
    for encoding in ("utf-16-le", "utf-16-be"):
        with pytest.raises(FileError, match="looks like UTF-16 without the mark"):
            open_rows(write(tmp_path / "b.csv", text.encode(encoding)))


@pytest.mark.parametrize(
    ("begins", "why"),
    [
        (b"", "longer than 1 MiB, so it is no table"),
        (b"a,b\n", "longer than 1 MiB, so it is no table"),
        (b'a,b\n1,"', "a quote in it is never closed"),
    ],
)
def test_an_endless_line_is_refused_before_it_is_read(tmp_path, begins, why):
    with (tmp_path / "one.csv").open("wb") as file:
        file.write(begins)
        for _ in range(100):
            file.write(b"x" * 1_000_000)
    with pytest.raises(FileError, match=why):
        open_rows(tmp_path / "one.csv")


def test_binary_that_poses_as_a_csv(tmp_path):
    g = np.random.default_rng(0)
    without_zeros = g.integers(1, 256, 100_000).astype(np.uint8).tobytes()
    for data in (without_zeros, without_zeros.replace(b"\x01", b"\x00"), b"\x89PNG\r\n" + without_zeros):
        with pytest.raises(FileError, match=r"is not a CSV: it (holds binary data|looks like a PNG)"):
            open_rows(write(tmp_path / "b.csv", data))


def test_a_wide_header_is_no_endless_line(tmp_path):
    names = ",".join(f"column_number_{j:05d}" for j in range(20_000))
    row = ",".join("1.5" for _ in range(20_000))
    rows = open_rows(write(tmp_path / "w.csv", f"{names}\n{row}\n{row}\n".encode()))
    assert rows.data.shape == (2, 20_000)
