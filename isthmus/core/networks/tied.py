"""Tied weights: a dense decoder that looks at its encoder's weights from the other end.

.. math:: z = W_m \\cdots a(W_1 x + b_1) \\cdots + b_m, \\quad
    \\hat x = W_1^\\top \\cdots a(W_m^\\top z + c_m) \\cdots + c_1

Half the parameters, and no layer can undo a bad one of the other side by its scale.

References:
    Vincent et al., Stacked Denoising Autoencoders, 2010, https://jmlr.org/papers/v11/vincent10a.html
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isthmus.core.parts import Body, Bottleneck, Likelihood, size
from isthmus.errors import SpecError


class Transposed(nn.Module):
    """A dense layer whose weight is that of other layers, transposed; only the bias is its own.

    ``of`` holds layers and which of their inputs count; the outputs of several lie one after the other.
    """

    def __init__(self, *of: tuple[nn.Linear, slice]):
        super().__init__()
        self.of = of  # in a tuple, so that a weight is registered once, with the layer that owns it
        self.out_features, self.in_features = self.weight.shape
        self.bias = nn.Parameter(torch.zeros(self.out_features))

    @property
    def weight(self) -> Tensor:
        weights = [layer.weight[:, inputs] for layer, inputs in self.of]
        return (weights[0] if len(weights) == 1 else torch.cat(weights)).t()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


def tie(encoder: Body, bottleneck: Bottleneck, decoder: Body, likelihood: Likelihood) -> None:
    """Put the encoder's layers and the code's head, transposed and in reverse order, in place of the decoder's."""
    last = likelihood.head
    if type(encoder) is not type(decoder):
        here, there = type(decoder).__name__, type(encoder).__name__
        raise SpecError(f"Tied weights need an encoder like the decoder, {here}; got {there}.")
    head = getattr(bottleneck, "head", None)
    if head is None or head.layer is None or head.pointwise:
        raise SpecError(
            f"Tied weights need a code behind one dense layer, such as bottleneck='plain'; got {bottleneck!r}."
        )
    deep, mirrored = list(getattr(encoder, "layers", [])), list(getattr(decoder, "layers", []))
    widths, others = [layer.out_features for layer in deep], [layer.out_features for layer in mirrored]
    if widths != others[::-1]:
        raise SpecError(
            f"Tied weights need mirrored widths: the encoder has {widths}, so the decoder's are {widths[::-1]}, or "
            f"'auto'; got {others}."
        )
    if (encoder.linear is None) != (decoder.linear is None):
        raise SpecError("Tied weights need a linear path on both sides or on none.")
    # the encoder may be told what is missing, behind what it is shown: those inputs have no counterpart
    shown = size(likelihood.features_shape)
    before = widths[-1] if deep else 0
    ends = [(deep[0], slice(0, shown))] if deep else []
    if encoder.linear is not None:
        ends.append((head.layer, slice(before, before + shown)))
    for i in range(len(deep)):
        of = (deep[-i], slice(None)) if i else (head.layer, slice(0, before))
        decoder.layers[i] = Transposed(of)
    looking = Transposed(*ends)
    if last.pointwise or looking.weight.shape != last.layer.weight.shape:
        raise SpecError(f"Tied weights need a likelihood with one output per entry; got {likelihood!r}.")
    last.layer = looking
