import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from isthmus.data.source import open_rows
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.checkup.health import look
from isthmus.tasks.checkup.traversal import _shift, moved, traverse_picture

pytestmark = pytest.mark.usefixtures("brief_committee")

PLAN = Plan(epochs=0, seed=0)


def drawn(rows, **options):
    model = Model.fit(rows, plan=PLAN, device="cpu", **options)
    rows, vitals = look(model, open_rows(rows))
    return model, rows, vitals, traverse_picture(model, rows, vitals)


def test_one_code_moves_between_its_ends_and_the_others_stay():
    z = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    path = moved(z, 1, 5)
    assert path.shape == (5, 3)
    assert (path[:, [0, 2]] == path[0, [0, 2]]).all()
    assert path[[0, -1], 1].tolist() == pytest.approx(z[:, 1].quantile(torch.tensor([0.02, 0.98])).tolist())
    assert moved(z[..., None].expand(500, 3, 4), 1, 2).shape == (2, 3, 4)


def test_columns_move_by_the_loading_of_the_code():
    """At PCA a column moves by its loading times the way of the code."""
    g = np.random.default_rng(0)
    x = g.normal(size=(400, 2)) @ g.normal(size=(2, 5)) + 0.01 * g.normal(size=(400, 5))
    model, rows, _, _ = drawn(x, latent_dim=2, recipe="linear")
    z = torch.from_numpy(model.encode(rows))
    ends = moved(z, 0, 2)
    back = model.reconstruct(x).astype(float)
    slope = np.linalg.lstsq(np.column_stack([z.numpy(), np.ones(400)]), back, rcond=None)[0][0]
    expected = slope * float(ends[1, 0] - ends[0, 0]) / x.std(0)
    assert _shift(model, rows, ends, ()) == pytest.approx(expected, rel=1e-2, abs=1e-2)


def test_tables_name_the_columns_and_categories_move_by_their_probability():
    g = np.random.default_rng(0)
    a = g.normal(size=400)
    table = pd.DataFrame({"<a>": a, "b": -a, "kind": np.where(a > 0, "x", "y"), "three": g.choice(list("uvw"), 400)})
    model, rows, _, picture = drawn(table, latent_dim=1)
    assert "code 0: " in picture.svg
    assert "&lt;a&gt;" in picture.svg
    shift = _shift(model, rows, moved(torch.from_numpy(model.encode(rows)), 0, 2), ())
    assert len(shift) == 4
    assert np.sign(shift[0]) == -np.sign(shift[1])
    assert abs(shift[0]) == pytest.approx(abs(shift[1]), rel=0.05)
    assert 0.5 < abs(shift[2]) <= 1 + 1e-6 or abs(shift[2]) > 1  # a boolean counts in deviations
    assert 0 <= shift[3] <= 1


def test_images_have_a_line_per_code():
    images = load_digits().images[:300].astype(np.uint8)
    _, _, vitals, picture = drawn(images, latent_dim=3)
    assert picture.svg.count("<image") == 3 * 7
    best = vitals.codes.ranked()[0]
    assert f"code {best} (" in picture.svg
