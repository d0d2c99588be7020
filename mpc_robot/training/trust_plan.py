"""How far a plan can be trusted: what it promises, what is earned, and what an oracle earns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mpc_robot.controllers.base import Plan
from mpc_robot.controllers.mpc import MPC
from mpc_robot.dynamics.base import Sensed
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import Task
from mpc_robot.training.evaluation import Episode, Evaluation, evaluate

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rehearsal:
    """Episodes of a planner that was asked at every step what it expects.

    Attributes:
        evaluation: what happened.
        expected: return that each plan promised over its horizon, without any terminal value
            ``[n]``; of the n steps whose horizon lies within the episode.
        realised: return over the same horizon that was then earned, planning anew at each step
            ``[n]``.
    """

    evaluation: Evaluation
    expected: Floats
    realised: Floats

    @property
    def optimism(self) -> float:
        """Mean of what was promised beyond what was earned; negative for a pessimist.

        NaN if no episode was as long as the horizon.
        """
        return float((self.expected - self.realised).mean()) if len(self.expected) else np.nan


class Candid:
    """A Controller that plans as ``planner`` does and writes down the return of every plan."""

    def __init__(self, planner: MPC) -> None:
        """Nothing is written down yet."""
        self.planner = planner
        self.expected: list[float] = []

    @property
    def observes(self) -> Sensed:
        """What the planner takes."""
        return self.planner.observes

    @property
    def plan(self) -> Plan | None:
        """What the planner last intended."""
        return self.planner.plan

    def reset(self, seed: int) -> None:
        """Reset the planner; what was written down stays."""
        self.planner.reset(seed)

    def act(self, sensed: Floats) -> Floats:
        """The planner's action ``[A]``."""
        action = self.planner.act(sensed)
        futures = self.planner.predict()
        self.expected.append(float(futures.returns(self.planner.discount).mean()))
        return action


def rehearse(
    task: Task, planner: MPC, episodes: int, seed: int, max_steps: int | None = None
) -> Rehearsal:
    """Run whole episodes and compare each plan's promise with what followed.

    The arguments are those of :func:`mpc_robot.training.evaluation.evaluate`; the same seed gives
    every planner the same starts.
    """
    candid = Candid(planner)
    evaluation = evaluate(task, candid, episodes, seed, max_steps=max_steps)
    horizon = planning_steps(planner)
    realised = [earned(episode, horizon, planner.discount) for episode in evaluation.episodes]
    promised = np.split(np.array(candid.expected), np.cumsum(evaluation.lengths)[:-1])
    expected = [values[: len(after)] for values, after in zip(promised, realised, strict=True)]
    return Rehearsal(evaluation, np.concatenate(expected), np.concatenate(realised))


def earned(episode: Episode, horizon: int, discount: float) -> Floats:
    """Discounted return over ``horizon`` steps from each step on ``[n]``.

    Nothing is earned after termination; where the clock ran out first nobody knows, so these last
    steps are left out.
    """
    nothing = np.zeros(horizon - 1 if episode.terminated else 0)
    rewards = np.concatenate([episode.rewards, nothing])
    if len(rewards) < horizon:
        return np.empty(0)
    windows = np.lib.stride_tricks.sliding_window_view(rewards, horizon)
    returns: Floats = windows @ discount ** np.arange(horizon)
    return returns


def oracle(task: Task, planner: MPC) -> MPC:
    """The same search, horizon and terminal value, but planning with the simulator itself.

    Raises:
        ValueError: if the task lacks what a simulator needs.
        TypeError: if its environment is not simulated by MuJoCo.
    """
    value = planner.terminal_value
    # A learned value takes float32; the simulator answers in float64.
    worth = None if value is None else lambda last: value(last.float())
    simulator = Simulator(task, threads=torch.get_num_threads())
    return MPC(simulator, planner.optimizer, planner.discount, worth)


def planning_steps(planner: MPC) -> int:
    """Control steps that a plan looks ahead, H."""
    return len(planner.optimizer.initial().actions)
