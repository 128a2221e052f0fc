"""The scikit-learn face of heads: a classifier and a regressor that start from an autoencoder's encoder.

>>> from sklearn.datasets import load_iris
>>> from isthmus import Autoencoder
>>> X, y = load_iris(return_X_y=True)
>>> ae = Autoencoder(latent_dim=2, epochs=3, random_state=0).fit(X)  # labels are not looked at
>>> ae.head(3, random_state=0).fit(X[::5], y[::5]).score(X, y) > 0.8
True
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_feature_names, check_is_fitted, column_or_1d

from isthmus.data.labels import nothing
from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.model import Model, open_model
from isthmus.spec import Plan
from isthmus.tasks.features.heads import fit_head
from isthmus.training.progress import Progress


class _Headed(BaseEstimator, ABC):
    """What both share. See :class:`HeadClassifier`."""

    @abstractmethod
    def _kind(self) -> str:
        """What labels are: classes or numbers."""

    def fit(self, X: Any, y: Any, *, unlabelled: Any = None) -> Self:
        """Learn from rows and a label for each. Rows whose label is None or NaN count as ``unlabelled``, too."""
        model = self._model(X, unlabelled)
        rows = model.open(X)
        values = self._labels(y, len(rows))
        self._remember(X, rows)
        # a model that is not frozen in place: an encoder learns along only in the head's own copy
        self.model_ = fit_head(
            model,
            rows,
            values,
            kind=self._kind(),
            unlabelled=unlabelled,
            teach=self.teach,
            fine_tune=self.fine_tune,
            validation=self.validation,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            max_time=self.max_time,
            hooks=[Progress()] if self.verbose else [],
        )
        self.record_ = self.model_.head.record
        self._settle()
        return self

    def _model(self, X: Any, unlabelled: Any) -> Model:
        """The autoencoder's model: brought, opened, or learned now from all rows, whose labels it does not see."""
        said = self.autoencoder
        if isinstance(said, str | Path):
            return open_model(said, device=self.device)
        said = getattr(said, "model_", said)
        if isinstance(said, Model):
            return said
        rows = open_rows(X)
        if unlabelled is not None:
            rows = _below(rows, open_rows(unlabelled))
        if said is None:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            return Model.fit(rows, plan=Plan(seed=seed), device=self.device)
        if not hasattr(said, "fit"):
            raise SpecError(
                f"autoencoder is an Autoencoder, its model, a model file or None, got {type(said).__name__}. "
                "Say Autoencoder()."
            )
        return clone(said).fit(rows).model_

    def _labels(self, y: Any, n: int) -> np.ndarray:
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        values = column_or_1d(np.asarray(y, dtype=object) if isinstance(y, list) else y, warn=True)
        if len(values) != n:
            raise DataError(
                f"X and y have inconsistent numbers of samples: {n} rows and {len(values)} labels. Bring a label for "
                "each row, None where it is unknown."
            )
        values = np.asarray(values)
        if values.dtype.kind == "f" and np.isinf(values).any():
            raise DataError(
                f"Input y contains infinity or a value too large for dtype('{values.dtype}'). A label that is not "
                "known is NaN or None."
            )
        return values

    def _remember(self, X: Any, rows: Any) -> None:
        if rows.kind == "table":
            self.n_features_in_ = rows.data.num_columns
        elif rows.kind == "sparse" or isinstance(rows.data, np.ndarray):
            self.n_features_in_ = int(np.prod(rows.data.shape[1:]))
        _check_feature_names(self, X, reset=True)

    def _settle(self) -> None:
        """Take over what the head knows of its labels."""

    def _said(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        rows = self.model_.open(X)
        if rows.kind in ("array", "sparse"):
            _check_feature_names(self, X, reset=False)
            wide = int(np.prod(rows.data.shape[1:]))
            if hasattr(self, "n_features_in_") and wide != self.n_features_in_:
                raise DataError(
                    f"X has {wide} features, but {type(self).__name__} is expecting {self.n_features_in_} features as "
                    "input."
                )
        return self.model_.label(rows)

    def save(self, path: str | Path) -> Path:
        """Write the autoencoder and its head to one file; :func:`isthmus.open_model` opens it, and :meth:`open`."""
        check_is_fitted(self, "model_")
        return self.model_.save(path)

    @classmethod
    def open(cls, path: str | Path, *, device: str = "auto") -> Self:
        """The estimator around a file that :meth:`save` or ``isthmus head`` wrote."""
        model = open_model(path, device=device)
        self = cls(model, device=device)
        if model.head is None or model.head.numbers != (self._kind() == "numbers"):
            what = "no head" if model.head is None else f"a head for {'numbers' if model.head.numbers else 'classes'}"
            raise SpecError(f"{path} has {what}, and {cls.__name__} is one for {self._kind()}.")
        self.model_, self.record_ = model, model.head.record
        if model.modality.kind in ("array", "sparse"):
            self.n_features_in_ = int(np.prod(model.net.shape))
        self._settle()
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        return tags


class HeadClassifier(ClassifierMixin, _Headed):
    """A classifier behind an autoencoder's encoder: first the head learns on codes, then the encoder's copy too.

    Args:
        autoencoder: a fitted :class:`isthmus.Autoencoder` or its ``model_``, a model file, or what is fitted first, to
            ``X`` and the unlabelled rows: an Autoencoder that is not fitted, or None for the default. scikit-learn's
            ``clone`` forgets what estimators have learned: in a search hand over ``model_``, as ``ae.head()`` does.
        n_classes: how many classes there are at most; None takes as many as the labels show.
        fine_tune: let the copy of the encoder learn along, where held-out rows gain.
        teach: how rows without labels help: ``"spread"`` over the neighbour graph, as ``"gaussians"`` of one shape,
            ``"auto"`` (what tells the known labels best), or None.
        validation: the share of the labels that is held out; they are learned from in the end.
        max_time: seconds for the head.
        device, random_state, verbose: as of the Autoencoder.

    Attributes:
        classes_: the classes, in order.
        model_: the :class:`isthmus.Model` with this head.
        record_: how the head was learned.
    """

    def __init__(
        self,
        autoencoder: Any = None,
        *,
        n_classes: int | None = None,
        fine_tune: bool = True,
        teach: str | None = "auto",
        validation: float | str = "auto",
        max_time: float | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.autoencoder = autoencoder
        self.n_classes = n_classes
        self.fine_tune = fine_tune
        self.teach = teach
        self.validation = validation
        self.max_time = max_time
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _kind(self) -> str:
        return "classes"

    def _labels(self, y: Any, n: int) -> np.ndarray:
        values = super()._labels(y, n)
        known = values[[not nothing(v) for v in values]]
        if known.dtype.kind != "O":
            check_classification_targets(known)
        # as they are brought: 1.0 stays a float, and True a truth value
        mixed = known.dtype.kind == "O" and len({type(v) for v in known}) > 1
        self.classes_ = np.unique(known.astype(str) if mixed else np.array(known.tolist()))
        if self.n_classes is not None and len(self.classes_) > self.n_classes:
            raise DataError(
                f"There are {len(self.classes_)} classes among the labels, and n_classes={self.n_classes}. Say how "
                "many there are, or None."
            )
        return values

    def _settle(self) -> None:
        if not hasattr(self, "classes_"):
            self.classes_ = np.array(self.model_.head.classes)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Rows → probabilities (n, n_classes)."""
        p = self._said(X).astype(np.float64)
        return p / p.sum(1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Rows → the likeliest class of each (n,)."""
        said = self._said(X)
        return self.classes_[said.argmax(1)]


class HeadRegressor(RegressorMixin, _Headed):
    """A regressor behind an autoencoder's encoder; arguments and attributes as of :class:`HeadClassifier`.

    Rows whose number is NaN are not learned from.
    """

    def __init__(
        self,
        autoencoder: Any = None,
        *,
        fine_tune: bool = True,
        validation: float | str = "auto",
        max_time: float | None = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.autoencoder = autoencoder
        self.fine_tune = fine_tune
        self.validation = validation
        self.max_time = max_time
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    teach = None

    def _kind(self) -> str:
        return "numbers"

    def predict(self, X: Any) -> np.ndarray:
        """Rows → numbers (n,), in their own units."""
        return self._said(X)[:, 0].astype(np.float64)


def _below(rows: Rows, others: Rows) -> Rows:
    """Rows below rows, of one kind."""
    if rows.kind != others.kind:
        raise DataError(f"Rows with and without labels are of one kind; got {rows.kind} and {others.kind} rows.")
    if rows.kind == "table":
        import pyarrow as pa

        data = pa.concat_tables([rows.data, others.data.select(rows.data.column_names)], promote_options="default")
    elif isinstance(rows.data, list):
        data = [*rows.data, *others.data]
    elif rows.kind == "sparse":
        import scipy.sparse

        data = scipy.sparse.vstack([rows.data, others.data], format="csr")
    else:
        data = np.concatenate([rows.data, others.data])
    return rows.replace(data=data, names=None)
