"""YOLO data sets: a new root whose pictures are clean, with the same names and sizes, the labels and the data.yaml.

Only files are read and written; no detector is imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.data.images import FORMATS
from isthmus.data.pictures import natural
from isthmus.errors import FileError
from isthmus.files import open_file, write_atomic

_PARTS = ("train", "val", "test")


@dataclass
class Dataset:
    """A data.yaml, and what it leads to. ``lists`` are text files that name pictures, which are written anew."""

    yaml: Path
    root: Path
    text: str
    images: list[Path]
    lists: list[Path]

    @classmethod
    def open(cls, yaml: Path) -> Dataset:
        """Read a data.yaml.

        Raises:
            FileError: it names no pictures, or some that lie outside its root.
        """
        with open_file(yaml) as file:
            try:
                text = file.read(1 << 20).decode()
            except UnicodeDecodeError as error:
                raise FileError(f"{yaml} is no data.yaml: it is not text.") from error
        said = _entries(text)
        named = said.get("path", [""])[0]
        root = (yaml.parent / named).resolve()
        if not root.is_dir():
            raise FileError(f"{yaml} says its root is {named!r}, and there is no folder {root}.")
        images: dict[Path, None] = {}
        lists = []
        for part in _PARTS:
            for entry in said.get(part, []):
                place = root / entry
                if not place.exists() and entry.startswith(
                    "../"
                ):  # as Roboflow writes, from a folder that is not there
                    place = root / entry[3:]
                if place.is_dir():
                    found = sorted(
                        (p for p in place.rglob("*") if p.suffix.lower() in FORMATS), key=lambda p: natural(str(p))
                    )
                    images |= dict.fromkeys(found)
                elif place.suffix == ".txt" and place.is_file():
                    lists.append(place)
                    images |= dict.fromkeys(_listed(place, root))
                else:
                    raise FileError(f"{yaml} says {part}: {entry}, and there is no folder or list {place}.")
        if not images:
            raise FileError(f"{yaml} leads to no pictures: it needs train: and val: with folders of pictures.")
        outside = [path for path in [*images, *lists] if not path.resolve().is_relative_to(root)]
        if outside:
            raise FileError(f"{outside[0]} lies outside the root {root}; a new root cannot hold it. Move it inside.")
        return cls(yaml, root, text, list(images), lists)

    def write(self, folder: Path, clean: Callable[[Sequence[tuple[Path, Path]]], list[Path]]) -> list[Path]:
        """The new root: pictures by ``clean``, labels copied, lists and data.yaml written anew."""
        folder = Path(folder).resolve()
        if folder == self.root or self.root.is_relative_to(folder) or folder.is_relative_to(self.root):
            raise FileError(f"{folder} and the data set {self.root} lie in each other. Choose another folder.")

        def new(path: Path) -> Path:
            return folder / path.relative_to(self.root)

        written = clean([(path, new(path)) for path in self.images])
        for path in self.images:
            label = label_of(path)
            if label.is_file():
                written.append(_copied(label.read_bytes(), new(label)))
        for listed in self.lists:
            lines = [line.strip() for line in listed.read_text().splitlines() if line.strip()]
            moved = [str(new(Path(line))) if Path(line).is_absolute() else line for line in lines]
            written.append(_copied("".join(f"{line}\n" for line in moved).encode(), new(listed)))
        written.append(_copied(self._rewritten(folder).encode(), folder / self.yaml.name))
        return written

    def _rewritten(self, folder: Path) -> str:
        """The data.yaml as it was, but with the new root."""
        line = f"path: {folder}"
        text, n = re.subn(r"(?m)^path\s*:.*$", lambda _: line, self.text)
        text = text if n else f"{line}\n{text}"
        # entries that name their place by the whole path, or from beside the root
        text = text.replace(f"{self.root}/", f"{folder}/")
        return re.sub(r"(?m)^((?:train|val|test)\s*:\s*)\.\./", r"\1", text) if self._beside() else text

    def _beside(self) -> bool:
        return any(
            entry.startswith("../") and not (self.root / entry).exists()
            for part in _PARTS for entry in _entries(self.text).get(part, [])
        )  # fmt: skip


def label_of(image: Path) -> Path:
    """Where the label of a picture lies: ``labels`` in the place of the last ``images`` of its path, ``.txt``.

    >>> label_of(Path("/d/images/train/a.jpg")).as_posix()
    '/d/labels/train/a.txt'
    """
    parts = list(image.with_suffix(".txt").parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts)


def _entries(text: str) -> dict[str, list[str]]:
    """The values of ``path``, ``train``, ``val`` and ``test``: one, ``[a, b]``, or lines that begin with a dash."""
    found: dict[str, list[str]] = {}
    lines = text.splitlines()
    for i, line in enumerate(lines):
        match = re.match(r"(path|train|val|test)\s*:\s*(.*?)\s*(?:\s#.*)?$", line)
        if not match:
            continue
        name, value = match.groups()
        if value.startswith("["):
            values = value.strip("[]").split(",")
        elif value:
            values = [value]
        else:
            values = []
            for below in lines[i + 1 :]:
                item = re.match(r"\s*-\s+(.*?)\s*(?:\s#.*)?$", below)
                if not item:
                    break
                values.append(item[1])
        found[name] = [v.strip().strip("'\"") for v in values if v.strip().strip("'\"")]
    return found


def _listed(place: Path, root: Path) -> list[Path]:
    found = []
    for line in place.read_text().splitlines():
        if not line.strip():
            continue
        path = Path(line.strip())
        path = path if path.is_absolute() else (place.parent if line.startswith("./") else root) / path
        if not path.is_file():
            raise FileError(f"{place} names {path}, which is not there.")
        found.append(path)
    return found


def _copied(data: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(data) and None)
    return path
