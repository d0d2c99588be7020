"""What can be earned, with the true dynamics and without any skill."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import oracle

from mpc_robot.controllers import ICEMConfig
from mpc_robot.envs import get_task, make_env
from mpc_robot.training.seeding import derive_seed

BALANCE = "CartpoleBalance-v0"


def test_a_zero_action_earns_what_gymnasium_pays_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "UNSKILLED", {BALANCE: 2})
    oracle.measure_unskilled(BALANCE, tmp_path / "balance.json")
    result = json.loads((tmp_path / "balance.json").read_text())
    env, earned = make_env(get_task(BALANCE)), []
    for episode in range(2):
        env.reset(seed=derive_seed(derive_seed(0, episode), 0))
        earned.append(sum(float(env.step(np.zeros(1))[1]) for _ in range(500)))
    assert result["zero_return"] == pytest.approx(np.mean(earned))
    assert 0.0 < result["random_return"] < result["zero_return"] < 500.0


def test_a_planner_with_the_true_dynamics_balances_and_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "ORACLES", {BALANCE: (1.0, 1)})
    monkeypatch.setattr(oracle, "ORACLE", ICEMConfig(num_samples=16, iterations=2, num_elites=4))
    monkeypatch.setattr(oracle, "UNSKILLED", {BALANCE: 1})
    (tmp_path / "unskilled").mkdir()
    kept = tmp_path / "unskilled" / f"{BALANCE}.json"
    kept.write_text("{}")
    oracle.main(tmp_path)
    planned = json.loads((tmp_path / "oracle" / f"{BALANCE}.json").read_text())
    assert planned["oracle_return"] == planned["returns"][0] > 450.0
    assert kept.read_text() == "{}"
