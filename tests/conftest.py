"""What several tests share."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# small nets on many cores: threads that wait for each other take five times as long as none
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data sets: ``$ISTHMUS_SHARED`` or ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("ISTHMUS_SHARED") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs the development data sets; there is no folder {folder} (set ISTHMUS_SHARED)")
    return folder


@pytest.fixture(scope="module")
def brief_committee() -> Iterator[None]:
    """The networks of a table's detector take 50 steps, not 1,500: for files that do not ask how well they judge.

    A file takes it for all its fits: ``pytestmark = pytest.mark.usefixtures("brief_committee")``.
    """
    from isthmus.core.detectors.denoising import Denoising
    from isthmus.core.detectors.masked import Masked

    with pytest.MonkeyPatch.context() as patch:
        for kind in (Masked, Denoising):
            patch.setitem(kind.__init__.__kwdefaults__, "steps", 50)
        yield


def damage(data: bytes, chance: random.Random) -> bytes:
    """Some bytes, broken in one of five ways: bits flipped, cut off, places swapped, a piece missing, one too many."""
    broken, at = bytearray(data), chance.randrange(len(data))
    match chance.randrange(5):
        case 0:
            for _ in range(chance.randint(1, 8)):
                broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 1:
            del broken[at:]
        case 2:
            size, other = chance.randint(1, 64), chance.randrange(len(data))
            broken[at : at + size], broken[other : other + size] = data[other : other + size], data[at : at + size]
        case 3:
            del broken[at : at + chance.randint(1, 64)]
        case 4:
            broken[at:at] = chance.randbytes(chance.randint(1, 64))
    return bytes(broken)


@pytest.fixture
def damaged() -> Callable[[bytes, random.Random], bytes]:
    return damage
