"""The learners: real experience becomes a model, the model a better controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpc_robot.agents.base import Agent, Metrics
from mpc_robot.agents.dhmbpo import DHMBPO, DHMBPOConfig
from mpc_robot.agents.dhmbpo_presets import dhmbpo_preset
from mpc_robot.agents.mbpo import MBPO, MBPOConfig
from mpc_robot.agents.mbpo_presets import mbpo_preset
from mpc_robot.agents.pets import PETS, PETSConfig
from mpc_robot.agents.pets_presets import pets_preset
from mpc_robot.agents.sac import SAC, SACConfig
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.errors import UnknownNameError


@dataclass(frozen=True)
class AgentKind:
    """How to make one kind of agent.

    Attributes:
        config_class: its frozen config.
        preset: the config that suits a task, by the task's name.
        build: the agent for a task, its sizes and limits, a config and a seed.
    """

    config_class: type[Any]
    preset: Callable[[str], Any]
    build: Callable[[Task, EnvSpec, Any, int], Agent]


AGENTS = {
    "dhmbpo": AgentKind(DHMBPOConfig, dhmbpo_preset, DHMBPO),
    "mbpo": AgentKind(MBPOConfig, mbpo_preset, MBPO),
    "pets": AgentKind(PETSConfig, pets_preset, PETS),
    "sac": AgentKind(SACConfig, lambda task: SACConfig(), SAC),
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


__all__ = [
    "AGENTS",
    "DHMBPO",
    "MBPO",
    "PETS",
    "SAC",
    "Agent",
    "AgentKind",
    "DHMBPOConfig",
    "MBPOConfig",
    "Metrics",
    "PETSConfig",
    "SACConfig",
    "agent_kind",
]
