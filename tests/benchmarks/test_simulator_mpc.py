"""What is measured of planning in the simulator, and what the README makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import report, simulator_mpc
from benchmarks.simulator_mpc import CASES, Case, played, share

from mpc_robot.controllers import ICEMConfig, ILQRConfig
from mpc_robot.controllers.simulator_planner import PlannerConfig

FEW = PlannerConfig(ICEMConfig(num_samples=8, num_elites=3), horizon=0.2, replan_every=2)


@pytest.mark.parametrize("planner", [FEW, ILQRConfig(horizon=0.2)])
def test_an_episode_becomes_a_result(planner: Any) -> None:
    result = played(Case("CartpoleBalance-v0", planner, 3.0), seed=1, threads=1, steps=6)
    assert result["lengths"] == [6] and result["terminated"] == [False]
    assert 0 < result["return_mean"] <= 6
    assert result["asked"] == 3.0 and result["control_period_s"] == pytest.approx(0.02)
    assert result["plan_latency_p50_s"] <= result["plan_latency_p99_s"]
    assert 0 <= result["late_share"] <= 1 and result["diverged"] == 0
    assert json.loads(json.dumps(result))["config"]["type"] == type(planner).__name__


def test_latencies_are_those_of_the_steps_that_plan() -> None:
    every_step = played(Case("HalfCheetah-v5", replace(FEW, replan_every=1)), 0, 1, steps=10)
    every_fifth = played(Case("HalfCheetah-v5", replace(FEW, replan_every=5)), 0, 1, steps=10)
    assert every_fifth["plan_latency_p50_s"] > 0.3 * every_step["plan_latency_p50_s"]
    assert every_fifth["real_time_factor"] > every_step["real_time_factor"]


def test_a_plan_is_compared_with_the_physics_it_asked_for() -> None:
    time, speed = share("CartpoleBalance-v0", FEW, threads=1, rounds=3)
    assert time.unit == "s" and time.value > 0
    assert speed.of == "Batch.rollout alone" and 0 < speed.ratio < 1.5  # type: ignore[operator]


def test_what_is_done_is_not_measured_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(simulator_mpc, "FOLDER", tmp_path)
    monkeypatch.setitem(CASES, "few", Case("CartpoleBalance-v0", FEW))
    calls: list[int] = []
    monkeypatch.setattr(
        simulator_mpc,
        "played",
        lambda case, seed, threads: (
            calls.append(seed) or {"return_mean": 1.0, "plan_latency_p50_s": 0.1}
        ),
    )
    simulator_mpc.play(("few",), (0, 1))
    simulator_mpc.play(("few",), (0, 1, 2))
    assert calls == [0, 1, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"play-few-seed-{seed}.json" for seed in range(3)
    ]


def test_the_table_has_the_worst_seed_and_who_fell(monkeypatch: Any) -> None:
    def result(seed: int, mean: float, fell: bool) -> dict[str, Any]:
        return {
            "case": f"play-Hopper-v5-seed-{seed}",
            "return_mean": mean,
            "asked": 2500,
            "terminated": [fell],
            "plan_latency_p50_s": 0.02,
            "control_period_s": 0.008,
            "replan_every": 2,
            "real_time_factor": 0.5,
        }

    results = [result(0, 3000.0, False), result(1, 900.0, True), result(2, 2800.0, False)]
    monkeypatch.setattr(report, "load", lambda benchmark: results)
    row = report.simulator_table().splitlines()[-1]
    assert row == (
        "| Hopper-v5 | 2,500 | **900** of 3 | 2,800 | 3,000 | 1 of 3 | 20 ms | 16 ms | 0.50 |"
    )
