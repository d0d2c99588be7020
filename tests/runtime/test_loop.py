"""The loop on a robot simulated in real time, with everything that can go wrong going wrong."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from mpc_robot.controllers import LQR
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.clock import ManualClock
from mpc_robot.runtime.events import KINDS, EventLog
from mpc_robot.runtime.forecast import Commands
from mpc_robot.runtime.limits import CommandLimiter, CommandLimits
from mpc_robot.runtime.loop import ControlLoop
from mpc_robot.runtime.mujoco_plant import MuJoCoPlant, Realism
from mpc_robot.runtime.plan import TimedPlan
from mpc_robot.runtime.planner import PlannerProcess, Timing
from mpc_robot.runtime.reporter import LoopReporter
from mpc_robot.runtime.safe_actions import Rest
from mpc_robot.runtime.safety import Safety, Watchdogs
from mpc_robot.runtime.sensing import Sensing

TASK = get_task("CartpoleBalance-v0")
SPEC = env_spec(make_env(TASK))
RATE = 100.0
LIMITS = CommandLimits(SPEC.action_low, SPEC.action_high, velocity=50.0)
DOGS = Watchdogs(state_age=0.15, plan_age=0.6, recover_after=0.05, blend=0.05)


class Kept:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.states: list[RobotState] = []
        self.commands: list[tuple[float, float]] = []
        self.events: list[str] = []

    def state(self, state: RobotState) -> None:
        self.states.append(state)

    def command(self, stamp: float, command: np.ndarray) -> None:
        self.commands.append((stamp, float(command[0])))

    def event(self, stamp: float, name: str, reason: str) -> None:
        self.events.append(f"{name}: {reason}")

    def close(self) -> None: ...


class Rig:
    """A loop with its plant and planner."""

    def __init__(self, patience: float = 0.8) -> None:
        lqr = LQR(Simulator(TASK, threads=1), SPEC, [1.0, 10.0, 0.1, 1.0], [0.1])
        self.planner = PlannerProcess(lqr, TASK)  # cheap enough for a machine that is busy
        self.plant = MuJoCoPlant(TASK, 0, Realism(position_noise=1e-4, dropout=0.1))
        self.kept = Kept()
        limiter = CommandLimiter(LIMITS, 1.0 / RATE, np.zeros(1))
        self.loop = ControlLoop(
            self.plant,
            self.planner,
            Safety(limiter, DOGS, action=Rest([0.0])),
            RATE,
            recorder=self.kept,
            patience=patience,
        )

    def until(self, true: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 20.0
        while not true() and time.monotonic() < deadline:
            time.sleep(0.01)
        return true()

    @property
    def tripped(self) -> bool:
        return self.loop.status().tripped

    @property
    def trips(self) -> int:
        return self.loop.status().events.get("trip: see faults", 0)


@contextmanager
def running(rig: Rig) -> Iterator[Rig]:
    """The loop on a thread of its own, once it follows plans."""
    thread = threading.Thread(target=rig.loop.run)
    thread.start()
    try:
        assert rig.until(lambda: not rig.tripped)
        yield rig
    finally:
        rig.loop.end()
        thread.join()
        rig.plant.close()
        rig.planner.close()


def commands_are_within_limits(rig: Rig) -> bool:
    sent = np.array([command for _, command in rig.kept.commands])
    within = (np.abs(sent) <= SPEC.action_high[0] + 1e-12).all()
    return bool(within and (np.abs(np.diff(sent)) <= 50.0 / RATE + 1e-9).all())


def test_a_pole_is_kept_upright_in_real_time(tmp_path: Path) -> None:
    rig = Rig()
    with LoopReporter(rig.loop, tmp_path / "loop.json", 0.1), running(rig):
        assert rig.until(lambda: len(rig.kept.states) > 200)
    status = rig.loop.status()
    pole = np.array([state.physics[2] for state in rig.kept.states if state.physics is not None])
    assert np.cos(pole[-50:]).min() > 0.95
    assert status.states == len(rig.kept.states)
    assert status.ticks == len(rig.kept.commands) >= status.states - 1  # one at the end
    assert status.times["plan_latency"]["count"] > 10
    assert commands_are_within_limits(rig)
    told = json.loads((tmp_path / "loop.json").read_text())
    assert told == json.loads(json.dumps(status.as_dict()))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("whom", ["plant", "planner"])
def test_either_side_may_fail_and_come_back(whom: str, how: signal.Signals) -> None:
    """A planner is killed too fast to matter; the other three are noticed."""
    with running(Rig()) as rig:
        process = getattr(rig, whom)
        pid, trips = process.pid, rig.trips
        os.kill(pid, how)
        if (whom, how) != ("planner", signal.SIGKILL):
            assert rig.until(lambda: rig.trips > trips)
        if how == signal.SIGSTOP and whom == "plant":
            os.kill(pid, signal.SIGCONT)  # nobody else would; a planner is begun anew by the loop
        assert rig.until(lambda: process.pid not in (0, pid) or how == signal.SIGSTOP)
        assert rig.until(lambda: not rig.tripped)
    assert commands_are_within_limits(rig)


def test_an_emergency_stop_rests_until_it_is_reset() -> None:
    with running(Rig()) as rig:
        rig.loop.safety.stop("test")
        assert rig.until(lambda: rig.loop.status().tripped and rig.kept.commands[-1][1] == 0.0)
        ticks = len(rig.kept.commands)
        assert rig.until(lambda: len(rig.kept.commands) >= ticks + 50)
        assert {command for _, command in rig.kept.commands[ticks : ticks + 50]} == {0.0}
        assert rig.loop.status().stopped == "test"
        rig.loop.safety.reset()
        assert rig.until(lambda: not rig.tripped)
    assert "fault: stopped: test" in rig.kept.events
    assert commands_are_within_limits(rig)


class Scripted:
    """A plant whose clock and states are given; it records what is written and when.

    It reports its state at every moment but those of ``silence``.
    """

    def __init__(
        self, late: dict[int, float], silence: tuple[float, float] = (0.0, np.inf)
    ) -> None:
        self.clock = ManualClock()
        self.clock.wait_until = self._wait  # type: ignore[method-assign]
        self.writes: list[float] = []
        self._late, self._silence = late, silence
        self.over = False

    def _wait(self, deadline: float) -> None:
        late = self._late.get(len(self.writes), 0.0)
        self.clock.time = max(self.clock.time, deadline) + late

    def read(self) -> RobotState | None:
        now = self.clock.time
        if self._silence[0] <= now < self._silence[1]:
            return None
        return RobotState(now, round(now * RATE), np.zeros(1))

    def write(self, command: np.ndarray) -> None:
        self.writes.append(self.clock.time)

    def close(self) -> None: ...


class NoPlanner:
    """A planner that never has a plan, unless it is given one; it counts how often it began."""

    sensing: Sensing | None = None
    history = 0.3
    newest: TimedPlan | None = None
    restarts = 0

    def see(self, state: RobotState, commands: Commands) -> None:
        self.told = commands

    def plan(self) -> TimedPlan | None:
        return self.newest

    def restart(self) -> None:
        self.restarts += 1

    def close(self) -> None: ...


def test_deadlines_are_absolute_and_those_that_are_missed_are_counted() -> None:
    plant = Scripted({3: 0.004, 5: 0.035})
    safety = Safety(CommandLimiter(LIMITS, 0.01, np.zeros(1)))
    status = ControlLoop(plant, NoPlanner(), safety, 100.0).run(0.12)
    expected = [0, 0.01, 0.02, 0.034, 0.04, 0.085, 0.09, 0.1, 0.11]
    np.testing.assert_allclose(plant.writes, expected, atol=1e-9)
    assert status.missed == 12 - len(expected)
    assert status.times["jitter"]["max"] == pytest.approx(0.035)


def scripted(silence: tuple[float, float]) -> tuple[ControlLoop, Scripted, NoPlanner]:
    """A loop with a patience of 0.5 s on a plant that is silent for a while."""
    plant, planner = Scripted({}, silence), NoPlanner()
    safety = Safety(CommandLimiter(LIMITS, 0.01, np.zeros(1)))
    return ControlLoop(plant, planner, safety, 100.0, patience=0.5), plant, planner


class Slow(Scripted):
    """A plant that is measured while it is read, and takes its time."""

    def read(self) -> RobotState | None:
        self.clock.time += 0.03
        return super().read()


def test_a_state_that_came_while_it_was_read_is_not_from_the_future() -> None:
    safety = Safety(CommandLimiter(LIMITS, 0.1, np.zeros(1)))
    status = ControlLoop(Slow({}, (9.0, 9.0)), NoPlanner(), safety, 10.0).run(1.0)
    assert status.states == 11  # one for each tick, and where it ended
    assert not any(kind.startswith("state refused") for kind in status.events)


@pytest.mark.parametrize("rate", [50.0, 500.0])
def test_the_planner_is_told_what_was_sent_for_as_long_as_it_wants_to_be(rate: float) -> None:
    plant, planner = Scripted({}, (9.0, 9.0)), NoPlanner()
    planner.newest = TimedPlan(0.0, 0.01, np.linspace(-1.0, 1.0, 101)[:, None], np.inf)
    dogs = Watchdogs(recover_after=0.0, blend=0.0)
    safety = Safety(CommandLimiter(LIMITS, 1.0 / rate, np.zeros(1)), dogs)
    kept = Kept()
    loop = ControlLoop(plant, planner, safety, rate, recorder=kept)
    assert loop.run(1.0).ticks == rate
    sent = np.array(kept.commands)[:-1]  # the last one came after it was told
    lately = sent[sent[:, 0] >= sent[-1, 0] - planner.history + 1e-9]
    np.testing.assert_array_equal(planner.told.stamps[-len(lately) :], lately[:, 0])
    np.testing.assert_array_equal(planner.told.sent[-len(lately) :, 0], lately[:, 1])
    assert len(set(lately[:, 1])) >= 10


class Misfit(Scripted):
    """A plant that says something of the wrong size until it is corrected."""

    wrong = True

    def __init__(self, physics: int | None, observation: int | None) -> None:
        super().__init__({})
        self._sizes = physics, observation

    def read(self) -> RobotState | None:
        now = self.clock.time
        physics, observation = self._sizes if self.wrong else (None, SPEC.observation_dim)
        return RobotState(
            now,
            round(now * RATE),
            None if physics is None else np.zeros(physics),
            None if observation is None else np.zeros(observation),
        )


@pytest.mark.parametrize(("physics", "observation"), [(None, 3), (None, 60), (2, None), (60, 5)])
def test_a_state_of_the_wrong_size_does_not_end_the_loop(
    physics: int | None, observation: int | None
) -> None:
    lqr = LQR(Simulator(TASK, threads=1), SPEC, [1.0, 10.0, 0.1, 1.0], [0.1])
    plant = Misfit(physics, observation)
    safety = Safety(CommandLimiter(LIMITS, 0.01, np.zeros(1)), DOGS)
    with closing(PlannerProcess(lqr, TASK)) as planner:
        loop = ControlLoop(plant, planner, safety, 100.0)
        status = loop.run(0.2)
        assert (status.ticks, status.states, status.tripped) == (20, 0, True)
        refused = {kind: n for kind, n in status.events.items() if kind.startswith("state refused")}
        assert list(refused.values()) == [20] and "expected shape" in next(iter(refused))
        plant.wrong = False
        plant.clock.time += 0.01
        assert loop.run(0.2).states == 20


def test_a_planner_without_plans_is_begun_anew() -> None:
    loop, _, planner = scripted(silence=(9.0, 9.0))
    loop.run(1.8)
    assert planner.restarts == 3


def test_nobody_expects_plans_without_states() -> None:
    loop, _, planner = scripted(silence=(0.3, 3.0))
    loop.run(3.4)
    assert planner.restarts == 1  # before the silence is one
    loop.run(0.6)
    assert planner.restarts == 2


def test_time_between_runs_is_not_waiting() -> None:
    loop, plant, planner = scripted(silence=(9.0, 9.0))
    planner.newest = TimedPlan(0.0, 1.0, np.zeros((1, 1)), 0.0)
    loop.run(0.1)
    plant.clock.time += 5.0
    loop.run(0.1)
    assert planner.restarts == 0


def test_an_end_is_never_lost() -> None:
    loop, plant, _ = scripted(silence=(0.0, np.inf))
    loop.end()
    assert loop.run(1.0).ticks == 0
    assert plant.writes == []
    assert loop.run(1.0).ticks == 100


def test_what_goes_on_is_one_event() -> None:
    log = EventLog()
    for stamp, reasons in enumerate([{"a"}, {"a", "b"}, {"b"}, set(), {"b"}]):
        log.during(stamp, "fault", reasons)
    assert [(event.stamp, event.reason) for event in log.newest] == [(0, "a"), (1, "b"), (4, "b")]
    assert log.counts == {"fault: a": 1, "fault: b": 2}
    assert [event.reason for event in log.take()] == ["a", "b", "b"]
    assert log.take() == []


def test_reasons_without_end_do_not_fill_the_memory() -> None:
    log = EventLog()
    for k in range(2_000):
        log.add(0.0, "state refused", f"length {k}")
    log.add(0.0, "state refused", "length 0")
    assert log.counts.total() == 2_001
    assert log.counts["state refused: length 0"] == 2
    assert len(log.counts) == KINDS + 1


def test_loop_and_planner_agree_on_the_sampling() -> None:
    lqr = LQR(Simulator(TASK, threads=1), SPEC, [1.0, 10.0, 0.1, 1.0], [0.1])
    planner = PlannerProcess(lqr, TASK, timing=Timing(sampling="linear"))
    safety = Safety(CommandLimiter(LIMITS, 0.01, np.zeros(1)))
    with pytest.raises(ValueError, match="sampling: expected 'linear', the planner's, got 'zero'"):
        ControlLoop(Scripted({}), planner, safety, 100.0)
    planner.close()


def test_bad_settings() -> None:
    safety = Safety(CommandLimiter(LIMITS, 0.01, np.zeros(1)))
    with pytest.raises(ValueError, match="rate: expected a positive number of Hz, got 0"):
        ControlLoop(Scripted({}), NoPlanner(), safety, 0)
    with pytest.raises(ValueError, match="rate: expected 100 Hz, which the limiter reckons with"):
        ControlLoop(Scripted({}), NoPlanner(), safety, 50.0)
    with pytest.raises(ValueError, match="patience: expected positive, got 0"):
        ControlLoop(Scripted({}), NoPlanner(), safety, 100.0, patience=0)
    with pytest.raises(ValueError, match="sampling: expected one of zero, linear, cubic, got 'no'"):
        ControlLoop(Scripted({}), NoPlanner(), safety, 100.0, sampling="no")  # type: ignore[arg-type]
