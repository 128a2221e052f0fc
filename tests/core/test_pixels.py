import torch

from isthmus.core.pixels import PixelLevels, Pixels


def mixtures(levels, *, n=4, components=3, dtype=torch.float64):
    g = torch.Generator().manual_seed(2)
    shape = (n, components, 5)
    logits, mu = torch.randn(shape, generator=g, dtype=dtype), torch.rand(shape, generator=g, dtype=dtype) * 1.6 - 0.3
    return Pixels(logits, mu, torch.rand(shape, generator=g, dtype=dtype) * 5 - 5, levels)


def test_the_levels_share_all_the_mass():
    for levels in (2, 16, 256):
        p = mixtures(levels)
        total = sum(p.log_probs(torch.full((4, 5), k / (levels - 1), dtype=torch.float64)).exp() for k in range(levels))
        torch.testing.assert_close(total, torch.ones(4, 5, dtype=torch.float64))


def test_the_expectation_is_that_of_many_draws():
    p = mixtures(256, n=20_000)
    p = Pixels(*(t[:1].expand(20_000, -1, -1) for t in (p.logits, p.mu, p.log_scale)), 256)
    drawn = p.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), p.expected[0], rtol=0, atol=0.012)


def test_far_away_and_narrow_still_has_a_finite_price_and_gradient():
    mu = torch.zeros(1, 1, 1, requires_grad=True)
    p = Pixels(torch.zeros(1, 1, 1), mu, torch.full((1, 1, 1), -7.5), 256)
    nats = p.log_probs(torch.tensor([[0.8]]))
    nats.sum().backward()
    assert nats.isfinite().all()
    assert mu.grad.isfinite().all()
    assert mu.grad != 0


def test_maps_of_pixels_begin_at_a_linear_path_too():
    likelihood = PixelLevels((3, 4, 4), (1, 4, 4))
    assert likelihood(torch.randn(2, 3, 4, 4)).mean.shape == (2, 1, 4, 4)
