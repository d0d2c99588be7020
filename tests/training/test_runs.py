"""Runs are started, opened and finished by their folder alone."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from rich.console import Console

from mpc_robot.agents import agent_kind
from mpc_robot.errors import CheckpointError, RunExistsError, UnknownNameError
from mpc_robot.training.metrics import TIME, read_metrics
from mpc_robot.training.runs import finish_run, open_run, start_run
from mpc_robot.training.trainer import TrainConfig

CONFIG = TrainConfig(
    agent="fake", task="Pendulum-v1", seed=1, steps=400, eval_every=400, eval_episodes=1
)

pytestmark = pytest.mark.usefixtures("fake_kind")


def exact_metrics(path: Path) -> list[dict[str, Any]]:
    """All but the times."""
    lines = read_metrics(path / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.startswith(TIME)} for line in lines]


@pytest.fixture
def run(tmp_path: Path, fake_kind: None) -> Path:
    """A finished run."""
    config = agent_kind("fake").preset("Pendulum-v1")
    start_run(tmp_path / "run", CONFIG, config).train()
    return tmp_path / "run"


def test_a_run_can_be_opened_before_its_first_step(tmp_path: Path) -> None:
    config = agent_kind("fake").preset("Pendulum-v1")
    started = start_run(tmp_path, CONFIG, config)
    opened = open_run(tmp_path)
    assert opened.config == CONFIG and opened.progress.env_step == 0
    assert opened.agent.rate == config.rate == 2e-3  # type: ignore[attr-defined]
    assert (opened.agent.weights == started.agent.weights).all()  # type: ignore[attr-defined]


def test_a_finished_run_is_opened_with_all_it_has_learned(run: Path) -> None:
    opened = open_run(run)
    assert opened.progress.env_step == 400 and opened.agent.steps == 400  # type: ignore[attr-defined]
    before = (run / "metrics.jsonl").read_bytes()
    opened.train()
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_run_of_other_versions_is_opened_with_a_warning(run: Path) -> None:
    said = Console(record=True, file=io.StringIO())
    open_run(run, said)
    assert "versions" not in said.export_text()
    text = (run / "config.json").read_text()
    known = json.loads(text)["versions"]["numpy"]
    (run / "config.json").write_text(text.replace(f'"{known}"', '"0.0.1"'))
    open_run(run, said)
    assert "config.json is of other versions" in said.export_text()


def test_a_finished_run_goes_on_as_one_that_was_to_be_longer(run: Path, tmp_path: Path) -> None:
    longer, config = tmp_path / "longer", agent_kind("fake").preset("Pendulum-v1")
    start_run(longer, replace(CONFIG, steps=1000), config).train()
    open_run(run, steps=1000).train()
    assert exact_metrics(run) == exact_metrics(longer)
    again, unbroken = open_run(run), open_run(longer)
    assert again.config == unbroken.config and again.config.steps == 1000
    assert (again.agent.weights == unbroken.agent.weights).all()  # type: ignore[attr-defined]


def test_the_same_steps_again_are_no_change_and_fewer_are_refused(run: Path) -> None:
    before = (run / "config.json").read_bytes()
    assert open_run(run, steps=400).config == CONFIG
    with pytest.raises(ValueError, match="steps: expected more than the 400 already taken, got 30"):
        open_run(run, steps=30)
    assert (run / "config.json").read_bytes() == before


def test_the_folder_says_what_was_run(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["train"]["task"] == "Pendulum-v1" and config["agent"]["rate"] == 2e-3
    assert {"python", "torch", "mujoco", "gymnasium", "numpy"} <= config["versions"].keys()


def test_nothing_is_started_where_a_run_is(run: Path) -> None:
    with pytest.raises(RunExistsError):
        start_run(run, CONFIG, agent_kind("fake").preset("Pendulum-v1"))
    assert open_run(run).progress.env_step == 400


def test_nothing_is_written_for_an_unknown_task(tmp_path: Path) -> None:
    config = TrainConfig(agent="fake", task="Pendulom-v1")
    with pytest.raises(UnknownNameError, match="unknown task 'Pendulom-v1'"):
        start_run(tmp_path / "new", config, agent_kind("fake").config_class())
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_for_a_task_without_a_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = gym.envs.registration.EnvSpec("Endless-v0", gym.spec("Pendulum-v1").entry_point)
    monkeypatch.setitem(gym.registry, "Endless-v0", endless)
    config = TrainConfig(agent="fake", task="Endless-v0")
    with pytest.raises(ValueError, match=r"Endless-v0: .* time limit.* max_episode_steps="):
        start_run(tmp_path / "new", config, agent_kind("fake").config_class())
    assert not (tmp_path / "new").exists()


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["train"].update(seed="one"), r"train\.seed: expected int, got 'one'"),
        (lambda c: c["train"].update(steps=0), "steps: expected at least 1, got 0"),
        (lambda c: c["agent"].update(speed=1), r"agent\.speed: not a field of FakeConfig"),
        (lambda c: c.pop("agent"), "agent: expected an object"),
        (lambda c: c["train"].update(agent="fakir"), "unknown agent 'fakir'; nearest: fake"),
        (lambda c: c["train"].update(task="Ant-v5"), "another task: expected 'Ant-v5'"),
    ],
)
def test_a_config_that_was_meddled_with(
    run: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    edit(run / "config.json", change)
    with pytest.raises(CheckpointError, match=words):
        open_run(run)


def test_a_run_without_its_checkpoint_is_not_begun_anew(run: Path) -> None:
    metrics = (run / "metrics.jsonl").read_bytes()
    shutil.rmtree(run / "checkpoint")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        open_run(run)
    assert (run / "metrics.jsonl").read_bytes() == metrics


def test_finishing_leaves_a_curve_and_without_rendering_a_warning(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mpc_robot.training import video

    def no_screen(*args: Any, **kwargs: Any) -> None:
        raise ImportError("no EGL\nat all")

    monkeypatch.setattr(video, "make_env", no_screen)
    finish_run(open_run(run, Console()))
    assert (run / "learning_curve.png").stat().st_size > 1000
    assert (run / "report.md").exists()
    assert not (run / "video.mp4").exists()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: no video: Pendulum-v1 can not be rendered here")
