"""Metrics: one strict JSON object per line, and nothing twice after a resume."""

import json
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mpc_robot.errors import CheckpointError
from mpc_robot.training.metrics import MetricsLog, read_metrics


def open_log(path: Path, offset: int = 0, env_step: int = 0) -> MetricsLog:
    return MetricsLog(path / "metrics.jsonl", path / "tensorboard", offset, env_step)


def test_every_line_is_on_disk_at_once_and_strict_json(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.log(10, {"a/b": 0.1, "a/nan": math.nan, "a/inf": math.inf})
        text = (tmp_path / "metrics.jsonl").read_text()
    line = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert line == {"env_step": 10, "a/b": 0.1, "a/nan": None, "a/inf": None}


def test_a_resume_drops_what_the_checkpoint_does_not_know(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.log(10, {"x": 1.0})
        offset = log.sync()
        log.log(20, {"x": 2.0})
    with open_log(tmp_path, offset, env_step=10) as log:
        log.log(20, {"x": 3.0})
    assert [line["x"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1.0, 3.0]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("x")] == [(10, 1.0), (20, 3.0)]


def test_a_shorter_file_than_the_checkpoint_knows_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(CheckpointError, match="is truncated: expected 99 bytes, got 3"):
        open_log(tmp_path, offset=99)
    assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"


def test_a_half_written_last_line_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"env_step": 1}\n{"env_st')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"env_step": 1}]
