import itertools

import pytest
import torch
from torch import nn

from isthmus.core.networks.dense import ACTIVATIONS, MLP, Head, Linear, auto_widths, chain, product
from isthmus.core.parts import Finished
from isthmus.errors import SpecError


def layers(*sizes):
    torch.manual_seed(0)
    return [nn.Linear(a, b).double() for a, b in itertools.pairwise(sizes)]


def on_tape(x, stack, activation):
    for layer in stack:
        x = ACTIVATIONS[activation][0](layer(x))
    return x


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", [(4, 3), (4, 5, 3), (4, 5, 6, 2)])
def test_a_chain_has_the_gradients_of_the_tape(activation, widths):
    stack = layers(*widths)
    x = torch.randn(7, widths[0], dtype=torch.float64, requires_grad=True)
    inputs = [x, *(p for layer in stack for p in (layer.weight, layer.bias))]
    ours, theirs = chain(x, stack, activation), on_tape(x, stack, activation)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    g = torch.randn_like(ours)
    for a, b in zip(torch.autograd.grad(ours, inputs, g), torch.autograd.grad(theirs, inputs, g), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_chain_can_be_derived_twice(activation):
    stack = layers(3, 4, 2)
    parameters = [p for layer in stack for p in (layer.weight, layer.bias)]

    def run(x, *_):
        return chain(x, stack, activation)

    # away from the kink of relu, where no finite difference is a derivative
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *parameters))
    assert torch.autograd.gradgradcheck(run, (x, *parameters))


@pytest.mark.parametrize("frozen", [0, 1, 2, 3])
def test_frozen_parameters_get_no_gradient(frozen):
    stack = layers(3, 4, 2)
    parameters = [p for layer in stack for p in (layer.weight, layer.bias)]
    parameters[frozen].requires_grad_(False)
    x = torch.randn(5, 3, dtype=torch.float64)
    y = chain(x, stack, "tanh").sum()
    wanted = [p for p in parameters if p.requires_grad]
    want = torch.autograd.grad(on_tape(x, stack, "tanh").sum(), wanted)
    for create_graph in (False, True):
        got = torch.autograd.grad(y, wanted, create_graph=create_graph, retain_graph=True)
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b)
    y.backward()
    assert parameters[frozen].grad is None


def test_without_gradients_the_same_bits():
    stack = [nn.Linear(30, 20), nn.Linear(20, 10)]
    x = torch.randn(50, 30)
    kept = chain(x, stack, "silu")
    with torch.no_grad():
        assert torch.equal(chain(x, stack, "silu"), kept)


@pytest.mark.parametrize("n", [1, 3, 64, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_any_strides(n, dtype, bias):
    """Both below and above the size from which oneDNN is asked; transposed, sliced and expanded inputs."""
    g = torch.Generator().manual_seed(0)
    wide = torch.randn(n, 96, generator=g, dtype=dtype)
    heavy = torch.randn(80, 96, generator=g, dtype=dtype)
    b = torch.randn(40, generator=g, dtype=dtype) if bias else None
    xs = [
        wide[:, :48].contiguous(),
        wide[:, :48],
        wide[:, ::2],
        wide.flip(0)[:, 48:],
        torch.randn(48, n, generator=g, dtype=dtype).T,
        wide[:1, :48].expand(n, 48),
    ]
    weights = [heavy[:40, :48].contiguous(), heavy[::2, ::2], torch.randn(48, 40, generator=g, dtype=dtype).T]
    for x in xs:
        for weight in weights:
            exact = x.double() @ weight.double().T + (b.double() if bias else 0)
            torch.testing.assert_close(product(x, weight, b).double(), exact, rtol=1e-4, atol=1e-4)


class TestHead:
    def test_dense_over_all_entries(self):
        assert Head((3, 4), (5,))(torch.randn(2, 3, 4)).shape == (2, 5)
        assert Head((5,), (3, 4, 2))(torch.randn(2, 5)).shape == (2, 3, 4, 2)

    def test_a_1x1_convolution_between_maps_of_one_size(self):
        head, x = Head((3, 5, 4), (2, 5, 4)), torch.randn(6, 3, 5, 4)
        same = nn.functional.conv2d(x, head.layer.weight[:, :, None, None], head.layer.bias)
        torch.testing.assert_close(head(x), same)

    def test_nothing_behind_a_finished_body(self):
        head, h = Head(Finished((5,)), (5,)), torch.randn(2, 5)
        assert head(h) is h
        assert not list(head.parameters())
        assert Head(Finished((5,)), (6,))(h).shape == (2, 6), "unless that is not where it leads"

    def test_repr(self):
        assert "(3, 4) → (5,)" in repr(Head((3, 4), (5,)))


class TestMLP:
    @pytest.mark.parametrize("linear_path", [False, True])
    def test_the_linear_path_is_the_input(self, linear_path):
        body = MLP((4,), (2,), widths=[8, 6], linear_path=linear_path)
        x = torch.randn(3, 4)
        assert body.out_shape == ((10,) if linear_path else (6,))
        assert (body.linear is not None) == linear_path
        if linear_path:
            assert torch.equal(body(x)[:, body.linear], x)

    def test_images_are_flattened(self):
        assert MLP((1, 4, 3), (2,))(torch.randn(5, 1, 4, 3)).shape == (5, 32)
        assert torch.equal(Linear((2, 3), (1,))(torch.arange(6.0).reshape(1, 2, 3)), torch.arange(6.0)[None])

    @pytest.mark.parametrize("widths", [[], [0], [8, -1]])
    def test_widths_that_are_none(self, widths):
        with pytest.raises(ValueError, match="at least 1"):
            MLP((4,), (2,), widths=widths)

    def test_unknown_activation(self):
        with pytest.raises(SpecError, match="Did you mean 'relu'"):
            MLP((4,), (2,), activation="rellu")

    def test_auto_widths_mirror(self):
        for a, b in [(784, 32), (20, 5), (3, 1), (5000, 2)]:
            assert auto_widths(a, b) == auto_widths(b, a)[::-1]
            assert max(auto_widths(a, b)) <= 512

    def test_repr(self):
        assert repr(MLP((4,), (2,), widths=[8], activation="relu")).startswith(
            "MLP(\n  widths=[8], activation='relu', linear_path=False"
        )
