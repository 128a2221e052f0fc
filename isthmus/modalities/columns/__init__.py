"""The menu of the kinds of columns."""

from isthmus.modalities.columns.aside import Aside
from isthmus.modalities.columns.base import Column, Studied
from isthmus.modalities.columns.boolean import Boolean
from isthmus.modalities.columns.categorical import Categorical
from isthmus.modalities.columns.date import Date
from isthmus.modalities.columns.hashed import Hashed
from isthmus.modalities.columns.numeric import Numeric
from isthmus.modalities.columns.picture import Picture
from isthmus.modalities.columns.sentences import Sentences

COLUMNS: dict[str, type[Column]] = {
    "numeric": Numeric,
    "boolean": Boolean,
    "categorical": Categorical,
    "hashed": Hashed,
    "date": Date,
    "text": Sentences,
    "image": Picture,
    "aside": Aside,
}

__all__ = [
    "COLUMNS", "Aside", "Boolean", "Categorical", "Column", "Date", "Hashed", "Numeric", "Picture", "Sentences",
    "Studied",
]  # fmt: skip
