import torch

from isthmus.core.bottlenecks.plain import Plain
from isthmus.core.parts import Finished


def test_it_is_linear():
    plain = Plain((6,), 3)
    a, b = torch.randn(2, 5, 6)
    zero = plain.mode(torch.zeros(5, 6))
    torch.testing.assert_close(plain.mode(a + b) - zero, plain.mode(a) + plain.mode(b) - 2 * zero)


def test_its_rate_is_zero():
    assert (Plain((6,), 3)(torch.randn(5, 6)).rate == 0).all()
    assert not Plain.rated


def test_a_finished_encoder_is_the_code():
    h = torch.randn(5, 3)
    assert torch.equal(Plain(Finished((3,)), 3).mode(h), h)


def test_repr():
    assert "Plain(\n  dim=3" in repr(Plain((6,), 3))
