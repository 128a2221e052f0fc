"""Write the golden file of today's format: ``python tests/golden/make.py``. Existing ones are never rewritten."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from isthmus.model import Model
from isthmus.modelfile import FORMAT_VERSION
from isthmus.spec import Plan


def rows() -> pa.Table:
    """A small table of every kind of column, with missing cells."""
    rng = np.random.default_rng(0)
    n = 120
    size = rng.normal(size=n)
    return pa.table(
        {
            "size": pa.array(size, mask=rng.random(n) < 0.1),
            "weight": 3 * size + rng.normal(size=n) / 5,
            "bytes": rng.lognormal(5, 3, n).round().astype(np.int64),
            "open": size > 0,
            "colour": pa.array(rng.choice(["red", "green", "blue"], n)),
            "when": pa.array((1.7e9 + 1e5 * rng.random(n)).astype("datetime64[s]")),
        }
    )


if __name__ == "__main__":
    here = Path(__file__).parent
    path = here / f"v{FORMAT_VERSION}.isthmus"
    assert not path.exists(), f"{path} stands for ever"
    model = Model.fit(rows(), latent_dim=2, parts={"encoder": {"widths": [8]}, "decoder": {"widths": [8]}},
                      plan=Plan(epochs=3))  # fmt: skip
    model.save(path)
    path.with_suffix(".json").write_text(json.dumps({"scores": model.score(rows())[:10].tolist()}) + "\n")
