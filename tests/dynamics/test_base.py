"""Returns of trajectories by hand."""

from __future__ import annotations

import torch

from mpc_robot.dynamics.base import Trajectories


def trajectories(rewards: list[float], continues: list[float]) -> Trajectories:
    horizon = len(rewards)
    return Trajectories(
        torch.zeros(1, 1, horizon + 1, 1),
        torch.tensor(rewards).view(1, 1, -1),
        torch.tensor(continues).view(1, 1, -1),
    )


def test_rewards_are_discounted() -> None:
    assert trajectories([1.0, 2.0, 4.0], [1.0, 1.0, 1.0]).returns(0.5).item() == 3.0


def test_the_last_step_earns_and_nothing_after_it() -> None:
    assert trajectories([1.0, 2.0, 4.0], [1.0, 0.0, 1.0]).returns().item() == 3.0


def test_survival_probabilities_multiply() -> None:
    assert trajectories([1.0, 2.0, 4.0], [0.5, 0.5, 0.0]).returns().item() == 3.0


def test_nan_after_certain_termination_is_nothing_and_before_it_is_nan() -> None:
    nan = float("nan")
    assert trajectories([1.0, nan], [0.0, 1.0]).returns().item() == 1.0
    assert trajectories([nan, 1.0], [0.0, 1.0]).returns().isnan().item()


def test_a_survival_that_is_nan_is_no_good_plan() -> None:
    nan = float("nan")
    assert trajectories([-1.0, -1.0, -1.0], [nan, 1.0, 1.0]).returns().isnan().item()
