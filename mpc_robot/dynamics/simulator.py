"""MuJoCo itself as the model: every candidate is one simulation of a batch on a thread pool."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
import torch
from mujoco.batch import Batch, SimulationError
from torch import Tensor

from mpc_robot.dynamics.base import Sensed, Trajectories, Transition
from mpc_robot.envs.base import Task
from mpc_robot.envs.registry import make_env
from mpc_robot.envs.wrappers import muted_warnings, read_fields

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
TIME = int(mujoco.mjtState.mjSTATE_TIME)


@dataclass(frozen=True)
class SimulatorState:
    """Where B simulations are.

    Attributes:
        physics: integration states ``[B, S]``.
        observation: the task's observations ``[B, D]``; NaN for simulations that diverged.
    """

    physics: Floats
    observation: Floats


class Simulator:
    """The task's own physics, observation, reward and termination: a model without error.

    Numbers come out in float64, as MuJoCo computes them, and equal to the bit at any number of
    threads. A simulation that MuJoCo warns of (bad state or control, full buffers) or fails in
    earns NaN from that step on.

    What a MuJoCo step does not compute is zero: ``cfrc_ext``, and so the contact cost of Ant and
    Humanoid. What the physics state does not hold is computed anew at the start: fields such as
    ``xpos`` do not lag there as they do later, so a first reward made of them is off by a constant.
    """

    def __init__(self, task: Task, threads: int = 0) -> None:
        """Take the model from the task's environment.

        Args:
            task: a task on MuJoCo with ``observe`` and ``reward``; without ``terminated`` every
                step continues.
            threads: threads that simulate, the caller's included; 0 is one per CPU.

        Raises:
            ValueError: if the task lacks ``observe`` or ``reward``.
            TypeError: if its environment is not simulated by MuJoCo.
        """
        if task.observe is None or task.reward is None:
            missing = [name for name in ("observe", "reward") if getattr(task, name) is None]
            raise ValueError(f"task {task.name}: a simulator needs {' and '.join(missing)}")
        self._task, self._observe, self._reward = task, task.observe, task.reward
        self._threads = threads
        self._model, self._frame_skip = _model_and_frame_skip(task)
        self._data = mujoco.MjData(self._model)
        self._batches: dict[int, Batch] = {}

    @property
    def observes(self) -> Sensed:
        """The plant's full physics state."""
        return "state"

    def start(self, sensed: Floats, num: int) -> SimulatorState:
        """``num`` simulations at the physics state ``sensed[S]``.

        Raises:
            ValueError: if it is no integration state of this model.
        """
        size = mujoco.mj_stateSize(self._model, INTEGRATION)
        if sensed.shape != (size,):
            raise ValueError(f"sensed: expected a physics state ({size},), got {sensed.shape}")
        mujoco.mj_setState(self._model, self._data, sensed, INTEGRATION)
        mujoco.mj_forward(self._model, self._data)
        observation = self._observe(read_fields(self._data, self._task.fields))
        return SimulatorState(np.tile(sensed, (num, 1)), np.tile(observation, (num, 1)))

    def step(
        self, state: SimulatorState, action: Tensor, rng: torch.Generator
    ) -> Transition[SimulatorState]:
        """Advance B simulations by one control period under ``action[B, A]``."""
        physics, future = self._simulate(state, action[:, None])
        after = SimulatorState(physics, future.observations[:, 0, -1].numpy())
        return Transition(after, future.rewards[:, 0, 0], future.continues[:, 0, 0])

    def rollout(self, state: SimulatorState, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """Follow ``actions[N, H, A]`` from N states; one particle, as nothing is uncertain."""
        return self._simulate(state, actions)[1]

    @np.errstate(over="ignore", invalid="ignore")  # of simulations that diverge
    def _simulate(self, state: SimulatorState, actions: Tensor) -> tuple[Floats, Trajectories]:
        """The physics states at the end ``[N, S]`` and all that was seen on the way."""
        expected = (len(state.physics), *actions.shape[1:2], self._model.nu)
        if actions.shape != expected:
            raise ValueError(f"actions: expected shape {expected}, got {tuple(actions.shape)}")
        action = actions.detach().cpu().numpy().astype(np.float64)
        fields, sound, physics = self._physics(state.physics, action)
        sound &= np.isfinite(state.observation).all(axis=1, keepdims=True)
        seen = np.where(sound[..., None], self._observe(fields), np.nan)
        observations = np.concatenate([state.observation[:, None], seen], axis=1)
        rewards = np.where(sound, self._reward(observations[:, :-1], action, seen), np.nan)
        terminated = self._task.terminated
        ended = np.zeros_like(sound) if terminated is None else terminated(seen)
        return physics, Trajectories(
            observations=torch.from_numpy(observations[:, None]),
            rewards=torch.from_numpy(rewards[:, None]),
            continues=torch.from_numpy(np.where(ended, 0.0, 1.0)[:, None]),
        )

    def _physics(self, start: Floats, action: Floats) -> tuple[dict[str, Floats], Flags, Floats]:
        """Fields after each action ``[N, H, ...]``, whether sound ``[N, H]``, end ``[N, S]``."""
        (num, horizon, _), skip = action.shape, self._frame_skip
        batch = self._batch(num)
        batch.state[:], batch.warning[:] = start, 0
        record = self._record(num, horizon * skip)
        failed = np.zeros(num, dtype=bool)
        with muted_warnings():  # a plan that diverges is no news, just a bad plan
            try:
                batch.rollout(
                    horizon * skip, action.repeat(skip, axis=1), record=tuple(record), out=record
                )
            except SimulationError as error:
                failed[error.ids] = True
        # A simulation stops right after the substep that it warned of, and its time with it.
        warned = batch.warning[..., 1].any(axis=1)
        times = np.concatenate([start[:, None, :1], record.pop(TIME)], axis=1)[..., 0]
        last = (np.diff(times, axis=1) > 0).sum(axis=1) - 1
        sound_steps = np.where(failed, 0, np.where(warned, last // skip, horizon))
        sound = np.arange(horizon) < sound_steps[:, None]
        ends = {str(name): values[:, skip - 1 :: skip] for name, values in record.items()}
        return ends, sound, batch.state.copy()

    def _record(self, num: int, substeps: int) -> dict[str | int, Floats]:
        """Room for the time and the task's fields after each substep ``[N, substeps, ...]``."""
        fields = read_fields(self._data, self._task.fields)
        room: dict[str | int, Floats] = {
            name: np.zeros((num, substeps, *value.shape), value.dtype)
            for name, value in fields.items()
        }
        return {TIME: np.zeros((num, substeps, 1)), **room}

    def _batch(self, num: int) -> Batch:
        """The batch of that many simulations; making one costs more than a plan."""
        if num not in self._batches:
            self._batches[num] = Batch(self._model, num, nthread=self._threads)
        return self._batches[num]


def _model_and_frame_skip(task: Task) -> tuple[mujoco.MjModel, int]:
    """A copy of the environment's model that does not hide divergence by resetting itself."""
    env = make_env(task)
    base: Any = env.unwrapped
    model = copy.copy(base.model)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    env.close()
    return model, base.frame_skip
