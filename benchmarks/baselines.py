"""Stable-Baselines3's learners in the run folders, and under the evaluations, of our own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from benchmarks.baseline_settings import (
    DQNSettings,
    PPOSettings,
    SACSettings,
    Settings,
    baseline_settings,
)
from torch import nn

try:
    from stable_baselines3 import DQN, PPO, SAC
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.utils import LinearSchedule
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
except ImportError as error:
    raise ImportError(
        f"baselines: expected stable_baselines3, got {error}; pip install 'mpc-robot[bench]'"
    ) from error

from mpc_robot.dynamics.base import Sensed
from mpc_robot.envs import Task, discrete_spec, get_task, make_env
from mpc_robot.errors import require
from mpc_robot.training.config import to_json
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.metrics import MetricsLog
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.runs import versions
from mpc_robot.training.seeding import EVALUATION, TRAINING, derive_seed
from mpc_robot.training.trainer import TrainConfig, evaluation_metrics

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
OURS = {
    *("steps", "eval_every", "n_envs", "normalize", "linear"),
    *("hidden", "activation", "log_std_init", "ortho_init"),
}
"""Settings that are no arguments of SB3's learners by the same name."""


class DiscreteActions(gym.ActionWrapper[Any, Any, Any]):
    """Numbered actions as SB3 takes them: plain numbers rather than vectors of one."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an environment whose actions are numbered."""
        super().__init__(env)
        self.action_space = gym.spaces.Discrete(discrete_spec(env).num_actions)

    def action(self, action: Any) -> npt.NDArray[np.int64]:
        """The number ``[1]``."""
        return np.array([action])


def as_published(name: str) -> Task:
    """A task observed as its environment does itself, without what our models need besides."""
    return replace(get_task(name), observe=None)


def sb3_env(task: Task) -> gym.Env[Any, Any]:
    """The task's environment, of a kind that SB3 takes."""
    env = make_env(task)
    numbered = isinstance(env.action_space, gym.spaces.MultiDiscrete)
    return DiscreteActions(env) if numbered else env


class SB3Policy:
    """Does what a model holds best; observations are normalised as they last were in training."""

    observes: Sensed = "observation"
    plan = None

    def __init__(self, model: BaseAlgorithm) -> None:
        """Follows the model as it learns."""
        self.model = model

    def reset(self, seed: int) -> None:
        """Nothing to forget, and nothing random."""

    def act(self, sensed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The action ``[A]`` for an observation ``[D]``."""
        envs = self.model.get_vec_normalize_env()
        action, _ = self.model.predict(
            sensed if envs is None else envs.normalize_obs(sensed), deterministic=True
        )
        return np.atleast_1d(action)


class Evaluations(BaseCallback):
    """Evaluates a model at exact env steps as the Trainer does, and ends training at the last."""

    def __init__(self, config: TrainConfig, task: Task, log: MetricsLog) -> None:
        """Logs the lines that a Trainer logs."""
        super().__init__()
        self.config, self.task, self.log = config, task, log
        self._evaluating_s = 0.0

    def _on_training_start(self) -> None:
        self._started = time.perf_counter()

    def _on_step(self) -> bool:
        done = self.num_timesteps >= self.config.steps
        if done or self.num_timesteps % self.config.eval_every == 0:
            self._evaluate()
        return not done

    def _evaluate(self) -> None:
        wall_s = time.perf_counter() - self._started - self._evaluating_s
        seed = derive_seed(self.config.seed, EVALUATION, self.num_timesteps)
        evaluation = evaluate(self.task, SB3Policy(self.model), self.config.eval_episodes, seed)
        self._evaluating_s += evaluation.wall_s
        self.log.log(self.num_timesteps, evaluation_metrics(evaluation, wall_s))


def learn_baseline(config: TrainConfig, folder: RunFolder) -> None:
    """Learn with the settings for the task, from the start: SB3 can only be resumed from pickles.

    It draws from the global generators, and seeds them: give it a process of its own.

    Raises:
        UnknownNameError: if there is no such learner or task, or no settings for it.
        ValueError: if the environments are not together at ``steps`` or ``eval_every``.
        PlantError: if an environment reports NaN.
    """
    settings, task = baseline_settings(config.agent, config.task), as_published(config.task)
    count = settings.n_envs if isinstance(settings, PPOSettings) else 1
    for name in ("steps", "eval_every"):
        steps = getattr(config, name)
        require(steps % count == 0, name, f"a multiple of the {count} environments", steps)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_config(
        {
            "train": to_json(config),
            "agent": to_json(settings),
            "versions": {**versions(), "stable-baselines3": version("stable-baselines3")},
        }
    )
    make: Callable[[], gym.Env[Any, Any]] = partial(sb3_env, task)
    with closing(DummyVecEnv([make] * count)) as envs, folder.open_metrics() as log:
        model = make_model(settings, envs, derive_seed(config.seed, TRAINING))
        model.learn(config.steps, Evaluations(config, task, log))


def make_model(settings: Settings, envs: VecEnv, seed: int) -> BaseAlgorithm:
    """SB3's learner with the settings; on these environments, normalised if they say so."""
    given = {name: value for name, value in asdict(settings).items() if name not in OURS}
    network: dict[str, Any] = {"net_arch": list(settings.hidden)}
    given |= {"policy": "MlpPolicy", "policy_kwargs": network, "seed": seed, "device": "cpu"}
    match settings:
        case SACSettings():
            return SAC(env=envs, **given)
        case DQNSettings():
            return DQN(env=envs, **given)
    network["activation_fn"] = ACTIVATIONS[settings.activation]
    network["log_std_init"] = settings.log_std_init
    network["ortho_init"] = settings.ortho_init
    given["batch_size"] = min(settings.batch_size, settings.n_steps * settings.n_envs)
    if settings.linear:
        for name in ("learning_rate", "clip_range"):
            given[name] = LinearSchedule(given[name], 0.0, 1.0)
    return PPO(
        env=VecNormalize(envs, gamma=settings.gamma) if settings.normalize else envs, **given
    )
