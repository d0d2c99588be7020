"""A replay of positions against a plain list of episodes that remembers everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpc_robot.data.replay import Experience
from mpc_robot.data.searched import Opinions, PositionReplay


def held(value: float) -> Opinions:
    """Opinions that can be told apart."""
    policy = np.array([[0.25, 0.75]], np.float32)
    return Opinions(np.full((1, 2, 1), value, np.float32), policy, np.array([value]))


def live(replay: PositionReplay, lengths: list[int], ends: str = "tc", start: int = 0) -> None:
    """Episodes of so many steps, ended in turn by termination and by the clock (t, c, or -).

    The observation of the i-th position of all is i; its action is -i, its reward 10 i and its
    value 100 i. A position that nobody acted at is worth 1000 i.
    """
    at = start
    for number, length in enumerate(lengths):
        how = ends[number % len(ends)]
        for step in range(length):
            done = step == length - 1
            replay.add(
                Experience(
                    np.array([float(at)]),
                    np.full(1, np.nan),
                    10.0 * at,
                    np.array([at + 1.0]),
                    done and how == "t",
                    done and how == "c",
                ),
                np.array([-at], np.float32),
                held(100.0 * at),
                1000.0 * (at + 1),
            )
            at += 1
        at += how != "-"


def new(capacity: int = 100) -> PositionReplay:
    return PositionReplay(1, 1, 2, capacity)


def test_a_window_follows_an_episode_to_its_end() -> None:
    replay = new()
    live(replay, [3, 3, 2], "tc-")
    assert replay.observations[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    window = replay.windows(np.array([0, 1, 4, 6, 8]), 3)
    assert window.observation[..., 0].tolist() == [
        [0, 1, 2, 3],
        [1, 2, 3, 3],
        [4, 5, 6, 7],
        [6, 7, 7, 7],
        [8, 9, 10, 10],
    ]
    assert window.left.tolist() == [3, 2, 3, 1, 2]
    assert window.terminated.tolist() == [True, True, False, False, False]
    assert window.reward[1].tolist() == [10.0, 20.0, 0.0, 0.0]
    assert window.action[1, :, 0].tolist() == [-1.0, -2.0, 0.0, 0.0]
    assert window.opinions.value[1].tolist() == [100.0, 200.0, 0.0, 0.0]
    assert window.opinions.value[3].tolist() == [600.0, 7000.0, 7000.0, 7000.0]
    assert window.opinions.policy[3].tolist() == [[0.25, 0.75], *[[0.0, 0.0]] * 3]
    assert window.opinions.value[4].tolist() == [800.0, 900.0, 10_000.0, 10_000.0]


def test_only_positions_that_somebody_acted_at_are_drawn_in_proportion_to_their_priority() -> None:
    replay, rng = new(), np.random.default_rng(0)
    live(replay, [3, 2], "t-")
    replay.prioritise(np.array([0, 1, 2, 4, 5]), np.array([1.0, 2.0, 3.0, 4.0, 10.0]))
    rows, probability = replay.draw(20_000, rng)
    expected = np.array([1, 2, 3, 0, 4, 10, 0]) / 20
    np.testing.assert_allclose(np.bincount(rows, minlength=7) / 20_000, expected, atol=0.015)
    np.testing.assert_allclose(probability, expected[rows])


def test_what_is_new_is_drawn_as_often_as_what_is_worst_known() -> None:
    replay = new()
    live(replay, [3], "-")
    replay.prioritise(np.array([0, 1, 2]), np.array([0.5, 4.0, 1.0]))
    live(replay, [1], "-", start=3)
    _, probability = replay.draw(500, np.random.default_rng(0))
    assert set(probability) == {0.5 / 9.5, 4.0 / 9.5, 1.0 / 9.5}


def test_the_oldest_are_overwritten_and_windows_do_not_run_into_them() -> None:
    replay = new(capacity=8)
    live(replay, [3, 3, 3], "tc-")
    assert len(replay) == 8
    assert sorted(replay.observations[:, 0]) == [4, 5, 6, 7, 8, 9, 10, 11]
    rows = np.flatnonzero(np.isin(replay.observations[:, 0], [6, 9, 10]))
    seen = replay.windows(rows, 4).observation[..., 0].tolist()
    assert sorted(seen) == [[6, 7, 7, 7, 7], [9, 10, 11, 11, 11], [10, 11, 11, 11, 11]]


def test_opinions_are_revised_but_not_of_what_cannot_be_otherwise() -> None:
    """3 terminated, nobody acted at 5: it is worth something, but there is nothing to do."""
    replay = new()
    live(replay, [3, 1], "t-")
    anew = Opinions(
        np.full((3, 2, 1), 7.0, np.float32), np.full((3, 2), 0.5, np.float32), np.full(3, -1.0)
    )
    replay.revise(np.array([1, 3, 5]), anew)
    assert replay.going.tolist() == [0, 1, 2, 4, 5]
    after = replay.opinions(np.arange(6))
    assert after.value.tolist() == [0.0, -1.0, 200.0, 0.0, 400.0, -1.0]
    assert after.policy[[1, 3, 5]].tolist() == [[0.5, 0.5], [0.0, 0.0], [0.0, 0.0]]
    assert after.candidates[[1, 3], 0, 0].tolist() == [7.0, 0.0]


@pytest.mark.parametrize("lengths", [[3, 2], [3, 4, 3, 2]])
def test_what_was_saved_goes_on_the_same(lengths: list[int]) -> None:
    replay, restored = new(capacity=9), new(capacity=9)
    live(replay, lengths, "tc--")
    restored.load_state_dict(replay.state_dict())
    for each in (replay, restored):
        live(each, [2], "t", start=50)
    one, other = replay.state_dict(), restored.state_dict()
    for name, column in one.items():
        np.testing.assert_array_equal(column, other[name])
    drawn = [each.draw(20, np.random.default_rng(1))[0].tolist() for each in (replay, restored)]
    assert drawn[0] == drawn[1]


def test_a_full_replay_goes_on_in_a_larger_one() -> None:
    replay, larger = new(capacity=8), new(capacity=20)
    live(replay, [3, 3, 3], "tc-")
    larger.load_state_dict(replay.state_dict())
    live(larger, [2], "t", start=11)
    assert larger.observations[:, 0].tolist() == list(range(4, 14))
    assert larger.windows(np.array([4]), 5).observation[0, :, 0].tolist() == [8, 9, 10, 11, 12, 13]


@pytest.mark.parametrize("priority", [np.nan, np.inf, 0.0, -1.0])
def test_a_priority_that_makes_no_sense_is_refused(priority: float) -> None:
    replay = new()
    live(replay, [3])
    with pytest.raises(ValueError, match="priority: expected positive and finite numbers"):
        replay.prioritise(np.array([0, 1]), np.array([1.0, priority]))
    assert replay.draw(9, np.random.default_rng(0))[0].max() == 2


def test_what_does_not_fit_is_refused() -> None:
    replay: Any = new()
    with pytest.raises(ValueError, match="replay: expected at least one step to draw from"):
        replay.draw(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="capacity: expected at least 2, got 1"):
        new(capacity=1)
    live(replay, [3], "t")
    with pytest.raises(ValueError, match=r"replay observation: expected at most 2 rows"):
        new(capacity=2).load_state_dict(replay.state_dict())
    with pytest.raises(ValueError, match=r"replay candidates: expected .*\(3, 1\), got"):
        PositionReplay(1, 1, 3, 100).load_state_dict(replay.state_dict())
