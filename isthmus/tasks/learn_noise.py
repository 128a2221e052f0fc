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
from isthmus.errors import SpecError, unknown
from isthmus.modalities.pixels import GRID, SIDE, Pixels
from isthmus.model import Model
from isthmus.spec import AUTO, Plan
from isthmus.tasks.classical import NAMES, Denoiser, calibrated, held_out_error, squared_error
from isthmus.tasks.denoise import Cleaner, check_pairs, crop
from isthmus.tasks.jobs import Asked, Job
from isthmus.tasks.noise import Noise, diagnose

#: Pictures that the diagnosis looks at, and those that methods are compared on.
_LOOKED_AT, _COMPARED = 24, 8
#: Fewer pictures than this are cut into pieces, so that some can be held out; no piece has a smaller side.
_FEW, _LEAST_SIDE = 16, 96
#: Crops per step: many small steps get further in the same time than few large ones.
_BATCH, _RATE = 4, 2e-3
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

    modality = "pixels"

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
        found = _diagnosed(rows)
        face = Pixels.fit(rows)
        unit = face.high - face.low
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
            parts["corruption"] = added(said, unit)
            level = {k: round(v, 4) for k, v in parts["corruption"].items() if k != "kind"}
            told.append(f"pictures are taken for clean, and noise is added to them: {said.partition(':')[0]}, {level}")
        elif found.independent:
            how, double = "neighbours", True
            parts["corruption"] = "neighbours"
            told.append("noisy pictures alone: every pixel's neighbour is its second shot (Neighbor2Neighbor)")
        else:
            how = "blind_spot"
            across, down = found.across, found.down
            parts |= {"corruption": {"kind": "blind_spot", "across": across, "down": down}, "objective": "masked"}
            told.append("noisy pictures alone, whose neighbours are alike: hidden pixels are asked for (Noise2Void)")
        rows, target = _in_pieces(rows, target)
        options: dict[str, Any] = {}
        if double:
            most = max(max(page.shape[:2]) for page in rows.data)
            options["side"] = min(2 * SIDE, -(-most // (2 * GRID)) * 2 * GRID)
        held = float(np.clip(0.1 * len(rows), *_HELD)) / len(rows)
        plan = plan.replace(
            validation=held if plan.validation == AUTO else plan.validation,
            batch_size=_BATCH if plan.batch_size == AUTO else plan.batch_size,
            learning_rate=_RATE if plan.learning_rate == AUTO else plan.learning_rate,
        )
        return Asked(rows, "residual", plan, target, parts, options, told, {"how": how, "noise": found.to_json()})

    def finish(self, model: Model, held: Rows | None, notes: Mapping[str, Any]) -> dict[str, Any]:
        if held is None:
            return {"best": "network", "methods": {}, "compared_on": 0}
        how, network = notes["how"], Cleaner(model, "network")
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
        return {"best": best, "methods": methods, "compared_on": len(noisy), "alone": alone}

    def words(self, notes: Mapping[str, Any]) -> list[str]:
        methods = notes.get("methods") or {}
        if not methods:
            return ["no pictures were held out: nothing says whether a classical method is better"]
        n, said = notes["compared_on"], []
        for name, found in methods.items():
            called = NAMES.get(name, name)
            rmse = math.sqrt(max(found["error"], 1e-12))
            said.append(f"{called} {rmse:.4f}" if notes["alone"] else f"{called} {-20 * math.log10(rmse):.2f} dB")
        measured = "error at hidden pixels (noise included)" if notes["alone"] else "PSNR"
        lines = [f"{n} held-out picture(s), {measured}: {', '.join(said)}"]
        if notes["best"] != "network":
            lines.append(
                f"! {NAMES[notes['best']]} did better than the network, so isthmus denoise uses it: "
                "a longer training may change that"
            )
        elif len(methods) < 3:
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


def _diagnosed(rows: Rows) -> Noise:
    face = Pixels.fit(rows)
    chosen = np.unique(np.linspace(0, len(rows) - 1, _LOOKED_AT).round().astype(int))
    return diagnose([_unit_range(face, rows.data[i]) for i in chosen])


def _unit_range(face: Pixels, page: Page) -> np.ndarray:
    """A piece from the middle of a picture, in which black is 0 and white is 1."""
    low, high = face.range_of(page.dtype)
    return (crop(np.nan_to_num(page.read())).astype(np.float32) - np.float32(low)) / np.float32(high - low)


def _in_pieces(rows: Rows, target: Rows | None) -> tuple[Rows, Rows | None]:
    """A few large pictures as many pieces of them, side by side, of which some can be held out."""
    if len(rows) >= _FEW:
        return rows, target
    area = sum(page.shape[0] * page.shape[1] for page in rows.data)
    side = max(_LEAST_SIDE, int(math.sqrt(area / (2 * _FEW))))
    boxes = [(i, box) for i, page in enumerate(rows.data) for box in _boxes(page, side)]

    def cut(of: Rows) -> Rows:
        return Rows("pixels", [of.data[i].cut(*box) for i, box in boxes], of.origin, None, of.skipped, of.remarks)

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
    assert isinstance(face, Pixels)
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
