"""Every version of the model file that ever landed opens, and scores the same, for ever."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from isthmus import open_model
from isthmus.modelfile import FORMAT_VERSION

HERE = Path(__file__).parent


def golden_rows():
    spec = spec_from_file_location("make_golden", HERE / "make.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.rows()


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_opens_and_scores_the_same(version):
    model = open_model(HERE / f"v{version}.isthmus", device="cpu")
    expected = json.loads((HERE / f"v{version}.json").read_text())["scores"]
    np.testing.assert_allclose(model.score(golden_rows())[:10], expected, rtol=1e-4)
