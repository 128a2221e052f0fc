"""What happened while fitting, for people and for the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Record:
    """The rows, the training, and what came of it."""

    recipe: str = "plain"
    origin: str = ""
    #: Where the targets came from, if each row had one; errors are held against them.
    target: str = ""
    n_train: int = 0
    n_held_out: int = 0
    seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str | None = None
    #: Mean squared error per held-out row, in the network's features: ours, same-size PCA's, the mean row's.
    error: float | None = None
    pca_error: float | None = None
    mean_error: float | None = None
    train_error: float | None = None
    code_variance: list[float] | None = None
    #: How often a classifier tells draws of the prior from codes of rows: 0.5 where it cannot.
    sampler_accuracy: float | None = None
    #: The score that 99 % of the training rows stay below, where none were held out.
    usual_score: float | None = None
    remarks: list[str] = field(default_factory=list)
    #: Training rows that were set aside because they may be anomalies: how many, and which (the first of them).
    set_aside: int = 0
    set_aside_rows: list[int] = field(default_factory=list)
    #: The score that the share of ``contamination`` is above, of all rows.
    contamination_score: float | None = None
    #: What was wrong, what was changed for it, and what came of it: a step each (isthmus.tasks.checkup.heal).
    healing: list[dict[str, Any]] = field(default_factory=list)
    #: What the model was fitted for, and what was found for it: which method is best, say (isthmus.tasks.jobs).
    job: dict[str, Any] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return self.history[-1]["number"] if self.history else 0
