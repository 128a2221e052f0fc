import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from isthmus.app.cli import main
from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.codes import reconstruct, sample
from isthmus.tasks.generation.between import between, blend, shift, traverse
from isthmus.tasks.generation.fidelity import fidelity

G = np.random.default_rng(0)
PLAN = Plan(epochs=20, batch_size=32)


def plane(n=300, d=6):
    """Rows on a plane: a linear model of two numbers brings them back, and what lies between them."""
    return G.normal(size=(n, 2)) @ G.normal(size=(2, d)) + 2


@pytest.fixture(scope="module")
def rows():
    return plane()


@pytest.fixture(scope="module")
def model(rows):
    return Model.fit(rows, "linear", latent_dim=2, plan=PLAN, device="cpu")


@pytest.fixture(scope="module")
def pictures():
    return np.clip(G.normal(120, 30, size=(200, 1, 6)).repeat(8, 1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def of_pictures(pictures):
    return Model.fit(pictures, latent_dim=2, plan=PLAN, device="cpu")


class TestBlend:
    def test_between_rows_on_a_plane_is_the_mean_of_them(self, model, rows):
        found = blend(model, rows[:3], rows[3:6], steps=5).rows.reshape(3, 5, 6)
        back = model.reconstruct(rows[:6])
        np.testing.assert_allclose(found[:, 0], back[:3], atol=1e-4)
        np.testing.assert_allclose(found[:, -1], back[3:], atol=1e-4)
        np.testing.assert_allclose(found[:, 2], (rows[:3] + rows[3:6]) / 2, atol=0.05)

    def test_all_to_one(self, model, rows):
        found = blend(model, rows[:3], rows[5:6], steps=2).rows.reshape(3, 2, 6)
        np.testing.assert_allclose(found[:, 1], np.repeat(found[:1, 1], 3, 0), atol=1e-5)

    def test_an_arc_keeps_its_length(self):
        a, b = torch.randn(5, 8), 3 * torch.randn(5, 8)
        lengths = between(a, b, torch.linspace(0, 1, 5), arc=True).norm(dim=2)
        even = a.norm(dim=1)[:, None].lerp(b.norm(dim=1)[:, None], torch.linspace(0, 1, 5)[None])
        torch.testing.assert_close(lengths, even)
        torch.testing.assert_close(between(a, a, torch.tensor([0.3]), arc=True)[:, 0], a)
        assert between(a, -a, torch.tensor([0.5]), arc=True).isfinite().all()

    def test_the_way_is_an_arc_where_codes_are_on_a_sphere_or_normal(self, rows):
        for parts in ({"bottleneck": "spherical"}, {"prior": "standard_normal"}):
            model = Model.fit(rows, latent_dim=2, plan=Plan(epochs=1), device="cpu", parts=parts)
            assert "arc" in blend(model, rows[:1], rows[1:2]).summary()[0]

    def test_codes_of_few_values_stay_codes(self, rows):
        model = Model.fit(rows, latent_dim=2, plan=Plan(epochs=1), device="cpu", parts={"bottleneck": "binary"})
        found = blend(model, rows[:20], rows[20:40], steps=7).rows
        corners = model.decode(np.array([[a, b] for a in (-1, 1) for b in (-1, 1)], np.float32))
        apart = np.abs(found[:, None] - corners[None]).max(2).min(1)
        assert apart.max() < 1e-4

    def test_a_sheet_has_a_line_a_pair(self, of_pictures, pictures, tmp_path):
        found = blend(of_pictures, pictures[:3], pictures[3:6], steps=4)
        found.save(tmp_path / "blend.png")
        with Image.open(tmp_path / "blend.png") as sheet:
            assert sheet.size == (6 * 4 * 6, 6 * 3 * 8)
        found.save(tmp_path / "blend.svg")
        assert (tmp_path / "blend.svg").read_text().count("<image") == 12
        assert len(found.save(tmp_path / "frames")) == 12

    def test_bad_input(self, model, rows, of_pictures):
        with pytest.raises(SpecError, match="at least 2; got 1"):
            blend(model, rows[:1], rows[1:2], steps=1)
        with pytest.raises(DataError, match=r"has 2 rows and .* 3: a row is blended with the one in the same place"):
            blend(model, rows[:2], rows[:3])
        with pytest.raises(DataError, match="more than 100"):
            blend(model, rows[:150], rows[:1])

    def test_two_things_of_different_kind(self, of_pictures, pictures, rows, model):
        with pytest.raises(DataError, match="Pictures are files or an array"):
            blend(of_pictures, pictures[:1], rows[:1])
        with pytest.raises(DataError, match=r"features, but .* is expecting|has shape|columns|entries"):
            blend(model, rows[:1], pictures[:1])


class TestShift:
    def test_it_adds_what_one_group_has_and_the_other_lacks(self, rows, model):
        up = rows + rows[:1] * 0 + (model.decode([[3.0, 0.0]]) - model.decode([[0.0, 0.0]]))
        found = shift(model, rows[:5], up, away=rows).rows
        np.testing.assert_allclose(found, up[:5], atol=0.1)
        np.testing.assert_allclose(shift(model, found, up, away=rows, strength=-1).rows, rows[:5], atol=0.15)
        np.testing.assert_allclose(shift(model, rows[:5], up, strength=0).rows, model.reconstruct(rows[:5]), atol=1e-5)

    def test_by_default_away_from_themselves(self, rows, model):
        found = shift(model, rows[:50], rows[50:90]).rows
        np.testing.assert_allclose(found.mean(0), rows[50:90].mean(0), atol=0.1)

    def test_bad_strength(self, rows, model):
        with pytest.raises(SpecError, match="strength is a number, got nan"):
            shift(model, rows, rows, strength=float("nan"))


def test_a_model_that_lets_the_whole_row_pass_has_no_codes_to_speak_of(model, rows, monkeypatch):
    monkeypatch.setattr(type(model.net.bottleneck), "narrows", False)
    for task in (lambda: blend(model, rows, rows), lambda: shift(model, rows, rows), lambda: traverse(model, rows),
                 lambda: fidelity(model, rows), lambda: sample(model)):  # fmt: skip
        with pytest.raises(SpecError, match=r"code of this model .*is the whole row"):
            task()


class TestTraverse:
    def test_a_line_of_rows_for_every_number_that_moves(self, rows, model):
        found = traverse(model, rows, steps=3)
        assert set(found.lines) == {"code 0", "code 1"}
        back = model.encode(found.rows).reshape(2, 3, 2)
        for line, codes in zip(found.lines, back, strict=True):
            j = int(line[-1])
            assert codes[0, j] < codes[1, j] < codes[2, j]
            assert np.ptp(codes[:, 1 - j]) < 0.05 * np.ptp(codes[:, j])

    def test_bad_numbers(self, rows, model):
        with pytest.raises(SpecError, match="at least 2 and codes at least 1; got 1"):
            traverse(model, rows, steps=1)


@pytest.fixture(scope="module")
def steered():
    label = G.choice(["low", "high"], 400)
    a = G.normal(size=400)
    frame = pd.DataFrame({"a": a, "b": a + G.normal(size=400) * 0.1, "c": np.where(label == "high", 9.0, 0.0),
                          "label": label}).assign(c=lambda f: f.c + G.normal(size=400))  # fmt: skip
    return Model.fit(frame, "conditional", latent_dim=1, plan=Plan(epochs=40), device="cpu", condition="label"), frame


class TestConditions:
    def test_another_style_same_content(self, steered):
        model, frame = steered
        low = frame[frame.label == "low"][:50]
        found = reconstruct(model, low, condition="high").to_frame()
        assert abs(found.c.mean() - 9) < 1.5
        assert np.corrcoef(found.a, low.a)[0, 1] > 0.9
        with pytest.raises(SpecError, match="Did you mean 'high'"):
            reconstruct(model, low, condition="hihg")

    def test_the_condition_goes_along(self, steered):
        model, frame = steered
        low, high = (frame[frame.label == which][:1] for which in ("low", "high"))
        found = blend(model, low, high, steps=3).to_frame()
        assert found.c[0] < 3 < found.c[1] < 7 < found.c[2]
        assert np.ptp(blend(model, low, high, steps=3, condition="low").to_frame().c) < 3

    def test_a_walk_keeps_the_condition(self, steered):
        model, frame = steered
        found = traverse(model, frame, steps=3).to_frame()
        assert np.ptp(found.c) < 3
        assert np.ptp(found.a) > 2


def test_the_commands(of_pictures, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    of_pictures.save("m.isthmus")
    for name, some in (("a", pictures[:2]), ("b", pictures[2:4]), ("all", pictures)):
        np.save(f"{name}.npy", some)
    assert main(["blend", "m.isthmus", "a.npy", "b.npy", "--steps", "5", "-o", "blend.png"]) == 0
    assert main(["shift", "m.isthmus", "a.npy", "b.npy", "--away", "all.npy", "--strength", "2", "-o", "more"]) == 0
    assert main(["traverse", "m.isthmus", "all.npy", "-o", "walk.svg"]) == 0
    assert "2 × 7 rows from low to high" in capsys.readouterr().out
    assert main(["blend", "m.isthmus", "a.npy", "all.npy"]) == 2
    assert "in the same place" in capsys.readouterr().err
