import torch

from isthmus.core.autoencoder import Net
from isthmus.spec import Part, Spec


def test_l2_is_half_the_squared_norm_of_the_code():
    body = Part("mlp", {"widths": [8]})
    weight = {"start": 0, "end": 3}
    net = Net(Spec(encoder=body, decoder=body, latent_dim=2, penalties=(Part("l2", {"weight": weight}),)), (5,))
    trace = net.eval().trace(torch.randn(6, 5))
    torch.testing.assert_close(net.penalties["l2"](trace), 1.5 * trace.code.z.square().sum(1))
    losses = net.losses(x=trace.x)
    torch.testing.assert_close(losses.groups["main"], losses.terms["reconstruction"] + losses.terms["l2"])
    net.progress = 0.0
    assert net.losses(x=trace.x).terms["l2"] == 0
