"""Lambda-returns by brute force; a value function on a chain whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpc_robot.agents.value import ValueConfig, ValueFunction, lambda_returns
from mpc_robot.data.replay import Experience
from mpc_robot.envs import EnvSpec


def brute_force(columns: tuple[np.ndarray, ...], discount: float, lambda_: float, t: int) -> float:
    """The weighted sum over all n-step returns from step ``t`` (Sutton and Barto, eq. 12.3)."""
    reward, beyond, terminated, truncated = columns
    ends = np.flatnonzero((terminated | truncated)[t:])
    last = t + int(ends[0]) if len(ends) else len(reward) - 1

    def n_step(n: int) -> float:
        steps = range(t, t + n)
        total = sum(discount ** (k - t) * reward[k] for k in steps)
        return total + (0.0 if terminated[t + n - 1] else discount**n * beyond[t + n - 1])

    count = last - t + 1
    weighted = sum((1 - lambda_) * lambda_ ** (n - 1) * n_step(n) for n in range(1, count))
    return float(weighted + lambda_ ** (count - 1) * n_step(count))


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95, 1.0])
def test_lambda_returns_are_the_weighted_sum_of_n_step_returns(lambda_: float) -> None:
    rng = np.random.default_rng(0)
    reward, beyond = rng.normal(size=(2, 30))
    terminated, truncated = np.zeros((2, 30), dtype=bool)
    terminated[[7, 19]], truncated[[12]] = True, True
    found = lambda_returns(reward, beyond, (terminated, truncated), 0.9, lambda_)
    expected = [
        brute_force((reward, beyond, terminated, truncated), 0.9, lambda_, t) for t in range(30)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def corridor(truncated: bool) -> Experience:
    """Episodes that walk from 0 to 1 in ten steps of reward 1, and end there."""
    place = np.tile(np.linspace(0, 0.9, 10), 50)[:, None]
    end = np.tile(np.arange(10) == 9, 50)
    none = np.zeros(500, dtype=bool)
    return Experience(
        observation=place,
        action=np.zeros((500, 1)),
        reward=np.ones(500),
        next_observation=place + 0.1,
        terminated=none if truncated else end,
        truncated=end if truncated else none,
    )


@pytest.mark.parametrize("truncated", [False, True])
def test_it_learns_what_is_left_and_bootstraps_only_where_the_clock_ran_out(
    truncated: bool,
) -> None:
    spec = EnvSpec(1, -np.ones(1), np.ones(1), 0.1, 10)
    rng = torch.Generator().manual_seed(0)
    value = ValueFunction(spec, 0.9, ValueConfig(learning_rate=3e-3), rng)
    errors = [value.fit(corridor(truncated), rng)["value/error"] for _ in range(12)]
    with torch.no_grad():
        found = value(torch.linspace(0, 0.9, 10)[:, None]).numpy()
    left = np.arange(10, 0, -1)
    if truncated:
        assert (found > (1 - 0.9**left) / 0.1 + 0.2).all()
    else:
        np.testing.assert_allclose(found, (1 - 0.9**left) / 0.1, atol=0.15)
    assert errors[-1] < 0.1 * errors[0]


def steps(place: list[float], reward: list[float], over: list[bool]) -> Experience:
    """Steps from places on a line, each one further."""
    here, ends = np.array(place)[:, None], np.array(over)
    return Experience(here, here, np.array(reward), here + 1.0, ends, np.zeros_like(ends))


def learned(data: Experience, config: ValueConfig, fits: int) -> ValueFunction:
    spec, rng = EnvSpec(1, -np.ones(1), np.ones(1), 0.1, 10), torch.Generator().manual_seed(0)
    value = ValueFunction(spec, 0.9, config, rng)
    for _ in range(fits):
        value.fit(data, rng)
    return value


def test_a_step_is_worth_what_it_leads_to() -> None:
    """From 0 one comes to 1, where 2 is earned: 0 is worth 0.9 of that."""
    chain = steps([0.0, 1.0] * 20, [0.0, 2.0] * 20, [False, True] * 20)
    value = learned(chain, ValueConfig(lambda_=0.0, learning_rate=3e-3), 4)
    found = value(torch.tensor([[0.0], [1.0]])).tolist()
    assert found == pytest.approx([1.8, 2.0], abs=0.1)


def test_it_learns_from_the_latest_steps_alone() -> None:
    data = steps([0.0, 1.0] * 40, [9.0] * 40 + [1.0, 3.0] * 20, [True] * 80)
    value = learned(data, ValueConfig(recent=40, learning_rate=3e-3), 2)
    assert value(torch.tensor([[0.0], [1.0]])).tolist() == pytest.approx([1.0, 3.0], abs=0.1)


def test_leading_shapes_are_kept() -> None:
    spec = EnvSpec(3, -np.ones(1), np.ones(1), 0.1, 10)
    value = ValueFunction(spec, 0.9, ValueConfig(), torch.Generator().manual_seed(0))
    points = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0))
    assert value(points).shape == (4, 5)
    torch.testing.assert_close(value(points)[2, 3], value(points[2, 3]))
