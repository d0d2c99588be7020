"""The one loop for every learner: act, observe, update, evaluate, log, checkpoint, resume."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from mpc_robot.agents.base import Agent, Collective, Metrics
from mpc_robot.envs import Task, make_env
from mpc_robot.envs.openspiel import is_against, results
from mpc_robot.envs.together import Together, make_together
from mpc_robot.errors import CheckpointError
from mpc_robot.training import checkpoint
from mpc_robot.training.collect import collect
from mpc_robot.training.display import Display
from mpc_robot.training.evaluation import Evaluation, evaluate
from mpc_robot.training.metrics import TIME, MetricsLog
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.seeding import EVALUATION, TRAINING, derive_seed

Environment = gym.Env[Any, Any] | Together
"""One, or several that are stepped together."""


@dataclass(frozen=True)
class TrainConfig:
    """What to train on what, and for how long.

    Attributes:
        agent: name of the learner: alphazero, dhmbpo, dreamer, dreamer-v1, dreamer-v2, dyna-q,
            dyna-q-plus, mbpo, muzero, pets, prioritized-sweeping, sac or world-models.
        task: name of the task.
        seed: everything random in the run follows from it.
        steps: env steps to take; the episode under way at the last one is finished.
        eval_every: env steps between evaluations; there is one more at the end.
        eval_episodes: episodes of an evaluation.
        checkpoint_every: env steps between checkpoints, each at the first end of an episode after.
        oracle_return: return of a planner with the true dynamics, drawn in the learning curve.
    """

    agent: str
    task: str
    seed: int = 0
    steps: int = 10_000
    eval_every: int = 1_000
    eval_episodes: int = 5
    checkpoint_every: int = 5_000
    oracle_return: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        if self.seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {self.seed}")
        for name in ("steps", "eval_every", "eval_episodes", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        env_step: real control steps taken by training, without evaluations; of an action that is
            held for several, each counts.
        episode: training episodes finished.
        metrics_offset: bytes of ``metrics.jsonl`` written.
        wall_s: time spent on training, s, over all resumes, without evaluations.
    """

    env_step: int = 0
    episode: int = 0
    metrics_offset: int = 0
    wall_s: float = 0.0


def evaluation_metrics(evaluation: Evaluation, wall_s: float) -> Metrics:
    """The line of metrics of an evaluation, after so many seconds of training."""
    return {
        "eval/return_mean": evaluation.mean,
        "eval/return_std": evaluation.std,
        "eval/length_mean": float(evaluation.lengths.mean()),
        "eval/terminated": float(evaluation.terminated.mean()),
        **{f"eval/return_{i}": float(r) for i, r in enumerate(evaluation.returns)},
        TIME + "wall_s": wall_s,
        TIME + "eval_s": evaluation.wall_s,
    }


def _passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of ``every`` was reached since ``before``."""
    return before // every < now // every


class Trainer:
    """Drives an agent through a task; checkpoints only at the end of an episode.

    Each episode starts from a seed of its own, so that nothing of the environment need be saved,
    and a run that was killed and resumed gives the metrics of the unbroken run bit for bit.
    """

    def __init__(
        self, folder: RunFolder, task: Task, agent: Agent, config: TrainConfig, display: Display
    ) -> None:
        """Ready to go on from ``restore``, or from the start; nothing is read or written yet."""
        self.folder, self.task, self.agent, self.config = folder, task, agent, config
        self.display = display
        self.progress = Progress()
        self._evaluated_at = 0

    def save(self) -> None:
        """Replace the checkpoint by what is now; only at the end of an episode.

        Raises:
            OSError: if the disk is full; the previous checkpoint is intact.
        """
        state = {"agent": self.agent.state_dict(), "progress": asdict(self.progress)}
        checkpoint.save(self.folder.checkpoint, state, self._about(), self.progress.env_step)

    def restore(self) -> None:
        """Go on from the checkpoint in the folder.

        Raises:
            CheckpointError: if it is missing, damaged or of another task or agent.
        """
        state = checkpoint.load(self.folder.checkpoint, self._about())
        try:
            progress, agent_state = Progress(**state["progress"]), state["agent"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{self.folder.checkpoint} holds no training: {error}") from error
        self.agent.load_state_dict(agent_state)
        self.progress = progress

    @property
    def evaluation_seed(self) -> int:
        """Seed of an evaluation now; no other evaluation of the run has the same episodes."""
        return derive_seed(self.config.seed, EVALUATION, self.progress.env_step)

    def train(self) -> None:
        """Train to the end.

        Raises:
            PlantError: if the environment reports NaN; the last checkpoint is intact.
        """
        progress = self.progress
        log = self.folder.open_metrics(progress.metrics_offset, progress.env_step)
        with closing(self._environment()) as env, log, self.display:
            while progress.env_step < self.config.steps:
                before = progress.env_step
                self._train_episodes(env, log)
                done = progress.env_step >= self.config.steps
                if done and self._evaluated_at != progress.env_step:
                    self._evaluate(log)
                if done or _passed(self.config.checkpoint_every, before, progress.env_step):
                    progress.metrics_offset = log.sync()
                    self.save()

    def _environment(self) -> Environment:
        """What the agent acts in: several environments if it can and shall."""
        return make_env(self.task) if self._places == 1 else make_together(self.task, self._places)

    @property
    def _places(self) -> int:
        """Environments that the agent acts in at once."""
        return self.agent.environments if isinstance(self.agent, Collective) else 1

    def _train_episodes(self, env: Environment, log: MetricsLog) -> None:
        """One episode of acting and learning in every environment, and a line of metrics."""
        progress, learned = self.progress, defaultdict[str, list[float]](list)
        before_s, before_step = progress.wall_s, progress.env_step
        episodes = range(progress.episode, progress.episode + self._places)
        seeds = [derive_seed(self.config.seed, TRAINING, episode) for episode in episodes]
        started = time.perf_counter()
        for steps, about in collect(env, self.agent, seeds):
            for name, value in (about | self.agent.update()).items():
                learned[name].append(value)
            before = progress.env_step
            progress.env_step += steps
            progress.wall_s += time.perf_counter() - started
            self.display.step(progress.env_step)
            if _passed(self.config.eval_every, before, progress.env_step):
                self._evaluate(log)
            started = time.perf_counter()
        progress.episode += self._places
        metrics = {
            **{name: float(np.mean(values)) for name, values in learned.items()},
            TIME + "wall_s": progress.wall_s,
            TIME + "steps_per_s": (progress.env_step - before_step) / (progress.wall_s - before_s),
        }
        log.log(progress.env_step, metrics)
        self.display.episode(progress.env_step, metrics)

    def _evaluate(self, log: MetricsLog) -> None:
        """What has been learned by now, also in the middle of an episode, and its metrics."""
        env_step = self._evaluated_at = self.progress.env_step
        controller = self.agent.controller()
        evaluation = evaluate(
            self.task, controller, self.config.eval_episodes, self.evaluation_seed
        )
        metrics = evaluation_metrics(evaluation, self.progress.wall_s)
        if is_against(self.task):
            metrics |= {
                f"eval/{name}": share for name, share in results(evaluation.returns).items()
            }
        log.log(env_step, metrics)
        self.display.evaluation(env_step, metrics)

    def _about(self) -> dict[str, Any]:
        """What a checkpoint must be of to be ours."""
        return {"task": self.config.task, "agent": self.config.agent}
