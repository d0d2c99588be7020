"""What is said of learning runs is what is in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks import learning_curves as lc
from benchmarks.studies import POLICIES, Goal
from scipy import stats

RNG = np.random.default_rng(5)


def result(
    returns: list[float],
    *,
    agent: str = "dhmbpo",
    task: str = "Hopper-v5",
    steps: list[int] | None = None,
    wall_s: float = 100.0,
) -> dict[str, Any]:
    steps = steps or [1000 * (i + 1) for i in range(len(returns))]
    times = np.linspace(0.0, wall_s, len(steps)).tolist()
    return {
        "task": task,
        "agent": agent,
        "episodes": 10,
        "env_steps": steps,
        "return_mean": returns,
        "wall_s": times,
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_interquartile_mean_drops_a_quarter_at_each_end() -> None:
    returns = np.array([[1.0, 5.0], [100.0, 5.0], [4.0, 5.0], [-50.0, 5.0], [7.0, 5.0]])
    np.testing.assert_allclose(lc.interquartile_mean(returns), [4.0, 5.0])
    np.testing.assert_allclose(lc.interquartile_mean(returns[:3]), [35.0, 5.0])


def test_intervals_are_those_of_a_percentile_bootstrap() -> None:
    returns = RNG.normal(100.0, 20.0, size=(12, 2))
    ours = lc.bootstrap_interval(returns)
    other = stats.bootstrap(
        (returns,),
        lambda sample, axis: stats.trim_mean(sample, 0.25, axis=axis),
        axis=0,
        method="percentile",
        n_resamples=4_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = other.high - other.low
    np.testing.assert_allclose(ours, [other.low, other.high], atol=0.1 * width.max())
    np.testing.assert_array_equal(ours, lc.bootstrap_interval(returns))


def test_seeds_that_agree_leave_no_doubt() -> None:
    np.testing.assert_allclose(lc.bootstrap_interval(np.full((3, 4), 7.0)), np.full((2, 4), 7.0))


def test_a_curve_has_the_steps_that_all_seeds_have() -> None:
    curve = lc.curve(
        [
            result([1.0, 2.0, 3.0], steps=[500, 1000, 1500]),
            result([4.0, 5.0, 6.0], steps=[1000, 1500, 1623]),
        ]
    )
    assert curve.env_steps.tolist() == [1000, 1500]
    assert curve.returns.tolist() == [[2.0, 3.0], [4.0, 5.0]]


def test_seeds_without_a_common_step_are_no_curve() -> None:
    with pytest.raises(ValueError, match="same steps"):
        lc.curve([result([1.0], steps=[500]), result([1.0], steps=[600])])
    with pytest.raises(ValueError, match="same steps"):
        lc.curve([])


@pytest.mark.parametrize(
    ("level", "shown"), [(10.0, "500"), (10.5, "1,500"), (30.0, "1,500"), (31.0, "> 2,000")]
)
def test_the_first_step_that_reaches_a_level(level: float, shown: str) -> None:
    assert str(lc.steps_to([500, 1000, 1500, 2000], [10.0, 5.0, 30.0, 20.0], level)) == shown


def test_seeds_are_averaged_before_the_level_is_looked_for() -> None:
    runs = {"dhmbpo": [result([3000.0, 0.0, 3000.0]), result([0.0, 3000.0, 3000.0])]}
    assert lc.measured_steps(runs, Goal(2_000.0, 1)) == {"dhmbpo": lc.Steps(3000, True)}


@pytest.mark.parametrize(
    ("task", "level", "algorithm", "step"),
    [
        ("InvertedPendulum-v5", 950, "PPO", "30,720"),
        ("InvertedDoublePendulum-v5", 9_000, "PPO", "337,920"),
        ("Reacher-v5", -5, "PPO", "460,800"),
        ("Hopper-v5", 2_000, "PPO", "460,800"),
        ("Hopper-v5", 3_000, "PPO", "2,611,200"),
        ("HalfCheetah-v5", 4_000, "PPO", "337,920"),
        ("HalfCheetah-v5", 8_000, "PPO", "> 3,072,000"),
        ("Walker2d-v5", 3_000, "PPO", "614,400"),
        ("Hopper-v5", 2_000, "DHMBPO", "20,000"),
        ("Hopper-v5", 3_000, "DHMBPO", "30,000"),
        ("Walker2d-v5", 3_000, "DHMBPO", "40,000"),
        ("HalfCheetah-v5", 4_000, "DHMBPO", "10,000"),
        ("Hopper-v5", 3_000, "MACURA", "35,000"),
        ("InvertedPendulum-v5", 950, "SAC", "10,000"),
        ("InvertedDoublePendulum-v5", 9_000, "SAC", "15,000"),
    ],
)
def test_published_curves_reach_levels_when_they_are_said_to(
    task: str, level: float, algorithm: str, step: str
) -> None:
    assert str(lc.published_steps(task, Goal(level, 1))[algorithm]) == step


def test_every_task_has_published_curves_in_the_order_of_their_steps() -> None:
    for task in POLICIES:
        curves = lc.published(task)
        assert {"PPO", "SAC"} <= set(curves)
        for steps, returns in curves.values():
            assert (np.diff(steps) > 0).all()
            assert np.isfinite(returns).all()


def test_the_table_of_steps_compares_with_ppo() -> None:
    results = [
        result([0.0, 2_500.0, 3_500.0]),
        result([0.0, 2_100.0, 2_500.0], agent="sb3-ppo", steps=[20_000, 60_000, 1_000_000]),
    ]
    head, _, low, high, median = map(cells, lc.steps_table(results).splitlines())
    assert head[3:5] == ["dhmbpo", "sb3-ppo"]
    assert low[:5] == ["Hopper-v5", "2,000", "20,000", "2,000", "60,000"]
    assert low[-2:] == ["30x", "230x"]  # 60,000 / 2,000 and 460,800 / 2,000
    assert high[3:5] == ["3,000", "> 1,000,000"]
    assert high[-2:] == ["> 333x", "870x"]
    assert median[-2:] == ["**182x**", "**550x**"]  # of 30 and 333.3, of 230.4 and 870.4


def test_a_goal_that_we_miss_counts_as_nothing_gained() -> None:
    results = [result([0.0, 2_500.0]), result([2_500.0], agent="sb3-ppo", steps=[60_000])]
    *_, missed, median = map(cells, lc.steps_table(results).splitlines())
    assert missed[3] == "> 2,000"
    assert missed[-2:] == ["-", "-"]
    assert median[-2] == "**15x**"  # of 30 and 0


def test_the_table_of_returns_shows_the_worst_seed() -> None:
    ends = [1.0, 100.0, 4.0, -50.0, 7.0]
    row = cells(lc.returns_table([result([0.0, end]) for end in ends]).splitlines()[-1])
    low, high = (float(end) for end in row[6].split(" to "))
    assert row[:6] == ["Hopper-v5", "dhmbpo", "5", "10", "2,000", "**4**"]
    assert min(ends) <= low < 4.0 < high <= max(ends)
    assert row[7:] == ["-50", "100"]


def test_the_table_of_costs_is_by_env_step() -> None:
    results = [result([0.0] * 10, wall_s=wall_s) for wall_s in (700.0, 800.0, 7_200.0)]
    row = cells(lc.cost_table(results).splitlines()[-1])
    assert row == ["Hopper-v5", "dhmbpo", "80", "80", "0.22"]


def test_without_results_there_are_no_tables() -> None:
    assert [make([]) for make in (lc.returns_table, lc.steps_table, lc.cost_table)] == [""] * 3


def test_only_tasks_that_something_is_asked_of_are_shown() -> None:
    other = result([1.0], task="CartpoleSwingup-v0", agent="pets")
    assert lc.by_task([other, result([1.0])]).keys() == {"Hopper-v5"}
    assert lc.learners([other, result([1.0])]) == ["dhmbpo"]


def test_the_plot_shows_seeds_means_and_published_curves() -> None:
    results = [result([0.0, 2_500.0]), result([0.0, 3_000.0]), result([1.0, 2.0], agent="sb3-ppo")]
    figure = lc.plot(results)
    (axes,) = [panel for panel in figure.axes if panel.get_title() == "Hopper-v5"]
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_allclose(lines["dhmbpo"].get_ydata(), [0.0, 2_750.0])
    assert {"sb3-ppo", "PPO, published", "DHMBPO, published"} <= set(lines)
    assert lines["PPO, published"].get_xdata()[0] == 30_720  # not 0, on a logarithmic axis
    seeds = [line for line in axes.get_lines() if list(line.get_ydata()) == [0.0, 3_000.0]]
    assert seeds
