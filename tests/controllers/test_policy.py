"""A trained policy as a controller."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.controllers.policy import PolicyController


def doubled(observation: Tensor) -> Tensor:
    """Two actions for three entries."""
    return 2.0 * observation[:, :2]


def test_it_does_what_the_policy_holds_best() -> None:
    controller = PolicyController(doubled)
    action = controller.act(np.array([0.25, -0.5, 9.0]))
    assert action.tolist() == [0.5, -1.0] and action.dtype == np.float64
    assert controller.observes == "observation" and controller.plan is None


def test_it_has_neither_memory_nor_randomness() -> None:
    controller, observation = PolicyController(doubled), np.array([0.1, 0.2, 0.3])
    before = controller.act(observation)
    controller.act(-observation)
    controller.reset(seed=5)
    assert (controller.act(observation) == before).all()


def test_it_follows_a_policy_that_goes_on_learning_and_keeps_no_graph() -> None:
    weight = torch.ones(1, requires_grad=True)
    controller = PolicyController(lambda observation: observation * weight)
    assert controller.act(np.array([3.0])).tolist() == [3.0]
    with torch.no_grad():
        weight.mul_(2.0)
    assert controller.act(np.array([3.0])).tolist() == [6.0]


@pytest.mark.parametrize("sensed", [np.array([0.0, np.nan, 0.0]), np.array([np.inf]), np.eye(2)])
def test_what_nobody_can_act_on_is_refused(sensed: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        PolicyController(doubled).act(sensed)
