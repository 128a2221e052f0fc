"""Does health see a collapse, and does healing undo it? A VAE on MNIST that is set up to ignore its code.

A decoder much stronger than the encoder, a wide code from a random start, a price of twenty, and a noise level of one
where pixels span zero to one. All of it is said, so that healing may only add to it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings, Skip
from benchmarks.record import peak_memory_mb

CODES = 40
SICK: dict[str, Any] = {
    "parts": {
        "objective": {"beta": 20.0},
        "likelihood": {"sigma": 1.0},
        "encoder": {"kind": "mlp", "widths": [64]},
        "decoder": {"kind": "mlp", "widths": [512, 512, 512]},
    },
    "warm_start": None,
}


def healed(settings: Settings) -> Measured:
    """Active units after healing ÷ those of a run with default settings, the worst seed."""
    runs = _runs(settings)
    return _measured(min(run["healed"]["active"] / max(run["good"]["active"], 1) for run in runs), runs)


def named(settings: Settings) -> Measured:
    """The share of seeds for which health says "posterior collapse" of the sick run, and of no good one."""
    runs = _runs(settings)
    said = [{name: "posterior collapse" in run[name]["found"] for name in ("good", "sick")} for run in runs]
    return _measured(sum(one["sick"] and not one["good"] for one in said) / len(runs), runs)


def _measured(value: float, runs: list[dict[str, Any]]) -> Measured:
    seeds = [run["seed"] for run in runs]
    active = [f"{run['good']['active']}/{run['sick']['active']}/{run['healed']['active']}" for run in runs]
    note = f"active of {CODES}, good/sick/healed: {', '.join(active)}"
    return Measured(value, runs, data="mnist", seed=seeds, memory_mb=peak_memory_mb(), note=note)


@cache
def _runs(settings: Settings) -> list[dict[str, Any]]:
    try:
        from isthmus.model import Model
        from isthmus.spec import Plan
        from isthmus.tasks.checkup import heal
    except ImportError as error:
        raise Skip(f"isthmus does not start: {error}") from None
    images = data.mnist().train[: settings.pick(4_000, 500)]
    runs = []
    for seed in range(settings.pick(3, 1)):
        plan = Plan(epochs=settings.pick(15, 2), batch_size=128, seed=seed)
        options = {"recipe": "variational", "latent_dim": CODES, "plan": plan, "device": "cpu"}
        good = Model.fit(images, **options)
        sick = Model.fit(images, **options, **SICK)
        runs.append({
            "seed": seed,
            "good": _found(good, images),
            "sick": _found(sick, images),
            "healed": _found(heal.fit(images, **options, **SICK), images),
        })  # fmt: skip
    return runs


def _found(model: Any, images: Any) -> dict[str, Any]:
    from isthmus.tasks.checkup.health import health

    looked = health(model, images)
    return {
        "active": int(looked.vitals.codes.active.sum()),
        "found": [finding.what for finding in looked.findings],
        "error": model.record.error,
        "healing": model.record.healing,
    }


FIGURES = {
    "named": Figure(
        'health says "posterior collapse" of a collapsed VAE, and not of a good one', named, Bar(at_least=1)
    ),
    "healed": Figure("active units of a collapsed VAE after auto_heal ÷ a good run's", healed, Bar(at_least=0.8)),
}
