"""What a codec is: a way to keep rows in a compressed file, whose header names it.

.. math:: unpack(pack(x)) = x, \\quad \\text{or as near to it as was promised}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from isthmus.data.container import Chunk, Container
from isthmus.errors import FileError
from isthmus.tasks.base import Result

if TYPE_CHECKING:
    from isthmus.data.rows import Rows
    from isthmus.model import Model


class Inspection(Protocol):
    """What a file says of itself without a model, for people and for machines."""

    def summary(self) -> list[str]: ...

    def to_json(self) -> dict[str, Any]: ...


class Codec(ABC):
    """A way to keep rows in a file. Its options are the keyword-only arguments of :meth:`pack`."""

    #: What the header of its files calls it; codecs of one name write the same files.
    name: ClassVar[str]
    #: What to say where somebody asks for an option that it does not have.
    refusal: ClassVar[str]

    @abstractmethod
    def packs(self, model: Model, rows: Rows) -> bool:
        """Whether it is the one for such rows and this model."""

    @abstractmethod
    def reads(self, model: Model, container: Container) -> bool:
        """Whether it is the one, among those of its name, to bring such a file back."""

    @abstractmethod
    def pack(self, model: Model, rows: Rows, *, compare: bool) -> Result:
        """Rows → a file, once the result is saved; beside what others make of them, where ``compare`` says so."""

    @abstractmethod
    def unpack(self, model: Model, container: Container, salvage: bool) -> Result:
        """A file → its rows; with ``salvage`` those of undamaged chunks."""

    @abstractmethod
    def inspect(self, container: Container) -> Inspection:
        """What the file says of itself."""


def read(container: Container, chunk: Chunk, decode: Callable[[bytes], Any], what: str = "chunk") -> Any:
    """What a chunk decodes to, None where it is damaged."""
    data = container.read(chunk)
    if data is None:
        return None
    try:
        return decode(data)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # the checksum is right, so somebody made it so; a panic is no Exception
        why = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise FileError(
            f"{container.origin} holds a {what} that no isthmus wrote: {why}. Do not trust this file."
        ) from error


def losses(
    container: Container, lost: Sequence[tuple[int, int]], salvage: bool, any_left: bool, what: str = "rows"
) -> str | None:
    """What is wrong with a file, as a remark, or as an error where rows are missing and nobody said to go on.

    ``lost`` is where the rows of damaged chunks begin and end.
    """
    if not lost:
        return None if not container.remarks else f"{container.remarks[0]}, yet every chunk of it is whole"
    n, spans = sum(end - begin for begin, end in lost), _spans(lost)
    listed = ", ".join(spans[:8]) + (", …" if len(spans) > 8 else "")
    said = (f"{n:,} of {container.rows:,} {what} {'is' if n == 1 else 'are'} lost, {listed}: "
            f"{len(lost)} of {len(container.chunks)} chunks")  # fmt: skip
    if not any_left:
        raise FileError(f"{container.origin} is damaged: {said}. Copy or download it again.")
    if not salvage:
        raise FileError(
            f"{container.origin} is damaged: {said}. Copy or download it again, or take the other {what} "
            "with salvage=True (--salvage)."
        )
    return said


def _spans(lost: Sequence[tuple[int, int]]) -> list[str]:
    """Neighbours as one, in words.

    >>> _spans([(0, 1), (5, 6), (6, 9)])
    ['0', '5 to 8']
    """
    joined: list[tuple[int, int]] = []
    for begin, end in lost:
        if joined and joined[-1][1] == begin:
            begin = joined.pop()[0]
        joined.append((begin, end))
    return [f"{begin:,} to {end - 1:,}" if end - begin > 1 else f"{begin:,}" for begin, end in joined]
