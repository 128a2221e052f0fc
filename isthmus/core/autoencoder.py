"""The wiring: builds a network from a spec, passes sizes along, and runs the equation.

.. math::
    \\text{loss} = \\text{objective}(\\log p(x), \\text{code}, \\text{prior})
    + \\sum_i \\lambda_i \\cdot \\text{penalty}_i(\\text{trace}) \\; (+ \\text{critic})
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.core.corruptions import CORRUPTIONS
from isthmus.core.critics import CRITICS
from isthmus.core.detectors import DETECTORS
from isthmus.core.likelihoods import LIKELIHOODS
from isthmus.core.networks import DECODERS, ENCODERS
from isthmus.core.networks.tied import tie
from isthmus.core.objectives import OBJECTIVES
from isthmus.core.parts import (
    Body,
    Bottleneck,
    Code,
    Corrupted,
    Distribution,
    Finished,
    Likelihood,
    Losses,
    Piece,
    Shape,
    Trace,
    make,
    size,
)
from isthmus.core.pca import PCA
from isthmus.core.penalties import PENALTIES
from isthmus.core.priors import PRIORS
from isthmus.errors import SpecError
from isthmus.spec import AUTO, Part, Spec

#: What the learning rate of a decoder alone is multiplied by.
_HURRY = 4.0
#: How far sparse rows' directions are drawn to one size at the start: 0 leaves them, 1 whitens.
_EVENED = 0.25

#: Every menu by the name of its place in a spec.
MENUS: dict[str, Mapping[str, type]] = {
    "corruption": CORRUPTIONS,
    "encoder": ENCODERS,
    "bottleneck": BOTTLENECKS,
    "decoder": DECODERS,
    "likelihood": LIKELIHOODS,
    "objective": OBJECTIVES,
    "penalties": PENALTIES,
    "prior": PRIORS,
    "critic": CRITICS,
    "detector": DETECTORS,
}


class Net(nn.Module):
    """One autoencoder: the parts, wired.

    Args:
        spec: which part stands in each place; ``latent_dim`` and every option already decided.
        shape: of one row's x.
        own: modules that a person brings in place of the encoder or decoder body. A bottleneck or likelihood
            that is built already may stand here too.

    Batches are keyword tensors: ``x`` (B, *shape), and where there is reason for it ``observed``
    (like x, True where known), ``target`` (the clean x, of which ``target_observed`` is known, else all),
    ``condition`` (B, …), and ``h``, what an encoder that stays as it is was found to answer.
    """

    def __init__(self, spec: Spec, shape: Shape, own: Mapping[str, Any] | None = None):
        super().__init__()
        own = own or {}
        assert isinstance(spec.latent_dim, int)
        self.spec, self.shape, self.progress = spec, tuple(shape), 1.0
        #: of products inside the bodies in training; at use all are float32
        self.precision = "float32"
        self.corruption = make(CORRUPTIONS, "corruption", spec.corruption)
        # networks see the likelihood's features, so their shape is needed before the likelihood's own input
        features = _features_shape(spec.likelihood, self.shape)
        told = spec.tell_missing and not _takes_mask(spec.encoder)
        seen = (features[0] + self.shape[0], *features[1:]) if told else features
        self.seen_shape = seen
        code_hint = (spec.latent_dim,)
        if spec.encoder.options.get("tied"):
            raise SpecError("It is the decoder that is tied to the encoder: say decoder={'tied': True}.")
        self.encoder = _body(ENCODERS, "encoder", spec.encoder, own.get("encoder"), seen, code_hint)
        self.bottleneck: Bottleneck = own.get("bottleneck") or make(
            BOTTLENECKS, "bottleneck", spec.bottleneck, self.encoder.out_shape, spec.latent_dim
        )
        code_shape = self.bottleneck.code_shape
        steered = (code_shape[0] + spec.condition_dim, *code_shape[1:])
        decoder = _mirrored(spec, self.encoder)
        self.decoder = _body(DECODERS, "decoder", decoder, own.get("decoder"), steered, features)
        self.likelihood: Likelihood = own.get("likelihood") or make(
            LIKELIHOODS, "likelihood", spec.likelihood, self.decoder.out_shape, self.shape
        )
        if self.tied:
            tie(self.encoder, self.bottleneck, self.decoder, self.likelihood)
        self.objective = make(OBJECTIVES, "objective", spec.objective)
        self.penalties = nn.ModuleDict({part.kind: make(PENALTIES, "penalty", part) for part in spec.penalties})
        self.prior = make(PRIORS, "prior", spec.prior, code_shape, seen)
        self.prior.steer(spec.condition_dim)
        self.critic = make(CRITICS, "critic", spec.critic, code_shape, features) if spec.critic else None
        self.projected = [piece for piece in self.modules() if _overrides(piece, "project", "project_gradient")]

    # -- the equation ---------------------------------------------------------------------------

    def features(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """What the encoder is shown: the features of x, and (with ``tell_missing``) which entries are there."""
        shown = self.likelihood.represent(x, visible)
        if not self.spec.tell_missing or self.encoder.takes_mask:
            return shown
        there = torch.ones_like(x) if visible is None else visible.to(x)
        return torch.cat([shown, there], dim=1)

    def encoded(self, features: Tensor, visible: Tensor | None = None) -> Tensor:
        """The encoder's answer h to what it is shown, of which only the entries that are ``visible`` count."""
        told = (None if visible is None else self.likelihood.reach(visible),) if self.encoder.takes_mask else ()
        return self._through(self.encoder, features, *told)

    def trace(
        self,
        x: Tensor,
        *,
        observed: Tensor | None = None,
        target: Tensor | None = None,
        target_observed: Tensor | None = None,
        condition: Tensor | None = None,
        h: Tensor | None = None,
    ) -> Trace:
        """One pass, with everything that it made."""
        corrupted = Corrupted(x)
        if self.corruption.training:
            corrupted = self.corruption(x, observed)
            corrupted.x = self.likelihood.sensible(corrupted.x, x)
        visible = visible_of(observed, corrupted.hidden)
        features = self.features(corrupted.x, visible)

        def encode(features: Tensor) -> Code:
            return self._coded(self.encoded(features, visible))

        def decode(z: Tensor) -> Distribution:
            if condition is None:
                return self.decode(z)
            # several codes per row come codes outermost
            return self.decode(z, condition.repeat(len(z) // len(condition), 1))

        wanted, known = (x, observed) if target is None else (target, target_observed)
        if corrupted.target is not None:
            wanted, known = corrupted.target, None

        def residual(expected: Tensor) -> Tensor:
            return self.residual(wanted, known, expected)

        self.renew_prior(condition)
        h = self.encoded(features, visible) if h is None else h
        code = self._coded(h)
        return Trace(
            x=wanted,
            observed=known,
            corrupted=corrupted,
            features=features,
            h=h,
            code=code,
            p=decode(code.z),
            prior=self.prior,
            decode=decode,
            encoder=self.encoder,
            decoder=self.decoder,
            residual=residual,
            encode=encode,
            squared_jacobian=lambda: self.bottleneck.squared_jacobian(code) if self.encoder.passes else None,
            likelihood=self.likelihood,
            condition=condition,
            progress=self.progress,
        )

    def renew_prior(self, condition: Tensor | None = None) -> None:
        """Let a prior that is learned with the network look at where its encoder stands."""
        if self.prior.learned:
            self.prior.renew(lambda features: self.bottleneck(self.encoded(features)), condition)

    def losses(self, **batch: Tensor) -> Losses:
        """The loss of every parameter group, in nats per row, and the terms they are made of."""
        trace = self.trace(**batch)
        terms = self.terms(trace)
        groups = {}
        if self.critic is not None:
            terms["critic"] = self.critic.persuade(trace)
            groups["critic"] = self.critic.judge(trace)
        means = {name: nats.mean() for name, nats in terms.items()}
        return Losses({"main": sum(means.values()), **groups}, {k: v.detach() for k, v in means.items()})

    def terms(self, trace: Trace) -> dict[str, Tensor]:
        """Objective, the bottleneck's own terms and penalties by name, nats."""
        terms = {**self.objective(trace), **trace.code.terms}
        for name, penalty in self.penalties.items():
            terms[name] = penalty(trace)
        return terms

    @property
    def tied(self) -> bool:
        """Whether the decoder's weights are the encoder's."""
        return bool(self.spec.decoder.options.get("tied"))

    @property
    def noisy(self) -> bool:
        """Whether a training pass draws random numbers, so that it differs from a pass at use."""
        return self.spec.corruption.kind != "identity" or self.bottleneck.rated

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that each loss moves; an encoder that is frozen stays as it is, and so does its head."""
        critic = list(self.critic.parameters()) if self.critic is not None else []
        ours = {id(p) for p in critic}
        if self.encoder.frozen:
            ours |= {id(p) for part in (self.encoder, self.bottleneck) for p in part.parameters()}
        groups = {"main": [p for p in self.parameters() if id(p) not in ours and p.requires_grad]}
        if critic:
            groups["critic"] = critic
        return groups

    def pace(self, group: str) -> float:
        """What the learning rate is multiplied by for a parameter group."""
        if group == "critic":
            return self.critic.pace
        # behind codes that stay, one layer has a convex loss: it may hurry, and on few rows it has to
        return _HURRY if self.encoder.frozen and not self.encoder.remembers else 1.0

    # -- at use: deterministic ------------------------------------------------------------------

    def encode(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """(B, *shape) → the code's mode (B, *code_shape)."""
        return self.bottleneck.mode(self.encoded(self.features(x, observed), observed))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Distribution:
        """(B, *code_shape), and (B, condition_dim) where a condition steers → a distribution over x."""
        if self.spec.condition_dim:
            assert condition is not None
            everywhere = condition.reshape(*condition.shape, *[1] * (z.ndim - 2)).expand(-1, -1, *z.shape[2:])
            z = torch.cat([z, everywhere], dim=1)
        return self.likelihood(self._through(self.decoder, z))

    def _coded(self, h: Tensor) -> Code:
        with self._multiplying(h, self.bottleneck.coarse):
            return self.bottleneck(h)

    def _through(self, body: Body, x: Tensor, *told: Any) -> Tensor:
        with self._multiplying(x):
            return body(x, *told).to(x.dtype)

    def _multiplying(self, x: Tensor, coarse: bool = True) -> AbstractContextManager[Any]:
        """Products of the ``precision`` that was chosen, while a part that may be ``coarse`` is trained."""
        if not coarse or self.precision == "float32" or not self.training:
            return nullcontext()
        return torch.autocast(x.device.type, dtype=getattr(torch, self.precision))

    def squared_error(self, x: Tensor, observed: Tensor | None, p: Distribution) -> Tensor:
        """‖features − expectation‖² over the observed entries, (B,), or the likelihood's own measure instead of it:
        what every model can be compared by.
        """
        there = None if observed is None else self.likelihood.reach(observed)
        return self.likelihood.error(self.likelihood.represent(x, observed), there, p.expected)

    def residual(self, x: Tensor, observed: Tensor | None, expected: Tensor) -> Tensor:
        """Features less their expectation (B, *features_shape), 0 where nothing was observed."""
        apart = self.likelihood.represent(x, observed) - expected
        return apart if observed is None else apart * self.likelihood.reach(observed)

    def code_nats(self, code: Code) -> Tensor:
        """What the code costs (B,): its rate, or where it has none −log of the fitted prior's density."""
        if self.prior.learned:
            return self.prior.rate(code)
        if not (self.bottleneck.rated or self.likelihood.prices_code):
            return code.rate
        return code.rate if self.bottleneck.rated else -self.prior.log_prob(code.z)

    # -- where training begins ------------------------------------------------------------------

    @property
    def starts_linear(self) -> bool:
        """Whether both ends have a linear path that can be set to PCA, and the code can begin there."""
        paths = self.encoder.linear is not None and self.decoder.linear is not None
        # a tied decoder cannot make up for a scale that the code or the expectation has
        exact = not self.tied or (self.likelihood.direct and not self.bottleneck.rated)
        return self.bottleneck.starts_linear and paths and exact

    @torch.no_grad()
    def start_at_pca(self, pca: PCA, effect: Tensor | None = None) -> None:
        """Set the linear path to principal components and everything beside it to no effect.

        Codes are the components' scores, divided by one common scale (so that distances stay), or each
        by its own where a rate asks for unit size; tied weights leave them as they are. Where a condition
        steers, ``pca`` is of what its linear ``effect`` (features, condition_dim) leaves over, and the decoder
        begins with that effect.
        """
        k, n_in = len(pca.components), size(self.seen_shape)
        dim = self.spec.latent_dim
        scales = pca.variances.clamp(min=1e-12).sqrt()
        if self.tied:
            scales = torch.ones(k)
        elif not self.bottleneck.rated:
            common = pca.variances.mean().clamp(min=1e-12).sqrt().expand(k)
            # of words the first few directions are what all documents share, and would rule every cosine
            scales = common if pca.centred else common * (scales / common) ** _EVENED
        down = torch.zeros(dim, n_in)
        up = torch.zeros(len(pca.mean), dim + self.spec.condition_dim)
        shift = torch.zeros(dim)
        down[:k, : len(pca.mean)] = pca.components / scales[:, None]
        up[:, :k] = pca.components.T * scales
        middle = pca.mean if pca.centred else torch.zeros_like(pca.mean)
        shift[:k] = -(pca.components @ middle) / scales
        if effect is not None:  # less what the code, which is of x as it is, already carries of it
            up[:, dim:] = effect - pca.components.T @ (pca.components @ effect)
        if k < dim:  # fewer components than codes: the rest begin at random, small
            nn.init.normal_(down[k:, : len(pca.mean)], std=len(pca.mean) ** -0.5 * 0.1)
        self.bottleneck.start_linear(self.encoder, down, shift)
        self.likelihood.start_linear(self.decoder, up, middle)

    @torch.no_grad()
    def start_from(self, **batch: Tensor) -> None:
        """Let every part that wants to begin on real rows look at these."""
        # the decoder first, because what comes before it may be tied to it
        modules = dict.fromkeys([*self.decoder.modules(), *self.modules()])
        starting = [piece for piece in modules if _overrides(piece, "start_from")]
        # a piece that is made of others lets these begin itself, each on its part of the rows
        inner = {id(part) for piece in starting for part in piece.modules() if part is not piece}
        for piece in (piece for piece in starting if id(piece) not in inner):
            piece.start_from(self.trace(**batch))  # a pass through what the ones before it have set

    # -- weights on a surface -------------------------------------------------------------------

    @torch.no_grad()
    def project_gradients(self) -> None:
        """Before a step: what would take weights off their surface is taken out of the gradients."""
        for piece in self.projected:
            piece.project_gradient()

    @torch.no_grad()
    def project(self) -> None:
        """After a step: weights go back onto their surface."""
        for piece in self.projected:
            piece.project()


def visible_of(observed: Tensor | None, hidden: Tensor | None) -> Tensor | None:
    """What is there and was not hidden; None where that is everything."""
    if hidden is None:
        return observed
    return ~hidden if observed is None else observed & ~hidden


def _mirrored(spec: Spec, encoder: Body) -> Part:
    """The decoder; if it is tied and its widths are left open, with those of the encoder."""
    tied, left_open = spec.decoder.options.get("tied"), spec.decoder.options.get("widths", AUTO) == AUTO
    if tied and left_open and spec.encoder.kind == spec.decoder.kind == "mlp":
        return spec.decoder.updated(widths=encoder.widths[::-1])
    return spec.decoder


def _takes_mask(part: Part) -> bool:
    return part.kind in ENCODERS and ENCODERS[part.kind].takes_mask


def _overrides(module: nn.Module, *methods: str) -> bool:
    """Whether a part has an answer of its own to one of these."""
    return isinstance(module, Piece) and any(getattr(type(module), m) is not getattr(Piece, m) for m in methods)


def _features_shape(part: Part, shape: Shape) -> Shape:
    return make(LIKELIHOODS, "likelihood", part, (1,), shape).features_shape


def _body(
    menu: Mapping[str, type[Body]],
    what: str,
    part: Part,
    own: nn.Module | None,
    in_shape: Shape,
    target_shape: Shape,
) -> Body:
    if part.kind == "own":
        if own is None:
            raise SpecError(
                f"The {what} of this model is a person's own module ({part.options.get('name', 'unknown')}), "
                f"which a file cannot hold. Hand it again: open_model(path, {what}=my_module)."
            )
        return Own(own, in_shape, target_shape)
    return make(menu, what, part, in_shape, target_shape)


class Own(Body):
    """A person's module as a body. Its output shape is found by trying it on zeros; where that is already
    the code's (or the data's) shape, no head is put on top.
    """

    def __init__(self, module: nn.Module, in_shape: Shape, target_shape: Shape):
        super().__init__()
        self.module = module
        was_training = module.training
        try:
            with torch.no_grad():
                out = module.eval()(torch.zeros(1, *in_shape))
        except Exception as error:
            raise SpecError(f"{type(module).__name__} cannot take rows of shape {tuple(in_shape)}: {error}") from error
        module.train(was_training)
        if not isinstance(out, Tensor) or out.ndim < 2:
            raise SpecError(
                f"{type(module).__name__} must return a tensor (batch, …), got "
                f"{tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__}."
            )
        shape = tuple(out.shape[1:])
        self.out_shape = Finished(shape) if shape == tuple(target_shape) else shape

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)
