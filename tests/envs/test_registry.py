"""Finding a task by any of its names, and making its environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest

from mpc_robot.envs import (
    TASKS,
    DiscreteSpec,
    TableSpec,
    discrete_spec,
    env_spec,
    get_task,
    make_env,
    table_spec,
)
from mpc_robot.errors import PlantError, UnknownNameError


class Hover(gym.Env[Any, Any]):
    """A user's own environment, without MuJoCo."""

    metadata: ClassVar[dict[str, Any]] = {"render_fps": 20}
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._height = self.np_random.uniform(size=2)
        return self._height.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._height += [0.1 * self._height[1], 0.1 * action[0]]
        return self._height.copy(), -abs(self._height[0]), False, False, {}


@pytest.fixture
def hover() -> Iterator[str]:
    gym.register("test/Hover-v0", Hover, max_episode_steps=5)
    yield "test/Hover-v0"
    del gym.registry["test/Hover-v0"]


def test_a_task_is_found_by_name_and_by_gymnasium_id() -> None:
    for name, task in TASKS.items():
        assert get_task(name) is task
        assert get_task(task.env_id) is task


@pytest.mark.parametrize("name", ["CartpoleSwingpu-v0", "nowhere:Thing-v0", "Cart pole", ""])
def test_an_unknown_name_offers_the_nearest(name: str) -> None:
    with pytest.raises(UnknownNameError, match="CartpoleSwingup-v0"):
        get_task(name)


def test_a_registered_environment_of_ones_own_is_a_task(hover: str) -> None:
    task = get_task(hover)
    assert (task.name, task.env_id, task.reward, task.terminated) == (hover, hover, None, None)
    env = make_env(task)
    assert env_spec(env).max_episode_steps == 5
    env.reset(seed=0)
    ends = [env.step(np.zeros(1))[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]


def test_nan_from_an_environment_gets_no_further(hover: str) -> None:
    env = make_env(get_task(hover))
    env.reset(seed=0)
    with pytest.raises(PlantError, match=r"observation\[1\]: expected a finite number, got nan"):
        env.step(np.array([np.nan]))


def test_what_a_module_of_ones_own_lacks_is_not_called_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_robot.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        get_task("my_robot:Arm-v0")


def test_a_module_that_registers_an_environment_may_come_first() -> None:
    assert get_task("gymnasium.envs.classic_control:Pendulum-v1").reward is None


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_same_seed_gives_the_same_episode(name: str) -> None:
    def episode(seed: int) -> list[Any]:
        env = make_env(get_task(name))
        env.action_space.seed(seed)
        seen = [env.reset(seed=seed)[0]]
        seen += [env.step(env.action_space.sample())[0] for _ in range(5)]
        return seen

    np.testing.assert_array_equal(episode(1), episode(1))
    assert not np.array_equal(episode(1)[0], episode(2)[0])


@pytest.mark.parametrize("name", ["CartpoleSwingup-v0", "ReacherTwoLink-v0"])
def test_own_tasks_render(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    env = make_env(get_task(name), render_mode="rgb_array")
    env.reset(seed=0)
    before = np.asarray(env.render())
    for _ in range(10):
        env.step(env.action_space.high)
    after = np.asarray(env.render())
    env.close()
    assert before.shape == (480, 480, 3)
    assert before.dtype == np.uint8
    assert 500 < (before != after).any(axis=-1).sum() < 480 * 480 / 4


def test_a_discrete_action_space_is_refused() -> None:
    with pytest.raises(ValueError, match="action space: expected a continuous Box"):
        env_spec(make_env(get_task("CartPole-v1")))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("mpc_robot/DynaMaze-v0", (54, 4, 0.1, 20_000)), ("FrozenLake-v1", (16, 4, 0.25, 100))],
)
def test_numbered_states_and_actions_are_a_table(name: str, sizes: tuple[Any, ...]) -> None:
    env = make_env(get_task(name))
    assert table_spec(env) == TableSpec(*sizes)
    assert env.observation_space.contains(env.reset(seed=0)[0])
    with pytest.raises(ValueError, match="observation space: expected a Box"):
        env_spec(env)


@pytest.mark.parametrize("name", ["Pendulum-v1", "CartPole-v1", "Blackjack-v1"])
def test_what_is_not_numbered_is_no_table(name: str) -> None:
    with pytest.raises(ValueError, match="observation space: expected a Discrete one"):
        table_spec(make_env(get_task(name)))


def test_continuous_observations_with_numbered_actions() -> None:
    env = make_env(get_task("CartPole-v1"))
    assert discrete_spec(env) == DiscreteSpec(4, 2, 0.02, 500)
    env.reset(seed=0)
    assert env.step(np.array([1.0]))[0].shape == (4,)
    with pytest.raises(ValueError, match="action space: expected a Discrete one, got Box"):
        discrete_spec(make_env(get_task("Pendulum-v1")))
    with pytest.raises(ValueError, match="observation space: expected a Box of shape"):
        discrete_spec(make_env(get_task("FrozenLake-v1")))


def test_an_unbounded_action_space_is_refused() -> None:
    env = Hover()
    env.action_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    with pytest.raises(ValueError, match="action space: expected finite bounds"):
        env_spec(env)


def test_an_action_without_room_is_refused() -> None:
    """It can not be scaled to a range."""
    env = Hover()
    env.action_space = gym.spaces.Box(np.array([-1.0, 0.5]), np.array([1.0, 0.5]), dtype=np.float64)
    with pytest.raises(ValueError, match="action space: expected room between its bounds"):
        env_spec(env)


def test_the_control_period_is_not_guessed() -> None:
    assert env_spec(Hover()).dt == 0.05
    env = Hover()
    env.metadata = {}  # type: ignore[misc]
    with pytest.raises(ValueError, match="control period: expected an attribute `dt`"):
        env_spec(env)
