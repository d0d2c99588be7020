"""PETS learns each task and seed once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import pets

from mpc_robot.training.trainer import TrainConfig


def test_what_has_no_result_is_learned_as_the_study_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[TrainConfig, Path]] = []

    def learn_one(config: TrainConfig, path: Path, _: Any) -> dict[str, Any]:
        learned.append((config, path))
        return {"return_mean": [1.0]}

    monkeypatch.setattr(pets, "learn_one", learn_one)
    monkeypatch.setattr(pets, "RESULTS", tmp_path)
    for _ in range(2):  # the second time everything is done
        pets.learn(("Reacher-v5",), (0, 1), tmp_path / "runs")
    assert [path for _, path in learned] == [
        tmp_path / "runs" / "Reacher-v5" / f"seed-{seed}" for seed in (0, 1)
    ]
    study = pets.STUDIES["Reacher-v5"]
    config, _ = learned[1]
    assert (config.agent, config.task, config.seed) == ("pets", "Reacher-v5", 1)
    assert (config.steps, config.eval_every, config.eval_episodes) == (
        *(study.steps, study.eval_every, study.eval_episodes),
    )
    result = tmp_path / "sample_efficiency" / "pets-Reacher-v5-seed-1.json"
    assert json.loads(result.read_text()) == {"return_mean": [1.0]}
