import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.pca import fit_pca
from isthmus.spec import Part, Spec


@pytest.mark.parametrize(
    ("body", "shape"),
    [("conv", (2, 9, 7)), ("recurrent", (2, 12)), ("temporal", (2, 12)), ("transformer", (2, 12)),
     ("transformer", (7,)), ("transformer", (2, 9, 7))],
)  # fmt: skip
def test_a_network_with_linear_paths_begins_as_pca(body, shape):
    torch.manual_seed(0)
    x = torch.randn(60, *shape) @ torch.randn(shape[-1], shape[-1]) + 3
    pca = fit_pca(lambda: [x.flatten(1)], 3)
    part = Part(body, {"linear_path": True})
    net = Net(Spec(encoder=part, decoder=part, latent_dim=3), shape).eval()
    assert net.starts_linear
    net.start_at_pca(pca)
    torch.testing.assert_close(net.trace(x).p.mean.flatten(1), pca.reconstruct(x.flatten(1)), rtol=1e-4, atol=1e-3)
