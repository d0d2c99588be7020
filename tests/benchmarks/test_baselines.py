"""Stable-Baselines3 learns by the settings given, under the evaluations of our own agents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from benchmarks import baseline_settings
from benchmarks.baseline_settings import BASELINES, PPOSettings
from benchmarks.baselines import SB3Policy, as_published, learn_baseline, make_model, sb3_env
from benchmarks.learning import evaluated_to, learn_one
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.errors import UnknownNameError
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.metrics import read_metrics
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.seeding import EVALUATION, TRAINING, derive_seed
from mpc_robot.training.trainer import TrainConfig

InChild = Callable[[Callable[[], None]], int]
PENDULUM = "InvertedPendulum-v5"


def config(agent: str = "sb3-ppo", task: str = PENDULUM, seed: int = 3, **more: Any) -> TrainConfig:
    sizes = {"steps": 150, "eval_every": 50, "eval_episodes": 2, **more}
    return TrainConfig(agent=agent, task=task, seed=seed, **sizes)


def scores(folder: Path) -> list[dict[str, Any]]:
    """The metrics but for those of the clock."""
    lines = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


@pytest.mark.parametrize("agent", BASELINES)
def test_every_setting_makes_a_learner(agent: str, in_child: InChild) -> None:
    def build() -> None:
        for task, settings in BASELINES[agent].items():
            make_model(settings, DummyVecEnv([lambda task=task: sb3_env(get_task(task))]), seed=0)

    assert in_child(build) == 0


@pytest.mark.parametrize("name", ["Hopper-v5", "HalfCheetah-v5", "Reacher-v5"])
def test_baselines_see_what_was_published_and_nothing_else(name: str) -> None:
    env, own = sb3_env(as_published(name)), gym.make(name)
    np.testing.assert_array_equal(env.reset(seed=5)[0], own.reset(seed=5)[0])
    action = np.full(own.action_space.shape, 0.3)
    for _ in range(3):
        ours, theirs = env.step(action), own.step(action)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1] == theirs[1]


def test_evaluations_are_at_exact_steps_and_training_ends_at_the_last(
    tmp_path: Path, in_child: InChild
) -> None:
    assert in_child(lambda: learn_baseline(config(steps=130), RunFolder(tmp_path))) == 0
    assert [line["env_step"] for line in scores(tmp_path)] == [50, 100, 130]
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["agent"]["learning_rate"] == 2.22425e-4
    assert "stable-baselines3" in about["versions"]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    tmp_path: Path, in_child: InChild
) -> None:
    def learn() -> None:
        for name, seed in (("a", 3), ("b", 3), ("c", 4)):
            learn_baseline(config(seed=seed), RunFolder(tmp_path / name))

    assert in_child(learn) == 0
    assert scores(tmp_path / "a") == scores(tmp_path / "b") != scores(tmp_path / "c")


def test_a_run_is_what_sb3_alone_learns_by_the_settings_of_the_zoo(
    tmp_path: Path, in_child: InChild
) -> None:
    class Returns(BaseCallback):
        found: list[float]

        def _on_step(self) -> bool:
            if self.num_timesteps == 150:
                seed = derive_seed(3, EVALUATION, 150)
                done = evaluate(get_task(PENDULUM), SB3Policy(self.model), 2, seed)
                self.found = done.returns.tolist()
            return self.num_timesteps < 150

    def learn_both() -> None:
        learn_baseline(config(), RunFolder(tmp_path))
        envs = VecNormalize(DummyVecEnv([lambda: make_env(get_task(PENDULUM))]), gamma=0.999)
        model = PPO(
            "MlpPolicy",
            envs,
            batch_size=32,
            n_steps=32,
            gamma=0.999,
            learning_rate=0.000222425,
            ent_coef=1.37976e-07,
            clip_range=0.4,
            n_epochs=5,
            gae_lambda=0.9,
            max_grad_norm=0.3,
            vf_coef=0.19816,
            seed=derive_seed(3, TRAINING),
        )
        alone = Returns()
        model.learn(150, alone)
        last = scores(tmp_path)[-1]
        assert [last["eval/return_0"], last["eval/return_1"]] == alone.found

    assert in_child(learn_both) == 0


def test_a_policy_acts_on_observations_normalised_as_in_training(in_child: InChild) -> None:
    def act() -> None:
        settings = replace(baseline_settings.PPO[PENDULUM], n_steps=32)
        envs = DummyVecEnv([lambda: make_env(get_task(PENDULUM))])
        model = make_model(settings, envs, seed=0)
        model.learn(64)
        statistics: Any = model.get_vec_normalize_env()
        mean, var = statistics.obs_rms.mean.copy(), statistics.obs_rms.var.copy()
        observation = np.array([0.1, -0.2, 0.3, 0.4])
        normal = np.clip((observation - mean) / np.sqrt(var + 1e-8), -10.0, 10.0)
        wanted, _ = model.predict(normal.astype(np.float32), deterministic=True)
        np.testing.assert_allclose(SB3Policy(model).act(observation), wanted, rtol=1e-5)
        raw, _ = model.predict(observation.astype(np.float32), deterministic=True)
        assert not np.allclose(raw, wanted)
        np.testing.assert_array_equal(statistics.obs_rms.mean, mean)

    assert in_child(act) == 0


def test_dqn_learns_a_task_with_discrete_actions(tmp_path: Path, in_child: InChild) -> None:
    run = config("sb3-dqn", "CartPole-v1", steps=40, eval_every=20)
    assert in_child(lambda: learn_baseline(run, RunFolder(tmp_path))) == 0
    lines = scores(tmp_path)
    assert [line["env_step"] for line in lines] == [20, 40]
    assert all(line["eval/return_mean"] == line["eval/length_mean"] >= 1 for line in lines)


def test_numbered_actions_are_plain_numbers_to_a_baseline() -> None:
    """Both environments do the same from the same seed."""
    ours, theirs = (make(get_task("CartPole-v1")) for make in (make_env, sb3_env))
    assert ours.reset(seed=0)[0].tolist() == theirs.reset(seed=0)[0].tolist()
    for number in (1, 1, 0):
        assert ours.step(np.array([number]))[0].tolist() == theirs.step(number)[0].tolist()


def test_several_environments_count_together(tmp_path: Path) -> None:
    run = config("sb3-ppo", "CartPole-v1", eval_every=20)
    with pytest.raises(ValueError, match="eval_every: expected a multiple of the 8 environments"):
        learn_baseline(replace(run, steps=160), RunFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_came_to_its_end_is_not_learned_again_but_what_was_stopped_is(
    tmp_path: Path, in_child: InChild
) -> None:
    path = tmp_path / "run"
    assert in_child(lambda: learn_one(config(steps=100), path)) == 0
    whole = (path / "metrics.jsonl").read_bytes()
    assert in_child(lambda: learn_one(config(steps=100), path)) == 0
    assert (path / "metrics.jsonl").read_bytes() == whole
    (path / "metrics.jsonl").write_bytes(whole.splitlines(keepends=True)[0] + b'{"env_')
    assert evaluated_to(RunFolder(path)) == 50
    once = scores(path)
    assert in_child(lambda: learn_one(config(steps=100), path)) == 0
    assert [line["env_step"] for line in scores(path)] == [50, 100]
    assert scores(path)[:1] == once


@pytest.mark.parametrize(
    ("agent", "task", "message"),
    [
        ("sb3-pp", PENDULUM, "unknown baseline 'sb3-pp'; nearest: sb3-ppo"),
        ("sb3-ppo", "Hoper-v5", "unknown task of sb3-ppo 'Hoper-v5'; nearest: Hopper-v5"),
        ("sb3-dqn", "Hopper-v5", "unknown task of sb3-dqn 'Hopper-v5'; known: CartPole-v1"),
    ],
)
def test_what_has_no_settings_is_refused(
    agent: str, task: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        learn_baseline(config(agent, task), RunFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("agent", BASELINES)
def test_settings_fit_their_tasks(agent: str) -> None:
    for task, settings in BASELINES[agent].items():
        assert settings.steps % settings.eval_every == 0
        if isinstance(settings, PPOSettings):
            assert settings.eval_every % settings.n_envs == 0
        if agent == "sb3-dqn":
            assert isinstance(sb3_env(get_task(task)).action_space, gym.spaces.Discrete)
        elif task != "CartPole-v1":
            env_spec(make_env(get_task(task)))


def test_every_setting_is_documented() -> None:
    for kind in (PPOSettings, baseline_settings.SACSettings, baseline_settings.DQNSettings):
        for field in fields(kind):
            assert f"{field.name}:" in (kind.__doc__ or "")
