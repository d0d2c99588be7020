"""How to plan each task in its simulator: what was found to suit it."""

from __future__ import annotations

from dataclasses import replace

from mpc_robot.controllers.icem import ICEMConfig
from mpc_robot.controllers.simulator_planner import PlannerConfig
from mpc_robot.controllers.terminal import CostToGo, SwimmerProgress, Upright
from mpc_robot.dynamics.simulator import Physics
from mpc_robot.envs.servo import PDServo

_CARTPOLE = PlannerConfig(ICEMConfig(num_samples=32), horizon=1.2)
_REACHER = PlannerConfig(
    ICEMConfig(num_samples=120, iterations=4, initial_std=0.3, noise_beta=1.0), horizon=0.4
)
# Running is full torque this way and that: noise almost without colour. A cheetah on its back is
# not terminated, but stays there: leaning is what must cost.
_HALF_CHEETAH = PlannerConfig(
    ICEMConfig(num_samples=64, num_elites=6, initial_std=0.4, noise_beta=0.25),
    horizon=0.8,
    terminal_value=Upright(lean=3.0, lean_ahead=0.1, angle_rate=11),
)
# Without servos, no candidate outlives the horizon; without a speed limit, it leans into a fall.
_HOPPER = PlannerConfig(
    ICEMConfig(num_samples=80, num_elites=8, initial_std=0.08, noise_beta=1.0),
    horizon=0.8,
    knots=10,
    interpolation="linear",
    replan_every=2,
    physics=Physics(0.004, "Euler"),
    servo=PDServo(stiffness=4.0, damping=0.1),
    speed_limit=1.8,
    terminal_value=Upright(
        alive=300.0,
        lean=1000.0,
        lean_ahead=0.2,
        crouch=1500.0,
        height=1.1,
        fall_ahead=0.1,
        angle_rate=8,
        z_rate=7,
    ),
)
# Leaning is part of its gait; the speed limit keeps it from leaning into a fall.
_WALKER2D = PlannerConfig(
    ICEMConfig(num_samples=240, initial_std=0.3, noise_beta=1.0),
    horizon=0.7,
    knots=20,
    interpolation="linear",
    physics=Physics(0.004, "Euler"),
    servo=PDServo(stiffness=4.0, damping=0.05),
    speed_limit=6.0,
    terminal_value=Upright(
        alive=300.0,
        lean=2000.0,
        lean_free=0.25,
        lean_ahead=0.15,
        crouch=1500.0,
        height=1.05,
        fall_ahead=0.1,
        angle_rate=11,
        z_rate=10,
    ),
)
# Counted by its front, a swimmer would rather throw that forward than swim.
_SWIMMER = PlannerConfig(
    ICEMConfig(num_samples=100, noise_beta=2.0),
    horizon=1.6,
    physics=Physics(0.02, "Euler"),
    terminal_value=SwimmerProgress(),
)
# The reward for staying up does not say that the cart runs out of rail: the cost-to-go does.
_INVERTED_PENDULUM = PlannerConfig(
    ICEMConfig(num_samples=40, noise_beta=0.0, initial_std=0.3),
    horizon=0.3,
    terminal_value=CostToGo((1.0, 10.0, 0.1, 1.0), (1.0,), scale=0.1, alive=100.0),
)
# So unstable that only a short plan can be found by sampling, and only with small noise.
_INVERTED_DOUBLE_PENDULUM = PlannerConfig(
    ICEMConfig(num_samples=60, iterations=4, initial_std=0.2, noise_beta=0.0),
    horizon=0.2,
    terminal_value=CostToGo((1.0, 10.0, 10.0, 0.1, 1.0, 1.0), (1.0,), scale=0.1, alive=100.0),
)

PRESETS: dict[str, PlannerConfig] = {
    "CartpoleSwingup-v0": _CARTPOLE,
    "CartpoleBalance-v0": _CARTPOLE,
    "ReacherTwoLink-v0": _REACHER,
    "Reacher-v5": _REACHER,
    "HalfCheetah-v5": _HALF_CHEETAH,
    "Hopper-v5": _HOPPER,
    "Walker2d-v5": _WALKER2D,
    "Swimmer-v5": _SWIMMER,
    "InvertedPendulum-v5": _INVERTED_PENDULUM,
    "InvertedDoublePendulum-v5": _INVERTED_DOUBLE_PENDULUM,
}
TENFOLD: dict[str, PlannerConfig] = {
    "HalfCheetah-v5": replace(
        _HALF_CHEETAH,
        optimizer=ICEMConfig(800, 5, 10, 1.1, initial_std=0.4, noise_beta=0.0),
        horizon=1.0,
        terminal_value=Upright(lean=1.0, lean_ahead=0.1, angle_rate=11),
    ),
    "CartpoleSwingup-v0": replace(_CARTPOLE, optimizer=ICEMConfig(320)),
}
"""The same planners with about ten times as many physics steps."""


def simulator_preset(task: str) -> PlannerConfig:
    """The settings for a task's name; the defaults for tasks that nobody tuned."""
    return PRESETS.get(task, PlannerConfig())
