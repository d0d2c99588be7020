"""Recordings of robots as training data: what was done, in steps of a task's control period."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.data.replay import Experience, ReplayBuffer
from mpc_robot.envs import Task
from mpc_robot.envs.base import sensed_state
from mpc_robot.errors import require
from mpc_robot.runtime.joints import in_order, joint_names
from mpc_robot.runtime.mcap_reader import Recording, Signal, read_recording
from mpc_robot.runtime.sensing import Sensing

Floats = npt.NDArray[np.float64]
Spans = list[tuple[float, float]]
_ROUNDING = 1e-6
"""By what share of a period stamps may be early."""


def replay(
    path: Path,
    task: Task,
    buffer: ReplayBuffer,
    *,
    gap: float | None = None,
    actuation_delay: float = 0.0,
    commands: str = "/commands",
) -> int:
    """Add all steps of a recording, ours or a bag of ROS 2 (MCAP), to a buffer.

    A bag needs ``/joint_states`` and, as Float64MultiArray, commands; see :func:`episodes`.

    Returns:
        How many these were.

    Raises:
        ValueError: if the file is no recording, or none of the task.
    """
    steps = 0
    recording = read_recording(path, commands)
    for episode in episodes(
        recording, task, gap=gap, actuation_delay=actuation_delay, commands=commands
    ):
        for step in _steps(episode):
            buffer.add(step)
            steps += 1
    return steps


def episodes(
    recording: Recording,
    task: Task,
    *,
    gap: float | None = None,
    actuation_delay: float = 0.0,
    commands: str = "/commands",
) -> list[Experience]:
    """What happened, in steps of the task's control period, a batch per episode.

    States are interpolated at the beginning of each period: on their manifold where they are
    positions, linearly where they are velocities, activations, or observations without physics
    behind them. The action is the command in force; of a period in which it changed, its mean over
    time. Reward and termination are what the task says of these. An episode ends where the task
    terminates it, and else is truncated: where states or commands are missing, the plant began
    anew, or safety tripped.

    Args:
        recording: states are its ``/physics_state``; without it, its ``/observation``; without
            that, its ``/joint_states``.
        task: whose robot was recorded.
        gap: time without a state or command from which one is missing, s; by default 1.5 control
            periods.
        actuation_delay: time from a command's stamp to its effect, s.
        commands: the topic of commands.

    Raises:
        ValueError: if there is no such topic, its numbers are not of the task's robot, or the task
            does not give reward and termination.
    """
    require(task.servo is None, "task", "one whose actions are commands", task.name)
    require(actuation_delay >= 0, "actuation_delay", "not negative", actuation_delay)
    sensing = Sensing(task)
    period = sensing.spec.dt
    gap = 1.5 * period if gap is None else gap
    require(gap >= period, "gap", f"at least a control period, {period:g} s", gap)
    states, physical = _states(recording, sensing)
    sent = _sound(_signal(recording, commands, sensing.spec.action_dim))
    sent = replace(sent, times=sent.times + actuation_delay)
    trips = [event.stamp for event in recording.events if event.name == "trip"]
    found = []
    for span in _spans_of_all(states, sent, trips, gap):
        grid = _grid(span, period)
        if len(grid) > 1:
            observations = _observations(sensing, states, physical, grid)
            found += _rollouts(task, observations, _means(sent, grid))
    return found


def _steps(episode: Experience) -> Iterable[Experience]:
    """An episode step by step."""
    columns = {name: getattr(episode, name) for name in Experience.__dataclass_fields__}
    for k in range(len(episode.observation)):
        yield Experience(**{name: column[k] for name, column in columns.items()})


# What the recording says.


def _signal(recording: Recording, topic: str, size: int) -> Signal:
    """The messages of a topic, which must have ``size`` numbers."""
    known = ", ".join(recording.signals) or "none"
    require(topic in recording.signals, "recording", f"messages on {topic}", known)
    signal = recording.signals[topic]
    got = signal.values.shape[1]
    require(got == size, f"recording {topic}", f"{size} numbers, as the task has", got)
    return signal


def _sound(signal: Signal) -> Signal:
    """The messages that are finite and not out of order; the others count as missing."""
    times, values = signal.times, signal.values
    latest = np.maximum.accumulate(np.append(-np.inf, times))[:-1]
    sound = np.isfinite(values).all(axis=1) & (times > latest)
    return replace(signal, times=times[sound], numbers=signal.numbers[sound], values=values[sound])


def _states(recording: Recording, sensing: Sensing) -> tuple[Signal, bool]:
    """Physics states ``[N, S]`` and True, or observations ``[N, D]`` and False."""
    if sensing.model is not None and sensing.task.observe is not None:
        if "/physics_state" in recording.signals:
            return _sound(_signal(recording, "/physics_state", sensing.physics_dim)), True
        if "/joint_states" in recording.signals and "/observation" not in recording.signals:
            return _physics(sensing.model, _sound(recording.signals["/joint_states"])), True
    return _sound(_signal(recording, "/observation", sensing.spec.observation_dim)), False


def _physics(model: mujoco.MjModel, joints: Signal) -> Signal:
    """The physics states ``[N, S]`` that joint states tell of; what else there is, as it loads."""
    order = in_order("/joint_states.name", joints.names, joint_names(model))
    count, got = len(joints.names), joints.values.shape[1]
    require(got == 2 * count, "/joint_states", f"{count} positions and velocities", got)
    qpos, qvel = joints.values[:, order], joints.values[:, count + order]
    physics = [sensed_state(model, *row) for row in zip(qpos, qvel, strict=True)]
    return replace(joints, values=np.array(physics).reshape(len(qpos), -1))


# When it says enough.


def _spans_of_all(states: Signal, commands: Signal, trips: list[float], gap: float) -> Spans:
    """The times, s, through which states and commands are known and nothing tripped."""
    lost = np.diff(commands.numbers) > 1
    known = _spans(commands.times, gap, lost)
    seen = _spans(states.times, gap, np.diff(states.numbers) < 0)
    untripped = list(itertools.pairwise([-np.inf, *sorted(trips), np.inf]))
    return _overlaps(_overlaps(seen, known), untripped)


def _spans(times: Floats, gap: float, broken: npt.NDArray[np.bool_]) -> Spans:
    """From where to where messages follow on one another: at most ``gap`` apart, not ``broken``."""
    if len(times) == 0:
        return []
    ends = np.flatnonzero((np.diff(times) > gap) | broken)
    first, last = np.append(0, ends + 1), np.append(ends, len(times) - 1)
    return list(zip(times[first].tolist(), times[last].tolist(), strict=True))


def _overlaps(some: Spans, others: Spans) -> Spans:
    """Where both are."""
    pairs = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return [(start, end) for start, end in pairs if start < end]


def _grid(span: tuple[float, float], period: float) -> Floats:
    """The beginnings of all periods that fit in, and the end of the last ``[K + 1]``."""
    start, end = span
    periods = int((end - start) / period + _ROUNDING)
    return start + period * np.arange(periods + 1, dtype=np.float64)


# What it comes to at the beginnings of periods.


def _observations(sensing: Sensing, states: Signal, physical: bool, grid: Floats) -> Floats:
    """The observations ``[K + 1, D]`` at times that lie between those of states."""
    before = np.searchsorted(states.times, grid, side="right") - 1
    before = np.clip(before, 0, len(states.times) - 2)
    elapsed = grid - states.times[before]
    share = np.clip(elapsed / (states.times[before + 1] - states.times[before]), 0.0, 1.0)
    one, other = states.values[before], states.values[before + 1]
    mixed: Floats = one + share[:, None] * (other - one)
    if not physical or sensing.model is None:
        return mixed
    moved = _on_manifold(sensing.model, one, other, share, mixed)
    return np.array([sensing.observe(state) for state in moved])


def _on_manifold(
    model: mujoco.MjModel, one: Floats, other: Floats, share: Floats, mixed: Floats
) -> Floats:
    """Physics states ``[K, S]``: ``mixed`` but for quaternions, and goals, which jump."""
    positions = slice(1, 1 + model.nq)
    moving = 1 + model.nq + model.nv + model.na
    nearer = np.where(share[:, None] < 0.5, one, other)
    states = np.concatenate([mixed[:, :moving], nearer[:, moving:]], axis=1)
    velocity = np.empty(model.nv)
    for k, part in enumerate(share):
        qpos = one[k, positions].copy()
        mujoco.mj_differentiatePos(model, velocity, 1.0, qpos, other[k, positions])
        mujoco.mj_integratePos(model, qpos, velocity, part)
        states[k, positions] = qpos
    return states


def _means(commands: Signal, grid: Floats) -> Floats:
    """The mean ``[K, A]`` of the command in force over each period of the grid."""
    times, values = commands.times, commands.values
    until = np.cumsum(values[:-1] * np.diff(times)[:, None], axis=0)
    integral = np.concatenate([np.zeros((1, values.shape[1])), until])
    newest = np.searchsorted(times, grid, side="right") - 1
    at_grid = integral[newest] + values[newest] * (grid - times[newest])[:, None]
    means: Floats = np.diff(at_grid, axis=0) / np.diff(grid)[:, None]
    return means


def _rollouts(task: Task, observations: Floats, actions: Floats) -> list[Experience]:
    """The episodes in ``observations[K + 1, D]``; what comes after a termination is of none."""
    if task.reward is None or task.terminated is None:
        raise ValueError(f"task {task.name}: expected `reward` and `terminated`, got none")
    before, after = observations[:-1], observations[1:]
    reward = np.asarray(task.reward(before, actions, after))
    over = np.asarray(task.terminated(observations))
    going = np.concatenate([[False], ~over[:-1], [False]])
    found = []
    for start, end in np.flatnonzero(np.diff(going)).reshape(-1, 2):
        run = slice(int(start), int(end))
        terminated = over[1:][run]
        truncated = np.zeros(len(terminated), dtype=bool)
        truncated[-1] = not terminated[-1]
        found.append(
            Experience(before[run], actions[run], reward[run], after[run], terminated, truncated)
        )
    return found
