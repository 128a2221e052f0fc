"""What detection leaves of pictures: a folder with scores, overlays, masks and boxes. Originals are only read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isthmus.data.pictures import open_picture
from isthmus.data.rows import Rows
from isthmus.data.sink import save_rows
from isthmus.errors import FileError
from isthmus.files import write_atomic
from isthmus.tasks.detection.regions import Box, coco, yolo

if TYPE_CHECKING:
    from isthmus.tasks.detection.detection import Detection


def pixels(rows: Rows, i: int) -> np.ndarray:
    """Picture ``i`` in its own size, as bytes (h, w) or (h, w, 3)."""
    if isinstance(rows.data, list):
        from PIL import ImageOps

        with open_picture(rows.data[i]) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):  # sixteen bits
                return (np.asarray(upright, np.float32) / 257).clip(0, 255).astype(np.uint8)
            return np.asarray(upright.convert("L" if upright.mode in ("1", "L", "LA") else "RGB"))
    one = rows.data[i]
    if one.dtype != np.uint8:
        high = float(np.iinfo(one.dtype).max) if one.dtype.kind in "iu" else (1.0 if one.max() <= 1 else 255.0)
        one = (one.astype(np.float64) / high * 255).clip(0, 255).round().astype(np.uint8)
    return one[..., 0] if one.ndim == 3 and one.shape[2] == 1 else one


def save_pictures(found: Detection, folder: Path) -> list[Path]:
    """``scores.csv`` and ``boxes.coco.json``; of every flagged picture an overlay, a mask and a YOLO label."""
    leaving = Leaving(folder)
    written = save_rows(found.to_table(), leaving.table)
    leaving.add(found)
    return [*written, *leaving.written, leaving.finish()]


class Leaving:
    """What is left of pictures, some at a time: the flagged ones as they come, and the boxes of all at the end."""

    def __init__(self, folder: Path):
        if folder.exists() and not folder.is_dir():
            raise FileError(f"{folder} is a file, not a folder. Give a folder for the pictures.")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.table, self.written = folder, folder / "scores.csv", list[Path]()
        self._names: list[str] = []
        self._sizes: list[tuple[int, int]] = []
        self._boxes: list[list[Box]] = []

    def add(self, found: Detection) -> None:
        """Overlays, masks and labels of what is flagged."""
        names, sizes, boxes, written = _flagged(found, self.folder)
        self._names += names
        self._sizes += sizes
        self._boxes += boxes
        self.written += written

    def finish(self) -> Path:
        """The boxes of all, as COCO has them."""
        text = json.dumps(coco(self._names, self._sizes, self._boxes), indent=1)
        return _write(self.folder / "boxes.coco.json", text + "\n")


def _flagged(found: Detection, folder: Path) -> tuple[list[str], list[tuple[int, int]], list[list[Box]], list[Path]]:
    flagged = [int(i) for i in np.flatnonzero(found.anomalies)]
    first = found.rows.first
    names = [str(found.rows.names[i]) if found.rows.names else f"{first + i:06}.png" for i in flagged]
    stems = [Path(name).with_suffix("") for name in names]
    if len(set(stems)) < len(stems):  # a.jpg and a.png
        stems = [Path(name.replace(".", "_")) for name in names]
    written: list[Path] = []
    sizes: list[tuple[int, int]] = []
    boxes: list[list[Box]] = []
    for i, stem in zip(flagged, stems, strict=True):
        mask = found.mask(i)
        sizes.append((mask.shape[0], mask.shape[1]))
        boxes.append(found.boxes(i))
        for kind, image in (("overlays", found.overlay(i)), ("masks", mask.astype(np.uint8) * 255)):
            target = _free(found.rows, folder / kind / f"{stem}.png")
            target.parent.mkdir(parents=True, exist_ok=True)
            written += _save_png(image, target)
        written.append(_write(folder / "labels" / f"{stem}.txt", yolo(boxes[-1], *sizes[-1])))
    return names, sizes, boxes, written


def _free(rows: Rows, path: Path) -> Path:
    """The path, unless one of the pictures that were looked at lies there."""
    if isinstance(rows.data, list) and path.exists() and path.resolve() in {Path(p).resolve() for p in rows.data}:
        raise FileError(f"{path} is one of the pictures themselves. Choose another folder.")
    return path


def _save_png(image: np.ndarray, path: Path) -> list[Path]:
    """One image as one PNG."""
    from PIL import Image

    write_atomic(path, lambda file: Image.fromarray(image).save(file, "PNG"))
    return [path]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(text.encode()) and None)
    return path
