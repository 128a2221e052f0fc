import pytest
import torch

from isthmus.core.bottlenecks.plain import Plain
from isthmus.core.networks.dense import ACTIVATIONS
from isthmus.core.parts import Finished
from isthmus.errors import SpecError


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


def test_one_sigmoid_layer():
    plain, x = Plain((6,), 3, activation="sigmoid"), torch.randn(5, 6)
    torch.testing.assert_close(plain.mode(x), torch.sigmoid(plain.head.layer(x)))
    assert not plain.starts_linear


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_closed_form_is_the_jacobian_of_autograd(activation):
    torch.manual_seed(0)
    plain, h = Plain((6,), 3, activation=activation).double(), torch.randn(5, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda row: plain.mode(row[None])[0], h[0])
    found = plain.squared_jacobian(plain(h))
    assert found.shape == (5,)
    torch.testing.assert_close(found[0], jacobian.square().sum())


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "silu", "gelu"])
def test_the_closed_form_can_be_derived(activation):
    plain, h = Plain((4,), 3, activation=activation).double(), torch.randn(2, 4, dtype=torch.float64)

    assert torch.autograd.gradcheck(lambda *_: plain.squared_jacobian(plain(h)), tuple(plain.parameters()))


def test_a_map_of_codes_has_none():
    plain = Plain((4, 2, 2), 3, spatial=True)
    assert plain.squared_jacobian(plain(torch.randn(2, 4, 2, 2))) is None


def test_an_unknown_activation_names_the_known_ones():
    with pytest.raises(SpecError, match="Did you mean 'sigmoid'"):
        Plain((6,), 3, activation="sigmoyd")


def test_repr():
    assert "Plain(\n  dim=3" in repr(Plain((6,), 3))
