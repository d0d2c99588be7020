"""Caution costs what particles disagree on, by the closed form, and never makes doubt pay."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from mpc_robot.controllers import (
    MPC,
    ActionSpline,
    Caution,
    PredictiveSampling,
    PredictiveSamplingConfig,
)
from mpc_robot.dynamics.base import Sensed, Trajectories, Transition


def futures(spread: npt.ArrayLike, reward: float = 1.0) -> Trajectories:
    """Two particles that are ``spread[N, H]`` to either side of 0 in the last of two entries."""
    apart = torch.as_tensor(np.asarray(spread), dtype=torch.float64)
    num, horizon = apart.shape
    observations = torch.zeros(num, 2, horizon + 1, 2, dtype=torch.float64)
    observations[:, 0, 1:, 1], observations[:, 1, 1:, 1] = apart, -apart
    rewards = torch.full((num, 2, horizon), reward, dtype=torch.float64)
    return Trajectories(observations, rewards, torch.ones_like(rewards))


def test_disagreement_is_the_root_mean_square_of_scaled_deviations() -> None:
    seen = futures([[0.0, 3.0, 4.0]])
    caution = Caution(scale=(1.0, 2.0))
    disagreement = caution.disagreement(seen.observations[:, :, 1:])
    np.testing.assert_allclose(disagreement, np.array([[0.0, 1.5, 2.0]]) / math.sqrt(2))


def test_the_penalty_is_paid_at_every_step() -> None:
    judged = Caution(penalty=0.5)(futures([[0.0, 1.0], [2.0, 2.0]]))
    share = 0.5 / math.sqrt(2)
    expected = [[2.0 - share] * 2, [2.0 - 4 * share] * 2]
    np.testing.assert_allclose(judged.returns(), expected)


def test_one_particle_never_disagrees() -> None:
    seen = futures([[1.0, 9.0]])
    alone = Trajectories(seen.observations[:, :1], seen.rewards[:, :1], seen.continues[:, :1])
    judged = Caution(penalty=3.0, trust=0.1)(alone)
    assert torch.equal(judged.rewards, alone.rewards)


@pytest.mark.parametrize(("trust", "steps"), [(0.1, 1), (0.8, 2), (1.5, 3), (9.0, 4)])
def test_all_candidates_are_judged_over_the_same_believed_steps(trust: float, steps: int) -> None:
    root = math.sqrt(2)
    seen = futures(np.array([[0.2, 0.6, 1.0, 1.6], [0.4, 0.8, 1.4, 2.4]]) * root, reward=-1.0)
    judged = Caution(trust=trust)(seen)
    assert judged.observations.shape == (2, 2, steps + 1, 2)
    np.testing.assert_allclose(judged.returns(), -float(steps))


def test_what_cannot_be_valued_does_not_shorten_the_horizon() -> None:
    seen = futures([[0.1, 0.1], [0.1, math.nan]])
    judged = Caution(trust=1.0)(seen)
    assert judged.rewards.shape[-1] == 2


class Foggy:
    """Every action is worth what it is; particles spread by its amount where it is positive."""

    observes: Sensed = "observation"

    def start(self, sensed: npt.NDArray[np.float64], num: int) -> int:
        return num

    def step(self, state: int, action: Tensor, rng: torch.Generator) -> Transition[int]:
        raise NotImplementedError

    def rollout(self, state: int, actions: Tensor, rng: torch.Generator) -> Trajectories:
        seen = futures(2.0 * math.sqrt(2) * actions[..., 0].clamp(min=0.0))
        rewards = actions[:, None, :, 0].double().expand(-1, 2, -1)
        return Trajectories(seen.observations, rewards, seen.continues)


@pytest.mark.parametrize(("penalty", "wanted"), [(0.0, 1.0), (0.4, 1.0), (0.6, 0.0), (2.0, 0.0)])
def test_a_planner_avoids_what_the_model_does_not_know(penalty: float, wanted: float) -> None:
    """Where doubt grows twice as fast as reward, a penalty of half is where it stops to pay."""
    search = PredictiveSampling(
        ActionSpline(3, [-1.0], [1.0]), PredictiveSamplingConfig(num_samples=300, noise_std=0.3)
    )
    mpc = MPC(Foggy(), search, caution=Caution(penalty=penalty))
    for _ in range(20):
        action = mpc.act(np.zeros(2))
    assert action[0] == pytest.approx(wanted, abs=0.1)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="penalty: expected not negative, got -1"):
        Caution(penalty=-1)
    with pytest.raises(ValueError, match="trust: expected positive, got 0"):
        Caution(trust=0)
    with pytest.raises(ValueError, match="scale: expected positive entries"):
        Caution(scale=(1.0, 0.0))
