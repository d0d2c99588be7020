"""The replay of sequences against plain lists of episodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_robot.data.replay import Experience
from mpc_robot.data.sequences import SequenceReplay, Sequences, require_capacity
from mpc_robot.training import checkpoint

ABOUT = {"task": "any", "agent": "any"}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vector(i: int) -> np.ndarray:
    """The i-th observation ever made."""
    return np.array([i, i + 0.5])


def episodes(lengths: list[int]) -> Iterator[Experience]:
    """Steps of episodes, the odd ones terminated and the even ones truncated."""
    at = 0
    for number, length in enumerate(lengths):
        for step in range(length):
            last = step == length - 1
            yield Experience(
                vector(at),
                np.array([-float(at)]),
                10.0 * at,
                vector(at + 1),
                last and number % 2 == 1,
                last and number % 2 == 0,
            )
            at += 1
        at += 1


def rows(lengths: list[int]) -> list[tuple[float, float, float, bool, bool, bool]]:
    """What follows: number of observation, action, reward, is_first, terminated, truncated."""
    expected, at = [], 0
    for number, length in enumerate(lengths):
        expected.append((float(at), 0.0, 0.0, True, False, False))
        for step in range(length):
            last, before = step == length - 1, at + step
            ends = (last and number % 2 == 1, last and number % 2 == 0)
            expected.append((before + 1.0, -float(before), 10.0 * before, False, *ends))
        at += length + 1
    return expected


def filled(lengths: list[int], capacity: int = 1000, chunk: int = 10) -> SequenceReplay:
    replay = SequenceReplay(1, vector_dim=2, capacity=capacity, rows_per_chunk=chunk)
    for step in episodes(lengths):
        replay.add(step)
    return replay


def drawn(batch: Sequences) -> list[list[tuple[Any, ...]]]:
    """Each sequence as a list of rows."""
    assert batch.vector is not None and batch.frame is None
    columns = (
        batch.vector[..., 0],
        batch.action[..., 0],
        batch.reward,
        batch.is_first,
        batch.terminated,
        batch.truncated,
    )
    return [
        list(zip(*(column[b].tolist() for column in columns), strict=True))
        for b in range(len(batch.reward))
    ]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    chunks=st.integers(1, 6),
    chunk=st.integers(1, 7),
    length=st.integers(1, 5),
)
def test_sequences_are_what_happened(
    lengths: list[int], chunks: int, chunk: int, length: int
) -> None:
    """As long as nothing is forgotten; else they are of the newest, less a chunk at most."""
    replay, everything = filled(lengths, chunks * chunk, chunk), rows(lengths)
    held = everything[len(everything) - len(replay) :]
    assert min(chunks * chunk - chunk, len(everything)) <= len(replay) <= chunks * chunk
    if len(held) < length:
        with pytest.raises(ValueError, match=f"expected at least {length} observations, got"):
            replay.sample(1, length, generator())
        return
    windows = [held[i : i + length] for i in range(len(held) - length + 1)]
    firsts = [[(*w[0][:3], True, *w[0][4:]), *w[1:]] for w in windows]
    for sequence in drawn(replay.sample(20, length, generator())):
        assert sequence in firsts
    begun = [any(row[3] for row in held[max(i - length + 1, 0) : i + 1]) for i in range(len(held))]
    went_on = [not row[4] for row in held]
    early = [i for i, one in enumerate(begun) if one and went_on[i]]
    assert replay.early(length).tolist() == (early or np.flatnonzero(went_on).tolist())


def test_every_sequence_is_equally_likely() -> None:
    batch = filled([4, 5, 6]).sample(6000, 5, generator())
    assert batch.vector is not None
    counts = np.bincount(batch.vector[:, 0, 0].int().numpy(), minlength=14)
    assert len(counts) == 18 - 5 + 1
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_same_seed_same_sequences() -> None:
    replay = filled([30, 30])
    one, same, other = (drawn(replay.sample(5, 7, generator(seed))) for seed in (1, 1, 2))
    assert one == same != other


def frame(i: int) -> np.ndarray:
    return np.full((4, 4, 3), i % 256, np.uint8)


def test_an_episode_that_was_left_is_not_joined_to_the_next() -> None:
    """Somebody reset the environment before the episode ended."""
    replay = SequenceReplay(1, vector_dim=2, capacity=20, rows_per_chunk=10)
    for first in (0, 100):
        for i in range(first, first + 3):
            replay.add(Experience(vector(i), np.ones(1), 1.0, vector(i + 1), False, False))
    (held,) = drawn(replay.sample(1, 8, generator()))
    assert [row[0] for row in held] == [0, 1, 2, 3, 100, 101, 102, 103]
    assert [row[3] for row in held] == [True, False, False, False, True, False, False, False]
    assert not any(row[4] or row[5] for row in held)


@pytest.mark.parametrize(
    ("capacity", "length", "fits"),
    [(1000, 1, True), (1000, 2, False), (2000, 1001, True), (2000, 1002, False), (2500, 2, False)],
)
def test_a_full_replay_must_hold_a_sequence(capacity: int, length: int, fits: bool) -> None:
    """Just after it has forgotten a chunk, too."""
    if fits:
        require_capacity(capacity, length)
    else:
        with pytest.raises(ValueError, match="capacity: expected a multiple of 1000, at least"):
            require_capacity(capacity, length)
    if capacity % 1000 == 0:
        replay = SequenceReplay(1, vector_dim=1, capacity=capacity)
        for i in range(capacity):
            replay.add(Experience(np.full(1, i), np.zeros(1), 0.0, np.full(1, i + 1), False, False))
        assert (len(replay) >= length) == fits


def test_frames_and_vectors_together() -> None:
    replay = SequenceReplay(1, frame_shape=(4, 4, 3), vector_dim=2, capacity=20, rows_per_chunk=10)
    for i in range(9):
        before, after = ({"frame": frame(j), "vector": vector(j)} for j in (i, i + 1))
        replay.add(Experience(before, np.zeros(1), 0.0, after, False, False))  # type: ignore[arg-type]
    batch = replay.sample(8, 4, generator())
    assert batch.frame is not None and batch.vector is not None
    assert (batch.frame.dtype, batch.frame.shape) == (torch.uint8, (8, 4, 4, 4, 3))
    assert (batch.frame[..., 0, 0, 0] == batch.vector[..., 0]).all()


def test_a_hundred_thousand_frames_take_less_than_one_and_a_half_gib() -> None:
    replay = SequenceReplay(6, frame_shape=(64, 64, 3), capacity=100_000)
    assert 100_000 * 64 * 64 * 3 < replay.nbytes < 1.5 * 2**30
    step = Experience(
        np.zeros((64, 64, 3), np.uint8),
        np.zeros(6),
        0.0,
        np.zeros((64, 64, 3), np.uint8),
        False,
        False,
    )
    for _ in range(5):
        replay.add(step)
    assert len(replay) == 6, "each frame is held once"


@settings(max_examples=30, deadline=None)
@given(
    before=st.lists(st.integers(1, 9), max_size=8),
    after=st.lists(st.integers(1, 9), max_size=8),
    capacity=st.sampled_from([10, 30, 1000]),
)
def test_a_restored_replay_goes_on_as_the_saved_one(
    before: list[int], after: list[int], capacity: int
) -> None:
    steps = list(episodes(before + after))
    saved, restored = filled(before, capacity), filled([3], capacity)
    restored.load_state_dict(saved.state_dict())
    assert len(restored) == len(saved)
    for step in steps[sum(before) :]:
        saved.add(step)
        restored.add(step)
    assert len(restored) == len(saved)
    if len(saved):
        ours, theirs = (r.sample(30, 1, generator()) for r in (restored, saved))
        assert drawn(ours) == drawn(theirs)


def test_full_chunks_are_saved_once_and_come_back(tmp_path: Path) -> None:
    """A file that is not written again keeps its inode."""
    replay, written = filled([], 30), dict[str, int]()
    for i, step in enumerate(episodes([9] * 8)):
        replay.add(step)
        if (i + 1) % 9 == 0:
            checkpoint.save(tmp_path, replay.state_dict(), ABOUT, step=i)
            files = {p.name: p.stat().st_ino for p in (tmp_path / "chunks").iterdir()}
            assert len(files) == len(replay) // 10
            assert all(written[name] == files[name] for name in files.keys() & written.keys())
            written |= files
    assert len(written) == 8
    restored = filled([], 30)
    restored.load_state_dict(checkpoint.load(tmp_path, ABOUT))
    ours, theirs = (drawn(r.sample(50, 4, generator())) for r in (restored, replay))
    assert ours == theirs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "frame_shape, vector_dim: expected at least one of them"),
        ({"vector_dim": 2, "capacity": 15, "rows_per_chunk": 10}, "capacity: .* multiple of 10"),
        ({"vector_dim": 2, "capacity": 0}, "capacity: expected a multiple of 1000 rows, got 0"),
    ],
)
def test_what_makes_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceReplay(1, **arguments)


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (np.zeros(3), np.zeros(1), r"replay vector: expected shape \(2,\), got \(3,\)"),
        (np.zeros(2), np.zeros(2), r"replay action: expected shape \(1,\), got \(2,\)"),
        (frame(0), np.zeros(1), "replay observation: expected 'vector'|got 'frame'"),
        ({"vector": np.zeros(2), "frame": frame(0)}, np.zeros(1), "got 'frame and vector'"),
    ],
)
def test_steps_that_do_not_fit_change_nothing(
    observation: Any, action: np.ndarray, message: str
) -> None:
    replay = filled([3])
    with pytest.raises(ValueError, match=message):
        replay.add(Experience(observation, action, 0.0, observation, False, False))
    assert len(replay) == 4


def test_a_state_of_another_shape_is_refused() -> None:
    other = SequenceReplay(1, vector_dim=3, capacity=1000, rows_per_chunk=10)
    with pytest.raises(ValueError, match=r"replay vector: expected shape \(3,\), got \(2,\)"):
        other.load_state_dict(filled([3]).state_dict())


def test_the_end_of_sequences_is_the_end_of_each_part() -> None:
    flags = torch.zeros(2, 5, dtype=torch.bool)
    reward = torch.arange(10.0).view(2, 5)
    seen = Sequences(None, reward[..., None], reward[..., None], reward, flags, flags, flags)
    last = seen.last(2)
    assert last.frame is None and last.vector is not None
    assert last.reward.tolist() == last.vector[..., 0].tolist() == [[3.0, 4.0], [8.0, 9.0]]
    assert last.is_first.shape == last.truncated.shape == (2, 2)
    assert seen.last(7).reward.tolist() == reward.tolist()


def test_a_replay_that_wrapped_around_holds_the_same_after_its_own_state() -> None:
    ours = filled([44], capacity=30)
    before = drawn(ours.sequences(np.array([0]), len(ours)))
    ours.load_state_dict(ours.state_dict())
    assert drawn(ours.sequences(np.array([0]), len(ours))) == before
