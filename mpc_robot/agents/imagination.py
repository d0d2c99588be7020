"""What a policy would do in a model: rollouts that begin where real experience has been."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mpc_robot.agents.actor_critic import ActorCritic
from mpc_robot.dynamics.ensemble import ProbabilisticEnsemble
from mpc_robot.envs.base import Task


@dataclass(frozen=True)
class Imagined:
    """B rollouts of H steps under a policy, each with a last action that is not carried out.

    Attributes:
        observation: ``[H + 1, B, D]``.
        action: ``[H + 1, B, A]``.
        log_prob: of each action ``[H + 1, B]``.
        reward: ``[H, B]``.
        continues: of each step, probability that the episode goes on ``[H, B]``.
        alive: probability that the episode went on so far ``[H + 1, B]``; ones at first.
    """

    observation: Tensor
    action: Tensor
    log_prob: Tensor
    reward: Tensor
    continues: Tensor
    alive: Tensor


def imagine(
    model: ProbabilisticEnsemble,
    networks: ActorCritic,
    start: Tensor,
    horizon: int,
    rng: torch.Generator,
) -> Imagined:
    """Roll the policy out for ``horizon`` steps from ``start [B, D]``, differentiable.

    Every step of every row is by an elite drawn anew (TS1, arXiv:1805.12114). What has died stays
    where it was, so that it can not grow without bounds.
    """
    observation, alive = [start], [torch.ones(len(start))]
    actions, log_probs, rewards, continues = [], [], [], []
    for _ in range(horizon):
        action, log_prob = networks.act(observation[-1], rng)
        following = model.step(observation[-1], action, rng)
        survived = alive[-1] * following.continues
        observation.append(torch.where(survived[:, None] > 0, following.state, observation[-1]))
        alive.append(survived)
        actions.append(action)
        log_probs.append(log_prob)
        rewards.append(following.reward)
        continues.append(following.continues)
    action, log_prob = networks.act(observation[-1], rng)
    return Imagined(
        torch.stack(observation),
        torch.stack([*actions, action]),
        torch.stack([*log_probs, log_prob]),
        torch.stack(rewards),
        torch.stack(continues),
        torch.stack(alive),
    )


def without_reward(task: Task) -> Task:
    """The task with its reward to be learned, from all that a policy may see: goals too."""
    return replace(task, reward=None, model_inputs=task.policy_inputs)
