import pytest
import torch

from isthmus.core.detectors import DETECTORS
from isthmus.core.detectors.patches import Patches
from isthmus.core.parts import make
from isthmus.errors import SpecError
from isthmus.spec import Part


def textures(n, shape=(1, 64, 64), seed=0):
    """Smooth light of another strength and direction each, and fine grain."""
    g = torch.Generator().manual_seed(seed)
    slope = torch.rand(n, 1, 1, 1, generator=g) * torch.linspace(0, 0.3, shape[2])
    light = 0.3 + 0.3 * torch.rand(n, 1, 1, 1, generator=g)
    return (light + slope + 0.02 * torch.randn(n, *shape, generator=g)).clamp(0, 1)


def settled(shape=(1, 64, 64), n=60, **options):
    detector = Patches(shape, shape, **options)
    with torch.no_grad():
        detector.settle(None, {"x": textures(n, shape)}, torch.Generator())
    return detector.eval()


@pytest.fixture(scope="module")
def large():
    return settled()


@torch.no_grad()
def test_a_planted_scratch_is_found_at_its_place(large):
    x = textures(40, seed=1)
    usual = large(None, x)
    for i in range(40):
        x[i, 0, 20 + i // 2, 10:22] += 0.15
    found = large(None, x)
    assert (found.score > usual.score.max()).float().mean() > 0.95
    at = found.entries[:, 0].flatten(1).argmax(1)
    row, column = at // 64, at % 64
    assert ((row - 20 - torch.arange(40) // 2).abs() <= 6).float().mean() > 0.95
    assert ((column - 16).abs() <= 12).float().mean() > 0.95
    above = (found.entries[:, 0] >= large.line()).flatten(1)
    assert above.any(1).float().mean() > 0.95
    assert above.float().mean() < 0.1
    # of fresh usual pictures few pixels lie above the line
    assert (usual.entries[:, 0] >= large.line()).float().mean() < 0.002


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 56, 72), (1, 28, 28), (3, 28, 28), (1, 8, 8), (1, 200, 60)])
def test_the_map_and_the_rest_are_the_score_alone_as_in_a_batch_and_after_loading(shape):
    detector, x = settled(shape, 20), textures(9, shape, seed=2)
    found = detector(None, x)
    assert found.entries.shape == x.shape
    assert found.score.isfinite().all()
    total = found.entries.flatten(1).sum(1).double() + found.rest.double()
    torch.testing.assert_close(total, found.score.double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(detector(None, x[4:5]).score, found.score[4:5], rtol=1e-4, atol=1e-4)
    again = Patches(shape, shape).eval()
    again.load_state_dict(detector.state_dict())
    assert torch.equal(again(None, x).score, found.score)


@torch.no_grad()
def test_a_small_picture_of_another_thing_is_strange():
    def bars(n, axis, seed):
        g = torch.Generator().manual_seed(seed)
        x = torch.zeros(n, 1, 28, 28)
        for one, at in zip(x, torch.randint(10, 16, (n,), generator=g).tolist(), strict=True):
            one[0, 5:23, at : at + 3] = 1.0
        x = x if axis else x.mT
        return (x + 0.05 * torch.rand(x.shape, generator=g)).clamp(0, 1)

    detector = Patches((1, 28, 28), (1, 28, 28))
    detector.settle(None, {"x": bars(300, True, 0)}, torch.Generator())
    assert detector(None, bars(50, False, 1)).score.min() > detector(None, bars(50, True, 1)).score.max()


@torch.no_grad()
def test_exposure_is_no_reason(large):
    """Half the light of a picture changes its score less than a scratch of a few pixels does."""
    x = textures(30, seed=3).clamp(0.2)
    dark, scratched = 0.7 * x, x.clone()
    scratched[:, 0, 30, 20:32] = 1.0
    usual = large(None, x).score
    assert (large(None, dark).score - usual).abs().mean() < 0.2 * (large(None, scratched).score - usual).mean()


@pytest.mark.parametrize("options", [{"components": 0}, {"top": 0}, {"components": "many"}])
def test_a_wrong_option_is_told(options):
    with pytest.raises(SpecError):
        make(DETECTORS, "detector", Part("patches", options), (1, 28, 28), (1, 28, 28))


def test_rows_that_are_no_pictures_are_told():
    with pytest.raises(SpecError, match="pictures have"):
        make(DETECTORS, "detector", Part("patches"), (5,), (5,))
