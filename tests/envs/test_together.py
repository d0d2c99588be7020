"""Environments that are stepped together do what each would do alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv

from mpc_robot.envs import get_task, make_env
from mpc_robot.envs.pixels import CONTROL_STEPS
from mpc_robot.envs.together import Resting, make_together
from mpc_robot.errors import PlantError

TASK = get_task("Hopper-v5+repeat2")


@pytest.fixture(scope="module")
def envs() -> Iterator[AsyncVectorEnv]:
    with closing(make_together(TASK, 2)) as envs:
        yield envs


def alone(seed: int, actions: np.ndarray) -> list[tuple[np.ndarray, float, bool, int]]:
    """What comes of the actions until the episode ends."""
    lived = []
    with closing(make_env(TASK)) as env:
        env.reset(seed=seed)
        for action in actions:
            seen, reward, terminated, _, info = env.step(action)
            lived.append((seen, float(reward), terminated, info[CONTROL_STEPS]))
            if terminated:
                break
    return lived


def test_each_does_what_it_would_do_alone_and_waits_at_its_end(envs: AsyncVectorEnv) -> None:
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (120, 2, 3))
    first = envs.reset(seed=[5, 6])[0]
    expected = [alone(seed, actions[:, i]) for i, seed in enumerate((5, 6))]
    lengths = [len(lived) for lived in expected]
    assert len(set(lengths)) == 2 and max(lengths) < 120, "they fall at different times"
    for t, both in enumerate(actions):
        seen, reward, terminated, truncated, infos = envs.step(both)
        for i, lived in enumerate(expected):
            known = lived[min(t, lengths[i] - 1)]
            np.testing.assert_array_equal(seen[i], known[0])
            assert (reward[i], terminated[i]) == known[1:3]
            assert infos[CONTROL_STEPS][i] == known[3]
        assert not truncated.any()
    np.testing.assert_array_equal(envs.reset(seed=[5, 6])[0], first)
    assert not envs.step(actions[0])[2].any()


class Glitch(gym.Env[np.ndarray, np.ndarray]):
    """Says NaN in its third step."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)
    steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[np.ndarray, dict[str, object]]:
        super().reset(seed=seed)
        return np.zeros(1), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.steps += 1
        return np.zeros(1), np.nan if self.steps == 3 else 0.0, False, False, {}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium tells of errors in its own way too
def test_what_goes_wrong_in_another_process_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an environment, too, that is registered in this process only."""
    spec = gym.envs.registration.EnvSpec("Glitch-v0", Glitch, max_episode_steps=10)
    monkeypatch.setitem(gym.registry, "Glitch-v0", spec)
    with closing(make_together(get_task("Glitch-v0"), 2)) as envs:
        envs.reset(seed=[0, 1])
        for _ in range(2):
            envs.step(np.zeros((2, 1)))
        with pytest.raises(PlantError, match="reward"):
            envs.step(np.zeros((2, 1)))


class Slow(Glitch):
    """Takes its time for a step, and says what no other environment does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        time.sleep(self.seconds)
        return np.zeros(1), 0.0, False, False, {"contacts": np.zeros(os.getpid() % 7)}


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("Slow-v0", 1.0), ("Endless-v0", 600.0)):
        kwargs = {"seconds": seconds}
        spec = gym.envs.registration.EnvSpec(name, Slow, max_episode_steps=10, kwargs=kwargs)
        monkeypatch.setitem(gym.registry, name, spec)


def test_a_process_that_is_lost_does_not_keep_the_others() -> None:
    envs = make_together(get_task("Slow-v0"), 3)
    envs.reset(seed=[0, 1, 2])
    envs.step(np.zeros((3, 1)))
    envs.step_async(np.zeros((3, 1)))
    os.kill(envs.processes[1].pid, signal.SIGKILL)
    with closing(envs), pytest.raises((EOFError, ConnectionResetError)):
        envs.step_wait()
    assert not any(process.is_alive() for process in envs.processes)


def test_it_need_not_be_waited_for() -> None:
    interrupted = signal.getsignal(signal.SIGINT)
    envs = make_together(get_task("Endless-v0"), 2)
    assert signal.getsignal(signal.SIGINT) == interrupted
    for process in envs.processes:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)  # as a terminal does, which asks all
    envs.reset(seed=[0, 1])
    envs.step_async(np.zeros((2, 1)))
    envs.close()
    assert not any(process.is_alive() for process in envs.processes)


def test_a_task_is_made_where_its_module_says() -> None:
    with closing(make_together(get_task("gymnasium:Pendulum-v1"), 1)) as envs:
        assert envs.reset(seed=[0])[0].shape == (1, 3)


def test_who_rests_is_not_stepped() -> None:
    env = Resting(gym.wrappers.TimeLimit(Glitch(), 2))
    env.reset(seed=0)
    ends = [env.step(np.zeros(1)) for _ in range(4)]
    assert [end[3] for end in ends] == [False, True, True, True]
    assert env.unwrapped.steps == 2  # type: ignore[attr-defined]
