"""Our estimator for the figures that are measured in this process."""

from __future__ import annotations

from benchmarks.figures import Skip


def autoencoder() -> type:
    try:
        from isthmus import Autoencoder
    except ImportError as error:
        raise Skip(f"isthmus does not start: {error}") from None
    return Autoencoder
