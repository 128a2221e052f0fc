import json

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.head import Head
from isthmus.data.batches import InMemory
from isthmus.spec import Part, Plan, Spec
from isthmus.training.hooks import KeepBest
from isthmus.training.loop import evaluate, train


def net(**parts):
    torch.manual_seed(0)
    spec = Spec(encoder=Part("mlp", {"widths": [8]}), decoder=Part("mlp", {"widths": [8]}), latent_dim=3, **parts)
    return Net(spec, (5,)).eval()


@pytest.fixture
def rows():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=g)
    return x, (x[:, 0] > 0).long()


def test_it_begins_undecided_and_copies_the_encoder(rows):
    of = net()
    head = Head(of, 4, classes=list("abcd"))
    assert torch.equal(head(rows[0]), torch.full((200, 4), 0.25))
    assert torch.equal(head.codes(rows[0]), of.encode(rows[0]))
    mine = {id(p) for p in head.parameters()}
    assert not mine & {id(p) for p in of.parameters()}


def test_frozen_the_map_alone_learns_then_the_encoder_too(rows):
    of, (x, y) = net(), rows
    before = {name: value.clone() for name, value in of.state_dict().items()}
    head = Head(of, 2, classes=[False, True])
    encoder = [p.clone() for p in head.encoder.parameters()]
    z = head.codes(x).detach()
    head.settle(z)
    plan = Plan(epochs=5, batch_size=32, learning_rate=0.02)
    train(head, InMemory({"z": z, "t": head.targets(y)}, 32), plan)
    assert all(torch.equal(a, b) for a, b in zip(encoder, head.encoder.parameters(), strict=True))
    assert head.map.weight.abs().sum() > 0
    head.frozen = False
    train(head, InMemory({"x": x, "t": head.targets(y)}, 32), plan)
    assert any(not torch.equal(a, b) for a, b in zip(encoder, head.encoder.parameters(), strict=True))
    assert (head(x).argmax(1) == y).float().mean() > 0.9
    assert all(torch.equal(value, before[name]) for name, value in of.state_dict().items()), "the autoencoder stays"


def test_behind_codes_it_is_logistic_regression(rows):
    from sklearn.linear_model import LogisticRegression

    x, y = rows
    head = Head(net(), 2, classes=[0, 1])
    z = head.codes(x).detach()
    head.settle(z)
    head.strength = 1e-2
    plan = Plan(epochs=400, batch_size=200, learning_rate=0.02)
    train(head, InMemory({"z": z, "t": head.targets(y)}, 200), plan)
    scaled = ((z - head.mean) / head.scale).numpy()
    # two maps that differ by w and share the price: λ/2 (‖w/2‖² + ‖w/2‖²) = λ/4 ‖w‖²
    theirs = LogisticRegression(C=2 / (200 * 1e-2), max_iter=1000).fit(scaled, y.numpy())
    torch.testing.assert_close(
        head(x)[:, 1].detach(), torch.from_numpy(theirs.predict_proba(scaled)[:, 1]).float(), atol=5e-3, rtol=0
    )


def test_numbers_come_back_in_their_own_units(rows):
    x, _ = rows
    head, y = Head(net(), 1, numbers=True), 1000 + 50 * rows[0][:, 0]
    head.settle(head.codes(x).detach(), y)
    assert torch.allclose(head(x), y.mean())
    assert head.targets(y).mean().abs() < 1e-4
    loss, share = evaluate(head, {"x": x, "t": head.targets(y)})
    assert share == pytest.approx(1, abs=1e-4), "of the variance nothing is told yet"
    assert loss == pytest.approx(0.5, abs=1e-4)


def test_held_out_rows_stop_it(rows):
    x, _ = rows
    head = Head(net(), 2, classes=[0, 1])
    z = head.codes(x).detach()
    noise = torch.randint(2, (200,), generator=torch.Generator().manual_seed(3))
    held = {"z": z[100:], "t": head.targets(noise[100:])}
    run = train(
        head, InMemory({"z": z[:100], "t": head.targets(noise[:100])}, 20), Plan(epochs=40, learning_rate=0.5),
        held_out=held, hooks=[KeepBest(0.25)],
    )  # fmt: skip
    assert run.history[-1].held_out > run.best["loss"], "labels by chance cannot be told for long"
    assert evaluate(head, held)[0] == pytest.approx(run.best["loss"])


def test_weights_of_rows_count(rows):
    x, y = rows
    head = Head(net(), 2, classes=[0, 1])
    z, t = head.codes(x).detach(), head.targets(y)
    torch.nn.init.normal_(head.map.weight)
    some = head.losses(z=z[:50], t=t[:50]).terms["label"]
    weight = (torch.arange(200) < 50).float()
    torch.testing.assert_close(head.losses(z=z, t=t, weight=weight).terms["label"], some)


def test_json():
    of = net()
    head = Head(of, 2, classes=["a", "b"], name="kind", record={"labels": 3})
    again = Head.from_json(of, json.loads(json.dumps(head.to_json())))
    assert again.to_json() == head.to_json()
    for wrong in ({"outputs": 3}, {"outputs": -1}, {"outputs": "2"}, {"outputs": 10**9}, {"classes": None}):
        with pytest.raises(ValueError, match="a head of"):
            Head.from_json(of, head.to_json() | wrong)
