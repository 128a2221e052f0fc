import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.objectives import Masked
from isthmus.core.self_supervised import BlindSpot, Neighbours
from isthmus.errors import SpecError
from isthmus.recipes import compose
from isthmus.spec import Part


def test_neighbours_touch_and_are_never_the_same_pixel():
    """Pixels that carry their own place say where they came from."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    x = torch.stack([rows, columns])[None].expand(8, -1, -1, -1)
    found = Neighbours()(x, None)
    shown, asked = found.x, found.target
    assert shown.shape == asked.shape == (8, 2, 8, 12)
    assert torch.equal((shown - asked).abs().sum(1), torch.ones(8, 8, 12))  # one step along one axis
    cells = torch.stack([rows[::2, ::2], columns[::2, ::2]])
    for view in (shown, asked):
        assert ((view - cells >= 0) & (view - cells <= 1)).all()  # each in its own 2 × 2 cell
    places = (shown - cells).permute(0, 2, 3, 1).reshape(-1, 2).unique(dim=0)
    assert len(places) == 4


def test_channels_of_a_pixel_stay_together():
    x = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(1, 3, 1, 1)
    found = Neighbours()(x, None)
    assert (found.x == found.x[:, :1]).all()


@pytest.mark.parametrize(("across", "down"), [(0, 0), (2, 0), (0, 1), (1, 2)])
def test_what_is_shown_does_not_depend_on_what_is_asked_for(across, down):
    """J-invariance: other values at the asked pixels, and the network sees the same."""
    corruption = BlindSpot(rate=0.1, across=across, down=down)
    x = torch.rand(4, 2, 32, 32)
    torch.manual_seed(1)
    first = corruption(x, None)
    other = torch.where(first.asked, torch.rand_like(x), x)
    torch.manual_seed(1)
    second = corruption(other, None)
    assert torch.equal(first.asked, second.asked)
    assert first.asked.any()
    assert torch.equal(first.x, second.x)


def test_the_output_at_a_hidden_pixel_does_not_depend_on_it():
    spec = compose(
        "residual",
        suited={"likelihood": {"kind": "gaussian", "per": "all"}},
        said={"corruption": "blind_spot", "objective": "masked"},
        latent_dim=1,
    )
    small = {"widths": [8, 8], "blocks": 1}
    torch.manual_seed(0)
    net = Net(spec.replace(encoder=Part("unet", small), decoder=Part("unet", small)), (1, 32, 32)).train()
    x = torch.rand(2, 1, 32, 32)
    torch.manual_seed(1)
    first = net.trace(x)
    other = torch.where(first.corrupted.asked, torch.rand_like(x), x)
    torch.manual_seed(1)
    second = net.trace(other)
    assert torch.equal(first.p.mean, second.p.mean)


def test_noise_that_is_alike_along_rows_is_covered_along_rows():
    x = torch.rand(1, 1, 32, 32)
    torch.manual_seed(1)
    found = BlindSpot(rate=0.02, across=3)(x, None)
    changed, asked = found.x[0, 0] != x[0, 0], found.asked[0, 0]
    for i, j in asked.nonzero().tolist():
        beside = changed[i, max(0, j - 3) : j + 4]
        assert beside.all()


def test_only_what_is_asked_for_counts():
    spec = compose("residual", suited={"likelihood": {"kind": "gaussian", "sigma": 0.1}}, latent_dim=1,
                   said={"corruption": {"kind": "blind_spot", "rate": 0.05}, "objective": "masked"})  # fmt: skip
    small = {"widths": [4], "blocks": 1}
    net = Net(spec.replace(encoder=Part("unet", small), decoder=Part("unet", small)), (1, 16, 16)).train()
    trace = net.trace(torch.rand(3, 1, 16, 16))
    nats = -trace.p.log_probs(trace.x, None)
    expected = (nats * trace.corrupted.asked).flatten(1).sum(1)
    torch.testing.assert_close(Masked()(trace)["reconstruction"], expected)


def test_shapes_are_checked():
    for corruption in (Neighbours(), BlindSpot()):
        with pytest.raises(SpecError, match="looks at neighbours in pictures"):
            corruption(torch.zeros(3, 8), None)
    for odd in ((1, 1, 7, 8), (1, 1, 7)):
        with pytest.raises(SpecError, match="halves all sides"):
            Neighbours()(torch.zeros(odd), None)


def test_of_two_steps_of_a_signal_one_is_shown_and_the_other_asked_for():
    x = torch.arange(16.0).reshape(1, 1, 16)
    torch.manual_seed(0)
    found = Neighbours()(x, None)
    assert found.x.shape == found.target.shape == (1, 1, 8)
    assert torch.equal(torch.stack([found.x, found.target]).sort(0).values.flatten(1), x.view(8, 2).T)
    assert (found.x != found.target).all()


def test_a_hidden_step_of_a_signal_is_told_by_those_beyond_what_is_alike():
    """What is shown in its place does not depend on it, nor on the steps whose noise is like its own."""
    x = torch.rand(4, 2, 256)
    torch.manual_seed(3)
    found = BlindSpot(rate=0.01, across=2)(x, None)
    torch.manual_seed(3)
    other = x.clone()
    for b, c, t in found.asked.nonzero().tolist():
        other[b, c, max(0, t - 2) : t + 3] = 9.0
    again = BlindSpot(rate=0.01, across=2)(other, None)
    assert torch.equal(again.asked, found.asked)
    assert torch.equal(again.x[found.asked], found.x[found.asked])
    assert (found.x[found.asked] != x[found.asked]).all()
