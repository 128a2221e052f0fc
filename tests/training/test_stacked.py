"""A stack of shallow autoencoders is a better place to begin than chance, and the whole goes on from there."""

import numpy as np
import pytest
import torch

from isthmus import Autoencoder, Model, open_model
from isthmus.app.cli import main
from isthmus.core.autoencoder import Net
from isthmus.errors import SpecError
from isthmus.spec import Part, Plan, Spec
from isthmus.training.hooks import Hook
from isthmus.training.loop import evaluate
from isthmus.training.stacked import Stack

pytestmark = pytest.mark.usefixtures("brief_committee")

PLAN = Plan(epochs=4, batch_size=16, patience=None, seed=3, pretrain="stacked", learning_rate=3e-3)
PARTS = {"encoder": {"kind": "mlp", "widths": [12, 6]}, "decoder": {"kind": "mlp", "widths": [6, 12]}}


def rows(n=150, d=8, seed=0):
    g = np.random.default_rng(seed)
    return (g.normal(size=(n, 3)) @ np.random.default_rng(9).normal(size=(3, d)) + 0.1 * g.normal(size=(n, d))).astype(
        np.float32
    )


def net_of(activation="gelu", tied=False, **changes):
    options = {"activation": activation}
    body, mirrored = Part("mlp", {"widths": [12, 6], **options}), Part("mlp", {"widths": [6, 12], **options})
    torch.manual_seed(0)
    spec = Spec(encoder=body, decoder=mirrored.updated(tied=tied), latent_dim=3, corruption=Part("gaussian"))
    return Net(spec.replace(**changes), (8,))


def fit(x=None, recipe="denoising", plan=PLAN, **options):
    options = {"parts": PARTS, "latent_dim": 3, "device": "cpu", **options}
    return Model.fit(rows() if x is None else x, recipe, plan=plan, **options)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "sigmoid", "relu"])
def test_the_stack_is_better_than_chance_before_the_whole_is_trained(activation, tied):
    net, x = net_of(activation, tied), torch.tensor(rows())
    before = evaluate(net, {"x": x})[1]
    Stack(net).train({"x": x}, PLAN.replace(epochs=40, learning_rate=1e-2))
    assert evaluate(net, {"x": x})[1] < 0.7 * before
    assert evaluate(net, {"x": x})[1] < float((x - x.mean(0)).square().sum(1).mean())


def test_the_stages_are_the_layers_of_the_network_itself():
    net = net_of()
    stages = Stack(net).stages
    assert [(stage.shape, stage.bottleneck.code_shape) for stage in stages] == [
        ((8,), (12,)),
        ((12,), (6,)),
        ((6,), (3,)),
    ]
    theirs = [p for stage in stages for p in stage.parameters()]
    assert sorted(map(id, theirs)) == sorted(id(p) for p in net.parameters())
    assert all(stage.spec.corruption.kind == "gaussian" for stage in stages)


def test_each_stage_is_trained_on_the_codes_of_the_one_before():
    seen = []

    class Look(Hook):
        def end(self, run):
            seen.append(run.net)

    net, x = net_of(), torch.tensor(rows())
    Stack(net).train({"x": x}, PLAN, hooks=[Look()])
    first, second, third = seen
    deep = net.encoder.layers
    h = torch.nn.functional.gelu(deep[0](x))
    torch.testing.assert_close(first.encode(x), h)
    torch.testing.assert_close(second.encode(h), torch.nn.functional.gelu(deep[1](h)))
    torch.testing.assert_close(third.encode(second.encode(h)), net.encode(x))
    back = torch.nn.functional.gelu(net.decoder.layers[0](net.encode(x)))
    torch.testing.assert_close(third.decode(net.encode(x)).mean, back)
    torch.testing.assert_close(first.decode(h).mean, net.likelihood.head.layer(h))


def test_a_stage_moves_nothing_but_its_own_layers():
    net, x = net_of(), torch.tensor(rows())

    class StopAfterFirst(Hook):
        def end(self, run):
            raise KeyboardInterrupt

    kept = {name: p.clone() for name, p in net.named_parameters()}
    with pytest.raises(KeyboardInterrupt):
        Stack(net).train({"x": x}, PLAN, hooks=[StopAfterFirst()])
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, kept[name])}
    assert moved == {"encoder.layers.0.weight", "encoder.layers.0.bias",
                     "likelihood.head.layer.weight", "likelihood.head.layer.bias"}  # fmt: skip


def test_the_whole_goes_on_from_there():
    """The first line of the record is the state before the first step of the whole."""
    begun, by_chance = fit(), fit(plan=PLAN.replace(pretrain=None), warm_start=None)
    assert begun.record.history[0]["error"] < by_chance.record.history[0]["error"]
    assert begun.record.error < begun.record.history[0]["error"]
    assert begun.spec.warm_start is None
    assert begun.record.phases["pretrain"] > 0


@pytest.mark.parametrize("recipe", ["plain", "masking", "swap", "contractive"])
def test_recipes_missing_cells_and_pairs(recipe):
    x = rows().astype(float)
    holes = np.where(np.random.default_rng(1).random(x.shape) < 0.1, np.nan, x)
    parts = {"encoder": {"widths": [12, 6]}, "decoder": {"widths": [6, 12]}}
    for options in ({}, {"target": x}):
        model = fit(holes, recipe, parts=parts, **options)
        assert np.isfinite(model.score(holes)).all()


def test_images_and_tables():
    g = np.random.default_rng(0)
    model = fit(g.integers(0, 255, size=(60, 6, 5), dtype=np.uint8), parts=PARTS)
    assert model.record.history
    import pandas as pd

    frame = pd.DataFrame({"a": g.normal(size=80), "b": g.choice(["x", "y", "z"], 80)})
    assert len(fit(frame).encode(frame)) == 80


def test_the_estimator_the_command_line_and_the_file(tmp_path):
    ae = Autoencoder(
        latent_dim=3, encoder=PARTS["encoder"], decoder=PARTS["decoder"], epochs=2, pretrain="stacked", random_state=0
    ).fit(rows())
    again = open_model(ae.save(tmp_path / "m.isthmus"))
    assert again.plan.pretrain == "stacked"
    assert np.array_equal(again.encode(rows()), ae.transform(rows()))
    np.save(tmp_path / "x.npy", rows())
    command = ["fit", str(tmp_path / "x.npy"), "-o", str(tmp_path / "c.isthmus"), "--pretrain", "stacked"]
    assert main([*command, "--epochs", "2", "--set", "decoder.tied=true", "-q"]) == 0
    assert open_model(tmp_path / "c.isthmus").plan.pretrain == "stacked"
    assert not list(tmp_path.glob("*.checkpoint*"))


def test_the_clock_is_shared():
    model = fit(plan=PLAN.replace(max_time=2.0, epochs="auto"))
    assert 0.5 < model.record.phases["pretrain"] < 1.9
    assert model.record.stopped.startswith("the time of")


class Killed(Exception):
    pass


class DieAt(Hook):
    """Dies at the end of an epoch, counted over all stages and the whole."""

    def __init__(self, number):
        self.left = number

    def epoch(self, run, epoch):
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize("number", [3, 8, 12, 15, 18])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, number):
    """In the first, the second and the last stage, at the first line of the whole's record, and within it."""
    checkpoint = tmp_path / "run.checkpoint"
    whole = fit()
    # the checkpoint of the epoch in which it dies is not written yet
    with pytest.raises(Killed):
        fit(checkpoint=checkpoint, hooks=[DieAt(number)])
    resumed = fit(checkpoint=checkpoint, resume=True)
    weights = resumed.net.state_dict()
    assert all(torch.equal(w, weights[name]) for name, w in whole.net.state_dict().items())
    assert np.array_equal(whole.calibration, resumed.calibration)
    assert not list(tmp_path.glob("*.stage*"))


def test_the_command_line_goes_on_or_starts_over(tmp_path, capsys):
    np.save(tmp_path / "x.npy", rows())
    stage = tmp_path / "c.isthmus.checkpoint.stage0"
    command = ["fit", str(tmp_path / "x.npy"), "-o", str(tmp_path / "c.isthmus"), "--pretrain", "stacked"]
    stage.write_bytes(b"left")
    assert main([*command, "--epochs", "1", "--set", "decoder.tied=true"]) == 0
    assert f"{stage} is left from a run that was stopped" in capsys.readouterr().out
    assert not stage.exists()
    stage.write_bytes(b"left")
    assert main([*command, "--epochs", "1", "--set", "decoder.tied=true", "--resume"]) == 2
    assert f"going on from {stage}" in capsys.readouterr().out, "and it is no checkpoint, which is said"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": Part("linear"), "decoder": Part("linear")}, "needs dense bodies; got encoder 'linear'"),
        ({"encoder": Part("mlp", {"widths": [12, 6], "linear_path": True})}, "Say linear_path=False"),
        ({"decoder": Part("mlp", {"widths": [12, 6]})}, r"the decoder's are \[6, 12\]; got \[12, 6\]"),
        ({"bottleneck": Part("gaussian")}, "no price of a code; got bottleneck='gaussian'"),
    ],
)
def test_mistakes(changes, words):
    with pytest.raises(SpecError, match=words):
        Stack(net_of(**changes))


def test_another_word():
    with pytest.raises(SpecError, match="pretrain is 'stacked' or None; got 'greedy'"):
        Plan(pretrain="greedy")
