"""Random shooting and predictive sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scipy.stats
import torch

from mpc_robot.controllers import (
    ActionSpline,
    PredictiveSampling,
    PredictiveSamplingConfig,
    RandomShooting,
    RandomShootingConfig,
)

if TYPE_CHECKING:
    from tests.controllers.conftest import Recorder


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_random_shooting_is_uniform_and_takes_the_best(recorder: Recorder) -> None:
    optimizer = RandomShooting(ActionSpline(3, [-1.0], [4.0]), RandomShootingConfig(2000))
    plan = optimizer.optimize(recorder, optimizer.initial(), seeded())
    candidates = recorder.candidates[0]
    uniform = scipy.stats.uniform(-1.0, 5.0)
    assert scipy.stats.kstest(candidates.numpy().ravel(), uniform.cdf).pvalue > 0.01
    assert torch.equal(plan.actions, candidates[recorder.scores[0].argmax()])


def test_predictive_sampling_perturbs_the_nominal_spline_which_is_a_candidate_too(
    recorder: Recorder,
) -> None:
    spline = ActionSpline(9, [-2.0], [2.0], knots=3, interpolation="linear")
    optimizer = PredictiveSampling(spline, PredictiveSamplingConfig(4000, noise_std=0.1))
    plan = optimizer.initial()
    optimizer.optimize(recorder, plan, seeded())
    candidates = recorder.candidates[0]
    assert torch.equal(candidates[0], plan.actions)
    on_knots = candidates[1:, [0, 4, 8]].numpy().ravel()
    assert scipy.stats.kstest(on_knots, scipy.stats.norm(0.0, 0.2).cdf).pvalue > 0.01


def test_predictive_sampling_never_gets_worse(recorder: Recorder) -> None:
    rng = seeded()
    optimizer = PredictiveSampling(ActionSpline(9, [-2.0], [2.0], knots=3))
    plan, values = optimizer.initial(), []
    for _ in range(60):
        plan = optimizer.optimize(recorder, plan, rng)
        values.append(plan.value)
    assert values == sorted(values)
    assert values[-1] > -0.05
