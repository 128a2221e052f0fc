"""Is the autoencoder worth it? The same rows through same-size PCA (of text: LSA) and through the mean row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.tasks.base import Result

if TYPE_CHECKING:
    from isthmus.model import Model

#: The column of errors, by what of the rows comes back.
_MEASURES = {"variance": "squared_error_per_row", "deviance": "nats_per_row"}


@dataclass
class Comparison(Result):
    """Errors per row, all at the same code size, ``latent_dim``: squared, in the units of the network's input, or
    the nats of a likelihood with a measure of its own. ``linear`` is what stands in the place of PCA, and ``spread``
    what of the rows comes back. ``job`` is what the model was fitted for, where that is something else.
    """

    autoencoder: float
    pca: float
    mean: float
    latent_dim: int
    remark: str = ""
    asked_for_all: bool = True
    linear: str = "PCA"
    spread: str = "variance"
    job: str = ""

    @property
    def ratio(self) -> float:
        """Our error ÷ PCA's: below 1 the autoencoder is worth it."""
        return self.autoencoder / max(self.pca, 1e-30)

    def explained(self, error: float) -> float:
        """The share of the variance that came back (1 − FVU)."""
        return 1 - error / max(self.mean, 1e-30)

    def to_table(self) -> Any:
        import pyarrow as pa

        errors = [self.autoencoder, self.pca, self.mean]
        return pa.table(
            {
                "model": ["autoencoder", f"{self.linear}-{self.latent_dim}", "mean row"],
                _MEASURES.get(self.spread, "error_per_row"): errors,
                "explained": [self.explained(e) for e in errors],
            }
        )

    def summary(self) -> list[str]:
        ours, pca = self.explained(self.autoencoder), self.explained(self.pca)
        lines = [
            f"autoencoder  error {self.autoencoder:.4g} per row, {ours:.1%} of the {self.spread} comes back",
            f"{self.linear}-{self.latent_dim:<8} error {self.pca:.4g} per row, {pca:.1%}",
        ]
        if not self.asked_for_all:
            lines.append(
                f"it was asked for hidden entries alone, and here nothing is hidden: that {self.linear} may do better"
            )
        elif self.ratio > 1.0001 and self.job:
            lines.append(f"{self.linear} brings more back, which is not what this model was fitted for ({self.job})")
        elif self.ratio > 1.0001:
            lines.append(f"{self.linear} is better on these rows: use it, or fit longer or with a wider code")
        elif self.ratio > 0.97:
            lines.append(f"hardly better than {self.linear}: what these rows hold is close to linear")
        else:
            lines.append(f"the autoencoder's error is {1 - self.ratio:.0%} below {self.linear}'s at the same size")
        return lines + [self.remark] * bool(self.remark)

    def to_json(self) -> dict[str, Any]:
        return {
            "autoencoder": self.autoencoder,
            "pca": self.pca,
            "mean": self.mean,
            "ratio": self.ratio,
            "latent_dim": self.latent_dim,
        }


def compare(model: Model, rows: Any, *, target: Any = None) -> Comparison:
    """Hold the model against PCA of the same size, fitted on the same training rows.

    Args:
        target: what should come back for each row, such as the clean rows to noisy ones; else the rows themselves.
    """
    found = model.compare(rows, target)
    remark = ""
    if model.record.target and target is None:
        remark = "this model was fitted to targets, and these rows have none: their own noise counts as error"
    return _compared(model, (found["autoencoder"], found["pca"], found["mean"]), remark)


def compared_at_fit(model: Model) -> Comparison | None:
    """The comparison that was made while fitting, on the held-out rows; None without any."""
    record = model.record
    if record.error is None or record.pca_error is None or record.mean_error is None:
        return None
    return _compared(model, (record.error, record.pca_error, record.mean_error))


def _compared(model: Model, errors: tuple[float, float, float], remark: str = "") -> Comparison:
    net = model.net
    return Comparison(
        *errors, model.pca_size, remark, net.objective.asks_for_all, net.likelihood.linear_model, net.likelihood.spread,
        (model.record.job or {}).get("name", ""),
    )  # fmt: skip
