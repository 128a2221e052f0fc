"""A task on rows that are read in stretches: each is looked at by itself, and what is found is written at once."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from isthmus import devices
from isthmus.data.growing import Behind, Growing
from isthmus.data.rows import Rows
from isthmus.errors import DataError, SpecError
from isthmus.tasks.base import Result

if TYPE_CHECKING:
    from isthmus.model import Model


class Tally(Protocol):
    """What is remembered of stretches when they are gone; a few numbers, whatever the rows."""

    def add(self, found: Any, rows: Rows) -> None:
        """Take in what was found in some rows."""

    def state(self) -> dict[str, Any]:
        """All of it as JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""

    def summary(self) -> list[str]: ...

    def to_json(self) -> dict[str, Any]: ...


class Leaves(Protocol):
    """What stays of stretches beside the table, in a folder."""

    table: Path
    written: list[Path]

    def add(self, found: Any) -> None:
        """Write what stays of one stretch."""

    def finish(self) -> Path:
        """Write what is known at the end."""


class Sweep(Result):
    """What a task finds in large rows, stretch by stretch. Nothing is done before it is asked for.

    :meth:`save` writes while it goes, iterating gives the result of each stretch, and :meth:`summary` needs one of both
    to have been done, or does it. A stretch's result does not depend on the others, so all of them together are what
    the rows would give in memory.
    """

    def __init__(
        self,
        model: Model,
        rows: Rows,
        look: Callable[[Rows], Any],
        tally: Tally,
        told: str,
        plain: Callable[[Any], Any],
        leaving: Callable[[Path], Leaves] | None = None,
        remarks: Sequence[str] = (),
    ):
        self._leaving, self._known = leaving, list(remarks)
        self.model, self.rows, self._look, self._told, self._plain = model, rows, look, told, plain
        self._tally, self._blank = tally, tally.state()
        self.done = False
        #: The row that it went on from.
        self.begin = 0
        self.remarks: list[str] = [*self._known]
        #: Called behind each stretch with the rows that are done.
        self.watch: Callable[[int], Any] = lambda n: None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        for found, _ in self._from(0, {"tally": self._blank, "remarks": {}}):
            yield found

    def _from(self, start: int, state: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
        """What is found from row ``start`` on, and the state behind each stretch; ``state`` is the one before."""
        self._tally.restore(state["tally"])
        remarks = _Remarks(state["remarks"])
        for some in self.rows.chunks(self.model.stretch, start):
            found = self._look(some)
            self._tally.add(found, some)
            remarks.add(self.model.remarks(some))
            yield found, {"tally": self._tally.state(), "remarks": remarks.heard}
            del found
            devices.give_back()  # what one stretch let go of is not to count beside the next
            self.watch(some.first + len(some))
        self.done, self.remarks = True, [*self._known, *remarks.told()]

    def save(self, path: Path, *, resume: bool = False) -> list[Path]:
        """Write what each row gives to a ``.parquet``, ``.csv`` or ``.tsv`` while it goes; a stop leaves
        ``PATH.part``, a whole file of what was done, and with ``resume`` the next run goes on from it. Of pictures a
        path without an ending is a folder, and more is left in it.
        """
        path = Path(path)
        if self._leaving is not None and not path.suffix:
            if resume:
                raise SpecError("--resume goes on with a table: say -o FILE.parquet, not a folder.")
            leaves = self._leaving(path)
            with Growing(leaves.table, self._mark()) as out, Behind(out.add) as add:
                for found, state in self._from(0, {"tally": self._blank, "remarks": {}}):
                    leaves.add(found)
                    add(self._plain(found), copy.deepcopy(state))
            return [leaves.table, *leaves.written, leaves.finish()]
        with Growing(path, self._mark(), resume=resume) as out, Behind(out.add) as add:
            self.begin = out.n_rows
            before = out.state or {"tally": self._blank, "remarks": {}}
            for found, state in self._from(out.n_rows, before):
                # a copy, because the next stretch changes it while it is written
                add(self._plain(found), copy.deepcopy(state))
        return [Path(path)]

    def run(self) -> Tally:
        """What was remembered, once all rows were looked at."""
        if not self.done:
            for _ in self:
                pass
        return self._tally

    def glimpse(self) -> list[str]:
        return list(getattr(self.run(), "first", []))

    def summary(self) -> list[str]:
        return self.run().summary()

    def to_json(self) -> dict[str, Any]:
        return self.run().to_json()

    def to_frame(self) -> Any:
        raise DataError(
            f"{self.rows.origin} has {len(self.rows):,} rows, too many for one frame. Save them "
            "(.save('found.parquet')), or take the frame of each stretch: for found in result: found.to_frame()."
        )

    def _mark(self) -> str:
        """The model, the rows and the options, in short."""
        digest = hashlib.blake2b(f"{self.rows.data.mark()} {self._told}".encode(), digest_size=16)
        for part in (self.model.net, self.model.detector, self.model.head):
            for name, t in part.state_dict().items() if part is not None else ():
                digest.update(name.encode() + t.cpu().contiguous().numpy().data)
        digest.update(json.dumps(self.model.modality.to_json(), sort_keys=True, default=str).encode())
        return digest.hexdigest()


class _Remarks:
    """What is unusual about rows, said once, with numbers that add up."""

    def __init__(self, heard: Mapping[str, list[Any]]) -> None:
        self.heard = dict(heard)

    def add(self, said: list[str]) -> None:
        for remark in said:
            found = _COUNTS.search(remark)
            counts = [] if found is None else [int(n.replace(",", "")) for n in found.groups() if n]
            # shares differ from stretch to stretch, and so does what stands behind a colon
            key = _COUNTS.sub("#", remark, count=1).split(":")[0] if counts else remark
            key = re.sub(r"\d+ ?%", "%", key)
            before, first = self.heard.get(key, ([0] * len(counts), remark))
            self.heard[key] = [[a + b for a, b in zip(before, counts, strict=True)], first]

    def told(self) -> list[str]:
        said = []
        for counts, first in self.heard.values():
            both = " of ".join(f"{n:,}" for n in counts)
            said.append(_COUNTS.sub(lambda _, both=both: both, first, count=1) if counts else first)
        return said


#: How many cells, rows or documents, and of how many; names of columns stand in quotes and are left alone.
_COUNTS = re.compile(r"(?<![\w'.])(\d[\d,]*)(?: of (\d[\d,]*))?(?= (?:cell|row|of|document))")
