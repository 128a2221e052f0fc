import pytest
import torch

from isthmus.core.networks.conv import ConvDecoder, ConvEncoder


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 5), (5, 1), (31, 17), (28, 28), (1, 1)])
@pytest.mark.parametrize("widths", [(4,), (4, 8, 6)])
def test_any_size_comes_back(channels, size, widths):
    shape = (channels, *size)
    encoder = ConvEncoder(shape, (3,), widths=widths)
    x = torch.randn(2, *shape)
    h = encoder(x)
    assert h.shape == (2, *encoder.out_shape)
    for code_shape in ((3,), encoder.out_shape):
        decoder = ConvDecoder(code_shape, shape, widths=widths[::-1])
        out = decoder(torch.randn(2, *code_shape))
        assert out.shape == (2, *decoder.out_shape)
        assert out.shape[2:] == x.shape[2:]


def test_vectors_are_refused_with_the_way_out():
    for body in (ConvEncoder, ConvDecoder):
        with pytest.raises(ValueError, match="use 'mlp' instead"):
            body((8,), (8,))


def test_unknown_activation():
    with pytest.raises(ValueError, match="one of relu"):
        ConvEncoder((1, 8, 8), (2,), activation="rellu")


def test_far_pixels_do_not_mix_before_the_head():
    """It is a convolution: a change in one corner leaves the features of the other corner alone."""
    encoder = ConvEncoder((1, 32, 32), (3,), widths=(4, 4))
    x = torch.randn(1, 1, 32, 32)
    y = x.clone()
    y[..., :4, :4] += 1
    changed = (encoder(x) != encoder(y)).any(1)[0]
    assert changed[:2, :2].any()
    assert not changed[4:, 4:].any()
