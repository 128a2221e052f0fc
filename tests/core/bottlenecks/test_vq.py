import math

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.spec import Part, Plan, Spec
from isthmus.training.loop import evaluate


def vq(in_shape=(5,), dim=4, **options):
    torch.manual_seed(0)
    return BOTTLENECKS["vq"](in_shape, dim, **{"codewords": 16, **options})


def net_of(**options):
    torch.manual_seed(0)
    body = Part("mlp", {"widths": [8]})
    return Net(
        Spec(encoder=body, decoder=body, latent_dim=4, bottleneck=Part("vq", {"codewords": 16, **options})), (6,)
    )


class TestTheCode:
    def test_it_is_the_nearest_codeword_of_each_group(self):
        bottleneck, h = vq(groups=2), torch.randn(30, 5)
        a, z = bottleneck.head(h), bottleneck.mode(h)
        for group in range(2):
            mine = slice(group, None, 2)  # neighbours are in different groups
            chosen = torch.cdist(a[:, mine], bottleneck.codebook.words[group]).argmin(1)
            assert torch.equal(z[:, mine], bottleneck.codebook.words[group][chosen])

    def test_of_a_feature_map_every_position_is_a_symbol(self):
        bottleneck, h = vq((5, 3, 2)), torch.randn(7, 5, 3, 2)
        code = bottleneck(h)
        assert code.z.shape == (7, 4, 3, 2)
        assert code.aux["indices"].shape == (7, 6)
        here = code.z[3, :, 2, 1]
        assert torch.equal(here, bottleneck.codebook.words[0, code.aux["indices"][3, 2 * 2 + 1]])

    def test_a_vector_is_cut_into_groups_of_at_most_four(self):
        assert [vq(dim=d).groups for d in (1, 4, 5, 6, 32)] == [1, 1, 5, 2, 8]
        with pytest.raises(ValueError, match="divides the 4 numbers"):
            vq(groups=3)

    def test_training_and_use_take_the_same_code(self):
        bottleneck, h = vq(), torch.randn(6, 5)
        assert torch.equal(bottleneck.train()(h).z, bottleneck.eval().mode(h))


class TestTheLoss:
    def test_the_gradient_passes_straight_through(self):
        """Of the vector: the decoder's at the codeword, and 2 β (h − e) of the commitment."""
        net, x = net_of(commitment=0.7, groups=1), torch.randn(9, 6)
        net.train()
        h = net.encoded(net.features(x)).detach()
        a = net.bottleneck.head(h).detach()
        e = net.bottleneck.mode(h).detach().requires_grad_()
        (at_codeword,) = torch.autograd.grad(-net.decode(e).log_prob(x).mean(), e)
        expected = at_codeword + 2 * 0.7 * (a - e.detach()) / len(x)
        net.losses(x=x).groups["main"].backward()
        # of a linear head the gradient is expectedᵀ h
        torch.testing.assert_close(net.bottleneck.head.layer.weight.grad, expected.T @ h)
        torch.testing.assert_close(net.bottleneck.head.layer.bias.grad, expected.sum(0))

    @pytest.mark.parametrize("shape", [(5,), (5, 3, 2)])
    def test_the_commitment_is_a_sum_over_the_row(self, shape):
        bottleneck, h = vq(shape, commitment=0.3), torch.randn(8, *shape)
        code = bottleneck(h)
        expected = 0.3 * (bottleneck.head(h) - code.z.detach()).square().flatten(1).sum(1)
        torch.testing.assert_close(code.terms["commitment"], expected)
        torch.testing.assert_close(bottleneck(h[:2]).terms["commitment"], expected[:2])

    def test_the_rate_is_a_price_that_a_coder_could_ask(self):
        """The probabilities sum to 1, and the rows whose shares they are pay their entropy in the mean."""
        bottleneck, h = vq((3,), 1, codewords=4, decay=0.5), torch.randn(2000, 3)
        torch.testing.assert_close(bottleneck(h).rate, torch.full((2000,), math.log(4)))
        shares = torch.bincount(bottleneck(h).aux["indices"].flatten(), minlength=4) / 2000
        bottleneck.codebook.shares.copy_(shares)
        torch.testing.assert_close(bottleneck.codebook.probabilities.sum(1), torch.ones(1))
        entropy = -torch.special.xlogy(shares, shares).sum()
        torch.testing.assert_close(bottleneck(h).rate.mean(), entropy, atol=1e-3, rtol=0)
        torch.testing.assert_close(bottleneck.codebook.perplexity, entropy.exp()[None], atol=1e-2, rtol=0)


class TestTheCodebook:
    def test_it_follows_by_averages(self):
        """N ← γN + (1 − γ)n, m ← γm + (1 − γ)Σh, e = m/Ñ, in shares of the batch."""
        bottleneck = vq(groups=1, decay=0.8).train().double()
        shares, sums = bottleneck.codebook.shares[0].clone(), bottleneck.codebook.sums[0].clone()
        for _ in range(3):
            h = torch.randn(300, 5, dtype=torch.float64)
            a = bottleneck.head(h).detach()
            chosen = torch.cdist(a, bottleneck.codebook.words[0]).argmin(1)
            bottleneck(h)
            bottleneck.project()
            n = torch.stack([(chosen == k).double().mean() for k in range(16)])
            total = torch.stack([a[chosen == k].sum(0) / 300 for k in range(16)])
            shares, sums = 0.8 * shares + 0.2 * n, 0.8 * sums + 0.2 * total
            assert (shares > 0.1 / 16).all(), "none is dead, so none is revived"
            torch.testing.assert_close(bottleneck.codebook.shares[0], shares)
            smoothed = (shares + 1e-6) / (1 + 16e-6)
            torch.testing.assert_close(bottleneck.codebook.words[0], sums / smoothed[:, None])

    def test_the_same_rows_twice_teach_the_same(self):
        one, two, h = vq().train(), vq().train(), torch.randn(50, 5)
        one(h), two(torch.cat([h, h]))
        for bottleneck in (one, two):
            bottleneck.decay = 0.9
            bottleneck.project()
        torch.testing.assert_close(one.codebook.shares, two.codebook.shares)
        torch.testing.assert_close(one.codebook.sums, two.codebook.sums)

    def test_a_dead_codeword_begins_again_where_it_is_missed(self):
        bottleneck = vq((2,), 2, codewords=3, decay=0.5).train()
        torch.nn.init.eye_(bottleneck.head.layer.weight)
        torch.nn.init.zeros_(bottleneck.head.layer.bias)
        start = torch.tensor([[[0.0, 0.0], [5.0, 0.0], [99.0, 99.0]]])
        bottleneck.codebook.words.copy_(start)
        bottleneck.codebook.sums.copy_(start / 3)
        h = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 3.0]]).repeat(20, 1)
        for _ in range(30):
            bottleneck(h)
            bottleneck.project()
        assert not bottleneck.codebook.dead.any()
        torch.testing.assert_close(bottleneck.mode(h), h, atol=1e-3, rtol=0)

    def test_held_out_rows_teach_nothing(self):
        net, x = net_of(), torch.randn(40, 6)
        before = {name: t.clone() for name, t in net.named_buffers()}
        evaluate(net.train(), {"x": x})
        net.project()
        assert all(torch.equal(t, before[name]) for name, t in net.named_buffers())
        net.losses(x=x)
        net.project()
        assert not torch.equal(net.bottleneck.codebook.words, before["bottleneck.codebook.words"])

    def test_it_begins_among_the_vectors_of_the_rows(self):
        net, x = net_of(groups=1), torch.randn(500, 6)
        net.start_from(x=x)
        h = net.encoded(net.features(x))
        a = net.bottleneck.head(h)
        left = (a - net.bottleneck.mode(h)).square().sum() / (a - a.mean(0)).square().sum()
        assert left < 0.5
        assert not net.bottleneck.codebook.dead.any()

    def test_a_short_memory_for_many_vectors_and_a_long_one_for_few(self):
        """By itself it forgets a tenth a step, or less where that would be fewer than 16 vectors per codeword."""
        for n, forgot in ((2560, 0.1), (8, 8 / 256)):
            bottleneck = vq(groups=1).train()
            bottleneck.codebook.shares.fill_(1.0)
            bottleneck(torch.randn(n, 5))
            bottleneck.project()
            torch.testing.assert_close(bottleneck.codebook.shares.sum(), torch.tensor(16 * (1 - forgot) + forgot))


@pytest.mark.parametrize("options", [{"codewords": 1}, {"decay": 1.0}, {"decay": "slow"}, {"commitment": -1.0}])
def test_what_cannot_be(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        vq(**options)


def test_the_recipe_takes_every_kind_of_rows(tmp_path):
    import numpy as np

    from isthmus.model import Model, open_model

    g = np.random.default_rng(0)
    for rows, shape in ((g.normal(size=(80, 6)), None), (g.integers(0, 255, (60, 12, 9), dtype=np.uint8), (6, 5))):
        model = Model.fit(rows, "vq", latent_dim=2, parts={"bottleneck": {"codewords": 8}}, plan=Plan(epochs=2))
        codes = model.encode(rows)
        assert codes.shape == (len(rows), 2, *(shape or ()))
        again = open_model(model.save(tmp_path / "model.isthmus"))
        assert (again.encode(rows) == codes).all()
        assert any("codewords are in use" in remark for remark in model.record.remarks)
