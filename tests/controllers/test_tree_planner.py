"""A tree search from settings: it asks what they say, and does what the task rewards."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mpc_robot.controllers.tree_planner import (
    RULES,
    NumberedTreeConfig,
    SampledTreeConfig,
    default_tree,
    tree_planner,
)
from mpc_robot.controllers.tree_search import SearchConfig
from mpc_robot.dynamics.environment_copies import EnvironmentCopies
from mpc_robot.dynamics.held_simulator import HeldSimulator
from mpc_robot.dynamics.sampled_actions import SampledActions
from mpc_robot.envs import get_task, make_env, physics_state
from mpc_robot.training.evaluation import run_episode

SWINGUP, CARTPOLE = get_task("CartpoleSwingup-v0"), get_task("CartPole-v1")
FEW = SearchConfig(RULES["uct"], 6)


def sampled(config: SampledTreeConfig, task: str = "CartpoleBalance-v0") -> Any:
    """The searched tree and its model, after one decision."""
    search = tree_planner(get_task(task), config, threads=1)
    with closing(make_env(get_task(task))) as env:
        env.reset(seed=0)
        search.act(physics_state(env))
    assert isinstance(search.model, SampledActions)
    assert isinstance(search.model.dynamics, HeldSimulator)
    return search


def test_settings_are_for_what_the_actions_are() -> None:
    assert default_tree(SWINGUP) == SampledTreeConfig()
    assert default_tree(CARTPOLE) == NumberedTreeConfig()
    assert not hasattr(tree_planner(CARTPOLE, NumberedTreeConfig()).model, "propose")


def test_every_setting_reaches_the_search() -> None:
    config = SampledTreeConfig(FEW, hold=3, actions=4, power=1.0, discount=0.9)
    search = sampled(config)
    held = search.model.dynamics
    assert (search.config, search.replan_every) == (FEW, 3)
    assert (held.hold, held.discount, search.model.discount) == (3, 0.9, 0.9)
    assert held.simulator.threads == 1
    actions = search.trees.embeddings.actions[0, :7]
    np.testing.assert_allclose(actions[..., 0], np.tile([-1 / 3, 1 / 3, -1, 1], (7, 1)), atol=1e-6)
    drawn = sampled(replace(config, proposal="uniform")).trees.embeddings.actions[0, :7]
    assert len(drawn.unique()) == 28 and (drawn.abs() <= 1).all()
    copies = tree_planner(CARTPOLE, NumberedTreeConfig(FEW, 0.8, 7))
    assert isinstance(copies.model, EnvironmentCopies)
    assert (copies.model.discount, copies.model.rollout, copies.replan_every) == (0.8, 7, 1)


def test_physics_steps_are_those_of_the_settings() -> None:
    """Six simulations of three control steps of two physics steps each, and what leaves cost."""
    leaf = {"nothing": 0, "lasting": 2, "rollout": 5 * 3 * 2}
    for worth, steps in leaf.items():
        config = SampledTreeConfig(FEW, hold=3, worth=worth, rollout=5)  # type: ignore[arg-type]
        counted = sampled(config).model.dynamics.simulator.physics_steps
        assert counted == 6 * (3 * 2 + steps) + steps, "the root is valued, too"


def test_leaves_are_worth_what_the_settings_say() -> None:
    """Upright and still, a control step earns almost 1 whatever comes, as long as it lasts."""
    values = {}
    for worth in ("nothing", "lasting", "rollout"):
        config = SampledTreeConfig(FEW, worth=worth, hold=2, rollout=3, discount=0.9)
        values[worth] = sampled(config).trees.arrays.nodes[0, 0].value
    assert values["nothing"] == 0.0
    assert values["lasting"] == pytest.approx(1 / (1 - 0.9), rel=0.02)
    six_steps = sum(0.9**k for k in range(6))
    assert 0.75 * six_steps < values["rollout"] <= six_steps, "control may cost a fifth"


def test_numbered_actions_keep_a_pole_up() -> None:
    """At random, CartPole-v1 falls after some 22 steps."""
    with closing(make_env(CARTPOLE)) as env:
        planner = tree_planner(CARTPOLE, NumberedTreeConfig())
        episode = run_episode(env, planner, 0, max_steps=60)
    assert len(episode.rewards) == 60 and not episode.terminated


def test_a_tree_swings_a_pole_up_from_below() -> None:
    """Hanging, a pole earns nothing; a tenth of a second before it is up, half."""
    with closing(make_env(SWINGUP)) as env:
        planner = tree_planner(SWINGUP, SampledTreeConfig(), threads=1)
        rewards = run_episode(env, planner, 0, max_steps=100).rewards
    assert rewards[:5].max() < 0.05
    assert rewards.max() > 0.5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: SampledTreeConfig(hold=0), "hold: expected at least 1, got 0"),
        (lambda: SampledTreeConfig(actions=0), "actions: expected at least 1"),
        (lambda: SampledTreeConfig(rollout=0), "rollout: expected at least 1"),
        (lambda: SampledTreeConfig(power=0.0), "power: expected positive"),
        (lambda: SampledTreeConfig(discount=math.nan), "discount: expected in"),
        (lambda: SampledTreeConfig(discount=1.0), "discount: expected below 1 where"),
        (lambda: NumberedTreeConfig(discount=0.0), "discount: expected in"),
        (lambda: NumberedTreeConfig(rollout=-1), "rollout: expected at least 0"),
    ],
)
def test_settings_must_make_sense(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config()


def test_tasks_that_cannot_be_searched_are_refused() -> None:
    with pytest.raises(ValueError, match="a simulator needs observe and reward"):
        tree_planner(get_task("Pendulum-v1"), SampledTreeConfig())
    with pytest.raises(TypeError, match="action space: expected a Discrete one"):
        tree_planner(SWINGUP, NumberedTreeConfig())
