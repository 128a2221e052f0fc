"""What several tests share."""

from __future__ import annotations

import os
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
