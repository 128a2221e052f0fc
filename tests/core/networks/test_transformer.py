import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.networks.transformer import TransformerDecoder, TransformerEncoder
from isthmus.core.parts import size
from isthmus.core.patches import grid_of, spread
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec

SMALL = {"width": 16, "depth": 2, "heads": 2}
ROWS = [((2, 9, 7), 3), ((2, 20), 4), ((10,), 1), ((3, 5, 4), 2)]


def encoder(shape, patch, **options):
    torch.manual_seed(0)
    return TransformerEncoder(shape, (3,), patch=patch, **SMALL, **options).double().eval()


def patches_hidden(shape, patch, counts):
    """A mask of visible entries in which row i lacks ``counts[i]`` whole patches."""
    n = size(grid_of(shape, patch))
    hidden = torch.stack([torch.randperm(n) < count for count in counts])
    return spread(~hidden, patch, shape), ~hidden


@pytest.mark.parametrize(("shape", "patch"), ROWS)
class TestMasks:
    def test_what_is_hidden_does_not_leak(self, shape, patch):
        """Neither a whole patch nor an entry that is missing inside a visible one."""
        body, x = encoder(shape, patch), torch.randn(5, *shape, dtype=torch.float64)
        visible = torch.rand(5, *shape) < 0.6
        assert torch.equal(body(x, visible), body(torch.where(visible, x, 7.0), visible))

    def test_everything_visible_is_no_mask(self, shape, patch):
        body, x = encoder(shape, patch), torch.randn(5, *shape, dtype=torch.float64)
        torch.testing.assert_close(body(x, torch.ones_like(x, dtype=torch.bool)), body(x))

    def test_hidden_places_hold_the_mask_token_and_only_they(self, shape, patch):
        body, x = encoder(shape, patch), torch.randn(4, *shape, dtype=torch.float64)
        visible, seen = patches_hidden(shape, patch, [1, 2, 0, 3])
        h = body(x, visible).flatten(2).transpose(1, 2)
        is_token = (h == body.hidden).all(-1)
        assert torch.equal(is_token, ~seen)

    def test_a_ragged_batch_is_one_row_at_a_time(self, shape, patch):
        body, x = encoder(shape, patch), torch.randn(5, *shape, dtype=torch.float64)
        n = size(grid_of(shape, patch))
        visible, _ = patches_hidden(shape, patch, [0, 1, n - 1, n, 2])
        together = body(x, visible)
        alone = torch.cat([body(x[i : i + 1], visible[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
        assert together.isfinite().all()

    def test_nothing_visible_has_a_finite_gradient(self, shape, patch):
        body, x = encoder(shape, patch), torch.randn(3, *shape, dtype=torch.float64)
        visible, _ = patches_hidden(shape, patch, [0, size(grid_of(shape, patch)), 1])
        body(x, visible).square().sum().backward()
        assert all(p.grad.isfinite().all() for p in body.parameters())


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75])
def test_the_work_falls_with_what_is_hidden(rate):
    """Tokens that reach the blocks are counted, in training under the corruption that hides patches."""
    spec = Spec(
        encoder=Part("transformer", {**SMALL, "patch": 4}), decoder=Part("mlp"), latent_dim=3,
        corruption=Part("patches", {"rate": rate, "patch": 4}),
    )  # fmt: skip
    net, counted = Net(spec, (1, 32, 32)), []
    for block in net.encoder.stack.blocks:
        block.register_forward_pre_hook(lambda _, given: counted.append((given[0].shape[1], given[1])))
    net.train().trace(torch.randn(6, 1, 32, 32))
    assert counted == [(round(64 * (1 - rate)), None)] * 2  # and no attention mask, as all rows are of one length
    counted.clear()
    net.eval().trace(torch.randn(6, 1, 32, 32))
    assert [n for n, _ in counted] == [64, 64]


def test_columns_with_their_places_may_stand_in_any_order():
    """Permuting a table's columns together with what is theirs gives the same map, permuted."""
    body, x = encoder((7,), 1), torch.randn(4, 7, dtype=torch.float64)
    visible, order = torch.rand(4, 7) < 0.7, torch.randperm(7)
    before = body(x, visible)
    with torch.no_grad():
        for own in (body.embed.weight, body.embed.bias, body.place):
            own.copy_(own[order].clone())
    torch.testing.assert_close(body(x[:, order], visible[:, order]), before[..., order])


def test_a_place_matters():
    body, x = encoder((1, 8, 8), 4), torch.randn(1, 1, 8, 8, dtype=torch.float64)
    moved = x.roll(4, -1)
    assert not torch.allclose(body(moved), body(x).roll(1, -1))


@pytest.mark.parametrize("spatial", [False, True])
def test_codes_are_vectors_or_maps(spatial):
    part = Part("transformer", {**SMALL, "patch": 3})
    spec = Spec(encoder=part, decoder=part, bottleneck=Part("plain", {"spatial": spatial}), latent_dim=2)
    net, x = Net(spec, (2, 9, 7)), torch.randn(4, 2, 9, 7)
    assert net.bottleneck.code_shape == ((2, 3, 3) if spatial else (2,))
    assert net.trace(x, observed=torch.rand(x.shape) < 0.5).p.mean.shape == x.shape


def test_a_decoder_ends_in_the_row_itself():
    assert TransformerDecoder((3,), (2, 9, 7), **SMALL).out_shape == (2, 9, 7)
    net = Net(Spec(encoder=Part("mlp"), decoder=Part("transformer", SMALL), latent_dim=2), (9,))
    assert net.likelihood.head.layer is None


@pytest.mark.parametrize("options", [{"width": 10, "heads": 4}, {"depth": 0}, {"patch": 0}])
def test_options_that_are_none(options):
    with pytest.raises(SpecError, match="cannot be built"):
        Net(Spec(encoder=Part("transformer", options), decoder=Part("mlp"), latent_dim=2), (1, 8, 8))
