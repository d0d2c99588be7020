"""The agents by name: which environments each of them takes, and what is said of others."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from mpc_robot.agents import AGENTS, Agent, agent_kind, build_agent
from mpc_robot.envs import get_task, make_env
from mpc_robot.errors import UnknownNameError

MAZE = "mpc_robot/DynaMaze-v0"
CONTINUOUS = "dhmbpo, dreamer, dreamer-v1, dreamer-v2, mbpo, muzero, pets, sac"
TABULAR = "dyna-q, dyna-q-plus, prioritized-sweeping"


class Steered(gym.Env[np.ndarray, np.int64]):
    """Continuous observations, and actions that are numbers, as in many a game."""

    metadata = {"render_fps": 10, "render_modes": []}  # noqa: RUF012 - Gymnasium's own way
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(3)


class Seen(Steered):
    """Frames, and continuous actions."""

    observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def steered_and_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, env in (("Steered-v0", Steered), ("Seen-v0", Seen)):
        spec = gym.envs.registration.EnvSpec(name, env, max_episode_steps=5)
        monkeypatch.setitem(gym.registry, name, spec)


def build(agent: str, name: str) -> Agent:
    task = get_task(name)
    with closing(make_env(task)) as env:
        config: Any = agent_kind(agent).preset(task.name)
        return build_agent(agent, task, env, config, 0)


@pytest.mark.parametrize("agent", CONTINUOUS.split(", "))
def test_tables_are_refused_by_whom_and_taken_by_whom(agent: str) -> None:
    with pytest.raises(ValueError, match=rf"space: expected .* got .*; .* {MAZE}: {TABULAR}$"):
        build(agent, MAZE)


@pytest.mark.parametrize("agent", sorted({*CONTINUOUS.split(", ")} - {"muzero"}))
def test_discrete_actions_are_refused_by_whom_and_taken_by_whom(agent: str) -> None:
    expected = r"got MultiDiscrete\(\[3\]\); agents that take Steered-v0: muzero$"
    with pytest.raises(ValueError, match=expected):
        build(agent, "Steered-v0")
    assert build("muzero", "Steered-v0").update() == {}


def test_tables_are_not_for_continuous_tasks() -> None:
    with pytest.raises(ValueError, match=rf"expected a Discrete one, .*Hopper-v5: {CONTINUOUS}$"):
        build("dyna-q", "Hopper-v5")


@pytest.mark.parametrize("agent", AGENTS)
def test_each_takes_what_it_says_it_does(agent: str) -> None:
    tasks = {
        "alphazero": "tic_tac_toe",
        "world-models": "Seen-v0",
        **dict.fromkeys(TABULAR.split(", "), MAZE),
    }
    built = build(agent, tasks.get(agent, "InvertedPendulum-v5"))
    assert isinstance(agent_kind(agent).preset("InvertedPendulum-v5"), AGENTS[agent].config_class)
    assert built.update() == {}


def test_who_takes_frames_alone_is_not_for_vectors() -> None:
    with pytest.raises(ValueError, match=rf"expected frames .*Hopper-v5: {CONTINUOUS}$"):
        build("world-models", "Hopper-v5")
    takers = "dreamer, dreamer-v1, dreamer-v2, world-models"
    with pytest.raises(ValueError, match=rf"agents that take Seen-v0: {takers}$"):
        build("pets", "Seen-v0")


def test_an_unknown_agent_is_told_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown agent 'mbop'; nearest: .*mbpo"):
        build_agent("mbop", get_task(MAZE), make_env(get_task(MAZE)), None, 0)
