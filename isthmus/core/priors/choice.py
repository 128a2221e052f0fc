"""Which density do codes have? Several are fitted, and the one that makes held-out codes likeliest is kept.

.. math:: \\hat p = \\arg\\max_p \\; \\frac1m \\sum_{j \\in \\text{held out}} \\log p(z_j)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.core.parts import Part, Prior, Shape, make, size
from isthmus.errors import SpecError

#: Sizes of mixtures that are tried, as long as they have so many codes a gaussian, and numbers in all factors.
_COMPONENTS, _CODES_EACH, _FACTORS = (2, 5, 10, 20, 50), 20, 1 << 19
#: Codes that the candidates are fitted to, and those that judge them; the winner is fitted to all.
_FITTED, _JUDGES = 5000, 2000
#: What is tried in any case.
TRIED = ("standard_normal", "gaussian", "mixture")
#: A richer density has to be better by so many standard errors.
_SURE = 2.0
#: Codes of more numbers than this keep the prior that they have.
WIDEST = 256


@dataclass(frozen=True)
class Choice:
    """The density that was kept, as a ``part`` and fitted (None where it is the model's own), and the ``nats`` a
    held-out code has under each candidate: higher is better.
    """

    part: Part
    prior: Prior | None
    nats: Mapping[str, float]


@torch.no_grad()
def choose_prior(
    z: Tensor, held: Tensor, own: tuple[Part, Tensor] | None = None, *, seen_shape: Shape = (), flow: bool = False
) -> Choice:
    """The density of codes ``z`` (n, *code_shape), judged on ``held`` (m, *code_shape).

    Args:
        own: The model's own prior, where it is none of the candidates, and the log-density (m,) that it gives the
            held-out codes: others have to be surely better.
        flow: Try a flow too, which takes longest.
    """
    from isthmus.core.priors import PRIORS

    held = held[:_JUDGES]
    best, best_logs = None if own is None else Choice(own[0], None, {}), None if own is None else own[1][:_JUDGES]
    nats = {} if own is None else {own[0].kind: float(own[1][:_JUDGES].double().mean())}

    def fitted(part: Part, some: Tensor) -> Prior:
        prior = make(PRIORS, "prior", part, tuple(z.shape[1:]), seen_shape or tuple(z.shape[1:]))
        prior.to(z.device)
        prior.settle(some, part.options["components"]) if part.kind == "mixture" else prior.fit(some)
        return prior

    mixtures: list[float] = []
    for part in _candidates(min(len(z), _FITTED), size(z.shape[1:]), flow):
        if part.kind == "mixture" and max(mixtures[-2:], default=0.0) < max(mixtures, default=0.0):
            continue  # two fell behind: larger ones only know the codes by heart
        try:
            prior = fitted(part, z[:_FITTED])
        except SpecError:  # a flow needs a package of its own
            continue
        logs = prior.log_prob(held).double()
        name = part.kind + (f" of {part.options['components']}" if part.kind == "mixture" else "")
        nats[name] = float(logs.mean())
        mixtures += [nats[name]] * (part.kind == "mixture")
        if best_logs is None or _surely(logs - best_logs.double()):
            best, best_logs = Choice(part, prior, {}), logs
    assert best is not None
    again = best.prior if best.prior is None or best.part.kind == "flow" else fitted(best.part, z)
    return Choice(best.part, again, nats)


def _candidates(n: int, dim: int, flow: bool) -> Iterator[Part]:
    """From the simplest to the richest."""
    yield Part("standard_normal")
    yield Part("gaussian")
    for k in _COMPONENTS:
        if k * _CODES_EACH <= n and k * dim * dim <= _FACTORS:
            yield Part("mixture", {"components": k})
    if flow:
        yield Part("flow")


def _surely(gains: Tensor) -> bool:
    return bool(gains.mean() > _SURE * gains.std(correction=0) / len(gains) ** 0.5)
