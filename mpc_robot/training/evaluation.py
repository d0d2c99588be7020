"""How good a controller is: whole episodes of the real task, kept for the reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from mpc_robot.controllers.base import Controller, sense
from mpc_robot.envs import Task, episode_limit, make_env
from mpc_robot.errors import require
from mpc_robot.training.plan_video import film_plans
from mpc_robot.training.seeding import derive_seed
from mpc_robot.training.video import film, renderable_env

Floats = npt.NDArray[np.float64]
OnStep = Callable[[Sequence[float]], None]
"""Called with the rewards so far, after the reset and after each step."""


def _unwatched(rewards: Sequence[float]) -> None:
    """What an episode that nobody watches does after each step."""


def _filmed(take: Callable[[], None]) -> OnStep:
    """Take a picture after each step, whatever was earned."""
    return lambda rewards: take()


@dataclass(frozen=True)
class Episode:
    """One recorded episode of T steps.

    Attributes:
        observations: ``[T + 1, D]``, or frames ``[T + 1, H, W, C]``, from the reset on.
        actions: ``[T, A]`` as applied.
        rewards: ``[T]``.
        terminated: the task ended for good.
        truncated: the clock ran out.
    """

    observations: Floats
    actions: Floats
    rewards: Floats
    terminated: bool
    truncated: bool

    @property
    def total(self) -> float:
        """The undiscounted return."""
        return float(self.rewards.sum())


@dataclass(frozen=True)
class Evaluation:
    """E episodes of one controller on one task.

    Attributes:
        episodes: what happened.
        wall_s: how long it took, s.
    """

    episodes: tuple[Episode, ...]
    wall_s: float

    @property
    def returns(self) -> Floats:
        """Undiscounted returns ``[E]``."""
        return np.array([episode.total for episode in self.episodes])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Steps of each episode ``[E]``."""
        return np.array([len(episode.rewards) for episode in self.episodes])

    @property
    def terminated(self) -> npt.NDArray[np.bool_]:
        """Which episodes ended for good rather than by the clock ``[E]``."""
        return np.array([episode.terminated for episode in self.episodes])

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the returns over these episodes (of the population: 1 / E)."""
        return float(self.returns.std())


def snapshot(values: Any) -> npt.NDArray[Any]:
    """A copy, for an environment may go on to change its array in place: float64, frames uint8."""
    given = np.asarray(values)
    return np.array(given, dtype=np.uint8 if given.dtype == np.uint8 else np.float64)


def run_episode(
    env: gym.Env[Any, Any],
    controller: Controller,
    seed: int,
    max_steps: int | None = None,
    on_step: OnStep = _unwatched,
) -> Episode:
    """Let a controller act until the episode ends.

    Args:
        env: reset here.
        controller: reset here.
        seed: decides the start of the episode and the controller's random numbers.
        max_steps: truncate after so many steps, besides the environment's own limit.
        on_step: looks on, say to take a picture.

    Raises:
        PlantError: if the environment reports NaN or an infinity.
    """
    observation, _ = env.reset(seed=derive_seed(seed, 0))
    controller.reset(derive_seed(seed, 1))
    observations, actions = [snapshot(observation)], []
    rewards: list[float] = []
    on_step(rewards)
    terminated = truncated = False
    while not (terminated or truncated):
        action = controller.act(sense(controller, env, observations[-1]))
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(snapshot(observation))
        actions.append(snapshot(action))
        rewards.append(float(reward))
        on_step(rewards)
        truncated = truncated or len(rewards) == max_steps
    return Episode(
        observations=np.array(observations),
        actions=np.array(actions),
        rewards=np.array(rewards),
        terminated=bool(terminated),
        truncated=bool(truncated),
    )


def check_counts(episodes: int, max_steps: int | None) -> None:
    """Raises ValueError if there is no episode, or no step in one."""
    require(episodes >= 1, "episodes", "at least 1", episodes)
    require(max_steps is None or max_steps >= 1, "max_steps", "at least 1", max_steps)


def check_episodes_end(task: Task, env: gym.Env[Any, Any]) -> None:
    """Raises ValueError if nothing need ever end an episode of the task's environment."""
    if episode_limit(env) is None:
        raise ValueError(
            f"{task.name}: expected an environment with a time limit, got none; "
            "register it with max_episode_steps=..."
        )


def evaluate(
    task: Task,
    controller: Controller,
    episodes: int,
    seed: int,
    *,
    max_steps: int | None = None,
    video: Path | None = None,
    plan_video: Path | None = None,
    trace: str | None = None,
) -> Evaluation:
    """Run a controller for whole episodes in an environment of its own.

    Args:
        task: what to be good at.
        controller: any.
        episodes: how many, E.
        seed: the same seed gives the same episodes again.
        max_steps: truncate episodes after so many steps.
        video: MP4 to film the first episode to.
        plan_video: MP4 to film the first episode to, with what the controller considers; see
            :func:`mpc_robot.training.plan_video.film_plans`.
        trace: site or body whose paths ``plan_video`` draws.

    Raises:
        ValueError: if ``episodes`` or ``max_steps`` is not positive, if neither ``max_steps`` nor
            the task limits an episode, or if there are no plans to film.
        RenderingUnavailable: if a video is wanted and none can be made; nothing was run then.
        PlantError: if the environment reports NaN or an infinity.
    """
    check_counts(episodes, max_steps)
    started = time.perf_counter()
    filmed = video is not None or plan_video is not None
    with closing(renderable_env(task) if filmed else make_env(task)) as env:
        if max_steps is None:
            check_episodes_end(task, env)
        with ExitStack() as films:
            on_step = _filmed(films.enter_context(film(env, video))) if video else _unwatched
            actor = controller
            if plan_video:
                actor = films.enter_context(film_plans(env, controller, plan_video, trace))
            recorded = [run_episode(env, actor, derive_seed(seed, 0), max_steps, on_step)]
        for episode in range(1, episodes):
            recorded.append(run_episode(env, controller, derive_seed(seed, episode), max_steps))
    return Evaluation(tuple(recorded), time.perf_counter() - started)
