"""Sequences of several environments are kept apart, and drawn alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpc_robot.data.replay import Experience
from mpc_robot.data.sequences import SequenceReplay
from mpc_robot.data.streams import Streams


def streams(num: int, capacity: int = 1_000) -> Streams:
    make = lambda: SequenceReplay(1, vector_dim=1, capacity=capacity, rows_per_chunk=10)  # noqa: E731
    return Streams(num, make)


def fill(replay: Streams, steps: dict[int, int]) -> Streams:
    """Steps that come in turns; each observation says its environment and its number."""
    for step in range(max(steps.values())):
        for stream, count in steps.items():
            if step < count:
                before, after = (np.array([1_000.0 * stream + step + i]) for i in (0, 1))
                replay.add(stream, Experience(before, np.zeros(1), 0.0, after, False, False))
    return replay


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_sequence_is_of_one_environment_and_all_are_as_likely() -> None:
    replay = fill(streams(3), {0: 7, 1: 3, 2: 1})  # 8, 4 and 2 observations
    drawn = replay.sample(9_000, 3, rng()).vector
    assert drawn is not None and len(replay) == 14
    assert (drawn.diff(dim=1) == 1.0).all()
    begins, counts = np.unique(drawn[:, 0].numpy(), return_counts=True)
    assert begins.tolist() == [0, 1, 2, 3, 4, 5, 1_000, 1_001]
    np.testing.assert_allclose(counts / 9_000, 1 / 8, rtol=0.1)


def test_one_environment_is_drawn_from_as_a_replay_is() -> None:
    alone = SequenceReplay(1, vector_dim=1, capacity=1_000, rows_per_chunk=10)
    for step in range(30):
        before, after = np.array([float(step)]), np.array([step + 1.0])
        alone.add(Experience(before, np.zeros(1), 0.0, after, False, False))
    expected = alone.sample(5, 4, rng(3))
    found = fill(streams(1), {0: 30}).sample(5, 4, rng(3))
    for name, part in vars(expected).items():
        assert part is None or torch.equal(vars(found)[name], part)


def test_where_sequences_come_from_is_in_no_order() -> None:
    replay = fill(streams(2), {0: 20, 1: 20})
    drawn = replay.sample(50, 2, rng()).vector
    assert drawn is not None
    stream = (drawn[:, 0, 0] >= 1_000).int()
    assert stream.diff().abs().sum() > 10


def test_it_goes_on_as_it_was() -> None:
    ours, other = fill(streams(2), {0: 13, 1: 25}), streams(2)
    other.load_state_dict(ours.state_dict())
    one, same = (replay.sample(8, 3, rng(1)).vector for replay in (ours, other))
    assert one is not None and same is not None and torch.equal(one, same)
    with pytest.raises(ValueError, match="streams: expected 3, got 2"):
        streams(3).load_state_dict(ours.state_dict())


def test_too_few_observations() -> None:
    replay = fill(streams(2), {0: 2, 1: 1})
    with pytest.raises(ValueError, match="replay: expected at least 4 observations, got 3"):
        replay.sample(1, 4, rng())
    with pytest.raises(ValueError, match="streams: expected at least 1, got 0"):
        streams(0)
