"""Faults at random, one after the other, and how the control loop takes each of them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from benchmarks.common import Row

from mpc_robot.controllers.base import Controller, Plan
from mpc_robot.dynamics.base import Sensed
from mpc_robot.envs import Task
from mpc_robot.runtime.base import Clock, RobotState
from mpc_robot.runtime.limits import CommandLimiter, CommandLimits
from mpc_robot.runtime.loop import ControlLoop
from mpc_robot.runtime.mailbox import Mailbox
from mpc_robot.runtime.mujoco_plant import MuJoCoPlant, Realism
from mpc_robot.runtime.planner import PlannerProcess
from mpc_robot.runtime.safe_actions import Rest
from mpc_robot.runtime.safety import Safety, Watchdogs
from mpc_robot.runtime.sensing import Sensing

Floats = npt.NDArray[np.float64]
RATE = 100.0
DOGS = Watchdogs(state_age=0.1, plan_age=0.4, recover_after=0.1, blend=0.1)
PATIENCE = 1.0
STATES = ("dropped", "stale", "nan", "reordered", "clock jump")
PROCESSES = ("plant killed", "plant stopped", "planner killed", "planner stopped", "loop stopped")
PLANS = ("planner raises", "planner hangs", "nan plan")
HARMLESS = ("reordered", "planner killed", "loop stopped")
"""Faults that need not trip anything: the next state or plan comes before a watchdog barks."""


class FaultyPlant:
    """A plant whose states get lost, late, garbled or mixed up.

    Attributes:
        fault: what is wrong now, one of ``STATES``; None for nothing.
    """

    def __init__(self, plant: MuJoCoPlant) -> None:
        """Spoil what ``plant`` says."""
        self.fault: str | None = None
        self._plant, self._rng = plant, np.random.default_rng(0)
        self._recent: deque[RobotState] = deque(maxlen=100)

    @property
    def clock(self) -> Clock:
        """The plant's."""
        return self._plant.clock

    @property
    def over(self) -> bool:
        """Never."""
        return False

    def read(self) -> RobotState | None:
        """The newest state, or what is left of it."""
        state, fault = self._plant.read(), self.fault
        if fault is None or not self._recent:
            if state is not None:
                self._recent.append(state)
            return state
        if fault in {"dropped", "stale"}:
            return self._recent[-1 if fault == "dropped" else 0]
        if fault == "reordered":
            return self._recent[self._rng.integers(len(self._recent))]
        if state is None or state.physics is None:
            return state
        if fault == "nan":
            return replace(state, physics=np.full_like(state.physics, np.nan))
        return replace(state, stamp=state.stamp + 3600.0)

    def write(self, command: Floats) -> None:
        """Commands arrive as they are."""
        self._plant.write(command)

    def close(self) -> None:
        """Let go of the plant."""
        self._plant.close()


class Misbehaving:
    """A controller that may be ordered to fail, whatever process it is in.

    Attributes:
        order: 0 behave, or 1 + the number of what to do in ``PLANS``.
    """

    def __init__(self, controller: Controller) -> None:
        """Spoil what ``controller`` does."""
        self._controller, self.order = controller, Mailbox(1)

    @property
    def observes(self) -> Sensed:
        """The controller's."""
        return self._controller.observes

    @property
    def plan(self) -> Plan | None:
        """The controller's, unless what it does is not a number."""
        return None if self._wrong() == "nan plan" else self._controller.plan

    def reset(self, seed: int) -> None:
        """Reset the controller."""
        self._controller.reset(seed)

    def act(self, sensed: Floats) -> Floats:
        """What the controller does, if it is allowed to."""
        wrong = self._wrong()
        if wrong == "planner raises":
            raise RuntimeError("ordered to fail")
        while self._wrong() == "planner hangs":
            time.sleep(0.01)
        action = self._controller.act(sensed)
        return np.full_like(action, np.nan) if wrong == "nan plan" else action

    def _wrong(self) -> str | None:
        """What is ordered."""
        got = self.order.get()
        number = 0 if got is None else int(got[1][0])
        return None if number == 0 else PLANS[number - 1]


@dataclass
class Log:
    """A recorder of commands and events."""

    commands: list[Floats] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)

    def state(self, state: RobotState) -> None:
        """Not kept."""

    def command(self, stamp: float, command: Floats) -> None:
        """Keep it."""
        self.commands.append(command)

    def event(self, stamp: float, name: str, reason: str) -> None:
        """Keep it."""
        self.events.append((stamp, name))

    def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Spell:
    """A time in which something was wrong.

    Attributes:
        kind: what.
        start: s.
        end: s.
    """

    kind: str
    start: float
    end: float


class Rig:
    """Everything, with a hand on its faults."""

    def __init__(self, task: Task, controller: Controller) -> None:
        """Make it ready."""
        self.controller = Misbehaving(controller)
        self.planner = PlannerProcess(self.controller, task)
        self.simulated = MuJoCoPlant(task, 0, Realism(dropout=0.05))
        self.plant, self.log, spec = FaultyPlant(self.simulated), Log(), Sensing(task).spec
        half = (spec.action_high - spec.action_low) / 2
        self.limits = CommandLimits(
            spec.action_low, spec.action_high, velocity=40 * half, acceleration=4e3 * half
        )
        limiter = CommandLimiter(self.limits, 1.0 / RATE, np.zeros(spec.action_dim))
        self.safety = Safety(limiter, DOGS, action=Rest(np.zeros(spec.action_dim)))
        self.loop = ControlLoop(
            self.plant,
            self.planner,
            self.safety,
            RATE,
            recorder=self.log,
            patience=PATIENCE,
        )

    def inflict(self, kind: str, seconds: float) -> None:
        """Have something be wrong for so long."""
        ended = time.monotonic() + seconds
        if kind in STATES:
            self.plant.fault = kind
        elif kind in PLANS:
            self.controller.order.put(1 + PLANS.index(kind))
        elif kind == "loop stopped":
            stop_this_process(seconds)
        else:
            self._signal(kind, ended)
        while time.monotonic() < ended:
            time.sleep(0.005)
        self.plant.fault = None
        self.controller.order.put(0)

    def _signal(self, kind: str, ended: float) -> None:
        """Kill or stop a process."""
        process: PlannerProcess | MuJoCoPlant = (
            self.planner if kind.startswith("planner") else self.simulated
        )
        pid = process.pid
        if kind.endswith("killed"):
            send(pid, signal.SIGKILL)
            return
        send(pid, signal.SIGSTOP)
        while time.monotonic() < ended:
            time.sleep(0.005)
        send(pid, signal.SIGCONT)


def send(pid: int, what: signal.Signals) -> None:
    """Signal a process, if it is there."""
    if pid > 0:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


def stop_this_process(seconds: float) -> None:
    """Have another process stop this one for so long."""
    this = os.getpid()
    if (child := os.fork()) == 0:
        os.kill(this, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(this, signal.SIGCONT)
        os._exit(0)
    os.waitpid(child, 0)


def measure_faults(
    task: Task, controller: Controller, seconds: float
) -> tuple[list[Row], list[str]]:
    """Inflict faults for ``seconds``; what came of them, and what went wrong."""
    rig, spells = Rig(task, controller), []
    thread = threading.Thread(target=rig.loop.run)
    thread.start()
    rng, clock, began = np.random.default_rng(0), rig.plant.clock, time.monotonic()
    time.sleep(2.0)
    while time.monotonic() - began < seconds:
        kind = str(rng.choice([*STATES, *PROCESSES, *PLANS]))
        start = clock.now()
        rig.inflict(kind, rng.uniform(0.6, 1.5))
        spells.append(Spell(kind, start, clock.now()))
        time.sleep(rng.uniform(1.5, 2.5))
    crashed = not thread.is_alive()
    rig.loop.end()
    thread.join()
    rig.plant.close()
    rig.planner.close()
    return fault_rows(rig, spells, crashed)


def fault_rows(rig: Rig, spells: list[Spell], crashed: bool) -> tuple[list[Row], list[str]]:
    """What is to be said of a whole run."""
    rows = [
        Row("all faults", "spells", len(spells), "1"),
        Row("all faults", "commands", len(rig.log.commands), "1"),
        Row("all faults", "commands_outside_limits", outside(rig), "1"),
        Row("all faults", "crashes", int(crashed), "1"),
    ]
    notes = []
    for kind in (*STATES, *PROCESSES, *PLANS):
        mine = [spell for spell in spells if spell.kind == kind]
        trips = [delay for spell in mine if (delay := first(rig, "trip", spell)) is not None]
        recoveries = [recovery(rig, spell) for spell in mine]
        if not mine:
            continue
        rows.append(Row(kind, "spells", len(mine), "1"))
        rows.append(Row(kind, "spells_tripped", len(trips), "1"))
        if trips:
            rows.append(Row(kind, "time_to_safe_action_max", max(trips), "s"))
        lost = sum(time is None for time in recoveries)
        rows.append(Row(kind, "spells_not_recovered", lost, "1"))
        rows.append(Row(kind, "time_to_recover_max", max(t or 0.0 for t in recoveries), "s"))
        if kind not in HARMLESS and len(trips) < len(mine):
            notes.append(f"{kind}: {len(mine) - len(trips)} of {len(mine)} tripped nothing")
    return rows, notes


def first(rig: Rig, name: str, spell: Spell) -> float | None:
    """Time from a spell's start to the first such event within it, s."""
    times = [stamp for stamp, what in rig.log.events if what == name]
    return next((t - spell.start for t in times if spell.start <= t <= spell.end), None)


def recovery(rig: Rig, spell: Spell) -> float | None:
    """Time from a spell's end until the plan is followed again, s; None for not before the next."""

    def state_at(end: float) -> str:
        """The last of trip and recovery before ``end``."""
        known = [what for stamp, what in rig.log.events if stamp <= end and what in CHANGES]
        return known[-1] if known else "trip"

    if state_at(spell.end) == "recovered":
        return 0.0
    later = (t for t, what in rig.log.events if what == "recovered" and t > spell.end)
    return next((t - spell.end for t in later if t - spell.end < LONGEST), None)


CHANGES = ("trip", "recovered")
LONGEST = 1.5
"""No two spells are nearer to each other than this, s."""


def outside(rig: Rig) -> int:
    """Commands beyond what they, their rate or the rate of that may be."""
    sent, limits = np.array([np.zeros_like(rig.log.commands[0]), *rig.log.commands]), rig.limits
    excess: list[Callable[[], Floats]] = [
        lambda: np.maximum(sent - limits.high, limits.low - sent).max(axis=1),
        lambda: (np.abs(np.diff(sent, axis=0)) * RATE / limits.velocity - 1.0).max(axis=1),
        lambda: (np.abs(np.diff(sent, n=2, axis=0)) * RATE**2 / limits.acceleration - 1.0).max(
            axis=1
        ),
    ]
    return int(sum((one() > 1e-6).sum() for one in excess))
