import pytest
import torch

from isthmus.core.networks.atlas import Atlas, geometric_median
from isthmus.core.pca import fit_pca


def rows(n=300, width=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.eye(width)[torch.arange(n) % 3] * 6 + torch.randn(n, width, generator=g)


def settled(x, **options):
    atlas = Atlas((x.shape[1],), (2,), **options)
    pca = fit_pca(lambda: [x], 8)
    answers = atlas.remember(pca, lambda: [(part, None) for part in x.split(100)], torch.Generator().manual_seed(0))
    return atlas, answers


def test_what_is_remembered_goes_to_its_own_place():
    x = rows()
    atlas, answers = settled(x)
    assert torch.equal(atlas(x), answers)
    some = torch.randperm(300, generator=torch.Generator().manual_seed(1))[:7]
    assert torch.equal(atlas(x[some]), answers[some])


def test_a_new_row_goes_among_those_that_are_like_it():
    x, new = rows(), rows(30, seed=5)
    atlas, places = settled(x)
    near = torch.cdist(atlas(new), places).topk(5, largest=False).indices
    assert (near % 3 == (torch.arange(30) % 3)[:, None]).float().mean() > 0.98


def test_equal_rows_have_one_place_and_are_remembered_once():
    x = rows()
    x[40:60] = x[3]
    atlas, answers = settled(x)
    assert len(atlas.rows) == 280
    assert (atlas(x[40:60]) == atlas(x[3:4])).all()
    assert torch.equal(answers, atlas(x))


def test_of_more_rows_than_it_remembers_all_have_places():
    x = rows()
    atlas, answers = settled(x, most=120)
    assert len(atlas.rows) == 120
    assert answers.shape == (300, 2)
    assert torch.equal(atlas(x), answers)


def test_what_is_not_there_is_as_it_is_on_average():
    x = rows()
    atlas, _ = settled(x)
    visible = torch.rand(300, 12, generator=torch.Generator().manual_seed(2)) < 0.7
    filled = torch.where(visible, x, x.mean(0))
    torch.testing.assert_close(atlas(x, visible), atlas(filled))


def test_it_is_in_the_file_with_as_many_rows_as_it_has():
    atlas, _ = settled(rows())
    again = Atlas((12,), (2,))
    again.load_state_dict(atlas.state_dict())
    assert torch.equal(again(rows(20, seed=9)), atlas(rows(20, seed=9)))


@pytest.mark.parametrize(("name", "shape"), [("places", (10, 2)), ("rows", (300, 3)), ("directions", (8, 5))])
def test_a_file_whose_sizes_do_not_fit_is_refused(name, shape):
    atlas, _ = settled(rows())
    state = {**atlas.state_dict(), name: torch.zeros(shape)}
    with pytest.raises(RuntimeError, match="an atlas with"):
        Atlas((12,), (2,)).load_state_dict(state)


def test_nothing_of_it_is_trained():
    assert not list(Atlas((12,), (2,)).parameters())


def test_the_median_is_where_distances_are_least():
    points = torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(0))
    middle = geometric_median(points)

    def far(z):
        return (points - z[:, None]).norm(dim=2).sum(1)

    for step in 0.05 * torch.randn(20, 2, generator=torch.Generator().manual_seed(1)):
        assert (far(middle) <= far(middle + step) + 1e-3).all()


def test_one_row_far_away_moves_it_hardly():
    points = torch.tensor([[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1e4, 1e4]]])
    assert geometric_median(points).norm() < 2


@pytest.mark.parametrize("options", [{"k": 0}, {"near": 1.5}, {"most": 1}, {"attraction": 0.0}, {"steps": 0}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=r"at least|above"):
        Atlas((12,), (2,), **options)
