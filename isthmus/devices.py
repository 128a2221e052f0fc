"""Where the arithmetic runs: the only file that says cuda, threads or seed."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import torch

from isthmus.errors import SpecError

#: Multiply-adds in one training step below which a second thread costs more than it brings.
_WORTH_A_THREAD = 20e6


def pick(device: str = "auto") -> torch.device:
    """``"auto"`` takes the GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(f"Device {device!r} cannot be used here: {error}. Say 'auto' or 'cpu'.") from error
    return chosen


@contextlib.contextmanager
def threads_for(work: float, device: torch.device) -> Iterator[None]:
    """Run with as many threads as ``work`` (multiply-adds per step) can feed: small nets are slower with more."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, min(before, int(work / _WORTH_A_THREAD))))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 numbers are much faster than those of float32 there: on processors with AMX or
    AVX-512 BF16, and on GPUs from Ampere on.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # not yet said by public names
    told = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    return device.type == "cpu" and any(one is not None and one() for one in told)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every generator inside, and leave the person's own as they were."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        if devices or torch.backends.mps.is_available():
            torch.manual_seed(seed)
        else:  # the other one writes down where it was called from for a GPU that may come, a thousand times the work
            torch.default_generator.manual_seed(seed)
        yield


def give_back() -> None:
    """Hand memory that nobody holds back to the system, where its allocator can: what training let go of lies in pieces
    between what stays, and would count beside what comes next.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # it is one of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def gpu_rng_state() -> dict[str, torch.Tensor]:
    """The GPU's generator, where there is one."""
    return {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}


def set_rng_state(state: dict[str, torch.Tensor]) -> None:
    """Put generators back to where ``state`` was taken."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
