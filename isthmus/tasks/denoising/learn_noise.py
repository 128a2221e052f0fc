"""What ``--for denoise`` chooses: how a network is taught to take noise off, from what a person has.

.. math:: \\text{pairs} \\to \\text{supervised}, \\quad \\text{noisy alone} \\to \\text{neighbours, blind spot},
    \\quad \\text{clean alone} \\to \\text{noise that is added}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from isthmus import devices
from isthmus.data.images import Page
from isthmus.data.rows import Rows
from isthmus.data.signals import are_signals
from isthmus.errors import SpecError, unknown
from isthmus.modalities.pixels import Pixels
from isthmus.modalities.signals import Signals
from isthmus.model import Model
from isthmus.spec import AUTO, Plan
from isthmus.tasks.denoising.classical import NAMES, Denoiser, calibrated, held_out_error, squared_error
from isthmus.tasks.denoising.denoise import Cleaner, check_pairs, crop, whole
from isthmus.tasks.denoising.noise import Noise, diagnose
from isthmus.tasks.jobs import Asked, Job

#: Pictures that the diagnosis looks at, and those that methods are compared on.
_LOOKED_AT, _COMPARED = 24, 8
#: Fewer pictures than this are cut into pieces, so that some can be held out; no piece has a smaller side.
_FEW, _LEAST_SIDE, _LEAST_STEPS = 16, 96, 256
#: Crops per step: many small steps get further in the same time than few large ones; and the same of signals.
_BATCH, _RATE = 4, 2e-3
_SIGNALS_BATCH = 16
#: Given so many seconds a wider U gets further, in larger and more careful steps.
_LONG, _WIDE, _WIDE_BATCH, _WIDE_RATE = 1200.0, [64, 96, 128], 8, 1e-3
#: The U for signals: along one axis layers cost little, and it should see far.
_SIGNALS_WIDTHS = [32, 48, 64, 96]
#: Noise of any level that is added to signals: up to as strong as they are themselves.
_SIGNALS_LEVELS = {"low": 0.0, "high": 1.0}
#: Noises that signals may have.
_OF_SIGNALS = ("gaussian",)
#: Of all pictures (or pieces) a tenth is held out, but so many at least and at most.
_HELD = (4, 16)
#: Two levels this near to each other are two noisy shots, and none of them clean.
_AS_NOISY = 0.6

#: What can be said of added noise: its corruption, and what the number after the colon is.
NOISES: dict[str, tuple[str, str]] = {
    "gaussian": ("white", "its deviation in the pictures' own numbers, as in gaussian:25 or gaussian:5-50"),
    "poisson-gaussian": ("poisson_gaussian", "the photons that white is worth, as in poisson-gaussian:30"),
    "salt-and-pepper": ("impulses", "the share of pixels, as in salt-and-pepper:0.1"),
    "masking": ("impulses", "the share of pixels that are black, as in masking:0.5"),
    "speckle": ("speckle", "its deviation at white as a share of it, as in speckle:0.2"),
    "jpeg": ("jpeg", "the quality, as in jpeg:20 or jpeg:10-50"),
}


class Denoising(Job):
    """A residual network for pixels, taught by what there is; classical methods stand beside it."""

    modalities = ("pixels", "signals")

    def modality_of(self, source: Any, kind: str | None = None) -> str:
        if kind == "series" or (kind is None and are_signals(source)):
            return "signals"
        return super().modality_of(source, kind)

    def suit(self, rows: Rows, target: Rows | None, plan: Plan, *, noise: str | None = None) -> Asked:
        """Diagnose the noise, and choose how it is learned.

        Args:
            noise: what is added to clean pictures (``gaussian:25``; ``gaussian`` of any level), ``blind`` for gaussian
                noise of any level, or ``own``: the pictures are noisy, and nothing is added.
        """
        if target is not None:
            check_pairs(rows, target)
            if noise is not None:
                raise SpecError("Pairs show their noise: leave --noise out, or --target.")
        found, face, signals = _diagnosed(rows), _face(rows), rows.kind == "signals"
        unit = float(np.mean(face.high - face.low))
        told = found.words(unit)
        parts: dict[str, Any] = {}
        double = False
        if target is not None:
            how = "noise2noise" if _diagnosed(target).sigma > _AS_NOISY * found.sigma else "supervised"
            told.append(
                "targets are as noisy as the pictures: two shots teach as well as clean ones (Noise2Noise)"
                if how == "noise2noise" else "pairs: what is noise and what is not is shown (supervised)"
            )  # fmt: skip
        elif noise not in (None, "own") or (noise is None and found.clean):
            how = "synthetic"
            said = "gaussian" if noise in (None, "blind") else str(noise)
            parts["corruption"] = (_SIGNALS_LEVELS if signals else {}) | added(said, unit)
            if signals and said.partition(":")[0] not in _OF_SIGNALS:
                raise SpecError(f"Noise on signals is gaussian, as in gaussian:{unit / 4:.3g}, or blind; got {said!r}.")
            level = {k: round(v, 4) for k, v in parts["corruption"].items() if k != "kind"}
            what = "signals" if signals else "pictures"
            told.append(f"{what} are taken for clean, and noise is added to them: {said.partition(':')[0]}, {level}")
        elif found.independent:
            how, double = "neighbours", True
            parts["corruption"] = "neighbours"
            one = "signals alone: every step's" if signals else "pictures alone: every pixel's"
            told.append(f"noisy {one} neighbour is its second shot (Neighbor2Neighbor)")
        else:
            how = "blind_spot"
            across, down = found.across, found.down
            parts |= {"corruption": {"kind": "blind_spot", "across": across, "down": down}, "objective": "masked"}
            one = "signals alone, whose steps" if signals else "pictures alone, whose neighbours"
            told.append(f"noisy {one} are alike: hidden ones are asked for (Noise2Void)")
        rows, target = _in_pieces(rows, target)
        # noise that is added has no direction, nor has one that neighbours do not share
        turned = not signals and (how == "synthetic" or found.independent)
        options: dict[str, Any] = {"turned": True} if turned else {}
        most = max(max(page.shape[:2]) for page in rows.data)
        if double:
            options["side"] = min(2 * face.usual_side, -(-most // (2 * face.grid)) * 2 * face.grid)
        if signals:
            parts |= {place: {"kind": "unet", "widths": _SIGNALS_WIDTHS} for place in ("encoder", "decoder")}
        wide = not signals and plan.max_time is not None and plan.max_time >= _LONG
        if wide:
            parts |= {place: {"kind": "unet", "widths": _WIDE} for place in ("encoder", "decoder")}
        batch, rate = (_WIDE_BATCH, _WIDE_RATE) if wide else (_SIGNALS_BATCH if signals else _BATCH, _RATE)
        held = float(np.clip(0.1 * len(rows), *_HELD)) / len(rows)
        plan = plan.replace(
            validation=held if plan.validation == AUTO else plan.validation,
            batch_size=batch if plan.batch_size == AUTO else plan.batch_size,
            learning_rate=rate if plan.learning_rate == AUTO else plan.learning_rate,
        )
        return Asked(rows, "residual", plan, target, parts, options, told, {"how": how, "noise": found.to_json()})

    def finish(self, model: Model, held: Rows | None, notes: Mapping[str, Any]) -> dict[str, Any]:
        if held is None:
            return {"best": "network", "methods": {}, "compared_on": 0}
        how, network, signals = notes["how"], Cleaner(model, "network"), held.kind == "signals"
        noisy, clean = _test_pictures(model, held, how)
        alone = not clean

        def error(denoise: Denoiser, i: int) -> float:
            return held_out_error(denoise, noisy[i]) if alone else squared_error(denoise, noisy[i], clean[i])

        def mean(denoise: Denoiser) -> float:
            return float(np.mean([error(denoise, i) for i in range(len(noisy))]))

        methods: dict[str, dict[str, Any]] = {"network": {"error": mean(network.scaled)}}
        if not alone:
            methods["as it is"] = {"error": mean(lambda picture: picture)}
        # who takes noise for independent and it is not, copies it: a hidden pixel cannot tell
        if how != "blind_spot":
            for name, (method, loss) in calibrated(noisy, error).items():
                methods[name] = {"error": loss, "strength": method.strength}
        usable = {name: entry for name, entry in methods.items() if name != "as it is"}
        best = min(usable, key=lambda name: usable[name]["error"])
        return {"best": best, "methods": methods, "compared_on": len(noisy), "alone": alone, "signals": signals}

    def words(self, notes: Mapping[str, Any]) -> list[str]:
        methods = notes.get("methods") or {}
        if not methods:
            return ["nothing was held out, so nothing says whether a classical method is better"]
        n, said = notes["compared_on"], []
        for name, found in methods.items():
            called = NAMES.get(name, name)
            rmse = math.sqrt(max(found["error"], 1e-12))
            said.append(f"{called} {rmse:.4f}" if notes["alone"] else f"{called} {-20 * math.log10(rmse):.2f} dB")
        signals = notes.get("signals", False)
        what = ("signal", "step", "signal to noise") if signals else ("picture", "pixel", "PSNR")
        measured = f"error at hidden {what[1]}s (noise included)" if notes["alone"] else what[2]
        lines = [f"{n} held-out {what[0]}(s), {measured}: {', '.join(said)}"]
        if notes["best"] != "network":
            lines.append(
                f"! {NAMES[notes['best']]} did better than the network, so isthmus denoise uses it: "
                "a longer training may change that"
            )
        elif not NAMES.keys() & methods:
            lines.append("no classical method was tried beside the network")
        return lines


def added(said: str, unit: float) -> dict[str, Any]:
    """The corruption of ``gaussian:25``: a kind, and a level or two, if one is said.

    >>> added("gaussian:51", 255.0), added("salt-and-pepper:0.1-0.3", 255.0)
    ({'kind': 'white', 'low': 0.2, 'high': 0.2}, {'kind': 'impulses', 'low': 0.1, 'high': 0.3})
    """
    kind, _, level = said.partition(":")
    if kind not in NOISES:
        raise unknown("noise", kind, [*NOISES, "blind", "own"])
    part, about = NOISES[kind]
    found: dict[str, Any] = {"kind": part}
    if kind == "masking":
        found["white"] = 0.0
    if level:
        try:
            numbers = sorted(float(number) for number in level.split("-"))
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= 2 or numbers[0] < 0 or numbers[-1] <= 0:
            raise SpecError(f"The level of {kind} is {about}; got {said!r}.")
        if kind == "gaussian":
            numbers = [number / unit for number in numbers]
        if kind == "poisson-gaussian":
            numbers = sorted(1 / math.sqrt(max(number, 1e-6)) for number in numbers)
        found |= {"low": numbers[0], "high": numbers[-1]}
    return found


def _face(rows: Rows) -> Pixels | Signals:
    return Signals.fit(rows) if rows.kind == "signals" else Pixels.fit(rows)


def _diagnosed(rows: Rows) -> Noise:
    face = _face(rows)
    chosen = np.unique(np.linspace(0, len(rows) - 1, _LOOKED_AT).round().astype(int))
    return diagnose([_unit_range(face, rows.data[i]) for i in chosen])


def _unit_range(face: Pixels | Signals, page: Page) -> np.ndarray:
    """A piece from the middle of a picture, in which black is 0 and white is 1."""
    low, high = face.range_of(page.dtype)
    return ((crop(whole(page.read())) - low) / (high - low)).astype(np.float32)


def _in_pieces(rows: Rows, target: Rows | None) -> tuple[Rows, Rows | None]:
    """A few large pictures as many pieces of them, side by side, of which some can be held out."""
    if len(rows) >= _FEW:
        return rows, target
    area = sum(page.shape[0] * page.shape[1] for page in rows.data)
    side = max(_LEAST_SIDE, int(math.sqrt(area / (2 * _FEW))))
    if rows.kind == "signals":
        side = max(_LEAST_STEPS, area // (2 * _FEW))
    boxes = [(i, box) for i, page in enumerate(rows.data) for box in _boxes(page, side)]

    def cut(of: Rows) -> Rows:
        return Rows(rows.kind, [of.data[i].cut(*box) for i, box in boxes], of.origin, None, of.skipped, of.remarks)

    return cut(rows), None if target is None else cut(target)


def _boxes(page: Page, side: int) -> list[tuple[int, int, int, int]]:
    """A picture cut evenly into pieces of about ``side``: top, left, height, width."""
    edges = [np.linspace(0, n, max(1, n // side) + 1).round().astype(int).tolist() for n in page.shape[:2]]
    return [
        (top, left, bottom - top, right - left)
        for top, bottom in zip(edges[0], edges[0][1:], strict=False)
        for left, right in zip(edges[1], edges[1][1:], strict=False)
    ]


def _test_pictures(model: Model, held: Rows, how: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Noisy pictures (h, w, c) between 0 and 1, and clean ones, if any can be had, of the rows held out."""
    face = model.modality
    assert isinstance(face, Pixels | Signals)
    chosen = np.unique(np.linspace(0, len(held) - 1, _COMPARED).round().astype(int))
    first = [_unit_range(face, held.data[i]) for i in chosen]
    if how == "synthetic":
        noisy = []
        with devices.seeded(0), torch.no_grad():
            for picture in first:
                height, width = (side // 8 * 8 or side for side in picture.shape[:2])
                x = torch.from_numpy(np.moveaxis(picture[:height, :width], 2, 0).copy())[None].to(model.device)
                noisy.append(model.net.corruption(x, None).x[0].movedim(0, 2).cpu().numpy())
        return noisy, [p[: n.shape[0], : n.shape[1]] for p, n in zip(first, noisy, strict=True)]
    if "target" in held.beside:
        return first, [_unit_range(face, held.beside["target"].data[i]) for i in chosen]
    return first, []
