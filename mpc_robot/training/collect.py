"""Where experience comes from: environments that an agent acts in, or games against itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from mpc_robot.agents.base import Agent, Collective, Metrics, SelfPlayer
from mpc_robot.data.replay import Experience
from mpc_robot.envs.openspiel import GameEnv
from mpc_robot.envs.pixels import CONTROL_STEPS
from mpc_robot.envs.together import Together
from mpc_robot.training.evaluation import snapshot

Steps = Iterator[tuple[int, Metrics]]
"""Env steps as they are taken, how many and what there is to say of them; learning may follow."""


def collect(env: gym.Env[Any, Any] | Together, agent: Agent, seeds: Sequence[int]) -> Steps:
    """Episodes from seeds: of a game, in which an agent plays both sides, or of environments."""
    if isinstance(env, Together):
        if not isinstance(agent, Collective):
            raise TypeError(f"agent: expected one for several environments, got {agent!r}")
        return together(env, agent, seeds)
    if isinstance(env.unwrapped, GameEnv) and isinstance(agent, SelfPlayer):
        return agent.play_round()
    return episode(env, agent, seeds[0])


def episode(env: gym.Env[Any, Any], agent: Agent, seed: int) -> Steps:
    """Let an agent act in an environment, and observe what comes of it, until it ends."""
    observation = snapshot(env.reset(seed=seed)[0])
    rewards: list[float] = []
    about: Metrics = {}
    while not about:
        action = agent.act(observation, explore=True)
        reached, reward, terminated, truncated, info = env.step(action)
        step = Experience(
            observation, action, float(reward), snapshot(reached), terminated, truncated
        )
        agent.observe(step)
        observation = step.next_observation
        rewards.append(step.reward)
        if terminated or truncated:
            about = _of_episode(rewards, terminated)
        yield info.get(CONTROL_STEPS, 1), about


def together(envs: Together, agent: Collective, seeds: Sequence[int]) -> Steps:
    """The same in several environments at once, an episode in each; who is done waits."""
    observations = [snapshot(seen) for seen in envs.reset(seed=list(seeds))[0]]
    rewards: list[list[float]] = [[] for _ in seeds]
    actions = np.zeros(envs.action_space.shape or ())
    going = list(range(len(seeds)))
    while going:
        seen = [observations[place] for place in going]
        actions[going] = agent.act_in(going, seen, explore=True)
        reached, earned, terminated, truncated, infos = envs.step(actions)
        steps = infos.get(CONTROL_STEPS, np.ones(len(seeds), dtype=int))
        ended = terminated | truncated
        for place in going:
            step = Experience(
                observations[place],
                actions[place].copy(),
                float(earned[place]),
                snapshot(reached[place]),
                bool(terminated[place]),
                bool(truncated[place]),
            )
            agent.observe_in(place, step)
            observations[place] = step.next_observation
            rewards[place].append(step.reward)
            about = _of_episode(rewards[place], step.terminated) if ended[place] else {}
            yield int(steps[place]), about
        going = [place for place in going if not ended[place]]


def _of_episode(rewards: Sequence[float], terminated: bool) -> Metrics:
    """What there is to say of an episode at its end."""
    return {
        "train/return": float(np.sum(rewards)),
        "train/length": float(len(rewards)),
        "train/terminated": float(terminated),
    }
