import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.spec import Part, Spec

SPARSE = ["batch_topk", "jumprelu", "relu", "sigmoid", "topk"]


def net_of(bottleneck, latent_dim=12, encoder="linear", **changes):
    torch.manual_seed(0)
    spec = Spec(encoder=Part(encoder), decoder=Part("dictionary"), bottleneck=Part.of(bottleneck))
    return Net(spec.replace(latent_dim=latent_dim, **changes), (5,)).double()


@pytest.mark.parametrize("name", SPARSE)
def test_codes_are_never_below_zero(name):
    bottleneck = BOTTLENECKS[name]((6,), 20)
    for training in (True, False):
        assert (bottleneck.train(training)(torch.randn(40, 6)).z >= 0).all()


@pytest.mark.parametrize("name", SPARSE)
def test_they_begin_tied_to_the_dictionary(name):
    """Every latent answers to its own atom, one unit beyond the center, with exactly one unit."""
    net = net_of(name)
    x = torch.randn(200, 5, dtype=torch.float64) + 30
    net.start_from(x=x)
    center, atoms = net.decoder.bias.detach(), net.decoder.weight.detach()
    assert (center - 30).abs().max() < 0.5
    pre = net.trace(center + atoms).code.aux["pre"]
    torch.testing.assert_close(pre, atoms @ atoms.T)
    torch.testing.assert_close(pre.diagonal(), torch.ones(12, dtype=torch.float64))


def test_the_start_leaves_what_is_told_about_missing_entries_alone():
    net = net_of("relu", tell_missing=True)
    x = torch.randn(50, 5, dtype=torch.float64)
    net.start_from(x=x, observed=torch.rand(50, 5) < 0.8)
    assert (net.bottleneck.head.layer.weight[:, 5:] == 0).all()
    assert (net.bottleneck.center[5:] == 0).all()


def test_rows_are_counted_since_each_latent_fired():
    bottleneck = BOTTLENECKS["relu"]((2,), 2)
    with torch.no_grad():
        bottleneck.head.layer.weight.copy_(torch.eye(2))
        bottleneck.head.layer.bias.zero_()
    bottleneck(torch.tensor([[1.0, -1.0], [-1.0, -1.0], [2.0, -3.0]]))
    assert bottleneck.idle.tolist() == [0, 3]
    bottleneck(torch.tensor([[-1.0, -1.0], [-1.0, -1.0]]))
    assert bottleneck.idle.tolist() == [2, 5]
    bottleneck(torch.tensor([[-1.0, 1.0]]))
    assert bottleneck.idle.tolist() == [3, 0]
    assert bottleneck.seen == 6


@pytest.mark.parametrize("name", SPARSE)
def test_held_out_rows_teach_nothing(name):
    bottleneck = BOTTLENECKS[name]((6,), 20)
    bottleneck(torch.randn(9, 6))
    before = {key: value.clone() for key, value in bottleneck.named_buffers()}
    with torch.no_grad():
        bottleneck(torch.randn(9, 6))
    bottleneck.eval()(torch.randn(9, 6))
    assert all(torch.equal(value, before[key]) for key, value in bottleneck.named_buffers())
