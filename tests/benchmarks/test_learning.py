"""A run is learned once, in one process at a time, and goes on where it was stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import learning
from benchmarks.learning import case_name, evaluated_to, learn_one, learning_result

from mpc_robot.training import checkpoint
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.trainer import TrainConfig

CONFIG = TrainConfig("fake", "Pendulum-v1", 5, 1_000, 250, 2, checkpoint_every=200)
CLOCK = {"wall_s", "hardware", "commit", "commits"}


def learned(result: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on when and where it was learned."""
    return {key: value for key, value in result.items() if key not in CLOCK}


def dies_at_the_third_checkpoint(path: Path) -> None:
    save, count = checkpoint.save, 0

    def counted(*given: Any) -> None:
        nonlocal count
        save(*given)
        count += 1
        if count == 3:
            os._exit(9)

    checkpoint.save = counted  # this child only
    learn_one(CONFIG, path)


@pytest.mark.usefixtures("fake_kind")
def test_what_was_stopped_goes_on_to_the_same_result(
    tmp_path: Path, in_child: Callable[[Callable[[], None]], int]
) -> None:
    whole = learn_one(CONFIG, tmp_path / "whole")
    status = in_child(lambda: dies_at_the_third_checkpoint(tmp_path / "broken"))
    assert os.waitstatus_to_exitcode(status) == 9
    assert 0 < evaluated_to(RunFolder(tmp_path / "broken")) < 1_000
    assert learned(learn_one(CONFIG, tmp_path / "broken")) == learned(whole)


@pytest.mark.usefixtures("fake_kind")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 2_000}, "train.steps: expected 2000, got a run with 1000"),
        ({"eval_episodes": 3}, "train.eval_episodes: expected 3, got a run with 2"),
    ],
)
def test_a_run_of_other_settings_is_not_taken_for_it(
    change: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_one(CONFIG, tmp_path / "run")
    before = learning.commits_of(tmp_path / "run")
    monkeypatch.setattr(learning, "commit", lambda: "another")
    with pytest.raises(ValueError, match=message):
        learn_one(replace(CONFIG, **change), tmp_path / "run")
    assert learning.commits_of(tmp_path / "run") == before


@pytest.mark.usefixtures("fake_kind")
def test_a_result_names_all_commits_that_it_was_learned_with(
    tmp_path: Path, in_child: Callable[[Callable[[], None]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "commit", lambda: "first")
    in_child(lambda: dies_at_the_third_checkpoint(tmp_path / "run"))
    for name in ("second", "second", "none that learned"):
        monkeypatch.setattr(learning, "commit", lambda name=name: name)
        result = learn_one(CONFIG, tmp_path / "run")
    assert result["commits"] == ["first", "second"]


@pytest.mark.usefixtures("fake_kind")
def test_a_result_has_what_every_learning_run_has(tmp_path: Path) -> None:
    result = learn_one(CONFIG, tmp_path / "run")
    assert result["env_steps"] == [250, 500, 750, 1_000]
    assert result["benchmark"] == "sample_efficiency"
    assert [result[key] for key in ("agent", "task", "preset", "seed", "episodes")] == [
        *("fake", "Pendulum-v1", "Pendulum-v1", 5, 2)
    ]
    assert result["config"] == {"type": "FakeConfig", "rate": 2e-3, "horizon": 1.0}
    assert result["oracle_return"] is None
    lengths = {key: len(result[key]) for key in ("return_mean", "return_std", "wall_s")}
    assert set(lengths.values()) == {4}
    assert result["wall_s"] == sorted(result["wall_s"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert learned(learning_result(RunFolder(tmp_path / "run"))) == learned(result)


@pytest.mark.usefixtures("fake_kind")
def test_two_processes_do_not_learn_in_one_folder(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        learn_one(CONFIG, tmp_path / "run")
        os._exit(0)
    while not (tmp_path / "run.lock").exists():
        time.sleep(0.001)
    result = learn_one(CONFIG, tmp_path / "run")  # waits, and then finds it learned
    assert os.waitpid(child, 0)[1] == 0
    assert result["env_steps"] == [250, 500, 750, 1_000]


def test_a_run_is_called_by_agent_task_and_seed() -> None:
    assert case_name(CONFIG) == "fake-Pendulum-v1-seed-5"
