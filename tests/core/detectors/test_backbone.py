import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from isthmus.core.detectors import backbone
from isthmus.errors import FileError
from isthmus.model import Model, open_model
from isthmus.spec import Plan


class Block(nn.Module):
    """A block of a residual network as torchvision writes it, 3 × 3 twice or 1 × 1, 3 × 3, 1 × 1."""

    def __init__(self, a, b, stride, narrow, groups=1):
        super().__init__()
        out = 4 * b if narrow else b
        shapes = [(a, b, 1, 1, 1), (b, b, 3, stride, groups), (b, out, 1, 1, 1)] if narrow else [
            (a, b, 3, stride, 1), (b, b, 3, 1, 1)
        ]  # fmt: skip
        for i, (m, n, k, s, g) in enumerate(shapes, start=1):
            self.add_module(f"conv{i}", nn.Conv2d(m, n, k, s, k // 2, groups=g, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(n))
        self.n, self.out = len(shapes), out
        if stride > 1 or a != out:
            self.downsample = nn.Sequential(nn.Conv2d(a, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        h = x
        for i in range(1, self.n + 1):
            h = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(h))
            h = F.relu(h) if i < self.n else h
        return F.relu(h + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, narrow=False, groups=1, width=8):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        a = width
        for i, stride in enumerate((1, 2, 2, 2), start=1):
            layer = []
            for block in range(2):
                layer.append(Block(a, width * 2 ** (i - 1), stride if block == 0 else 1, narrow, groups))
                a = layer[-1].out
            self.add_module(f"layer{i}", nn.Sequential(*layer))
        self.fc = nn.Linear(a, 10)

    def forward(self, x):
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (x - mean[:, None, None]) / deviation[:, None, None]
        h, found = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1), []
        for i in (1, 2, 3):
            h = getattr(self, f"layer{i}")(h)
            found.append(h)
        return found


def network(seed=0, **options):
    torch.manual_seed(seed)
    net = ResNet(**options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if it had been trained
            for what in (module.weight.data, module.running_var):
                what.uniform_(0.5, 1.5)
            for what in (module.bias.data, module.running_mean):
                what.normal_(0, 0.2)
    return net.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file(network().state_dict(), path)
    return path


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"narrow": True}, {"narrow": True, "groups": 2}], ids=["34", "50", "next"])
def test_the_weights_alone_say_what_the_network_is(tmp_path, options):
    net, x = network(**options), torch.rand(2, 3, 45, 64)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    for ours, theirs in zip(backbone.look(backbone.read(tmp_path / "w.safetensors"), x), net(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_grey_pictures_are_seen_as_colour(weights):
    grey, known = torch.rand(2, 1, 32, 32), backbone.read(weights)
    for one, three in zip(backbone.look(known, grey), backbone.look(known, grey.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(one, three)


def plates(n, seed):
    """Waves, and noise."""
    g, (y, x) = np.random.default_rng(seed), np.mgrid[:48, :48]
    waves = np.sin(x / 3 + g.uniform(-0.1, 0.1, (n, 1, 1))) * np.cos(y / 5)
    return (120 + 60 * waves + g.normal(0, 6, (n, 48, 48))).clip(0, 255).astype(np.uint8)


def test_defects_are_found_with_it_and_the_file_needs_it_no_longer(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights.read_bytes())
    model = Model.fit(plates(80, 0), parts={"detector": {"kind": "patches", "backbone": str(path)}},
                      plan=Plan(epochs=1, seed=0), device="cpu")  # fmt: skip
    new = plates(20, 1)
    new[:10, 20:28, 30:38] = 255 - new[:10, 20:28, 30:38]
    scores = model.score(new)
    assert scores[:10].min() > scores[10:].max()
    maps = model.contributions(new)[0][:10, 0]
    inside = maps[:, 16:32, 26:42].mean((1, 2)) / maps.mean((1, 2))  # what a place sees is wider than a cell
    assert np.median(inside) > 1.2
    model.save(tmp_path / "m.isthmus")
    path.unlink()
    np.testing.assert_allclose(open_model(tmp_path / "m.isthmus", device="cpu").score(new), scores, rtol=1e-5)


@pytest.mark.parametrize(("content", "why"), [
    (None, "There are no weights at"),
    (b"\x80\x04pickle", "is no safetensors file"),
    ({"blocks.0.weight": torch.zeros(2)}, "not those of a ResNet"),
    ({"conv1.weight": torch.zeros(8, 3, 7, 7), "layer3.0.conv1.weight": torch.zeros(8, 8, 3, 3)}, "lack 'bn1"),
])  # fmt: skip
def test_weights_that_are_none_are_refused_before_the_training(tmp_path, content, why):
    path, trained = tmp_path / "w.safetensors", []
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file(content, path)
    with pytest.raises(FileError, match=why):
        Model.fit(plates(10, 0), parts={"detector": {"kind": "patches", "backbone": str(path)}}, device="cpu",
                  callbacks=[trained.append])  # fmt: skip
    assert not trained
