"""The planner beside the control loop: shown the newest state, asked for the newest plan."""

from __future__ import annotations

import math
import os
from collections import deque
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mpc_robot.controllers.base import Controller
from mpc_robot.envs import Task
from mpc_robot.errors import require
from mpc_robot.runtime.base import Clock, RobotState
from mpc_robot.runtime.clock import RealClock
from mpc_robot.runtime.forecast import Commands, Forecast
from mpc_robot.runtime.kept import KeptProcess
from mpc_robot.runtime.mailbox import Mailbox, wait_for
from mpc_robot.runtime.plan import Sampling, TimedPlan, check_sampling
from mpc_robot.runtime.sensing import Sensing

Floats = npt.NDArray[np.float64]
GIVES_WAY = 5
"""Niceness of a planner's process: who sends commands shall not wait for who plans them."""
HISTORY = 0.5
"""For how long after its effect a planner is told of a command, s: from one plan to the next."""
FASTEST = 10_000.0
"""Commands per s up to which that is so."""
STEPS = 64
"""Steps of a plan that actuation gets to see."""
_IDLE = 0.1  # s to wait for a state before looking around


class Planner(Protocol):
    """Whatever has a plan ready."""

    @property
    def sensing(self) -> Sensing | None:
        """What states it is shown must be of; None if it looks at none."""
        ...

    @property
    def history(self) -> float:
        """For how long it wants to be told of a command, s."""
        ...

    def see(self, state: RobotState, commands: Commands) -> None:
        """Take note of the newest state, and of the commands sent lately."""
        ...

    def plan(self) -> TimedPlan | None:
        """The newest plan; None while there is none."""
        ...

    def restart(self) -> None:
        """Begin anew after a failure, as if nothing had been planned yet."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class InStep:
    """The controller itself, asked at every state while the plant waits: for lock step.

    Attributes:
        sensing: what it makes of states.
        history: 0 s; what was sent is of no use to it.
    """

    def __init__(self, controller: Controller, task: Task) -> None:
        """Ask ``controller`` what to do at ``task``."""
        self.sensing, self.history = Sensing(task), 0.0
        self._controller = controller
        self._plan: TimedPlan | None = None

    def see(self, state: RobotState, commands: Commands) -> None:
        """Act on it."""
        sensed = self.sensing.sensed(state, self._controller.observes)
        action = self._controller.act(sensed)
        dt = self.sensing.spec.dt
        self._plan = TimedPlan(state.stamp, dt, action[None], state.stamp)

    def plan(self) -> TimedPlan | None:
        """The action of the last state."""
        return self._plan

    def restart(self) -> None:
        """Forget the last action."""
        self._plan = None

    def close(self) -> None:
        """Nothing to let go of."""


@runtime_checkable
class Skips(Protocol):
    """A controller whose next search can begin some steps later."""

    def skip(self, steps: int) -> None:
        """Move its plan on by so many control steps."""
        ...


@dataclass(frozen=True)
class Timing:
    """How plans are timed.

    Attributes:
        compensate: plan from where the robot will be when the plan takes effect, not from where it
            was seen.
        actuation_delay: time from a command's sending to its effect, s.
        latency_quantile: which share of plans shall be ready when they are meant to start.
        sampling: how actuation samples plans.
    """

    compensate: bool = True
    actuation_delay: float = 0.0
    latency_quantile: float = 0.9
    sampling: Sampling = "zero"

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        delay, share = self.actuation_delay, self.latency_quantile
        require(0 <= delay < 10, "actuation_delay", "from 0 to 10 s", delay)
        require(0 < share <= 1, "latency_quantile", "in (0, 1]", share)
        check_sampling(self.sampling)


class PlannerProcess:
    """A controller in a process of its own, which is begun anew when it dies or is killed.

    It plans from the newest state it was shown, in the background, as often as it can but once per
    control period. What it cannot plan from, it says on stderr, and plans from the next state.

    Attributes:
        sensing: what it makes of states.
        timing: how plans are timed.
        history: for how long it wants to be told of a command, s.
    """

    def __init__(
        self,
        controller: Controller,
        task: Task,
        seed: int = 0,
        timing: Timing | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Fork now.

        Args:
            controller: plans in the other process, and should not be used here.
            task: what it plans for.
            seed: it is reset with it.
            timing: how plans are timed.
            clock: the plant's, if other processes can see it; the world's by default.

        Raises:
            ValueError: if delays are to be compensated, but there are servos beneath the task's
                actions: what they command is not known.
        """
        self.sensing = sensing = Sensing(task)
        self.timing = timing or Timing()
        self.history = HISTORY + self.timing.actuation_delay
        known = task.servo is None or not self.timing.compensate
        require(known, "task", "one whose actions are commands, to compensate delays", task.name)
        self._most = math.ceil(self.history * FASTEST)
        self._sights = Mailbox(_Sight.size(sensing, self._most))
        self._plans = Mailbox(5 + STEPS * sensing.spec.action_dim)
        self._read = 0
        self._newest: TimedPlan | None = None
        worker = _Worker(
            controller,
            sensing,
            self.timing,
            clock or RealClock(),
            sights=self._sights,
            plans=self._plans,
        )
        self._process = KeptProcess(lambda: worker.work(seed))

    @property
    def pid(self) -> int:
        """The process that plans, 0 while it is being begun."""
        return self._process.pid

    def see(self, state: RobotState, commands: Commands) -> None:
        """Show it the newest state."""
        self._sights.put(*_Sight.parts(state, commands, self.sensing, self._most))

    def plan(self) -> TimedPlan | None:
        """The newest plan."""
        got = self._plans.get()
        if got is not None and got[0] != self._read:
            self._read, message = got
            start, seen, latency, value, divergence = (float(entry) for entry in message[:5])
            spec = self.sensing.spec
            actions = message[5:].reshape(-1, spec.action_dim)
            self._newest = TimedPlan(start, spec.dt, actions, seen, latency, value, divergence)
        return self._newest

    def restart(self) -> None:
        """Kill what plans now; its last plan stays until there is another."""
        self._process.restart()

    def close(self) -> None:
        """End the process."""
        self._process.close()


@dataclass(frozen=True)
class _Sight:
    """What the planner is shown: a state, and the commands sent around it."""

    state: RobotState
    commands: Commands

    @staticmethod
    def size(sensing: Sensing, most: int) -> int:
        """Numbers in a message with so many commands."""
        spec = sensing.spec
        return 2 + sensing.physics_dim + spec.observation_dim + most * (1 + spec.action_dim)

    @staticmethod
    def parts(
        state: RobotState, commands: Commands, sensing: Sensing, most: int
    ) -> list[npt.ArrayLike]:
        """A message; NaN for what the plant does not report."""
        dims = sensing.physics_dim, sensing.spec.observation_dim
        physics, seen = (
            np.full(dim, np.nan) if part is None else part
            for dim, part in zip(dims, (state.physics, state.observation), strict=True)
        )
        sent = np.column_stack([commands.stamps, commands.sent])[-most:]
        return [state.stamp, state.number, physics, seen, sent]

    @classmethod
    def of(cls, message: Floats, sensing: Sensing) -> _Sight:
        """Read a message."""
        ends = 2 + np.cumsum([sensing.physics_dim, sensing.spec.observation_dim])
        head, physics, observation, sent = np.split(message, [2, *ends])
        history = sent.reshape(-1, 1 + sensing.spec.action_dim)
        state = RobotState(head[0], int(head[1]), _given(physics), _given(observation))
        return cls(state, Commands(history[:, 0], history[:, 1:]))


def _given(values: Floats) -> Floats | None:
    """``values`` unless the plant does not report them."""
    return None if len(values) == 0 or np.isnan(values[0]) else values


class _Worker:
    """What happens in the planner's process."""

    def __init__(
        self,
        controller: Controller,
        sensing: Sensing,
        timing: Timing,
        clock: Clock,
        *,
        sights: Mailbox,
        plans: Mailbox,
    ) -> None:
        """Everything it needs; nothing is begun yet."""
        self._controller, self._sensing, self._timing = controller, sensing, timing
        self._sights, self._plans, self._clock = sights, plans, clock
        self._latencies: deque[float] = deque(maxlen=50)
        self._last: tuple[TimedPlan, _Sight] | None = None
        self._forecast = None
        if timing.compensate and sensing.model is not None:
            self._forecast = Forecast(sensing.model, timing.actuation_delay)

    def work(self, seed: int) -> None:
        """Plan for good."""
        os.nice(GIVES_WAY)
        self._controller.reset(seed)
        while True:
            if not wait_for([self._sights], _IDLE):
                continue
            self._await_turn()
            if (got := self._sights.get()) is not None:
                self._plan(_Sight.of(got[1], self._sensing))

    def _latency(self) -> float:
        """How long the next plan will take, s."""
        if not self._latencies:
            return 0.0
        return float(np.quantile(self._latencies, self._timing.latency_quantile))

    def _await_turn(self) -> None:
        """Plans start a control period apart or more, as warm starts take for granted."""
        if self._last is not None:
            due = self._last[0].start + self._sensing.spec.dt
            self._clock.wait_until(due - self._latency())

    def _plan(self, sight: _Sight) -> None:
        """Plan from what is seen; it is not tried again if that fails."""
        began = self._clock.now()
        start = began + self._latency()
        self._skip(start)
        action = self._controller.act(self._sensed(sight, start))
        intended = self._controller.plan
        actions = action[None] if intended is None else intended.actions.double().numpy()
        value = 0.0 if intended is None else intended.value
        latency = self._clock.now() - began
        if self._last is not None:  # the first plan of a process takes longer than all others
            self._latencies.append(latency)
        dt, seen = self._sensing.spec.dt, sight.state.stamp
        divergence = self._divergence(sight)
        plan = TimedPlan(start, dt, actions[:STEPS], seen, latency, value, divergence)
        self._send(plan)
        self._last = plan, sight

    def _skip(self, start: float) -> None:
        """Move a planner's warm start to the step that the plan will start with."""
        if self._last is not None and isinstance(self._controller, Skips):
            steps = round((start - self._last[0].start) / self._sensing.spec.dt)
            self._controller.skip(max(steps - 1, 0))

    def _sensed(self, sight: _Sight, start: float) -> Floats:
        """What to plan from: where the robot will be, as far as that can be known."""
        state, plan = sight.state, None if self._last is None else self._last[0]
        if plan is not None and not plan.sound:  # nobody follows it
            plan = None
        if self._forecast is not None and state.physics is not None:
            known = sight.commands
            commands = Commands(known.stamps, known.sent, plan, self._timing.sampling)
            until = start + self._timing.actuation_delay
            ahead = self._forecast(state.physics, state.stamp, until, commands)
            state = RobotState(until, state.number, ahead)
        return self._sensing.sensed(state, self._controller.observes)

    def _divergence(self, sight: _Sight) -> float:
        """Between this state and what the last one let expect."""
        now = sight.state
        if self._last is None or self._forecast is None or now.physics is None:
            return 0.0
        before = self._last[1].state
        if before.physics is None or now.number <= before.number:  # the plant began anew
            return 0.0
        stamps = before.stamp, now.stamp
        return self._forecast.divergence(before.physics, now.physics, stamps, sight.commands)

    def _send(self, plan: TimedPlan) -> None:
        """Make it the newest plan.

        Raises:
            ValueError: if its commands are of the wrong size.
        """
        shape, size = plan.actions.shape, self._sensing.spec.action_dim
        require(shape[1:] == (size,), "plan", f"actions [H, {size}]", shape)
        head = plan.start, plan.seen, plan.latency, plan.value, plan.divergence
        self._plans.put(*head, plan.actions)
