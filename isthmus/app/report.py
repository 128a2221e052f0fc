"""The report: one page about a model and rows, for people who would rather look than read.

Everything is in the file (no script, no network), and at most a few thousand rows are drawn, chosen at
random, so that the page and the memory it takes stay small however many rows there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import torch

from isthmus.app import words
from isthmus.data.rows import Rows
from isthmus.files import write_atomic
from isthmus.picture import Picture, bars, histogram, image_grid, line_chart, rate_curve, scatter, tidy
from isthmus.tasks.checkup.compare import Comparison, compare, compared_at_fit
from isthmus.tasks.checkup.health import Health, health
from isthmus.tasks.detection.detect import detect
from isthmus.tasks.detection.detection import Detection
from isthmus.tasks.detection.judged import ANOMALY, Judged, judge, take_labels
from isthmus.tasks.detection.threshold import by_labels

if TYPE_CHECKING:
    from isthmus.model import Model

#: Numbers that are held at once, however large a row is.
_ENTRIES = 20_000_000
_CHUNK = 512
_COLUMNS = 14
_IMAGES = 12
_STRANGE = 8
#: What errors are, by what of the rows comes back.
_MEASURED = {"variance": "squared error", "deviance": "nats"}


@dataclass
class Figure:
    """A picture under a heading, and what to look for in it."""

    title: str
    caption: str
    pictures: list[Picture] = field(default_factory=list)


@dataclass
class Strange:
    """A row of the list of the strangest."""

    name: str
    score: float
    p_value: float
    anomaly: bool
    reasons: list[Any]


def write_report(
    model: Model,
    rows: Any,
    path: str | Path,
    *,
    name: str = "the model",
    false_alarm_rate: float = 0.01,
    labels: Any = None,
    most: int = 5000,
) -> Path:
    """Write the report on ``rows`` to ``path``, whole or not at all."""
    page = render(model, rows, name=name, false_alarm_rate=false_alarm_rate, labels=labels, most=most)
    write_atomic(path, lambda file: file.write(page.encode()) and None)
    return Path(path)


def render(
    model: Model,
    rows: Any,
    *,
    name: str = "the model",
    false_alarm_rate: float = 0.01,
    labels: Any = None,
    most: int = 5000,
) -> str:
    """The report as HTML. ``labels`` are as of :func:`isthmus.data.labels.find_labels`: all labelled rows are judged,
    however few are drawn.
    """
    rows = model.open(rows).some()
    known = judged = None
    if labels is not None:
        rows, known = take_labels(rows, labels, lambda column: column in model.modality.looks_at)
        every = model.score(rows)
        judged = judge(every, model.p_values(every), known, false_alarm_rate)
    samples = model.modality.samples(rows)  # the windows of recordings
    over_time = samples is not rows
    index = _sample(len(samples), min(most, max(200, _ENTRIES // int(np.prod(model.net.shape)))))
    drawn = samples if len(index) == len(samples) else samples.take(index)
    returned = _Returned.of(model, drawn)
    asked = rows if over_time else drawn
    found = detect(model, asked, false_alarm_rate=false_alarm_rate) if model.calibration is not None else None
    scores = found.scores if found else model.nats(drawn) if over_time else model.score(drawn)
    if judged is not None and found is not None:
        line = by_labels(scores, judged)
        found = replace(found, anomalies=line.anomalies, threshold=line.threshold, how=line.how, judged=judged)
    names = [samples.names[i] if samples.names else f"{'window' if over_time else 'row'} {i}" for i in index]
    looked = health(model, drawn)

    figures = [*_training(model)]
    if model.net.likelihood.by_entry:
        figures.append(_what_returns(model, drawn, returned))
    figures += [_over_time(found)] if over_time and found else []
    strange_too = None if known is None else scores[(known if over_time else known[index]) == ANOMALY]
    figures += [_spread(model, scores, found, strange_too)]
    figures += [_map(model, drawn, model.nats(drawn) if over_time else scores, names), _what_codes_do(looked)]
    names = list(found.rows.names) if over_time and found else names
    strange, pictured = _strangest(model, drawn, found, names)
    return _template().render(
        name=name,
        rows=rows,
        n_drawn=len(rows) if over_time else len(index),
        facts=_facts(model, found, len(found.scores) if found else len(index)),
        remarks=[str(finding) for finding in looked.findings],
        vitals=looked.figures(),
        compared=_beside(model, drawn, returned),
        about={title: lines for title, lines in words.about_lines(model).items() if title != "held out"},
        n_train=model.record.n_train,
        trained_on=model.record.origin,
        figures=figures,
        strange=strange,
        pictured=pictured,
        judged=judged,
        curves=judged and _curves(judged),
        cut=_percent(false_alarm_rate) if judged is None else "",
        tidy=tidy,
        rate=_percent(false_alarm_rate),
        made=model.record.made,
        in_nats=model.spec.detector.kind == "likelihood",
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "page"),
        autoescape=True,  # columns are called whatever people call them
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _sample(n: int, most: int) -> np.ndarray:
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))


# -- what comes back ----------------------------------------------------------------------------


@dataclass
class _Returned:
    """Squared errors summed over rows, an entry per column: ours, PCA's and the mean row's."""

    ours: np.ndarray
    pca: np.ndarray | None
    mean: np.ndarray
    n_rows: int

    @classmethod
    @torch.inference_mode()
    def of(cls, model: Model, rows: Rows) -> _Returned:
        net = model.net
        sums = np.zeros((3, int(np.prod(net.likelihood.features_shape))))
        for chunk in rows.chunks(_CHUNK):
            tensors = {n: t.to(model.device) for n, t in model.tensors(chunk).items()}
            x, observed = tensors["x"], tensors.get("observed")
            features = net.likelihood.represent(x, observed)
            there = 1.0 if observed is None else net.likelihood.reach(observed).to(features)
            expected = net.decode(net.encode(x, observed), tensors.get("condition")).expected
            sums[0] += ((features - expected).square() * there).flatten(1).sum(0).cpu().numpy()
            if model.pca is not None:
                flat = features.flatten(1).cpu()
                seen = there.flatten(1).cpu() if isinstance(there, torch.Tensor) else 1.0
                sums[1] += ((flat - model.pca.reconstruct(flat)).square() * seen).sum(0).numpy()
                sums[2] += ((flat - model.pca.mean).square() * seen).sum(0).numpy()
        ours, pca, mean = _by_column(model, sums)
        return cls(ours, pca if model.pca is not None else None, mean, len(rows))


def _by_column(model: Model, sums: np.ndarray) -> np.ndarray:
    """Sums over features → sums over the entries of x: the levels of a category belong together."""
    n = int(np.prod(model.net.shape))
    if sums.shape[1] == n or len(model.net.shape) > 1:
        return sums
    owner = model.net.likelihood.reach(torch.eye(n, dtype=torch.bool)).numpy()
    return sums @ owner.T.astype(float)


def _share(error: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The share of the variance that came back."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean > 1e-9 * max(float(mean.max()), 1e-30), 1 - error / mean, np.nan)


def _what_returns(model: Model, rows: Rows, returned: _Returned) -> Figure:
    if not model.modality.names and len(model.net.shape) == 3:
        return _images(model, rows)
    ours = _share(returned.ours, returned.mean)
    varies = np.flatnonzero(np.isfinite(ours))
    worst = varies[np.argsort(ours[varies], kind="stable")][:_COLUMNS]
    names = model.modality.names or [f"entry {j}" for j in range(len(ours))]
    pca = None if returned.pca is None else _share(returned.pca, returned.mean)[worst]
    more = f" The {len(worst)} worst of {len(varies)} columns are shown." if len(varies) > len(worst) else ""
    return Figure(
        "What comes back",
        "How much of each column’s variance survives the passage, worst first. Look for short bars: the "
        "code has no room for these columns, so their changes go unseen. Where the tick of PCA lies beyond "
        f"the bar, PCA keeps that column better.{more}",
        [
            bars([names[j] for j in worst], ours[worst], marks=pca, percent=True,
                 value_label="autoencoder", mark_label=f"PCA-{model.pca_size}")
        ],
    )  # fmt: skip


@torch.inference_mode()
def _images(model: Model, rows: Rows) -> Figure:
    chosen = _sample(len(rows), _IMAGES)
    tensors = model.tensors(rows.take(chosen))
    lines = [model.modality.from_tensors(tensors["x"]), model.reconstruct(rows.take(chosen))]
    labels = ["as it was", "comes back"]
    if model.pca is not None and model.net.likelihood.features_shape == model.net.shape:
        x = tensors["x"]
        by_pca = model.pca.reconstruct(x.flatten(1)).reshape(x.shape)
        lines.append(model.modality.from_tensors(by_pca))
        labels.append(f"PCA-{model.pca_size}")
    return Figure(
        "What comes back",
        f"Some of the images, what the autoencoder makes of their code of {model.latent_dim} numbers, and "
        "what PCA makes of as many. Look for what is lost: thin strokes and rare shapes go first. A blur "
        "everywhere means that the code is too small.",
        [image_grid(lines, labels)],
    )


def _beside(model: Model, rows: Rows, returned: _Returned) -> list[tuple[str, list[tuple[str, float, float, float]]]]:
    """(rows, [(model, error per row, share of variance, width of a bar)]), the held-out rows and these."""
    if model.net.likelihood.by_entry:
        pca = float("nan") if returned.pca is None else float(returned.pca.sum()) / returned.n_rows
        here = Comparison(
            float(returned.ours.sum()) / returned.n_rows, pca, float(returned.mean.sum()) / returned.n_rows,
            model.latent_dim,
        )  # fmt: skip
    elif model.pca is not None:
        here = compare(model, rows)
    tables = []
    for title, found in (("Held-out rows", compared_at_fit(model)), ("These rows", here)):
        if found is None or returned.pca is None:
            continue
        named = (
            ("autoencoder", found.autoencoder),
            (f"{found.linear}-{found.latent_dim}", found.pca),
            ("mean row", found.mean),
        )
        # the mean row's bar would shrink the two that are to be compared
        widest = max(found.autoencoder, found.pca) or 1.0
        tables.append((title, [(n, e, found.explained(e), e / widest * (n != "mean row")) for n, e in named]))
    return tables


# -- curves, scores, codes ----------------------------------------------------------------------


def _training(model: Model) -> list[Figure]:
    history = model.record.history
    if len(history) < 2:
        return []
    epochs = [e["number"] for e in history]
    losses: dict[str, Any] = {}
    terms = list(dict.fromkeys(name for e in history for name in e["terms"]))
    for name in terms:
        here = [e for e in history if name in e["terms"]]
        losses[f"training: {name}" if len(terms) > 1 else "training"] = (
            [e["number"] for e in here], [e["terms"][name] for e in here],
        )  # fmt: skip
    if any(e["held_out"] is not None for e in history):
        losses["held out"] = (epochs, [e["held_out"] for e in history])
    linear, spread = model.net.likelihood.linear_model, model.net.likelihood.spread
    charts = [line_chart(losses, x_label="epoch", y_label="loss, nats per row", log=False, height=230)]
    caption = (
        "Above, the loss: look for a held-out line that turns upwards while training still falls. That is "
        "overfitting, and the weights kept are those from before the turn."
    )
    errors = [(e["number"], e["error"]) for e in history if e["error"] is not None]
    if errors:
        marks = {}
        if model.record.pca_error is not None:
            marks[f"{linear}-{model.pca_size}"] = model.record.pca_error
        series = {"autoencoder": tuple(zip(*errors, strict=True))}
        charts.append(
            line_chart(
                series,
                marks=marks,
                x_label="epoch",
                y_label=f"{_MEASURED.get(spread, 'error')} per held-out row",
                height=230,
            )
        )
        caption += (
            f" Below, the error on held-out rows: it should end beneath the dashed line, {linear} of the same size."
        )
    return [Figure("Training", caption, charts)]


def _spread(model: Model, scores: np.ndarray, found: Detection | None, strange: np.ndarray | None = None) -> Figure:
    groups = {"these rows": scores}
    caption = "How strange the rows are to the model: further right is stranger."
    threshold = None
    if found is not None:
        groups = {"rows it has not seen": model.calibration, **groups}
        caption += (
            " Where these rows are like those that were held out, the outline follows the grey. Look for "
            "what stands apart: a second hill right of the line is a group of anomalies; an outline shifted "
            "as a whole means that the rows have drifted and the model should be fitted anew."
        )
        if strange is not None and len(strange):
            groups["labelled anomalies"] = strange
        if np.isfinite(found.threshold):
            threshold = found.threshold
        else:
            caption += " Too few rows were held out to draw a threshold at this rate."
    label = ""
    if found:
        label = "best F1" if found.judged else f"{_percent(found.false_alarm_rate)} threshold"
    return Figure(
        "Scores",
        caption,
        [histogram(groups, threshold=threshold, threshold_label=label, x_label="score")],
    )


def _over_time(found: Detection) -> Figure:
    return Figure(
        "Over time",
        "The channels that matter most, and below them the score: a stamp scores what the windows that hold it score "
        "on average, so a short event raises it for about a window on either side. Shaded is what was flagged.",
        [found.plot()],
    )


def _map(model: Model, rows: Rows, scores: np.ndarray, names: list[str]) -> Figure:
    codes = model.encode(rows).reshape(len(rows), -1).astype(np.float64)
    if codes.shape[1] > 2:
        centred = codes - codes.mean(0)
        _, values, directions = np.linalg.svd(centred.T @ centred)
        xy = centred @ directions[:2].T
        kept = float(values[:2].sum() / max(values.sum(), 1e-30))
        told = f"The codes along the two directions in which they vary most ({kept:.0%} of their variance)."
    else:
        xy = np.column_stack([codes[:, 0], codes[:, 1] if codes.shape[1] > 1 else np.zeros(len(codes))])
        told = "The codes themselves."
    labels = {int(i): names[i] for i in np.argsort(-scores)[:3]}
    picture = scatter(
        xy,
        color=scores,
        color_labels=("usual", "strange"),
        labels=labels,
        x_label="first direction",
        y_label="second",
    )
    return Figure(
        "Map of the codes",
        f"{told} Each dot is a row, near ones are alike to the model, red ones are the strangest hundredth. "
        "Look for islands (kinds of rows), for red at the rim (extremes), and for red in the midst (rows "
        "whose code is usual and whose content still does not come back).",
        [picture],
    )


def _what_codes_do(looked: Health) -> Figure:
    return Figure(
        "What each code does",
        "One code moves from its low end to its high end while the others stay as they are in the most ordinary row. "
        "The codes that matter most come first, with the share of the variance that is lost when a code is silenced. "
        "Look for codes that move one thing each: those can be named. A code that moves everything, or as good as "
        "nothing, cannot.",
        [looked.traversal],
    )


def _curves(judged: Judged) -> list[Picture]:
    """ROC, and precision against recall, with the threshold in force."""
    (alarms, recall), (found, precision) = judged.roc(), judged.precision_recall()
    at, (k, of) = judged.at, judged.promised
    caught = at.caught / (at.caught + at.missed)
    # the promised threshold is a place on the curve: the furthest one with so few false alarms
    place = int(np.searchsorted(alarms, k / of + 1e-12, side="right")) - 1
    roc = {
        "best F1": (at.false_alarms / of, caught),
        f"{_percent(judged.rate)} promised": (k / of, float(recall[place])),
    }
    share = judged.n_anomalous / (judged.n_anomalous + judged.n_normal)
    right = {"best F1": (caught, at.caught / max(at.caught + at.false_alarms, 1))}
    few, some = _few(len(alarms)), _few(len(found))
    return [
        rate_curve(alarms[few], recall[few], x_label="false alarms", y_label="recall (ROC)", points=roc),
        rate_curve(
            found[some], precision[some], x_label="recall", y_label="precision", points=right, chance=share
        ),
    ]  # fmt: skip


def _few(n: int, most: int = 600) -> np.ndarray:
    """Places along a curve of n points, its ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


# -- the strangest ------------------------------------------------------------------------------


def _strangest(
    model: Model, rows: Rows, found: Detection | None, names: list[str]
) -> tuple[list[Strange], Picture | None]:
    if found is None:
        return [], None
    worst = found.worst(_STRANGE)
    told = [
        Strange(
            names[i],
            float(found.scores[i]),
            float(found.p_values[i]),
            bool(found.anomalies[i]),
            found.reasons(i),
        )
        for i in worst
    ]
    if model.modality.names or len(model.net.shape) != 3:
        return told, None
    chosen = rows.take(worst)
    inputs = model.modality.from_tensors(model.tensors(chosen)["x"])
    heat = [_heat(found.contributions[i]) for i in worst]
    lines = [inputs, model.reconstruct(chosen), heat]
    return told, image_grid(lines, ["as it was", "comes back", "where"], tops=[tidy(t.score) for t in told])


def _heat(nats: np.ndarray) -> np.ndarray:
    """Nats above the usual per pixel → red, the more opaque the more of them."""
    gained = nats.sum(0).clip(min=0)
    share = np.sqrt(gained / max(float(gained.max()), 1e-30))
    red = np.zeros((*share.shape, 4), np.uint8)
    red[..., :3] = (200, 68, 60)
    red[..., 3] = (12 + share * 243).round().astype(np.uint8)
    return red


# -- words --------------------------------------------------------------------------------------


def _facts(model: Model, found: Detection | None, n: int) -> list[tuple[str, str]]:
    """The few numbers that a person wants first, and what they are."""
    facts = [(f"{model.latent_dim}", f"numbers per code, for rows of {int(np.prod(model.net.shape)):,}")]
    compared = compared_at_fit(model)
    if compared is not None:
        facts.append(
            (f"{compared.explained(compared.autoencoder):.1%}", f"of the {compared.spread} of held-out rows comes back")
        )
        change = 1 - compared.ratio
        facts.append(
            (f"{abs(change):.0%}", f"{'below' if change >= 0 else 'above'} the error of same-size {compared.linear}")
        )
    if found is not None:
        flagged = int(found.anomalies.sum())
        facts.append(
            (
                f"{flagged:,}",
                f"of {n:,} rows flagged by the best F1 on the labels"
                if found.judged
                else f"of {n:,} rows flagged at a false-alarm rate of {_percent(found.false_alarm_rate)}",
            )
        )
    return facts


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
