"""Sparse dictionaries: are the true features found, what does top-k explain beside L1, and how fast is a step.

The synthetic rows are sums of few of 512 unit directions in 64 dimensions: six fire on average, each with a strength
even in (0, 1). A feature is recovered when the cosine between it and some atom is above 0.9. The rows are seen once,
as they are (``scaling="none"``), so that nothing but the net itself can cope with columns that are far from 0.

References:
    Sharkey, Braun, Millidge, Taking features out of superposition with sparse autoencoders, 2022 (the benchmark).
    Gao et al., Scaling and evaluating sparse autoencoders, 2024, https://arxiv.org/abs/2406.04093
"""

from __future__ import annotations

import time
from functools import partial
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings
from benchmarks.paired import Run, paired
from benchmarks.record import peak_memory_mb

DIM, FEATURES, FIRING = 64, 512, 6
#: Patches of MNIST digits, and the latents that a row may use.
PATCH, LATENTS, K = 8, 512, 8


def explained(rows: np.ndarray, again: np.ndarray) -> float:
    """1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², summed in float64."""
    rows, again = rows.astype(np.float64), again.astype(np.float64)
    return float(1 - np.square(rows - again).sum() / np.square(rows - rows.mean(axis=0)).sum())


def superposed(n_rows: int, seed: int, outliers: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 64) and the directions (512, 64) that they are made of."""
    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(FEATURES, DIM)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = np.empty((n_rows, DIM), np.float32)
    for start in range(0, n_rows, 10_000):
        block = rows[start : start + 10_000]
        fires = generator.random((len(block), FEATURES), np.float32) < FIRING / FEATURES
        block[:] = (fires * generator.random(fires.shape, np.float32)) @ directions
    rows[:, :outliers] += 30
    return rows, directions


def dictionary(outliers: int, settings: Settings) -> Measured:
    from isthmus import Model
    from isthmus.spec import Plan

    runs = []
    for seed in range(settings.pick(3, 1)):
        rows, directions = superposed(settings.pick(1_500_000, 20_000), seed, outliers)
        began = time.perf_counter()
        model = Model.fit(
            rows,
            "topk",
            latent_dim=FEATURES,
            parts={"bottleneck": {"k": FIRING}},
            plan=Plan(epochs=1, seed=seed),
            modality="array",
            modality_options={"scaling": "none"},
        )
        atoms = model.net.decoder.weight.detach().numpy()
        some = rows[:20_000]
        runs.append(
            {
                "seed": seed,
                "recovered": float(((directions @ atoms.T).max(axis=1) > 0.9).mean()),
                "fvu": 1 - explained(some, model.reconstruct(some)),
                "dead": float((model.encode(some) == 0).all(axis=0).mean()),
                "seconds": time.perf_counter() - began,
            }
        )
    return Measured(
        value=mean(run["recovered"] for run in runs),
        runs=runs,
        data=f"synthetic: {FEATURES} features in {DIM} dimensions, {outliers} of them at +30",
        seed=[run["seed"] for run in runs],
        memory_mb=peak_memory_mb(),
        note=f"variance left {mean(r['fvu'] for r in runs):.3f}, {mean(r['seconds'] for r in runs):.0f} s a fit",
    )


def patches(n_rows: int, seed: int = 0) -> np.ndarray:
    """Rows of 8 × 8 pixels from anywhere in MNIST's training images where at least one pixel is not black."""
    generator, digits = np.random.default_rng(seed), data.mnist().train
    which = generator.integers(len(digits), size=3 * n_rows)
    top, left = generator.integers(28 - PATCH + 1, size=(2, 3 * n_rows))
    windows = np.lib.stride_tricks.sliding_window_view(digits, (PATCH, PATCH), axis=(1, 2))
    found = windows[which, top, left].reshape(-1, PATCH * PATCH)
    return found[found.any(axis=1)][:n_rows].astype(np.float32) / 255


def _fit(rows: np.ndarray, test: np.ndarray, seed: int, recipe: str, **parts: Any) -> Run:
    from isthmus import Model
    from isthmus.spec import Plan

    model = Model.fit(rows, recipe, latent_dim=LATENTS, parts=parts, plan=Plan(epochs=5, seed=seed), modality="array")
    codes, idle = model.encode(test), np.ones(LATENTS, bool)
    for some in np.array_split(rows, 10):
        idle &= (model.encode(some) == 0).all(axis=0)
    return {
        "recipe": recipe,
        **parts,
        "explained": explained(test, model.reconstruct(test)),
        "l0": float((codes > 0).sum(axis=1).mean()),
        "dead": float(idle.mean()),
    }


def against_l1(rows: np.ndarray, test: np.ndarray, seed: int, tries: int = 6) -> tuple[Run, list[Run]]:
    """Top-k, and L1 with prices that approach the same L0: the last two are on either side of it, or near."""
    ours = _fit(rows, test, seed, "topk", bottleneck={"k": K})
    theirs, low, high = [], 1.0, 200.0
    for _ in range(tries):
        price = float(np.sqrt(low * high))
        theirs.append(_fit(rows, test, seed, "sparse", penalties=[{"kind": "l1", "weight": price}]))
        low, high = (price, high) if theirs[-1]["l0"] > ours["l0"] else (low, price)
    return ours, theirs


def at_l0(runs: list[Run], l0: float) -> float:
    """Explained variance at this L0, on the line between the runs beside it (generous where all are on one side)."""
    points = sorted((run["l0"], run["explained"]) for run in runs)
    return float(np.interp(l0, *zip(*points, strict=True)))


def topk_vs_l1(settings: Settings) -> Measured:
    rows, test = np.split(patches(settings.pick(110_000, 6_000)), [settings.pick(100_000, 5_000)])
    runs, gains = [], []
    for seed in range(settings.pick(3, 1)):
        ours, theirs = against_l1(rows, test, seed, settings.pick(6, 2))
        gains.append(ours["explained"] - at_l0(theirs, ours["l0"]))
        runs += [{"seed": seed, **run} for run in (ours, *theirs)]
    topk = [run for run in runs if run["recipe"] == "topk"]
    return Measured(
        value=median(gains),
        runs=runs,
        data="mnist, 8 x 8 patches",
        seed=list(range(len(gains))),
        memory_mb=peak_memory_mb(),
        note=f"top-k explains {mean(r['explained'] for r in topk):.4f} at L0 {mean(r['l0'] for r in topk):.1f}",
    )


def topk_dead(settings: Settings) -> Measured:
    rows, test = np.split(patches(settings.pick(110_000, 6_000)), [settings.pick(100_000, 5_000)])
    runs = [_fit(rows, test, seed, "topk", bottleneck={"k": K}) for seed in range(settings.pick(3, 1))]
    return Measured(
        value=max(run["dead"] for run in runs),
        runs=runs,
        data="mnist, 8 x 8 patches",
        seed=list(range(len(runs))),
        memory_mb=peak_memory_mb(),
    )


def step_speed(settings: Settings) -> Measured:
    """A whole training step: forward, backward, Adam, atoms back to length 1. Ours ÷ the dense tape's rows/s."""
    import torch

    dim, latents, k, batch = settings.pick((768, 16_384, 32, 1024), (64, 512, 8, 128))
    torch.manual_seed(0)
    x = torch.randn(batch, dim)
    steps = {"ours": _our_step(dim, latents, k), "dense": _dense_step(dim, latents, k)}
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(name: str, _: int) -> Run:
        began = time.perf_counter()
        for _ in range(3):
            steps[name](x)
        return {"rows_per_second": 3 * batch / (time.perf_counter() - began)}

    try:
        for step in steps.values():
            step(x)
        result = paired(partial(run, "ours"), partial(run, "dense"), repeats=settings.pick(7, 2), key="rows_per_second")
    finally:
        torch.set_num_threads(before)
    ours, dense = (median(r["rows_per_second"] for r in side) for side in (result.a, result.b))
    return Measured(
        value=result.ratio,
        runs=result.runs,
        data=f"normal rows, d {dim}, n {latents}, k {k}, batch {batch}",
        seed=0,
        memory_mb=peak_memory_mb(),
        note=f"{ours:,.0f} rows/s, dense {dense:,.0f}, one thread",
    )


def _our_step(dim: int, latents: int, k: int):
    from isthmus.core.autoencoder import Net
    from isthmus.core.sparse_step import SparseStep
    from isthmus.recipes import compose
    from isthmus.training.flat import FlatGroup

    net = Net(
        compose("topk", suited={"likelihood": "gaussian"}, said={"bottleneck": {"k": k}}, latent_dim=latents), (dim,)
    )
    net.train().progress = 0.0  # as at the beginning, when nobody is dead yet
    group, forward = FlatGroup(net.groups()["main"]), SparseStep(net)

    def step(x) -> None:
        forward.losses(x=x).backward("main", group.parameters)
        net.project_gradients()
        group.step(1e-4)
        net.project()

    return step


def _dense_step(dim: int, latents: int, k: int):
    """The same in plain torch, without the revival of the dead, which costs nothing while nobody is dead."""
    import torch
    from torch import nn

    encoder, decoder = nn.Linear(dim, latents), nn.Linear(latents, dim)
    with torch.no_grad():
        decoder.weight.div_(decoder.weight.norm(dim=0))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    adam = torch.optim.Adam(parameters, 1e-4, fused=True)

    def step(x) -> None:
        values, at = encoder(x).topk(k, dim=1, sorted=False)
        z = torch.zeros(len(x), latents).scatter(1, at, values.relu())
        error = (decoder(z) - x).square()
        adam.zero_grad()
        (error.sum(1).mean() / 2).backward()
        with torch.no_grad():
            weight, gradient = decoder.weight, decoder.weight.grad
            gradient.sub_((gradient * weight).sum(0) * weight)
            adam.step()
            weight.div_(weight.norm(dim=0))

    return step


FIGURES = {
    "dictionary": Figure("share of 512 true features recovered", partial(dictionary, 0), Bar(at_least=0.81)),
    "dictionary_outliers": Figure("the same with four dimensions at +30", partial(dictionary, 4), Bar(at_least=0.81)),
    "topk_vs_l1": Figure("explained variance, top-k − L1 at equal L0", topk_vs_l1, Bar(at_least=0)),
    "topk_dead": Figure("share of top-k latents that none of 100,000 rows fires", topk_dead, Bar(at_most=0.01)),
    "step_speed": Figure("training rows/s, ours ÷ a dense step's", step_speed, Bar(at_least=2)),
}
