import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.core.bottlenecks.topk import BatchTopK, TopK
from isthmus.spec import Part, Spec


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
def test_with_all_latents_it_is_the_dense_relu_net(name):
    """The same losses and the same gradients, number by number."""
    x, found = torch.randn(16, 5, dtype=torch.float64), []
    for bottleneck in (Part("relu"), Part(name, {"k": 9})):
        torch.manual_seed(0)
        spec = Spec(encoder=Part("mlp"), decoder=Part("mlp"), bottleneck=bottleneck, latent_dim=9)
        net = Net(spec, (5,)).double()
        loss = net.losses(x=x).groups["main"]
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in net.parameters())])
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense)


def test_topk_keeps_the_k_strongest_of_every_row():
    bottleneck = TopK((6,), 20, k=3)
    h = torch.randn(50, 6)
    pre, z = bottleneck.head(h), bottleneck.mode(h)
    by_sorting = pre.sort(dim=1, descending=True).values[:, :3].clamp(min=0)
    torch.testing.assert_close(z.sort(dim=1, descending=True).values[:, :3], by_sorting)
    assert ((z > 0).sum(1) <= 3).all()
    assert torch.equal(z[z > 0], pre[z > 0])


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 5.0])
def test_batch_topk_keeps_exactly_k_times_the_rows(k, threshold):
    """Whatever is believed of the threshold so far: it saves work, and decides nothing in training."""
    bottleneck = BatchTopK((6,), 20, k=k)
    bottleneck.threshold.fill_(threshold)
    h = torch.randn(50, 6)
    pre, z = bottleneck.head(h), bottleneck(h).z
    assert (z > 0).sum() == k * 50
    assert z[z > 0].min() >= pre[z == 0].max()
    assert torch.equal(z[z > 0], pre[z > 0])


def test_the_threshold_is_the_running_mean_of_the_smallest_that_was_kept():
    bottleneck = BatchTopK((6,), 20, k=2)
    expected = None
    for _ in range(5):
        z = bottleneck(torch.randn(30, 6)).z.detach()
        least = z[z > 0].min()
        expected = least if expected is None else 0.99 * expected + 0.01 * least
        torch.testing.assert_close(bottleneck.threshold, expected)


def test_at_use_batch_topk_keeps_as_many_on_average():
    torch.manual_seed(0)
    bottleneck = BatchTopK((6,), 40, k=3)
    for _ in range(500):
        bottleneck(torch.randn(100, 6))
    assert (bottleneck.eval().mode(torch.randn(10_000, 6)) > 0).sum(1).float().mean() == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
def test_how_many(name):
    assert [BOTTLENECKS[name]((9,), n).k for n in (3, 30, 80, 4000)] == [3, 4, 10, 32]
    assert BOTTLENECKS[name]((9,), 4, k=7).k == 4
    for k in (0, 2.5, "many", True):
        with pytest.raises(ValueError, match="k is a whole number"):
            BOTTLENECKS[name]((9,), 4, k=k)
