"""The planner's process plans from the newest state, and survives whatever a controller does."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from mpc_robot.controllers import MPC, ICEMConfig, Plan, make_optimizer, spline_for
from mpc_robot.dynamics.base import Sensed
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs import PDServo, env_spec, get_task, make_env, physics_state
from mpc_robot.runtime.base import RobotState
from mpc_robot.runtime.clock import RealClock
from mpc_robot.runtime.forecast import CommandHistory, Commands, Forecast
from mpc_robot.runtime.mailbox import Mailbox
from mpc_robot.runtime.plan import TimedPlan
from mpc_robot.runtime.planner import PlannerProcess, Timing

TASK = get_task("CartpoleBalance-v0")
ENV = make_env(TASK)
SPEC = env_spec(ENV)
ENV.reset(seed=0)
START = physics_state(ENV)
CLOCK = RealClock()


class Tells:
    """A controller that answers with the cart's position as it was shown it, and may misbehave."""

    observes: Sensed = "state"
    plan: Plan | None = None

    def __init__(self) -> None:
        self.skipped: list[int] = []
        self.order = Mailbox(1)  # 0 behave, 1 raise, 2 hang, 3 not a number, 4 too many
        self.warming_up = 0.0  # s, of the first plan

    def reset(self, seed: int) -> None:
        self.seed = seed

    def skip(self, steps: int) -> None:
        self.skipped.append(steps)

    def act(self, sensed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        order = 0 if (got := self.order.get()) is None else int(got[1][0])
        if order == 1:
            raise RuntimeError("out of ideas")
        while order == 2:
            time.sleep(1.0)
        time.sleep(self.warming_up)
        self.warming_up = 0.0
        return np.array([np.nan if order == 3 else sensed[1]] * (2 if order == 4 else 1))


def state(position: float, number: int = 0) -> RobotState:
    physics = START.copy()
    physics[1] = position
    return RobotState(CLOCK.now(), number, physics)


def newest(planner: PlannerProcess) -> TimedPlan:
    plan = planner.plan()
    assert plan is not None
    return plan


def nothing_sent() -> Commands:
    return Commands(np.array([CLOCK.now()]), np.zeros((1, 1)))


def shown(planner: PlannerProcess, good: Callable[[TimedPlan], bool]) -> TimedPlan:
    """Show states until there is a plan that is good."""
    for k in range(2_000):
        planner.see(state(0.5, k), nothing_sent())
        if (plan := planner.plan()) is not None and good(plan):
            return plan
        time.sleep(0.005)
    raise AssertionError("no such plan in 10 s")


Teller = tuple[Tells, PlannerProcess]


@pytest.fixture
def teller() -> Iterator[Teller]:
    """A planner whose controller tells what it is shown."""
    controller = Tells()
    planner = PlannerProcess(controller, TASK, timing=Timing(compensate=False))
    yield controller, planner
    planner.close()


def test_what_is_seen_is_what_is_planned_from(teller: Teller) -> None:
    _, planner = teller
    before = CLOCK.now()
    plan = shown(planner, lambda plan: True)
    assert plan.actions.tolist() == [[0.5]]
    assert before <= plan.seen <= plan.start <= CLOCK.now()
    assert plan.dt == SPEC.dt
    assert plan is planner.plan()


def test_a_planner_gives_way_to_the_loop(teller: Teller) -> None:
    _, planner = teller
    shown(planner, lambda plan: True)
    this = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, planner.pid) == min(this + 5, 19)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_controller_that_fails_or_hangs_begins_anew(teller: Teller, order: int) -> None:
    controller, planner = teller
    shown(planner, lambda plan: True)
    first = planner.pid
    controller.order.put(order)
    last: TimedPlan | None = None
    while (now := newest(planner)) is not last:  # it falls silent
        last = now
        for k in range(20):
            planner.see(state(0.5, k), nothing_sent())
            time.sleep(0.01)
    controller.order.put(0)
    planner.restart()
    after = CLOCK.now()
    assert shown(planner, lambda plan: plan.seen > after).actions.tolist() == [[0.5]]
    assert planner.pid != first


def test_not_a_number_is_passed_on_for_safety_to_see(teller: Teller) -> None:
    controller, planner = teller
    controller.order.put(3)
    assert shown(planner, lambda plan: bool(np.isnan(plan.actions).all()))


def test_nobody_is_expected_to_follow_a_plan_that_is_not_a_number() -> None:
    """Forecasts go on with the last command that was sent."""
    controller = Tells()
    planner = PlannerProcess(controller, TASK, timing=Timing(actuation_delay=0.03))
    controller.order.put(3)
    shown(planner, lambda plan: bool(np.isnan(plan.actions).all()))
    controller.order.put(0)
    deadline = CLOCK.now() + 10.0
    seen = replace(state(0.5), stamp=CLOCK.now() - 0.2)
    commands = Commands(np.array([seen.stamp - 1.0, seen.stamp]), np.array([[0.3], [0.9]]))
    planner.see(seen, commands)
    while (plan := newest(planner)).seen != seen.stamp and CLOCK.now() < deadline:
        time.sleep(0.005)
    planner.close()
    forecast = Forecast(ENV.unwrapped.model, 0.03)  # type: ignore[attr-defined]
    assert seen.physics is not None
    expected = forecast(seen.physics, seen.stamp, plan.start + 0.03, commands)
    assert plan.actions[0, 0] == expected[1]


def test_a_planner_that_is_stopped_goes_on_from_the_newest_state(teller: Teller) -> None:
    _, planner = teller
    shown(planner, lambda plan: True)
    os.kill(planner.pid, signal.SIGSTOP)
    for k in range(50):
        planner.see(state(k, 100 + k), nothing_sent())
    os.kill(planner.pid, signal.SIGCONT)
    deadline = CLOCK.now() + 10.0
    while newest(planner).actions[0, 0] != 49.0 and CLOCK.now() < deadline:
        time.sleep(0.01)
    assert newest(planner).actions.tolist() == [[49.0]]


def test_a_first_plan_that_takes_long_does_not_delay_the_others() -> None:
    controller = Tells()
    controller.warming_up = 1.0
    planner = PlannerProcess(controller, TASK, timing=Timing(compensate=False))
    first = shown(planner, lambda plan: True)  # or the second one
    later = shown(planner, lambda plan: plan.start > first.start)
    planner.close()
    assert later.start - later.seen < 0.5


def test_plans_begin_where_the_robot_will_be() -> None:
    """The state is shown 40 ms late, and actuators are 30 ms late."""
    controller = Tells()
    planner = PlannerProcess(controller, TASK, timing=Timing(actuation_delay=0.03))
    seen = CLOCK.now() - 0.04
    physics = START.copy()
    physics[1], physics[1 + ENV.unwrapped.model.nq] = 0.0, 1.0  # type: ignore[attr-defined]
    commands = Commands(np.array([seen - 1.0, seen]), np.array([[0.3], [0.9]]))
    planner.see(RobotState(seen, 0, physics), commands)
    deadline = CLOCK.now() + 10.0
    while (plan := planner.plan()) is None and CLOCK.now() < deadline:
        time.sleep(0.01)
    planner.close()
    assert plan is not None
    assert plan.start >= seen + 0.04
    forecast = Forecast(ENV.unwrapped.model, 0.03)  # type: ignore[attr-defined]
    expected = forecast(physics, seen, plan.start + 0.03, commands)
    assert plan.actions[0, 0] == expected[1] > 0.06


@pytest.mark.parametrize(("rate", "delay"), [(50.0, 0.0), (500.0, 0.4), (2_000.0, 0.03)])
def test_commands_that_take_effect_late_are_known_at_any_rate(rate: float, delay: float) -> None:
    """The state is shown 50 ms late; whoever forgot a command would forecast something else."""
    planner = PlannerProcess(Tells(), TASK, timing=Timing(actuation_delay=delay))
    now, rng = CLOCK.now(), np.random.default_rng(0)
    stamps = now - 1.0 + np.arange(round(rate)) / rate
    sent = rng.uniform(-1.0, 1.0, (len(stamps), 1))
    history = CommandHistory(planner.history, rate, np.zeros(1))
    for stamp, command in zip(stamps, sent, strict=True):
        history.add(stamp, command)
    seen = now - 0.05
    planner.see(RobotState(seen, 0, START), history.commands)
    while (plan := planner.plan()) is None and CLOCK.now() < now + 10.0:
        time.sleep(0.005)
    planner.close()
    assert plan is not None
    forecast = Forecast(ENV.unwrapped.model, delay)  # type: ignore[attr-defined]
    expected = forecast(START, seen, plan.start + delay, Commands(stamps, sent))
    assert plan.actions[0, 0] == expected[1]


def test_a_real_planner_moves_its_warm_start_on() -> None:
    """Plans a second apart that want the same: the pole upright."""
    search = make_optimizer(spline_for(SPEC, 0.3), ICEMConfig(num_samples=20, num_elites=4))
    planner = PlannerProcess(MPC(Simulator(TASK, threads=1), search), TASK)
    first = shown(planner, lambda plan: len(plan.actions) == search.spline.horizon)
    later = shown(planner, lambda plan: plan.start > first.start + 0.2)
    planner.close()
    assert later.value > -np.inf
    assert later.latency > 0
    assert later.divergence < 1.0


def test_delays_are_not_compensated_through_servos_that_are_not_known() -> None:
    walker = replace(TASK, servo=PDServo(1.0))
    with pytest.raises(ValueError, match="task: expected one whose actions are commands, to comp"):
        PlannerProcess(Tells(), walker)
    PlannerProcess(Tells(), walker, timing=Timing(compensate=False)).close()


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="actuation_delay: expected from 0 to 10 s, got -1"):
        Timing(actuation_delay=-1)
    with pytest.raises(ValueError, match="latency_quantile: expected in"):
        Timing(latency_quantile=0.0)
    with pytest.raises(ValueError, match="sampling: expected one of zero, linear, cubic, got 'no'"):
        Timing(sampling="no")  # type: ignore[arg-type]
