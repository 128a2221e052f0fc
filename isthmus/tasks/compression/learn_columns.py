"""What ``--for compress`` chooses for tables and arrays: a density model, whose files are as long as its ELBO says.

.. math:: \\text{bytes} \\approx -\\mathrm{ELBO} / (8 \\log 2)

A gaussian that is surer than the whole numbers of its column are apart is rewarded for nothing, and spends its code on
their last digits: so none is believed to be surer than half a deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.data.container import unpack
from isthmus.data.rows import Rows
from isthmus.modalities import MODALITIES
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.compression.compress import compress
from isthmus.tasks.jobs import Asked, Job

#: The deviation of a number, where its column has one of 1.
_SIGMA = 0.5
#: Rows that choose what is chosen.
_LOOKED_AT = 10_000
#: Held-out rows that are packed at most, and the error of numbers with fractions.
_MEASURED, _ERROR = 5000, "1%"


class OfColumns(Job):
    """A codec for rows like these."""

    modalities = ("table", "array")

    def suit(self, rows: Rows, target: Rows | None, plan: Plan) -> Asked:
        parts: dict[str, Any] = {"detector": "likelihood"}  # a committee would take longer than all else, for nothing
        face = MODALITIES[rows.kind].fit(next(rows.chunks(_LOOKED_AT)))
        by_column = not {"global", "none"} & set(face.scaling.kinds)
        if by_column and face.parts()["likelihood"]["kind"] in ("gaussian", "mixed"):
            parts["likelihood"] = {"sigma": _SIGMA}
        told = ["rows are packed by what a variational model expects of them (bits-back), or by what columns tell of "
                "each other, whichever is shorter"]  # fmt: skip
        return Asked(rows, "variational", plan, None, parts, {}, told, {"of": rows.kind})

    def finish(self, model: Model, held: Rows | None, notes: Mapping[str, Any]) -> dict[str, Any]:
        """The bytes of held-out rows, those that a file has once however many it holds, and what other packers make of
        the same rows.
        """
        if held is None:
            return {}
        some = next(held.chunks(_MEASURED))
        packed = compress(model, some, max_error=_ERROR)
        size = sum(chunk.size for chunk in unpack(packed.data).chunks)
        return {"bytes": size, "head": len(packed.data) - size, "ways": list(packed.ways), "measured_on": packed.rows,
                "max_error": _ERROR if packed.promised else None,
                "beside": {one.name: one.size for one in packed.beside}}  # fmt: skip

    def words(self, notes: Mapping[str, Any]) -> list[str]:
        if not notes.get("beside"):
            return ["nothing was held out, so nothing says how short files become"]
        ours, beside = notes["bytes"], notes["beside"]
        best = min(beside, key=lambda name: beside[name])
        kept = f"within {notes['max_error']} of their spread" if notes["max_error"] else "exactly"
        others = ", ".join(f"{name} {size:,}" for name, size in beside.items())
        lines = [f"{notes['measured_on']:,} held-out rows, {kept}: {ours:,} bytes by {'/'.join(notes['ways'])}, and "
                 f"{notes['head']:,} that every file has once; by others {others}"]  # fmt: skip
        if ours < beside[best]:
            return [*lines, f"the rows take {1 - ours / beside[best]:.0%} less than by the best of them, {best}"]
        return [*lines, f"! {best} is shorter: use it for these rows, or fit longer (--epochs, --max-time)"]
