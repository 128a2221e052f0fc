r"""The training step of a dense autoencoder with its gradient derived by hand, off the tape.

.. math:: \partial_\mu \; \frac1B \sum \frac{(x-\mu)^2}{2\sigma^2} = \frac{\mu-x}{B\sigma^2}

A tape costs as much as the arithmetic where layers are small. The most common network of all (dense
bodies, plain code, gaussian likelihood) does without one: the same numbers as :meth:`Net.losses`, checked
against it in the tests, in little more than half the time. Every other network takes the tape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isthmus.core.autoencoder import Net, visible_of
from isthmus.core.bottlenecks.plain import Plain
from isthmus.core.likelihoods import Gaussian
from isthmus.core.networks.dense import ACTIVATIONS, MLP, Head, Linear, chain_forward, is_big, product
from isthmus.core.objectives import ELBO, Reconstruction
from isthmus.core.parts import Losses, Schedule

_WHOLE = Schedule.of(1.0)


class HandmadeStep:
    """``losses(**batch)`` like the network's, with ``backward`` writing into the parameters' ``grad``."""

    def __init__(self, net: Net):
        assert self.fits(net)
        self.net = net
        self.encoder = _Stage(net.encoder, net.bottleneck.head)
        self.decoder = _Stage(net.decoder, net.likelihood.head)

    @staticmethod
    def fits(net: Net) -> bool:
        """Whether every part is one that this file knows the gradient of."""
        heads = (getattr(net.bottleneck, "head", None), getattr(net.likelihood, "head", None))
        return (
            type(net.bottleneck) is Plain
            and type(net.likelihood) is Gaussian
            and net.likelihood.noise.sigma != "learned"
            and all(type(body) in (MLP, Linear) for body in (net.encoder, net.decoder))
            and all(type(head) is Head and head.layer is not None and not head.pointwise for head in heads)
            and type(net.objective) in (ELBO, Reconstruction)
            and not net.tied
            and getattr(net.objective, "reconstruction", _WHOLE) == _WHOLE
            and not net.penalties
            and net.critic is None
            and not net.spec.condition_dim
            # elsewhere reading a number back would wait for the device
            and all(p.requires_grad and p.device.type == "cpu" for p in net.parameters())
        )

    def losses(
        self,
        x: Tensor,
        *,
        observed: Tensor | None = None,
        target: Tensor | None = None,
        target_observed: Tensor | None = None,
        condition: object = None,
    ) -> Losses:
        net = self.net
        corrupted = net.corruption(x, observed)
        visible = visible_of(observed, corrupted.hidden)
        activation, gradient = ACTIVATIONS[net.bottleneck.activation]
        a = self.encoder.forward(net.features(corrupted.x, visible))
        z = activation(a)
        mean = self.decoder.forward(z)
        sigmoid = net.likelihood.link == "sigmoid"
        if sigmoid:
            mean = mean.sigmoid_()
        if target is None:
            target, target_observed = x, observed
        error = mean - target.flatten(1)
        if target_observed is not None:
            error *= target_observed.flatten(1)
        n, entries = len(x), error.numel() if target_observed is None else int(target_observed.sum())
        variance = net.likelihood.noise()
        if variance is None:
            # the analytic σ²; a float, because arithmetic on scalar tensors costs as much as a layer here
            variance = max(float(torch.dot(error.view(-1), error.view(-1))) / max(entries, 1), 1e-12)
            nats = torch.tensor(entries / (2 * n) * (1 + math.log(2 * math.pi * variance)), dtype=error.dtype)
        else:
            logs = (2 * math.pi * variance).log().flatten().expand(error.shape[1])
            logs = n * logs.sum() if target_observed is None else (target_observed.flatten(1) * logs).sum()
            variance = variance.flatten()
            nats = ((error.square() / variance).sum() + logs) / (2 * n)

        def backward(_: Sequence[nn.Parameter]) -> None:
            g = error.div_(variance * n)
            if sigmoid:
                torch.ops.aten.sigmoid_backward.grad_input(g, mean, grad_input=g)
            self.encoder.backward(gradient(self.decoder.backward(g, needs_x=True), a, z))

        return Losses({"main": nats}, {"reconstruction": nats}, {"main": backward})


class _Stage:
    """A body and the head behind it: ``y = [a(… a(x W₁ + b₁) …), x] W + b``."""

    def __init__(self, body: MLP | Linear, head: Head):
        layers = list(body.layers) if isinstance(body, MLP) else []
        self.activation = body.activation if isinstance(body, MLP) else "identity"
        self.parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
        self.head = head.layer
        # the same memory off the tape, so that nothing is recorded and nobody has to say so at every step
        self.values = [p.detach() for p in self.parameters]
        self.weight, self.bias = self.head.weight.detach(), self.head.bias.detach()
        self.width = body.widths[-1] if isinstance(body, MLP) else 0  # outputs of the deep part
        self.passes = body.linear is not None

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        self.inputs, self.outputs = chain_forward(self.activation, x, self.values)
        self.h = self.outputs[-1]
        if self.passes and self.values:
            self.h = torch.cat([self.h, x], dim=1)
        return product(self.h, self.weight, self.bias)

    def backward(self, g: Tensor, needs_x: bool = False) -> Tensor | None:
        """Write the gradients of all parameters; return that of x where it is needed."""
        weight = self.weight
        _store_layer(self.head.weight, self.head.bias, g, self.h)
        g_x = None
        if needs_x and self.passes:  # of what the head saw, the deep part comes first, then x itself
            g_deep, g_x = _times(g, weight).tensor_split([self.width], dim=1)
        elif self.parameters:
            g_deep = _times(g, weight[:, : self.width])
        if self.parameters:
            _, gradient = ACTIVATIONS[self.activation]
            for i in reversed(range(len(self.inputs))):
                g_deep = gradient(g_deep, self.inputs[i], self.outputs[i + 1])
                _store_layer(*self.parameters[2 * i : 2 * i + 2], g_deep, self.outputs[i])
                if i or needs_x:
                    g_deep = _times(g_deep, self.values[2 * i])
            if needs_x:
                g_x = g_deep if g_x is None else g_deep.add_(g_x)
        return g_x


def _times(g: Tensor, weight: Tensor) -> Tensor:
    """``g @ weight``."""
    return product(g, weight.t()) if is_big(g, weight) else torch.mm(g, weight)


def _store_layer(weight: nn.Parameter, bias: nn.Parameter, g: Tensor, x: Tensor) -> None:
    """The gradients of a layer's weight and bias, from that of its output g and its input x."""
    if weight.grad is None or bias.grad is None or is_big(g.t(), x):
        store(weight, product(g.t(), x.t()))
        store(bias, g.sum(0))
    else:  # of small layers every copy counts
        torch.mm(g.t(), x, out=weight.grad)
        torch.sum(g, 0, out=bias.grad)


def store(parameter: Tensor, gradient: Tensor) -> None:
    """Write a gradient where the optimiser looks for it."""
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad.copy_(gradient)
