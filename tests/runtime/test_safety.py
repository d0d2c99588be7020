"""What is sent, when everything is well and when nothing is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.limits import CommandLimiter, CommandLimits
from mpc_robot.runtime.plan import TimedPlan
from mpc_robot.runtime.safe_actions import Rest, SafeAction
from mpc_robot.runtime.safety import Safety, Watchdogs

DT = 0.01
DOGS = Watchdogs(state_age=0.05, plan_age=0.2, divergence=0.1, recover_after=0.1, blend=0.1)


class Scene:
    """A safety that is shown things at its ticks."""

    def __init__(self, dogs: Watchdogs = DOGS) -> None:
        limiter = CommandLimiter(CommandLimits([-1.0], [1.0]), DT, np.zeros(1))
        self.safety = Safety(limiter, dogs, action=Rest([-0.5]))
        self.now = 0.0

    def tick(self, ticks: int = 1, state_age: float = 0.0, **plan: object) -> float:
        """The command after some ticks with a state and a plan that wants 0.8."""
        for _ in range(ticks):
            self.now += DT
            state = RobotState(self.now - state_age, 0, np.zeros(3))
            sound = TimedPlan(self.now, 0.02, np.full((10, 1), 0.8), seen=self.now - 0.01)
            made = replace(sound, **plan)  # type: ignore[arg-type]
            command = self.safety.command(self.now, state, made)
        return float(command[0])


def recovered() -> Scene:
    scene = Scene()
    assert scene.tick(30) == 0.8
    assert not scene.safety.tripped
    return scene


def test_it_begins_with_the_safe_action() -> None:
    scene = Scene()
    assert scene.tick() == -0.5
    assert scene.tick(9) == -0.5  # until nothing was wrong for 0.1 s


def test_it_passes_to_the_plan_without_a_jump() -> None:
    scene = Scene()
    commands = [scene.tick() for _ in range(30)]
    steps = np.diff(commands)
    assert commands[-1] == 0.8
    np.testing.assert_allclose(steps[steps > 1e-12], 1.3 * DT / DOGS.blend)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"state_age": 0.06}, "stale state"),
        ({"seen": -1.0}, "stale plan"),
        ({"value": -np.inf}, "no sound plan"),
        ({"value": np.nan}, "no sound plan"),
        ({"actions": np.full((10, 1), np.nan)}, "no sound plan"),
        ({"start": np.nan}, "no sound plan"),
        ({"seen": np.nan}, "stale plan"),
        ({"divergence": 0.2}, "state diverges from its forecast"),
        ({"divergence": np.nan}, "state diverges from its forecast"),
    ],
)
def test_a_fault_trips_within_a_tick_and_is_over_when_it_ends(
    fault: dict[str, Any], reason: str
) -> None:
    scene = recovered()
    assert scene.tick(1, **fault) == -0.5
    assert scene.safety.tripped
    scene.tick(3, **fault)
    counts = scene.safety.events.counts
    assert counts[f"fault: {reason}"] == 1
    assert counts["trip: see faults"] == 1
    assert scene.tick(9) == -0.5
    assert scene.tick(30) == 0.8
    assert counts["recovered: no more faults"] == 2


def test_nothing_at_all_is_survived() -> None:
    safety = Scene().safety
    for tick in range(5):
        assert safety.command(tick * DT, None, None)[0] == -0.5


def test_a_stop_lasts_until_it_is_reset() -> None:
    scene = recovered()
    scene.safety.stop("a hand in the cell")
    assert scene.tick(500) == -0.5
    assert scene.safety.stopped == "a hand in the cell"
    assert scene.safety.events.counts["fault: stopped: a hand in the cell"] == 1
    scene.safety.reset()
    assert scene.tick(50) == 0.8


def test_the_limiter_has_the_last_word_over_plans_and_safe_actions() -> None:
    limits = CommandLimits([-1.0], [1.0], velocity=2.0)
    safety = Safety(CommandLimiter(limits, DT, np.zeros(1)), DOGS, action=Rest([-9.0]))
    rng, commands = np.random.default_rng(0), [0.0]
    for tick in range(400):
        now, wild = tick * DT, rng.normal(0, 10, (5, 1))
        if rng.random() < 0.1:
            wild[:] = np.nan
        state = RobotState(now, 0, np.zeros(3))
        commands.append(float(safety.command(now, state, TimedPlan(now, DT, wild, now))[0]))
    assert max(map(abs, commands)) <= 1.0
    assert np.abs(np.diff(commands)).max() <= 2.0 * DT + 1e-12
    assert np.ptp(commands) > 0.5


class Broken:
    """A safe action that fails."""

    def command(self, state: RobotState | None, last: np.ndarray) -> np.ndarray:
        raise RuntimeError("no battery")


class Senseless:
    """A safe action that knows no number."""

    def command(self, state: RobotState | None, last: np.ndarray) -> np.ndarray:
        return np.full(1, np.nan)


@pytest.mark.parametrize("action", [Broken(), Senseless()])
def test_without_a_safe_action_the_last_command_stays(action: SafeAction) -> None:
    limiter = CommandLimiter(CommandLimits([-1.0], [1.0]), DT, np.array([0.25]))
    assert Safety(limiter, DOGS, action=action).command(0.0, None, None)[0] == 0.25


class Half:
    """A guard that halves every command."""

    reason = "too much"

    def allow(self, physics: np.ndarray, command: np.ndarray) -> np.ndarray:
        return command / 2.0


def test_guards_change_what_is_planned_and_say_so() -> None:
    scene = Scene(Watchdogs(recover_after=0.0, blend=0.0))
    scene.safety = Safety(
        CommandLimiter(CommandLimits([-1.0], [1.0]), DT, np.zeros(1)),
        Watchdogs(recover_after=0.0, blend=0.0),
        guards=[Half(), Half()],
    )
    assert scene.tick(10) == pytest.approx(0.2)
    assert scene.safety.events.counts["guarded: too much"] == 1


def test_safe_actions_are_guarded_too_while_it_is_known_where_the_robot_is() -> None:
    limiter = CommandLimiter(CommandLimits([-1.0], [1.0]), DT, np.zeros(1))
    safety = Safety(limiter, DOGS, guards=[Half()], action=Rest([0.6]))
    state = RobotState(0.0, 0, np.zeros(3))
    assert safety.command(0.05, state, None)[0] == 0.3
    assert safety.command(0.06, state, None)[0] == 0.6
    assert safety.events.counts["guarded: too much"] == 1


def test_what_cannot_be_guarded_is_not_followed() -> None:
    limiter = CommandLimiter(CommandLimits([-1.0], [1.0]), DT, np.zeros(1))
    safety = Safety(limiter, Watchdogs(recover_after=0.0), guards=[Half()], action=Rest([0.1]))
    state = RobotState(0.0, 0, None, np.zeros(3))
    plan = TimedPlan(0.0, 0.02, np.full((10, 1), 0.8), seen=0.0)
    assert safety.command(0.01, state, plan)[0] == 0.1
    assert safety.events.counts["fault: no physics to guard by"] == 1


class Moody:
    """A safe action that fails at every other spell."""

    good = True

    def command(self, state: RobotState | None, last: np.ndarray) -> np.ndarray:
        if not self.good:
            raise RuntimeError("no battery")
        return np.zeros(1)


def test_each_failure_of_a_safe_action_is_logged_and_none_where_it_is_not_needed() -> None:
    scene, action = Scene(), Moody()
    scene.safety = Safety(
        CommandLimiter(CommandLimits([-1.0], [1.0]), DT, np.zeros(1)), DOGS, action=action
    )
    for good in (False, True, False, True):
        action.good = good
        scene.tick(3, value=-np.inf)
    scene.tick(30)
    action.good = False
    assert scene.tick(10) == 0.8
    assert scene.safety.events.counts["safe action: RuntimeError('no battery')"] == 2


@pytest.mark.parametrize("field", ["state_age", "plan_age", "divergence"])
def test_bad_settings(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected positive, got 0.0"):
        Watchdogs(**{field: 0.0})
    with pytest.raises(ValueError, match="blend: expected not negative"):
        Watchdogs(blend=-1.0)
