"""Where experience comes from: an environment that an agent acts in, or games against itself."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium as gym
import numpy as np

from mpc_robot.agents.base import Agent, Metrics, SelfPlayer
from mpc_robot.data.replay import Experience
from mpc_robot.envs.openspiel import GameEnv
from mpc_robot.envs.pixels import CONTROL_STEPS
from mpc_robot.training.evaluation import snapshot

Steps = Iterator[tuple[int, Metrics]]
"""Env steps as they are taken, how many and what there is to say of them; learning may follow."""


def collect(env: gym.Env[object, object], agent: Agent, seed: int) -> Steps:
    """One episode: of a game, in which an agent plays both sides, or of its environment."""
    if isinstance(env.unwrapped, GameEnv) and isinstance(agent, SelfPlayer):
        return agent.play_round()
    return episode(env, agent, seed)


def episode(env: gym.Env[object, object], agent: Agent, seed: int) -> Steps:
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
            about = {
                "train/return": float(np.sum(rewards)),
                "train/length": float(len(rewards)),
                "train/terminated": float(terminated),
            }
        yield info.get(CONTROL_STEPS, 1), about
