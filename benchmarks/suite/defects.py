"""Defects on magnetic tiles: found, and where, without pretrained weights; the mean of three splits by near-duplicates.

Beside it how many sound tiles of other groups are flagged at a promised 5 %: several shots of a part are not like
several parts.
"""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.record import peak_memory_mb
from benchmarks.suite._estimator import autoencoder

#: Raw patches: side, step, how many are remembered.
SIDE, STEP, MEMORY = 8, 4, 10_000


@cache
def _results(settings: Settings) -> list[dict]:
    """AUROC per picture and per pixel, a split each: ours, PCA's, nearest neighbours' of raw patches."""
    with np.load(data.folder("magnetic_tile") / "magnetic_tile_128.npz") as file:
        images, masks, labels, groups = (file[name] for name in ("images", "masks", "labels", "near_duplicate_group"))
    known, found = np.unique(groups), []
    for seed in range(settings.pick(3, 1)):
        half = np.random.default_rng(seed).permutation(known)[: len(known) // 2]
        fitted = np.isin(groups, half) & (labels == 0)
        tested = (~np.isin(groups, half) & (labels == 0)) | (labels > 0)
        fit, test = images[fitted], images[tested]
        found.append(_split(settings, seed, fit, test, labels[tested] > 0, masks[tested] > 0))
    return found


def _split(
    settings: Settings, seed: int, fit: np.ndarray, test: np.ndarray, sick: np.ndarray, wrong: np.ndarray
) -> dict:
    fit = fit[::8] if settings.quick else fit
    began = time.perf_counter()
    # one epoch: the detector learns from pictures, and asks nothing of the network beside it
    model = autoencoder()(random_state=seed, verbose=0, epochs=1).fit(fit)
    found = model.detect(test)
    ours = {
        "image": _auroc(sick, found.scores),
        "pixel": _auroc(wrong, found.heat_maps),
        "flagged_5": float((found.p_values[~sick] <= 0.05).mean()),
        "seconds": time.perf_counter() - began,
    }
    return {"ours": ours, "pca-30": _pca(fit, test, sick, wrong), "patch-knn": _patches(fit, test, sick, wrong)}


def _measure(settings: Settings, what: str) -> Measured:
    found = _results(settings)
    mean = {name: float(np.mean([split[name][what] for split in found])) for name in found[0]}
    flagged = [split["ours"]["flagged_5"] for split in found]
    each = ", ".join(f"{split['ours'][what]:.4f}" for split in found)
    return Measured(
        value=mean["ours"],
        runs=found,
        data="magnetic_tile",
        seed=list(range(len(found))),
        memory_mb=peak_memory_mb(),
        seconds=sum(split["ours"]["seconds"] for split in found),
        bar=Bar(at_least=max(BARS[what], mean["pca-30"], mean["patch-knn"])),
        note=f"{each}; pca-30 {mean['pca-30']:.4f}, patch-knn {mean['patch-knn']:.4f}; sound tiles of other groups "
        f"flagged at 5 %: {min(flagged):.1%} to {max(flagged):.1%}",
    )


def _auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels.ravel(), scores.ravel()))


def _pca(fit: np.ndarray, test: np.ndarray, sick: np.ndarray, wrong: np.ndarray) -> dict:
    """Squared error after 30 components of whole pictures, by the products of the rows: they are fewer than pixels."""
    rows, other = data.flat(fit), data.flat(test)
    mean = rows.mean(0)
    directions = np.linalg.svd(rows - mean, full_matrices=False)[2][:30]
    left = other - mean
    error = (left - left @ directions.T @ directions) ** 2
    return {"image": _auroc(sick, error.sum(1)), "pixel": _auroc(wrong, error)}


def _patches(fit: np.ndarray, test: np.ndarray, sick: np.ndarray, wrong: np.ndarray) -> dict:
    """Mean distance of each patch, its own mean off, to its five nearest among those of sound tiles."""
    import torch
    from torch.nn import functional as F

    def cut(images: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(images.astype(np.float32) / 255)[:, None]
        patches = F.unfold(x, SIDE, stride=STEP).mT
        return patches - patches.mean(2, keepdim=True)

    memory = cut(fit).flatten(0, 1)
    memory = memory[torch.from_numpy(np.random.default_rng(0).permutation(len(memory))[:MEMORY])]
    side = (fit.shape[1] - SIDE) // STEP + 1
    maps = torch.stack([torch.cdist(cut(one[None])[0], memory).topk(5, 1, largest=False)[0].mean(1) for one in test])
    scores = maps.topk(max(1, maps.shape[1] // 100), 1)[0].mean(1)
    wide = F.interpolate(maps.view(-1, 1, side, side), size=fit.shape[1:], mode="bilinear", align_corners=False)
    return {"image": _auroc(sick, scores.numpy()), "pixel": _auroc(wrong, wide.numpy())}


BARS = {"image": 0.90, "pixel": 0.85}
FIGURES = {
    what: Figure(f"AUROC per {what}", lambda settings, what=what: _measure(settings, what), Bar(at_least=bar))
    for what, bar in BARS.items()
}
