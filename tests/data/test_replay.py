"""The replay buffer against a plain deque."""

import dataclasses
import re
from collections import deque
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_robot.data.replay import Batch, Experience, ReplayBuffer

COLUMNS = ("observation", "action", "reward", "next_observation", "terminated", "truncated")


def experience(i: int) -> Experience:
    """The i-th step: every number in it tells which one it is."""
    return Experience(
        observation=np.array([i, i + 0.25]),
        action=np.array([-float(i)]),
        reward=10.0 * i,
        next_observation=np.array([i + 1.0, i + 1.25]),
        terminated=i % 3 == 0,
        truncated=i % 5 == 0,
    )


def filled(capacity: int, steps: range) -> ReplayBuffer:
    buffer = ReplayBuffer(2, 1, capacity)
    for i in steps:
        buffer.add(experience(i))
    return buffer


def assert_holds(buffer: ReplayBuffer, steps: Any) -> None:
    expected = [experience(i) for i in steps]
    assert len(buffer) == len(expected)
    held = buffer.all()
    for name in COLUMNS:
        column = getattr(held, name)
        assert len(column) == len(expected)
        for row, step in zip(column, expected, strict=True):
            np.testing.assert_array_equal(row, getattr(step, name))


@settings(max_examples=50, deadline=None)
@given(capacity=st.integers(1, 40), steps=st.integers(0, 100))
def test_it_is_a_deque(capacity: int, steps: int) -> None:
    assert_holds(filled(capacity, range(steps)), deque(range(steps), maxlen=capacity))


@pytest.mark.parametrize("capacity", [1023, 1024, 1025, 1500, 2048, 5000])
@pytest.mark.parametrize("steps", [1023, 1024, 1025, 2047, 2049, 3500])
def test_it_is_a_deque_where_its_storage_grows(capacity: int, steps: int) -> None:
    assert_holds(filled(capacity, range(steps)), deque(range(steps), maxlen=capacity))


@settings(max_examples=50, deadline=None)
@given(capacity=st.integers(1, 30), before=st.integers(0, 70), after=st.integers(0, 70))
def test_a_restored_buffer_goes_on_as_the_saved_one(capacity: int, before: int, after: int) -> None:
    restored = ReplayBuffer(2, 1, capacity)
    restored.load_state_dict(filled(capacity, range(before)).state_dict())
    assert_holds(restored, deque(range(before), maxlen=capacity))
    for i in range(before, before + after):
        restored.add(experience(i))
    assert_holds(restored, deque(range(before + after), maxlen=capacity))


def test_restoring_replaces_what_was_there() -> None:
    buffer = filled(7, range(100, 120))
    buffer.load_state_dict(filled(7, range(3)).state_dict())
    assert_holds(buffer, range(3))


def test_more_steps_than_fit_leave_the_newest() -> None:
    """A checkpoint of a buffer that was larger: it forgets as it would have by itself."""
    small = ReplayBuffer(2, 1, capacity=4)
    small.load_state_dict(filled(10, range(10)).state_dict())
    assert_holds(small, range(6, 10))
    small.add(experience(10))
    assert_holds(small, range(7, 11))


def test_copies_do_not_change_the_buffer() -> None:
    buffer = filled(4, range(6))
    buffer.all().observation[:] = np.nan
    state = buffer.state_dict()
    restored = ReplayBuffer(2, 1, capacity=4)
    restored.load_state_dict(state)
    state["reward"][:] = np.nan
    assert_holds(buffer, range(2, 6))
    assert_holds(restored, range(2, 6))


def test_dtypes_hold_flags_and_doubles() -> None:
    state = filled(4, range(6)).state_dict()
    assert {state[name].dtype for name in ("terminated", "truncated")} == {np.dtype(bool)}
    assert {state[name].dtype for name in COLUMNS[:4]} == {np.dtype(np.float64)}


def test_an_empty_buffer_has_columns() -> None:
    held = ReplayBuffer(3, 2).all()
    assert held.observation.shape == (0, 3) and held.action.shape == (0, 2)


@pytest.mark.parametrize("capacity", [0, -1])
def test_no_capacity(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"capacity: expected at least 1, got {capacity}"):
        ReplayBuffer(1, 1, capacity)


@pytest.mark.parametrize(
    ("name", "value", "got"),
    [
        ("observation", 3.0, "()"),
        ("action", np.zeros((1, 1)), "(1, 1)"),
        ("reward", np.zeros(1), "(1,)"),
        ("next_observation", np.zeros(1), "(1,)"),
        ("terminated", [False, True], "(2,)"),
    ],
)
def test_a_step_of_another_shape_is_not_broadcast(name: str, value: Any, got: str) -> None:
    buffer = filled(5, range(3))
    with pytest.raises(ValueError, match=rf"replay {name}: expected .*, got {re.escape(got)}"):
        buffer.add(dataclasses.replace(experience(3), **{name: value}))
    assert_holds(buffer, range(3))


def test_a_state_of_another_task_changes_nothing() -> None:
    buffer = filled(5, range(3))
    other = ReplayBuffer(2, 4)
    with pytest.raises(ValueError, match=r"replay action: expected rows of shape \(1,\), got \(4"):
        buffer.load_state_dict(other.state_dict())
    assert_holds(buffer, range(3))


def rows_of(buffer: ReplayBuffer, num: int, seed: int = 0) -> Batch:
    return buffer.sample(num, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("capacity", "steps"), [(50, 20), (50, 50), (50, 137), (2000, 1500)])
def test_samples_are_whole_steps_of_those_held(capacity: int, steps: int) -> None:
    """Also after the ring has turned."""
    batch = rows_of(filled(capacity, range(steps)), 5000)
    numbers = batch.observation[:, 0].long().tolist()
    assert set(numbers) <= set(range(max(0, steps - capacity), steps))
    expected = [experience(i) for i in numbers]
    for name in ("observation", "action", "reward", "next_observation"):
        found = np.array([getattr(step, name) for step in expected], dtype=np.float32)
        np.testing.assert_array_equal(getattr(batch, name).numpy(), found)
    assert {column.dtype for column in vars(batch).values()} == {torch.float32}


def test_only_termination_stops_the_future() -> None:
    batch = rows_of(filled(100, range(60)), 2000)
    numbers = batch.observation[:, 0].long()
    assert torch.equal(batch.continues, (numbers % 3 != 0).float())
    truncated = (numbers % 5 == 0) & (numbers % 3 != 0)
    assert truncated.any() and (batch.continues[truncated] == 1).all()


def test_every_step_is_drawn_as_often() -> None:
    drawn = rows_of(filled(40, range(95)), 40_000).observation[:, 0].numpy()
    numbers, counts = np.unique(drawn, return_counts=True)
    assert numbers.tolist() == list(range(55, 95))
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_the_generator_decides_what_is_drawn() -> None:
    buffer = filled(40, range(95))
    first, again, other = (rows_of(buffer, 30, seed).reward for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
