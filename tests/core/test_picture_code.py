"""Bytes and pixels are those of whole numbers: what is written is read, everywhere."""

import copy
import math
import warnings
from functools import cache

import numpy as np
import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.bottlenecks.hyperprior import COUNTED
from isthmus.core.picture_code import QUALITIES, PictureCode, Tables, between, quality_of
from isthmus.core.tiling import mirrored
from isthmus.recipes import compose

SMALL = {"encoder": {"width": 2}, "decoder": {"width": 2}, "bottleneck": {"width": 8, "hyper": 4, "told": 4}}


@cache
def net_of(channels=1, seed=0):
    """A network whose parts all do something, as if it had been trained."""
    torch.manual_seed(seed)
    spec = compose("codec", kind="pixels", said=SMALL, latent_dim=1, warm_start=None)
    net = Net(spec, (channels, 32, 32))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.01 * torch.randn_like(p))
    net.train()
    net.start_from(x=pictures(channels))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(25):
        losses = net.losses(x=pictures(channels))
        optimiser.zero_grad()
        losses.groups["main"].backward()
        optimiser.step()
        net.project()
    return net.eval()


def pictures(channels=1, n=6, side=32):
    """Shades and an edge."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.linspace(0, 1, side)
    shade = rows[:, None] * torch.rand(n, channels, 1, 1, generator=generator) + 0.3 * (rows > 0.5)
    return (shade + 0.03 * torch.randn(n, channels, side, side, generator=generator)).clamp(0, 1)


def picture(height, width, channels=1, seed=0):
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    grey = 128 + 80 * np.sin(x / 9) * np.cos(y / 13) + 40 * (x + y > height) + chance.normal(0, 3, (height, width))
    shades = np.stack([grey * (1 - 0.2 * c) for c in range(channels)], axis=2)
    return shades.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def code():
    return PictureCode(net_of())


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (8, 200), (64, 64)])
def test_what_is_written_is_read(code, size):
    for quality in (1, 50, 100):
        with torch.inference_mode():
            y, z = code.coefficients(picture(*size), quality)
            data, found = code.hyper.encode(y, z, quality, np.ones(64))
            again = code.hyper.decode(data, *y.shape[2:], quality)
        assert torch.equal(found, again)
        assert code.decode(data, *size, quality).shape == (*size, 1)


def test_whole_numbers_do_what_the_network_does(monkeypatch):
    """The files' pixels are those of the network in floats, and its rate is their length."""
    monkeypatch.setattr("isthmus.core.picture_code.THRIFT", 0.0)  # the nearest steps, as the network takes them
    plain = copy.deepcopy(net_of())
    plain.bottleneck.counts.zero_()  # normals, as its rate is
    code = PictureCode(plain)
    net, some = code.likelihood, picture(72, 88)
    for quality in (10, 60, 95):
        data = code.encode(some, quality)
        q = torch.tensor([quality_of(quality)])
        with torch.inference_mode():
            x = mirrored(torch.from_numpy(some).movedim(2, 0)[None].float() / 255, (72, 88))
            y = code.encoder.analyse(x, q)
            plane = q[:, None, None, None].expand(1, 1, *y.shape[2:])
            coded = code.hyper.part(torch.cat([y, plane], dim=1))
            expected = net(code.decoder.body(coded.z)).mean[0].movedim(0, 2)
        back = code.decode(data, 72, 88, quality)
        assert np.abs(back - (expected * 255).clamp(0, 255).numpy()).mean() < 2.0
        assert len(data) == pytest.approx(float(coded.rate) / math.log(2) / 8, rel=0.08)


def test_larger_quality_larger_file_smaller_error(code):
    some, sizes, errors = picture(64, 96), [], []
    for quality in (1, 30, 60, 90):
        data = code.encode(some, quality)
        sizes.append(len(data))
        errors.append(np.square(code.decode(data, 64, 96, quality).astype(float) - some).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


def test_pieces_join_without_a_seam(code, monkeypatch):
    from isthmus.core import picture_code

    some = picture(200, 240)
    data = code.encode(some, 40)
    whole = code.decode(data, 200, 240, 40)
    monkeypatch.setattr(picture_code, "_PIECE", 7)
    assert np.array_equal(code.decode(data, 200, 240, 40), whole)
    assert abs(len(code.encode(some, 40)) - len(data)) <= 8  # the encoder is free in its last digits


def test_other_threads_and_libraries_read_the_same(code):
    data = code.encode(picture(90, 70), 70)
    whole, usual = code.decode(data, 90, 70, 70), torch.get_num_threads()
    try:
        for threads, onednn in ((1, False), (3, True)):
            torch.set_num_threads(threads)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of another kind of processor
                with torch.backends.mkldnn.flags(enabled=onednn):
                    assert np.array_equal(code.decode(data, 90, 70, 70), whole)
    finally:
        torch.set_num_threads(usual)
    other = PictureCode(copy.deepcopy(net_of()).double())  # made anew, in other digits
    assert np.array_equal(other.decode(data, 90, 70, 70), whole)


def test_knots_and_what_lies_between_them_are_whole_numbers():
    knots = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    found = [int(between(knots, quality)[0]) for quality in range(1, QUALITIES + 1)]
    assert found == [(quality - 1) * 5 * 65536 // 99 for quality in range(1, QUALITIES + 1)]


def test_tables_are_possible_and_follow_what_was_counted():
    counts = torch.zeros(COUNTED, 34)
    counts[20] = torch.tensor([9000.0, 1000.0, *[0.0] * 32])
    usual, counted = Tables(torch.zeros(COUNTED, 34)), Tables(counts)
    for number in (0, 19, 31, 63):
        reach, mass = usual[number]
        assert len(mass) == 2 * reach + 2
        assert (mass >= 1).all()
        assert np.array_equal(mass[:-1], mass[:-1][::-1])
    reach, mass = counted[20]
    assert mass[reach] / mass.sum() == pytest.approx(0.9, abs=0.01)
    assert mass[reach + 1] / mass.sum() == pytest.approx(0.05, abs=0.005)


def test_what_is_far_away_is_written_all_the_same(code):
    with torch.inference_mode():
        y = torch.zeros(1, 64, 3, 3)
        y[0, 5, 1, 1], y[0, 0, 0, 2], y[0, 63, 2, 2] = 5000.0, -9000.0, 40.0
        data, found = code.hyper.encode(y, torch.zeros(1, 4, 1, 1), 50, np.ones(64))
        assert torch.equal(code.hyper.decode(data, 3, 3, 50), found)
    assert (found / 4096 - y).abs().max() < 1.6
