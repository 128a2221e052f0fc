"""isthmus: one autoencoder, many jobs.

>>> from isthmus import Autoencoder
>>> from sklearn.datasets import load_breast_cancer
>>> X = load_breast_cancer().data
>>> ae = Autoencoder("plain", latent_dim=4, epochs=5, random_state=0).fit(X)
>>> ae.transform(X).shape
(569, 4)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.data.source import open_rows
    from isthmus.estimators import Autoencoder
    from isthmus.heads import HeadClassifier, HeadRegressor
    from isthmus.model import Model, open_model
    from isthmus.tasks.generation.augment import augment
    from isthmus.tasks.searching.search import Index

__version__ = "0.1.0"

# Name → module. Loaded when first asked for, so that `import isthmus` costs nothing.
_LAZY = {
    "Autoencoder": "isthmus.estimators",
    "HeadClassifier": "isthmus.heads",
    "HeadRegressor": "isthmus.heads",
    "Index": "isthmus.tasks.searching.search",
    "Model": "isthmus.model",
    "augment": "isthmus.tasks.generation.augment",
    "open_model": "isthmus.model",
    "open_rows": "isthmus.data.source",
}

__all__ = [
    "Autoencoder", "HeadClassifier", "HeadRegressor", "Index", "Model", "__version__", "augment", "open_model",
    "open_rows",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'isthmus' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
