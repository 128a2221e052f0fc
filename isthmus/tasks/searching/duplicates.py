r"""Rows that are nearly the same, as groups, from a threshold that is found on the rows themselves.

.. math:: x \sim y \iff d(x, y) \le t, \qquad t = \text{the 95 \% quantile of } d(x, \mathrm{copy}(x))

Copies are made of some of the rows, as they come about in life: a picture is saved as JPEG, a little brighter and, if
it is large, at half its size; of a text one word in ten is lost; numbers are rounded to three digits. What is as near
as such copies are is a duplicate, and what duplicates connect is a group. Rows are compared as a modality sees them, or
by a model's codes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.core.likelihoods import LIKELIHOODS
from isthmus.core.nearest import nearest
from isthmus.core.parts import make
from isthmus.core.scan import unit
from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.modalities import fit_modality
from isthmus.spec import Part
from isthmus.tasks.base import Result

#: Rows that copies are made of, the share of these that is to be found, and rows that are asked for their nearest.
_COPIED, _FOUND, _ASKED = 200, 0.95, 500
#: Digits that a rounded number keeps, and the share of its words that a copied text loses.
_DIGITS, _LOST = 3, 0.1
#: Words of a text of which some may be lost.
_SENTENCE = 5
#: The longest side that pictures are compared at.
_SIDE = 32
#: Distances that are held together, and pairs: more say that the threshold is no threshold.
_AT_ONCE, _PAIRS = 1 << 22, 5_000_000
#: Numbers that texts are compared by before all their words are.
_FEW = 64


@dataclass
class Groups(Result):
    """``groups``: the rows of each, in order; ``apart``: how far each is from the first of its group.

    ``usual`` is the median distance of a row to the nearest other that is no duplicate of it by the threshold.
    """

    groups: list[np.ndarray]
    apart: list[np.ndarray]
    rows: Rows
    threshold: float
    usual: float
    how: str
    remarks: list[str] = field(default_factory=list)

    @property
    def keep(self) -> np.ndarray:
        """The rows without duplicates: of each group the first."""
        others = [group[1:] for group in self.groups]
        return np.setdiff1d(np.arange(len(self.rows)), np.concatenate(others) if others else [])

    def to_table(self) -> Any:
        """A line for every row of a group: group, row, its name where it has one, its distance to the first."""
        import pyarrow as pa

        rows = np.concatenate(self.groups) if self.groups else np.zeros(0, np.int64)
        columns = {"group": np.repeat(np.arange(len(self.groups)), [len(group) for group in self.groups]), "row": rows}
        if self.rows.names is not None:
            columns["name"] = np.array([self.rows.names[i] for i in rows], object)
        columns["distance"] = np.concatenate(self.apart) if self.apart else np.zeros(0)
        return pa.table({name: pa.array(values) for name, values in columns.items()})

    def glimpse(self) -> list[str]:
        lines = []
        for i, (group, apart) in enumerate(zip(self.groups[:10], self.apart, strict=False)):
            named = [str(self.rows.names[j] if self.rows.names else j) for j in group[:6]]
            told = ", ".join(
                f"{name} ({d:.3g})" if k else name for k, (name, d) in enumerate(zip(named, apart, strict=False))
            )
            lines.append(f"group {i}: {told}{f' and {len(group) - 6} more' if len(group) > 6 else ''}")
        return lines + ["…"] * (len(self.groups) > 10)

    def summary(self) -> list[str]:
        doubled = sum(len(group) - 1 for group in self.groups)
        lines = [
            f"{len(self.groups):,} groups of rows that are nearly the same; {doubled:,} of {len(self.rows):,} rows are "
            "copies of another",
            self.how,
            f"usually the nearest other row is {self.usual:.3g} away",
        ]
        return lines + [f"! {remark}" for remark in self.remarks]

    def to_json(self) -> dict[str, Any]:
        return {
            "groups": [group.tolist() for group in self.groups], "rows": len(self.rows), "threshold": self.threshold,
            "usual": self.usual, "how": self.how, "remarks": self.remarks,
        }  # fmt: skip


def duplicates(
    source: Any,
    *,
    model: Any = None,
    threshold: float | None = None,
    strict: bool = False,
    told: Callable[[str], object] = lambda line: None,
) -> Groups:
    """Groups of rows that are nearly the same.

    Args:
        source: anything that holds rows.
        model: a fitted model, whose codes are compared instead of the rows.
        threshold: the distance up to which two rows are the same; found on copies if None.

    Raises:
        DataError: rows that cannot be compared, or so many pairs that the threshold separates nothing.
    """
    if threshold is not None and not threshold >= 0:
        raise SpecError(f"A threshold is a distance, 0 or more; got {threshold!r}.")
    if model is None:
        rows = _few(open_rows(source, strict=strict))
        seen = _seen(rows)
    else:
        from isthmus.tasks.searching.search import model_of

        known = model_of(model)
        rows = _few(known.open(source, strict=strict))
        seen = lambda some: unit(known.encode(some))  # noqa: E731
    told(f"comparing {len(rows):,} rows")
    x = seen(rows)
    distinct, of = _distinct(x)
    copies = np.zeros(0) if threshold is not None else _copies(rows, x, seen)
    # as near as numbers of 32 bits can be told apart
    least = 1e-5 * float(np.sqrt(_square(x[:1000]).mean())) + 1e-12
    chosen = max(float(np.quantile(copies, _FOUND)), least) if len(copies) else threshold or least
    found, away = [], []
    for members in _members(_joined(len(distinct), _pairs(x[distinct], chosen))[of]):
        found.append(members)
        away.append(_distance(x, np.full(len(members), members[0]), members))
    usual, near = _usual(x[distinct], chosen)
    told_by = f"{_FOUND:.0%} of the copies that were made of {len(copies)} rows are ({_MADE[rows.kind]})"
    how = f"the same are rows at most {chosen:.3g} apart: {'as was asked for' if threshold is not None else told_by}"
    remarks = list(rows.remarks)
    if near > 0.5:
        remarks.append(
            f"{near:.0%} of the rows that are no exact copies have another within the threshold: these rows are about "
            "as near each other as copies are, so groups are guesses. Say a smaller --threshold"
        )
    elif threshold is None and chosen > usual / 2:
        remarks.append("copies are not much nearer than other rows: look at the groups before anything is deleted")
    order = np.argsort([group[0] for group in found], kind="stable") if found else []
    return Groups([found[i] for i in order], [away[i] for i in order], rows, chosen, usual, how, remarks)


def _few(rows: Rows) -> Rows:
    """Rows that can be compared with each other."""
    if rows.kind == "recordings":
        raise DataError(f"{rows.origin} are recordings, whose windows overlap anyway. Bring series, one a row.")
    return rows.in_memory("Looking for duplicates needs")


_NUMBERS = "their numbers rounded to three digits"
_MADE = {
    "image": "saved as JPEG, a little brighter, large ones at half the size", "text": "one word in ten left out",
    "table": f"{_NUMBERS}, of sentences one word in ten left out", "array": _NUMBERS, "sparse": _NUMBERS,
    "series": _NUMBERS,
}  # fmt: skip


# -- what is compared ---------------------------------------------------------------------------


def _seen(rows: Rows) -> Callable[[Rows], Any]:
    """Rows → what is compared (n, d): dense, or sparse unit rows."""
    options: dict[str, Any] = {}
    if rows.kind == "image":
        first = rows.data[0]
        small = not isinstance(rows.data, list) and max(first.shape[:2]) <= _SIDE
        options = {} if small else {"size": _SIDE}
    modality = fit_modality(rows, **options)
    likelihood = make(LIKELIHOODS, "likelihood", Part.of(modality.parts()["likelihood"]), (1,), modality.shape)

    def seen(some: Rows) -> Any:
        tensors = modality.to_tensors(some)
        if modality.sparse:
            import scipy.sparse

            x = tensors["x"]
            parts = (x.values.numpy(), x.columns.numpy(), x.starts.numpy())
            return scipy.sparse.csr_array(parts, shape=tuple(x.shape))
        observed = tensors.get("observed")
        x = likelihood.represent(tensors["x"], observed).flatten(1)
        if observed is not None:  # a cell that is missing is not one that is as usual
            gone = (~observed).flatten(1).to(x)
            return np.concatenate([(x * likelihood.reach(observed).flatten(1)).numpy(), gone.numpy()], axis=1)
        return x.numpy()

    return seen


def _copies(rows: Rows, x: Any, seen: Callable[[Rows], Any]) -> np.ndarray:
    """How far copies of some rows are from them."""
    some = np.sort(np.random.default_rng(0).choice(len(rows), min(_COPIED, len(rows)), replace=False))
    # rows of which nothing can be lost are no yardstick
    copied, kept = _COPY[rows.kind](rows.take(some))
    if not kept.any():
        return np.zeros(0)
    a, b = x[some[kept]], seen(copied.take(kept))
    return np.sqrt(np.maximum(_square(a - b), 0))


def _copied_pictures(rows: Rows) -> tuple[Rows, np.ndarray]:
    from PIL import Image, ImageEnhance

    from isthmus.data.pictures import open_picture

    made = []
    for one in rows.data:
        if isinstance(one, str | Path):
            picture = open_picture(one).convert("RGB")
        else:
            array = np.asarray(one)
            high = max(int(np.iinfo(array.dtype).max), 1)
            array = (array.astype(np.float32) * (255 / high)).astype(np.uint8)
            array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
            picture = Image.fromarray(array)
        # of a small picture half would leave another
        half = picture if min(picture.size) < 2 * _SIDE else picture.resize([side // 2 for side in picture.size])
        saved = io.BytesIO()
        ImageEnhance.Brightness(half).enhance(1.03).convert("RGB").save(saved, "JPEG", quality=85)
        back = Image.open(saved).resize(picture.size).convert(picture.mode)
        array = np.asarray(back)
        if not isinstance(one, str | Path):
            array = (array.astype(np.float32) * (high / 255)).astype(one.dtype).reshape(one.shape)
        made.append(array)
    if isinstance(rows.data, list):
        shape = (64, 64)  # of many sizes; what is compared is smaller
        made = [np.asarray(Image.fromarray(one).resize(shape)) for one in made]
    return Rows("image", np.stack(made), rows.origin), np.ones(len(rows), bool)


def _copied_texts(rows: Rows) -> tuple[Rows, np.ndarray]:
    generator = np.random.default_rng(1)
    made = [_with_words_lost(text, generator) for text in rows.data]
    return rows.replace(data=made), np.array([_is_long(text) for text in rows.data])


def _is_long(text: str | None) -> bool:
    return len((text or "").split()) >= _SENTENCE


def _with_words_lost(text: str, generator: np.random.Generator) -> str:
    words = text.split()
    lost = set(generator.permutation(len(words))[: max(1, round(_LOST * len(words)))].tolist())
    return " ".join(word for i, word in enumerate(words) if i not in lost)


def _rounded(values: np.ndarray) -> np.ndarray:
    """To so many digits, whatever the size."""
    values = np.asarray(values)
    if values.dtype.kind != "f":
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.round(values * scale) / scale
    return np.where(np.isfinite(rounded), rounded, values).astype(values.dtype)


def _copied_numbers(rows: Rows) -> tuple[Rows, np.ndarray]:
    data, every = rows.data, np.ones(len(rows), bool)
    if rows.kind == "sparse":
        data = data.copy()
        data.data = _rounded(data.data)
    elif isinstance(data, list):
        data = [_rounded(one) for one in data]
    elif rows.kind == "table":
        import pyarrow as pa

        generator = np.random.default_rng(1)
        for i, column in enumerate(data.schema):
            if pa.types.is_string(column.type):
                cells = [
                    _with_words_lost(cell, generator) if _is_long(cell) else cell
                    for cell in data[column.name].to_pylist()
                ]
                data = data.set_column(i, column.name, pa.array(cells, pa.string()))
            elif pa.types.is_floating(column.type):
                values = _rounded(data[column.name].to_numpy())
                data = data.set_column(i, column.name, pa.array(values, column.type, from_pandas=True))
    else:
        data = _rounded(data)
    return rows.replace(data=data), every


_COPY: dict[str, Callable[[Rows], tuple[Rows, np.ndarray]]] = {
    "image": _copied_pictures, "text": _copied_texts, "table": _copied_numbers, "array": _copied_numbers,
    "sparse": _copied_numbers, "series": _copied_numbers,
}  # fmt: skip


# -- which are near -----------------------------------------------------------------------------


def _square(x: Any) -> np.ndarray:
    return np.asarray(x.multiply(x).sum(1)).ravel() if hasattr(x, "tocsr") else np.square(x, dtype=np.float64).sum(1)


def _distance(x: Any, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    parts = [_square(x[left[i : i + 4096]] - x[right[i : i + 4096]]) for i in range(0, len(left), 4096)]
    return np.sqrt(np.maximum(np.concatenate(parts), 0)) if parts else np.zeros(0)


def _distinct(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are the first of their kind, and which of these every row equals."""
    if hasattr(x, "tocsr"):
        keys = [
            x.indices[a:b].tobytes() + x.data[a:b].tobytes() for a, b in zip(x.indptr[:-1], x.indptr[1:], strict=True)
        ]
    else:
        keys = [row.tobytes() for row in np.ascontiguousarray(x)]
    at = dict[bytes, int]()
    of = np.array([at.setdefault(key, len(at)) for key in keys])
    return np.unique(of, return_index=True)[1], of


def _flat(x: Any) -> np.ndarray:
    """Dense rows no two of which are farther apart than they were."""
    if not hasattr(x, "tocsr"):
        return np.asarray(x, np.float32)
    if x.shape[1] <= _FEW or len(x.data) == 0:
        return x.toarray()
    from sklearn.decomposition import TruncatedSVD

    return TruncatedSVD(min(_FEW, min(x.shape) - 1) or 1, random_state=0).fit_transform(x).astype(np.float32)


def _pairs(x: Any, threshold: float) -> np.ndarray:
    """All pairs (p, 2) of rows at most ``threshold`` apart.

    Rows are put in order along the direction in which they differ most: pairs are nearer along it than they are, so
    each row is compared with few.
    """
    flat = _flat(x)
    n = len(flat)
    middle = flat.mean(0)
    some = flat[:: -(-n // 2000)] - middle
    along = np.linalg.svd(some, full_matrices=False)[2][0] if n > 1 else np.ones(flat.shape[1])
    line = (flat - middle) @ along
    order = np.argsort(line, kind="stable")
    flat, line = flat[order] - middle, line[order]
    lengths, found = np.square(flat).sum(1), []
    slack = threshold * 1.001 + 1e-6 * float(np.sqrt(lengths.max(initial=0)))
    begin, n_pairs = 0, 0
    while begin < n:
        last = np.searchsorted(line, line[begin] + slack, side="right")
        rows = max(1, min(n - begin, _AT_ONCE // max(1, last - begin), math.isqrt(_AT_ONCE)))
        end = np.searchsorted(line, line[begin + rows - 1] + slack, side="right")
        while rows > 1 and rows * (end - begin) > 2 * _AT_ONCE:  # it is denser farther on
            rows //= 2
            end = np.searchsorted(line, line[begin + rows - 1] + slack, side="right")
        apart = (
            lengths[begin : begin + rows, None]
            + lengths[begin:end]
            - 2 * flat[begin : begin + rows] @ flat[begin:end].T
        )
        left, right = np.nonzero(apart <= slack**2)
        later = right > left
        found.append(np.stack([left[later] + begin, right[later] + begin], axis=1))
        n_pairs += len(found[-1])
        if n_pairs > _PAIRS:
            raise DataError(
                f"More than {_PAIRS:,} pairs of rows are at most {threshold:.3g} apart, so that says nothing. "
                "Say a smaller --threshold."
            )
        begin += rows
    pairs = order[np.concatenate(found)] if found else np.zeros((0, 2), np.int64)
    return pairs[_distance(x, pairs[:, 0], pairs[:, 1]) <= threshold]


def _joined(n: int, pairs: np.ndarray) -> np.ndarray:
    """The number of the group of each of n rows: what pairs connect."""
    import scipy.sparse

    links = scipy.sparse.coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return scipy.sparse.csgraph.connected_components(links, directed=False)[1]


def _members(groups: np.ndarray) -> list[np.ndarray]:
    """The rows of each group of two and more."""
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    return [group for group in np.split(order, cuts) if len(group) > 1]


def _usual(x: Any, threshold: float) -> tuple[float, float]:
    """Of some rows: the median distance to the nearest other, and the share of those that have one within reach."""
    import torch

    flat = torch.from_numpy(np.ascontiguousarray(_flat(x)))
    n = len(flat)
    if n < 2:
        return float("inf"), 0.0
    some = np.sort(np.random.default_rng(2).choice(n, min(_ASKED, n), replace=False))
    places = nearest(flat[some], flat, 2)[1].numpy()
    other = np.where(places[:, 0] == some, places[:, 1], places[:, 0])
    away = _distance(x, some, other)
    return float(np.median(away)), float((away <= threshold).mean())
