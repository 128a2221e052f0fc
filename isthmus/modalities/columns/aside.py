"""A column that is not used, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from isthmus.modalities.columns.arrow import arrow_type, repeated
from isthmus.modalities.columns.base import Column, Studied

if TYPE_CHECKING:
    import pyarrow as pa


class Aside(Column):
    """Not used for the ``reason``; ``value`` is what it always held, if it was constant."""

    kind = "aside"

    def __init__(self, name: str, dtype: str, value: Any = None, reason: str = ""):
        self.name, self.dtype, self.value, self.reason = name, dtype, value, reason

    @classmethod
    def fit(cls, name: str, raw: pa.Array, studied: Studied) -> Self:
        return cls(name, str(raw.type), reason="is to be ignored, as you said")

    @property
    def names(self) -> list[str]:
        return []

    def numbers(self, raw: pa.Array, origin: str, remarks: list[str], folder: str | None = None) -> np.ndarray:
        return np.zeros((len(raw), 0))

    def cells(self, values: np.ndarray) -> pa.Array:
        return repeated(self.value, arrow_type(self.dtype), len(values))

    def describe(self) -> list[str]:
        return [f"The column {self.name!r} was set aside: it {self.reason}."]

    def to_json(self) -> dict[str, Any]:
        more = {"value": self.value} if self.value is not None else {}
        return {**super().to_json(), **more, "reason": self.reason}
