import numpy as np
import pytest
import torch

from isthmus import Autoencoder
from isthmus.core.networks.recurrent import RecurrentDecoder, RecurrentEncoder, clock

CHOICES = [
    {"cell": cell, "depth": depth, "bidirectional": both}
    for cell in ("lstm", "gru")
    for depth, both in ((1, False), (1, True), (2, True))
]
STEPS = 11


def encoder(**options):
    torch.manual_seed(0)
    return RecurrentEncoder((2, STEPS), (3,), width=5, **options).double()


def ragged(lengths):
    x = torch.randn(len(lengths), 2, STEPS, dtype=torch.float64)
    return x, (torch.arange(STEPS) < torch.tensor(lengths)[:, None])[:, None].expand_as(x)


def by_hand(body, x, steps):
    """The state after these steps of one row (channels, time), taken one at a time."""
    found = []
    for loop, order in zip(body.loops, (steps, steps[::-1]), strict=False):
        state = None
        for t in order:
            told = torch.cat([x[:, t], torch.ones(2), torch.tensor([t / STEPS])]).double()
            out, state = loop(told[None, None], state)
        found.append(out[0, 0])
    return torch.cat(found)


@pytest.mark.parametrize("options", CHOICES, ids=str)
class TestMasks:
    def test_a_ragged_batch_is_one_row_at_a_time(self, options):
        body, lengths = encoder(**options), [11, 4, 1, 7, 7]
        x, visible = ragged(lengths)
        together = body(x, visible)
        for i, length in enumerate(lengths):
            torch.testing.assert_close(together[i], by_hand(body, x[i], list(range(length))), rtol=0, atol=1e-14)
            torch.testing.assert_close(together[i], body(x[i : i + 1], visible[i : i + 1])[0], rtol=0, atol=1e-14)

    def test_a_gap_leaves_the_state_as_it_is(self, options):
        body = encoder(**options)
        x, visible = ragged([11, 11])
        visible = visible.clone()
        visible[0, :, [0, 3, 4, 9]] = False
        torch.testing.assert_close(body(x, visible)[0], by_hand(body, x[0], [1, 2, 5, 6, 7, 8, 10]), rtol=0, atol=1e-14)

    def test_what_is_not_visible_does_not_leak(self, options):
        body, x = encoder(**options), torch.randn(6, 2, STEPS, dtype=torch.float64)
        visible = torch.rand(x.shape) < 0.5
        assert torch.equal(body(x, visible), body(torch.where(visible, x, 9.0), visible))

    def test_nothing_visible_is_the_state_that_all_begin_in(self, options):
        body = encoder(**options)
        x, visible = ragged([0, 5])
        h = body(x, visible)
        assert (h[0] == 0).all()
        h.sum().backward()
        assert all(p.grad.isfinite().all() for p in body.parameters())

    def test_everything_visible_is_no_mask(self, options):
        body, (x, visible) = encoder(**options), ragged([11] * 3)
        torch.testing.assert_close(body(x, visible), body(x), rtol=0, atol=1e-14)


def test_missing_channels_of_a_step_are_told():
    body, (x, visible) = encoder(), ragged([11])
    some = visible.clone()
    some[0, 1, 4] = False
    assert not torch.allclose(body(torch.where(some, x, 0.0), some), body(torch.where(some, x, 0.0), visible))


def test_the_decoder_is_shown_the_code_at_every_step():
    """One direction: what it writes at t does not depend on how much follows, and the code reaches every step."""
    torch.manual_seed(0)
    body = RecurrentDecoder((3,), (2, STEPS), width=6, bidirectional=False).double()
    z = torch.randn(2, 3, dtype=torch.float64)
    written = body(z)
    assert written.shape == (2, 6, STEPS)
    said, hour = body.entry(z), body.clock[:4].expand(2, -1, -1)
    first, _ = body.loop(torch.cat([said[:, None].expand(-1, 4, -1), hour], dim=-1))
    torch.testing.assert_close(written[..., :4], first.transpose(1, 2))


def test_no_two_steps_have_the_same_clock():
    hands = clock(500)
    assert torch.cdist(hands, hands).fill_diagonal_(9).min() > 1e-3


@pytest.mark.parametrize("shape", [(6,), (1, 5, 5)])
def test_other_rows_are_told_what_to_do(shape):
    with pytest.raises(ValueError, match="modality='series'"):
        RecurrentEncoder(shape, (3,))
    with pytest.raises(ValueError, match="modality='series'"):
        RecurrentDecoder((3,), shape)


def sines(n, seed):
    """Windows of 20 to 50 steps of a sine of any phase, and of a period and size that vary."""
    g, t = np.random.default_rng(seed), np.arange(50)
    return [
        (np.sin(2 * np.pi * (t[: g.integers(20, 51)] / g.uniform(15, 30) + g.uniform())) * g.uniform(0.5, 2))
        for _ in range(n)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("warm_start", ["pca", None])
def test_it_beats_pca_on_held_out_sines_of_unequal_length(warm_start):
    """Three numbers make a row: phase, period and size. PCA needs more, as none of them acts linearly."""
    ae = Autoencoder("recurrent", latent_dim=3, epochs=40, warm_start=warm_start, random_state=0)
    ae.fit(sines(600, 0))
    errors = ae.model_.compare(sines(200, 1))
    assert errors["autoencoder"] < 0.5 * errors["pca"]
