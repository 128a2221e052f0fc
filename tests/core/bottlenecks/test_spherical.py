import numpy as np
import pytest
import torch

from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.model import Model
from isthmus.spec import Plan


def spherical(in_shape=(5,), dim=3, **options):
    torch.manual_seed(0)
    return BOTTLENECKS["spherical"](in_shape, dim, **options)


def test_codes_have_length_one_and_keep_their_direction():
    bottleneck, h = spherical(), torch.randn(40, 5)
    z, a = bottleneck.mode(h), bottleneck.head(h)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(40))
    torch.testing.assert_close(z * a.norm(dim=1, keepdim=True), a)


def test_every_position_of_a_feature_map_has_length_one():
    z = spherical((5, 4, 2), spatial=True).mode(torch.randn(6, 5, 4, 2))
    torch.testing.assert_close(z.norm(dim=1), torch.ones(6, 4, 2))


def test_the_gradient_is_along_the_sphere():
    """Longer or shorter changes nothing, so no gradient points that way."""
    bottleneck, h = spherical(), torch.randn(10, 5)
    a = bottleneck.head(h).detach().requires_grad_()
    bottleneck.head.forward = lambda _: a
    (gradient,) = torch.autograd.grad((bottleneck.mode(h) * torch.randn(10, 3)).sum(), a)
    assert (gradient * a).sum(1).abs().max() < 1e-5


def test_nothing_has_no_direction_and_breaks_nothing():
    bottleneck = spherical()
    torch.nn.init.zeros_(bottleneck.head.layer.bias)
    h = torch.zeros(2, 5, requires_grad=True)
    z = bottleneck.mode(h)
    assert torch.equal(z, torch.zeros(2, 3))
    assert torch.autograd.grad(z.sum(), h)[0].isfinite().all()


def test_one_number_is_no_sphere():
    with pytest.raises(ValueError, match="at least 2 numbers"):
        spherical(dim=1)
    line = np.linspace(0, 1, 60)[:, None] * np.ones(4)
    assert Model.fit(line, "spherical", plan=Plan(epochs=1)).latent_dim == 2, "and is not chosen by itself"
