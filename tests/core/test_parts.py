import pytest
import torch
from torch import nn

from isthmus.core.parts import Losses, Schedule, make, options_of
from isthmus.errors import SpecError
from isthmus.spec import Part


class Toy:
    def __init__(self, size, *, weight=1.0, needed):
        if weight < 0:
            raise ValueError("weight is at least 0")
        self.size, self.weight, self.needed = size, weight, needed


MENU = {"toy": Toy}


def test_make_passes_sizes_and_options():
    toy = make(MENU, "thing", Part("toy", {"needed": 3}), 7)
    assert (toy.size, toy.weight, toy.needed) == (7, 1.0, 3)
    assert list(options_of(Toy)) == ["weight", "needed"]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Part("tpy", {}), "No thing is called 'tpy'. Did you mean 'toy'\\? Known: toy."),
        (Part("toy", {"wieght": 1}), "No option of the thing 'toy' is called 'wieght'. Did you mean 'weight'\\?"),
        (Part("toy", {"size": 1, "needed": 1}), "is called 'size'"),
        (Part("toy", {}), "The thing 'toy' needs the option 'needed'"),
        (Part("toy", {"needed": 1, "weight": -1}), "cannot be built from .*weight is at least 0"),
        (Part("toy", {"needed": 1, "weight": "much"}), "cannot be built from"),
    ],
)
def test_make_says_what_there_is(part, words):
    with pytest.raises(SpecError, match=words):
        make(MENU, "thing", part, 7)


def test_schedules_end_within_training():
    schedule = Schedule.of({"start": 1, "end": 3, "over": 0.5})
    assert [schedule.at(p) for p in (0, 0.25, 0.5, 0.9, 1)] == [1, 2, 3, 3, 3]
    assert Schedule.of(schedule) is schedule
    assert Schedule.of({"start": 4, "end": 0}).at(0.5) == 2, "down as well as up"
    assert (repr(Schedule.of(0.5)), repr(schedule)) == ("0.5", "1→3")


@pytest.mark.parametrize(
    "said",
    [
        {"start": 0},
        {"end": 0},
        {"start": 0, "end": 1, "until": 3},
        {"start": 0, "end": 1, "over": 0},
        {"start": 0, "end": 1, "over": 1.5},
    ],
)
def test_schedules_that_are_none(said):
    with pytest.raises(SpecError, match="schedule"):
        Schedule.of(said)


def test_backward_clears_what_was_there():
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    a.grad, b.grad = torch.ones(2), torch.ones(2)
    losses = Losses({"main": (a * 2 + b).sum()}, {})
    losses.backward("main", [a])
    assert a.grad.tolist() == [2, 2]
    assert b.grad.tolist() == [1, 1]


def test_backward_by_hand_comes_before_the_tape():
    a = nn.Parameter(torch.ones(2))
    seen = []
    Losses({"main": a.sum()}, {}, {"main": seen.append}).backward("main", [a])
    assert seen == [[a]]
    assert a.grad is None
