"""A planner in the simulator, from settings: all that is to be known about how to plan for a task.

What it plans for is the task itself, seen a little differently where that makes a better plan: with
servos beneath the actions, coarser physics, a speed limit, and a worth of where a plan ends.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, field, replace

from mpc_robot.controllers.icem import ICEMConfig
from mpc_robot.controllers.mpc import MPC
from mpc_robot.controllers.optimizers import OptimizerConfig, make_optimizer
from mpc_robot.controllers.parameterization import Interpolation, spline_for
from mpc_robot.controllers.risk import Risk, mean
from mpc_robot.controllers.terminal import CostToGo, SwimmerProgress, Upright
from mpc_robot.dynamics.randomization import Randomization
from mpc_robot.dynamics.simulator import Physics, Simulator
from mpc_robot.envs import PDServo, Task, env_spec, make_env
from mpc_robot.envs.arrays import Array, namespace
from mpc_robot.envs.base import RewardFn
from mpc_robot.errors import require, require_choices


@dataclass(frozen=True)
class PlannerConfig:
    """A search and what it searches over; defaults are for tasks that nobody tuned.

    Attributes:
        optimizer: settings of the optimizer, whose type says which one.
        horizon: how far a plan looks ahead, s.
        knots: free actions of a plan, spread over the horizon; None is one per control step.
        interpolation: what happens between knots.
        discount: of rewards per control step.
        replan_every: control steps that a plan is followed for.
        physics: how finely candidates are simulated.
        servo: joint servos beneath the actions, which then are joint positions; None for none.
        speed_limit: m/s beyond which going forward earns nothing more in a plan, for tasks whose
            observation begins with the x position and whose reward has the velocity; None for none.
        terminal_value: worth of where a plan ends; None for nothing.
    """

    optimizer: OptimizerConfig = field(default_factory=ICEMConfig)
    horizon: float = 0.5
    knots: int | None = None
    interpolation: Interpolation = "zero"
    discount: float = 1.0
    replan_every: int = 1
    physics: Physics = field(default_factory=Physics)
    servo: PDServo | None = None
    speed_limit: float | None = None
    terminal_value: Upright | SwimmerProgress | CostToGo | None = None

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require_choices(self)
        require(0 < self.horizon < math.inf, "horizon", "a positive time in s", self.horizon)
        limit = self.speed_limit
        require(limit is None or 0 < limit < math.inf, "speed_limit", "positive", limit)

    def acted_on(self, task: Task) -> Task:
        """The task as its planner acts on it: with the servos, if there are any."""
        return task if self.servo is None else replace(task, servo=self.servo)


def simulator_planner(
    task: Task,
    config: PlannerConfig,
    *,
    threads: int = 0,
    randomize: Randomization | None = None,
    risk: Risk = mean,
) -> MPC:
    """A planner for ``config.acted_on(task)``, which is what it must be run on.

    Args:
        task: what to do.
        config: how to plan.
        threads: threads that simulate, the caller's included; 0 is one per CPU.
        randomize: what is not known of the robot.
        risk: what the returns of a candidate in its variants are worth together.

    Raises:
        ValueError: if the task cannot be simulated or the settings do not fit it.
    """
    acted_on = config.acted_on(task)
    with closing(make_env(acted_on)) as env:
        spec = env_spec(env)
    planned_for = acted_on
    if config.speed_limit is not None:
        planned_for = _limited(acted_on, config.speed_limit, spec.dt)
    simulator = Simulator(planned_for, threads, randomize, config.physics)
    rest = None if simulator.servo is None else simulator.servo.rest
    spline = spline_for(spec, config.horizon, config.knots, config.interpolation, rest=rest)
    worth = config.terminal_value
    return MPC(
        simulator,
        make_optimizer(spline, config.optimizer),
        config.discount,
        worth.value(simulator, spec) if isinstance(worth, CostToGo) else worth,
        risk=risk,
        replan_every=config.replan_every,
    )


def _limited(task: Task, limit: float, dt: float) -> Task:
    """The task without what velocity beyond the limit, m/s, earns."""
    if task.reward is None:
        raise ValueError(f"speed_limit: expected a task with a known reward, got {task.name}")
    earned: RewardFn = task.reward

    def reward(obs: Array, action: Array, next_obs: Array) -> Array:
        """The task's reward, less the velocity beyond the limit."""
        velocity = (next_obs[..., 0] - obs[..., 0]) / dt
        total: Array = earned(obs, action, next_obs) - namespace(velocity).clip(
            velocity - limit, 0.0, None
        )
        return total

    return replace(task, reward=reward)
