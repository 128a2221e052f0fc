"""Example rows that come with scikit-learn, and with Python itself: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.errors import DataError, unknown

if TYPE_CHECKING:
    from isthmus.data.rows import Rows


@dataclass(frozen=True)
class Example:
    """What an example holds, where it is from, and how it is opened."""

    title: str
    licence: str
    load: Callable[[], Rows]


def _digits() -> Rows:
    from sklearn.datasets import load_digits

    from isthmus.data.rows import Rows

    # 0..16 in the file; stretched to 0..255 so that they are ordinary grey pictures
    pictures = (load_digits().images * (255 / 16)).round().astype("uint8")
    return Rows("image", pictures, "example:digits")


def _table(name: str) -> Callable[[], Rows]:
    def load() -> Rows:
        import pyarrow as pa
        from sklearn import datasets

        from isthmus.data.rows import Rows

        found: Any = getattr(datasets, f"load_{name}")()
        columns = {str(column): found.data[:, j] for j, column in enumerate(found.feature_names)}
        return Rows("table", pa.table(columns), f"example:{name}")

    return load


#: Modules of the standard library whose functions and classes tell what they do.
_TOLD = (
    "argparse", "ast", "asyncio", "calendar", "collections", "concurrent.futures", "configparser", "contextlib", "csv",
    "datetime", "decimal", "difflib", "email.message", "enum", "fractions", "ftplib", "functools", "glob", "gzip",
    "heapq", "html", "http.client", "http.cookiejar", "imaplib", "inspect", "io", "ipaddress", "itertools", "json",
    "locale", "logging", "mailbox", "math", "mimetypes", "multiprocessing.pool", "numbers", "operator", "os", "pathlib",
    "pickle", "platform", "plistlib", "poplib", "queue", "random", "selectors", "shelve", "shutil", "smtplib", "socket",
    "sqlite3", "ssl", "statistics", "string", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "time",
    "tokenize", "traceback", "types", "typing", "unittest", "urllib.parse", "urllib.request", "uuid", "wave", "weakref",
    "xml.dom.minidom", "xml.etree.ElementTree", "zipfile",
)  # fmt: skip


def _docstrings() -> Rows:
    import importlib
    import inspect

    from isthmus.data.rows import Rows

    found: dict[str, str] = {}  # by text: what several names share is one document
    for module in _TOLD:
        for name, thing in sorted(vars(importlib.import_module(module)).items()):
            if name.startswith("_") or name in ("io", "re") or not callable(thing):  # typing's own, which warn
                continue
            members = sorted(vars(thing).items()) if inspect.isclass(thing) else []
            for called, member in [(name, thing), *((f"{name}.{key}", m) for key, m in members if key[0] != "_")]:
                told = inspect.getdoc(member) if callable(member) else None
                first = " ".join((told or "").split("\n\n")[0].split())
                if len(first.split()) >= 4:
                    found.setdefault(first, f"{module}.{called}")
    return Rows("text", list(found), "example:docstrings", tuple(found.values()))


_UCI = "CC BY 4.0 (UCI Machine Learning Repository, through scikit-learn)"

EXAMPLES: dict[str, Example] = {
    "breast_cancer": Example("569 tumours, 30 measurements of their cells", _UCI, _table("breast_cancer")),
    "diabetes": Example(
        "442 patients, 10 measurements", "Efron et al. 2004, through scikit-learn (BSD-3)", _table("diabetes")
    ),
    "digits": Example("1,797 handwritten digits, 8 x 8 grey", _UCI, _digits),
    "docstrings": Example(
        "what some 2,600 functions of Python's standard library do, in their own words", "PSF-2.0 (Python)", _docstrings
    ),
    "iris": Example("150 flowers, 4 lengths", _UCI, _table("iris")),
    "wine": Example("178 wines, 13 chemical measurements", _UCI, _table("wine")),
}


def open_example(name: str) -> Rows:
    """The example called ``name``.

    >>> len(open_example("iris"))
    150
    """
    if name not in EXAMPLES:
        raise unknown("example", name, EXAMPLES, DataError)
    return EXAMPLES[name].load()
