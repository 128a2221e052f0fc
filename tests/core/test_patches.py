import pytest
import torch

from isthmus.core.parts import size
from isthmus.core.patches import from_patches, grid_of, hide_some, patch_side, spread, to_patches

SHAPES = [(1, 28, 28), (3, 31, 17), (2, 1, 5), (2, 140), (3, 7), (12,), (1,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patch", [1, 3, 4, "auto"])
def test_any_size_is_cut_and_put_together_again(shape, patch):
    patch, x = patch_side(patch, shape), torch.randn(4, *shape)
    patches = to_patches(x, patch)
    assert patches.shape[1] == size(grid_of(shape, patch))
    assert torch.equal(from_patches(patches, patch, shape), x)


def test_a_patch_is_a_square_of_the_image_with_all_its_channels():
    x = torch.arange(2 * 5 * 6.0).reshape(1, 2, 5, 6)
    patches = to_patches(x, 2)
    assert patches.shape == (1, 3 * 3, 2 * 2 * 2)
    assert torch.equal(patches[0, 4], x[0, :, 2:4, 2:4].flatten())
    assert torch.equal(patches[0, 7], torch.nn.functional.pad(x, (0, 0, 0, 1))[0, :, 4:6, 2:4].flatten())


def test_a_mask_of_patches_covers_their_entries():
    mask = torch.zeros(1, 9, dtype=torch.bool)
    mask[0, 4] = True
    entries = spread(mask, 2, (2, 5, 6))
    assert entries.sum() == 8
    assert entries[0, :, 2:4, 2:4].all()


@pytest.mark.parametrize(("rate", "hidden"), [(0.75, 6), (0.01, 1), (0.999, 7)])
def test_every_row_loses_equally_many_and_every_place_equally_often(rate, hidden):
    torch.manual_seed(0)
    drawn = hide_some(4000, 8, rate, torch.device("cpu"))
    assert (drawn.sum(1) == hidden).all()
    assert drawn.float().mean(0).tolist() == pytest.approx([hidden / 8] * 8, abs=0.04)


@pytest.mark.parametrize("said", [0, -1, 2.5, True, "large"])
def test_sides_that_are_none(said):
    with pytest.raises(ValueError, match="patch is a whole number"):
        patch_side(said, (1, 8, 8))
