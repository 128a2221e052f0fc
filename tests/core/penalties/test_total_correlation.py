from dataclasses import fields

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.parts import Code, Trace
from isthmus.core.penalties import PENALTIES
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec


def trace_of(mu, log_var):
    """A pass that ended in these posteriors and one draw of each."""
    z = mu + torch.randn_like(mu) * (log_var / 2).exp()
    code = Code(z, torch.zeros(len(z)), {"mu": mu, "log_var": log_var})
    return Trace(**{field.name: None for field in fields(Trace)} | {"code": code, "progress": 1.0})


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_of_a_normal_it_is_known(correlation):
    """Posteriors whose means are spread so that all of them together are N(0, R): TC = −½ log det R."""
    torch.manual_seed(0)
    matrix = torch.full((3, 3), correlation).fill_diagonal_(1)
    noise = 0.15
    mu = torch.randn(4000, 3) @ torch.linalg.cholesky(matrix - noise * torch.eye(3)).T
    found = PENALTIES["total_correlation"](weight=1.0)(trace_of(mu, torch.full_like(mu, noise).log()))
    assert found.shape == (4000,)
    assert float(found.mean()) == pytest.approx(-0.5 * float(torch.logdet(matrix)), abs=0.06)


def test_it_is_the_formula():
    torch.manual_seed(0)
    mu, log_var = torch.randn(2, 5, 3, dtype=torch.float64)
    trace = trace_of(mu, log_var)
    q = torch.distributions.Normal(mu, (log_var / 2).exp()).log_prob(trace.code.z[:, None])  # (z of row, x of row, j)
    expected = q.sum(2).exp().mean(1).log() - q.exp().mean(1).log().sum(1)
    torch.testing.assert_close(PENALTIES["total_correlation"](weight=2.0)(trace), 2 * expected)


def test_one_row_alone_has_none():
    assert PENALTIES["total_correlation"]()(trace_of(torch.randn(1, 4), torch.zeros(1, 4))).abs() < 1e-6


def test_a_code_without_noise_has_no_density():
    body = Part("mlp", {"widths": [8]})
    net = Net(Spec(encoder=body, decoder=body, latent_dim=2, penalties=(Part("total_correlation"),)), (5,))
    with pytest.raises(SpecError, match=r"needs a noisy code\. Say bottleneck='gaussian'"):
        net.losses(x=torch.randn(4, 5))
