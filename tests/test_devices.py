import os
import platform
from pathlib import Path

import numpy as np
import pytest
import torch

from isthmus import devices
from isthmus.errors import SpecError


def test_pick():
    assert devices.pick("cpu").type == "cpu"
    assert devices.pick().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_devices_that_are_not_there(name):
    with pytest.raises(SpecError, match=r"cannot be used here.*Say 'auto' or 'cpu'"):
        devices.pick(name)


def test_seeds_stay_inside():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with devices.seeded(5):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    with devices.seeded(5):
        assert torch.equal(torch.rand(3), first)
    with pytest.raises(KeyError), devices.seeded(5):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), state)


def test_threads_follow_the_work_and_are_given_back():
    before = torch.get_num_threads()
    with devices.threads_for(1.0, torch.device("cpu")):
        assert torch.get_num_threads() == 1
    with devices.threads_for(1e15, torch.device("cpu")):
        assert torch.get_num_threads() == before
    with pytest.raises(KeyError), devices.threads_for(1.0, torch.device("cpu")):
        raise KeyError
    assert torch.get_num_threads() == before


def test_generators_go_back_to_where_they_were():
    state = {"cpu": torch.get_rng_state(), **devices.gpu_rng_state()}
    first = torch.rand(3)
    devices.set_rng_state(state)
    assert torch.equal(torch.rand(3), first)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is another one")
def test_what_nobody_holds_is_given_back():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    kept, gone = [], []
    for _ in range(1500):  # what stays between what goes keeps its place taken
        gone.append(np.ones(12_000))
        kept.append(np.ones(200))
    held = 96_000 * len(gone)
    del gone
    before = resident()
    devices.give_back()
    assert before - resident() > held / 2
    assert len(kept) == 1500
