import pytest
import torch

from isthmus.core.networks.dense import MLP
from isthmus.core.networks.fourier import Fourier


def test_it_sees_waves_of_the_code():
    torch.manual_seed(0)
    body = Fourier((2,), (7,), waves=5, widths=[4])
    body.frequencies.zero_()
    body.frequencies[0, 0] = 2 * torch.pi
    z = torch.randn(6, 2)
    torch.testing.assert_close(body(z), body(z + torch.tensor([1.0, 3.0])), atol=1e-5, rtol=1e-4)


def test_it_learns_fine_detail_that_a_dense_network_misses():
    z = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wanted = (9 * z).sin().prod(1, keepdim=True)
    errors = {}
    for name, kind, options in (("waves", Fourier, {"scale": 6.0}), ("dense", MLP, {})):
        torch.manual_seed(0)
        body = kind((2,), (1,), widths=[64], **options)
        head = torch.nn.Linear(64, 1)
        optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], 5e-3)
        for _ in range(200):
            loss = (head(body(z)) - wanted).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        errors[name] = float(loss.detach())
    assert errors["waves"] < 0.3 * errors["dense"]


@pytest.mark.parametrize("options", [{"waves": 0}, {"scale": 0.0}, {"widths": []}, {"activation": "step"}])
def test_options_that_make_no_sense(options):
    with pytest.raises(ValueError, match=r"above 0|activation"):
        Fourier((2,), (7,), **options)
