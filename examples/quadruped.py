"""A quadruped of twelve position servos trots forward at a commanded speed.

The reward says how high each foot is when, diagonal pairs by turns: that makes it a trot.

Reached: 0.69 to 0.71 m/s for 5 s without falling, in each of three seeds.
"""

import math
from pathlib import Path

import tyro

from mpc_robot import from_mjcf
from mpc_robot.controllers import ICEMConfig
from mpc_robot.envs.terms import Term, axis, height, time, track_velocity, upright, velocity
from mpc_robot.training.evaluation import Episode, evaluate

SPEED = 0.7  # m/s
STRIDES, LIFT, FOOT = 2.5, 0.06, 0.022  # Hz, m, m: of a foot's swing, and its radius


def stride(foot: str, phase: float) -> Term:
    """A foot lifted for half of each stride, and on the ground for the other half."""
    lift = LIFT * (2 * math.pi * (STRIDES * time() + phase)).sin().clip(0.0, 1.0)
    return (height(foot) - FOOT - lift).tolerance(margin=LIFT)


robot = from_mjcf(
    Path(__file__).with_suffix(".xml"),
    reward=2.0 * track_velocity("torso", (SPEED, 0.0), margin=0.7, sigmoid="linear")
    + 2.0 * upright("torso")
    + height("torso").tolerance((0.28, 0.34), margin=0.15, sigmoid="linear")
    + axis("torso", "x")[0].tolerance((0.99, 1.01), margin=0.5, sigmoid="linear")
    + 0.5 * (stride("front_left_foot", 0.0) + stride("rear_right_foot", 0.0))
    + 0.5 * (stride("front_right_foot", 0.5) + stride("rear_left_foot", 0.5)),
    rate=50,
    start="stand",
    start_noise=0.05,  # rad
    terminated=(height("torso") < 0.15) | (upright("torso") < 0.75),
    episode=60,  # s, at most
)


def main(seconds: float = 5.0, seed: int = 0, video: Path | None = None) -> Episode:
    """Plan 50 times per simulated second; print the return and the speed of the last 2 s."""
    search = ICEMConfig(num_samples=30, num_elites=5, iterations=2, initial_std=0.25)
    controller = robot.controller(search, horizon=0.3, knots=3, interpolation="linear")
    steps = round(50 * seconds)
    result = evaluate(robot.task, controller, 1, seed, max_steps=steps, video=video)
    episode = result.episodes[0]
    speed = robot.measure(velocity("torso"), episode.observations[-100:])[:, 0].mean()
    fell = "fell" if episode.terminated else "did not fall"
    print(f"return {episode.total:.0f} in {seconds:g} s; {speed:.2f} m/s of {SPEED}, {fell}")
    return episode


if __name__ == "__main__":
    tyro.cli(main)
