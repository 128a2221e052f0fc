"""The nets and settings that the figures name, in the words of our constructor."""

from __future__ import annotations

from typing import Any


def mirrored(*widths: int, activation: str = "relu") -> dict[str, Any]:
    """``encoder`` and ``decoder`` of a dense net: the widths down and back up."""
    return {
        "encoder": {"kind": "mlp", "widths": list(widths), "activation": activation},
        "decoder": {"kind": "mlp", "widths": list(reversed(widths)), "activation": activation},
    }


#: 784-128-64-32-64-128-784 with a sigmoid output, on all rows, from a random start: as the tutorial has it.
SEED_NET = {
    "recipe": "plain",
    "latent_dim": 32,
    **mirrored(128, 64),
    "likelihood": {"kind": "gaussian", "link": "sigmoid"},
    "batch_size": 128,
    "learning_rate": 1e-3,
    "validation": 0,
    "warm_start": None,
    "detector": "likelihood",  # as little of one as the others have
    "verbose": 0,
}

#: 784-1000-500-250-30 and back, from a random start and without a linear path. The rest is ours to choose.
HINTON_SALAKHUTDINOV = {
    "recipe": "plain",
    "latent_dim": 30,
    **mirrored(1000, 500, 250, activation="silu"),
    "likelihood": {"kind": "gaussian", "link": "sigmoid"},
    "epochs": 60,
    "batch_size": 256,
    "learning_rate": 1e-3,
    "validation": 0,
    "warm_start": None,
    "verbose": 0,
}

#: PyOD's default net: 30-64-32-64-30, with the ReLU; our code is 30, since 32 would be wider than the rows.
PYOD_NET = {"recipe": "plain", "latent_dim": 30, **mirrored(64), "warm_start": None, "verbose": 0}

DEFAULTS = {"recipe": "plain", "verbose": 0}

#: The network's own score, where what is measured is not detection and nobody beside us detects.
NATS = {"detector": "likelihood"}
