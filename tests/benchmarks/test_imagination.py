"""The benchmark of imagination in miniature: what it counts, and the memory of a replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import imagination
from benchmarks.planning import Times
from torch import nn

from mpc_robot.agents.dreamer_presets import dreamer_preset
from mpc_robot.agents.world_models import WorldModelsConfig
from mpc_robot.errors import RenderingUnavailable


def test_a_rate_counts_what_is_done_each_time_and_its_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A product of 256 x 256 in 50 ms, of a processor that could do 1 GFLOP/s."""
    square = torch.ones(256, 256)

    def take_turns(calls: Mapping[str, object], rounds: int) -> dict[str, Times]:
        sizes = {name: int(name.split()[-1]) for name in calls if name != "busy"}
        seconds = {name: 2 * size**3 / 1e9 for name, size in sizes.items()} | {"busy": 0.05}
        return {name: np.full((rounds, 2), each) for name, each in seconds.items()}

    monkeypatch.setattr(imagination, "take_turns", take_turns)
    often, share = imagination.rate("busy", "done_per_s", lambda: square @ square, 10, rounds=3)
    assert often.value == pytest.approx(10 / 0.05)
    assert (share.metric, share.ratio) == ("done_per_s_gemm_share", share.value)
    assert share.value == pytest.approx(2 * 256**3 / 0.05 / 1e9)


def test_a_training_step_is_one_of_the_network() -> None:
    network = nn.Linear.__new__(nn.Linear)
    nn.Module.__init__(network)
    network.weight = nn.Parameter(torch.ones(1))
    imagination.descent(network, lambda: 3.0 * network.weight.sum())()
    assert network.weight.item() == pytest.approx(1.0 - 1e-4)  # Adam's first is of its rate


def test_the_replay_is_as_large_as_its_frames_and_little_more() -> None:
    (row,) = imagination.measure_replay()
    frames = 100_000 * 64 * 64 * 3 / 2**30
    assert frames < row.value < 1.01 * frames
    assert row.ratio == pytest.approx(row.value / 1.5) and row.ratio < 1.0


def test_environments_together_are_measured_beside_one() -> None:
    one, several = imagination.measure_together("CartpoleBalance-v0", 2, 5, 2)
    assert several.of == one.case == "CartpoleBalance-v0, by the clock"
    assert several.case == "CartpoleBalance-v0, 2 together"
    assert several.ratio == pytest.approx(several.value / one.value)


def test_everything_has_its_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = WorldModelsConfig(vae_batch=2, memory_batch=2, memory_length=4)
    monkeypatch.setattr(imagination, "WorldModelsConfig", lambda: small)
    preset = replace(dreamer_preset("v3", "Hopper-v5"), batch_size=2, length=4)
    monkeypatch.setattr(imagination, "dreamer_preset", lambda *_: preset)
    monkeypatch.setattr(imagination, "CANDIDATES", 4)
    monkeypatch.setattr(imagination, "PRODUCTS", (64,))

    def blind(task: str, steps: int, rounds: int) -> list[imagination.Row]:
        raise RenderingUnavailable("no EGL")

    monkeypatch.setattr(imagination, "measure_frames", blind)
    result = imagination.measure(imagination.Options(quick=True, out=tmp_path / "out.json"))
    found = {(row["case"].split(",")[0], row["metric"]) for row in result["rows"]}
    for model in ("rssm tiny", "mdn-rnn 256"):
        for metric in ("train_steps_per_s", "imagined_steps_per_s"):
            assert {(model, metric), (model, f"{metric}_gemm_share")} <= found
    assert all(row["value"] > 0 for row in result["rows"])
    assert result["notes"] == [f"{task}: no EGL" for task in imagination.ENVIRONMENTS]
