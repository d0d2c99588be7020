"""A policy and a plan around it are compared by the same episodes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from benchmarks.plan_or_policy import main

from mpc_robot.agents.actor_critic import ActorCriticConfig
from mpc_robot.agents.dhmbpo import DHMBPOConfig
from mpc_robot.cli.eval import planner_of
from mpc_robot.dynamics.ensemble import EnsembleConfig
from mpc_robot.dynamics.ensemble_fit import FitConfig
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.runs import open_run, start_run
from mpc_robot.training.trainer import TrainConfig

SMALL = DHMBPOConfig(
    ActorCriticConfig((8,), (8,)),
    EnsembleConfig(members=2, elites=2, hidden=8, layers=1, particles=2, propagation="ts1"),
    FitConfig(max_steps=10),
    rollouts=8,
    batch_size=8,
    critic_batch_size=8,
    warmup_steps=400,
)


def test_both_act_with_what_the_run_has_learned(tmp_path: Path) -> None:
    config = TrainConfig("dhmbpo", "CartpoleBalance-v0", seed=3, steps=500, eval_every=10**9)
    start_run(tmp_path / "run", config, SMALL).train()
    main([str(tmp_path / "run"), "--episodes", "2", "--max-steps", "6", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "dhmbpo-CartpoleBalance-v0-seed-3-500.json").read_text())
    run = open_run(tmp_path / "run")
    for who, controller in (("policy", run.agent.controller()), ("plan", planner_of(run))):
        found = evaluate(run.task, controller, 2, run.evaluation_seed, max_steps=6)
        assert result["returns"][who] == found.returns.tolist()
    policy, plan = (row for row in result["rows"] if row["metric"] == "return_mean")
    assert plan["of"] == policy["case"] == "CartpoleBalance-v0 seed 3 at 500 steps, policy"
    assert plan["value"] == np.mean(result["returns"]["plan"])
    assert plan["ratio"] == plan["value"] / policy["value"]
