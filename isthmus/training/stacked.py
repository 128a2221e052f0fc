r"""Stacked pre-training: a deep autoencoder begins as shallow ones, each trained on the codes of the one before.

.. math:: h_0 = x, \quad h_i = a(W_i h_{i-1} + b_i), \qquad
    \min_{W_i, b_i, V_i, c_i} E \, \ell\bigl(h_{i-1},\; a(V_i \, a(W_i \tilde h_{i-1} + b_i) + c_i)\bigr)

The :math:`W_i` are the layers of the encoder and its code's head, the :math:`V_i` those of the decoder, and the
corruption is the model's own at every stage. Penalties and critics wait for the training of the whole.

References:
    Vincent et al., Stacked Denoising Autoencoders, 2010, https://jmlr.org/papers/v11/vincent10a.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from isthmus.core.autoencoder import Net
from isthmus.core.networks.dense import MLP, chain
from isthmus.data.batches import InMemory, in_order
from isthmus.errors import SpecError
from isthmus.spec import Part, Plan, Spec
from isthmus.training.hooks import Checkpoint, Guard, Hook, KeepBest, Watch
from isthmus.training.loop import chunk_rows, train

#: The share of ``max_time`` that all stages have together.
_SHARE = 0.5


class Stack:
    """The stages of a network with dense bodies: small networks made of its own layers, from the rows inwards.

    Build it where the network was built; its stages move to the rows' device as they are trained.
    """

    def __init__(self, net: Net):
        self.stages = _stages(net)

    def train(
        self,
        tensors: Mapping[str, Tensor],
        plan: Plan,
        *,
        held_out: Mapping[str, Tensor] | None = None,
        hooks: Sequence[Hook] = (),
        checkpoint: Path | None = None,
        mark: str = "",
        resume: bool = False,
    ) -> list[str]:
        """Train stage after stage, each for the epochs of ``plan``; return what a person should know.

        With ``max_time`` all stages together have half of it. Every stage has a checkpoint of its own beside
        ``checkpoint``, which :meth:`clear` removes.

        Raises:
            KeyboardInterrupt: interrupted; there is no network to use yet, only checkpoints to go on from.
        """
        remarks = []
        if plan.max_time is not None:
            plan = plan.replace(max_time=_SHARE * plan.max_time / len(self.stages))
        for i, stage in enumerate(self.stages):
            stage.to(tensors["x"].device)
            all_hooks = [Guard(), KeepBest(plan.patience), *hooks]
            if plan.max_time is not None:
                all_hooks.append(Watch(plan.max_time))
            if checkpoint is not None:
                all_hooks.append(Checkpoint(self._place(checkpoint, i), f"{mark}, stage {i}", resume))
            batches = InMemory(tensors, int(plan.batch_size), plan.seed)
            run = train(stage, batches, plan, held_out=held_out, hooks=all_hooks)
            if run.stopped == "interrupted":
                raise KeyboardInterrupt
            remarks += [f"pre-training of layer {i + 1}: {remark}" for remark in run.remarks]
            tensors = _codes(stage, tensors)
            held_out = None if held_out is None else _codes(stage, held_out)
        return remarks

    def clear(self, checkpoint: Path) -> None:
        """Remove the checkpoints of the stages."""
        for i in range(len(self.stages)):
            self._place(checkpoint, i).unlink(missing_ok=True)

    def _place(self, checkpoint: Path, stage: int) -> Path:
        return checkpoint.with_name(f"{checkpoint.name}.stage{stage}")


class _Layer(nn.Module):
    """One layer of a deep body, with its activation."""

    def __init__(self, layer: nn.Module, activation: str):
        super().__init__()
        self.layer, self.activation = layer, activation

    def forward(self, x: Tensor) -> Tensor:
        return chain(x.flatten(1), [self.layer], self.activation)


def _stages(net: Net) -> list[Net]:
    encoder, decoder, corruption = net.encoder, net.decoder, net.spec.corruption
    if not isinstance(encoder, MLP) or not isinstance(decoder, MLP):
        raise SpecError(
            "Stacked pre-training needs dense bodies; got encoder "
            f"{net.spec.encoder.kind!r} and decoder {net.spec.decoder.kind!r}. Say encoder='mlp', decoder='mlp'."
        )
    if encoder.linear is not None or decoder.linear is not None:
        raise SpecError("Stacked pre-training goes layer by layer, without a linear path. Say linear_path=False.")
    if encoder.widths != decoder.widths[::-1]:
        raise SpecError(
            f"Stacked pre-training needs mirrored widths: the encoder has {encoder.widths}, so the decoder's are "
            f"{encoder.widths[::-1]}; got {decoder.widths}."
        )
    if net.bottleneck.rated:
        raise SpecError(
            f"Stacked pre-training knows no price of a code; got bottleneck={net.spec.bottleneck.kind!r}. Say 'plain'."
        )
    down = [_Layer(layer, encoder.activation) for layer in encoder.layers]
    up = [_Layer(layer, decoder.activation) for layer in decoder.layers][::-1]
    bare = {"bottleneck": Part("plain"), "latent_dim": encoder.widths[0], "prior": Part("standard_normal")}
    alone = {"objective": Part("reconstruction"), "penalties": (), "critic": None}
    outermost = net.spec.replace(encoder=Part("own"), decoder=Part("linear"), **bare, **alone)
    stages = [Net(outermost, net.shape, {"encoder": down[0], "likelihood": net.likelihood})]
    own = Part("own")
    for i, (a, b) in enumerate(zip(encoder.widths, encoder.widths[1:], strict=False)):
        inner = Spec(encoder=own, decoder=own, corruption=corruption, latent_dim=b)
        stages.append(Net(inner, (a,), {"encoder": down[i + 1], "decoder": up[i]}))
    innermost = Spec(
        encoder=Part("linear"),
        bottleneck=net.spec.bottleneck,
        decoder=own,
        corruption=corruption,
        latent_dim=net.spec.latent_dim,
    )
    stages.append(Net(innermost, (encoder.widths[-1],), {"bottleneck": net.bottleneck, "decoder": up[-1]}))
    return stages


@torch.no_grad()
def _codes(stage: Net, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the next stage is trained on: the codes of the rows, and of their targets where they have any."""
    found = {}
    for name, known in (("x", "observed"), ("target", "target_observed")):
        if name in tensors:
            parts = in_order(tensors, chunk_rows(stage))
            found[name] = torch.cat([stage.encode(b[name], b.get(known)) for b in parts])
    return found
