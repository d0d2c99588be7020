"""Our SAC and Stable-Baselines3's are asked the same, and compared without favour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.baselines import make_model
from benchmarks.sac_check import OURS, SETTINGS, THEIRS, as_policies_see, compared, learn, ours
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from mpc_robot.agents.sac import SAC
from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.training.trainer import TrainConfig


def test_both_have_the_same_settings(in_child: Callable[[Callable[[], None]], int]) -> None:
    """As Stable-Baselines3 itself tells them; its learner seeds the global generators."""

    def check() -> None:
        task = get_task("HalfCheetah-v5")
        seen = as_policies_see(task)
        theirs: Any = make_model(SETTINGS, DummyVecEnv([lambda: make_env(seen)]), seed=0)
        config, agent = ours(SETTINGS), SAC(task, env_spec(make_env(task)), ours(SETTINGS), 0)
        nets = config.actor_critic
        assert theirs.actor.features_dim == agent.networks.features.dim == 18
        layers = [m.out_features for m in theirs.critic.qf0 if isinstance(m, nn.Linear)]
        assert layers == [*nets.critic_hidden, 1]
        assert any(isinstance(m, nn.ReLU) for m in theirs.critic.qf0) and nets.activation == "relu"
        assert tuple(theirs.actor.net_arch) == nets.hidden
        assert theirs.critic.n_critics == nets.critics == nets.subset
        assert theirs.lr_schedule(1.0) == nets.learning_rate
        assert (theirs.tau, theirs.gamma) == (nets.tau, config.discount)
        assert theirs.batch_size == config.batch_size
        assert theirs.learning_starts == config.warmup_steps
        assert theirs.buffer_size == config.capacity
        assert theirs.gradient_steps == config.updates_per_step == theirs.train_freq.frequency
        assert theirs.target_entropy == agent.networks.entropy_aim
        assert theirs.log_ent_coef.exp().item() == nets.temperature

    assert in_child(check) == 0


def test_theirs_see_what_our_policies_do() -> None:
    task = get_task("HalfCheetah-v5")
    whole, chosen = (make_env(one).reset(seed=0)[0] for one in (task, as_policies_see(task)))
    assert task.policy_inputs is not None
    np.testing.assert_array_equal(chosen, whole[list(task.policy_inputs)])
    pendulum = get_task("Pendulum-v1")
    assert as_policies_see(pendulum) is pendulum


def test_a_run_becomes_a_result(tmp_path: Path) -> None:
    config = TrainConfig(OURS, "Pendulum-v1", steps=200, eval_every=100, eval_episodes=1)
    result = learn(config, tmp_path)
    assert (result["benchmark"], result["agent"]) == ("sac_check", OURS)
    assert result["env_steps"] == [100, 200] and len(result["return_mean"]) == 2
    assert learn(config, tmp_path)["return_mean"] == result["return_mean"]


def result(agent: str, returns: list[float], wall_s: float, task: str = "Some-v0") -> Any:
    steps = [100, 200]
    return {
        "task": task,
        "agent": agent,
        "env_steps": steps,
        "return_mean": returns,
        "wall_s": [wall_s / 2, wall_s],
    }


def test_means_over_seeds_are_put_side_by_side() -> None:
    results = [
        result(OURS, [10.0, 30.0], 4.0),
        result(OURS, [0.0, 60.0], 8.0),
        result(THEIRS, [20.0, 60.0], 6.0),
    ]
    found = {(row.case, row.metric): row for row in compared(results)}
    assert found["Some-v0 sac", "last_return"].value == 45.0
    assert found["Some-v0 sac", "last_return"].ratio == 0.75
    assert found["Some-v0 sac", "mean_return"].value == 25.0
    assert found["Some-v0 sac", "time_per_step"].value == pytest.approx(0.03)
    assert found["Some-v0 sac", "time_per_step"].ratio == pytest.approx(1.0)
    assert found["Some-v0 sb3-sac", "mean_return"].value == 40.0
    assert found["Some-v0 sb3-sac", "mean_return"].of is None


def test_returns_below_zero_and_runs_without_their_like_have_no_ratio() -> None:
    rows = compared([result(OURS, [-1.0, -2.0], 1.0), result(THEIRS, [-3.0, -4.0], 1.0)])
    assert [row.ratio for row in rows if "return" in row.metric] == [None] * 4
    alone = compared([result(OURS, [1.0, 2.0], 1.0)])
    assert [(row.of, row.ratio) for row in alone] == [(None, None)] * 3
