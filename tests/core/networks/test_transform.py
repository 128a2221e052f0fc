import pytest
import torch

from isthmus.core.networks.transform import KNOTS, TransformDecoder, TransformEncoder, cosines, hats


@pytest.mark.parametrize("channels", [1, 3])
def test_the_start_is_orthonormal_and_low_frequencies_come_first(channels):
    start = cosines(channels)
    torch.testing.assert_close(start @ start.T, torch.eye(64 * channels), atol=1e-5, rtol=0)
    flat = torch.ones(64 * channels)
    torch.testing.assert_close((start @ flat)[0], flat.norm())  # the mean of all colours is the first of all


@pytest.mark.parametrize("channels", [1, 3])
def test_before_training_it_is_the_cosine_transform(channels):
    """With the networks beside it silent, steps undo gains, and pictures come back as they were."""
    torch.manual_seed(0)
    encoder = TransformEncoder((channels, 32, 24), (1,), width=2).eval()
    decoder = TransformDecoder(encoder.out_shape, (channels, 32, 24), width=2).eval()
    for body in (encoder, decoder):
        body.tail.weight.data.zero_()
    x = torch.rand(3, channels, 32, 24)
    with torch.no_grad():
        back = decoder(encoder(x))
    torch.testing.assert_close(back[:, :-1], x, atol=1e-5, rtol=0)


def test_a_batch_has_all_qualities_in_training_and_the_middle_at_use():
    encoder = TransformEncoder((1, 8, 8), (1,), width=2)
    x = torch.rand(10, 1, 8, 8)
    q = encoder.train()(x)[:, -1, 0, 0]
    assert ((q * 10).floor() == torch.arange(10)).all()
    assert (encoder.eval()(x)[:, -1] == 0.5).all()


def test_better_quality_means_smaller_steps():
    encoder = TransformEncoder((1, 8, 8), (1,), width=2).eval()
    encoder.tail.weight.data.zero_()
    x = torch.rand(1, 1, 8, 8).expand(2, -1, -1, -1)
    coarse, fine = encoder.analyse(x, torch.tensor([0.1, 0.9])).abs().amax((1, 2, 3))
    assert fine > 3 * coarse


def test_hats_stand_for_what_lies_between_knots():
    q = torch.linspace(0, 1, 23)
    torch.testing.assert_close(hats(q) @ torch.linspace(0, 1, KNOTS), q)
    torch.testing.assert_close(hats(q).sum(1), torch.ones(23))


def test_sides_are_multiples_of_a_block():
    with pytest.raises(ValueError, match="multiples of 8"):
        TransformEncoder((1, 12, 8), (1,))
    with pytest.raises(ValueError, match="64 coefficients and a quality"):
        TransformDecoder((64, 1, 1), (1, 8, 8))
