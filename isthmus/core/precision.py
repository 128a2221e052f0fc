"""Fewer digits where they are quick and suffice: networks train in bfloat16 where the processor multiplies it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import torch


@cache
def _multiplies_bfloat16(kind: str) -> bool:
    """Whether products of bfloat16 are quicker here than those of float32: else they would be slower."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported()
    return kind == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def reduced(device: torch.device, training: bool) -> AbstractContextManager[None]:
    """Products and convolutions in bfloat16 within, while a network is trained, and float32 otherwise."""
    quick = training and _multiplies_bfloat16(device.type)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=quick)
