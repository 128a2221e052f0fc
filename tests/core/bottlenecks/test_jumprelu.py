import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.bottlenecks.jumprelu import JumpReLU
from isthmus.spec import Part, Spec

#: Pre-activations spread evenly and densely, so that means over them are integrals.
PRE = ((torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000)[:, None]


def built(theta, bandwidth):
    bottleneck = JumpReLU((1,), 1, threshold=theta, bandwidth=bandwidth).double()
    with torch.no_grad():
        bottleneck.head.layer.weight.fill_(1.0)
        bottleneck.head.layer.bias.zero_()
    return bottleneck


def test_above_its_threshold_a_latent_passes_whole():
    bottleneck = built(0.5, 0.1)
    h = torch.tensor([[-1.0], [0.2], [0.499], [0.501], [3.0]], dtype=torch.float64)
    code = bottleneck(h)
    assert torch.equal(code.z, torch.where(h > 0.5, h, 0.0))
    assert code.rate.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("theta", [0.3, 0.6])
@pytest.mark.parametrize("bandwidth", [0.05, 0.2])
class TestPseudoGradients:
    """In the mean over rows they are the gradient of the same loss with its jump spread over the kernel."""

    def test_of_the_rate(self, theta, bandwidth):
        bottleneck = built(theta, bandwidth)
        (found,) = torch.autograd.grad(bottleneck(PRE).rate.mean(), bottleneck.log_theta)

        def smoothed(t):  # 1[π > θ] averaged over a kernel of this width
            return ((PRE - t) / bandwidth + 0.5).clamp(0, 1).mean()

        slope = (smoothed(theta + 1e-4) - smoothed(theta - 1e-4)) / 2e-4
        torch.testing.assert_close(found[0], theta * slope, rtol=1e-3, atol=0)
        torch.testing.assert_close(found[0], torch.tensor(-theta, dtype=torch.float64), rtol=1e-3, atol=0)

    def test_of_a_squared_error(self, theta, bandwidth):
        """What passing costs, (x − wθ)² − x², is θ times the mean slope on both sides of the jump."""
        bottleneck, w, x = built(theta, bandwidth), 0.7, 0.9
        (found,) = torch.autograd.grad((x - w * bottleneck(PRE).z).square().mean(), bottleneck.log_theta)
        exact = [(x - w * PRE * (theta + s < PRE)).square().mean() for s in (1e-3, -1e-3)]
        # the slope above is taken a quarter of the kernel beyond θ
        torch.testing.assert_close(found[0], theta * (exact[0] - exact[1]) / 2e-3, rtol=bandwidth, atol=0)

    def test_of_a_linear_loss(self, theta, bandwidth):
        """E[π 1[π > θ]] over even π falls by θ for every unit of θ."""
        bottleneck = built(theta, bandwidth)
        (found,) = torch.autograd.grad(bottleneck(PRE).z.mean(), bottleneck.log_theta)
        exact = [(PRE * (theta + s < PRE)).mean() for s in (1e-3, -1e-3)]
        torch.testing.assert_close(found[0], theta * (exact[0] - exact[1]) / 2e-3, rtol=1e-2, atol=0)


def test_the_code_is_differentiated_as_it_stands():
    bottleneck = built(0.5, 0.1)
    h = torch.tensor([[0.46], [0.54], [0.9]], dtype=torch.float64, requires_grad=True)
    code = bottleneck(h)
    assert torch.autograd.grad(code.z.sum(), h, retain_graph=True)[0].flatten().tolist() == [0, 1, 1]
    code.rate.sum().backward()  # the count is flat in π: only thresholds answer to it
    assert h.grad is None or not h.grad.any()


def test_rows_in_other_units_begin_alike():
    """Thresholds and kernel are in deviations of π, so grams and kilograms train the same."""
    x, codes = torch.randn(300, 5), []
    for unit in (1.0, 1000.0):
        torch.manual_seed(0)
        net = Net(Spec(encoder=Part("linear"), decoder=Part("dictionary"), bottleneck=Part("jumprelu"),
                       latent_dim=8), (5,))  # fmt: skip
        net.start_from(x=unit * x)
        codes.append(net.eval().encode(unit * x) / unit)
    torch.testing.assert_close(codes[0], codes[1], rtol=1e-3, atol=1e-4)
    assert (codes[0] > 0).any()


def test_widths_are_positive():
    for wrong in ({"threshold": 0}, {"bandwidth": -1}):
        with pytest.raises(ValueError, match="above 0"):
            JumpReLU((3,), 2, **wrong)
