"""What is wrong with a model, in words with the remedy, and what each of its codes does."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus import devices
from isthmus.core.vitals import Vitals, measure
from isthmus.data.sink import save_rows
from isthmus.errors import DataError, SpecError
from isthmus.files import write_atomic
from isthmus.picture import Picture
from isthmus.tasks.base import Result
from isthmus.tasks.checkup.findings import SERIOUS, Finding, recorded, seen
from isthmus.tasks.checkup.traversal import traverse_picture

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.model import Model

#: Rows that are looked at, and numbers that are held at once where rows are large.
_MOST, _ENTRIES = 2048, 8_000_000


@dataclass
class Health(Result):
    """What was found, what matters most first, and the figures behind it."""

    findings: list[Finding]
    vitals: Vitals
    n_rows: int
    unit: float | None
    traversal: Picture
    spread: str = "variance"

    @property
    def healthy(self) -> bool:
        """Nothing that matters is wrong; there may be notes."""
        return all(finding.severity < SERIOUS for finding in self.findings)

    def summary(self) -> list[str]:
        lines = []
        if self.healthy:
            lines.append(f"healthy: nothing is wrong that {self.vitals.n_rows:,} rows could show")
        for finding in self.findings:
            lines.append(f"{'! ' if finding.severity >= SERIOUS else ''}{finding.words}")
            if finding.remedy:
                lines.append(f"    remedy: {finding.remedy}")
        return lines + self.figures()

    def figures(self) -> list[str]:
        """The vitals in words, whether or not something is wrong."""
        v, codes = self.vitals, self.vitals.codes
        share = codes.importance.nan_to_num() / max(v.spread, 1e-30)
        ranked = ", ".join(f"code {j} {float(share[j]):.0%}" for j in codes.ranked()[:5] if share[j] >= 0.005)
        said = [
            f"{v.explained:.1%} of the {self.spread} of these rows comes back, and {max(v.noise, 0.0):.1%} of noise's",
            f"{int(codes.active.sum()):,} of {len(codes.variance):,} codes are active"
            + (f"; silencing one adds to the error, in shares of the {self.spread}: {ranked}" if ranked else ""),
            f"a row costs {v.code_nats:.4g} nats for its code and {v.reconstruction_nats:.4g} for the rest; "
            + self._noise_level(),
        ]
        if codes.l0 < 0.99 * len(codes.variance):
            said.append(f"{codes.l0:.1f} numbers of a code are not zero (L0)")
        if v.codebook is not None:
            said.append(f"{v.codebook.used:,} entries of the codebook are used, perplexity {v.codebook.perplexity:.1f}")
        return said

    def _noise_level(self) -> str:
        v = self.vitals
        sigma = v.sigma or v.rms
        raw = "" if self.unit is None else f" ({sigma * self.unit:.3g} in the rows' own unit)"
        priced = "" if v.beta is None else f", β = {v.beta:.3g} is {v.beta_at_unit_sigma:.3g} at σ = 1"
        return f"σ = {sigma:.3g}{raw}{priced}"

    def to_json(self) -> dict[str, Any]:
        v, gap, book = self.vitals, self.vitals.prior_gap, self.vitals.codebook
        return {
            "rows": self.n_rows,
            "looked_at": v.n_rows,
            "healthy": self.healthy,
            "findings": [finding.to_json() for finding in self.findings],
            "active": int(v.codes.active.sum()),
            "explained": v.explained,
            "noise_explained": v.noise,
            "error": v.error,
            "sigma": v.sigma,
            "rms_error": v.rms,
            "beta": v.beta,
            "beta_at_unit_sigma": v.beta_at_unit_sigma,
            "code_nats": v.code_nats,
            "reconstruction_nats": v.reconstruction_nats,
            "l0": v.codes.l0,
            "dead_units": {place: {"dead": dead, "of": n} for place, (dead, n) in v.still.items()},
            "codebook": book and {"used": book.used, "perplexity": book.perplexity},
            "prior_gap": gap and {"nats": gap.nats, "p_value": gap.p_value},
            "codes": self.to_table().to_pylist(),
        }

    def to_table(self) -> Any:
        """A line per code, most important first."""
        import pyarrow as pa

        codes, order = self.vitals.codes, self.vitals.codes.ranked()
        columns = {
            "code": np.asarray(order),
            "importance": codes.importance[order].cpu().numpy(),
            "variance": codes.variance[order].cpu().numpy(),
            "active": codes.active[order].cpu().numpy(),
            "nonzero": codes.nonzero[order].cpu().numpy(),
        }
        if codes.kl is not None:
            columns["kl"] = codes.kl[order].cpu().numpy()
        return pa.table(columns)

    def plot(self) -> Picture:
        """What each code does."""
        return self.traversal

    def save(self, path: Path) -> list[Path]:
        """``.svg`` the traversal, ``.html`` the words beside it, and as a table a line per code."""
        path = Path(path)
        if path.suffix.lower() == ".svg":
            return [self.traversal.save(path)]
        if path.suffix.lower() not in (".html", ".htm"):
            return save_rows(self.to_table(), path)
        write_atomic(path, lambda file: file.write(self._page().encode()) and None)
        return [path]

    def _page(self) -> str:
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self.summary())
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Health · isthmus</title>'
            '<meta name="color-scheme" content="light dark">'
            "<style>body{max-width:640px;margin:40px auto;padding:0 16px;"
            'font:16px/1.5 ui-sans-serif,system-ui,-apple-system,"Segoe UI",sans-serif}</style>'
            f"<body><h1>Health</h1>{said}<h2>What each code does</h2>{self.traversal.svg}</body></html>"
        )


def health(model: Model, rows: Any) -> Health:
    """Look at a model on rows and say what is wrong, what matters most first, each with its remedy."""
    if not model.net.bottleneck.narrows:
        raise SpecError(
            "Health looks at what each number of a code does, and here everything of a row passes. "
            "What a model fitted --for a task is judged by, isthmus info tells."
        )
    rows = model.open(rows)
    if len(rows) < 2:
        raise DataError(f"{rows.origin} has {len(rows)} row(s); health needs at least 2. Bring more rows.")
    drawn, vitals = look(model, rows)
    # files that the fit skipped were told then
    findings = [finding for finding in seen(model, vitals) if not finding.words.startswith("skipped ")]
    return Health(findings, vitals, len(rows), _unit(model, drawn), traverse_picture(model, drawn, vitals),
                  model.net.likelihood.spread)  # fmt: skip


def look(model: Model, rows: Rows) -> tuple[Rows, Vitals]:
    """The vitals of a model on at most a few thousand of the rows, evenly spread."""
    rows = rows.some()
    most = min(_MOST, max(64, _ENTRIES // int(np.prod(model.net.shape))))
    drawn = rows.take(np.arange(0, len(rows), -(-len(rows) // most)))
    tensors = {name: t.to(model.device) for name, t in model.tensors(drawn).items()}
    chunk = max(16, min(1024, _ENTRIES // 8 // int(np.prod(model.net.shape))))
    with devices.threads_for(chunk * sum(p.numel() for p in model.net.parameters()), model.device):
        return drawn, measure(model.net, tensors, chunk)


def remarks(model: Model) -> list[str]:
    """What the record of a fit gives reason to say; empty when there is nothing to say."""
    return [str(finding) for finding in recorded(model)]


def _unit(model: Model, rows: Rows) -> float | None:
    """What 1 of the network's scale is in the rows' own unit; None where the columns have several."""
    x = model.tensors(rows.take(np.arange(min(len(rows), 256))))["x"]
    raw = model.modality.from_tensors(x)
    if not isinstance(raw, np.ndarray):
        return None
    scaled = x.flatten(1).double().numpy().std(0)
    units = raw.reshape(len(raw), -1).astype(float).std(0)[scaled > 1e-6] / scaled[scaled > 1e-6]
    return float(units.mean()) if units.size and np.ptp(units) < 0.01 * units.mean() else None
