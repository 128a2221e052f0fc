"""What people are told about rows and models, a line at a time: for the command line and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isthmus.spec import SINGLE, Part

if TYPE_CHECKING:
    from torch import nn

    from isthmus.core.autoencoder import Net
    from isthmus.core.parts import Body
    from isthmus.data.rows import Rows
    from isthmus.model import Model, Prepared

#: False-alarm rates that people ask for.
RATES = (0.01, 0.05)
_NAMED = 10


def opened(rows: Rows) -> list[str]:
    """What was found in the data, and what was left out."""
    what = count(len(rows), _KINDS.get(rows.kind, "row"))
    if rows.large and rows.kind == "recordings":
        what = f"{count(len(rows.data.tracks), 'recording')}, {count(len(rows), 'step')}, read in stretches"
    lines = [f"{rows.origin}: {what}"]
    lines += [f"! {remark}" for remark in rows.remarks]
    if rows.skipped:
        lines.append(f"! {count(len(rows.skipped), 'file')} skipped:")
        lines += [f"    {s.name}: {s.reason}" for s in rows.skipped[:_NAMED]]
        if len(rows.skipped) > _NAMED:
            lines.append(f"    … and {len(rows.skipped) - _NAMED:,} more (--json lists them all)")
    return lines


_KINDS = {"image": "image", "pixels": "picture", "text": "text", "recordings": "recording"}


def prepared(found: Prepared) -> list[str]:
    """How many rows are used, what was decided about them, the sizes of the layers, and the parts."""
    return [
        f"{found.n_train:,} rows to fit, {found.n_held_out:,} held out",
        *found.modality.describe(),
        f"{architecture(found.net)}   {parameters(found.net):,} parameters",
        parts(found.net),
    ]


def fitted(model: Model) -> str:
    """How the training ended."""
    record = model.record
    ended = f"{record.history[-1]['number']} epochs" if record.history else "no training"
    if record.stopped:
        ended += f", then stopped: {record.stopped}"
    return f"{ended}; the weights are those after epoch {record.best_epoch}"


def architecture(net: Net) -> str:
    """Sizes from end to end: ``784 → 512 → 256 → [32] → 256 → 512 → 784``."""
    begin = " × ".join(map(str, net.shape))
    code = "×".join(map(str, net.bottleneck.code_shape))
    return " → ".join([begin, *_widths(net.encoder), f"[{code}]", *_widths(net.decoder), begin])


def _widths(body: Body) -> list[str]:
    from torch import nn

    from isthmus.core.networks.tied import Transposed

    if body.drawn:
        return [body.drawn]
    found = []
    for module in body.modules():
        if isinstance(module, nn.Linear | Transposed):
            found.append(str(module.out_features))
        elif hasattr(module, "out_channels"):
            kernel = "×".join(map(str, module.kernel_size))
            found.append(f"{module.out_channels} maps {kernel}")
    return found


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def parts(net: Net) -> str:
    """The composition in words."""
    spec = net.spec
    said = [f"{_part(spec.encoder)} → {_part(spec.bottleneck)} → {_part(spec.decoder)}"]
    said.append(f"{_part(spec.likelihood)} likelihood, {_part(spec.objective)} objective")
    if spec.corruption.kind != "identity":
        said.append(f"{_part(spec.corruption)} corruption")
    said += [f"penalty {_part(p)}" for p in spec.penalties]
    if spec.critic:
        said.append(f"critic {_part(spec.critic)}")
    if spec.warm_start == "pca" and net.starts_linear:
        said.append(f"started at {net.likelihood.linear_model}")
    return ", ".join(said)


def _part(part: Part) -> str:
    shown = []
    for name, value in part.options.items():
        text = str(value)
        if name not in ("linear_path", "levels") and len(text) <= 24:
            shown.append(f"{name}={text}")
    return f"{part.kind}({', '.join(shown)})" if shown else part.kind


def profile(phases: Mapping[str, float]) -> list[str]:
    """Seconds by phase, longest first."""
    total = max(sum(phases.values()), 1e-9)
    ranked = sorted(phases.items(), key=lambda phase: -phase[1])
    return [f"{name:<10}{seconds:8.3f} s  {seconds / total:4.0%}" for name, seconds in ranked]


def about_lines(model: Model) -> dict[str, list[str]]:
    """What a model knows of itself, by title."""
    from isthmus.tasks.checkup import heal
    from isthmus.tasks.checkup.compare import compared_at_fit

    record, plan = model.record, model.plan
    ended = f"{len(record.history) - 1} epochs of at most {plan.epochs}" if record.history else "no epochs"
    told = {
        "rows": [
            f"{record.origin}: {record.n_train:,} fitted, {record.n_held_out:,} held out",
            *([f"each with its target in {record.target}"] if record.target else []),
            *model.modality.describe(),
        ],
        "recipe": [record.recipe, parts(model.net)],
        "network": [
            architecture(model.net),
            f"{parameters(model.net):,} parameters, code of {model.latent_dim}",
        ],
        "training": [
            f"{ended}, best after {record.best_epoch}; batches of {plan.batch_size}, learning rate "
            f"{_number(plan.learning_rate)}, seed {plan.seed}, {record.seconds:.1f} s"
        ],
    }
    if plan.precision == "bfloat16":
        told["training"].append(f"its products were {plan.precision} while it was trained")
    if plan.pretrain:
        told["training"].append("every layer was trained by itself before the whole")
    if record.stopped:
        told["training"].append(f"stopped: {record.stopped}")
    if record.healing:
        told["healing"] = [heal.words(step) for step in record.healing]
    compared = compared_at_fit(model)
    if compared:
        told["held out"] = compared.summary()
    if record.job:
        from isthmus.tasks.jobs import open_job

        told["for"] = [record.job["name"], *open_job(record.job["name"]).words(record.job)]
    if model.head is not None:
        from isthmus.tasks.features.heads import words as head_words

        told["head"] = head_words(model.head)
    told["calibration"] = _calibrated(model)
    made = record.made
    told["made"] = [", ".join(f"{name} {made[name]}" for name in ("isthmus", "torch", "python") if name in made)]
    if "when" in made:
        told["made"][0] += f", {made['when']}"
    return told


def _calibrated(model: Model) -> list[str]:
    if not model.net.bottleneck.narrows:
        return ["none: everything of a row passes, so its score would say nothing"]
    if model.calibration is None:
        return ["none: no rows were held out, so detect has no threshold"]
    middle = float(model.calibration[len(model.calibration) // 2])
    kind = model.spec.detector.kind
    lines = [f"{len(model.calibration):,} scores by {kind} of rows that it has not seen, median {middle:.4g}"]
    for rate, at in thresholds(model).items():
        if at is None:
            lines.append(f"a false-alarm rate of {rate:.0%} needs {math.ceil(1 / rate) - 1} held-out rows")
        else:
            lines.append(f"false-alarm rate {rate:.0%}: score of {at:.4g} and more")
    return lines


def thresholds(model: Model) -> dict[float, float | None]:
    """Score by false-alarm rate; None where too few rows were held out to promise it."""
    if model.calibration is None:
        return dict.fromkeys(RATES)
    found = {rate: model.threshold(rate) for rate in RATES}
    return {rate: at if math.isfinite(at) else None for rate, at in found.items()}


def facts(model: Model) -> dict[str, Any]:
    """What of the same is for a machine, and stands nowhere else in the file."""
    return {
        "modality": {
            "kind": model.modality.kind,
            "shape": list(model.modality.shape),
            "choices": model.modality.describe(),
        },
        "architecture": architecture(model.net),
        "parameters": parameters(model.net),
        "latent_dim": model.latent_dim,
        "calibration": {
            "rows": 0 if model.calibration is None else len(model.calibration),
            "thresholds": {f"{rate:g}": at for rate, at in thresholds(model).items()},
        },
    }


def places(model: Model) -> dict[str, str]:
    """Part by place, for a table."""
    return {place: _part(getattr(model.spec, place)) for place in SINGLE}


def count(n: int, what: str) -> str:
    """
    >>> count(1, "row"), count(1797, "image")
    ('1 row', '1,797 images')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def bytes_(n: float) -> str:
    """
    >>> bytes_(900), bytes_(212_000), bytes_(3.4e6)
    ('900 bytes', '212 kB', '3.4 MB')
    """
    if n < 1000:
        return f"{n:.0f} bytes"
    return f"{n / 1e3:.0f} kB" if n < 1e6 else f"{n / 1e6:.1f} MB" if n < 1e9 else f"{n / 1e9:.2f} GB"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
