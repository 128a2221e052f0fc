"""A bag gives what dense layers give, from what is there alone."""

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.networks.bag import Bag
from isthmus.core.networks.dense import ACTIVATIONS
from isthmus.core.pca import fit_lsa
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec

G = torch.Generator().manual_seed(0)
X = torch.rand(9, 30, generator=G) * (torch.rand(9, 30, generator=G) < 0.2)
X[[2, 8]] = 0  # rows without an entry


def test_the_first_layer_is_the_dense_product():
    bag = Bag((30,), (4,), widths=[7], linear_path=True).double()
    x = X.double()
    first = x @ bag.table
    expected = torch.cat([ACTIVATIONS["gelu"][0](first[:, :7] + bag.bias), first[:, 7:]], dim=1)
    torch.testing.assert_close(bag(x), expected)
    (ours,) = torch.autograd.grad(bag(x).square().sum(), bag.table)
    (dense,) = torch.autograd.grad(bag(x.requires_grad_()).square().sum(), bag.table)
    torch.testing.assert_close(ours, dense)


def test_more_layers_and_shapes():
    bag = Bag((30,), (4,), widths=[7, 5], linear_path=True)
    assert bag(X).shape == (9, *bag.out_shape) == (9, 9)
    assert Bag((30,), (4,), widths=[7, 5])(X).shape == (9, 5)
    with pytest.raises(ValueError, match="widths"):
        Bag((30,), (4,), widths=[])
    with pytest.raises(ValueError, match="flat rows"):
        Bag((3, 30), (4,))


def of(x):
    rows, columns = x.nonzero(as_tuple=True)
    return torch.searchsorted(rows, torch.arange(len(x) + 1)), columns, x[rows, columns], x.shape[1]


def test_codes_begin_as_those_of_lsa_and_a_frozen_encoder_keeps_them():
    lsa = fit_lsa(*of(X), 3)
    spec = Spec(
        encoder=Part("bag", {"widths": [6], "linear_path": True, "frozen": True}), decoder=Part("linear"),
        likelihood=Part("multinomial"), latent_dim=3,
    )  # fmt: skip
    net = Net(spec, (30,))
    net.start_at_pca(lsa)
    codes, along = net.encode(X), X @ lsa.components.T
    ratio = codes[along.abs() > 1e-3] / along[along.abs() > 1e-3]
    assert (ratio > 0).all()  # each direction by a factor of its own
    torch.testing.assert_close(codes / codes.norm(dim=0), along / along.norm(dim=0), rtol=1e-3, atol=1e-4)
    moved = {id(p) for p in net.groups()["main"]}
    assert not moved & {id(p) for part in (net.encoder, net.bottleneck) for p in part.parameters()}
    assert moved == {id(p) for p in net.likelihood.parameters()}


def test_lsa_is_the_singular_value_decomposition():
    x = torch.rand(40, 60, generator=G, dtype=torch.float64).float() * (torch.rand(40, 60, generator=G) < 0.3)
    found = fit_lsa(*of(x), 5)
    _, values, right = torch.linalg.svd(x, full_matrices=False)
    torch.testing.assert_close(found.variances, values[:5].square() / 40, rtol=3e-2, atol=1e-4)
    # the first directions of such rows are far apart; the planes are what has to agree
    torch.testing.assert_close((found.components[0] @ right[0]).abs(), torch.tensor(1.0), rtol=1e-3, atol=1e-3)
    best = (x - x @ right[:5].T @ right[:5]).square().sum()
    assert (x - found.reconstruct(x)).square().sum() < 1.01 * best
    torch.testing.assert_close(found.mean, x.mean(0))
    assert found.total == pytest.approx(float(x.square().sum() / 40), rel=1e-5)


def test_an_unknown_option_is_named():
    with pytest.raises(SpecError, match="width"):
        Net(Spec(encoder=Part("bag", {"width": 3}), decoder=Part("linear"), latent_dim=2), (30,))
