from __future__ import annotations

import numpy as np
import scipy.stats

from mpc_robot.controllers import ConstantController, RandomController


def test_random_controller_is_uniform_within_bounds_and_repeatable() -> None:
    controller = RandomController(np.array([-1.0, 2.0]), np.array([1.0, 5.0]))
    controller.reset(1)
    actions = np.array([controller.act(np.zeros(4)) for _ in range(2000)])
    for column, uniform in zip(
        actions.T, (scipy.stats.uniform(-1, 2), scipy.stats.uniform(2, 3)), strict=True
    ):
        assert scipy.stats.kstest(column, uniform.cdf).pvalue > 0.01
    controller.reset(1)
    assert (controller.act(np.zeros(4)) == actions[0]).all()
    controller.reset(2)
    assert (controller.act(np.zeros(4)) != actions[0]).all()
    assert controller.plan is None


def test_a_constant_action_stays_what_it_was() -> None:
    given = np.array([0.5, -2.0])
    controller = ConstantController(given)
    for told in (given, controller.act(np.zeros(4))):
        told[:] = 9.0
    controller.reset(1)
    assert controller.act(np.ones(4)).tolist() == [0.5, -2.0]
    assert controller.plan is None
