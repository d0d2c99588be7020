"""Safety of the command that is sent: limits, watchdogs, and what to do when one of them barks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpc_robot.errors import require
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.events import EventLog
from mpc_robot.runtime.guards import Guard, Workspace
from mpc_robot.runtime.limits import CommandLimiter, CommandLimits
from mpc_robot.runtime.plan import Sampling, TimedPlan
from mpc_robot.runtime.safe_actions import Hold, SafeAction

Floats = npt.NDArray[np.float64]
TOLERANCE = 1e-9
"""Change of a command that is rounding, not an intervention."""


@dataclass(frozen=True)
class Watchdogs:
    """What counts as a fault, and when it is over.

    Attributes:
        state_age: age from which a state is stale, s.
        plan_age: age, of the state that a plan was made from, from which the plan is stale, s. It
            should be less than the horizon: after its end, a plan's last command is held.
        divergence: distance of a state from what was forecast of it that is too much, rad or m.
        recover_after: time without any fault after which the plan is followed again, s.
        blend: time over which commands then pass from the safe action to the plan, s.
    """

    state_age: float = 0.1
    plan_age: float = 0.5
    divergence: float = np.inf
    recover_after: float = 0.2
    blend: float = 0.2

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        for name in ("state_age", "plan_age", "divergence"):
            require(getattr(self, name) > 0, name, "positive", getattr(self, name))
        for name in ("recover_after", "blend"):
            require(getattr(self, name) >= 0, name, "not negative", getattr(self, name))


class Safety:
    """Turns what is planned into what is sent.

    Guards and safe actions change what is wanted; the limiter has the last word, so that no command
    is ever outside its limits, whatever went wrong before it. A trip ends by itself once its causes
    are gone; a stop only by :meth:`reset`.

    Attributes:
        events: what it did, and why.
        tripped: whether a safe action is in command.
    """

    def __init__(
        self,
        limiter: CommandLimiter,
        watchdogs: Watchdogs | None = None,
        guards: Sequence[Guard] = (),
        workspace: Workspace | None = None,
        action: SafeAction | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            limiter: what commands may be at all.
            watchdogs: what counts as a fault.
            guards: change commands that would do harm, in this order.
            workspace: where the robot must be; None for anywhere.
            action: what to do on a trip, by default hold.
        """
        self.events = EventLog()
        self.tripped = True  # nothing is known yet
        self._limiter, self._watchdogs = limiter, watchdogs or Watchdogs()
        self._guards, self._workspace, self._action = tuple(guards), workspace, action or Hold()
        self._stopped: str | None = None
        self._coming: CommandLimits | None = None
        self._faultless_since = np.inf
        self._recovered = -np.inf

    @property
    def sent(self) -> Floats:
        """The last command ``[A]``."""
        return self._limiter.command

    @property
    def dt(self) -> float:
        """Time from one command to the next that limits are reckoned with, s."""
        return self._limiter.dt

    @property
    def stopped(self) -> str | None:
        """Why the robot was stopped; None if it was not."""
        return self._stopped

    def stop(self, reason: str) -> None:
        """Emergency stop: the safe action is in command until :meth:`reset`; from any thread."""
        self._stopped = reason

    def reset(self) -> None:
        """End a stop; the plan is followed again once there is no fault."""
        self._stopped = None

    def retune(self, watchdogs: Watchdogs, limits: CommandLimits) -> None:
        """Change what counts as a fault, at once, and what commands may do; from any thread.

        The new limits hold from when the command has come to rest within them under the old ones,
        which it does now.

        Args:
            watchdogs: what counts as a fault.
            limits: what commands may do.
        """
        self._watchdogs, self._coming = watchdogs, limits

    def command(
        self,
        now: float,
        state: RobotState | None,
        plan: TimedPlan | None,
        sampling: Sampling = "zero",
    ) -> Floats:
        """The command ``[A]`` to send ``now``, s, whatever state and plan are like."""
        faults = self._faults(now, state, plan)
        self.events.during(now, "fault", faults)
        self._judge(now, bool(faults))
        wanted = self._guarded(now, state, self._wanted(now, state, plan, sampling))
        if (coming := self._coming) is not None:
            wanted = self._changing(now, wanted, coming)
        command = self._limiter.filter(wanted)
        limited = bool((np.abs(command - wanted) > TOLERANCE).any())
        self.events.during(now, "limited", {"command"} if limited else set())
        return command

    def _wanted(
        self, now: float, state: RobotState | None, plan: TimedPlan | None, sampling: Sampling
    ) -> Floats:
        """What the safe action commands, or the plan, or for a while after a trip both."""
        if self.tripped or plan is None:
            return self._safe(now, state)
        elapsed, blend = now - self._recovered, self._watchdogs.blend
        planned = plan.sample(now, sampling)
        if elapsed >= blend:
            return planned
        share = elapsed / blend
        return (1.0 - share) * self._safe(now, state) + share * planned

    def _fresh(self, now: float, state: RobotState) -> bool:
        """Whether a state says how the robot is now."""
        return now - state.stamp <= self._watchdogs.state_age

    def _changing(self, now: float, wanted: Floats, coming: CommandLimits) -> Floats:
        """What leads to rest within the limits to come; there they come into force."""
        sent = self._limiter.command
        inside = np.clip(sent, coming.low, coming.high)
        if not (self._limiter.still and (inside == sent).all()):
            return np.where(inside == sent, np.nan, inside)  # NaN asks an actuator to stop
        self._limiter = CommandLimiter(coming, self.dt, sent)
        if self._coming is coming:  # and not changed again since
            self._coming = None
        self.events.add(now, "limits", "changed")
        return wanted

    def _faults(self, now: float, state: RobotState | None, plan: TimedPlan | None) -> set[str]:
        """Every reason not to follow the plan."""
        dogs, faults = self._watchdogs, set()
        if self._stopped is not None:
            faults.add(f"stopped: {self._stopped}")
        if state is None or not self._fresh(now, state):
            faults.add("stale state")
        elif state.physics is None and (self._guards or self._workspace):
            faults.add("no physics to guard by")
        elif self._workspace is not None and state.physics is not None:
            if (site := self._workspace.left(state.physics)) is not None:
                faults.add(f"{site} leaves its workspace")
        if plan is None or not now - plan.seen <= dogs.plan_age:
            faults.add("stale plan")
        elif not plan.sound:
            faults.add("no sound plan")
        elif not plan.divergence <= dogs.divergence:
            faults.add("state diverges from its forecast")
        return faults

    def _judge(self, now: float, faulty: bool) -> None:
        """Trip or recover."""
        if faulty:
            self._faultless_since = np.inf
            if not self.tripped:
                self.tripped = True
                self.events.add(now, "trip", "see faults")
            return
        self._faultless_since = min(self._faultless_since, now)
        if self.tripped and now - self._faultless_since >= self._watchdogs.recover_after:
            self.tripped, self._recovered = False, now
            self.events.add(now, "recovered", "no more faults")

    def _safe(self, now: float, state: RobotState | None) -> Floats:
        """What the safe action commands; the last command if it does not know either."""
        last = self._limiter.command
        try:
            wanted = self._action.command(state, last)
            failure = set() if np.isfinite(wanted).all() else {"not finite"}
        except Exception as error:  # whatever it is: somebody must command the robot
            wanted, failure = last, {repr(error)}
        self.events.during(now, "safe action", failure)
        return last if failure else wanted

    def _guarded(self, now: float, state: RobotState | None, command: Floats) -> Floats:
        """What the guards make of a command, if it is known how the robot is."""
        changed = set()
        if state is not None and state.physics is not None and self._fresh(now, state):
            for guard in self._guards:
                allowed = guard.allow(state.physics, command)
                if (np.abs(allowed - command) > TOLERANCE).any():
                    changed.add(guard.reason)
                command = allowed
        self.events.during(now, "guarded", changed)
        return command
