"""What a user can get wrong, said in one style: what, got, allowed, next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can mend: the command line exits with 2 and shows no traceback."""


class SpecError(UserError):
    """A recipe, part or option that does not exist or does not fit."""


class DataError(UserError):
    """Rows that cannot be used: empty, of another schema, damaged."""


class RowTypeError(DataError, TypeError):
    """Rows of a type that cannot be used at all. Also a TypeError, as scikit-learn's checks expect."""


class FileError(UserError):
    """A file that cannot be read or written, or is not what its name says."""


class TrainingError(UserError):
    """Training that could not go on, although every remedy was tried."""


def unknown(what: str, got: object, known: Iterable[str], kind: type[UserError] = SpecError) -> UserError:
    """The error for a name that is not on a menu.

    >>> print(unknown("bottleneck", "gausian", ["gaussian", "plain"]))
    No bottleneck is called 'gausian'. Did you mean 'gaussian'? Known: gaussian, plain.
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(got), names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listed = f" Known: {', '.join(names)}." if names else ""
    return kind(f"No {what} is called {got!r}.{hint}{listed}")
