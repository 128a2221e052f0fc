"""The data sets behind the figures. They are not part of the repository.

They are looked for in ``$ISTHMUS_DATA``, else in the nearest folder ``shared/data`` beside the
repository or above it. Data set by data set, a README there tells source and licence.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.figures import Skip
from benchmarks.record import ROOT


@dataclass(frozen=True)
class Digits:
    """MNIST as unsigned bytes: ``train`` (n, 28, 28) and ``test`` (m, 28, 28), and which digit each one is."""

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Split:
    """One table: ``fit`` and ``normal`` are the two halves of its normal rows, ``anomalous`` the rest."""

    fit: np.ndarray
    normal: np.ndarray
    anomalous: np.ndarray

    @property
    def test(self) -> np.ndarray:
        return np.concatenate([self.normal, self.anomalous])

    @property
    def labels(self) -> np.ndarray:
        """1 for the anomalous rows of :attr:`test`."""
        return np.repeat([0, 1], [len(self.normal), len(self.anomalous)])


def folder(name: str) -> Path:
    """The folder of a data set; skips the figure where it is not on this machine."""
    said = os.environ.get("ISTHMUS_DATA")
    places = [Path(said)] if said else [above / "shared" / "data" for above in (ROOT, *ROOT.parents)]
    for place in places:
        if (place / name).is_dir():
            return place / name
    raise Skip(f"the data set {name} is not here: set ISTHMUS_DATA to the folder that holds {name}/")


@cache
def mnist() -> Digits:
    place = folder("mnist")
    with np.load(place / "mnist_train.npz") as train, np.load(place / "mnist_test.npz") as test:
        return Digits(train["images"], test["images"], train["labels"], test["labels"])


def binarised(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test images as float rows of 0 and 1, drawn once with the grey levels as probabilities."""
    digits, generator = mnist(), np.random.default_rng(seed)
    train, test = (flat(images) for images in (digits.train, digits.test))
    return tuple((generator.random(x.shape, np.float32) < x).astype(np.float32) for x in (train, test))


def flat(images: np.ndarray) -> np.ndarray:
    """Images → float rows in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def table_names() -> list[str]:
    return sorted(path.stem for path in folder("tabular_anomaly").glob("*.npz"))


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a table, and which are anomalous."""
    with np.load(folder("tabular_anomaly") / f"{name}.npz") as file:
        return file["X"], file["y"].astype(bool)


def table_split(name: str, seed: int) -> Split:
    """A random half of the normal rows to fit, the other half and the anomalies to test.

    Every distinct row is taken once, so that none stands on both sides and both halves of the normal
    rows are drawn alike: false alarms could not be counted if a row that comes a thousand times fell
    on one side. An anomaly that equals a fitted row is left out: no detector could tell it apart.
    """
    rows, labels = table(name)
    distinct = {label: np.unique(rows[labels == label], axis=0) for label in (False, True)}
    generator = np.random.default_rng(seed)
    normal, anomalous = generator.permutation(distinct[False]), generator.permutation(distinct[True])
    fit, fresh = np.array_split(normal, 2)
    known = {row.tobytes() for row in fit}
    unknown = np.array([row.tobytes() not in known for row in anomalous])
    return Split(fit, fresh, anomalous[unknown])


@cache
def _scratch() -> Path:
    place = Path(tempfile.mkdtemp(prefix="isthmus-bench-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def hand_over(name: str, array: np.ndarray) -> str:
    """Write an array where another process can load it; the folder goes when this process ends."""
    path = _scratch() / f"{name}.npy"
    np.save(path, array)
    return str(path)


def scratch(name: str) -> Path:
    """A path in the folder that goes when this process ends."""
    return _scratch() / name
