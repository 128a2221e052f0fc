"""Drawings as SVG: for the report, the notebook and the web page, without a plotting library.

A drawing is text, so it needs no script, is sharp at every size, and takes the colour of the page around
it (``currentColor``), light or dark. Whatever a person's rows call their columns is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import FileError
from isthmus.files import write_atomic

#: Classes of a coloured scatter, from usual to strange.
_STEPS = 6
_FONT = 12

# Every rule begins with .isthmus-picture, because a style inside an inline SVG holds for the whole page.
_STYLE = """
.isthmus-picture{--ink:#1b1e23;--blue:#3a6cb8;--orange:#d9792b;--red:#c8443c;--grey:#8b929b;
--s0:#c3ccd6;--s1:#9fb6cf;--s2:#b3a487;--s3:#d99a55;--s4:#dd6f3c;--s5:#c1272d;
color:var(--ink);font:12px ui-sans-serif,system-ui,-apple-system,"Segoe UI",sans-serif;
max-width:100%;height:auto}
@media (prefers-color-scheme:dark){.isthmus-picture{--ink:#e4e6ea;
--blue:#7ab0f5;--orange:#f0a35e;--red:#ff7b72;--grey:#868d97;--s0:#5d6773;--s1:#6f8fb5;--s2:#a89a78;--s3:#cc924f;--s4:#f08a4b;--s5:#ff6b63}}
.isthmus-picture text{fill:currentColor;font-variant-numeric:tabular-nums}
.isthmus-picture .soft{fill-opacity:.7}
.isthmus-picture .over{paint-order:stroke;stroke:var(--paper,Canvas);stroke-width:3px;stroke-linejoin:round}
.isthmus-picture .grid{stroke:currentColor;stroke-opacity:.1}
.isthmus-picture .base{stroke:currentColor;stroke-opacity:.45}
.isthmus-picture .line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.isthmus-picture .mark{stroke-width:1.4;stroke-dasharray:4 3}
.isthmus-picture .dots{fill:none;stroke-width:4.4;stroke-linecap:round;stroke-opacity:.8}
.isthmus-picture .ring{fill:none;stroke:currentColor;stroke-opacity:.7}
.isthmus-picture image{image-rendering:auto}.isthmus-picture image.coarse{image-rendering:pixelated}
""".replace("\n", "")

_COLOURS = ("var(--blue)", "var(--orange)", "var(--grey)", "var(--red)")


@dataclass(frozen=True)
class Picture:
    """One drawing. A notebook shows it; ``save`` writes ``.svg`` or ``.html``."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __html__(self) -> str:
        """For templates: the drawing is markup already."""
        return self.svg

    def save(self, path: str | Path) -> Path:
        path = Path(path)
        if path.suffix.lower() == ".svg":
            text = self.svg
        elif path.suffix.lower() in (".html", ".htm"):
            text = (
                '<!doctype html><html lang="en"><meta charset="utf-8"><title>isthmus</title>'
                '<meta name="color-scheme" content="light dark"><body>' + self.svg + "</body></html>"
            )
        else:
            raise FileError(f"A picture is saved as .svg or .html, not as {path.suffix or path.name!r}.")
        write_atomic(path, lambda file: file.write(text.encode()) and None)
        return path


# -- drawings -----------------------------------------------------------------------------------


def line_chart(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_label: str = "",
    y_label: str = "",
    marks: Mapping[str, float] | None = None,
    log: bool | None = None,
    width: int = 640,
    height: int = 260,
) -> Picture:
    """Lines by name ``{name: (x, y)}``, each with its name at its end.

    ``marks`` are level lines to compare with. ``log=None`` takes a logarithmic axis where values span
    more than a factor of thirty.
    """
    lines = {name: _finite(*xy) for name, xy in series.items()}
    lines = {name: xy for name, xy in lines.items() if len(xy[0])}
    marks = {name: float(y) for name, y in (marks or {}).items() if math.isfinite(y)}
    if not lines:
        return _nothing("nothing to draw", width, height)
    every = np.concatenate([y for _, y in lines.values()] + [np.array(list(marks.values()))])
    if log is None:
        log = bool(every.min() > 0 and every.max() / every.min() > 30)
    names = [*lines, *marks]
    area = _Area(width, height, left=52, right=16 + max(80, _room(names)), top=26, bottom=34)
    x_all = np.concatenate([x for x, _ in lines.values()])
    area.x = _Scale.over(x_all, area.left, area.right)
    area.x.whole = bool((x_all == np.round(x_all)).all())
    area.y = _Scale.over(every, area.bottom, area.top, log=log, nice=True)
    body = [area.axes(x_label, y_label)]
    ends: list[tuple[float, str, str]] = []
    for (name, (x, y)), colour in zip(lines.items(), _cycle(len(lines)), strict=True):
        points = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(area.x(x), area.y(y), strict=True))
        body.append(f'<path class="line" stroke="{colour}" d="M{points}"/>')
        ends.append((float(area.y(y[-1:])[0]), name, colour))
    for name, level in marks.items():
        at = float(area.y(np.array([level]))[0])
        body.append(
            f'<line class="mark" stroke="var(--grey)" x1="{area.left}" x2="{area.right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        ends.append((at, name, "var(--grey)"))
    for at, name, colour in _apart(ends, area.top, area.bottom):
        body.append(_text(area.right + 6, at + 4, name, fill=colour))
    return _picture(width, height, body)


def histogram(
    values: Mapping[str, Sequence[float]] | Sequence[float],
    *,
    threshold: float | None = None,
    threshold_label: str = "threshold",
    x_label: str = "",
    bins: int = 60,
    width: int = 640,
    height: int = 260,
) -> Picture:
    """How values are spread, as the share of each group's rows: the first group filled, the others outlined.

    A long tail does not flatten the rest: what lies beyond the last bin is gathered in it.
    """
    groups = values if isinstance(values, Mapping) else {"rows": values}
    groups = {name: _finite(v)[0] for name, v in groups.items()}
    groups = {name: v for name, v in groups.items() if len(v)}
    if not groups:
        return _nothing("nothing to draw", width, height)
    low, high, gathered = _span(list(groups.values()), threshold)
    edges = np.linspace(low, high, bins + 1)
    counts = {}
    for name, v in groups.items():
        counts[name] = np.histogram(np.clip(v, low, high), edges)[0] / len(v)
    area = _Area(width, height, left=52, right=16, top=44, bottom=34)
    area.x = _Scale(low, high, area.left, area.right)
    area.y = _Scale.over(np.array([0.0, max(c.max() for c in counts.values())]), area.bottom, area.top, nice=True)
    body = [area.axes(x_label, "share of rows", percent=True)]
    legend_x = float(width)
    colours = ("var(--grey)", "var(--blue)", "var(--orange)")
    for i, (name, share) in enumerate(counts.items()):
        xs, ys = area.x(edges), area.y(share)
        steps = "".join(f"V{y:.1f}H{x:.1f}" for y, x in zip(ys, xs[1:], strict=True))
        path = f"M{xs[0]:.1f} {area.bottom}{steps}V{area.bottom}"
        colour = colours[i % 3]
        if i == 0:
            body.append(f'<path d="{path}Z" fill="{colour}" fill-opacity=".38"/>')
        else:
            body.append(f'<path class="line" stroke="{colour}" stroke-width="1.4" d="{path}"/>')
        shown = f"{_short(name)} ({len(groups[name]):,})"
        legend_x -= _long(shown) + 28
        body.append(f'<rect x="{legend_x:.0f}" y="5" width="9" height="9" rx="2" fill="{colour}"/>')
        body.append(_text(legend_x + 14, 14, shown, fill=colour))
    if threshold is not None and math.isfinite(threshold):
        at = float(area.x(np.array([threshold]))[0])
        body.append(
            f'<line class="mark" stroke="var(--red)" x1="{at:.1f}" x2="{at:.1f}" '
            f'y1="{area.top - 4}" y2="{area.bottom}"/>'
        )
        far = at > (area.left + area.right) / 2
        body.append(
            _text(at + (-5 if far else 5), area.top + 6, f"{threshold_label} {tidy(threshold)}",
                  anchor="end" if far else "start", fill="var(--red)")
        )  # fmt: skip
    if gathered:
        body.append(_text(area.right, area.bottom - 10, "and beyond", anchor="end", kind="soft"))
    return _picture(width, height, body)


def timeline(
    signals: Mapping[str, Sequence[float]],
    score: Sequence[float],
    *,
    threshold: float | None = None,
    flagged: Sequence[bool] | None = None,
    stamps: Sequence[str] | None = None,
    width: int = 900,
) -> Picture:
    """Signals over time, one under the other, and below them the score with its threshold; flagged stretches shaded.

    A line that breaks off has nothing to show there. Of more steps than the paper has room for, each point holds
    the least and the most of its own.
    """
    score = np.asarray(score, dtype=float)
    n, rows, tall = len(score), [*signals.items(), ("score", score)], 92
    if not n:
        return _nothing("nothing to draw", width, 120)
    height = 24 + (tall + 14) * len(rows) + 22
    left, right = 62, 14
    x = _Scale(0, max(n - 1, 1), left, width - right)
    body = []
    if flagged is not None and np.any(flagged):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flagged, dtype=int), [0]])))
        for begin, end in edges.reshape(-1, 2):
            a, b = x(np.array([begin - 0.5, end - 0.5]))
            body.append(
                f'<rect x="{max(a, left):.1f}" y="20" width="{max(min(b, width - right) - max(a, left), 1):.1f}" '
                f'height="{height - 46}" fill="var(--red)" fill-opacity=".13"/>'
            )
    for i, (name, values) in enumerate(rows):
        area = _Area(width, height, left=left, right=right, top=0, bottom=0)
        area.top, area.bottom = 34 + i * (tall + 14), 34 + i * (tall + 14) + tall - 18
        y = np.asarray(values, dtype=float)
        there = y[np.isfinite(y)]
        is_score = i == len(rows) - 1
        body.append(_text(left, area.top - 5, name, kind="soft"))
        if not len(there):
            continue
        both = there
        if is_score and threshold is not None and math.isfinite(threshold):
            both = np.append(there, threshold)
        area.y = _Scale.over(both, area.bottom, area.top)
        for tick in (area.y.low, area.y.high):
            at = float(area.y(np.array([tick]))[0])
            body.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            body.append(_text(left - 7, at + 4, tidy(tick), anchor="end", kind="soft"))
        colour = "var(--orange)" if is_score else "var(--blue)"
        body.append(f'<path class="line" style="stroke-width:1.2" stroke="{colour}" d="{_course(x, area.y, y)}"/>')
        if is_score and threshold is not None and math.isfinite(threshold):
            at = float(area.y(np.array([threshold]))[0])
            body.append(
                f'<line class="mark" stroke="var(--red)" x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}"/>'
            )
    for k in range(5):
        i = round(k * (n - 1) / 4)
        anchor = "start" if k == 0 else "end" if k == 4 else "middle"
        shown = str(stamps[i]) if stamps is not None else f"{i:,}"
        body.append(_text(float(x(np.array([i]))[0]), height - 8, shown, anchor=anchor, kind="soft"))
    return _picture(width, height, body)


def _course(x: _Scale, y: _Scale, values: np.ndarray, most: int = 900) -> str:
    """A path through all values, thinned so that every peak stays."""
    where = np.arange(len(values))
    if len(values) > 2 * most:
        parts = np.array_split(where, most)
        shown = np.nan_to_num(values, nan=0.0)
        where = np.array(
            [j for part in parts for j in sorted({part[shown[part].argmin()], part[shown[part].argmax()]})]
        )
    path, drawing = [], False
    for j, a, b in zip(where, x(where), y(values[where]), strict=True):
        if not np.isfinite(values[j]):
            drawing = False
            continue
        path.append(f"{'L' if drawing else 'M'}{a:.1f} {b:.1f}")
        drawing = True
    return "".join(path)


def rate_curve(
    x: Sequence[float],
    y: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    points: Mapping[str, tuple[float, float]],
    chance: float | None = None,
    width: int = 306,
) -> Picture:
    """One rate against another, from 0 to 1, with some points by name, and what chance would draw: a level, or the
    diagonal.
    """
    area = _Area(width, int(0.96 * width), left=40, right=10, top=30, bottom=34)
    area.x, area.y = _Scale(0, 1, area.left, area.right), _Scale(0, 1, area.bottom, area.top)
    body = [area.axes(x_label, y_label)]
    (x0, x1), (y0, y1) = area.x(np.array([0, 1])), area.y(np.array([0, 1] if chance is None else [chance, chance]))
    body.append(f'<line class="mark" stroke="var(--grey)" x1="{x0:.1f}" x2="{x1:.1f}" y1="{y0:.1f}" y2="{y1:.1f}"/>')
    line = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(area.x(x), area.y(y), strict=True))
    body.append(f'<path class="line" stroke="var(--blue)" d="M{line}"/>')
    # names stand in the corner that a good curve leaves empty: right below the diagonal, or left above the level
    begin = area.right - _room(list(points)) - 4 if chance is None else area.left + 18
    for k, (name, (a, b)) in enumerate(points.items()):
        colour, at = ("var(--red)", "var(--orange)")[k % 2], area.bottom - 14 - 18 * (len(points) - 1 - k)
        place = float(area.x(np.array([a]))[0]), float(area.y(np.array([b]))[0])
        body.append(f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="4.5" fill="{colour}"/>')
        body.append(f'<circle cx="{begin - 9:.1f}" cy="{at - 4:.1f}" r="4" fill="{colour}"/>')
        body.append(_text(begin, at, name, kind="over"))
    return _picture(width, int(0.96 * width), body)


def scatter(
    xy: Any,
    *,
    color: Sequence[float] | None = None,
    color_labels: tuple[str, str] = ("low", "high"),
    labels: Mapping[int, str] | None = None,
    x_label: str = "",
    y_label: str = "",
    width: int = 640,
    height: int = 420,
) -> Picture:
    """Points (n, 2), coloured in six steps by the rank of ``color``; ``labels`` name some of them."""
    xy = np.asarray(xy, dtype=float)
    value = np.zeros(len(xy)) if color is None else np.asarray(color, dtype=float)
    there = np.isfinite(xy).all(1) & np.isfinite(value)
    if not there.any():
        return _nothing("nothing to draw", width, height)
    labels = {i: text for i, text in (labels or {}).items() if there[i]}
    area = _Area(width, height, left=20, right=20, top=36, bottom=30)
    shown = np.column_stack([_reined(xy[:, k], there) for k in range(2)])
    pinned = int((shown != xy)[there].any(1).sum())
    area.x = _Scale.over(shown[there, 0], area.left + 6, area.right - 6)
    area.y = _Scale.over(shown[there, 1], area.bottom - 6, area.top + 6)
    a, b = area.x(shown[:, 0]), area.y(shown[:, 1])
    # the strangest hundredth is a step of its own, else a few rows far out would make all others alike
    cuts = np.quantile(value[there], (0.5, 0.75, 0.9, 0.97, 0.99)) if color is not None else np.full(5, np.inf)
    step = np.searchsorted(cuts, value, side="right")
    body = [
        f'<rect class="grid" fill="none" rx="4" x="{area.left}" y="{area.top}" '
        f'width="{area.right - area.left}" height="{area.bottom - area.top}"/>'
    ]
    for k in range(_STEPS):  # the strange ones last, on top; a dot is a line of no length with a round end
        chosen = np.flatnonzero(there & (step == k))
        if len(chosen):
            path = "".join(f"M{a[i]:.1f} {b[i]:.1f}h0" for i in chosen)
            colour = "var(--blue)" if color is None else f"var(--s{k})"
            body.append(f'<path class="dots" stroke="{colour}" d="{path}"/>')
    placed: list[tuple[float, float]] = []
    for i, text in labels.items():
        body.append(f'<circle class="ring" cx="{a[i]:.1f}" cy="{b[i]:.1f}" r="5.5"/>')
        if any(abs(b[i] - y) < _FONT + 1 and abs(a[i] - x) < _long(_short(text)) + 12 for x, y in placed):
            continue  # two names on one place are none
        placed.append((a[i], b[i]))
        right = a[i] > width - 20 - _long(_short(text)) - 14
        at, anchor = (a[i] - 9, "end") if right else (a[i] + 9, "start")
        body.append(_text(at, b[i] + 4, text, anchor=anchor, kind="over"))
    if color is not None:
        at = area.right - _long(color_labels[1])
        body.append(_text(area.right, 18, color_labels[1], anchor="end", kind="soft"))
        for k in reversed(range(_STEPS)):
            at -= 18
            body.append(f'<rect x="{at - 4:.0f}" y="9" width="16" height="9" rx="2" fill="var(--s{k})"/>')
        body.append(_text(at - 12, 18, color_labels[0], anchor="end", kind="soft"))
    if pinned:
        note = f"{pinned:,} far out, set at the edge"
        body.append(_text(area.left, height - 8, note, kind="soft"))
    body.append(_text(area.right, height - 8, f"{x_label} →" if x_label else "", anchor="end", kind="soft"))
    body.append(_text(area.left, 18, f"↑ {y_label}" if y_label else "", kind="soft"))
    return _picture(width, height, body)


def bars(
    names: Sequence[str],
    values: Sequence[float],
    *,
    marks: Sequence[float] | None = None,
    value_label: str = "",
    mark_label: str = "",
    percent: bool = False,
    width: int = 640,
) -> Picture:
    """Horizontal bars in the order given, each with its number; ``marks`` are ticks to hold them against."""
    value = np.asarray(values, dtype=float)
    mark = None if marks is None else np.asarray(marks, dtype=float)
    if not len(value):
        return _nothing("nothing to draw", width, 60)
    row, top = 22, 30
    height = top + row * len(value) + 8
    left = 14 + max(_long(_short(str(name), 30)) for name in names)
    area = _Area(width, height, left=min(left, width // 2), right=58, top=top, bottom=8)
    both = np.concatenate([value, [0.0]] + ([] if mark is None else [mark]))
    both = both[np.isfinite(both)]
    if percent:
        both = np.clip(np.append(both, 1.0), -0.12, 1.0)
    area.x = _Scale.over(both, area.left, area.right)
    zero = float(area.x(np.zeros(1))[0])
    body = []
    if value_label:
        body.append(f'<rect x="{area.left}" y="6" width="9" height="9" rx="2" fill="var(--blue)"/>')
        body.append(_text(area.left + 14, 15, value_label, kind="soft"))
    if mark is not None and mark_label:
        at = area.left + _long(value_label) + 40
        body.append(f'<rect x="{at}" y="4" width="2.5" height="13" fill="var(--orange)"/>')
        body.append(_text(at + 9, 15, mark_label, kind="soft"))
    for i, name in enumerate(names):
        y = top + row * i
        known = math.isfinite(value[i])
        end = float(area.x(np.array([value[i] if known else 0.0]))[0])
        end = min(max(end, area.left), area.right)
        body.append(_text(area.left - 8, y + 14, str(name), anchor="end", most=30))
        body.append(
            f'<rect x="{min(zero, end):.1f}" y="{y + 4}" width="{max(abs(end - zero), 0.8):.1f}" '
            f'height="{row - 9}" rx="2" fill="var(--blue)" fill-opacity=".75"/>'
        )
        shown = (
            "–"
            if not known
            else f"{value[i] + 0.0:.0%}".replace("-0%", "0%").replace("-", "−")
            if percent
            else tidy(value[i])
        )
        body.append(_text(width - 4, y + 14, shown, anchor="end"))
        if mark is not None and math.isfinite(mark[i]):
            at = min(max(float(area.x(mark[i : i + 1])[0]), area.left), area.right)
            body.append(f'<rect x="{at - 1.2:.1f}" y="{y + 1}" width="2.5" height="{row - 3}" fill="var(--orange)"/>')
    return _picture(width, height, body)


def image_grid(
    images: Sequence[Any], labels: Sequence[str] = (), *, tops: Sequence[str] = (), width: int = 640
) -> Picture:
    """Lines of images ``(h, w)`` or ``(h, w, c)``, with a label a line and a top a column."""
    n = max((len(line) for line in images), default=0)
    if not n:
        return _nothing("nothing to draw", width, 60)
    left = 12 + max((_long(_short(label, 18)) for label in labels), default=-14)
    cell = (width - left) / n
    first = np.asarray(images[0][0])
    side = min(cell - 4, 132)
    tall = side * first.shape[0] / first.shape[1]
    top = 20 if tops else 2
    body = [_text(left + j * (side + 4) + side / 2, 13, t, anchor="middle", kind="soft") for j, t in enumerate(tops)]
    for i, line in enumerate(images):
        y = top + i * (tall + 6)
        if i < len(labels):
            body.append(_text(left - 10, y + tall / 2 + 4, labels[i], anchor="end", most=18))
        for j, image in enumerate(line):
            coarse = "" if np.asarray(image).shape[1] > side else ' class="coarse"'
            body.append(
                f'<image{coarse} x="{left + j * (side + 4):.1f}" y="{y:.1f}" width="{side:.1f}" '
                f'height="{tall:.1f}" preserveAspectRatio="none" href="{_png(image)}"/>'
            )
    return _picture(width, int(top + len(images) * (tall + 6)), body)


# -- what they are made of ----------------------------------------------------------------------


@dataclass
class _Scale:
    """Numbers → places on the paper."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False
    whole: bool = False

    @classmethod
    def over(cls, values: np.ndarray, begin: float, end: float, *, log: bool = False, nice: bool = False) -> _Scale:
        low, high = float(values.min()), float(values.max())
        if log:
            return cls(low * 0.9, high * 1.1, begin, end, log=True)
        if low == high:
            low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
        if nice:
            step = _step(low, high)
            low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        return cls(low, high, begin, end)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        low, high = self.low, self.high
        if self.log:
            values, low, high = np.log(values), math.log(low), math.log(high)
        return self.begin + (np.asarray(values) - low) / (high - low) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        if not self.log:
            step = max(_step(self.low, self.high), 1.0 if self.whole else 0.0)
            first = math.ceil(self.low / step - 1e-9)
            return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5)):
            found = [f * 10.0**e for e in exponents for f in factors if self.low <= f * 10.0**e <= self.high]
            if len(found) >= 3:
                break
        return found


class _Area:
    """The part of the paper inside the axes."""

    x: _Scale
    y: _Scale

    def __init__(self, width: int, height: int, *, left: float, right: float, top: float, bottom: float):
        self.left, self.right, self.top, self.bottom = left, width - right, top, height - bottom

    def axes(self, x_label: str, y_label: str, *, percent: bool = False) -> str:
        found = []
        for tick, at in _placed(self.y):
            found.append(f'<line class="grid" x1="{self.left}" x2="{self.right}" y1="{at:.1f}" y2="{at:.1f}"/>')
            shown = f"{tick * 100:.4g}%" if percent else tidy(tick)
            found.append(_text(self.left - 7, at + 4, shown, anchor="end", kind="soft"))
        found.append(f'<line class="base" x1="{self.left}" x2="{self.right}" y1="{self.bottom}" y2="{self.bottom}"/>')
        reserved = self.right - _long(x_label) - 26
        for tick, at in _placed(self.x):
            found.append(f'<line class="base" x1="{at:.1f}" x2="{at:.1f}" y1="{self.bottom}" y2="{self.bottom + 4}"/>')
            if not x_label or at + _long(tidy(tick)) / 2 < reserved:
                found.append(_text(at, self.bottom + 17, tidy(tick), anchor="middle", kind="soft"))
        if x_label:
            found.append(_text(self.right, self.bottom + 17, f"{x_label} →", anchor="end", kind="soft"))
        if y_label:
            found.append(_text(0, 14, f"↑ {y_label}", kind="soft"))
        return "".join(found)


def _placed(scale: _Scale) -> list[tuple[float, float]]:
    ticks = scale.ticks()
    return list(zip(ticks, scale(np.array(ticks)).tolist(), strict=True)) if ticks else []


def _picture(width: float, height: float, body: Sequence[str]) -> Picture:
    return Picture(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="isthmus-picture" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img"><style>{_STYLE}</style>{"".join(body)}</svg>'
    )


def _nothing(why: str, width: int, height: int) -> Picture:
    return _picture(width, height, [_text(width / 2, height / 2, why, anchor="middle", kind="soft")])


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str = "",
    kind: str = "",
    most: int = 40,
) -> str:
    if not text:
        return ""
    short = _short(text, most)
    title = f"<title>{_escaped(text)}</title>" if short != text else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}"'
        + (f' text-anchor="{anchor}"' if anchor != "start" else "")
        + (f' style="fill:{fill}"' if fill else "")
        + (f' class="{kind}"' if kind else "")
        + f">{_escaped(short)}{title}</text>"
    )


def _escaped(text: str) -> str:
    """Text that cannot become markup, and without the control characters that XML has no way to hold."""
    kept = "".join(c if c >= " " and not 0xD800 <= ord(c) <= 0xDFFF and c not in "\ufffe\uffff" else " " for c in text)
    return html.escape(kept)


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _long(text: str) -> float:
    """About how wide a text is; without a browser nobody knows exactly."""
    return len(text) * _FONT * 0.58


def _room(names: Sequence[str]) -> float:
    return max((_long(_short(name)) for name in names), default=0.0)


def _apart(ends: list[tuple[float, str, str]], top: float, bottom: float) -> list[tuple[float, str, str]]:
    """Labels pushed down until none lies on another, and back up from the bottom."""
    placed: list[tuple[float, str, str]] = []
    for at, name, colour in sorted(ends):
        at = max(at, top, placed[-1][0] + _FONT + 2 if placed else top)
        placed.append((at, name, colour))
    limit = bottom
    for i in reversed(range(len(placed))):
        at = min(placed[i][0], limit)
        placed[i] = (at, *placed[i][1:])
        limit = at - _FONT - 2
    return placed


def _cycle(n: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(n)]


def _finite(*columns: Sequence[float]) -> list[np.ndarray]:
    """The entries where every column is a finite number."""
    arrays = [np.asarray([np.nan if v is None else v for v in c], dtype=float).ravel() for c in columns]
    there = np.all([np.isfinite(a) for a in arrays], axis=0)
    return [a[there] for a in arrays]


def _span(groups: Sequence[np.ndarray], threshold: float | None) -> tuple[float, float, bool]:
    """From where to where a histogram shows, and whether something lies beyond."""
    low = min(float(v.min()) for v in groups)
    most = max(float(v.max()) for v in groups)
    middle = float(np.median(groups[0]))
    high = max(float(np.quantile(v, 0.99)) for v in groups)
    # no further than six times from the low end to the first group's middle: a few rows may be very far out
    high = min(high, middle + 6 * max(middle - low, 1e-12))
    if threshold is not None and math.isfinite(threshold):
        high = max(high, threshold + 0.15 * (threshold - low))
    if most - low <= 1.5 * (high - low):
        high = most
    if not high > low:
        low, high = low - 0.5, low + 0.5
    return low, high, most > high


def _reined(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Values with those that are very far out set at the edge of the others."""
    low, high = np.quantile(values[there], (0.01, 0.99))
    reach = 0.75 * (high - low)
    return values if reach == 0 else np.clip(values, low - reach, high + reach)


def _step(low: float, high: float) -> float:
    """A round distance between ticks, so that there are four to eight."""
    rough = max(high - low, 1e-300) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return min((f * power for f in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)))


def tidy(value: float) -> str:
    """A number for people.

    >>> [tidy(v) for v in (0, 0.05, 1200, 25_000, 3_400_000, 1e-5, -2.5)]
    ['0', '0.05', '1,200', '25k', '3.4M', '1e-05', '−2.5']
    """
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        text = f"{value:.3g}"
    elif size >= 1e6:
        text = f"{value / 1e6:.3g}M"
    elif size >= 1e4:
        text = f"{value / 1e3:.4g}k"
    elif size >= 1e3:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3g}"
    return "0" if text in ("-0", "0") else text.replace("-", "−") if text.startswith("-") else text


def _png(image: Any) -> str:
    """An array as a PNG inside the page. Floats are taken as 0…1."""
    import base64
    import io

    from PIL import Image

    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype != np.uint8:
        unit = np.clip(np.nan_to_num(pixels.astype(float)), 0, 1)
        pixels = (unit * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
