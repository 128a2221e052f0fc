"""The pages that are written from the code are those that the code would write."""

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
PAGES = runpy.run_path(str(FOLDER / "make.py"))["PAGES"]


@pytest.mark.parametrize("page", PAGES)
def test_it_is_up_to_date(page):
    assert (FOLDER / page).read_text(encoding="utf-8") == PAGES[page](), "run: python docs/reference/make.py"
