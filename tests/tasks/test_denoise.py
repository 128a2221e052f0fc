"""From files to files: what is chosen, what comes off, and what stays as it was."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isthmus.app.cli import main
from isthmus.errors import DataError, FileError, SpecError
from isthmus.model import open_model
from isthmus.spec import Plan
from isthmus.tasks.checkup.health import health
from isthmus.tasks.denoising.denoise import denoise, psnr, ssim
from isthmus.tasks.denoising.learn_noise import NOISES, added
from isthmus.tasks.denoising.yolo import Dataset, label_of
from isthmus.tasks.jobs import fit_for, known_jobs

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("skimage")
spec = importlib.util.spec_from_file_location("scenes", Path(__file__).with_name("scenes.py"))
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)

CLEAN = made_up.bytes_of(made_up.scenes(20))
NOISY = made_up.bytes_of(made_up.scenes(20), 25)
SMALL = {"encoder": {"widths": [8, 8], "blocks": 1}, "decoder": {"widths": [8, 8], "blocks": 1}}


def fitted(rows, steps=120, **asked):
    said = []
    plan = Plan(epochs=max(1, steps // 60), learning_rate=5e-3)
    return fit_for("denoise", rows, parts=SMALL, plan=plan, told=said.append, **asked), said


@pytest.fixture(scope="module")
def model():
    return fitted(CLEAN, 300, options={"noise": "gaussian:25"})[0]


def mean_psnr(found, clean):
    return np.mean([psnr(f / 255, c / 255) for f, c in zip(found, clean, strict=True)])


def test_it_takes_noise_off_pictures_that_it_has_never_seen(model):
    fresh, noisy = made_up.bytes_of(made_up.scenes(4, first=100)), made_up.bytes_of(made_up.scenes(4, first=100), 25)
    found = denoise(model, noisy, method="network", target=fresh)
    assert mean_psnr(list(found), fresh) > mean_psnr(noisy, fresh) + 4
    before, after = found.scorecard.psnr
    assert before == pytest.approx(mean_psnr(noisy, fresh), abs=0.01)
    assert after == pytest.approx(mean_psnr(list(found), fresh), abs=0.05)
    assert found.scorecard.ssim[1] > found.scorecard.ssim[0] + 0.1
    assert found.scorecard.level_before == pytest.approx(25, rel=0.1)
    assert found.scorecard.level_after < 8
    assert abs(found.scorecard.residual_alike) < 0.2


def test_the_result_does_not_depend_on_the_tiles(model):
    noisy = made_up.bytes_of([made_up.scene(7, 150, 211)], 25)
    small, large = (denoise(model, noisy, method="network", tile=tile)[0] for tile in (32, 512))
    assert np.abs(small.astype(int) - large).max() <= 1  # a rounding at most


def test_looking_from_all_sides_sees_the_same_from_all_sides(model):
    fresh, noisy = made_up.bytes_of(made_up.scenes(3, first=100)), made_up.bytes_of(made_up.scenes(3, first=100), 25)
    once, often = (list(denoise(model, noisy, method="network", tta=tta)) for tta in (False, True))
    assert mean_psnr(often, fresh) > mean_psnr(once, fresh)
    picture = noisy[0][:64, :96]
    [lying] = denoise(model, [picture.T[::-1].copy()], method="network", tta=True)
    [standing] = denoise(model, [picture], method="network", tta=True)
    assert np.abs(lying.astype(int) - standing.T[::-1]).max() <= 1  # a rounding at most


@pytest.mark.parametrize(
    ("rows", "asked", "how", "corruption"),
    [
        (NOISY, {}, "neighbours", "neighbours"),
        (NOISY, {"target": CLEAN}, "supervised", "identity"),
        (NOISY, {"target": made_up.bytes_of(made_up.scenes(20), 25, seed=9)}, "noise2noise", "identity"),
        (CLEAN, {}, "synthetic", "white"),
        (CLEAN, {"options": {"noise": "salt-and-pepper:0.1"}}, "synthetic", "impulses"),
        (NOISY, {"options": {"noise": "blind"}}, "synthetic", "white"),
        (CLEAN, {"options": {"noise": "jpeg:20"}}, "synthetic", "jpeg"),
    ],
)
def test_the_training_follows_from_what_there_is(rows, asked, how, corruption):
    model, said = fitted(rows, 1, **asked)
    assert model.record.job["how"] == how
    assert model.spec.corruption.kind == corruption
    assert model.spec.encoder.kind == "unet"
    assert any("noise: a level of" in line for line in said)


def test_noise_that_is_alike_along_rows_gets_a_blind_spot_that_covers_it():
    g = np.random.default_rng(0)

    def smeared(p):
        raw = g.normal(0, 25, p.shape)
        return (255 * p + (raw + np.roll(raw, 1, 1)) / 2**0.5).clip(0, 255).astype(np.uint8)

    model, said = fitted([smeared(p) for p in made_up.scenes(20)], 1)
    assert model.record.job["how"] == "blind_spot"
    assert model.spec.corruption.options == {"across": 1, "down": 0}
    assert model.spec.objective.kind == "masked"
    assert any("alike over 1 pixel(s) along rows" in line for line in said)
    assert set(model.record.job["methods"]) == {"network"}  # a hidden pixel cannot judge such noise


def test_noisy_pictures_alone_teach_nearly_as_much():
    model, _ = fitted(NOISY, 3600)  # of which a step has a quarter as many pixels, and an epoch few
    fresh, noisy = made_up.bytes_of(made_up.scenes(4, first=100)), made_up.bytes_of(made_up.scenes(4, first=100), 25)
    found = list(denoise(model, noisy, method="network"))
    assert mean_psnr(found, fresh) > mean_psnr(noisy, fresh) + 4


def test_a_classical_method_wins_where_it_wins_and_that_is_told(tmp_path):
    """A network that has hardly begun is worse, so it is not used."""
    model, said = fitted(CLEAN, 1, options={"noise": "gaussian:25"})
    methods = {name: found["error"] for name, found in model.record.job["methods"].items() if name != "as it is"}
    assert min(methods, key=methods.get) == model.record.job["best"] != "network"
    assert any("isthmus denoise uses it" in line for line in said)
    again = open_model(model.save(tmp_path / "a.isthmus"))
    found = denoise(again, NOISY)
    assert "better than the network" in found.summary()[0]
    assert mean_psnr(list(found), CLEAN) > mean_psnr(NOISY, CLEAN) + 3
    assert denoise(again, NOISY, method="network").cleaner.name == "network"


def test_a_file_of_its_own_and_the_same_results(model, tmp_path):
    again = open_model(model.save(tmp_path / "a.isthmus"))
    one, two = (denoise(m, NOISY[:2], method="network") for m in (model, again))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_one_large_picture_is_enough():
    model, _ = fitted(made_up.bytes_of([made_up.scene(1, 500, 400)], 25), 60)
    assert model.record.n_held_out >= 2
    assert model.record.job["compared_on"] >= 2


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_channels_and_types(model, channels, dtype):
    scale = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    clean = np.stack([made_up.scene(50 + k, 70, 45) for k in range(channels)], axis=2)
    noisy = (clean + np.random.default_rng(0).normal(0, 0.1, clean.shape)).clip(0, 1)
    found = denoise(model, [(noisy * scale).astype(dtype)], method="network")[0]
    assert found.dtype == dtype
    assert found.shape == (clean[..., 0] if channels == 1 else clean).shape
    assert psnr(np.atleast_3d(found) / scale, clean) > psnr(noisy, clean) + 3


def test_holes_of_floats_stay_holes(model):
    picture = made_up.scene(1).astype(np.float32)
    picture[3, 4] = np.nan
    found = denoise(model, [picture], method="network")[0]
    assert np.isnan(found[3, 4])
    assert np.isfinite(found).sum() == found.size - 1


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "in" / "deep").mkdir(parents=True)
        tags = Image.Exif()
        tags[0x010F] = "Maker"
        Image.fromarray(NOISY[0]).save(tmp_path / "in" / "a.jpg", exif=tags.tobytes(), dpi=(300, 300))
        Image.fromarray(np.dstack(NOISY[:3])).save(tmp_path / "in" / "deep" / "b.png")
        stack = np.stack(NOISY[:4]).astype(np.uint16) * 257
        tifffile.imwrite(tmp_path / "in" / "c.tif", stack, photometric="minisblack", resolution=(3.0, 3.0))
        return tmp_path / "in"

    def test_names_folders_types_and_metadata_stay(self, model, folder, tmp_path):
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        written = denoise(model, folder, method="network").save(tmp_path / "out")
        names = ["a.jpg", "c.tif", "deep/b.png"]
        assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in written) == names
        with Image.open(tmp_path / "out" / "a.jpg") as picture:
            assert (picture.getexif()[0x010F], picture.info["dpi"], picture.size) == ("Maker", (300, 300), (96, 96))
        with tifffile.TiffFile(tmp_path / "out" / "c.tif") as tif:
            assert (tif.asarray().shape, tif.asarray().dtype) == ((4, 96, 96), np.uint16)
            assert tif.pages[0].tags["XResolution"].value == (3, 1)
            assert mean_psnr(tif.asarray() / 257, CLEAN[:4]) > mean_psnr(NOISY[:4], CLEAN[:4]) + 3
        assert {p: p.read_bytes() for p in before} == before

    def test_originals_are_never_written_to(self, model, folder, tmp_path):
        found = denoise(model, folder, method="network")
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        with pytest.raises(FileError, match="one of the originals themselves"):
            found.save(folder)
        (tmp_path / "link").symlink_to(folder)
        with pytest.raises(FileError, match="one of the originals themselves"):
            found.save(tmp_path / "link")
        assert {p: p.read_bytes() for p in before} == before

    def test_one_file_goes_where_it_is_said(self, model, folder, tmp_path):
        found = denoise(model, folder / "a.jpg", method="network")
        assert found.save(tmp_path / "clean.jpg") == [tmp_path / "clean.jpg"]
        with pytest.raises(FileError, match=r"Say .*clean\.jpg"):
            found.save(tmp_path / "clean.png")
        with pytest.raises(FileError, match="do not go into one"):
            denoise(model, folder, method="network").save(tmp_path / "all.png")

    def test_a_file_that_goes_bad_does_not_stop_the_others(self, model, folder, tmp_path):
        found = denoise(model, folder, method="network")
        (folder / "a.jpg").write_bytes(b"\xff\xd8\xff no")
        assert len(found.save(tmp_path / "out")) == 2
        assert len(found.failed) == 1


class TestYolo:
    YAML = "# mine\npath: data  # the root\ntrain: images/train\nval:\n  - images/val\nnames:\n  0: cat\n"

    @pytest.fixture
    def yaml(self, tmp_path):
        for i, part in enumerate(("train", "train", "val")):
            (tmp_path / "data" / "images" / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / "labels" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.dstack([NOISY[i]] * 3)).save(tmp_path / "data" / "images" / part / f"{i}.jpg")
            (tmp_path / "data" / "labels" / part / f"{i}.txt").write_text(f"0 0.5 0.5 0.{i + 1} 0.2\n")
        (tmp_path / "data.yaml").write_text(self.YAML)
        return tmp_path / "data.yaml"

    def test_the_new_root_is_complete(self, model, yaml, tmp_path):
        found = denoise(model, yolo=yaml, method="network")
        assert any("train it again" in line for line in found.summary())
        found.save(tmp_path / "new")
        old, new = (
            sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
            for root in (tmp_path / "data", tmp_path / "new")
        )
        assert new == sorted([*old, "data.yaml"])
        for name in old:
            one, two = tmp_path / "data" / name, tmp_path / "new" / name
            if name.endswith(".txt"):
                assert one.read_bytes() == two.read_bytes()
            else:
                with Image.open(one) as a, Image.open(two) as b:
                    assert (a.size, a.mode) == (b.size, b.mode)
        text = (tmp_path / "new" / "data.yaml").read_text()
        assert text == self.YAML.replace("path: data  # the root", f"path: {tmp_path / 'new'}")
        assert [p.name for p in Dataset.open(tmp_path / "new" / "data.yaml").images] == ["0.jpg", "1.jpg", "2.jpg"]

    def test_lists_of_pictures(self, model, yaml, tmp_path):
        root = tmp_path / "data"
        (root / "train.txt").write_text(f"./images/train/0.jpg\n{root}/images/train/1.jpg\n")
        yaml.write_text(self.YAML.replace("images/train", "train.txt"))
        denoise(model, yolo=yaml, method="network").save(tmp_path / "new")
        listed = (tmp_path / "new" / "train.txt").read_text().split()
        assert listed == ["./images/train/0.jpg", f"{tmp_path / 'new'}/images/train/1.jpg"]
        assert len(Dataset.open(tmp_path / "new" / "data.yaml").images) == 3

    def test_mistakes_are_said(self, model, yaml, tmp_path):
        with pytest.raises(FileError, match="lie in each other"):
            denoise(model, yolo=yaml, method="network").save(tmp_path / "data" / "clean")
        yaml.write_text("train: nowhere\n")
        with pytest.raises(FileError, match="train: nowhere"):
            Dataset.open(yaml)
        with pytest.raises(SpecError, match="not both"):
            denoise(model, NOISY, yolo=yaml)

    def test_labels_lie_beside_the_last_images(self):
        assert label_of(Path("/images/a/images/b.png")) == Path("/images/a/labels/b.txt")
        assert label_of(Path("/a/b.png")) == Path("/a/b.txt")


class TestMistakes:
    def test_models_and_pictures_that_do_not_suit(self, model):
        other = fitted([np.dstack([c, c, c]) for c in CLEAN], 1, options={"noise": "blind"})[0]
        with pytest.raises(DataError, match=r"modality\.channels=1"):
            denoise(other, [np.zeros((20, 20, 2), np.uint8)])
        assert denoise(other, [NOISY[0]], method="network")[0].shape == (96, 96)  # grey in a model of colours
        with pytest.raises(SpecError, match="isthmus denoise MODEL"):
            model.encode(NOISY)
        with pytest.raises(SpecError, match="Nothing is said to be cleaned"):
            denoise(model)
        with pytest.raises(SpecError, match="nothing says which codes are likely"):
            model.sample(2)
        with pytest.raises(SpecError, match="everything of a row passes"):
            health(model, NOISY)

    def test_a_model_of_another_kind(self):
        from isthmus.model import Model

        with pytest.raises(SpecError, match="--for denoise"):
            denoise(Model.fit("example:digits", plan=Plan(epochs=0)), NOISY)

    def test_pairs_are_checked(self):
        with pytest.raises(DataError, match="needs its clean one"):
            fitted(NOISY, 1, target=CLEAN[:5])
        with pytest.raises(DataError, match="and its clean one"):
            fitted(NOISY, 1, target=[c[:50] for c in CLEAN])
        with pytest.raises(SpecError, match="Pairs show their noise"):
            fitted(NOISY, 1, target=CLEAN, options={"noise": "jpeg"})

    @pytest.mark.parametrize("kind", NOISES)
    def test_a_level_is_a_number_or_two(self, kind):
        level = {"jpeg": "20", "poisson-gaussian": "30", "gaussian": "25"}.get(kind, "0.2")
        found = added(f"{kind}:{level}", 255.0)
        assert found["low"] == found["high"] > 0
        with pytest.raises(SpecError, match=f"level of {kind}"):
            added(f"{kind}:loud", 255.0)

    def test_names_that_do_not_exist(self):
        with pytest.raises(SpecError, match="Did you mean 'gaussian'"):
            fitted(CLEAN, 1, options={"noise": "gausian:25"})
        with pytest.raises(SpecError, match="Did you mean 'denoise'"):
            fit_for("denoize", CLEAN)
        with pytest.raises(SpecError, match="Did you mean 'noise'"):
            fitted(CLEAN, 1, options={"nois": "blind"})
        assert known_jobs() == ["denoise", "compress"]


def test_similarity_is_one_of_a_picture_with_itself_and_falls_with_noise():
    clean = made_up.scene(0)[..., None]
    noisy = [clean + np.random.default_rng(0).normal(0, s, clean.shape) for s in (0.02, 0.1)]
    assert ssim(clean, clean) == pytest.approx(1)
    assert 1 > ssim(noisy[0], clean) > ssim(noisy[1], clean)
    from skimage.metrics import structural_similarity

    theirs = structural_similarity(
        clean[..., 0], noisy[1][..., 0], data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(noisy[1], clean) == pytest.approx(theirs, abs=0.02)


def test_the_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("noisy").mkdir()
    for i, picture in enumerate(NOISY):
        Image.fromarray(picture).save(f"noisy/{i}.png")
    small = [f"--set={place}.{name}={value}" for place in ("encoder", "decoder")
             for name, value in (("widths", "[8,8]"), ("blocks", 1))]  # fmt: skip
    fit = ["fit", "noisy", "--for", "denoise", "-o", "a.isthmus", "--epochs", "1", *small]
    assert main(fit) == 0
    said = capsys.readouterr().out
    assert "noise: a level of 2" in said
    assert "Neighbor2Neighbor" in said
    assert "next: isthmus denoise a.isthmus" in said
    assert main(["denoise", "a.isthmus", "noisy", "-o", "clean"]) == 0
    assert "20 files in clean" in capsys.readouterr().out
    assert main(["denoise", "a.isthmus", "noisy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 20
    assert main(["info", "a.isthmus"]) == 0
    assert main(["detect", "a.isthmus", "noisy"]) == 2
    assert "isthmus denoise MODEL" in capsys.readouterr().err
    assert main([*fit, "--auto-heal"]) == 2
    assert main(["fit", "noisy", "-o", "b.isthmus", "--noise", "blind"]) == 2
    assert "goes with --for denoise" in capsys.readouterr().err
    assert main(["denoise", "a.isthmus"]) == 2
