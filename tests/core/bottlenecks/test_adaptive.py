import numpy as np
import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.model import Model, open_model
from isthmus.spec import Part, Plan, Spec
from isthmus.training.loop import evaluate


def adaptive(dim=4, **options):
    torch.manual_seed(0)
    return BOTTLENECKS["adaptive"]((5,), dim, **options)


def trained(bottleneck, h, steps):
    bottleneck.train()
    for _ in range(steps):
        bottleneck(h)
        bottleneck.project()
    return bottleneck


class TestShutting:
    def silent_at(self, j):
        """Number j says nothing: μ = 0, σ = 1 whatever the row."""
        bottleneck = adaptive()
        mu, log_var = bottleneck.gaussian.mu.layer, bottleneck.gaussian.log_var.layer
        with torch.no_grad():
            for layer in (mu, log_var):
                layer.weight[j], layer.bias[j] = 0, 0
            mu.weight[j - 1] *= 5
        return bottleneck

    def test_a_number_that_says_nothing_is_shut_for_good(self):
        h = torch.randn(30, 5)
        bottleneck = trained(self.silent_at(2), h, 300)
        assert bottleneck.active.tolist() == [True, True, False, True]
        assert bottleneck.n_numbers == 3
        torch.nn.init.normal_(bottleneck.gaussian.mu.layer.weight)
        trained(bottleneck, h, 300)
        code = bottleneck(h)
        assert (code.z[:, 2] == 0).all()
        assert (bottleneck.eval().mode(h)[:, 2] == 0).all()
        assert (code.aux["rates"][:, 2] == 0).all()
        torch.testing.assert_close(code.rate, code.aux["rates"].sum(1))

    def test_not_before_it_was_looked_at_for_a_while(self):
        assert trained(self.silent_at(2), torch.randn(30, 5), 50).active.all()

    def test_one_number_always_stays(self):
        bottleneck = trained(adaptive(least=100.0), torch.randn(30, 5), 300)
        assert bottleneck.n_numbers == 1

    def test_held_out_rows_shut_nothing(self):
        body = Part("mlp", {"widths": [8]})
        net = Net(Spec(encoder=body, decoder=body, latent_dim=3, bottleneck=Part("adaptive")), (6,)).train()
        before = net.bottleneck.rates.clone()
        evaluate(net, {"x": torch.randn(40, 6)})
        net.project()
        assert torch.equal(net.bottleneck.rates, before)


def test_it_is_a_gaussian_code_where_nothing_is_shut():
    bottleneck, h = adaptive(), torch.randn(6, 5)
    torch.manual_seed(1)
    code = bottleneck.train()(h)
    torch.manual_seed(1)
    expected = bottleneck.gaussian(h)
    assert torch.equal(code.z, expected.z)
    torch.testing.assert_close(code.rate, expected.rate)


def surface(dimension, n=4000, columns=60):
    g = np.random.default_rng(0)
    inner = np.tanh(g.normal(size=(n, dimension)) @ g.normal(size=(dimension, 120)) * 1.5 / np.sqrt(dimension))
    rows = inner @ g.normal(size=(120, columns))
    return rows / rows.std() + 0.05 * g.normal(size=rows.shape)


@pytest.mark.slow
def test_the_recipe_finds_the_dimension_of_a_curved_surface(tmp_path):
    """PCA needs more numbers than the surface has dimensions; the code does not, and says so."""
    rows = surface(5)
    model = Model.fit(rows, "adaptive")
    assert model.pca.total > 1.05 * float(model.pca.variances.sum()), "PCA of that size leaves more than 5 %"
    assert abs(model.latent_dim - 5) <= 1
    assert model.spec.latent_dim > model.latent_dim
    assert len(model.pca.components) == model.latent_dim, "PCA beside it has as many"
    codes = model.encode(rows)
    assert ((codes != 0).any(0)).sum() == model.latent_dim
    assert any(f"{model.latent_dim} of at most {model.spec.latent_dim} numbers" in r for r in model.record.remarks)
    again = open_model(model.save(tmp_path / "model.isthmus"))
    assert again.latent_dim == model.latent_dim
    assert (again.encode(rows) == codes).all()
    assert Model.fit(rows, "adaptive", plan=Plan(epochs=1), latent_dim=5).spec.latent_dim == 5


@pytest.mark.slow
def test_rows_on_no_surface_keep_a_code():
    """Variance spread over many directions pays for few of them; still not all may be lost."""
    model = Model.fit("example:digits", "adaptive")
    assert 3 <= model.latent_dim < model.spec.latent_dim
    assert model.record.error < model.record.pca_error < 0.5 * model.record.mean_error
