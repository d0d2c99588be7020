"""The examples do what they say; those that take long do their first steps."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from mpc_robot.envs.terms import Term, height, position, upright, velocity


def example(name: str) -> ModuleType:
    """The module of an example; its robot is made when it is imported."""
    return importlib.import_module(f"examples.{name}")


def run(name: str, term: Term, seconds: float) -> Any:
    """A term of each state of an episode."""
    module = example(name)
    return module.robot.measure(term, module.main(seconds=seconds).observations)


def apart(one: str, other: str) -> Term:
    """Distance of two points, m."""
    return (position(one) - position(other)).norm()


def test_the_pole_is_swung_up_and_stays_up() -> None:
    height_of_tip = run("cart_pole", upright("pole"), 3.0)
    assert height_of_tip[0] < 0.01
    assert height_of_tip[-50:].min() > 0.95


def test_the_tip_follows_the_moving_target() -> None:
    distance = run("two_link_arm", apart("tip", "target"), 2.5)
    assert distance[0] > 0.2
    assert distance[-50:].mean() < 0.02


def test_the_ball_is_caught_and_stays() -> None:
    distance = run("ball_in_cup", apart("ball", "bottom"), 2.0)
    assert distance[0] > 0.3
    assert distance[-20:].max() < 0.03


def test_the_arm_draws_its_circle_to_three_centimetres() -> None:
    distance = run("arm_path", apart("tool", "target"), 2.0)
    assert distance.mean() < 0.03
    circle = example("arm_path").circle(np.linspace(0.0, 2.0, 9))
    assert np.linalg.norm(np.diff(circle, axis=0), axis=1).min() > 0.05  # it does move


def test_the_quadruped_sets_off() -> None:
    speed = run("quadruped", velocity("torso")[0], 0.4)
    assert abs(speed[0]) < 0.05
    assert speed[-1] > 0.3


def test_the_humanoid_begins_to_get_up() -> None:
    torso = run("humanoid_standup", height("torso"), 0.3)
    assert torso[0] < 0.15
    assert torso[-1] > 0.3


def test_an_example_can_be_repeated() -> None:
    first, again, other = (example("two_link_arm").main(0.2, seed).actions for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_robust_plan_keeps_the_sled_on_the_table_that_a_nominal_one_falls_off() -> None:
    sled = example("sled")
    trusted, doubted = (sled.slide(planner, 1.5, 0.3) for planner in ("nominal", "cvar"))
    assert trusted.terminated and not doubted.terminated
    assert doubted.observations[-1, 0] > 0.3  # it does set off
    assert not sled.slide("nominal", 1.0, 0.6).terminated
