"""The menu of codecs: who packs, who reads, and what is said where none does."""

import inspect

import pytest

from isthmus.data.container import pack
from isthmus.errors import FileError
from isthmus.tasks.compression.compress import CODECS, Inspected, compress


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)
def test_options_of_a_codec_can_be_said(codec):
    options = {p.name for p in inspect.signature(codec.pack).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert options <= inspect.signature(compress).parameters.keys()


def test_a_codec_that_is_lacking_is_named():
    header = {"codec": "smoke", "model": "ab", "rows": 0, "cells_per_row": 1, "raw_bytes": 0}
    with pytest.raises(FileError, match="the codec 'smoke', which this isthmus lacks"):
        Inspected.of(pack(header, []))
