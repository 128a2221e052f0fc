import numpy as np
import pytest

from isthmus.data.windows import Recorded, Windows, period

G = np.random.default_rng(0)


def recorded(*lengths, channels=2):
    pieces = tuple(G.normal(size=(n, channels)) for n in lengths)
    piece = np.repeat(np.arange(len(lengths)), lengths)
    return Recorded(pieces, piece, np.concatenate([np.arange(n, dtype=float) for n in lengths]))


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (7, 1), (10, 3), (10, 10), (31, 5), (40, 40)])
def test_windows_and_back_is_the_recording(length, stride):
    brought = recorded(40, 31, 57, 5)
    windows = Windows.cut(brought, length, stride)
    back = windows.join(np.asarray(windows))
    for one, two in zip(brought.pieces, back, strict=True):
        assert np.allclose(one, two, atol=1e-12)
    flat = brought.at_rows(back)
    assert np.allclose(flat, np.concatenate(brought.pieces), atol=1e-12)


def test_windows_lie_where_they_say_and_the_end_is_covered():
    (piece,) = recorded(23).pieces
    windows = Windows.cut(recorded(23), 10, 4)
    assert windows.begins.tolist() == [0, 4, 8, 12, 13]  # 12 + 10 is one short of 23
    assert np.asarray(windows).shape == (5, 10, 2)
    assert np.array_equal(np.asarray(windows[1:3])[1], windows.flat[8:18])
    assert windows.stride == 1
    assert [c.min() for c in windows.cover()] == [1]
    assert len(piece) == 23


def test_what_windows_say_is_averaged_where_they_overlap():
    windows = Windows.cut(recorded(5, channels=1), 3, 1)
    said = np.repeat(np.array([1.0, 2.0, 6.0])[:, None], 3, axis=1)
    assert windows.join(said)[0].tolist() == [1, 1.5, 3, 4, 6]
    assert windows.cover()[0].tolist() == [1, 2, 3, 2, 1]
    weights = np.ones_like(said)
    weights[1] = 0
    weighed = windows.join(said, weights)[0]
    assert weighed.tolist() == [1, 1, 3.5, 6, 6]
    weights[0, 0] = 0
    assert np.isnan(windows.join(said, weights)[0][0])


def test_a_piece_shorter_than_a_window_is_filled_with_what_is_missing():
    windows = Windows.cut(recorded(3, 12), 8, 4)
    first = np.asarray(windows)[0]
    assert np.isfinite(first[:3]).all()
    assert np.isnan(first[3:]).all()
    assert [len(piece) for piece in windows.join(np.asarray(windows))] == [3, 12]


def test_steps_are_those_that_windows_hold_each_once():
    brought = recorded(30)
    windows = Windows.cut(brought, 5, 5)
    assert np.array_equal(windows[[1, 3]].steps(), np.concatenate([brought.pieces[0][5:10], brought.pieces[0][15:20]]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lengths", [(2000,), (300, 900, 40, 800), (120,) * 20])
def test_held_out_windows_share_no_step_with_those_to_fit(lengths, seed):
    windows = Windows.cut(recorded(*lengths), 32, 3)
    kept, held = windows.hold_out(len(windows) // 10, np.random.default_rng(seed))
    fitted, out = np.zeros(len(windows.flat), bool), np.zeros(len(windows.flat), bool)
    for which, steps in ((kept, fitted), (held, out)):
        for begin in windows.begins[which]:
            steps[begin : begin + 32] = True
    assert not (fitted & out).any()
    assert 0.07 * len(windows) <= len(held) <= 0.13 * len(windows)
    assert len(kept) > 0.5 * len(windows)
    again, _ = windows.hold_out(len(windows) // 10, np.random.default_rng(seed))
    assert np.array_equal(kept, again)


def test_rows_between_steps_take_from_both():
    between = Recorded((np.arange(4.0)[:, None],), np.zeros(3, int), np.array([0.0, 1.25, 3.0]))
    assert between.at_rows([np.array([0.0, 10, 20, 30])]).tolist() == [0, 12.5, 30]


@pytest.mark.parametrize("length", [12, 24, 50, 168])
def test_the_period_is_found_under_noise_and_a_trend(length):
    t = np.arange(3000)
    wave = np.sin(2 * np.pi * t / length) + 0.4 * np.sin(4 * np.pi * t / length + 1)
    x = np.stack([wave, -2 * wave], axis=1) + 0.5 * G.normal(size=(3000, 2)) + 0.01 * t[:, None]
    x[100:120] = np.nan
    assert period([x], 500) == pytest.approx(length, abs=1, rel=0.02)


def test_noise_has_no_period():
    assert period([G.normal(size=(3000, 1))], 500) is None
    assert period([np.ones((3000, 1))], 500) is None
