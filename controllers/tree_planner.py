"""A tree search over what a task truly does, from settings: all that is to be known about it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium as gym

from mpc_robot.controllers.tree_rules import GumbelConfig, PUCTConfig, RuleConfig, UCTConfig
from mpc_robot.controllers.tree_search import SearchConfig, TreeSearch
from mpc_robot.dynamics.environment_copies import EnvironmentCopies
from mpc_robot.dynamics.held_simulator import HeldSimulator
from mpc_robot.dynamics.sampled_actions import (
    SampledActions,
    StateValue,
    grid,
    lasting,
    nothing,
    random_rollouts,
    uniform,
)
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import EnvSpec, Task, env_spec, make_env
from mpc_robot.errors import require, require_choices

RULES: dict[str, RuleConfig] = {
    "uct": UCTConfig(),
    "puct": PUCTConfig(dirichlet_fraction=0.0),
    "gumbel": GumbelConfig(value_scale=1.0, noise=0.0),
}
"""Rules by name, without the noise that a learner explores by."""

Worth = Literal["nothing", "rollout", "lasting"]
"""What a state that is not searched further is worth."""


@dataclass(frozen=True)
class SampledTreeConfig:
    """A search over a few continuous actions at every state, in the simulator.

    Attributes:
        search: how to search.
        hold: control steps that every action is held for, in the tree and when it is taken.
        actions: per state; of a grid, values per entry of the action, in all combinations.
        proposal: where they come from: ``grid``, the same everywhere, or drawn ``uniform`` anew for
            each state (Sampled MuZero, arXiv:2104.06303), which progressive widening suits.
        power: of a grid; above 1, it has more small actions than large ones.
        discount: of rewards per control step (MuZero: 0.997).
        worth: of a leaf: ``nothing``; the return of a random ``rollout``; or ``lasting``, as if it
            went on to earn what it earns by the middle action, for rewards that say how good a
            state is.
        rollout: actions of a rollout.
    """

    search: SearchConfig = field(default_factory=lambda: SearchConfig(RULES["gumbel"], 200))
    hold: int = 8
    actions: int = 5
    proposal: Literal["grid", "uniform"] = "grid"
    power: float = 2.0
    discount: float = 0.995
    worth: Worth = "lasting"
    rollout: int = 10

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require_choices(self)
        for name in ("hold", "actions", "rollout"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(self.power > 0, "power", "positive", self.power)
        require(0 < self.discount <= 1, "discount", "in (0, 1]", self.discount)
        finite = self.worth != "lasting" or self.discount < 1
        require(finite, "discount", "below 1 where a leaf's reward lasts", self.discount)


@dataclass(frozen=True)
class NumberedTreeConfig:
    """A search over numbered actions, in copies of the environment.

    Attributes:
        search: how to search.
        discount: of rewards per control step (MuZero: 0.997).
        rollout: random actions whose return a leaf is worth; 0 for nothing.
    """

    search: SearchConfig = field(default_factory=lambda: SearchConfig(RULES["puct"], 30))
    discount: float = 0.99
    rollout: int = 20

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require(0 < self.discount <= 1, "discount", "in (0, 1]", self.discount)
        require(self.rollout >= 0, "rollout", "at least 0", self.rollout)


TreeConfig = SampledTreeConfig | NumberedTreeConfig


def default_tree(task: Task) -> TreeConfig:
    """The settings for a task: by its actions, which are numbered or not."""
    with closing(make_env(task)) as env:
        numbered = isinstance(env.action_space, gym.spaces.MultiDiscrete)
    return NumberedTreeConfig() if numbered else SampledTreeConfig()


def tree_planner(task: Task, config: TreeConfig, *, threads: int = 0) -> TreeSearch[Any]:
    """A tree search in the task's own simulator, or in copies of its environment.

    Args:
        task: what to do.
        config: how to search.
        threads: threads that simulate, the caller's included; 0 is one per CPU.

    Raises:
        ValueError: if the task cannot be simulated.
        TypeError: if its environment is not simulated by MuJoCo, or cannot be copied.
    """
    with closing(make_env(task)) as env:
        if isinstance(config, NumberedTreeConfig):
            env.reset(seed=0)
            copies = EnvironmentCopies(env, config.discount, rollout=config.rollout)
            return TreeSearch(copies, config.search)
        spec = env_spec(env)
    return _sampled(Simulator(task, threads), spec, config)


def _sampled(simulator: Simulator, spec: EnvSpec, config: SampledTreeConfig) -> TreeSearch[Any]:
    """A search over sampled actions in a simulator."""
    low, high, count = spec.action_low, spec.action_high, config.actions
    held = HeldSimulator(simulator, config.hold, config.discount)
    even = config.proposal == "uniform"
    propose = uniform(low, high, count) if even else grid(low, high, count, config.power)
    model = SampledActions(held, propose, config.discount, _worth(held, spec, config))
    return TreeSearch(model, config.search, replan_every=config.hold)


def _worth(held: HeldSimulator, spec: EnvSpec, config: SampledTreeConfig) -> StateValue:
    """The worth of a leaf."""
    low, high = spec.action_low, spec.action_high
    if config.worth == "lasting":
        return lasting(held.simulator, (low + high) / 2, config.discount)
    if config.worth == "rollout":
        return random_rollouts(held, uniform(low, high, 1), config.rollout, config.discount)
    return nothing
