"""The step by hand is the tape's, number by number."""

import itertools

import pytest
import torch
from torch import nn

from isthmus.core.autoencoder import Net
from isthmus.core.handmade import HandmadeStep
from isthmus.core.networks.dense import ACTIVATIONS
from isthmus.spec import Part, Spec

D = 6


def spec_of(encoder="mlp", decoder="mlp", activation="silu", linear_path=False, likelihood=None, **changes):
    def body(kind, widths):
        if kind == "linear":
            return Part("linear")
        return Part("mlp", {"widths": widths, "activation": activation, "linear_path": linear_path})

    spec = Spec(
        encoder=body(encoder, [9, 7]),
        decoder=body(decoder, [7, 5, 9]),
        likelihood=Part("gaussian", likelihood or {}),
        latent_dim=3,
    )
    return spec.replace(**changes)


def net_of(spec, shape=(D,), own=None):
    torch.manual_seed(0)
    return Net(spec, shape, own).double().train()


def agree(net, **batch):
    """Loss and every gradient of both ways, under the same noise."""
    assert HandmadeStep.fits(net)
    step, found = HandmadeStep(net), []
    for losses_of in (net.losses, step.losses):
        for p in net.parameters():
            p.grad = torch.full_like(p, 3.0)  # left over from the step before
        torch.manual_seed(1)
        losses = losses_of(**batch)
        assert losses.groups.keys() == {"main"}
        losses.backward("main", list(net.parameters()))
        found.append((losses, [p.grad.clone() for p in net.parameters()]))
    (tape, theirs), (hand, ours) = found
    torch.testing.assert_close(hand.groups["main"], tape.groups["main"].detach(), rtol=1e-12, atol=1e-12)
    for name, nats in tape.terms.items():  # a rate that is always 0 need not be told
        torch.testing.assert_close(hand.terms.get(name, torch.zeros_like(nats)), nats)
    for (name, _), a, b in zip(net.named_parameters(), ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}")


def batch_of(observed=False, target=False, n=11):
    g = torch.Generator().manual_seed(2)
    batch = {"x": torch.rand(n, D, generator=g, dtype=torch.float64)}
    if observed:
        batch["observed"] = torch.rand(n, D, generator=g) < 0.7
    if target:
        batch["target"] = torch.rand(n, D, generator=g, dtype=torch.float64)
        if observed:
            batch["target_observed"] = torch.rand(n, D, generator=g) < 0.8
    return batch


SIGMAS = [{}, {"sigma": 0.3}, {"per": "all"}, {"sigma": 0.3, "per": "all"}]


@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("link", ["identity", "sigmoid"])
@pytest.mark.parametrize("observed", [False, True])
def test_all_activations_paths_and_links(linear_path, activation, link, observed):
    for sigma in SIGMAS:
        likelihood = {"link": link, **sigma}
        net = net_of(spec_of(activation=activation, linear_path=linear_path, likelihood=likelihood))
        agree(net, **batch_of(observed))


@pytest.mark.parametrize(("encoder", "decoder"), [*itertools.product(["mlp", "linear"], repeat=2)])
@pytest.mark.parametrize("observed", [False, True])
def test_linear_bodies(encoder, decoder, observed):
    for linear_path, sigma, link in itertools.product([False, True], SIGMAS, ["identity", "sigmoid"]):
        likelihood = {"link": link, **sigma}
        net = net_of(spec_of(encoder, decoder, linear_path=linear_path, likelihood=likelihood))
        agree(net, **batch_of(observed))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("body", ["mlp", "linear"])
def test_codes_with_an_activation(activation, body):
    bottleneck = Part("plain", {"activation": activation})
    agree(net_of(spec_of(body, body, bottleneck=bottleneck)), **batch_of())


@pytest.mark.parametrize("corruption", ["gaussian", "masking"])
@pytest.mark.parametrize("tell_missing", [False, True])
@pytest.mark.parametrize("objective", ["reconstruction", "elbo"])
def test_corruption_targets_and_told_cells(corruption, tell_missing, objective):
    for observed, target in itertools.product([False, True], repeat=2):
        spec = spec_of(corruption=Part(corruption), tell_missing=tell_missing, objective=Part(objective))
        net = net_of(spec.replace(encoder=spec.encoder.updated(linear_path=True)))
        agree(net, **batch_of(observed, target))


def test_after_calibration_and_for_images():
    net = net_of(spec_of(linear_path=True), shape=(1, 2, 3))
    x = batch_of()["x"].reshape(-1, 1, 2, 3)
    agree(net, x=x)
    net.likelihood.calibrate(x, None, net.trace(x).p.mean)
    agree(net, x=x)


def test_one_row_and_a_row_without_any_value():
    net = net_of(spec_of(linear_path=True))
    agree(net, **batch_of(n=1))
    batch = batch_of(observed=True)
    batch["observed"][3] = False
    agree(net, **batch)


def test_the_rows_stay_as_they_are():
    net, batch = net_of(spec_of()), batch_of()
    kept = batch["x"].clone()
    losses = HandmadeStep(net).losses(**batch)
    losses.backward("main", list(net.parameters()))
    assert torch.equal(batch["x"], kept)


@pytest.mark.parametrize(
    "changes",
    [
        {"bottleneck": Part("gaussian")},
        {"penalties": (Part("l2"),)},
        {"critic": Part("code")},
        {"likelihood": Part("gaussian", {"sigma": "learned"})},
        {"likelihood": Part("bernoulli")},
        {"likelihood": Part("categorical", {"levels": 2})},
        {"likelihood": Part("mixed", {"levels": [0] * D})},
        {"bottleneck": Part("gaussian"), "objective": Part("elbo")},
    ],
    ids=repr,
)
def test_everything_else_takes_the_tape(changes):
    assert not HandmadeStep.fits(net_of(spec_of().replace(**changes)))


def test_images_codes_as_maps_and_own_modules_take_the_tape():
    conv = Part("conv", {"widths": [4]})
    spatial = Part("plain", {"spatial": True})
    assert not HandmadeStep.fits(net_of(spec_of().replace(encoder=conv), shape=(1, 4, 4)))
    assert not HandmadeStep.fits(net_of(spec_of().replace(encoder=conv, decoder=conv, bottleneck=spatial), (1, 4, 4)))
    own = {"encoder": nn.Linear(D, 3)}
    assert not HandmadeStep.fits(net_of(spec_of().replace(encoder=Part("own")), own=own))
    own = {"decoder": nn.Linear(3, D)}
    assert not HandmadeStep.fits(net_of(spec_of().replace(decoder=Part("own")), own=own))


def test_frozen_parameters_take_the_tape():
    net = net_of(spec_of())
    net.decoder.layers[0].weight.requires_grad_(False)
    assert not HandmadeStep.fits(net)
