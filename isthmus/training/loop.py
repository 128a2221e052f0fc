"""The one training loop: forward, backward, step, in the open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from isthmus import devices
from isthmus.core.autoencoder import Net
from isthmus.core.handmade import HandmadeStep
from isthmus.core.parts import size
from isthmus.core.sparse_step import SparseStep
from isthmus.data.batches import Batches, in_order
from isthmus.spec import AUTO, Plan
from isthmus.training.flat import FlatGroup
from isthmus.training.run import Epoch, Run

if TYPE_CHECKING:
    from isthmus.core.head import Head
    from isthmus.core.parts import Detector
    from isthmus.training.hooks import Hook

#: Steps whose gradient was derived by hand; networks that none of them fits take the tape.
STEPS = (HandmadeStep, SparseStep)
#: Layers whose weights slide over many places.
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
_SLIDING = (nn.Conv1d, nn.Conv2d, *_TRANSPOSED, nn.Linear)
#: Entries that are scored at once outside training.
_CHUNK = 1 << 22
#: Rows that a head looks at together.
_ROWS = 4096


def chunk_rows(net: Net) -> int:
    """Rows that are scored at once outside training: fewer where rows, codes, or what bodies make, are large."""
    shapes = (net.shape, net.encoder.out_shape, net.bottleneck.code_shape, net.decoder.out_shape)
    return max(16, min(8192, _CHUNK // max(map(size, shapes))))


def multiplications(net: Net | Detector | Head) -> float:
    """Multiply-adds per row of one pass: a weight counts once, and as often as there are places that it slides over."""
    total = float(sum(p.numel() for p in net.parameters()))
    if not isinstance(net, Net) or len(net.shape) == 1:
        return total

    def slid(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear):
            places = output.numel() / layer.out_features
        else:
            places = inputs[0][0, 0].numel() if isinstance(layer, _TRANSPOSED) else output[0, 0].numel()
        total += layer.weight.numel() * (places - 1)

    hooks = [layer.register_forward_hook(slid) for layer in net.modules() if isinstance(layer, _SLIDING)]
    was_training, x = net.training, torch.zeros(1, *net.shape, device=next(net.parameters()).device)
    try:
        with torch.no_grad():
            net.eval().decode(net.encode(x), x.new_zeros(1, net.spec.condition_dim) if net.spec.condition_dim else None)
    finally:
        net.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def train(
    net: Net | Detector | Head,
    batches: Batches,
    plan: Plan,
    *,
    held_out: Mapping[str, Tensor] | None = None,
    hooks: Sequence[Hook] = (),
) -> Run:
    """Train ``net`` on ``batches`` as ``plan`` says; ``held_out`` rows are scored after every epoch.

    Returns the finished :class:`Run`; ``KeyboardInterrupt`` ends it early and leaves a usable network.
    """
    assert not isinstance(plan.epochs, str)
    assert not isinstance(plan.learning_rate, str)
    device = next(net.parameters()).device
    groups = {name: FlatGroup(parameters, plan.weight_decay) for name, parameters in net.groups().items()}
    coarse = isinstance(net, Net) and plan.precision not in ("float32", AUTO)
    if isinstance(net, Net):
        net.precision = plan.precision if coarse else "float32"
    by_hand = (step(net) for step in STEPS if isinstance(net, Net) and not coarse and step.fits(net))
    forward = next(by_hand, net).losses
    run = Run(net, groups, plan, plan.epochs, len(batches), batches.n_rows, forward)
    work = 3 * multiplications(net) * batches.n_rows / len(batches)
    try:
        with devices.threads_for(work, device):
            for hook in reversed(hooks):
                hook.start(run)
            try:
                if not run.history:
                    _close_epoch(run, held_out, hooks)  # the state before the first step is a candidate too
                while run.epoch < run.epochs and not run.stopped:
                    _one_epoch(run, batches, held_out, hooks)
            except KeyboardInterrupt:
                run.stop("interrupted")
            for hook in hooks:
                hook.end(run)
    finally:
        for hook in hooks:
            hook.close()
    net.eval()
    return run


def _one_epoch(run: Run, batches: Batches, held_out: Mapping[str, Tensor] | None, hooks: Sequence[Hook]) -> None:
    net, groups, forward = run.net.train(), run.groups, run.forward
    if run.at == 0:
        run.sums, run.broken = {}, {}
    for batch in batches.epoch(run.epoch, run.at):
        net.progress = run.progress()
        learning_rate = run.learning_rate()
        losses = forward(**batch)
        for name, group in groups.items():
            losses.backward(name, group.parameters)
            net.project_gradients()
            group.step(learning_rate * net.pace(name), run.plan.clip)
        net.project()
        for name, value in losses.terms.items():
            run.sums[name] = run.sums[name] + value if name in run.sums else value
            if len(losses.terms) > 1:  # with one term there is no question which
                run.broken[name] = run.broken.get(name, 0) + ~value.isfinite()
        run.at += 1
        for hook in hooks:
            hook.step(run)
        if run.jumped:  # a hook went back: take up the epoch from there
            run.jumped = False
            return
        if run.stopped:
            break
    finished = run.at == run.steps
    terms = {name: float(total) / max(run.at, 1) for name, total in run.sums.items()}
    run.epoch, run.at = run.epoch + 1, 0
    if not finished and run.epoch == 1:
        run.remarks.append("stopped before the first epoch was over: not every row was seen")
    _close_epoch(run, held_out, hooks, terms)


def _close_epoch(
    run: Run,
    held_out: Mapping[str, Tensor] | None,
    hooks: Sequence[Hook],
    terms: Mapping[str, float] | None = None,
) -> None:
    seconds = run.elapsed()
    record = Epoch(run.epoch, run.epochs, dict(terms or {}), learning_rate=run.learning_rate())
    if run.history:
        took = max(seconds - run.history[-1].seconds, 1e-9)
        record.rows_per_second = run.n_rows / took
    record.seconds = seconds
    if held_out is not None:
        record.held_out, record.error = evaluate(run.net, held_out)
    run.history.append(record)
    for hook in hooks:
        hook.epoch(run, record)


@torch.no_grad()  # not inference_mode: a penalty on a gradient takes one here too
def evaluate(net: Net | Head, tensors: Mapping[str, Tensor]) -> tuple[float, float]:
    """The mean loss (nats per row) and the mean squared error (per row, in the features) of rows.

    The loss is the one that is trained, corruption and noisy codes included, with noise that is the same every
    time and with every schedule at its end: else the epochs of a warm-up would be the best of all. The error
    is that of the deterministic reconstruction. What brings nothing back has an ``evaluate`` of its own.
    """
    if not isinstance(net, Net):
        return net.evaluate(in_order(tensors, _ROWS))
    was_training, progress = net.training, net.progress
    net.progress = 1.0
    loss = error = count = 0.0
    with devices.seeded(0):
        for batch in in_order(tensors, chunk_rows(net)):
            trace = net.eval().trace(**batch)
            n_rows = len(trace.x)
            error += float(net.squared_error(trace.x, trace.observed, trace.p).sum())
            if net.noisy:
                # these two alone: a person's own layers must not learn from held-out rows
                net.corruption.train()
                net.bottleneck.train()
                trace = net.trace(**batch)
            loss += float(sum(nats.mean() for nats in net.terms(trace).values())) * n_rows
            count += n_rows
    net.train(was_training)
    net.progress = progress
    return loss / count, error / count
