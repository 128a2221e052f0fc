"""The main job in half a minute, on handwritten digits that come with scikit-learn: ``make demo``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: Usual images that the model has not seen, and odd ones put among them.
_FRESH, _ODD = 297, 40


def main(folder: str | Path = "demo") -> int:
    """Fit, compare with PCA, find planted anomalies, draw; everything is written to ``folder``."""
    began = time.perf_counter()
    from isthmus import Autoencoder
    from isthmus.app.report import write_report
    from isthmus.data.rows import Rows
    from isthmus.data.source import open_rows
    from isthmus.tasks.checkup.compare import compared_at_fit

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    images = open_rows("example:digits").data
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    known, fresh = images[order[_FRESH:]], images[order[:_FRESH]]

    print(f"1. Fit an autoencoder to {len(known):,} handwritten digits, 8 × 8, that nobody labelled.")
    ae = Autoencoder("plain", random_state=0).fit(known)
    model = ae.model_
    path = ae.save(folder / "digits.isthmus")
    print(f"   {model.latent_dim} numbers per digit; {model.record.seconds:.1f} s; the model is {path}")

    compared = compared_at_fit(model)
    assert compared is not None
    print("2. Is it worth it? Held-out digits through it and through PCA of the same size:")
    for line in compared.summary():
        print(f"   {line}")

    print(f"3. Put {_ODD} odd images among {_FRESH} digits that it has never seen, and ask what is strange.")
    mixed, planted = _plant(fresh, rng)
    found = ae.detect(mixed, false_alarm_rate=0.01)
    hits, alarms = int(found.anomalies[planted].sum()), int(found.anomalies[~planted].sum())
    rate = f"{alarms / _FRESH:.1%}; 1 % was promised"
    print(f"   {hits} of {_ODD} odd ones are flagged, and {alarms} of {_FRESH} digits ({rate})")
    found.save(folder / "scored.csv")

    shown = np.sort(rng.choice(_FRESH, 14, replace=False))
    picture = [fresh[shown], model.reconstruct(fresh[shown]), _through_pca(model, fresh[shown])]
    _draw(picture, ("digits", f"{model.latent_dim} numbers", f"PCA-{model.latent_dim}"), folder / "digits.png")
    write_report(
        model,
        Rows("image", mixed, "fresh digits and odd ones"),
        folder / "report.html",
        name="digits.isthmus",
    )

    print(f"4. Look: {folder / 'report.html'} in a browser, {folder / 'digits.png'}, {folder / 'scored.csv'}.")
    print(f"   All of it took {time.perf_counter() - began:.0f} s. The same on your rows:")
    print("     isthmus fit rows.csv -o rows.isthmus")
    print("     isthmus detect rows.isthmus new.csv -o scored.csv")
    return 0


def _plant(usual: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Usual images with odd ones among them, and which those are."""
    odd = usual[rng.choice(len(usual), _ODD, replace=False)].copy()
    for i in range(_ODD):
        match i % 4:
            case 0:  # lying on its side
                odd[i] = np.rot90(odd[i])
            case 1:  # a speckled scan
                odd[i] = np.clip(odd[i] + rng.normal(0, 90, odd[i].shape), 0, 255)
            case 2:  # a blot of ink
                top, left = rng.integers(0, 6, 2)
                odd[i][top : top + 3, left : left + 3] = 255
            case 3:  # a stroke across the paper
                odd[i][rng.integers(1, 7)] = 255
    mixed = np.concatenate([usual, odd])
    planted = np.arange(len(mixed)) >= len(usual)
    order = rng.permutation(len(mixed))
    return mixed[order], planted[order]


def _through_pca(model: Any, images: np.ndarray) -> np.ndarray:
    from isthmus.data.source import open_rows

    x = model.tensors(open_rows(images))["x"]
    return model.modality.from_tensors(model.pca.reconstruct(x.flatten(1)).reshape(x.shape))


def _draw(lines: Sequence[np.ndarray], labels: Sequence[str], path: Path, side: int = 40) -> None:
    """A grid of images as one PNG, on a ground that is see-through."""
    from PIL import Image, ImageDraw, ImageFont

    left, gap = 96, 4
    cell = side + gap
    sheet = Image.new("RGBA", (left + cell * len(lines[0]) - gap, cell * len(lines) - gap))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (line, label) in enumerate(zip(lines, labels, strict=True)):
        # a grey that can be read on white and on black
        pen.text((left - 10, i * cell + side // 2), label, fill=(128, 132, 140), font=font, anchor="rm")
        for j, image in enumerate(line):
            tile = Image.fromarray(np.asarray(image).squeeze()).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(tile, (left + j * cell, i * cell))
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
