import pytest
import torch

from isthmus.core.networks.attention import Block, PerToken, Stack, places


def test_the_order_of_tokens_means_nothing_without_their_places():
    torch.manual_seed(0)
    stack, t, there = Stack(16, 2, 4).double(), torch.randn(3, 9, 16, dtype=torch.float64), torch.rand(3, 9) < 0.7
    there[:, 0] = True
    order = torch.randperm(9)
    torch.testing.assert_close(stack(t[:, order]), stack(t)[:, order])
    torch.testing.assert_close(stack(t[:, order], there[:, order]), stack(t, there)[:, order])


def test_a_block_is_the_softmax_of_products():
    torch.manual_seed(0)
    block, t, there = Block(8, 2).double(), torch.randn(2, 5, 8, dtype=torch.float64), torch.rand(2, 5) < 0.6
    there[:, 1] = True
    normed = block.before_attention(t)
    q, k, v = block.query_key_value(normed).split(8, dim=-1)
    heads = []
    for one in (slice(0, 4), slice(4, 8)):
        weights = (q[..., one] @ k[..., one].transpose(1, 2) / 2).masked_fill(~there[:, None], -torch.inf).softmax(-1)
        heads.append(weights @ v[..., one])
    after = t + block.out(torch.cat(heads, dim=-1))
    expected = after + block.down(torch.nn.functional.gelu(block.up(block.before_mlp(after))))
    torch.testing.assert_close(block(t, there), expected)


@pytest.mark.parametrize("grid", [(7, 7), (64,), (3, 20)])
def test_near_places_begin_alike_and_all_differ(grid):
    p = places(grid, 64)
    apart = torch.cdist(p, p)
    assert apart.fill_diagonal_(9).min() > 0.1
    assert apart[0, 1] < apart[0, -1]


def test_columns_have_maps_of_their_own():
    own, one = PerToken(3, 2, 4, own=True), PerToken(3, 2, 4, own=False)
    t = torch.randn(5, 1, 2).expand(-1, 3, -1)
    assert not torch.allclose(own(t)[:, 0], own(t)[:, 1])
    assert torch.equal(one(t)[:, 0], one(t)[:, 1])
    torch.testing.assert_close(own(t)[:, 2], t[:, 2] @ own.weight[2] + own.bias[2])
