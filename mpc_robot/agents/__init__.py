"""The learners: real experience becomes a model, the model a better controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym

from mpc_robot.agents.alphazero import AlphaZero, AlphaZeroConfig
from mpc_robot.agents.alphazero_presets import alphazero_preset
from mpc_robot.agents.base import Agent, Metrics
from mpc_robot.agents.dhmbpo import DHMBPO, DHMBPOConfig
from mpc_robot.agents.dhmbpo_presets import dhmbpo_preset
from mpc_robot.agents.dreamer import Dreamer, DreamerConfig, senses_spec
from mpc_robot.agents.dreamer_presets import dreamer_preset
from mpc_robot.agents.dyna_q import DYNA_Q_PLUS, SWEEPING, DynaQ, DynaQConfig
from mpc_robot.agents.mbpo import MBPO, MBPOConfig
from mpc_robot.agents.mbpo_presets import mbpo_preset
from mpc_robot.agents.muzero import MuZero, MuZeroConfig
from mpc_robot.agents.muzero_games import build_muzero, muzero_or_game_spec
from mpc_robot.agents.muzero_presets import muzero_preset
from mpc_robot.agents.pets import PETS, PETSConfig
from mpc_robot.agents.pets_presets import pets_preset
from mpc_robot.agents.sac import SAC, SACConfig
from mpc_robot.agents.world_models import WorldModels, WorldModelsConfig
from mpc_robot.agents.world_models_presets import world_models_preset
from mpc_robot.envs.base import Task, env_spec, pixel_spec, table_spec
from mpc_robot.envs.openspiel import game_spec
from mpc_robot.errors import UnknownNameError


@dataclass(frozen=True)
class AgentKind:
    """How to make one kind of agent.

    Attributes:
        config_class: its frozen config.
        preset: the config that suits a task, by the task's name.
        build: the agent for a task, its sizes and limits, a config and a seed.
        spec: reads sizes and limits off an environment; ValueError if it is not for this agent.
    """

    config_class: type[Any]
    preset: Callable[[str], Any]
    build: Callable[[Task, Any, Any, int], Agent]
    spec: Callable[[gym.Env[Any, Any]], Any] = env_spec


AGENTS = {
    "alphazero": AgentKind(AlphaZeroConfig, alphazero_preset, AlphaZero, game_spec),
    "dhmbpo": AgentKind(DHMBPOConfig, dhmbpo_preset, DHMBPO),
    "dreamer": AgentKind(DreamerConfig, partial(dreamer_preset, "v3"), Dreamer, senses_spec),
    "dreamer-v1": AgentKind(DreamerConfig, partial(dreamer_preset, "v1"), Dreamer, senses_spec),
    "dreamer-v2": AgentKind(DreamerConfig, partial(dreamer_preset, "v2"), Dreamer, senses_spec),
    "dyna-q": AgentKind(DynaQConfig, lambda task: DynaQConfig(), DynaQ, table_spec),
    "dyna-q-plus": AgentKind(DynaQConfig, lambda task: DYNA_Q_PLUS, DynaQ, table_spec),
    "mbpo": AgentKind(MBPOConfig, mbpo_preset, MBPO),
    "muzero": AgentKind(MuZeroConfig, muzero_preset, build_muzero, muzero_or_game_spec),
    "pets": AgentKind(PETSConfig, pets_preset, PETS),
    "prioritized-sweeping": AgentKind(DynaQConfig, lambda task: SWEEPING, DynaQ, table_spec),
    "sac": AgentKind(SACConfig, lambda task: SACConfig(), SAC),
    "world-models": AgentKind(WorldModelsConfig, world_models_preset, WorldModels, pixel_spec),
}
"""Name on the command line -> how to make it."""


def agent_kind(name: str) -> AgentKind:
    """The kind of agent called ``name``.

    Raises:
        UnknownNameError: offering the nearest names.
    """
    if name not in AGENTS:
        raise UnknownNameError("agent", name, AGENTS)
    return AGENTS[name]


def build_agent(name: str, task: Task, env: gym.Env[Any, Any], config: Any, seed: int) -> Agent:
    """The agent called ``name`` for a task and its environment.

    Raises:
        UnknownNameError: if there is no such agent; it offers the nearest names.
        ValueError: if it does not take such an environment, naming the agents that do; or if a
            setting does not fit the task.
    """
    kind = agent_kind(name)
    try:
        spec = kind.spec(env)
    except ValueError as error:
        able = ", ".join(other for other in AGENTS if _takes(AGENTS[other], env))
        raise ValueError(f"{error}; agents that take {task.name}: {able or 'none'}") from error
    return kind.build(task, spec, config, seed)


def _takes(kind: AgentKind, env: gym.Env[Any, Any]) -> bool:
    """Whether an environment is for agents of this kind."""
    try:
        kind.spec(env)
    except ValueError:
        return False
    return True


__all__ = [
    "AGENTS",
    "DHMBPO",
    "MBPO",
    "PETS",
    "SAC",
    "Agent",
    "AgentKind",
    "AlphaZero",
    "AlphaZeroConfig",
    "DHMBPOConfig",
    "Dreamer",
    "DreamerConfig",
    "DynaQ",
    "DynaQConfig",
    "MBPOConfig",
    "Metrics",
    "MuZero",
    "MuZeroConfig",
    "PETSConfig",
    "SACConfig",
    "WorldModels",
    "WorldModelsConfig",
    "agent_kind",
    "build_agent",
]
