import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.networks.unet import UDecoder, UEncoder
from isthmus.core.tiling import tiled
from isthmus.recipes import compose
from isthmus.spec import Part


def both(channels=1, side=64, **options):
    torch.manual_seed(0)
    encoder = UEncoder((channels, side, side), (1,), **options)
    return encoder, UDecoder(encoder.out_shape, (channels, side, side), **options)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_any_size_goes_in_and_comes_out(channels):
    encoder, decoder = both(channels, widths=(6, 5, 4))
    assert encoder(torch.zeros(2, channels, 64, 64)).shape[1:] == encoder.out_shape
    for size in ((8, 8), (64, 24), (40, 120)):
        assert decoder(encoder(torch.randn(2, channels, *size))).shape == (2, channels, *size)


@pytest.mark.parametrize(("widths", "blocks"), [((6, 5, 4), 1), ((6, 5), 2), ((6,), 1)])
def test_reach_is_what_a_pixel_sees_and_no_less(widths, blocks):
    """By the gradient: of all pixels of a cell, the furthest that any of them sees."""
    encoder, decoder = both(widths=widths, blocks=blocks)
    side, s = 2 * (decoder.reach + 2 * decoder.stride) // decoder.stride * decoder.stride, decoder.stride
    seen = 0
    for at in range(side // 2 // s * s, side // 2 // s * s + s):
        x = torch.randn(1, 1, side, side, requires_grad=True)
        decoder(encoder(x))[0, 0, at, at].backward()
        where = x.grad[0, 0].nonzero()
        seen = max(seen, int((where - at).abs().max()))
    assert seen <= decoder.reach
    assert seen >= decoder.reach - 2 * s  # a margin of twice what is needed would be slow


@torch.inference_mode()
def test_tiles_are_the_whole_picture_for_the_network_that_denoises():
    spec = compose("residual", suited={"likelihood": {"kind": "gaussian", "per": "all"}}, latent_dim=1)
    options = {"widths": [8, 8, 8], "blocks": 1}
    net = Net(spec.replace(encoder=Part("unet", options), decoder=Part("unet", options)), (1, 64, 64)).eval()
    picture = torch.rand(211, 175, 1, generator=torch.Generator().manual_seed(0)).numpy()

    def run(x):
        return net.decode(net.encode(x)).mean

    tiles, whole = (
        tiled(run, picture, stride=net.decoder.stride, reach=net.decoder.reach, tile=tile) for tile in (64, 512)
    )
    assert abs(tiles - whole).max() <= 1e-5


def test_it_scales_with_the_picture():
    """Without biases a picture of half the contrast comes back with half the contrast: levels need not be known."""
    encoder, decoder = both(widths=(6, 5))
    x = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(decoder(encoder(0.3 * x)), 0.3 * decoder(encoder(x)), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_it_begins_near_the_picture_as_it_is():
    encoder, decoder = both()
    x = torch.rand(4, 1, 64, 64)
    assert float((decoder(encoder(x)) - x).square().mean()) < 0.01 * float(x.square().mean())


def test_wrong_shapes_are_refused_in_words():
    with pytest.raises(ValueError, match="multiples of 8"):
        UEncoder((1, 30, 64), (1,))
    with pytest.raises(ValueError, match="say encoder='unet', bottleneck='open'"):
        UDecoder((5, 8, 8), (1, 64, 64))


def test_a_signal_is_seen_as_far_as_it_says_and_comes_back_as_long():
    options = {"widths": [8, 8], "blocks": 1}
    spec = compose("residual", said={place: {"kind": "unet", **options} for place in ("encoder", "decoder")},
                   suited={"likelihood": {"kind": "gaussian"}}, latent_dim=1)  # fmt: skip
    net = Net(spec, (3, 256)).eval()
    with torch.no_grad():
        net.decoder.tail.weight.mul_(500)  # what it finds is small at first
        x = torch.randn(1, 3, 256)
        other = x.clone()
        other[..., 128] += 1
        one, two = (net.decode(net.encode(t)).mean for t in (x, other))
    assert one.shape == x.shape
    changed = (one != two).any(1)[0].nonzero()[:, 0]
    assert 8 < (changed - 128).abs().max() <= net.decoder.reach
