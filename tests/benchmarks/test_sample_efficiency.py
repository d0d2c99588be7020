"""The study learns what it is asked for, once, and says what failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks import sample_efficiency as study
from benchmarks.baseline_settings import BASELINES
from benchmarks.learning import learn_alone
from benchmarks.studies import MUZERO, POLICIES, STUDIES

from mpc_robot.agents import AGENTS
from mpc_robot.envs import get_task, make_env
from mpc_robot.errors import UnknownNameError
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.runs import start_run
from mpc_robot.training.trainer import TrainConfig

TASK = "Reacher-v5"
Run = tuple[TrainConfig, Path]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Run, object]]:
    """What was to be learned, and where; nothing is, and seed 9 fails."""
    runs: list[tuple[Run, object]] = []

    def spread(learn: object, wanted: list[Run], where: object) -> Iterator[tuple[Run, Any]]:
        assert learn is learn_alone
        for config, path in wanted:
            runs.append(((config, path), where))
            result = {"return_mean": [0.0, config.seed]}
            yield (config, path), ValueError("nine") if config.seed == 9 else result

    monkeypatch.setattr(study, "in_processes", spread)
    monkeypatch.setattr(study, "on_ray", spread)
    return runs


def test_the_first_seed_of_everything_comes_before_the_second(
    asked: list[tuple[Run, object]], tmp_path: Path
) -> None:
    tasks, agents = (TASK, "Hopper-v5"), ("dhmbpo", "sb3-ppo")
    study.run(
        tasks=tasks, agents=agents, seeds=(0, 1), processes=2, runs=tmp_path, results=tmp_path
    )
    names = [path.name for (_, path), _ in asked]
    assert names == [
        f"{agent}-{task}-seed-{seed}" for seed in (0, 1) for agent in agents for task in tasks
    ]
    assert {where for _, where in asked} == {2}
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == sorted(names)


def test_what_has_a_result_is_skipped(asked: list[tuple[Run, object]], tmp_path: Path) -> None:
    (tmp_path / f"pets-{TASK}-seed-0.json").write_text("{}")
    study.run(
        tasks=(TASK,), agents=("pets",), seeds=(0, 1), ray="there", runs=tmp_path, results=tmp_path
    )
    assert [(path.name, where) for (_, path), where in asked] == [
        (f"pets-{TASK}-seed-1", "there")  # on the cluster, as asked
    ]
    assert (tmp_path / f"pets-{TASK}-seed-0.json").read_text() == "{}"
    assert json.loads((tmp_path / f"pets-{TASK}-seed-1.json").read_text()) == {
        "return_mean": [0.0, 1]
    }


@pytest.mark.usefixtures("asked")
def test_what_fails_is_told_and_leaves_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        study.run(tasks=(TASK,), agents=("sb3-ppo",), seeds=(9, 2), runs=tmp_path, results=tmp_path)
    assert ended.value.code == 1
    assert f"sb3-ppo-{TASK}-seed-9 failed: ValueError('nine')" in capsys.readouterr().err
    assert [path.stem for path in tmp_path.glob("*.json")] == [f"sb3-ppo-{TASK}-seed-2"]


def test_runs_can_be_cut_short(asked: list[tuple[Run, object]], tmp_path: Path) -> None:
    study.run(agents=("sb3-ppo",), seeds=(0,), steps=70_000, runs=tmp_path, results=tmp_path)
    assert {config.steps for (config, _), _ in asked} == {70_000}
    assert [config.task for (config, _), _ in asked] == list(BASELINES["sb3-ppo"])


def test_without_tasks_and_seeds_the_studies_say_what_is_learned(
    asked: list[tuple[Run, object]], tmp_path: Path
) -> None:
    study.run(agents=("dhmbpo", "muzero"), runs=tmp_path, results=tmp_path)
    learned = [(config.agent, config.task, config.seed) for (config, _), _ in asked]
    assert sorted(learned) == sorted(
        (agent, task, seed)
        for agent, tasks in (("dhmbpo", POLICIES), ("muzero", MUZERO))
        for task, asked_of in tasks.items()
        for seed in range(asked_of.seeds)
    )
    assert [seed for _, _, seed in learned] == sorted(seed for _, _, seed in learned)


@pytest.mark.parametrize(
    ("agent", "task", "message"),
    [
        ("sb3-pp0", TASK, "unknown agent 'sb3-pp0'; nearest: sb3-ppo"),
        ("mbpo", "Hoper-v5", "unknown task of mbpo 'Hoper-v5'; nearest: Hopper-v5"),
        ("sb3-sac", "Hoper-v5", "unknown task of sb3-sac 'Hoper-v5'; nearest: Hopper-v5"),
        ("sb3-dqn", TASK, f"unknown task of sb3-dqn '{TASK}'; known: CartPole-v1"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_learned(
    agent: str, task: str, message: str, asked: list[tuple[Run, object]], tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        study.run(tasks=(TASK, task), agents=(agent,), seeds=(0,), runs=tmp_path, results=tmp_path)
    assert asked == []


def test_every_study_can_be_learned() -> None:
    for agent, tasks in STUDIES.items():
        for task, asked_of in tasks.items():
            env = make_env(get_task(task))
            AGENTS[agent].spec(env)  # ValueError if it can not
            env.close()
            assert all(goal.limit <= asked_of.steps for goal in asked_of.goals) or agent == "pets"
            config = study.case(agent, task, 0)
            assert (config.steps, config.eval_every) == (asked_of.steps, asked_of.eval_every)
            assert config.steps % config.eval_every == 0
            for goal in asked_of.goals:
                goal.wanted(config.oracle_return)  # ValueError if it was not measured


def test_world_models_are_evaluated_after_each_round() -> None:
    for task, asked_of in STUDIES["world-models"].items():
        preset = AGENTS["world-models"].preset(task)
        held = get_task(task).view.repeat
        after = [asked_of.eval_every * each // held for each in range(1, preset.rounds + 1)]
        assert asked_of.steps == asked_of.eval_every * preset.rounds
        for each, actions in enumerate(after, start=1):
            assert each * preset.round_actions <= actions < (each + 1) * preset.round_actions


def test_policies_are_compared_with_baselines_of_the_zoo() -> None:
    for task in POLICIES:
        for agent in ("sb3-ppo", "sb3-sac"):
            config = study.case(agent, task, 0)
            assert config.steps % config.eval_every == 0
            assert config.eval_episodes == POLICIES[task].eval_episodes == 10
    assert study.case("sb3-ppo", "Hopper-v5", 0).steps == 1_000_000
    assert not set(AGENTS) & set(BASELINES)


@pytest.mark.usefixtures("fake_kind")
def test_status_says_how_far_a_run_has_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig("fake", "Pendulum-v1", 4, 600, 200, 1)
    trainer = start_run(tmp_path / "a run", config, AGENTS["fake"].preset("Pendulum-v1"))
    study.status(tmp_path)
    trainer.train()
    study.status(tmp_path)
    before, after = capsys.readouterr().out.splitlines()
    assert before == "fake-Pendulum-v1-seed-4: 0 of 600 env steps, last return none yet"
    last = study.evaluations(RunFolder(tmp_path / "a run"))[-1]["eval/return_mean"]
    assert after == f"fake-Pendulum-v1-seed-4: 600 of 600 env steps, last return {last:.5g}"
