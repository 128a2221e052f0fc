"""What a model is before it has weights: frozen dataclasses that are JSON and back.

A :class:`Part` is one choice from one menu, ``{"kind": "gaussian", "beta": 4.0}``. A :class:`Spec`
names a part for every place of the equation. A :class:`Plan` says how it is trained. Nothing here
knows torch, so that the command line can list and check names before anything heavy is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, TypeGuard

from isthmus.errors import SpecError, unknown

AUTO = "auto"


@dataclass(frozen=True)
class Part:
    """One choice from a menu with its options.

    >>> Part.of("gaussian")
    Part(kind='gaussian', options={})
    >>> Part.of({"kind": "mlp", "widths": [128, 64]}).to_json()
    {'kind': 'mlp', 'widths': [128, 64]}
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, said: str | Mapping[str, Any] | Part) -> Part:
        """Read what a person writes: a name, a mapping with ``kind``, or a part."""
        if isinstance(said, Part):
            return said
        if isinstance(said, str):
            return cls(said)
        if isinstance(said, Mapping) and isinstance(said.get("kind"), str):
            return cls(said["kind"], {k: v for k, v in said.items() if k != "kind"})
        raise SpecError(
            f"A part is a name or a mapping with 'kind'; got {said!r}. "
            'Write "mlp" or {"kind": "mlp", "widths": [128, 64]}.'
        )

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.options}

    def updated(self, **options: Any) -> Part:
        return Part(self.kind, {**self.options, **options})

    def __repr__(self) -> str:
        return f"Part(kind={self.kind!r}, options={dict(self.options)!r})"


#: The places of the equation that hold exactly one part.
SINGLE = ("corruption", "encoder", "bottleneck", "decoder", "likelihood", "objective", "prior", "detector")


@dataclass(frozen=True)
class Spec:
    """The composition of one model: a part for every place, and the size of the code.

    ``tell_missing`` shows the encoder which entries are there, beside their values. ``condition_dim``
    numbers beside the code steer the decoder: a label, a column.
    """

    encoder: Part
    decoder: Part
    bottleneck: Part = Part("plain")
    likelihood: Part = Part("gaussian")
    corruption: Part = Part("identity")
    objective: Part = Part("reconstruction")
    prior: Part = Part("standard_normal")
    detector: Part = Part("likelihood")
    penalties: tuple[Part, ...] = ()
    critic: Part | None = None
    latent_dim: int | str = AUTO
    warm_start: str | None = "pca"
    tell_missing: bool = False
    condition_dim: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name).to_json() for name in SINGLE},
            "penalties": [part.to_json() for part in self.penalties],
            "critic": self.critic.to_json() if self.critic else None,
            "latent_dim": self.latent_dim,
            "warm_start": self.warm_start,
            "tell_missing": self.tell_missing,
            "condition_dim": self.condition_dim,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Spec:
        known = {f.name for f in fields(cls)}
        for name in said:
            if name not in known:
                raise unknown("part of a model", name, known)
        return cls(
            **{name: Part.of(said[name]) for name in SINGLE if name in said},
            penalties=tuple(Part.of(part) for part in said.get("penalties") or ()),
            critic=Part.of(said["critic"]) if said.get("critic") else None,
            latent_dim=said.get("latent_dim", AUTO),
            warm_start=said.get("warm_start", "pca"),
            tell_missing=bool(said.get("tell_missing", False)),
            condition_dim=int(said.get("condition_dim", 0)),
        )

    def replace(self, **changes: Any) -> Spec:
        return replace(self, **changes)


@dataclass(frozen=True)
class Plan:
    """How a model is trained. ``"auto"`` is decided from the data and then written down.

    ``epochs`` and ``batch_size`` count rows; ``max_time`` is in seconds; ``warmup`` is a fraction of
    the whole training, so that it can never outlast it; ``validation`` is the fraction of rows held
    out; ``patience`` is the fraction of the epochs without improvement after which training stops.
    ``pretrain="stacked"`` trains dense bodies layer by layer first, in place of the start at PCA.
    ``precision`` is that of the products inside encoder and decoder while they are trained: ``"bfloat16"`` is two to
    three times as fast where the processor multiplies it, and ``"auto"`` takes it there for bodies that lose nothing
    by it. Weights, losses and everything at use are float32.
    """

    epochs: int | str = AUTO
    batch_size: int | str = AUTO
    learning_rate: float | str = AUTO
    weight_decay: float = 0.0
    warmup: float = 0.05
    clip: float | None = None
    patience: float | None = 0.25
    max_time: float | None = None
    validation: float | str = AUTO
    seed: int = 0
    pretrain: str | None = None
    precision: str = AUTO

    def __post_init__(self) -> None:
        whole, positive = "a whole number of at least 1", "a number above 0"
        ok = self.epochs == AUTO or (_is_whole(self.epochs) and self.epochs >= 0)
        self._check("epochs", ok, "a whole number or 'auto'")
        ok = self.batch_size == AUTO or (_is_whole(self.batch_size) and self.batch_size >= 1)
        self._check("batch_size", ok, f"{whole} or 'auto'")
        ok = self.learning_rate == AUTO or (_is_number(self.learning_rate) and self.learning_rate > 0)
        self._check("learning_rate", ok, f"{positive} or 'auto'")
        self._check("weight_decay", _is_number(self.weight_decay) and self.weight_decay >= 0, "a number of at least 0")
        self._check("warmup", _is_number(self.warmup) and 0 <= self.warmup < 1, "a fraction from 0 to below 1")
        for name in ("clip", "patience", "max_time"):
            value = getattr(self, name)
            self._check(name, value is None or (_is_number(value) and value > 0), f"{positive} or None")
        ok = self.validation == AUTO or (_is_number(self.validation) and 0 <= self.validation < 1)
        self._check("validation", ok, "a fraction from 0 to below 1, or 'auto'")
        self._check("pretrain", self.pretrain in ("stacked", None), "'stacked' or None")
        known = self.precision in (AUTO, "float32", "bfloat16")
        self._check("precision", known, "'float32', 'bfloat16' or 'auto'")

    def _check(self, name: str, ok: bool, allowed: str) -> None:
        if not ok:
            raise SpecError(f"{name} is {allowed}; got {getattr(self, name)!r}.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Plan:
        known = {f.name for f in fields(cls)}
        for name in said:
            if name not in known:
                raise unknown("training option", name, known)
        return cls(**said)

    def replace(self, **changes: Any) -> Plan:
        return replace(self, **changes)


def _is_whole(value: Any) -> TypeGuard[int]:
    return not isinstance(value, bool) and isinstance(value, Integral)


def _is_number(value: Any) -> TypeGuard[float]:
    return not isinstance(value, bool) and isinstance(value, (int, float, Real)) and math.isfinite(value)
