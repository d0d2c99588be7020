"""A sled that is pushed towards the edge of a table and can only brake by friction.

The model has the wrong mass and friction. A plan that trusts it goes too fast to stop; one that is
tried in several guesses of the truth stays on the table, and the better it is the nearer the edge.

Reached: with each of three other truths, the sled falls off if planned by the model alone. Planned
for the mean of eight guesses it falls off with one of them, for the worst quarter (CVaR) with none,
and then is the more timid where the truth is kind.
"""

from typing import Literal

import mujoco
import tyro

from mpc_robot import from_mjcf
from mpc_robot.controllers import ICEMConfig
from mpc_robot.controllers.risk import CVaR, Risk, mean, worst
from mpc_robot.dynamics.randomization import Randomization
from mpc_robot.dynamics.simulator import Simulator
from mpc_robot.envs.terms import position
from mpc_robot.training.evaluation import Episode, run_episode

SLED = """
<mujoco model="sled">
  <option timestep="0.025" integrator="implicitfast"/>
  <worldbody>
    <light pos="0 -2 4" dir="0 0.4 -1"/>
    <camera name="side" pos="0 -4 1" xyaxes="1 0 0 0 0.2 1"/>
    <geom name="table" type="box" size="1.5 0.2 0.05" pos="0 0 -0.05" friction="0.1"/>
    <body name="sled" pos="-1.3 0 0.05">
      <joint name="along" type="slide" axis="1 0 0"/>
      <joint name="up" type="slide" axis="0 0 1"/>
      <geom type="box" size="0.05 0.05 0.05" mass="1" friction="0.6"/>
    </body>
  </worldbody>
  <actuator><motor name="push" joint="along" ctrlrange="0 12"/></actuator>
</mujoco>
"""
EDGE = 1.5
GUESSES = Randomization(variants=8, mass=(0.5, 2.0), friction=(0.25, 1.5))
RISKS: dict[str, Risk] = {"mean": mean, "cvar": CVaR(0.25), "worst": worst}

along = position("sled")[0]  # m
robot = from_mjcf(
    SLED,
    reward=3.0 - (along - (EDGE - 0.1)).map(abs),
    terminated=along > EDGE,
    rate=10,
    episode=4.0,
)


def slide(planner: Literal["nominal", "mean", "cvar", "worst"], mass: float, mu: float) -> Episode:
    """An episode of a sled with ``mass`` kg and the coefficient of friction ``mu``."""
    guesses = None if planner == "nominal" else GUESSES
    controller = robot.controller(
        ICEMConfig(num_samples=24, num_elites=5),
        dynamics=Simulator(robot.task, threads=1, randomize=guesses),
        risk=RISKS.get(planner, mean),
        horizon=1.5,
        knots=5,
        interpolation="linear",
    )
    env = robot.env()
    model: mujoco.MjModel = env.unwrapped.model  # type: ignore[attr-defined]
    model.body("sled").mass[:] = mass
    model.geom_friction[1, 0] = mu
    return run_episode(env, controller, seed=0)


def main() -> None:
    """Print where every planner's sled ends, for the model's own truth and three others."""
    for planner in ("nominal", "mean", "cvar", "worst"):
        for mass, mu in ((1.0, 0.6), (1.5, 0.3), (2.0, 0.2), (1.0, 0.2)):
            episode = slide(planner, mass, mu)
            fate = "fell off" if episode.terminated else "stayed"
            x = episode.observations[-1, 0] - 1.3
            print(f"{planner:8} {mass} kg, friction {mu}: {fate}, {EDGE - x:+.2f} m from the edge")


if __name__ == "__main__":
    tyro.cli(main)
