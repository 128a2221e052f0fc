import pytest
import torch

from isthmus.core.networks.temporal import TemporalDecoder, TemporalEncoder, reach

STEPS = 60


def encoder(**options):
    torch.manual_seed(0)
    return TemporalEncoder((2, STEPS), (3,), width=4, **options).double()


@pytest.mark.parametrize(("kernel", "depth"), [(3, 1), (3, 3), (5, 2), (7, 1)])
def test_a_step_depends_on_its_reach_and_on_no_more(kernel, depth):
    body = encoder(kernel=kernel, depth=depth)
    x = torch.randn(1, 2, STEPS, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(body(x)[0, :, 30].sum(), x)
    touched = gradient[0].abs().sum(0).nonzero().flatten()
    half = reach(kernel, depth) // 2
    assert (touched.min(), touched.max()) == (30 - half, 30 + half)


@pytest.mark.parametrize("kernel", [3, 5])
def test_by_itself_it_is_deep_enough_for_the_first_step_to_see_the_last(kernel):
    body = encoder(kernel=kernel)
    x = torch.randn(1, 2, STEPS, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(body(x)[0, :, 0].sum(), x)
    assert gradient[0, :, -1].abs().sum() > 0
    assert reach(kernel, body.depth - 1) < 2 * STEPS - 1 <= reach(kernel, body.depth)


def test_a_ragged_batch_is_one_row_at_a_time_and_ends_where_it_ends():
    """Each row gives what a body for rows of just its length, with the same weights, gives."""
    body, lengths = encoder(depth=3), [60, 17, 1, 40]
    x = torch.randn(4, 2, STEPS, dtype=torch.float64)
    visible = (torch.arange(STEPS) < torch.tensor(lengths)[:, None])[:, None].expand_as(x)
    h = body(x, visible)
    for i, length in enumerate(lengths):
        alone = body(x[i : i + 1, :, :length])
        torch.testing.assert_close(h[i, :, :length], alone[0], rtol=0, atol=1e-14)
        assert (h[i, :, length:] == 0).all()


def test_what_is_not_visible_does_not_leak_and_a_gap_is_filled():
    body, x = encoder(), torch.randn(3, 2, STEPS, dtype=torch.float64)
    visible = torch.rand(x.shape) < 0.5
    visible[0] = False
    visible[1, :, 20:25] = False
    h = body(x, visible)
    assert torch.equal(h, body(torch.where(visible, x, 9.0), visible))
    assert (h[0] == 0).all()
    assert (h[1, :, 20:25] != 0).any()
    torch.testing.assert_close(body(x, torch.ones_like(visible)), body(x))


@pytest.mark.parametrize("options", [{"kernel": 4}, {"kernel": 1}, {"depth": 0}, {"width": 0}])
def test_options_that_are_none(options):
    with pytest.raises(ValueError, match="at least 1"):
        TemporalDecoder((3,), (2, STEPS), **options)
