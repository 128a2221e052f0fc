"""A map drawn: a page that holds everything itself, a picture, or the coordinates.

What people do on the page is in its own script; here its data are packed, as bytes in base64 wherever they are many.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.app.params import PAGES, PICTURES

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.tasks.features.reduce import Map

#: Columns that are shown, letters of a cell, and levels that a column of categories may have.
_COLUMNS, _LETTERS, _LEVELS = 24, 160, 1000
#: (rows, side of a thumbnail in pixels, letters of a text, steps of a line): fewer of each where rows are many.
_SIZES = ((2_000, 56, 400, 96), (12_000, 28, 200, 64), (1 << 62, 16, 90, 32))
#: Places of a 2-D map, along either side, that are decoded for the page.
_GRID = 24
#: Decoded places are shown where rows are at most this many cells away.
_NEAR = 1.5
#: The colours of groups, which can be told apart in light and dark, and without red and green.
COLOURS = (
    "#3a6cb8", "#e08a2e", "#3f9a5f", "#c8443c", "#8b63b8", "#a0704f", "#d078b4", "#a8a02c", "#34a3b5", "#6d7f95",
)  # fmt: skip
#: From little to much, on paper.
RAMP = ("#c3ccd6", "#9fb6cf", "#b3a487", "#d99a55", "#dd6f3c", "#c1272d")


def write(drawn: Map, path: Path, *, name: str = "rows", counted: Callable[[int, int], None] | None = None) -> Path:
    """Write a map as its path's ending asks: a page, a picture, or the coordinates."""
    from isthmus.files import write_atomic

    if path.suffix.lower() in PAGES:
        page = render(drawn, name=name, counted=counted).encode()
        write_atomic(path, lambda file: file.write(page) and None)
    elif path.suffix.lower() in PICTURES:
        write_atomic(path, lambda file: picture(drawn, name=name).save(file, "PNG"))
    else:
        drawn.save(path)
    return path


# -- the page -----------------------------------------------------------------------------------


def render(drawn: Map, *, name: str = "rows", counted: Callable[[int, int], None] | None = None) -> str:
    """The map as one page of HTML with its script and data inside; nothing is fetched."""
    import jinja2

    model, n = drawn.model, len(drawn)
    _, side, letters, steps = next(sizes for sizes in _SIZES if n <= sizes[0])
    linear = model.net.likelihood.linear_model
    data: dict[str, Any] = {
        "n": n,
        "dim": drawn.places.shape[1],
        "views": [_view("Map", drawn.places), _view(linear, drawn.pca)],
        "index": _packed(drawn.index.astype(np.uint32)),
        "names": None if drawn.rows.names is None else [_cut(v, _LETTERS) for v in drawn.rows.names],
        "columns": _columns(drawn, letters),
        "shown": _shown(drawn.rows, side, letters, steps, counted),
        "grid": _grid(drawn, side, letters, steps) if drawn.places.shape[1] == 2 else None,
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "page"),
        autoescape=True,  # rows and columns are called whatever people call them
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    summary = drawn.summary()
    return environment.get_template("map.html.j2").render(
        name=name,
        origin=drawn.rows.origin,
        n=n,
        linear=linear,
        trained_on=f"{model.record.n_train:,} rows of {model.record.origin}",
        figures=[] if drawn.trust is None else _figures(drawn),
        judged=drawn.judged,
        remarks=[line for line in summary[2:] if not line.startswith("  ")] if drawn.trust else summary[1:],
        data=data,
        colours=COLOURS,
        ramp=RAMP,
        version=model.record.made.get("isthmus", ""),
    )


def _figures(drawn: Map) -> list[tuple[str, str, str, str]]:
    """(figure, ours, PCA's, what it means) for the table on the page."""
    from isthmus.tasks.features.reduce import words

    assert drawn.trust is not None
    assert drawn.pca_trust is not None
    found = []
    for line in words(drawn.trust, drawn.pca_trust):
        said, meaning = line.split(": ", 1)
        name, ours, theirs = said.rsplit(" ", 2)
        found.append((name, ours, theirs.strip("()"), meaning))
    return found


def _view(name: str, places: np.ndarray) -> dict[str, Any]:
    """Places as whole numbers from 0 to 65,535, one unit along all axes."""
    low, high = places.min(0), places.max(0)
    middle, unit = (low + high) / 2, max(float((high - low).max()), 1e-9)
    packed = ((places - middle) / unit + 0.5).clip(0, 1) * 65535
    return {"name": name, "at": _packed(packed.round().astype(np.uint16)), "middle": middle.tolist(), "unit": unit}


def _columns(drawn: Map, letters: int) -> list[dict[str, Any]]:
    """What rows can be coloured by and are told with: label, score, folder, and a table's own columns."""
    found = []
    if drawn.labels is not None:
        found.append(_column(drawn.label, drawn.labels, letters, category=True))
    if drawn.rows.names is not None and len({Path(name).parent for name in drawn.rows.names}) > 1:
        found.append(_column("folder", [str(Path(name).parent) for name in drawn.rows.names], letters))
    found.append(_number("anomaly score", drawn.scores))
    if drawn.rows.kind == "table":
        table = drawn.rows.data
        found += [_column(name, table[name].to_pylist(), letters) for name in table.column_names[:_COLUMNS]]
    return found


def _column(name: str, values: Sequence[Any], letters: int, *, category: bool = False) -> dict[str, Any]:
    there = [v for v in values if v is not None]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in there)
    if numbers and there and not (category and len(set(there)) <= len(COLOURS) * 2):
        return _number(name, np.array([np.nan if v is None else v for v in values], float))
    cells = ["" if v is None else _cut("picture" if isinstance(v, bytes) else v, letters) for v in values]
    levels = sorted(set(cells), key=lambda c: (len(c), c) if c.isdigit() else (99, c))
    if len(levels) <= _LEVELS and (len(levels) <= 100 or len(levels) < len(cells) / 4):
        at = {level: i for i, level in enumerate(levels)}
        codes = np.array([at[c] for c in cells], np.uint16)
        return {"name": name, "kind": "category", "levels": levels, "codes": _packed(codes)}
    return {"name": name, "kind": "text", "values": cells}


def _number(name: str, values: np.ndarray) -> dict[str, Any]:
    values = np.asarray(values, float)
    whole = values[np.isfinite(values)]
    # large whole numbers (an account, a time in seconds) would lose their last digits
    large = bool(len(whole) and np.abs(whole).max() > 1 << 24)
    return {"name": name, "kind": "number", "large": large, "values": _packed(values.astype("f8" if large else "f4"))}


def _shown(
    rows: Rows, side: int, letters: int, steps: int, counted: Callable[[int, int], None] | None = None
) -> dict[str, Any] | None:
    """How a row looks: a thumbnail, the beginning of a text, or a line; a table's rows are told by their columns."""
    if rows.kind == "image":
        return _thumbnails(rows, side, counted)
    if rows.kind == "text":
        return {"kind": "texts", "values": [_cut(text, letters) for text in rows.data]}
    if rows.kind == "table":
        return None
    if rows.kind == "sparse":
        return None
    data = np.asarray(rows.data) if rows.kind == "windows" else rows.data
    return _lines([_line(row, rows.kind) for row in data], steps)


def _line(row: Any, kind: str) -> np.ndarray:
    """The entries of a row in order; of series those of the first channel."""
    row = np.asarray(row, float)
    return row.reshape(len(row), -1)[:, 0] if kind in ("series", "windows") else row.ravel()


def _thumbnails(rows: Rows, side: int, counted: Callable[[int, int], None] | None) -> dict[str, Any]:
    """All pictures on one sheet, each as large as ``side`` allows, in rows from the left."""
    from PIL import Image, features

    from isthmus.tasks.detection.pictures import pixels

    n = len(rows)
    first = pixels(rows, 0)
    longest = max(first.shape[:2])
    side = min(side, longest)
    across = max(1, math.isqrt(n - 1) + 1)
    grey = first.ndim == 2
    sheet = Image.new("L" if grey else "RGB", (across * side, -(-n // across) * side))
    for i in range(n):
        one = Image.fromarray(pixels(rows, i))
        if max(one.size) != side:
            scale = side / max(one.size)
            one = one.resize(
                (max(1, round(one.width * scale)), max(1, round(one.height * scale))), Image.Resampling.BOX
            )
        sheet.paste(one.convert(sheet.mode), ((i % across) * side, (i // across) * side))
        if counted is not None:
            counted(i + 1, n)
    file = io.BytesIO()
    kind = "webp" if features.check("webp") and max(sheet.size) < 16_383 else "jpeg"
    sheet.save(file, kind.upper(), quality=70)
    src = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"kind": "thumbnails", "src": src, "side": side, "across": across}


def _lines(rows: Sequence[np.ndarray], steps: int) -> dict[str, Any]:
    """Every row's entries as one line of bytes, on a scale that all share."""
    width = max(1, min(steps, max(len(row) for row in rows)))
    drawn = np.full((len(rows), width), np.nan)
    for line, row in zip(drawn, rows, strict=True):
        if len(row):
            line[:] = row[np.linspace(0, len(row) - 1, width).round().astype(int)]
    there = drawn[np.isfinite(drawn)]
    low, high = (float(q) for q in np.quantile(there, (0.001, 0.999))) if len(there) else (0.0, 1.0)
    scaled = np.nan_to_num((drawn - low) / max(high - low, 1e-30), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255
    return {
        "kind": "lines",
        "steps": width,
        "low": low,
        "high": high,
        "values": _packed(scaled.round().astype(np.uint8)),
    }


def _grid(drawn: Map, side: int, letters: int, steps: int) -> dict[str, Any] | None:
    """Places near rows on an even grid, and what the decoder makes of each."""
    if drawn.model.conditions is not None:  # what steers the decoder would have to be said
        return None
    low, high = drawn.places.min(0), drawn.places.max(0)
    step = max(float((high - low).max()), 1e-9) / _GRID
    cells = np.floor((drawn.places - low) / step).astype(int).clip(0, _GRID - 1)
    taken = np.zeros((_GRID, _GRID), bool)
    taken[cells[:, 0], cells[:, 1]] = True
    reach = math.ceil(_NEAR)
    near = taken.copy()
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            if i * i + j * j <= _NEAR**2:
                near |= _moved(taken, i, j)
    at = low + (np.argwhere(near) + 0.5) * step
    back = drawn.model.decode(at.astype(np.float32))
    found = {"at": _packed(at.astype(np.float32)), "step": step, "shown": None, "columns": None}
    kind = drawn.model.modality.kind
    if kind == "text":
        found["shown"] = {"kind": "texts", "values": [_cut(text, letters) for text in back]}
    elif hasattr(back, "column_names"):
        table = back.select(back.column_names[:_COLUMNS])
        found["columns"] = [_column(name, table[name].to_pylist(), letters) for name in table.column_names]
    elif kind == "image":
        from isthmus.data.rows import Rows

        found["shown"] = _thumbnails(Rows("image", np.asarray(back)), max(side, 28), None)
    elif kind != "sparse":
        found["shown"] = _lines([_line(row, kind) for row in back], steps)
    else:
        return None
    return found


def _moved(cells: np.ndarray, i: int, j: int) -> np.ndarray:
    """Cells moved by (i, j); what leaves the grid is gone."""
    n, found = len(cells), np.zeros_like(cells)
    found[max(i, 0) : n + min(i, 0), max(j, 0) : n + min(j, 0)] = cells[
        max(-i, 0) : n + min(-i, 0), max(-j, 0) : n + min(-j, 0)
    ]
    return found


def _packed(values: np.ndarray) -> str:
    little = values.astype(values.dtype.newbyteorder("<"))
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode()


def _cut(value: Any, most: int) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[: most - 1] + "…"


# -- the picture --------------------------------------------------------------------------------


def picture(drawn: Map, *, name: str = "rows", width: int = 1600) -> Any:
    """The map and PCA's side by side as a Pillow image, coloured by the labels or else by the score."""
    from PIL import Image, ImageDraw

    twice = 2  # drawn larger and made small again, so that edges are smooth
    half, top = width // 2, 96
    height = top + half
    image = Image.new("RGB", (width * twice, height * twice), "#fdfdfc")
    pen = ImageDraw.Draw(image)
    column = _colouring(drawn)
    group, names, colours = column
    figures = [drawn.trust, drawn.pca_trust]
    linear = drawn.model.net.likelihood.linear_model
    for panel, (title, places) in enumerate((("Map", drawn.places), (linear, drawn.pca))):
        left = panel * half
        view = places[:, :2].astype(float)
        low, high = view.min(0), view.max(0)
        unit = max(float((high - low).max()), 1e-9)
        xy = (view - (low + high) / 2) / unit * (half - 72)
        x, y = left + half / 2 + xy[:, 0], top + half / 2 - 12 - xy[:, 1]
        radius = twice * float(np.clip(120 / math.sqrt(len(x) + 1), 0.9, 4))
        for i in np.random.default_rng(0).permutation(len(x)):  # in no order, so that no group hides another
            a, b = x[i] * twice, y[i] * twice
            pen.ellipse((a - radius, b - radius, a + radius, b + radius), fill=colours[group[i]])
        found = figures[panel]
        said = (
            title
            if found is None
            else f"{title}: trustworthiness {found.trustworthiness:.3f}, "
            + (f"of {found.k} neighbours {found.agreement:.0%} the same")
        )
        _write(pen, (left + 28, 60), said, twice, 17, "#1b1e23")
    _write(pen, (28, 20), f"{_cut(name, 60)}, {len(drawn):,} rows", twice, 24, "#1b1e23")
    at = 28.0
    for i, text in enumerate(names):
        pen.ellipse((at * twice, (height - 26) * twice, (at + 10) * twice, (height - 16) * twice), fill=colours[i])
        _write(pen, (at + 15, height - 30), _cut(text, 30), twice, 14, "#646b75")
        at += 38 + 7.4 * len(_cut(text, 30))
        if at > width - 120:
            break
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _write(pen: Any, at: tuple[float, float], text: str, twice: int, size: int, colour: str) -> None:
    from PIL import ImageFont

    pen.text((at[0] * twice, at[1] * twice), text, fill=colour, font=ImageFont.load_default(size * twice))


def _colouring(drawn: Map) -> tuple[np.ndarray, list[str], Sequence[str]]:
    """The group of each row, what groups are called, and their colours."""
    columns = _columns(drawn, _LETTERS)
    column: Mapping[str, Any] = next((c for c in columns if c["kind"] == "category"), columns[0])
    if column["kind"] == "category":
        codes = np.frombuffer(base64.b64decode(column["codes"]), "<u2").astype(int)
        count = np.bincount(codes, minlength=len(column["levels"]))
        most = len(COLOURS) if len(count) <= len(COLOURS) else len(COLOURS) - 1
        largest = np.sort(np.argsort(-count, kind="stable")[:most])
        place = np.full(len(count), len(COLOURS) - 1)
        place[largest] = np.arange(len(largest))
        names = [column["levels"][i] or "(none)" for i in largest]
        return place[codes], names + ["others"] * (len(count) > most), COLOURS
    if column["kind"] == "text":
        column = columns[-1] if columns[-1]["kind"] == "number" else _number("anomaly score", drawn.scores)
    values = np.frombuffer(base64.b64decode(column["values"]), "<f8" if column["large"] else "<f4")
    edges = np.nanquantile(values, (0.2, 0.4, 0.6, 0.8, 0.99))
    said = [f"{column['name']}: lowest fifth", "second", "third", "fourth", "highest fifth", "highest hundredth"]
    return np.searchsorted(edges, np.nan_to_num(values)), said, RAMP
