"""What every trajectory optimizer must do, whatever its method."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from mpc_robot.controllers import (
    OPTIMIZERS,
    ActionSpline,
    Plan,
    Score,
    TrajectoryOptimizer,
    make_optimizer,
)
from mpc_robot.controllers.sampling import evaluate

if TYPE_CHECKING:
    from tests.controllers.conftest import LinearQuadratic

HORIZON = 8
SPLINE = ActionSpline(HORIZON, [-1.0, -0.2], [1.0, 3.0], knots=5, interpolation="cubic")
OPTIONS: dict[str, dict[str, Any]] = {"mppi": {"iterations": 3, "num_samples": 200}}

every_optimizer = pytest.mark.parametrize("name", sorted(OPTIMIZERS))


def make(name: str, spline: ActionSpline = SPLINE, **options: Any) -> TrajectoryOptimizer:
    config = OPTIMIZERS[name][0](**{**OPTIONS.get(name, {}), **options})
    return make_optimizer(spline, config)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def near_target(actions: torch.Tensor) -> torch.Tensor:
    target = torch.linspace(0.5, -0.5, actions.shape[1])[:, None]
    return -10 * (actions - target).square().sum((1, 2))


def plan_twice(optimizer: TrajectoryOptimizer, seed: int = 0, score: Score = near_target) -> Plan:
    rng = seeded(seed)
    first = optimizer.optimize(score, optimizer.initial(), rng)
    return optimizer.optimize(score, optimizer.shift(first), rng)


def same(one: Plan, other: Plan) -> bool:
    fields = ("actions", "knots", "std", "elites")
    return all(torch.equal(getattr(one, f), getattr(other, f)) for f in fields)


@every_optimizer
def test_every_candidate_of_every_iteration_is_within_bounds(name: str) -> None:
    seen = []

    def greedy(actions: Tensor) -> Tensor:
        seen.append(actions)
        return actions[:, :, 0].sum(1) - actions[:, :, 1].sum(1)

    options: dict[str, Any] = {"noise_std": 1.0} if name in ("mppi", "predictive-sampling") else {}
    plan = plan_twice(make(name, **options), score=greedy)
    for actions in [*seen, plan.actions, plan.knots]:
        assert (actions >= torch.tensor([-1.0, -0.2])).all()
        assert (actions <= torch.tensor([1.0, 3.0])).all()
    assert plan.actions.shape == (HORIZON, 2)
    assert plan.actions[:, 0].mean() > 0.2


@every_optimizer
def test_same_seed_same_bits_and_no_global_randomness(name: str) -> None:
    untouched = torch.get_rng_state()
    assert same(plan_twice(make(name), seed=3), plan_twice(make(name), seed=3))
    assert not same(plan_twice(make(name), seed=3), plan_twice(make(name), seed=4))
    assert torch.equal(torch.get_rng_state(), untouched)


@every_optimizer
@pytest.mark.parametrize("worst", [math.nan, -math.inf, math.inf])
def test_what_has_no_finite_score_loses_to_the_worst_finite_score(name: str, worst: float) -> None:
    def score(actions: Tensor) -> Tensor:
        returns = -100 + 50 * actions[:, 0, 0]
        return torch.where(actions[:, 0, 0] > 0, worst, returns)

    optimizer = make(name)
    plan = optimizer.optimize(score, optimizer.initial(), seeded())
    assert plan.actions[0, 0] <= 0
    assert -150 <= plan.value <= -100
    assert all(torch.isfinite(t).all() for t in (plan.actions, plan.knots, plan.std, plan.elites))


@every_optimizer
@pytest.mark.parametrize("worst", [math.nan, -math.inf])
def test_without_any_finite_score_the_plan_stays(name: str, worst: float) -> None:
    optimizer = make(name)
    before = optimizer.shift(plan_twice(optimizer))
    after = optimizer.optimize(lambda actions: torch.full((len(actions),), worst), before, seeded())
    assert same(after, before)
    assert after.value == -math.inf


@pytest.mark.parametrize("name", ["cem", "icem", "mppi"])
def test_an_iteration_without_finite_scores_is_survived(name: str) -> None:
    calls: list[None] = []

    def score(actions: Tensor) -> Tensor:
        calls.append(None)
        return torch.full((len(actions),), math.nan) if len(calls) == 2 else near_target(actions)

    optimizer = make(name, iterations=4)
    plan = optimizer.optimize(score, optimizer.initial(), seeded())
    assert all(torch.isfinite(t).all() for t in (plan.actions, plan.knots, plan.std, plan.elites))
    assert near_target(plan.actions[None]) > near_target(optimizer.initial().actions[None])


@every_optimizer
def test_a_single_finite_candidate_is_enough(name: str) -> None:
    def score(actions: Tensor) -> Tensor:
        first = torch.arange(len(actions)) == 0
        return torch.where(first, -7.0, math.nan) + 0 * actions.sum((1, 2))

    plan = plan_twice(make(name), score=score)
    assert plan.value == -7.0
    assert all(torch.isfinite(t).all() for t in (plan.actions, plan.knots, plan.std, plan.elites))


@every_optimizer
def test_value_is_the_best_score_seen(name: str) -> None:
    seen = []

    def score(actions: Tensor) -> Tensor:
        seen.append(near_target(actions))
        return seen[-1]

    optimizer = make(name)
    plan = optimizer.optimize(score, optimizer.initial(), seeded())
    assert plan.value == pytest.approx(max(float(s.max()) for s in seen))


def test_scores_of_the_wrong_shape_are_refused() -> None:
    knots = torch.zeros(4, 5, 2)
    with pytest.raises(ValueError, match=r"score: expected shape \(4,\), got \(4, 1\)"):
        evaluate(lambda actions: actions[:, 0, :1], SPLINE, knots)


@every_optimizer
def test_shift_moves_the_plan_one_step_and_starts_the_spread_anew(name: str) -> None:
    spline = ActionSpline(HORIZON, [-1.0, -0.2], [1.0, 3.0])
    optimizer = make(name, spline)
    plan = plan_twice(optimizer)
    later = optimizer.shift(plan)
    assert torch.equal(later.actions[:-1], plan.actions[1:])
    assert torch.equal(later.actions[-1], plan.actions[-1])
    torch.testing.assert_close(later.knots[:-1], plan.knots[1:], atol=1e-5, rtol=0)
    assert torch.equal(later.std, optimizer.initial().std)
    assert later.value == -math.inf


@every_optimizer
def test_noise_neither_grows_nor_shrinks_over_many_plans(name: str) -> None:
    spreads = []

    def score(actions: Tensor) -> Tensor:
        spreads.append(float(actions.std(0).mean()))
        return -actions.square().sum((1, 2))

    spline = ActionSpline(HORIZON, [-1.0], [1.0])
    optimizer = make(name, spline, num_samples=400)
    plan, first_of_plan, rng = optimizer.initial(), [], seeded()
    for _ in range(25):
        first_of_plan.append(len(spreads))
        plan = optimizer.shift(optimizer.optimize(score, plan, rng))
    first, last = spreads[first_of_plan[0]], spreads[first_of_plan[-1]]
    assert last == pytest.approx(first, rel=0.1)


ALTERNATIVES: dict[str, Any] = {
    "num_samples": 60,
    "num_elites": 5,
    "iterations": 2,
    "alpha": 0.5,
    "initial_std": 0.2,
    "min_std": 0.4,
    "decay": 2.0,
    "keep_elites": 0.8,
    "noise_beta": 0.5,
    "temperature": 30.0,
    "noise_std": 0.25,
    "std_rate": 0.5,
    "learning_rate": 0.05,
    "max_gradient": 0.1,
}


@pytest.mark.parametrize(
    ("name", "field"),
    [(n, f.name) for n, (config, _) in OPTIMIZERS.items() for f in dataclasses.fields(config)],
)
def test_every_setting_changes_the_plan(name: str, field: str) -> None:
    usual, changed = make(name), make(name, **{field: ALTERNATIVES[field]})
    assert not torch.equal(plan_twice(usual).actions, plan_twice(changed).actions)


NONSENSE = {
    "num_samples": 0,
    "num_elites": 0,
    "iterations": 0,
    "alpha": 1.0,
    "initial_std": 0.0,
    "min_std": -0.1,
    "decay": 0.9,
    "keep_elites": 1.1,
    "noise_beta": -1.0,
    "temperature": 0.0,
    "noise_std": math.nan,
    "std_rate": 1.0,
    "learning_rate": 0.0,
    "max_gradient": math.inf,
}


@pytest.mark.parametrize(
    ("name", "field"),
    [(n, f.name) for n, (config, _) in OPTIMIZERS.items() for f in dataclasses.fields(config)],
)
def test_nonsense_is_refused_by_name(name: str, field: str) -> None:
    expected = "num_elites" if field == "num_samples" and "cem" in name else field
    with pytest.raises(ValueError, match=f"^{expected}: expected .*, got"):
        OPTIMIZERS[name][0](**{field: NONSENSE[field]})


LQ_OPTIONS: dict[str, dict[str, Any]] = {
    "gradient": {"iterations": 100, "num_samples": 2},
    "cem": {"iterations": 15, "num_samples": 200, "num_elites": 20},
    "icem": {"iterations": 12, "num_samples": 300, "num_elites": 40, "noise_beta": 0.5},
    "mppi": {"iterations": 20, "temperature": 0.005, "noise_std": 0.1, "std_rate": 0.3},
}


@pytest.mark.parametrize("name", sorted(LQ_OPTIONS))
def test_reaches_the_riccati_optimum_within_two_percent(name: str, lq: LinearQuadratic) -> None:
    horizon = 12
    spline = ActionSpline(horizon, [-5.0], [5.0])
    optimizer = make(name, spline, **LQ_OPTIONS[name])
    plan = optimizer.optimize(lq.score, optimizer.initial(), seeded())
    cost = -float(lq.score(plan.actions[None].double()))
    optimum = lq.riccati(horizon)[1]
    assert optimum <= cost <= 1.02 * optimum


@pytest.mark.parametrize(("name", "rounds"), [("random-shooting", 1), ("predictive-sampling", 40)])
def test_simple_searches_are_much_better_than_doing_nothing(
    name: str, rounds: int, lq: LinearQuadratic
) -> None:
    horizon = 12
    spline = ActionSpline(horizon, [-5.0], [5.0], knots=3, interpolation="linear")
    optimizer = make(name, spline)
    plan, rng = optimizer.initial(), seeded()
    for _ in range(rounds):
        plan = optimizer.optimize(lq.score, plan, rng)
    cost = -float(lq.score(plan.actions[None].double()))
    idle = -float(lq.score(torch.zeros(1, horizon, 1, dtype=torch.float64)))
    optimum = lq.riccati(horizon)[1]
    assert optimum <= cost
    assert cost - optimum <= 0.25 * (idle - optimum)
