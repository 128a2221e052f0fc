"""Pictures of any size become files of few bytes and come back, or it is said why not."""

import json
import random

import numpy as np
import pytest
from PIL import Image

from isthmus.app.cli import main
from isthmus.data.container import MAGIC, pack_one, unpack
from isthmus.errors import DataError, FileError, SpecError
from isthmus.model import open_model
from isthmus.spec import Plan
from isthmus.tasks.compression.compress import Inspected, compress, decompress
from isthmus.tasks.compression.pictures_packed import _from_luma, _number, _take_number, _to_luma, coded_by, equal, psnr
from isthmus.tasks.jobs import fit_for

SMALL = {"encoder": {"width": 2}, "decoder": {"width": 2}, "bottleneck": {"width": 8, "hyper": 4, "told": 4}}


def picture(height, width, channels=0, seed=0):
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    grey = 128 + 70 * np.sin(x / 9 + seed) * np.cos(y / 13) + 40 * (x + y > height)
    grey = grey + chance.normal(0, 4, (height, width))
    shades = np.stack([grey * (1 - 0.2 * c) for c in range(max(channels, 1))], axis=2).clip(0, 255).astype(np.uint8)
    return shades if channels else shades[..., 0]


def taught(channels):
    rows = [picture(48, 64, channels, seed) for seed in range(4)]
    return fit_for("compress", rows, plan=Plan(epochs=2, batch_size=8, validation=0.25), parts=SMALL)


@pytest.fixture(scope="module")
def grey():
    return taught(0)


@pytest.fixture(scope="module")
def colour():
    return taught(3)


@pytest.mark.parametrize("shape", [(1, 1), (37, 53), (9, 120), (37, 53, 3), (1, 1, 3)])
@pytest.mark.parametrize("model", ["grey", "colour"])
def test_any_size_and_colour_through_any_model(model, shape, request):
    model, some = request.getfixturevalue(model), picture(*shape[:2], *shape[2:])
    packed = compress(model, [some], quality=90, compare=False)
    back = decompress(model, packed).rows[0]
    assert back.shape == shape
    assert back.dtype == np.uint8
    if packed.pictures[0]["psnr"] is None:
        assert np.array_equal(back, some)
    else:  # the error that was told is the one that is found
        assert psnr(some, back) == pytest.approx(packed.pictures[0]["psnr"])
        assert psnr(some, back) > 24


def test_larger_quality_larger_file_smaller_error(grey):
    some = picture(64, 80)
    found = [compress(grey, [some], quality=quality, compare=False) for quality in (1, 40, 80)]
    sizes = [len(one.data) for one in found]
    assert sizes == sorted(sizes)
    near = [one.pictures[0]["psnr"] for one in found]
    assert near == sorted(near)


def test_bits_per_pixel_are_kept_and_used(grey):
    rows = [picture(64, 80, seed=seed) for seed in (1, 2)]
    found = compress(grey, rows, bpp=1.5, compare=False)
    for one in found.pictures:
        assert 1.0 < 8 * one["bytes"] / (64 * 80) <= 1.5
    few = compress(grey, rows, bpp=0.001, compare=False)
    assert "2 of them take more than 0.001 bits per pixel even at quality 1" in few.remarks[0]


def test_what_a_lossless_format_holds_in_fewer_bytes_is_exact(grey):
    flat = np.zeros((60, 90), np.uint8)
    flat[10:20, 10:50] = 200
    packed = compress(grey, [flat], quality=90)
    assert packed.pictures[0]["way"] == "WebP lossless"
    assert np.array_equal(decompress(grey, packed).rows[0], flat)
    assert any("come(s) back exactly" in line for line in packed.summary())


def test_others_are_measured_at_the_same_error(grey):
    some = picture(64, 80)
    packed = compress(grey, [some], quality=60)
    near = packed.pictures[0]["psnr"]
    for one in packed.beside:
        assert one.ours == packed.pictures[0]["bytes"]
        assert one.size == equal(some[..., None], near, one.name)
    sizes = [coded_by(some[..., None], "JPEG", quality) for quality in range(1, 101)]
    assert equal(some[..., None], near, "JPEG") >= min(size for size, found in sizes if found >= near)
    assert {"JPEG", "WebP"} <= {one.name for one in packed.beside}


def test_a_folder_comes_back_under_its_names_with_what_was_beside_pixels(grey, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x010E] = "a wave"
    Image.fromarray(picture(40, 48)).save(source / "one.png", exif=exif, icc_profile=b"profile" * 9)
    cut = np.dstack([picture(24, 32, 3), np.full((24, 32), 77, np.uint8)])
    Image.fromarray(cut).save(source / "deep" / "two.png")
    Image.fromarray(picture(30, 20)).save(source / "three.jpg", quality=95)
    packed = compress(grey, source, quality=80, compare=False)
    packed.save(tmp_path / "all.isz")
    files = decompress(grey, tmp_path / "all.isz").save(target)
    assert sorted(str(f.relative_to(target)) for f in files) == ["deep/two.png", "one.png", "three.png"]
    with Image.open(target / "one.png") as one:
        assert one.mode == "L"
        assert one.info["icc_profile"] == b"profile" * 9
        assert one.getexif()[0x010E] == "a wave"
    with Image.open(target / "deep" / "two.png") as two:
        assert two.mode == "RGBA"
        assert (np.asarray(two)[..., 3] == 77).all()


def test_what_cannot_be_kept_is_refused(grey, tmp_path):
    with pytest.raises(DataError, match="of uint16, and pictures are compressed with 8 bits"):
        compress(grey, [picture(8, 8).astype(np.uint16)])
    with pytest.raises(SpecError, match="quality is a number from 1"):
        compress(grey, [picture(8, 8)], quality=101)
    with pytest.raises(SpecError, match="not both"):
        compress(grey, [picture(8, 8)], quality=5, bpp=1.0)
    with pytest.raises(SpecError, match="leave max_error"):
        compress(grey, [picture(8, 8)], max_error="1")
    with pytest.raises(SpecError, match="bpp is a number of bits"):
        compress(grey, [picture(8, 8)], bpp=-1.0)
    packed = compress(grey, [picture(8, 8)], compare=False)
    with pytest.raises(FileError, match=r"are written as \.isz"):
        packed.save(tmp_path / "picture.jpg")
    with pytest.raises(FileError, match="without a second loss"):
        decompress(grey, packed).save(tmp_path / "back.jpg")
    with pytest.raises(DataError, match="8 bits, grey or in colour"):
        fit_for("compress", [picture(8, 8).astype(np.float32)] * 3)
    with pytest.raises(SpecError, match="leave --target out"):
        fit_for("compress", [picture(8, 8)] * 3, target=[picture(8, 8)] * 3)


def test_another_model_is_refused(grey, colour):
    packed = compress(grey, [picture(16, 16)], quality=90, compare=False)
    with pytest.raises(FileError, match="another model"):
        decompress(colour, packed)


def test_a_damaged_picture_loses_itself_alone(grey):
    rows = [picture(24, 32, seed=seed) for seed in range(3)]
    data = bytearray(compress(grey, rows, quality=60, compare=False).data)
    container = unpack(bytes(data))
    whole = decompress(grey, bytes(data)).rows
    data[container.chunks[1].begin + 9] ^= 4
    with pytest.raises(FileError, match=r"1 of 3 pictures is lost, 1: 1 of 3 chunks.*the other pictures with salvage"):
        decompress(grey, bytes(data))
    back = decompress(grey, bytes(data), salvage=True)
    assert [one.tobytes() for one in back.rows] == [whole[0].tobytes(), whole[2].tobytes()]
    assert Inspected.of(bytes(data)).damaged == 1


def test_broken_files_are_refused_and_never_wrong(grey, damaged):
    rows, chance = [picture(24, 32, seed=seed) for seed in range(2)], random.Random(5)
    for some in (rows, rows[:1]):
        data = compress(grey, some, quality=50, compare=False).data
        whole = [one.tobytes() for one in decompress(grey, data).rows]
        for _ in range(60):
            broken = damaged(data, chance)
            try:
                back = decompress(grey, broken, salvage=True)
            except FileError as error:
                assert str(error).endswith(".")  # noqa: PT017 (the error is the point)
                continue
            assert all(one.tobytes() in whole for one in back.rows)
            assert back.remark or broken == data


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (b"", "unknown"),
        (bytes([7, 50, 16]) + b"\x08\x08", "way of coding is unknown"),
        (bytes([0, 0, 16, 8, 8, 1]), "quality is impossible"),
        (bytes([0, 50, 32, 8, 8, 1]), "size is impossible"),
        (bytes([0, 50, 16]) + b"\xff" * 8, "no end"),
        (bytes([0, 50, 16, 255, 255, 31, 255, 255, 31, 1]), "it claims 524287 x 524287 pixels"),
        (bytes([1, 0, 16, 8, 8]) + b"no picture", "cannot identify"),
        (bytes([0, 50, 48, 8, 8, 200, 1]), "no end"),
    ],
)  # fmt: skip
def test_forged_files_are_refused(grey, chunk, why):
    """Whoever can make a checksum can make a file, and gets a clear error in little memory."""
    with pytest.raises(FileError, match=why):
        decompress(grey, pack_one(grey.fingerprint, chunk))


def test_random_codes_are_read_or_refused(grey):
    """A forged code is some picture of the size that it claims, or an error."""
    chance = random.Random(1)
    for _ in range(20):
        chunk = bytes([0, 50, 16, 16, 24]) + chance.randbytes(chance.randint(0, 60))
        try:
            assert decompress(grey, pack_one(grey.fingerprint, chunk)).rows[0].shape == (16, 24)
        except FileError as error:
            assert "Do not trust" in str(error)  # noqa: PT017


def test_the_head_of_one_picture_is_short(grey):
    data = compress(grey, [picture(16, 24)], quality=30, compare=False).data
    assert data.startswith(MAGIC)
    assert len(data) - len(unpack(data).read(unpack(data).chunks[0])) == 17
    assert b"{" not in data[:22]


def test_numbers_and_colours_come_back():
    for n in (0, 1, 127, 128, 5000, 1 << 20):
        assert _take_number(_number(n) + b"rest") == (n, b"rest")
    shades = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert np.abs(_from_luma(_to_luma(shades)).astype(int) - shades).max() <= 2


def test_the_model_file_and_the_commands(grey, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        Image.fromarray(picture(40, 48, seed=i)).save(f"wave{i}.png")
    options = [f"--set={place}.{name}={value}" for place, said in SMALL.items() for name, value in said.items()]
    fit = ["fit", "wave*.png", "--for", "compress", "-o", "m.isthmus", "--epochs", "1", *options]
    assert main(fit) == 0
    told = capsys.readouterr()
    said = told.out + told.err
    assert "held-out picture(s): quality 20:" in said
    assert "next: isthmus compress m.isthmus NEW_ROWS -o FILE.isz" in said
    assert main(["compress", "m.isthmus", "wave1.png", "--quality", "70", "-o", "w.isz"]) == 0
    assert main(["decompress", "m.isthmus", "w.isz", "-o", "back.png"]) == 0
    with Image.open("back.png") as back, Image.open("wave1.png") as was:
        assert back.size == was.size
    capsys.readouterr()
    assert main(["info", "w.isz", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["codec"] == "pictures"
    assert told["each"][0]["height"] == 40
    model = open_model("m.isthmus")
    assert model.net.bottleneck.counts.sum() > 0  # what was counted travels in the file
    assert model.record.job["curve"][0]["quality"] == 20
    assert main(["decompress", "m.isthmus", "w.isz", "-o", "back.jpg"]) != 0


@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_pictures_are_enough(n):
    rows = [picture(24, 32, seed=seed) for seed in range(n)]
    model = fit_for("compress", rows, plan=Plan(epochs=1, batch_size=8), parts=SMALL)
    assert len(model.record.job["curve"]) == (3 if n >= 4 else 0)


def test_models_for_rows_say_that_they_are_not_for_pictures():
    from isthmus.model import Model

    model = Model.fit(np.random.default_rng(0).normal(size=(40, 4)).astype("f4"), plan=Plan(epochs=1))
    with pytest.raises(SpecError, match="fit PICTURES --for compress"):
        compress(model, np.zeros((2, 4), "f4"), quality=50)


@pytest.mark.parametrize(("side", "precision"), [(8, "float32"), (40, "bfloat16")])
def test_tiny_pictures_are_learned_in_float32(monkeypatch, side, precision):
    """Gradients of bfloat16 convolutions on maps of one pixel are no numbers (oneDNN)."""
    monkeypatch.setattr("isthmus.devices.multiplies_bfloat16", lambda device: True)
    rows = [picture(side, side) for _ in range(8)]
    model = fit_for("compress", rows, plan=Plan(epochs=20 if side == 8 else 1, batch_size=4), parts=SMALL)
    assert model.plan.precision == precision
    assert np.isfinite(model.record.history[-1]["held_out"])
