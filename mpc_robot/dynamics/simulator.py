"""MuJoCo itself as the model: every candidate is one simulation of a batch on a thread pool."""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass, replace
from typing import Any, Literal

import mujoco
import numpy as np
import numpy.typing as npt
import torch
from mujoco.batch import Batch, SimulationError
from torch import Tensor

from mpc_robot.dynamics.base import Sensed, Trajectories, Transition
from mpc_robot.dynamics.randomization import Randomization, draw_variants
from mpc_robot.envs.base import Task, View, check_physics_state
from mpc_robot.envs.registry import make_env
from mpc_robot.envs.rewards import never
from mpc_robot.envs.servo import ServoLaw
from mpc_robot.envs.wrappers import muted_warnings, read_fields
from mpc_robot.errors import require, require_choices

Floats = npt.NDArray[np.float64]
Integrator = Literal["Euler", "RK4", "implicit", "implicitfast"]
Flags = npt.NDArray[np.bool_]
INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)
TIME = int(mujoco.mjtState.mjSTATE_TIME)
BEFORE_CONTROL = int(mujoco.mjtState.mjSTATE_CTRL) - 1  # what comes before it in the state


@dataclass(frozen=True)
class Physics:
    """How finely to simulate; None is as the environment does.

    A plan is made anew before its errors grow, so it needs less precision than the environment:
    Hopper's candidates cost a quarter with ``Euler`` in place of Runge and Kutta's four stages.

    Attributes:
        timestep: of a physics step, s; the control period is a multiple of it.
        integrator: of MuJoCo.
    """

    timestep: float | None = None
    integrator: Integrator | None = None

    def __post_init__(self) -> None:
        """Raises ValueError if there is no such integrator."""
        require_choices(self)

    def put_into(self, model: mujoco.MjModel, frame_skip: int) -> int:
        """Change the model; returns the physics steps in a control step that were ``frame_skip``.

        Raises:
            ValueError: if the control period is no multiple of the timestep.
        """
        period = frame_skip * model.opt.timestep
        timestep = model.opt.timestep if self.timestep is None else self.timestep
        steps = round(period / timestep) if 0 < timestep < math.inf else 0
        whole = steps >= 1 and math.isclose(steps * timestep, period, rel_tol=1e-6)
        require(whole, "timestep", f"a whole part of the control period of {period:g} s", timestep)
        model.opt.timestep = period / steps
        if self.integrator is not None:
            model.opt.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{self.integrator.upper()}")
        return steps


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
    threads. A candidate that terminated is simulated no further: its observation stays and it earns
    0. One that MuJoCo warns of (bad state or control, full buffers) or fails in earns NaN from that
    step on, and counts as diverged.

    What the physics state does not hold is computed anew at the start: fields such as ``xpos`` do
    not lag there as they do later, so a first reward made of them is off by a constant. Contact
    forces (``cfrc_ext``) are those at the start of the last physics step, which with the integrator
    RK4 is not quite where the environment has them.

    Attributes:
        task: what is simulated.
        model: the MuJoCo model, a copy of the environment's.
        frame_skip: physics steps in a control step.
        servo: what the servos beneath the actions command; None if there are none.
        threads: threads that simulate; 0 is one per CPU.
        variants: the models that every candidate is tried in.
        diverged: simulations that diverged since this was made.
        physics_steps: steps of MuJoCo simulated since then, in all simulations.
    """

    def __init__(
        self,
        task: Task,
        threads: int = 0,
        randomize: Randomization | None = None,
        physics: Physics | None = None,
    ) -> None:
        """Take the model from the task's environment.

        Args:
            task: a task on MuJoCo with ``observe`` and ``reward``; without ``terminated`` every
                step continues.
            threads: threads that simulate, the caller's included; 0 is one per CPU.
            randomize: what is not known of the robot; every candidate then has a particle in each
                variant of the model.
            physics: how finely to simulate, by default as the environment does.

        Raises:
            ValueError: if the task lacks ``observe`` or ``reward``, or the control period is no
                multiple of the timestep.
            TypeError: if its environment is not simulated by MuJoCo.
        """
        if task.observe is None or task.reward is None:
            missing = [name for name in ("observe", "reward") if getattr(task, name) is None]
            raise ValueError(f"task {task.name}: a simulator needs {' and '.join(missing)}")
        self.task, self._observe, self._reward = task, task.observe, task.reward
        self._terminated = task.terminated or never
        self.threads = threads
        self.model, frame_skip = _model_and_frame_skip(task)
        self.frame_skip = (physics or Physics()).put_into(self.model, frame_skip)
        self.variants = draw_variants(self.model, randomize)
        self.servo = None if task.servo is None else ServoLaw(task.servo, self.model)
        self.diverged, self.physics_steps = 0, 0
        self._data = mujoco.MjData(self.model)
        self._batches: dict[tuple[int, int], Batch] = {}
        self._rooms: dict[tuple[int, int], dict[str | int, Floats]] = {}

    @property
    def observes(self) -> Sensed:
        """The plant's full physics state."""
        return "state"

    def start(self, sensed: Floats, num: int) -> SimulatorState:
        """``num`` simulations at the physics state ``sensed[S]``.

        Raises:
            ValueError: if it is no integration state of this model.
        """
        check_physics_state(self.model, sensed)
        mujoco.mj_setState(self.model, self._data, sensed, INTEGRATION)
        mujoco.mj_forward(self.model, self._data)
        observation = self._observe(read_fields(self._data, self.task.fields))
        return SimulatorState(np.tile(sensed, (num, 1)), np.tile(observation, (num, 1)))

    def step(
        self, state: SimulatorState, action: Tensor, rng: torch.Generator
    ) -> Transition[SimulatorState]:
        """Advance B simulations by one control period under ``action[B, A]``.

        Row ``i`` is simulated in variant ``i % K``.
        """
        future, after = self.follow(state, action[:, None])
        return Transition(after, future.rewards[:, 0, 0], future.continues[:, 0, 0])

    def follow(self, state: SimulatorState, actions: Tensor) -> tuple[Trajectories, SimulatorState]:
        """Follow ``actions[B, H, A]`` from B states, as so many steps do; also where they end."""
        future, physics = self._simulate(state, actions, 1)
        return future, SimulatorState(physics, future.observations[:, 0, -1].numpy())

    def rollout(self, state: SimulatorState, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """Follow ``actions[N, H, A]`` from N states, one particle per variant of the model."""
        many = len(self.variants)
        physics = self.variants.sensed(state.physics.repeat(many, 0), self.model, rng)
        start = SimulatorState(physics, state.observation.repeat(many, 0))
        return self._simulate(start, actions, many)[0]

    @np.errstate(over="ignore", invalid="ignore")  # of simulations that diverge
    def _simulate(
        self, state: SimulatorState, actions: Tensor, particles: int
    ) -> tuple[Trajectories, Floats]:
        """Follow ``actions[N, H, A]`` in N P simulations; also where they end, ``[N P, S]``."""
        expected = (len(state.physics) // particles, *actions.shape[1:2], self.model.nu)
        if actions.shape != expected:
            raise ValueError(f"actions: expected shape {expected}, got {tuple(actions.shape)}")
        action = actions.detach().cpu().numpy().astype(np.float64).repeat(particles, 0)
        fields, commands, sound = self._physics(state.physics, action)
        physics = self._batch(len(action)).state.copy()
        sound &= np.isfinite(state.observation).all(axis=1, keepdims=True)
        observations = np.concatenate([state.observation[:, None], self._observe(fields)], axis=1)
        observations[:, 1:][~sound] = np.nan
        self.diverged += int((~sound[:, -1]).sum())
        seen = observations[:, 1:]
        ended = self._terminated(seen)
        rewards = np.where(sound, self._reward(observations[:, :-1], commands, seen), np.nan)
        rewards[:, 1:][np.logical_or.accumulate(ended, axis=1)[:, :-1] & sound[:, 1:]] = 0.0
        continues = np.where(ended, 0.0, 1.0)
        return Trajectories(
            *(
                torch.from_numpy(part.reshape(-1, particles, *part.shape[1:]))
                for part in (observations, rewards, continues)
            )
        ), physics

    def _physics(self, start: Floats, action: Floats) -> tuple[dict[str, Floats], Floats, Flags]:
        """Fields ``[B, H, ...]`` after each action, commands ``[B, H, A]``, if sound ``[B, H]``."""
        (num, horizon, _), batch = action.shape, self._batch(len(start))
        batch.state[:], batch.warning[:] = start, 0
        first = mujoco.mj_stateSize(self.model, BEFORE_CONTROL)
        held = start[:, None, first : first + self.model.nu]
        commands, late = np.concatenate([held, action], axis=1), self._late(num, horizon)
        at_once = self.servo is None and self._terminated is never
        simulate = self._at_a_stretch if at_once else self._step_by_step
        with muted_warnings():  # a plan that diverges is no news, just a bad plan
            fields, sound = simulate(batch, commands, late)
        return fields, commands[:, 1:], sound

    def _at_a_stretch(
        self, batch: Batch, commands: Floats, late: npt.NDArray[np.int64]
    ) -> tuple[dict[str, Floats], Flags]:
        """Simulate the whole horizon in one call, where nothing happens between control steps."""
        (num, horizon, skip), started = late.shape, batch.state[:, :1].copy()
        late = late.reshape(num, horizon * skip)
        room, failed = self._room((num, horizon * skip), TIME), np.zeros(num, dtype=bool)
        self.physics_steps += late.size
        try:
            batch.rollout(late.shape[1], _picked(commands, late), record=tuple(room), out=room)
        except SimulationError as error:
            failed[error.ids] = True
        # A simulation stops right after the physics step that it warned of, and its time with it.
        warned = batch.warning[..., 1].any(axis=1)
        sound_steps = np.full(num, horizon)
        if warned.any():
            times = np.concatenate([started, room[TIME][..., 0]], axis=1)
            last = (np.diff(times, axis=1) > 0).sum(axis=1) - 1
            sound_steps[warned] = last[warned] // skip
        sound_steps[failed] = 0
        ends = {name: room[name][:, skip - 1 :: skip] for name in self.task.fields}
        return ends, np.arange(horizon) < sound_steps[:, None]

    def _step_by_step(
        self, batch: Batch, commands: Floats, late: npt.NDArray[np.int64]
    ) -> tuple[dict[str, Floats], Flags]:
        """Simulate control step by control step: servos act on each, the dead drop out."""
        (num, horizon, _), action = late.shape, commands[:, 1:].copy()
        room = self._room((horizon, num))
        sound, alive = np.empty((horizon, num), dtype=bool), np.ones(num, dtype=bool)
        failed = np.zeros(num, dtype=bool)
        for k in range(horizon):
            if self.servo is not None:
                commands[:, k + 1] = self.servo.command(batch.state, action[:, k])
            failed[self._advance(batch, alive, _picked(commands, late[:, k]))] = True
            for name, values in room.items():
                values[k] = batch.bind(str(name))
            sound[k] = ~(failed | batch.warning[..., 1].any(axis=1))
            now = {name: room[name][k] for name in self.task.fields}
            alive = sound[k] & ~self._terminated(self._observe(now))
        return {name: np.moveaxis(room[name], 0, 1) for name in self.task.fields}, sound.T.copy()

    def _advance(self, batch: Batch, alive: Flags, control: Floats) -> list[int]:
        """Simulate one control step where alive; which simulations failed in it."""
        ids = np.flatnonzero(alive)
        if len(ids) == 0:
            return []
        self.physics_steps += self.frame_skip * len(ids)
        commands = control if len(ids) == len(alive) else control[ids]
        try:
            batch.rollout(self.frame_skip, commands, record=(), ids=ids)
        except SimulationError as error:
            return list(error.ids)
        return []

    def _late(self, num: int, horizon: int) -> npt.NDArray[np.int64]:
        """Which command is in force in each physics step ``[B, H, frame_skip]``.

        0 is the one held at the start, ``k + 1`` that of control step ``k``.
        """
        delay = self.variants.delay[np.arange(num) % len(self.variants), None]
        arrived = (np.arange(horizon * self.frame_skip) - delay) // self.frame_skip + 1
        latest: npt.NDArray[np.int64] = np.maximum(arrived, 0)
        return latest.reshape(num, horizon, self.frame_skip)

    def _room(self, shape: tuple[int, int], *others: int) -> dict[str | int, Floats]:
        """Room for the task's fields and other parts of the state ``[*shape, ...]``, used again."""
        if shape not in self._rooms:
            fields = read_fields(self._data, self.task.fields)
            room: dict[str | int, Floats] = {
                name: np.empty((*shape, *one.shape), one.dtype) for name, one in fields.items()
            }
            room |= {
                part: np.empty((*shape, mujoco.mj_stateSize(self.model, part))) for part in others
            }
            self._rooms[shape] = room
        return self._rooms[shape]

    def _batch(self, num: int) -> Batch:
        """The batch of that many simulations; making one costs more than a plan."""
        own = os.getpid(), num  # a batch's threads do not survive a fork
        if own not in self._batches:
            self._batches[own] = batch = Batch(self.model, num, nthread=self.threads)
            self.variants.put_into(batch)
            for name in self.task.fields:
                batch.bind(name)  # a field that is bound after a call reads zero
        return self._batches[own]


def _picked(commands: Floats, which: npt.NDArray[np.int64]) -> Floats:
    """Of ``commands[B, K, A]``, those ``which[B, n]`` in each row: ``[B, n, A]``."""
    picked: Floats = commands[np.arange(len(commands))[:, None], which]
    return picked


def _model_and_frame_skip(task: Task) -> tuple[mujoco.MjModel, int]:
    """A copy of the environment's model that does not hide divergence by resetting itself."""
    require(task.view.repeat == 1, "task", "an action for each control step", task.name)
    env = make_env(replace(task, view=View()))
    base: Any = env.unwrapped
    model = copy.copy(base.model)
    path = getattr(base, "fullpath", None)  # of Gymnasium's, which compute the forces themselves
    if "cfrc_ext" in task.fields and path is not None:
        model = _with_contact_forces(path)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    env.close()
    return model, base.frame_skip


def _with_contact_forces(path: str) -> mujoco.MjModel:
    """The model of a file with a sensor for whose sake MuJoCo computes ``cfrc_ext``."""
    spec = mujoco.MjSpec.from_file(path)
    body = spec.worldbody.first_body()
    site = body.add_site(name="mpc_robot_contact_forces")
    spec.add_sensor(
        type=mujoco.mjtSensor.mjSENS_ACCELEROMETER,
        objtype=mujoco.mjtObj.mjOBJ_SITE,
        objname=site.name,
    )
    return spec.compile()
