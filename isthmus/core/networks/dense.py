"""Dense chains: a stack of linear layers as one step of the gradient tape.

.. math:: h_{i+1} = a(h_i W_i^\\top + b_i)

At the sizes of tables and small images the tape's cost per operation is as large as the arithmetic.
A chain records one node instead of two per layer and derives its gradient by hand. On a CPU in
float32 its products go to oneDNN, which on many processors is twice as fast as the default and gives
the same bits. Where a gradient is itself differentiated (penalties on a Jacobian) the tape takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.networks.tied import Transposed
from isthmus.core.parts import Body, Finished, Shape, one_of, size

_aten = torch.ops.aten

#: name → (function, gradient from (g, input a, output y)).
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[..., Tensor]]] = {
    "identity": (lambda a: a, lambda g, a, y: g),
    "relu": (torch.relu, lambda g, a, y: _aten.threshold_backward(g, y, 0)),
    "tanh": (torch.tanh, lambda g, a, y: _aten.tanh_backward(g, y)),
    "sigmoid": (torch.sigmoid, lambda g, a, y: _aten.sigmoid_backward(g, y)),
    "silu": (nn.functional.silu, lambda g, a, y: _aten.silu_backward(g, a)),
    "gelu": (nn.functional.gelu, lambda g, a, y: _aten.gelu_backward.default(g, a)),
}

#: Below this many multiplications the default product starts faster than oneDNN's.
_SMALL = 1 << 20


def _try_onednn() -> bool:
    """Whether this build's oneDNN takes a linear layer: the operator is not in every build."""
    try:
        a = torch.ones(2, 3)
        return torch.equal(torch.ops.mkldnn._linear_pointwise(a, a, None, "none", [], ""), a @ a.t())
    except (AttributeError, NotImplementedError, RuntimeError):
        return False


_ONEDNN = _try_onednn()


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` off the tape, by whatever is fastest here."""
    if is_big(x, weight) and _ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu":
        return torch.ops.mkldnn._linear_pointwise(_plain(x), _plain(weight), bias, "none", [], "")
    return torch.mm(x, weight.t()) if bias is None else torch.addmm(bias, x, weight.t())


def is_big(x: Tensor, weight: Tensor) -> bool:
    """Whether their product takes so long that it does not matter how it is called."""
    return x.shape[0] * weight.numel() > _SMALL


def _plain(matrix: Tensor) -> Tensor:
    """Rows or columns without gaps: for anything else oneDNN has only its slow reference code."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def chain_forward(activation: str, x: Tensor, parameters: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs of the activations, and ``x`` followed by their outputs."""
    function, _ = ACTIVATIONS[activation]
    inputs, outputs = [], [x]
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        inputs.append(product(outputs[-1], weight, bias))
        outputs.append(function(inputs[-1]))
    return inputs, outputs


def chain_backward(
    activation: str,
    g: Tensor,
    parameters: Sequence[Tensor],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    needs_x: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """The gradients of x (where needed) and of the parameters, from that of the last output."""
    _, gradient = ACTIVATIONS[activation]
    found: list[Tensor] = []
    for i in reversed(range(len(inputs))):
        g = gradient(g, inputs[i], outputs[i + 1])
        found[:0] = product(g.t(), outputs[i].t()), g.sum(0)
        if i or needs_x:
            g = product(g, parameters[2 * i].t())
    return (g if needs_x else None), found


def _on_tape(activation: str, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        x = ACTIVATIONS[activation][0](nn.functional.linear(x, weight, bias))
    return x


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: str, x: Tensor, *parameters: Tensor) -> Tensor:
        inputs, outputs = chain_forward(activation, x, parameters)
        ctx.activation = activation
        ctx.save_for_backward(*parameters, *inputs, *outputs)
        return outputs[-1]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        n = len(ctx.saved_tensors) // 4  # 2n parameters, n inputs, n + 1 outputs
        parameters, inputs = ctx.saved_tensors[: 2 * n], ctx.saved_tensors[2 * n : 3 * n]
        outputs = ctx.saved_tensors[3 * n :]
        needs = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # create_graph: this gradient will be differentiated itself
            y = _on_tape(ctx.activation, outputs[0], parameters)
            wanted = [t for t, need in zip((outputs[0], *parameters), needs, strict=True) if need]
            found = iter(torch.autograd.grad(y, wanted, g, create_graph=True))
            return None, *(next(found) if need else None for need in needs)
        g_x, g_parameters = chain_backward(ctx.activation, g, parameters, inputs, outputs, needs[0])
        return None, g_x, *g_parameters


def chain(x: Tensor, layers: Sequence[nn.Linear], activation: str = "identity") -> Tensor:
    """(B, n) → (B, m) through linear layers, each followed by ``activation``."""
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    if torch.compiler.is_exporting() or torch.is_autocast_enabled(x.device.type):  # which the tape knows to follow
        return _on_tape(activation, x, parameters)
    if torch.is_grad_enabled():
        return _Chain.apply(activation, x, *parameters)
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        x = ACTIVATIONS[activation][0](product(x, weight, bias))
    return x


class Head(nn.Module):
    """The linear map between a body and a part: (B, *in_shape) → (B, *out_shape).

    Between two feature maps of one size it is a 1 × 1 convolution, else a dense layer over all entries;
    behind a body that is :class:`~isthmus.core.parts.Finished` it is nothing.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape):
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        self.pointwise = len(in_shape) > 1 and in_shape[1:] == out_shape[1:]
        sizes = (in_shape[0], out_shape[0]) if self.pointwise else (size(in_shape), size(out_shape))
        finished = isinstance(in_shape, Finished) and self.in_shape == self.out_shape
        self.layer = None if finished else nn.Linear(*sizes)

    def forward(self, h: Tensor) -> Tensor:
        if self.layer is None:
            return h
        if self.pointwise:
            return self.layer(h.movedim(1, -1)).movedim(-1, 1)
        return chain(h.flatten(1), [self.layer]).reshape(-1, *self.out_shape)

    @torch.no_grad()
    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        """Begin as ``weight x + bias`` along the body's linear path; whatever else it gives has no effect yet."""
        assert self.layer is not None
        weight, bias = body.start_linear(weight, bias)
        if isinstance(self.layer, Transposed):  # its weight has begun with the encoder's
            at_zero = body(weight.new_zeros(1, weight.shape[1]))
            self.layer.bias.copy_(bias - (self.layer.weight @ at_zero[0]))
            return
        self.layer.weight.zero_()
        self.layer.weight[:, body.linear] = weight.to(self.layer.weight)
        self.layer.bias.copy_(bias)

    def extra_repr(self) -> str:
        return f"{self.in_shape} → {self.out_shape}"


class Linear(Body):
    """No body at all: the heads alone are the network. With squared error it spans the PCA subspace.

    A decoder that is ``tied`` has the encoder's weight, transposed.

    References:
        Baldi and Hornik, Neural networks and principal component analysis, 1989.
    """

    passes = True

    def __init__(self, in_shape: Shape, target_shape: Shape, *, tied: bool = False):
        super().__init__()
        self.tied = tied
        self.out_shape = (size(in_shape),)
        self.linear = slice(0, size(in_shape))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def extra_repr(self) -> str:
        return f"tied={self.tied}"


class MLP(Body):
    """A stack of dense layers, with the input passed along beside them when ``linear_path`` is on.

    ``widths="auto"`` takes two layers between the sizes of its two ends. With a linear path the output
    is ``[deep(x), x]``, so that the head that follows is ``W x + V deep(x)`` and can start at PCA.

    A decoder that is ``tied`` has the encoder's weights, transposed, and with ``widths="auto"`` its widths.
    """

    def __init__(
        self,
        in_shape: Shape,
        target_shape: Shape,
        *,
        widths: Sequence[int] | str = "auto",
        activation: str = "gelu",
        linear_path: bool = False,
        tied: bool = False,
    ):
        super().__init__()
        self.tied = tied
        one_of("activation", activation, list(ACTIVATIONS))
        n_in = size(in_shape)
        if widths == "auto":
            widths = auto_widths(n_in, size(target_shape))
        self.widths, self.activation = [int(w) for w in widths], activation
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths are whole numbers of at least 1, got {list(widths)}")
        sizes = [n_in, *self.widths]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.out_shape = (self.widths[-1] + (n_in if linear_path else 0),)
        self.linear = slice(self.widths[-1], self.out_shape[0]) if linear_path else None
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"))
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        h = chain(x, list(self.layers), self.activation)
        return h if self.linear is None else torch.cat([h, x], dim=1)

    def extra_repr(self) -> str:
        return (
            f"widths={self.widths}, activation={self.activation!r}, linear_path={self.linear is not None}, "
            f"tied={self.tied}"
        )


def auto_widths(n_in: int, n_out: int) -> list[int]:
    """Two layers: wide at the side of the data, half of it at the side of the code.

    >>> auto_widths(784, 32), auto_widths(32, 784), auto_widths(20, 5)
    ([512, 256], [256, 512], [64, 32])
    """
    wide = min(512, max(64, 1 << (max(n_in, n_out) - 1).bit_length()))
    widths = [wide, wide // 2]
    return widths if n_in >= n_out else widths[::-1]
