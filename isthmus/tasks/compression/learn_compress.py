"""What ``--for compress`` chooses: for pictures a transform and a hyperprior, taught to be near and short at once; for
tables and arrays see :mod:`isthmus.tasks.compression.learn_columns`.

.. math:: \\min \\; E_q \\bigl[ R(\\hat y) + \\|x - \\hat x\\|^2 / 2\\sigma_q^2 \\bigr]

One model learns all qualities of pictures: each crop of a batch has one of its own. Which is used is said when they are
compressed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.rows import Rows
from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import AUTO, Plan
from isthmus.tasks.compression.learn_columns import OfColumns
from isthmus.tasks.compression.pictures_packed import PictureCoder, Whole, equal, psnr
from isthmus.tasks.jobs import Asked, Job

#: Steps of a training, crops per step, the side of a crop, and the highest step size.
_STEPS, _BATCH, _SIDE, _RATE = 4000, 4, 128, 1.2e-3
#: Pictures that are held out at most (of few a quarter), those that are measured, and at which qualities.
_HELD, _MEASURED, _QUALITIES = 8, 4, (20, 50, 80)
#: Endings of tables.
_TABLES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")


class OfPictures(Job):
    """A codec for pictures like these."""

    modalities = ("pixels",)

    def suit(self, rows: Rows, target: Rows | None, plan: Plan) -> Asked:
        """Refuse what cannot be kept, and choose how long to train."""
        for page in rows.data:
            if page.dtype != np.uint8 or page.shape[2] not in (1, 3):
                raise DataError(
                    f"Pictures are compressed with 8 bits, grey or in colour; among these is one of {page.dtype} with "
                    f"{page.shape[2]} channel(s). Convert or remove it."
                )
        most = max(max(page.shape[:2]) for page in rows.data)
        side = min(_SIDE, -(-most // 8) * 8)
        crops = sum(max(1, round(4 * page.shape[0] * page.shape[1] / side**2)) for page in rows.data)
        plan = plan.replace(
            validation=min(_HELD, len(rows) // 4) / len(rows) if plan.validation == AUTO else plan.validation,
            batch_size=_BATCH if plan.batch_size == AUTO else plan.batch_size,
            learning_rate=_RATE if plan.learning_rate == AUTO else plan.learning_rate,
            clip=1.5 if plan.clip is None else plan.clip,
        )
        if plan.epochs == AUTO and plan.max_time is None:
            plan = plan.replace(epochs=max(1, round(_STEPS * int(plan.batch_size) / crops)))
        told = [f"pictures are learned from crops of {side} x {side}, each at a quality of its own: one model for all"]
        return Asked(rows, "codec", plan, None, {}, {"side": side}, told, {"of": "pixels", "usual": 50})

    def finish(self, model: Model, held: Rows | None, notes: Mapping[str, Any]) -> dict[str, Any]:
        """Rate and error of held-out pictures, from their files, and what JPEG needs to come as near."""
        if held is None:
            return {"curve": []}
        coder, curve = PictureCoder(model), []
        pictures = [Whole.of(page, held.origin) for page in held.data[:_MEASURED]]
        pixels = sum(one.pixels[..., 0].size for one in pictures)
        for quality in _QUALITIES:
            size, near, other = 0, [], 0
            for one in pictures:
                chunk, back = coder.encode(one, quality, None)
                size += len(chunk)
                near.append(min(psnr(one.pixels, back), 99.0))
                other += equal(one.pixels, near[-1], "JPEG") or 0
            curve.append({"quality": quality, "bpp": 8 * size / pixels, "psnr": float(np.mean(near)),
                          "jpeg_bpp": 8 * other / pixels})  # fmt: skip
        return {"curve": curve, "measured_on": len(pictures)}

    def words(self, notes: Mapping[str, Any]) -> list[str]:
        if not notes.get("curve"):
            return ["nothing was held out, so nothing says how near pictures come back"]
        said = [f"quality {one['quality']}: {one['bpp']:.3f} bits per pixel, {one['psnr']:.2f} dB (JPEG needs "
                f"{one['jpeg_bpp']:.3f})" for one in notes["curve"]]  # fmt: skip
        lines = [f"{notes['measured_on']} held-out picture(s): {'; '.join(said)}"]
        if any(one["bpp"] > one["jpeg_bpp"] > 0 for one in notes["curve"]):
            lines.append("! JPEG does better somewhere: train longer (--epochs, --max-time), or on more pictures")
        return lines


class Compressing(Job):
    """A codec for pictures, tables or arrays like these."""

    modalities = ("pixels", "table", "array")

    def modality_of(self, source: Any, kind: str | None = None) -> str | None:
        return None if kind is None and are_columns(source) else super().modality_of(source, kind)

    def suit(self, rows: Rows, target: Rows | None, plan: Plan) -> Asked:
        """Refuse what cannot be kept, and choose what makes files short."""
        if target is not None:
            raise SpecError("A codec brings back the rows themselves: leave --target out.")
        return _OF[rows.kind].suit(rows, target, plan)

    def finish(self, model: Model, held: Rows | None, notes: Mapping[str, Any]) -> dict[str, Any]:
        return _OF[notes["of"]].finish(model, held, notes)

    def words(self, notes: Mapping[str, Any]) -> list[str]:
        # the first such models were all for pictures
        return _OF[notes.get("of", "pixels")].words(notes)


_OF: dict[str, Job] = {"pixels": OfPictures(), "table": OfColumns(), "array": OfColumns()}


def are_columns(source: Any) -> bool:
    """Whether a source is a table or vectors: by its ending, or by its axes. Bytes of two axes are a picture.

    >>> are_columns("day=*/flows.parquet"), are_columns("photos"), are_columns(np.zeros((9, 4)))
    (True, False, True)
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.suffix.lower() != ".npy" or not path.is_file():
            return str(source) == "-" or path.suffix.lower() in _TABLES
        source = np.load(path, mmap_mode="r")
    if hasattr(source, "columns") or hasattr(source, "column_names"):
        return True
    return len(getattr(source, "shape", ())) == 2 and np.dtype(str(source.dtype).removeprefix("torch.")) != np.uint8
