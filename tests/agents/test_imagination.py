"""Imagined rollouts in models that are simple enough to follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpc_robot.agents.actor_critic import ActorCritic, ActorCriticConfig
from mpc_robot.agents.imagination import Imagined, imagine, without_reward
from mpc_robot.dynamics.base import Transition
from mpc_robot.envs.base import EnvSpec, Task

SPEC = EnvSpec(2, -np.ones(1), np.ones(1), 0.1, 100)
STARTS = torch.tensor([[0.0, 0.0], [5.0, 1.0], [9.0, 2.0]])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def networks() -> ActorCritic:
    config = ActorCriticConfig(hidden=(8,), critic_hidden=(8,))
    return ActorCritic(Task("task", "task"), SPEC, config, generator())


class Counter:
    """The first entry counts steps; at 10 the episode ends, and beyond it nothing is finite."""

    def __init__(self, continues: float = 1.0) -> None:
        self.continues = continues

    def step(self, state: Tensor, action: Tensor, rng: torch.Generator) -> Transition[Tensor]:
        reached = state + torch.tensor([1.0, 0.0])
        over = reached[:, 0] >= 10
        following = torch.where((reached[:, 0] > 10)[:, None], torch.inf, reached)
        going = torch.where(over, 0.0, self.continues)
        return Transition(following, state[:, 0] + 100.0 * action[:, 0], going)


def imagined(model: Any, horizon: int = 4) -> Imagined:
    return imagine(model, networks(), STARTS, horizon, generator(1))


def test_rollouts_are_followed_step_by_step() -> None:
    path = imagined(Counter())
    shapes = [tuple(getattr(path, name).shape) for name in vars(path)]
    assert shapes == [(5, 3, 2), (5, 3, 1), (5, 3), (4, 3), (4, 3), (5, 3)]
    assert path.observation[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert path.observation[:, 1, 0].tolist() == [5, 6, 7, 8, 9]
    assert (path.observation[..., 1] == STARTS[:, 1]).all()
    expected = path.observation[:-1, :2, 0] + 100.0 * path.action[:-1, :2, 0]
    torch.testing.assert_close(path.reward[:, :2], expected)


def test_what_has_died_stays_where_it_was_and_finite() -> None:
    path = imagined(Counter())
    assert path.observation[:, 2, 0].tolist() == [9, 9, 9, 9, 9]
    assert path.alive[:, 2].tolist() == [1, 0, 0, 0, 0]
    assert path.continues[0].tolist() == [1, 1, 0]
    assert path.observation.isfinite().all()


def test_where_termination_is_learned_life_fades() -> None:
    path = imagined(Counter(continues=0.5))
    assert path.alive[:, 0].tolist() == [1, 0.5, 0.25, 0.125, 0.0625]
    assert path.observation[:, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_actions_are_the_policys_with_their_probabilities() -> None:
    ours, rng = networks(), generator(1)
    path = imagine(Counter(), ours, STARTS, 3, generator(1))  # type: ignore[arg-type]
    for t in range(4):
        action, log_prob = ours.act(path.observation[t], rng)
        torch.testing.assert_close(action, path.action[t])
        torch.testing.assert_close(log_prob, path.log_prob[t])


def test_the_seed_decides() -> None:
    first, again = imagined(Counter()), imagined(Counter())
    other = imagine(Counter(), networks(), STARTS, 4, generator(2))  # type: ignore[arg-type]
    assert torch.equal(first.action, again.action)
    assert not torch.equal(first.action, other.action)


def test_a_reward_is_learned_from_all_that_a_policy_may_see() -> None:
    """Also from goals, which no robot's motion depends on."""
    task = Task(
        "task",
        "task",
        reward=lambda obs, action, next_obs: next_obs[..., 0],
        terminated=lambda next_obs: next_obs[..., 0] > 1,
        model_inputs=(0, 1),
        policy_inputs=(0, 1, 3),
    )
    found = without_reward(task)
    assert found.reward is None and found.model_inputs == (0, 1, 3)
    assert found.terminated is task.terminated
