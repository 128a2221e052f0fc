"""The scikit-learn face: one estimator that reduces, reconstructs, scores and flags.

>>> from sklearn.datasets import load_iris
>>> X = load_iris().data
>>> ae = Autoencoder(latent_dim=2, epochs=3, random_state=0).fit(X)
>>> ae.transform(X).shape, ae.inverse_transform(ae.transform(X)).shape
((150, 2), (150, 4))
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from isthmus.conditions import with_condition
from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.heads import HeadClassifier, HeadRegressor
from isthmus.model import Model, open_model
from isthmus.spec import AUTO, SINGLE, Part, Plan
from isthmus.tasks.checkup import heal
from isthmus.tasks.checkup.health import Health, health
from isthmus.tasks.detection.detect import detect
from isthmus.tasks.detection.detection import Detection
from isthmus.tasks.detection.stream import Follower
from isthmus.tasks.generation.between import blend, shift
from isthmus.tasks.generation.fidelity import Faithful, fidelity
from isthmus.tasks.sweep import Sweep
from isthmus.training.progress import Progress

_PLACES = (*SINGLE, "penalties", "critic")


class Autoencoder(ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin, BaseEstimator):
    """An autoencoder for rows that nobody labelled.

    Args:
        recipe: a named composition: ``"plain"``, ``"linear"``, ``"denoising"``, ``"variational"``, …
            (``isthmus recipes`` lists them).
        latent_dim: numbers per code; ``"auto"`` asks PCA.
        encoder, decoder: a body by name, by ``{"kind": "mlp", "widths": [128, 64]}``, or any ``nn.Module``.
        bottleneck, likelihood, corruption: a part by name or options.
        objective, prior, critic: the same; ``prior="mixture"`` or ``"flow"`` is what :meth:`sample` draws from.
        detector: what says how strange rows are, by name or options: the rows decide; ``"likelihood"`` is the
            quickest and says nats.
        penalties: a part or a list of them, added to the objective.
        condition: the column (or columns) of a data frame that steers the decoder; labels beside an array are
            handed to ``fit`` and to what decodes: ``fit(X, condition=labels)``.
        contamination: the share of the rows that may be anomalies, or ``"auto"``: the strangest are set aside before
            anything is learned (``record_.set_aside_rows`` tells which). None takes all rows for usual.
        epochs, batch_size, learning_rate: ``"auto"`` decides from the number of rows.
        max_time: seconds after which training stops, with the schedule fitted to it.
        validation: the fraction of rows to hold out (early stopping, calibration, comparison), or rows.
        warm_start: ``"pca"`` starts at the PCA solution where the parts allow it; None (or False) starts at random.
        pretrain: ``"stacked"`` trains dense bodies layer by layer first, each on the codes of the one before, in place
            of the start at PCA; then the whole.
        auto_heal: fit again, twice at most, where something is wrong that can safely be mended (collapsed or idle
            codes, dead units); ``record_.healing`` tells what was done.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``.
        random_state: an int makes the fit repeat.
        modality: ``"series"`` takes arrays for windows of time, and so on; by default the rows and the recipe decide.
            With options: ``{"kind": "series", "window": 64}`` cuts long recordings.
        callbacks: functions called with every :class:`isthmus.training.loop.Epoch`; True stops the fit.
        verbose: 0 is silent, 1 shows progress.

    Attributes:
        model_: the fitted :class:`isthmus.Model`, with everything else that it can do.
        record_: what happened while fitting.
        offset_: ``decision_function`` is ``score_samples`` minus this: the threshold of a 1 % false-alarm rate,
            or with ``contamination`` the score that this share of the rows is above. Where fewer than 99 rows
            calibrate, it flags the strangest of them; where none do, the score that 99 % of the training rows stay
            below is taken.
        n_features_in_, feature_names_in_: as in scikit-learn, for arrays and data frames.

    Scores follow scikit-learn: *higher is more normal*, and ``predict`` says 1 for normal, −1 for anomalies.
    :meth:`detect` gives nats, p-values and reasons.
    """

    def __init__(
        self,
        recipe: str = "plain",
        *,
        latent_dim: int | str = AUTO,
        encoder: Any = None,
        decoder: Any = None,
        bottleneck: str | Mapping[str, Any] | None = None,
        likelihood: str | Mapping[str, Any] | None = None,
        corruption: str | Mapping[str, Any] | None = None,
        penalties: Any = None,
        objective: str | Mapping[str, Any] | None = None,
        prior: str | Mapping[str, Any] | None = None,
        detector: str | Mapping[str, Any] | None = None,
        critic: str | Mapping[str, Any] | None = None,
        condition: str | Sequence[str] | None = None,
        contamination: float | str | None = None,
        epochs: int | str = AUTO,
        batch_size: int | str = AUTO,
        learning_rate: float | str = AUTO,
        max_time: float | None = None,
        validation: Any = AUTO,
        warm_start: str | bool | None = "pca",
        pretrain: str | None = None,
        auto_heal: bool = False,
        device: str = "auto",
        random_state: Any = None,
        modality: str | Mapping[str, Any] | None = None,
        callbacks: Sequence[Callable[..., Any]] | None = None,
        verbose: int = 0,
    ):
        self.recipe = recipe
        self.latent_dim = latent_dim
        self.encoder = encoder
        self.decoder = decoder
        self.bottleneck = bottleneck
        self.likelihood = likelihood
        self.corruption = corruption
        self.penalties = penalties
        self.condition = condition
        self.contamination = contamination
        self.objective = objective
        self.prior = prior
        self.detector = detector
        self.critic = critic
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.max_time = max_time
        self.validation = validation
        self.warm_start = warm_start
        self.pretrain = pretrain
        self.auto_heal = auto_heal
        self.device = device
        self.random_state = random_state
        self.modality = modality
        self.callbacks = callbacks
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, target: Any = None, condition: Any = None) -> Self:
        """Fit to rows: ndarray (n, d) or images (n, h, w), sparse matrix, data frame, tensor, a list of series of any
        lengths, or the path of a file or folder.

        ``target`` holds what should come back for each row, in the same order and form: the clean rows to noisy ones.
        ``condition`` is a label (or a number) for each row that steers the decoder. ``y`` is not looked at.
        """
        kind, options = (None, {}) if self.modality is None else _named(Part.of(self.modality))
        rows = open_rows(X, kind=kind)
        self._remember_features(X, rows)
        parts = {place: getattr(self, place) for place in _PLACES if getattr(self, place) is not None}
        fraction = self.validation == AUTO if isinstance(self.validation, str) else None
        fraction = fraction or self.validation is None or isinstance(self.validation, numbers.Real)
        plan = Plan(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            max_time=self.max_time,
            validation=(0.0 if self.validation is None else self.validation) if fraction else AUTO,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            pretrain=self.pretrain,
        )
        fit = heal.fit if self.auto_heal else Model.fit
        self.model_ = fit(
            rows,
            self.recipe,
            target=target,
            latent_dim=self.latent_dim,
            parts=parts,
            plan=plan,
            validation_rows=None if fraction else self.validation,
            warm_start=None if not self.warm_start else str(self.warm_start),
            condition=self.condition if condition is None else condition,
            contamination=self.contamination,
            modality=kind,
            modality_options=options,
            device=self.device,
            hooks=[Progress()] if self.verbose else [],
            callbacks=self.callbacks or (),
        )
        self._settle()
        return self

    @classmethod
    def from_model(cls, model: Model) -> Self:
        """An estimator around a model that is fitted already, such as an opened file."""
        self = cls(model.record.recipe, latent_dim=model.spec.latent_dim)
        if model.modality.kind in ("array", "sparse"):
            self.n_features_in_ = int(np.prod(model.net.shape))
        self.model_ = model
        self._settle()
        return self

    @classmethod
    def open(cls, path: str | Path, *, encoder: Any = None, decoder: Any = None, device: str = "auto") -> Self:
        """An estimator around the model in a file; a module of your own is handed in again."""
        return cls.from_model(open_model(path, encoder=encoder, decoder=decoder, device=device))

    def _settle(self) -> None:
        model = self.model_
        self.record_ = model.record
        self.n_iter_ = model.record.epochs
        self.offset_ = -(model.record.usual_score or 0.0)
        if model.calibration is not None:
            # too few held-out rows for a hundredth: then the strangest of them is the first that is flagged
            rate = 0.01 if len(model.calibration) >= 99 else 2 / (len(model.calibration) + 1)
            self.offset_ = -model.threshold(rate)
        if model.record.contamination_score is not None:
            self.offset_ = -model.record.contamination_score

    def _remember_features(self, X: Any, rows: Rows) -> None:
        if rows.kind == "table":
            self.n_features_in_ = rows.data.num_columns
        elif rows.large and rows.kind != "image":
            self.n_features_in_ = rows.data.width
        elif rows.kind == "sparse" or isinstance(rows.data, np.ndarray):
            self.n_features_in_ = int(np.prod(rows.data.shape[1:]))
        _check_feature_names(self, X, reset=True)

    def _rows(self, X: Any, condition: Any = None) -> Rows:
        check_is_fitted(self, "model_")
        rows = self.model_.open(X)
        if rows.kind in ("array", "sparse"):
            _check_feature_names(self, X, reset=False)
        return rows if condition is None else with_condition(rows, condition)

    # -- transformer ----------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """Rows → codes (n, latent_dim), float32; deterministic."""
        rows = self._rows(X)
        codes = self.model_.encode(rows)
        return codes.reshape(len(codes), -1)

    def inverse_transform(self, Z: Any, *, condition: Any = None) -> Any:
        """Codes (n, latent_dim) → rows as they were brought."""
        check_is_fitted(self, "model_")
        shape = self.model_.net.bottleneck.code_shape
        Z = np.asarray(Z, dtype=np.float32)
        fits = Z.ndim == 2 and Z.shape[1] == np.prod(shape)
        return self.model_.decode(Z.reshape(len(Z), *shape) if fits else Z, condition=condition)

    def reconstruct(self, X: Any, *, condition: Any = None) -> Any:
        """Rows → rows that went through the isthmus and back."""
        rows = self._rows(X, condition)
        return self.model_.reconstruct(rows)

    def sample(
        self,
        n_samples: int = 1,
        *,
        noise: bool | None = None,
        condition: Any = None,
        like: Any = None,
        copies: bool = False,
    ) -> Any:
        """New rows as rows were brought, drawn from the density that held-out codes chose; the same every time under
        ``random_state``.

        With ``noise`` every entry is drawn from the likelihood; without, it is what the decoder expects. None draws
        the cells of tables alone, whose columns then keep their distributions, types and missing cells. ``like`` are
        rows, of one label say, that the new ones should be like. Training rows of a table are drawn again unless
        ``copies`` are allowed.
        """
        check_is_fitted(self, "model_")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if like is None:
            return self.model_.sample(n_samples, seed=seed, noise=noise, condition=condition, copies=copies)
        sampling = self.model_.sampling_of(self._rows(like))
        drawn = self.model_.draw(
            n_samples, seed=seed, noise=noise, condition=condition, copies=copies, sampling=sampling
        )  # fmt: skip
        return drawn.rows

    def blend(self, a: Any, b: Any, *, steps: int = 9) -> Any:
        """From each row of ``a`` to the row of ``b`` in the same place (or all to one): ``steps`` rows a pair, below
        each other, as they were brought.
        """
        return blend(self.model_, self._rows(a), self._rows(b), steps=steps).rows

    def shift(self, X: Any, toward: Any, *, away: Any = None, strength: float = 1.0) -> Any:
        """Rows with what those in ``toward`` have and those in ``away`` (by default X) lack: the difference of their
        mean codes is added to each code, ``strength`` times.
        """
        away = None if away is None else self._rows(away)
        return shift(self.model_, self._rows(X), self._rows(toward), away=away, strength=strength).rows

    def fidelity(self, X: Any, drawn: Any = None) -> Faithful:
        """How close drawn rows (by default this model's) come to real ones, beside what real ones score against each
        other: Fréchet and kernel distance, precision and recall, columns, detection, copies.
        """
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return fidelity(self.model_, self._rows(X), drawn=None if drawn is None else self._rows(drawn), seed=seed)

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.model_.net.bottleneck.code_shape)  # numbers that are shut are columns too

    # -- outlier detector -----------------------------------------------------------------------

    def score_samples(self, X: Any, *, condition: Any = None) -> np.ndarray:
        """How usual each row is (n,), −1 times the detector's score: higher is more normal."""
        rows = self._rows(X, condition)
        return -self.model_.score(rows)

    def decision_function(self, X: Any, *, condition: Any = None) -> np.ndarray:
        """``score_samples − offset_``: negative for anomalies at a 1 % false-alarm rate."""
        return self.score_samples(X, condition=condition) - self.offset_

    def predict(self, X: Any, *, condition: Any = None) -> np.ndarray:
        """1 for normal rows, −1 for anomalies."""
        return np.where(self.decision_function(X, condition=condition) < 0, -1, 1)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood in nats per row, for model selection."""
        return -float(np.mean(self.model_.nats(self._rows(X))))

    def detect(
        self,
        X: Any,
        *,
        false_alarm_rate: float = 0.01,
        fdr: float | None = None,
        budget: int | None = None,
        labels: Any = None,
        condition: Any = None,
    ) -> Detection | Sweep:
        """Score rows and flag anomalies, with p-values and reasons: at a promised false-alarm rate, or at a false
        discovery rate ``fdr``, or the ``budget`` strangest, or by a threshold that a few ``labels`` choose.
        """
        rows = self._rows(X, condition)
        return detect(
            self.model_, rows, false_alarm_rate=false_alarm_rate, fdr=fdr, budget=budget, labels=labels
        )  # fmt: skip

    def follow(self, *, names: Sequence[str] | None = None, **options: Any) -> Follower:
        """Score rows one by one as they come: ``follow().push(row)``; options as in :class:`Follower`."""
        check_is_fitted(self, "model_")
        return Follower(self.model_, names, **options)

    def health(self, X: Any) -> Health:
        """What is wrong with the fit, as rows show it: findings with their remedies, and what each code does."""
        check_is_fitted(self, "model_")
        return health(self.model_, self._rows(X))

    def head(self, n_classes: int | None = None, **options: Any) -> HeadClassifier | HeadRegressor:
        """A classifier of ``n_classes`` (or a regressor, where it is None) that starts from this encoder.

        Its ``fit(X, y)`` takes few labels. It works on a copy: this autoencoder stays as it is.

        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(200, 5))
        >>> ae = Autoencoder(latent_dim=3, epochs=2, random_state=0).fit(x)
        >>> ae.head(2).fit(x, x[:, 0] > 0).predict(x[:4]).dtype, ae.head().fit(x, x[:, 0]).predict(x[:4]).dtype
        (dtype('bool'), dtype('float64'))
        """
        check_is_fitted(self, "model_")
        options = {"device": self.device, "random_state": self.random_state, **options}
        if n_classes is None:
            return HeadRegressor(self.model_, **options)
        return HeadClassifier(self.model_, n_classes=n_classes, **options)

    # -- the file -------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the fitted model to one file; :func:`isthmus.open_model` opens it."""
        check_is_fitted(self, "model_")
        return self.model_.save(path)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _named(part: Part) -> tuple[str | None, Mapping[str, Any]]:
    return part.kind, part.options
