"""What the first bytes of a file say of it."""

from __future__ import annotations

#: How files begin that are no text.
MAGIC = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x93NUMPY": "a NumPy file",
    b"PK\x03\x04": "a zip archive, as .xlsx and .npz files are",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
}

#: Bytes that stand in no text: neither spaces nor the escapes of terminals.
_CONTROLS = bytes(sorted({*range(32), 127} - {8, 9, 10, 11, 12, 13, 27}))


def binary_reason(head: bytes) -> str | None:
    """Why the beginning of a file is not that of a text; None where it may be one."""
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            return f"looks like {what}"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    if is_wide(head):
        return "looks like UTF-16 without the mark that says so at its beginning"
    # a stray control letter happens; a text that has one in a hundred bytes is none
    stray = len(head) - len(head.translate(None, _CONTROLS))
    return "holds binary data" if b"\x00" in head or stray > len(head) / 100 else None


def is_wide(head: bytes) -> bool:
    """Whether every other byte is zero, as in UTF-16 of letters that most of the west uses."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    return len(head) >= 8 and max(even, odd) > len(head) / 4 and min(even, odd) <= len(head) / 100
