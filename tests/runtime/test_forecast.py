"""Forecasts are what MuJoCo does under commands that arrive late."""

import mujoco
import numpy as np
import pytest

from mpc_robot.runtime.forecast import INTEGRATION, CommandHistory, Commands, Forecast
from mpc_robot.runtime.plan import TimedPlan

PENDULUM = """<mujoco><option timestep="0.005"/><worldbody><body><joint name="hinge" axis="0 1 0"
damping="0.1"/><geom type="capsule" size="0.05" fromto="0 0 0 0 0 -0.5"/></body></worldbody>
<actuator><motor joint="hinge" ctrlrange="-2 2"/></actuator></mujoco>"""
MODEL = mujoco.MjModel.from_xml_string(PENDULUM)


def stepped(commands: list[float]) -> np.ndarray:
    """The physics state after one physics step under each command."""
    data = mujoco.MjData(MODEL)
    for command in commands:
        data.ctrl[:] = command
        mujoco.mj_step(MODEL, data)
    state = np.empty(mujoco.mj_stateSize(MODEL, INTEGRATION))
    mujoco.mj_getState(MODEL, data, state, INTEGRATION)
    return state


SENT = Commands(
    np.array([9.98, 10.0, 10.02]),
    np.array([[1.0], [-1.0], [0.5]]),
    TimedPlan(10.03, 0.01, np.array([[2.0], [1.5]]), 10.0),
)


def test_what_was_sent_is_followed_by_what_is_planned() -> None:
    times = [9.0, 9.985, 10.0, 10.019, 10.02, 10.0201, 10.035, 10.05]
    assert [SENT.at(time)[0] for time in times] == [1.0, 1.0, -1.0, -1.0, 0.5, 2.0, 2.0, 1.5]


@pytest.mark.parametrize("rate", [50.0, 100.0, 500.0])
def test_commands_are_known_for_as_long_as_they_are_asked_for(rate: float) -> None:
    history = CommandHistory(0.4, rate, np.array([-1.0]))
    assert history.commands.at(5.0) == history.commands.at(-5.0) == -1.0
    for k in range(round(rate)):
        history.add(k / rate, np.array([float(k)]))
    now, known = 1.0 - 1.0 / rate, history.commands
    for ago in np.linspace(0.0, 0.4, 97):
        assert known.at(now - ago) == np.floor((now - ago) * rate + 1e-6)
    assert len(known.stamps) == 0.4 * rate + 1  # and for no longer
    history.add(1.0, np.array([7.0]))
    assert known.at(2.0) == round(rate) - 1  # what was asked for is not changed


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03])
def test_commands_take_effect_late(delay: float) -> None:
    ahead = Forecast(MODEL, delay)(stepped([]), 10.0, 10.06, SENT)
    obeyed = [float(SENT.at(10.0 + 0.005 * k - delay)[0]) for k in range(12)]
    np.testing.assert_array_equal(ahead, stepped(obeyed))


def test_without_time_nothing_happens() -> None:
    now = stepped([1.0, 1.0])
    np.testing.assert_array_equal(Forecast(MODEL, 0.0)(now, 10.0, 9.0, SENT), now)


def test_divergence_is_what_the_commands_do_not_explain() -> None:
    forecast, before = Forecast(MODEL, 0.0), stepped([0.3] * 4)
    commands = Commands(np.array([0.0]), np.array([[1.0]]))
    after = forecast(before, 1.0, 1.1, commands)
    assert forecast.divergence(before, after, (1.0, 1.1), commands) == 0.0
    after[1] += 0.25
    apart = forecast.divergence(before, after, (1.0, 1.1), commands)
    assert apart == pytest.approx(0.25, abs=1e-12)
