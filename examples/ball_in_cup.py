"""A ball on a string is swung into a cup, and kept there.

Reached: caught within 0.8 s, and still there after 4 s, in each of four seeds.
"""

from pathlib import Path

import numpy as np
import tyro

from mpc_robot import from_mjcf
from mpc_robot.controllers import ICEMConfig
from mpc_robot.envs.terms import control_change, joint_position, position, reach
from mpc_robot.training.evaluation import Episode, evaluate

BALL_IN_CUP = """
<mujoco model="ball_in_cup">
  <option timestep="0.005" integrator="implicitfast"/>
  <default>
    <default class="hand"><joint type="slide" range="-0.6 0.6" damping="3"/></default>
    <default class="ball"><joint type="slide" damping="0.001"/></default>
    <geom type="capsule" size="0.008" friction="0.8" solref="0.02 1"/>
    <position kp="60" ctrlrange="-0.5 0.5"/>
  </default>
  <worldbody>
    <light pos="0 -1 2" dir="0 0.4 -1"/>
    <camera name="front" pos="0 -1.8 0.6" xyaxes="1 0 0 0 0 1"/>
    <body name="cup" pos="0 0 0.6" childclass="hand">
      <joint name="cup_x" axis="1 0 0"/>
      <joint name="cup_z" axis="0 0 1"/>
      <geom fromto="-0.05 0 0 0.05 0 0" mass="0.3"/>
      <geom fromto="-0.05 0 0 -0.08 0 0.1" mass="0.1"/>
      <geom fromto="0.05 0 0 0.08 0 0.1" mass="0.1"/>
      <site name="bottom" pos="0 0 0.035" size="0.01"/>
      <site name="knot" size="0.005"/>
    </body>
    <body name="ball" pos="0 0 0.3" childclass="ball">
      <joint name="ball_x" axis="1 0 0"/>
      <joint name="ball_z" axis="0 0 1"/>
      <geom type="sphere" size="0.025" mass="0.05" rgba="0.9 0.3 0.2 1"/>
      <site name="ball" size="0.005"/>
    </body>
  </worldbody>
  <tendon>
    <spatial name="string" limited="true" range="0 0.3" width="0.003">
      <site site="knot"/>
      <site site="ball"/>
    </spatial>
  </tendon>
  <actuator>
    <position joint="cup_x"/>
    <position joint="cup_z"/>
  </actuator>
</mujoco>
"""

robot = from_mjcf(
    BALL_IN_CUP,
    reward=reach("ball", "bottom", margin=0.2)
    + reach("ball", "bottom", margin=0.03)
    - 0.1 * joint_position("cup_x", "cup_z").norm() ** 2  # m
    - 3.0 * control_change(),
    rate=25,
    start_noise=0.02,  # m
    episode=60,  # s, at most
)


def main(seconds: float = 4.0, seed: int = 0, video: Path | None = None) -> Episode:
    """Plan 25 times a second in the simulator; print the return and when the ball was caught."""
    search = ICEMConfig(num_samples=30, num_elites=4, iterations=3, initial_std=0.35)
    controller = robot.controller(search, horizon=0.6, knots=6)
    steps = round(25 * seconds)
    result = evaluate(robot.task, controller, 1, seed, max_steps=steps, video=video)
    episode = result.episodes[0]
    apart = robot.measure((position("ball") - position("bottom")).norm(), episode.observations)
    caught = np.flatnonzero(apart > 0.03)[-1] / 25  # s
    print(f"return {episode.total:.1f} in {seconds:g} s; in the cup for good after {caught:.2f} s")
    return episode


if __name__ == "__main__":
    tyro.cli(main)
