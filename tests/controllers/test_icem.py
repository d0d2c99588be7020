from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from mpc_robot.controllers import ICEM, ActionSpline, ICEMConfig

if TYPE_CHECKING:
    from tests.controllers.conftest import Recorder

SPLINE = ActionSpline(6, [-1.0], [1.0])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [64, 81])
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0, 3.0])
def test_candidates_have_the_colour_and_the_spread_of_the_config(
    length: int, beta: float, recorder: Recorder
) -> None:
    config = ICEMConfig(num_samples=4000, iterations=1, noise_beta=beta, initial_std=0.1)
    optimizer = ICEM(ActionSpline(length, [-5.0], [5.0]), config)
    optimizer.optimize(recorder, optimizer.initial(), seeded())
    noise = recorder.candidates[0][:4000, :, 0].double().numpy()
    assert noise.std() == pytest.approx(0.1 * 5.0, rel=0.03)
    np.testing.assert_allclose(noise.std(axis=0), 0.5, rtol=0.06)
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(0)
    inner = slice(1, (length - 1) // 2 + 1)
    slope = np.polyfit(np.log(np.fft.rfftfreq(length)[inner]), np.log(power[inner]), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.05)


def test_white_noise_is_white_at_every_frequency(recorder: Recorder) -> None:
    config = ICEMConfig(num_samples=8000, iterations=1, noise_beta=0.0, initial_std=0.1)
    optimizer = ICEM(ActionSpline(8, [-1.0], [1.0]), config)
    optimizer.optimize(recorder, optimizer.initial(), seeded())
    covariance = np.cov(recorder.candidates[0][:8000, :, 0].double().numpy().T)
    np.testing.assert_allclose(covariance, 0.01 * np.eye(8), atol=7e-4)


def test_a_single_knot_is_possible(recorder: Recorder) -> None:
    optimizer = ICEM(ActionSpline(6, [-1.0], [1.0], knots=1))
    plan = optimizer.optimize(recorder, optimizer.initial(), seeded())
    assert plan.actions[0, 0] == pytest.approx(0.3, abs=0.05)


def test_numbers_of_candidates_follow_the_schedule(recorder: Recorder) -> None:
    config = ICEMConfig(num_samples=40, num_elites=10, decay=1.25, keep_elites=0.3, iterations=4)
    optimizer = ICEM(SPLINE, config)
    plan = optimizer.optimize(recorder, optimizer.initial(), seeded())
    optimizer.optimize(recorder, optimizer.shift(plan), seeded())
    first = [40, 32 + 3, 25 + 3, 20 + 3 + 1]
    assert [len(c) for c in recorder.candidates] == [*first, 40 + 3, *first[1:]]


def test_the_best_of_one_iteration_are_candidates_of_the_next(recorder: Recorder) -> None:
    optimizer = ICEM(SPLINE)
    optimizer.optimize(recorder, optimizer.initial(), seeded())
    for before, scores, after in zip(
        recorder.candidates, recorder.scores, recorder.candidates[1:], strict=False
    ):
        for kept in before[scores.argsort(descending=True)[:3]]:
            assert (after == kept).all(dim=(1, 2)).any()


def test_elites_move_one_step_with_the_plan_and_are_candidates_again(recorder: Recorder) -> None:
    optimizer = ICEM(SPLINE)
    plan = optimizer.optimize(recorder, optimizer.initial(), seeded())
    assert plan.elites.shape == (3, 6, 1)
    last_scores = recorder.scores[-1].sort(descending=True).values[:3]
    torch.testing.assert_close(-(plan.elites - 0.3).square().sum((1, 2)), last_scores)
    recorder.candidates.clear()
    optimizer.optimize(recorder, optimizer.shift(plan), seeded())
    for elite in plan.elites:
        moved = torch.cat([elite[1:], elite[-1:]])
        assert (recorder.candidates[0] - moved).abs().amax((1, 2)).min() < 1e-5


def test_the_mean_is_a_candidate_of_the_last_iteration_only(recorder: Recorder) -> None:
    config = ICEMConfig(iterations=2, alpha=0.2, num_elites=5)
    optimizer = ICEM(SPLINE, config)
    optimizer.optimize(recorder, optimizer.initial(), seeded())
    elites = recorder.candidates[0][recorder.scores[0].argsort(descending=True)[:5]]
    mean = 0.8 * elites.mean(0)
    distances = [(c - mean).abs().amax((1, 2)).min() for c in recorder.candidates]
    assert distances[0] > 1e-3
    assert distances[1] < 1e-6


def test_acts_on_the_best_candidate_seen(recorder: Recorder) -> None:
    optimizer = ICEM(SPLINE)
    plan = optimizer.optimize(recorder, optimizer.initial(), seeded())
    candidates, scores = torch.cat(recorder.candidates), torch.cat(recorder.scores)
    assert torch.equal(plan.actions, candidates[scores.argmax()])
    assert not torch.equal(plan.actions, SPLINE.decode(plan.knots))


def test_acts_on_the_best_candidate_even_if_later_iterations_score_worse(
    recorder: Recorder,
) -> None:
    optimizer = ICEM(SPLINE, ICEMConfig(keep_elites=0.0))
    plan = optimizer.optimize(
        lambda actions: recorder(actions) - 10 * len(recorder.scores), optimizer.initial(), seeded()
    )
    assert torch.equal(plan.actions, recorder.candidates[0][recorder.scores[0].argmax()])
