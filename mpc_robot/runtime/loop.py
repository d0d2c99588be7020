"""The control loop: commands at a fixed rate, whatever the planner and the robot are doing."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mpc_robot.errors import require
from mpc_robot.runtime.base import Plant, RobotState
from mpc_robot.runtime.forecast import CommandHistory
from mpc_robot.runtime.histogram import Histogram
from mpc_robot.runtime.plan import Sampling, TimedPlan, check_sampling
from mpc_robot.runtime.planner import Planner, PlannerProcess
from mpc_robot.runtime.safety import Safety
from mpc_robot.runtime.scheduling import fifo_scheduling
from mpc_robot.runtime.states import StateGate

Floats = npt.NDArray[np.float64]
TIMES = ("period", "jitter", "tick", "state_age", "plan_age", "plan_latency")


class Recorder(Protocol):
    """Keeps what happens; none of its methods may wait for a disk."""

    def state(self, state: RobotState) -> None:
        """A new state came."""
        ...

    def command(self, stamp: float, command: Floats) -> None:
        """A command was sent."""
        ...

    def event(self, stamp: float, name: str, reason: str) -> None:
        """Something happened."""
        ...

    def close(self) -> None:
        """Nothing more will."""
        ...


@dataclass(frozen=True)
class LoopStatus:
    """What the loop has counted since it was last run; times in s.

    Attributes:
        ticks: commands sent.
        missed: deadlines that were over before their tick could begin.
        states: states that came and were sound.
        tripped: whether a safe action is in command.
        stopped: why the robot was stopped, None if it was not.
        times: count, p50, p99 and max of ``period`` (from tick to tick), ``jitter`` (lateness of
            ticks), ``tick`` (how long a tick takes), ``state_age``, ``plan_age`` (of the state that
            a plan was made from, when it is sampled) and ``plan_latency``.
        events: how often what happened, since the beginning.
    """

    ticks: int
    missed: int
    states: int
    tripped: bool
    stopped: str | None
    times: dict[str, dict[str, float]]
    events: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class ControlLoop:
    """Reads a plant, shows its state to the planner, and sends what the plan says, made safe.

    Ticks have absolute deadlines, so delays do not add up. Deadlines that have passed when a tick
    ends are counted as missed; nothing makes up for them.

    Attributes:
        safety: has the last word; also the emergency stop.
        rate: ticks per s.
    """

    def __init__(
        self,
        plant: Plant,
        planner: Planner,
        safety: Safety,
        rate: float,
        *,
        sampling: Sampling = "zero",
        recorder: Recorder | None = None,
        patience: float = 2.0,
        real_time: bool = False,
    ) -> None:
        """Connect the parts.

        Args:
            plant: the robot.
            planner: what it shall do; states that it could not plan from are refused.
            safety: what it may do.
            rate: ticks per s.
            sampling: how plans are sampled between their steps.
            recorder: keeps what happens; None for nobody.
            patience: time without a new plan, though there are states, after which the planner is
                begun anew, s.
            real_time: whether :meth:`run` has its thread run under real-time scheduling, before
                everything ordinary; where it forks or starts threads, those are ordinary.

        Raises:
            ValueError: if rate or patience is not positive, there is no such sampling, or the
                planner or the limiter takes another one for granted.
            RealTimeRefusedError: if the system does not allow real-time scheduling.
        """
        require(0 < rate < np.inf, "rate", "a positive number of Hz", rate)
        reckoned = f"{1.0 / safety.dt:g} Hz, which the limiter reckons with"
        require(abs(safety.dt * rate - 1.0) < 1e-6, "rate", reckoned, rate)
        require(patience > 0, "patience", "positive", patience)
        check_sampling(sampling)
        if isinstance(planner, PlannerProcess):
            expected = planner.timing.sampling
            require(sampling == expected, "sampling", f"{expected!r}, the planner's", sampling)
        self.safety, self.rate = safety, rate
        self._plant, self._planner = plant, planner
        self._sampling: Sampling = sampling
        self._recorder, self._gate = recorder, StateGate(safety.events, planner.sensing)
        self._ended = False
        self._sent = CommandHistory(planner.history, rate, safety.sent)
        self._patience, self._last_plan = patience, -np.inf
        self._scheduling: Callable[[], AbstractContextManager[None]]
        self._scheduling = fifo_scheduling if real_time else nullcontext
        self._forget()
        with self._scheduling():
            pass  # refused now, if at all, before anybody counts on it

    def run(
        self, seconds: float | None = None, told: Callable[[], bool] = lambda: False
    ) -> LoopStatus:
        """Tick until the plant is over, ``told`` says so, :meth:`end` is called, or time is up."""
        self._forget()
        with self._scheduling():
            self._keep_ticking(seconds, told)
        self._ended = False
        self._read()  # a recorder wants to know where it ended
        return self.status()

    def _keep_ticking(self, seconds: float | None, told: Callable[[], bool]) -> None:
        """Tick at every deadline that is not over."""
        clock, period = self._plant.clock, 1.0 / self.rate
        began = deadline = clock.now()
        while not (self._ended or self._plant.over or told()):
            if seconds is not None and deadline - began >= seconds - 0.5 * period:
                break
            clock.wait_until(deadline)
            now = clock.now()
            self._tick(now, deadline)
            passed = math.ceil((clock.now() - deadline) / period - 1e-6)  # but for rounding
            self._missed += max(passed - 1, 0)
            deadline += max(passed, 1) * period

    def end(self) -> None:
        """Leave :meth:`run` after the tick that is going on; from any thread or signal handler.

        Where none is going on, the next one ends before its first tick: no end is lost.
        """
        self._ended = True

    def status(self) -> LoopStatus:
        """A snapshot of the counters; from any thread."""
        return LoopStatus(
            self._ticks,
            self._missed,
            self._states,
            self.safety.tripped,
            self.safety.stopped,
            {name: times.summary() for name, times in self._times.items()},
            dict(self.safety.events.counts),
        )

    def _forget(self) -> None:
        """Count from zero."""
        self._times = {name: Histogram() for name in TIMES}
        self._ticks = self._missed = self._states = 0
        self._last_tick, self._waiting_since = np.nan, np.inf

    def _tick(self, now: float, deadline: float) -> None:
        """Read, show, command."""
        if (new := self._read()) is not None:
            self._planner.see(new, self._sent.commands)
        state, plan = self._gate.newest, self._planner.plan()
        self._lose_patience(now, state, plan)
        command = self.safety.command(now, state, plan, self._sampling)
        self._plant.write(command)
        self._sent.add(now, command)
        self._count(now, deadline, state, plan)
        if self._recorder is not None:
            self._recorder.command(now, command)
            for event in self.safety.events.take():
                self._recorder.event(event.stamp, event.name, event.reason)

    def _read(self) -> RobotState | None:
        """The plant's state, if there is a new one and it is sound."""
        state = self._plant.read()
        new = self._gate.pass_on(self._plant.clock.now(), state)  # not of an earlier moment
        if new is not None:
            self._states += 1
            if self._recorder is not None:
                self._recorder.state(new)
        return new

    def _lose_patience(self, now: float, state: RobotState | None, plan: TimedPlan | None) -> None:
        """Begin the planner anew if states come and plans do not."""
        nothing_to_plan_from = state is None or now - state.stamp > self._patience
        if nothing_to_plan_from or (plan is not None and plan.start > self._last_plan):
            self._waiting_since = now
        self._waiting_since = min(self._waiting_since, now)
        if now - self._waiting_since > self._patience:
            self._waiting_since = now
            self._planner.restart()
            self.safety.events.add(now, "planner", f"no new plan in {self._patience:g} s")

    def _count(
        self, now: float, deadline: float, state: RobotState | None, plan: TimedPlan | None
    ) -> None:
        """Measure the tick that is about to end."""
        self._ticks += 1
        self._times["jitter"].add(now - deadline)
        self._times["tick"].add(self._plant.clock.now() - now)
        if self._ticks > 1:
            self._times["period"].add(now - self._last_tick)
        self._last_tick = now
        if state is not None:
            self._times["state_age"].add(now - state.stamp)
        if plan is not None:
            self._times["plan_age"].add(now - plan.seen)
            if plan.start > self._last_plan:
                self._times["plan_latency"].add(plan.latency)
                self._last_plan = plan.start
