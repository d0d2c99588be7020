"""Delay compensation: where the robot will be when a plan that is begun now takes effect."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
import numpy.typing as npt

from mpc_robot.runtime.plan import Sampling, TimedPlan

Floats = npt.NDArray[np.float64]
INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)


@dataclass(frozen=True)
class Commands:
    """What was sent lately, and what will be until a new plan comes.

    Attributes:
        stamps: when commands were sent ``[M]``, s, in order.
        sent: those commands ``[M, A]``; the first also holds before.
        plan: what is sent after the last of them; None for nothing new.
        sampling: how the plan is sampled.
    """

    stamps: Floats
    sent: Floats
    plan: TimedPlan | None = None
    sampling: Sampling = "zero"

    def at(self, time: float) -> Floats:
        """The command ``[A]`` that is the last one sent at ``time``, s."""
        if self.plan is not None and time > self.stamps[-1]:
            return self.plan.sample(time, self.sampling)
        which = int(np.searchsorted(self.stamps, time + 1e-9, side="right")) - 1
        held: Floats = self.sent[max(which, 0)]
        return held


class CommandHistory:
    """The commands that a loop has sent lately."""

    def __init__(self, seconds: float, rate: float, first: Floats) -> None:
        """Keep so many seconds at ``rate`` commands per s; before the first one, ``first[A]``."""
        rows = math.ceil(seconds * rate) + 1  # one more, as the first also holds before
        self._rows = np.tile(np.append(-np.inf, first), (rows, 1))

    def add(self, stamp: float, command: Floats) -> None:
        """``command[A]`` was sent at ``stamp``, s; the oldest is forgotten."""
        self._rows[:-1] = self._rows[1:]
        self._rows[-1] = np.append(stamp, command)

    @property
    def commands(self) -> Commands:
        """A copy of what is kept; what was never sent has a stamp of -inf."""
        rows = self._rows.copy()
        return Commands(rows[:, 0], rows[:, 1:])


class Forecast:
    """Simulate a robot under commands that are already decided on."""

    def __init__(self, model: mujoco.MjModel, delay: float) -> None:
        """Forecast by that model at its timestep, for actuators that obey ``delay`` s late."""
        self._model, self._data, self._delay = model, mujoco.MjData(model), delay

    def __call__(self, physics: Floats, stamp: float, until: float, commands: Commands) -> Floats:
        """The physics state ``[S]`` at ``until``, s, of a robot in ``physics[S]`` at ``stamp``."""
        mujoco.mj_setState(self._model, self._data, physics, INTEGRATION)
        timestep = self._model.opt.timestep
        for k in range(round(max(until - stamp, 0.0) / timestep)):
            self._data.ctrl[:] = commands.at(stamp + k * timestep - self._delay)
            mujoco.mj_step(self._model, self._data)
        ahead = np.empty_like(physics)
        mujoco.mj_getState(self._model, self._data, ahead, INTEGRATION)
        return ahead

    def divergence(
        self, before: Floats, after: Floats, stamps: tuple[float, float], commands: Commands
    ) -> float:
        """By how much the positions in ``after[S]`` are not those forecast from ``before[S]``.

        The greatest difference of any entry of qpos, rad or m, over the time between ``stamps``, s.
        """
        expected = self(before, *stamps, commands)
        positions = slice(1, 1 + self._model.nq)  # the state begins with the time
        return float(np.abs(expected[positions] - after[positions]).max())
