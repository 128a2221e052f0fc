import pytest
import torch

from isthmus.core.arithmetic import ONE
from isthmus.core.exact import NotExact, chained, exact_body, exact_head, fixed
from isthmus.core.networks import DECODERS, ENCODERS
from isthmus.core.networks.dense import Head
from isthmus.core.parts import make
from isthmus.spec import Part

BODIES = [
    (ENCODERS, Part("mlp", {"widths": [64, 32]}), (50,), (8,)),
    (ENCODERS, Part("mlp", {"widths": [64], "activation": "tanh", "linear_path": True}), (50,), (8,)),
    (ENCODERS, Part("linear"), (50,), (8,)),
    (ENCODERS, Part("conv", {"widths": [8, 12]}), (2, 13, 9), (8,)),
    (ENCODERS, Part("conv", {"widths": [8], "activation": "relu", "linear_path": True}), (1, 6, 7), (8,)),
    (DECODERS, Part("conv", {"widths": [12, 8]}), (8,), (2, 13, 9)),
    (DECODERS, Part("conv", {"widths": [8], "activation": "silu", "linear_path": True}), (8,), (1, 6, 7)),
]


def given(case):
    menu, part, in_shape, target = BODIES[case]
    torch.manual_seed(case)
    body = make(menu, "body", part, in_shape, target)
    for p in body.parameters():
        p.data += 0.05 * torch.randn_like(p)
    head = Head(body.out_shape, (5,))
    return body, head, torch.randn(37, *in_shape) * 2


@pytest.mark.parametrize("case", range(len(BODIES)))
def test_it_is_the_network_in_fixed_point(case):
    body, head, x = given(case)
    found = chained(exact_body(body), exact_head(head))(fixed(x)) / ONE
    with torch.no_grad():
        torch.testing.assert_close(found, head(body(x)).double(), rtol=0, atol=0.01)


# the context manager looks at a setting for Intel's graphics cards
@pytest.mark.parametrize("case", range(len(BODIES)))
def test_nothing_moves_a_bit(case):
    """Batches, threads, the library, the order of the inputs and of the memory."""
    body, head, x = given(case)
    net, a = chained(exact_body(body), exact_head(head)), fixed(x)
    whole = net(a)
    assert torch.equal(whole, whole.round())
    assert torch.equal(whole, torch.cat([net(part) for part in a.split(1)]))
    assert torch.equal(whole, torch.cat([net(part) for part in a.split(10)]))
    assert torch.equal(whole.flip(0), net(a.flip(0)))
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            assert torch.equal(whole, net(a))
    finally:
        torch.set_num_threads(threads)
    with torch.backends.mkldnn.flags(enabled=False):
        assert torch.equal(whole, net(a))
    assert torch.equal(whole, net(a.transpose(0, -1).contiguous().transpose(0, -1)))


def test_sums_in_any_order_are_the_same_number():
    from isthmus.core.exact import Product

    torch.manual_seed(0)
    weight, a = torch.randn(20, 3000), fixed(torch.randn(50, 3000) * 100)
    product, order = Product(weight, torch.randn(20)), torch.randperm(3000)
    turned = Product(weight[:, order], None)
    turned.bias = product.bias
    assert torch.equal(product(a), turned(a[:, order]))
    by_hand = (a.long()[:, None, :] * product.weight.long()[None]).sum(2) + product.bias.long()
    rounded = (by_hand + (1 << (product.bits - 1))) >> product.bits
    assert torch.equal(product(a).long(), rounded)
    # and rounded sums are not: what all this is for
    x, w = torch.randn(50, 3000), torch.randn(3000, 20)
    assert not torch.equal(x @ w, (x[:, order] @ w[order]))


def test_heavy_weights_lose_digits_before_sums_lose_theirs():
    from isthmus.core.exact import Product

    assert Product(torch.full((1, 4000), 3.0), None).bits < 16
    with pytest.raises(NotExact, match="too large"):
        Product(torch.full((1, 4000), 1e9), None)
    with pytest.raises(NotExact, match="finite"):
        Product(torch.tensor([[float("nan")]]), None)


def test_what_has_no_exact_version_says_so():
    with pytest.raises(NotExact, match="Transformer"):
        exact_body(make(ENCODERS, "encoder", Part("transformer"), (2, 8, 8), (4,)))
