r"""A network in whole numbers: the same answer on every machine, to the last bit.

.. math:: a_{l+1} = t\Bigl(\bigl\lfloor 2^{-s_l} (W_l\, a_l + b_l) + \tfrac12 \bigr\rfloor\Bigr),
    \qquad a_l, W_l, b_l \in \mathbb{Z}, \quad |W_l|\,|a_l| < 2^{52}

Weights and activations are rounded to fixed point once and multiplied in float64, where sums of whole numbers below
2⁵³ are exact. So their order, the number of threads, the size of the batch and the library do not matter, as they do
for rounded sums. Between layers sums are rounded to steps of 1 / 4096 again, and an activation is looked up in a table
that is made of exact steps too (:mod:`isthmus.core.arithmetic`).

References:
    Ballé, Johnston and Minnen, Integer Networks for Data Compression with Latent-Variable Models, 2019,
    https://openreview.net/forum?id=S1zz2i0cY7 (there 8 bits and trained for; in float64 nothing needs training)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.core.arithmetic import FRACTION, ONE, activation_table
from isthmus.core.networks.conv import ConvDecoder, ConvEncoder
from isthmus.core.networks.dense import MLP, Head, Linear

#: Activations are kept within ±2¹⁵, which is 2²⁷ steps; weights have 16 bits behind the point, or fewer where rows of
#: them are so heavy that sums would leave the exact range.
LIMIT = float(1 << 27)
_WEIGHT_BITS = 16
_EXACT = float(1 << 52)

#: A part of a network on fixed-point numbers: (B, …) float64 of whole numbers → the same.
Step = Callable[[Tensor], Tensor]


class NotExact(ValueError):
    """A part of which there is no version in whole numbers."""


def fixed(x: Tensor) -> Tensor:
    """Real numbers as whole numbers of steps, float64."""
    return (x.double() * ONE + 0.5).floor().clamp(-LIMIT, LIMIT)


class Product:
    """One linear map: weights (out, in) and a bias, in whole numbers."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        weight = weight.detach().double().cpu()
        if not bool(weight.isfinite().all()):
            raise NotExact("its weights are not all finite")
        self.bits = _WEIGHT_BITS
        while True:
            self.weight = (weight * float(1 << self.bits) + 0.5).floor()
            # a sum of whole numbers: exact as long as it is below what is asked of it
            if float(self.weight.abs().sum(1).max()) * LIMIT < _EXACT:
                break
            self.bits -= 1
            if self.bits < 4:
                raise NotExact("its weights are too large")
        self.bias = torch.zeros(len(weight), dtype=torch.float64)
        if bias is not None:
            shifted = bias.detach().double().cpu() * float(1 << (self.bits + FRACTION))
            self.bias = (shifted + 0.5).floor().clamp(-_EXACT / 2, _EXACT / 2)
        self.transposed = self.weight.t().contiguous()

    def __call__(self, a: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        total = a @ self.transposed + self.bias
        return (total * 2.0**-self.bits + 0.5).floor().clamp(-LIMIT, LIMIT)


def _dense(layer: nn.Module) -> Step:
    return Product(layer.weight, layer.bias)


def activate(name: str, a: Tensor) -> Tensor:
    """An activation of fixed-point numbers."""
    if name == "identity":
        return a
    if name == "relu":
        return a.clamp(min=0)
    table = torch.from_numpy(activation_table(name))
    edge = 16 * ONE
    found = table[(a.clamp(-edge, edge) + edge).long()]
    return torch.where(a > edge, a, found) if name in ("gelu", "silu") else found


def _activation(module: nn.Module) -> Step:
    for kind, name in ((nn.ReLU, "relu"), (nn.SiLU, "silu"), (nn.GELU, "gelu")):
        if type(module) is kind:
            return lambda a: activate(name, a)
    raise NotExact(f"there is no exact {type(module).__name__}")


def exact_head(head: Head) -> Step:
    """The linear map between a body and a part."""
    if head.layer is None:
        return lambda a: a
    product = _dense(head.layer)
    if head.pointwise:
        return lambda a: product(a.movedim(1, -1)).movedim(-1, 1)
    return lambda a: product(a.flatten(1)).reshape(-1, *head.out_shape)


def _patches(a: Tensor, product: Product, size: int, stride: int, padding: int, shape: tuple[int, int]) -> Tensor:
    """A convolution as a product of patches, so that no library replaces its sums by others."""
    columns = F.unfold(a, size, stride=stride, padding=padding)
    return product(columns.transpose(1, 2)).transpose(1, 2).reshape(len(a), -1, *shape)


def _conv(layer: nn.Conv2d) -> Step:
    product = Product(layer.weight.flatten(1), layer.bias)
    (size, _), (stride, _), (padding, _) = layer.kernel_size, layer.stride, layer.padding

    def step(a: Tensor) -> Tensor:
        shape = tuple((side + 2 * padding - size) // stride + 1 for side in a.shape[2:])
        return _patches(a, product, size, stride, padding, shape)

    return step


def _transposed_conv(layer: nn.ConvTranspose2d) -> Step:
    """The same with zeros between the entries, and the kernel turned round."""
    product = Product(layer.weight.flip(2, 3).transpose(0, 1).flatten(1), layer.bias)
    (size, _), (stride, _), (padding, _) = layer.kernel_size, layer.stride, layer.padding

    def step(a: Tensor) -> Tensor:
        n, channels, height, width = a.shape
        wide = a.new_zeros(n, channels, (height - 1) * stride + 1, (width - 1) * stride + 1)
        wide[..., ::stride, ::stride] = a
        shape = tuple(side - size + 1 + 2 * (size - 1 - padding) for side in wide.shape[2:])
        return _patches(wide, product, size, 1, size - 1 - padding, shape)

    return step


def exact_body(body: nn.Module) -> Step:
    """An encoder or decoder body in whole numbers.

    Raises NotExact where there is none, such as of attention, or of a person's own module.
    """
    if type(body) is Linear:
        return lambda a: a.flatten(1)
    if type(body) is MLP:
        layers = [_dense(layer) for layer in body.layers]

        def mlp(a: Tensor) -> Tensor:
            a = h = a.flatten(1)
            for layer in layers:
                h = activate(body.activation, layer(h))
            return h if body.linear is None else torch.cat([h, a], dim=1)

        return mlp
    if type(body) is ConvEncoder:
        stages = [_conv(m) if isinstance(m, nn.Conv2d) else _activation(m) for m in body.stages]

        def conv(a: Tensor) -> Tensor:
            h = a
            for stage in stages:
                h = stage(h)
            return body.beside(h, a)

        return conv
    if type(body) is ConvDecoder:
        entry, act = exact_head(body.entry), _activation(body.activation)
        steps = [_transposed_conv(step) for step in body.steps]
        path = exact_head(body.path) if isinstance(body.path, Head) else None

        def deconv(a: Tensor) -> Tensor:
            h = entry(a)
            for step, (height, width) in zip(steps, body.sizes[1:], strict=True):
                h = step(act(h))[..., :height, :width]
            h = act(h)
            return h if path is None else torch.cat([h, path(a)], dim=1)

        return deconv
    raise NotExact(f"there is no exact {type(body).__name__}")


def chained(*steps: Step) -> Step:
    """One after the other, without a tape."""

    def run(a: Tensor) -> Tensor:
        with torch.inference_mode():
            for step in steps:
                a = step(a)
            return a

    return run


def linear_map(weight: Tensor, bias: Tensor) -> Step:
    """``weight`` (out, in) and ``bias`` (out,) in whole numbers."""
    return Product(weight, bias)
