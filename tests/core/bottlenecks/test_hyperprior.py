import pytest
import torch

from isthmus.core.bottlenecks.hyperprior import COUNTED, HEIGHTS, Hyperprior, _nats, chessboard


def made(colours=1, size=(4, 6), **options):
    torch.manual_seed(0)
    return Hyperprior((64 * colours + 1, *size), 1, **{"width": 8, "hyper": 4, "told": 4, **options})


def rows(n=3, colours=1, size=(4, 6)):
    generator = torch.Generator().manual_seed(1)
    y = 3 * torch.randn(n, 64 * colours, *size, generator=generator)
    q = torch.rand(n, 1, 1, 1, generator=generator).expand(n, 1, *size)
    return torch.cat([y, q], dim=1)


def test_the_mass_of_a_symbol_is_that_of_its_interval():
    symbols = torch.arange(-40, 41).double()
    for log_scale in (-2.0, 0.0, 1.5):
        mass = (-_nats(symbols, torch.full_like(symbols, log_scale))).exp()
        assert float(mass.sum()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("colours", [1, 3])
def test_codes_are_near_and_whole_steps_apart_from_means(colours):
    part, h = made(colours).eval(), rows(colours=colours)
    code = part(h)
    assert (code.z - h).abs().max() <= 0.5 + 1e-4
    assert torch.equal(code.z[:, -1], h[:, -1])
    assert (code.rate > 0).all()


def test_what_is_coded_later_tells_nothing_of_what_came_before():
    """A mean may depend on coefficients that a reader already has, and on no others: else no file could be read."""
    part, h = made().eval(), rows(1)
    # the hyper-code is written first, so it may know everything: take it away
    part.hyper_code = lambda y: torch.zeros(1, 4, 1, 2)
    light, z = chessboard(h).bool()[0, 0], part(h).z

    def changed(channels, where=slice(None)):
        other = h.clone()
        other[0, channels][:, where] += 2.25
        return (part(other).z != z)[0]

    for first, last in ((0, 1), (1, 6), (6, 21)):
        here = slice(first, last)
        seen = changed(here, light)
        assert not seen[:first].any()
        assert not seen[here][:, ~light].any()
        assert seen[last:64].any()  # what follows does know
        seen = changed(here, ~light)
        assert not seen[:first].any()
        assert seen[here][:, light].any()
    seen = changed(slice(21, 64), ~light)
    assert not seen[:21].any()
    assert not seen[21:64][:, light].any()  # all of them at once


def test_heights_are_counted_by_steps_that_were_taken_and_by_no_others():
    part, h = made().train(), rows()
    part(h)
    assert part.counts.sum() == 0
    part.project()
    first = part.counts.clone()
    assert first.shape == (COUNTED, HEIGHTS)
    assert first.sum() > 0
    part.project()
    assert torch.equal(part.counts, first)
    part.eval()(h)
    part.project()
    assert torch.equal(part.counts, first)


def test_it_begins_with_deviations_as_coefficients_have_them():
    """Steps are finer by quality, so deviations in steps are larger; and wider frequencies begin wider."""
    from types import SimpleNamespace

    part, h = made(), rows(8)
    h[:, 40:64] *= 0.01
    part.start_from(SimpleNamespace(h=h))
    last = part.stages[-1].log_scale
    assert (last[1:] > last[:-1]).all()
    assert (last[:, :15].mean(1) > last[:, 25:].mean(1) + 2).all()


def test_it_takes_maps_of_coefficients_alone():
    with pytest.raises(ValueError, match="64 coefficients"):
        Hyperprior((8,), 3)
