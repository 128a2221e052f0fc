"""Arrays of numbers, rows first; rows of more than one axis are flattened inside and given back in shape."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.errors import DataError, SpecError, unknown
from isthmus.modalities.base import Modality
from isthmus.modalities.scaling import HOWS, Scaling, one_range

# cells per block: what is worked on at once stays in the cache
BLOCK = 1 << 18


class Array(Modality):
    """Numbers in columns that have no names.

    Arguments:
        row_shape: Shape of one raw row.
        dtype: NumPy name of the raw numbers, which :meth:`from_tensors` gives back.
        scaling: State of the :class:`~isthmus.modalities.scaling.Scaling` of the flattened columns.
        seen: What was noticed while fitting, for :meth:`describe`.
    """

    kind = "array"

    def __init__(self, row_shape: list[int], dtype: str, scaling: dict[str, Any], seen: list[str]):
        self.row_shape = tuple(row_shape)
        self.dtype = np.dtype(dtype)
        self.scaling = Scaling(**scaling)
        self.seen = list(seen)

    @classmethod
    def fit(cls, rows: Rows, *, scaling: str = "auto") -> Self:
        """Learn the scaling.

        Arguments:
            rows: An array with at least two axes, or a table of numbers alone.
            scaling: ``"auto"``, ``"none"``, ``"global"``, ``"standard"`` or ``"robust"``. Automatically,
                when at least half of the columns have the same minimum and the same maximum (pixels,
                probabilities), one minimum and maximum for all become 0 and 1; else each column is
                standardised, through asinh where its tails are heavy.
        """
        if scaling not in HOWS:
            raise unknown("scaling", scaling, HOWS)
        raw = as_matrix(rows)
        x = raw.reshape(len(raw), -1)
        finite = np.isfinite(x) if x.dtype.kind == "f" else np.ones(x.shape, bool)
        if not finite.any():
            raise DataError(f"{rows.origin} holds no value at all: every cell is missing or infinite.")
        how = "global" if scaling == "auto" and one_range(x) else scaling
        state = Scaling.fit(x, how)
        seen = []
        if infinite := int(x.size - finite.sum() - (np.isnan(x).sum() if x.dtype.kind == "f" else 0)):
            seen.append(f"{infinite:,} infinite cell(s) were taken as missing.")
        if missing := int(x.size - finite.sum()):
            seen.append(f"{missing:,} of {x.size:,} cells are missing.")
        if empty := int((~finite.any(axis=0)).sum()):
            seen.append(f"{empty} column(s) have no value at all.")
        constant = int(((x.min(axis=0) == x.max(axis=0)) & finite.all(axis=0)).sum())
        if constant:
            seen.append(f"{constant} column(s) always hold the same value.")
        return cls(list(raw.shape[1:]), raw.dtype.name, state.to_json(), seen)

    @property
    def shape(self) -> tuple[int, ...]:
        return (math.prod(self.row_shape),)

    @property
    def names(self) -> list[str]:
        return [f"x{j}" for j in range(self.shape[0])]

    def to_tensors(self, rows: Rows) -> dict[str, Tensor]:
        raw = as_matrix(rows)
        (width,) = self.shape
        found = math.prod(raw.shape[1:])
        if found != width:
            # scikit-learn's own words, which its checks and its users look for
            raise DataError(f"X has {found} features, but Autoencoder is expecting {width} features as input.")
        flat = raw.reshape(len(raw), width)
        x = np.empty(flat.shape, np.float32)
        step = max(1, BLOCK // width)
        for start in range(0, len(flat), step):
            x[start : start + step] = self.scaling.forward(flat[start : start + step])
        return with_missing(x)

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> np.ndarray:
        flat = x.detach().cpu().flatten(1).numpy()
        raw = np.empty(flat.shape, self.dtype)
        step = max(1, BLOCK // flat.shape[1])
        for start in range(0, len(flat), step):
            raw[start : start + step] = cast(self.scaling.inverse(flat[start : start + step]), self.dtype)
        return raw.reshape(len(x), *self.row_shape)

    def parts(self) -> dict[str, Any]:
        return {
            "encoder": {"kind": "mlp"},
            "decoder": {"kind": "mlp"},
            "likelihood": {"kind": "gaussian"},
            "detector": {"kind": "neighbours"},
        }

    def describe(self) -> list[str]:
        shape = " x ".join(map(str, self.row_shape))
        said = [f"Rows of {shape} numbers ({self.dtype})."]
        kinds = self.scaling.kinds
        if kinds[0] == "global":
            low, high = self.scaling.center[0], self.scaling.center[0] + self.scaling.spread[0]
            said.append(f"All columns share one range, so {low:g} to {high:g} became 0 to 1 everywhere.")
        elif kinds[0] == "none":
            said.append("The numbers are used as they are.")
        else:
            said.append(f"Each column was scaled by itself ({repr(self.scaling)[8:-1]}).")
            if heavy := kinds.count("asinh"):
                said.append(f"{heavy} column(s) have heavy tails and went through asinh.")
        return said + self.seen

    def remarks(self, rows: Rows) -> list[str]:
        raw = as_matrix(rows)
        infinite = int(np.isinf(raw).sum()) if raw.dtype.kind == "f" else 0
        return [f"{infinite:,} infinite cell(s) are taken as missing."] if infinite else []

    def to_json(self) -> dict[str, Any]:
        return {
            "row_shape": list(self.row_shape),
            "dtype": self.dtype.name,
            "scaling": self.scaling.to_json(),
            "seen": self.seen,
        }

    def __repr__(self) -> str:
        return f"Array(row_shape={self.row_shape}, dtype={self.dtype.name}, scaling={self.scaling!r})"


def as_matrix(rows: Rows) -> np.ndarray:
    """Rows of any kind as an array of numbers with at least two axes."""
    if rows.kind == "table":
        import pyarrow as pa

        table = rows.data
        for name, type_ in zip(table.column_names, table.schema.types, strict=True):
            if not (pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_)):
                raise DataError(
                    f"An array holds numbers alone; the column {name!r} of {rows.origin} is {type_}. "
                    "Leave it out, or use kind='table'."
                )
        return np.column_stack([np.asarray(column.cast(pa.float64()).to_numpy()) for column in table.columns])
    if isinstance(rows.of_one_length().data, list):
        raise SpecError(f"Picture files cannot be used as kind='array' ({rows.origin}). Use kind='image'.")
    return rows.data


def with_missing(x: np.ndarray) -> dict[str, Tensor]:
    """``x`` with NaN → ``x`` with 0 and, if a cell is missing, the mask ``observed``."""
    tensor = torch.from_numpy(x)
    # one pass over the memory: a sum is NaN when a cell is
    if not math.isnan(float(tensor.sum())):
        return {"x": tensor}
    observed = ~torch.isnan(tensor)
    return {"x": torch.nan_to_num_(tensor, nan=0.0), "observed": observed}


def cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers as ``dtype``: rounded for whole numbers, and never beyond its range."""
    if dtype.kind == "f":
        biggest = np.finfo(dtype).max
        return np.clip(values, -biggest, biggest).astype(dtype)
    if dtype.kind == "b":
        return values > 0.5
    info = np.iinfo(dtype)
    values = np.rint(values)
    # the ends of 64-bit integers are no floats, so they are set after the cast
    inside = np.clip(values, float(info.min), np.nextafter(float(info.max), 0) if info.bits == 64 else float(info.max))
    return inside.astype(dtype)
