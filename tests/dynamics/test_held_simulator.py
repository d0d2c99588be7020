"""Long strides are as many short steps, whose rewards add up and whose ends end them."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch

from mpc_robot.dynamics.held_simulator import HeldSimulator
from mpc_robot.dynamics.randomization import Randomization
from mpc_robot.dynamics.simulator import Simulator, SimulatorState
from mpc_robot.envs import get_task, make_env, physics_state

GAMMA, HOLD = 0.9, 4


def started(task: str, num: int) -> tuple[Simulator, SimulatorState]:
    simulator = Simulator(get_task(task), threads=1)
    with closing(make_env(simulator.task)) as env:
        env.reset(seed=1)
        return simulator, simulator.start(physics_state(env), num)


def by_hand(simulator: Simulator, state: Any, action: torch.Tensor) -> tuple[Any, Any, Any]:
    """Where single steps lead, what they earn while alive, and who survives them."""
    earned, alive, rng = torch.zeros(len(action)), torch.ones(len(action)), torch.Generator()
    for k in range(HOLD):
        step = simulator.step(state, action, rng)
        earned = earned + GAMMA**k * alive * step.reward
        state, alive = step.state, alive * step.continues
    return state, earned, alive


@pytest.mark.parametrize("task", ["CartpoleBalance-v0", "InvertedPendulum-v5"])
def test_a_stride_is_as_many_steps_under_one_action(task: str) -> None:
    simulator, start = started(task, 3)
    action = torch.tensor([[-1.0], [0.0], [1.0]]) * 3.0  # too much for a pendulum to bear
    after, earned, alive = by_hand(simulator, start, action)
    stride = HeldSimulator(simulator, HOLD, GAMMA).step(start, action, torch.Generator())
    torch.testing.assert_close(stride.reward.double(), earned.double())
    torch.testing.assert_close(stride.continues.double(), GAMMA ** (HOLD - 1) * alive.double())
    same = alive.bool().numpy()
    np.testing.assert_allclose(stride.state.physics[same], after.physics[same], atol=1e-12)


def test_a_fall_within_a_stride_ends_it() -> None:
    simulator, start = started("InvertedPendulum-v5", 2)
    held = HeldSimulator(simulator, 40, GAMMA)
    stride = held.step(start, torch.tensor([[0.0], [3.0]]), torch.Generator())
    assert stride.continues[1] == 0.0
    lived = round(float(np.log(1 - (1 - GAMMA) * float(stride.reward[1])) / np.log(GAMMA)))
    assert 0 < lived < 40, "a reward of 1 a step, and nothing any more once it fell"
    fine, _ = simulator.follow(start, torch.full((2, 40, 1), 3.0))
    assert lived - int(fine.continues[1, 0].sum()) in (0, 1), "the step that falls may earn 0"


def test_rollouts_discount_as_control_steps_do() -> None:
    simulator, start = started("CartpoleBalance-v0", 2)
    actions = torch.rand(2, 3, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    strides = HeldSimulator(simulator, HOLD, GAMMA).rollout(start, actions, torch.Generator())
    steps = simulator.rollout(start, actions.repeat_interleave(HOLD, dim=1), torch.Generator())
    torch.testing.assert_close(strides.returns(GAMMA), steps.returns(GAMMA))
    torch.testing.assert_close(strides.observations, steps.observations[:, :, ::HOLD])


def test_settings_must_make_sense() -> None:
    simulator = Simulator(get_task("CartpoleBalance-v0"), threads=1)
    with pytest.raises(ValueError, match="hold: expected at least 1, got 0"):
        HeldSimulator(simulator, 0)
    with pytest.raises(ValueError, match=r"discount: expected in \(0, 1\], got 0"):
        HeldSimulator(simulator, 2, 0.0)
    many = Simulator(simulator.task, 1, Randomization(variants=3, mass=(0.9, 1.1)))
    with pytest.raises(ValueError, match="simulator: expected one without randomised variants"):
        HeldSimulator(many, 2)
