import numpy as np
import pandas as pd
import pytest

from isthmus.errors import DataError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.generation.fidelity import fidelity

pytestmark = pytest.mark.usefixtures("brief_committee")

G = np.random.default_rng(0)


def table(n):
    a = G.normal(size=n)
    frame = pd.DataFrame({"a": a, "b": a + 0.3 * G.normal(size=n), "c": np.where(a > 0, "x", "y"),
                          "k": G.integers(0, 9, n)})  # fmt: skip
    return frame.assign(b=frame.b.where(G.random(n) < 0.8))


@pytest.fixture(scope="module")
def model():
    return Model.fit(table(800), plan=Plan(epochs=30), latent_dim=3, device="cpu")


def test_real_rows_are_at_the_floor(model):
    found = fidelity(model, table(1500), drawn=table(700))
    for name in ("columns", "pairs", "correlation", "nearest"):
        assert found.figures[name] == pytest.approx(found.floor[name], abs=0.04), name
    assert found.figures["detection"] < 0.56
    assert found.copies == 0
    assert not found.itself


def test_what_is_wrong_is_named(model):
    """Each column by itself as it was, but nothing depends on anything."""
    real = table(1500)
    apart = pd.DataFrame({c: real[c].sample(frac=1, random_state=i).to_numpy() for i, c in enumerate(real)})
    found = fidelity(model, real, drawn=apart)
    assert found.figures["columns"] < 0.06
    assert found.figures["pairs"] > 2 * found.floor["pairs"]
    assert found.figures["correlation"] > 0.2
    assert found.figures["detection"] > 0.7
    moved = fidelity(model, real, drawn=real.assign(a=real.a + 3))
    assert next(iter(sorted(moved.by_column.items(), key=lambda item: -item[1])))[0] == "a"
    assert any(line.startswith("furthest columns: a ") for line in moved.summary())


def test_copies_are_counted(model):
    real = table(300)
    found = fidelity(model, real, drawn=pd.concat([real[:40], table(60)]))
    assert found.copies == 40
    assert any("40 of 100 drawn rows are copies" in line for line in found.summary())


def test_by_default_the_models_own_rows_and_it_says_so(model):
    found = fidelity(model, table(400))
    assert found.itself
    assert "judged by it" in found.summary()[-1]
    assert found.figures["precision"] > 0.7
    assert fidelity(model, table(400).iloc[:400], seed=1).copies == 0


def test_pictures_and_few_rows(model):
    pictures = np.clip(G.normal(120, 30, size=(200, 1, 6)).repeat(8, 1), 0, 255).astype(np.uint8)
    of = Model.fit(pictures, latent_dim=2, plan=Plan(epochs=2), device="cpu")
    found = fidelity(of, pictures, drawn=pictures[:50])
    assert found.copies == 50
    assert "columns" not in found.figures
    with pytest.raises(DataError, match="too few to compare"):
        fidelity(model, table(30))
