"""Heat map → mask → boxes, and boxes as the tools that train detectors read them.

A box is ``(left, top, width, height)`` in pixels of the picture; COCO keeps it so, YOLO wants centre and size as
shares of the picture's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]


def resized(map_: np.ndarray, height: int, width: int) -> np.ndarray:
    """A heat map (h, w) in a picture's own size, between its values."""
    from PIL import Image

    if map_.shape == (height, width):
        return np.asarray(map_, np.float32)
    picture = Image.fromarray(np.ascontiguousarray(map_, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def boxes_of(mask: np.ndarray) -> list[Box]:
    """The boxes around the connected parts of a mask (pixels that touch, also at corners), largest part first.

    >>> boxes_of(np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], bool))
    [(1, 0, 2, 2), (3, 2, 1, 1)]
    >>> boxes_of(np.zeros((2, 2), bool))
    []
    """
    from scipy.ndimage import find_objects, label

    parts, n = label(mask, np.ones((3, 3), int))
    counts = np.bincount(parts.ravel(), minlength=n + 1)[1:]
    found = find_objects(parts)
    order = np.argsort(-counts, kind="stable")
    return [
        (int(x.start), int(y.start), int(x.stop - x.start), int(y.stop - y.start))
        for y, x in (found[int(i)] for i in order)
    ]


def coco(names: Sequence[str], sizes: Sequence[tuple[int, int]], boxes: Sequence[Sequence[Box]]) -> dict[str, Any]:
    """Pictures of (height, width) with their boxes, as COCO's detection format."""
    images = [
        {"id": i + 1, "file_name": n, "height": s[0], "width": s[1]}
        for i, (n, s) in enumerate(zip(names, sizes, strict=True))
    ]
    every = [(i + 1, box) for i, some in enumerate(boxes) for box in some]
    annotations = [
        {"id": k + 1, "image_id": i, "category_id": 1, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
        for k, (i, box) in enumerate(every)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "anomaly"}]}


def yolo(boxes: Sequence[Box], height: int, width: int) -> str:
    """A line a box: class, centre and size as shares of the picture.

    >>> yolo([(10, 20, 40, 20)], 100, 200)
    '0 0.150000 0.300000 0.200000 0.200000\\n'
    """
    return "".join(
        f"0 {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} {h / height:.6f}\n"
        for x, y, w, h in boxes
    )


def overlay(picture: np.ndarray, map_: np.ndarray, line: float) -> np.ndarray:
    """A picture (h, w) or (h, w, c) of bytes with its heat map in red over it: fully at twice the line."""
    grey = picture[..., None] if picture.ndim == 2 else picture
    colour = np.repeat(grey, 3, 2) if grey.shape[2] == 1 else grey[..., :3]
    heat = np.clip(map_ / max(2 * line, 1e-12), 0, 1)[..., None] * 0.7
    return (colour * (1 - heat) + np.array([255, 40, 20]) * heat).round().astype(np.uint8)
