"""Somebody presses buttons while an episode waits for its next step; no time passes in truth."""

import math
from collections.abc import Callable

import pytest

from mpc_robot.training import pace as module
from mpc_robot.training.pace import Pace, RestartedError

PERIOD = 0.25
Do = Callable[[], None]


class Script:
    """A clock that stands still, and what happens each time that the pace waits."""

    def __init__(self, pace: Pace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.then: list[Do] = []
        self.waits: list[float | None] = []
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(pace._changed, "wait", self.wait)

    def wait(self, timeout: float | None) -> None:
        self.waits.append(timeout)
        self.then.pop(0)()

    def sleep(self, seconds: float) -> Do:
        def pass_by() -> None:
            self.now += seconds

        return pass_by


@pytest.fixture
def pace() -> Pace:
    return Pace(PERIOD)


@pytest.fixture
def script(pace: Pace, monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(pace, monkeypatch)


def test_steps_pass_in_real_time_at_most(pace: Pace, script: Script) -> None:
    pace.wait()
    assert script.waits == [], "the first step has nothing to wait for"
    script.now += 0.1  # planning
    script.then = [script.sleep(0.15)]
    pace.wait()
    assert script.waits == [pytest.approx(0.15)]
    script.now += 3 * PERIOD  # what is late is not made up for
    pace.wait()
    script.then = [script.sleep(PERIOD)]
    pace.wait()
    assert script.waits[1:] == [PERIOD]


@pytest.mark.parametrize(("speed", "waits"), [(0.5, [2 * PERIOD]), (2.0, [PERIOD / 2])])
def test_another_speed(pace: Pace, script: Script, speed: float, waits: list[float]) -> None:
    pace.run_at(speed)
    pace.wait()
    script.then = [script.sleep(waits[0])]
    pace.wait()
    assert script.waits == waits


def test_without_a_limit_nothing_waits(pace: Pace, script: Script) -> None:
    pace.run_at(math.inf)
    for _ in range(5):
        pace.wait()
    assert script.waits == []


def test_a_speed_holds_for_the_step_that_waits_already(pace: Pace, script: Script) -> None:
    pace.wait()
    script.then = [lambda: pace.run_at(0.25), script.sleep(4 * PERIOD)]
    pace.wait()
    assert script.waits == [PERIOD, 4 * PERIOD]


def test_a_pause_lasts_until_somebody_ends_it(pace: Pace, script: Script) -> None:
    pace.pause(True)
    script.then = [script.sleep(1e6), lambda: pace.run_at(math.inf), lambda: pace.pause(False)]
    pace.wait()
    assert script.waits == [None, None, None]


def test_while_paused_each_press_is_one_step(pace: Pace, script: Script) -> None:
    pace.pause(True)
    pace.step()
    pace.step()
    pace.wait()
    pace.wait()
    assert script.waits == []
    script.then = [pace.step]
    pace.wait()
    assert script.waits == [None]


def test_steps_are_not_saved_up(pace: Pace, script: Script) -> None:
    pace.step()  # nothing is paused
    pace.pause(True)
    pace.step()
    pace.pause(True)
    script.then = [pace.step]
    pace.wait()
    assert script.waits == [None]


@pytest.mark.parametrize("paused", [False, True])
def test_a_restart_ends_every_wait_once(pace: Pace, script: Script, paused: bool) -> None:
    pace.wait()
    pace.pause(paused)
    script.then = [pace.restart]
    with pytest.raises(RestartedError):
        pace.wait()
    script.then = [lambda: pace.pause(False), script.sleep(PERIOD)][not paused :]
    pace.wait()


def test_a_restart_counts_before_the_next_wait(pace: Pace, script: Script) -> None:
    pace.restart()
    with pytest.raises(RestartedError):
        pace.wait()
    assert script.waits == []


def test_again_for_as_long_as_somebody_watches(pace: Pace, script: Script) -> None:
    looks = iter([True, True, False])
    script.then = [script.sleep(1.0)] * 2
    assert not pace.again(lambda: next(looks))
    script.then = [script.sleep(1.0), pace.restart]
    assert pace.again(lambda: True)
    assert not pace.again(lambda: False), "it was taken care of"
