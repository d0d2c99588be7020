"""One loop for every learner, and a run that nothing can break in two."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from mpc_robot.agents import PETS, PETSConfig
from mpc_robot.controllers import RandomShootingConfig
from mpc_robot.dynamics.ensemble import EnsembleConfig
from mpc_robot.dynamics.ensemble_fit import FitConfig
from mpc_robot.envs import env_spec, get_task, make_env
from mpc_robot.errors import CheckpointError, PlantError, RunExistsError
from mpc_robot.training import checkpoint
from mpc_robot.training.display import Display
from mpc_robot.training.metrics import TIME, read_metrics
from mpc_robot.training.run_folder import RunFolder
from mpc_robot.training.trainer import TrainConfig, Trainer

CONFIG = TrainConfig(
    agent="fake",
    task="Pendulum-v1",
    seed=3,
    steps=1500,
    eval_every=500,
    eval_episodes=2,
    checkpoint_every=300,
)

MakeAgent = Callable[[int], Any]
KilledBefore = Callable[[Any, str, int, Callable[[], None]], int]


def trainer(path: Path, make_agent: MakeAgent, config: TrainConfig = CONFIG) -> Trainer:
    display = Display(Console(quiet=True), config.steps)
    task = get_task(config.task)
    return Trainer(RunFolder(path), task, make_agent(config.seed), config, display)


def start_or_resume(path: Path, make_agent: MakeAgent, config: TrainConfig = CONFIG) -> None:
    """Train to the end, from wherever the folder says it is."""
    torch.set_num_threads(1)
    run = trainer(path, make_agent, config)
    if run.folder.config.exists():
        run.restore()
    else:
        run.folder.create({}, save_first=run.save)
    run.train()


def exact_metrics(path: Path) -> list[dict[str, Any]]:
    """The metrics that must not depend on when and how fast they were made."""
    lines = read_metrics(path / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.startswith(TIME)} for line in lines]


def exact_state(path: Path, config: TrainConfig = CONFIG) -> bytes:
    """Everything in the final checkpoint but the clock, as bytes."""
    state = checkpoint.load(path / "checkpoint", {"task": config.task, "agent": config.agent})
    for clock in ("wall_s", "metrics_offset"):  # the clock's digits decide the length of lines
        del state["progress"][clock]
    return b"".join(checkpoint._encode(state).values())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, fake_agent: MakeAgent) -> Path:
    """A run that nothing disturbed; to read, not to change."""
    path = tmp_path_factory.mktemp("runs") / "unbroken"
    start_or_resume(path, fake_agent)
    return path


def test_metrics_agree_with_one_another(unbroken: Path) -> None:
    lines = exact_metrics(unbroken)
    training = [line for line in lines if "train/return" in line]
    evaluations = [line for line in lines if "eval/return_mean" in line]
    assert [line["env_step"] for line in training] == [200, 400, 600, 800, 1000, 1200, 1400, 1600]
    assert [line["env_step"] for line in evaluations] == [500, 1000, 1500, 1600]
    for line in evaluations:
        returns = [line["eval/return_0"], line["eval/return_1"]]
        assert line["eval/return_mean"] == pytest.approx(np.mean(returns))
        assert line["eval/return_std"] == pytest.approx(abs(returns[0] - returns[1]) / 2)
    assert len({line["eval/return_0"] for line in evaluations}) == 4
    assert all(line["train/terminated"] == 0 and line["train/length"] == 200 for line in training)
    assert all("model/moment" in line for line in training)


def test_the_agent_sees_the_environment_as_it_was(tmp_path: Path, fake_agent: MakeAgent) -> None:
    """Steps fit together within an episode, and Pendulum's reward follows from them."""
    run = trainer(tmp_path, fake_agent)
    run.folder.create({}, save_first=run.save)
    run.train()
    seen = run.agent.replay.all()  # type: ignore[attr-defined]
    ends = seen.truncated[:-1]
    assert (seen.next_observation[:-1][~ends] == seen.observation[1:][~ends]).all()
    assert not (seen.next_observation[:-1][ends] == seen.observation[1:][ends]).any()
    angle = np.arctan2(seen.observation[:, 1], seen.observation[:, 0])
    cost = angle**2 + 0.1 * seen.observation[:, 2] ** 2 + 0.001 * seen.action[:, 0] ** 2
    np.testing.assert_allclose(seen.reward, -cost, atol=1e-5)


def test_same_seed_same_bits_and_other_seed_other_bits(
    tmp_path: Path, unbroken: Path, fake_agent: MakeAgent
) -> None:
    start_or_resume(tmp_path / "again", fake_agent)
    assert exact_metrics(tmp_path / "again") == exact_metrics(unbroken)
    assert exact_state(tmp_path / "again") == exact_state(unbroken)
    other = TrainConfig(**{**vars(CONFIG), "seed": 4})
    start_or_resume(tmp_path / "other", fake_agent, other)
    assert exact_metrics(tmp_path / "other")[0] != exact_metrics(unbroken)[0]


def test_killed_at_random_steps_and_resumed(
    tmp_path: Path, unbroken: Path, fake_agent: MakeAgent, killed_before: KilledBefore
) -> None:
    rng, broken = np.random.default_rng(0), tmp_path / "broken"
    for nth in rng.integers(1, 700, size=4):
        status = killed_before(Display, "step", nth, lambda: start_or_resume(broken, fake_agent))
        assert status == signal.SIGKILL
    start_or_resume(broken, fake_agent)
    assert exact_metrics(broken) == exact_metrics(unbroken)
    assert exact_state(broken) == exact_state(unbroken)


PETS_CONFIG = TrainConfig(
    agent="pets",
    task="CartpoleBalance-v0",
    steps=1500,
    eval_every=500,
    eval_episodes=1,
    checkpoint_every=500,
)


def tiny_pets(seed: int) -> PETS:
    config = PETSConfig(
        ensemble=EnsembleConfig(members=2, elites=2, hidden=8, layers=1, particles=2),
        fit=FitConfig(max_steps=10),
        optimizer=RandomShootingConfig(num_samples=4),
        horizon=0.1,
        warmup_steps=300,
        fit_every=200,
    )
    task = get_task(PETS_CONFIG.task)
    return PETS(task, env_spec(make_env(task)), config, seed)


def test_pets_killed_and_resumed(tmp_path: Path, killed_before: KilledBefore) -> None:
    """In the warm-up, while it plans in its third episode, and while it fits its model."""
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    start_or_resume(unbroken, tiny_pets, PETS_CONFIG)
    for owner, call, nth in (
        (Display, "step", 123),
        (Display, "step", 1234),
        (torch.optim.AdamW, "step", 15),
    ):
        status = killed_before(
            owner, call, nth, lambda: start_or_resume(broken, tiny_pets, PETS_CONFIG)
        )
        assert status == signal.SIGKILL
    start_or_resume(broken, tiny_pets, PETS_CONFIG)
    assert exact_metrics(broken) == exact_metrics(unbroken)
    assert exact_state(broken, PETS_CONFIG) == exact_state(unbroken, PETS_CONFIG)


@pytest.mark.parametrize(
    ("call", "nth"), [("fsync", n) for n in range(1, 25, 2)] + [("replace", 2)]
)
def test_killed_while_saving_and_resumed(  # noqa: PLR0917 - fixtures
    tmp_path: Path,
    unbroken: Path,
    fake_agent: MakeAgent,
    killed_before: KilledBefore,
    call: str,
    nth: int,
) -> None:
    broken = tmp_path / "broken"
    status = killed_before(os, call, nth, lambda: start_or_resume(broken, fake_agent))
    assert status == signal.SIGKILL
    start_or_resume(broken, fake_agent)
    assert exact_metrics(broken) == exact_metrics(unbroken)
    assert exact_state(broken) == exact_state(unbroken)


def test_longer_training_is_the_same_training(
    tmp_path: Path, unbroken: Path, fake_agent: MakeAgent
) -> None:
    """A run that goes on beyond its first end takes the steps of one that was to be longer."""
    half = TrainConfig(**{**vars(CONFIG), "steps": 1000})
    start_or_resume(tmp_path / "longer", fake_agent, half)
    start_or_resume(tmp_path / "longer", fake_agent, CONFIG)
    assert exact_metrics(tmp_path / "longer") == exact_metrics(unbroken)
    assert exact_state(tmp_path / "longer") == exact_state(unbroken)


class Broken:
    """An environment whose 250th observation is NaN."""

    def __init__(self, env: Any) -> None:
        self.env, self.steps = env, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 450:
            raise PlantError("observation[1]: expected a finite number, got nan")
        return self.env.step(action)


def test_a_broken_plant_leaves_the_last_checkpoint(
    tmp_path: Path, unbroken: Path, fake_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpc_robot.training import trainer as module

    run = trainer(tmp_path / "run", fake_agent)
    run.folder.create({}, save_first=run.save)
    with monkeypatch.context() as patch:
        make_env = module.make_env
        patch.setattr(module, "make_env", lambda task: Broken(make_env(task)))
        with pytest.raises(PlantError, match=r"observation\[1\]"):
            run.train()
    again = trainer(tmp_path / "run", fake_agent)
    again.restore()
    assert again.progress.env_step == 400
    again.train()
    assert exact_metrics(tmp_path / "run") == exact_metrics(unbroken)


def test_another_task_or_agent_is_refused(unbroken: Path, fake_agent: MakeAgent) -> None:
    other = TrainConfig(**{**vars(CONFIG), "agent": "mbpo"})
    with pytest.raises(CheckpointError, match="another agent: expected 'mbpo', got 'fake'"):
        trainer(unbroken, fake_agent, other).restore()


def test_lost_metrics_are_noticed(tmp_path: Path, unbroken: Path, fake_agent: MakeAgent) -> None:
    shutil.copytree(unbroken, tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-1])
    run = trainer(tmp_path / "run", fake_agent)
    run.restore()
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl is truncated"):
        run.train()


def test_a_folder_with_a_run_is_left_alone(unbroken: Path, fake_agent: MakeAgent) -> None:
    before = {file: file.read_bytes() for file in unbroken.rglob("*") if file.is_file()}
    run = trainer(unbroken, fake_agent)
    with pytest.raises(RunExistsError, match="already holds a run"):
        run.folder.create({}, save_first=run.save)
    after = {file: file.read_bytes() for file in unbroken.rglob("*") if file.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", -1), ("steps", 0), ("eval_every", 0), ("eval_episodes", 0), ("checkpoint_every", -5)],
)
def test_settings_that_make_no_sense(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .* got {value}"):
        TrainConfig(**{**vars(CONFIG), field: value})


def test_tensorboard_mirrors_the_metrics(unbroken: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(unbroken / "tensorboard"))
    events.Reload()
    mirrored = [(e.step, e.value) for e in events.Scalars("eval/return_mean")]
    logged = [line for line in exact_metrics(unbroken) if "eval/return_mean" in line]
    assert [step for step, _ in mirrored] == [line["env_step"] for line in logged]
    np.testing.assert_allclose(
        [value for _, value in mirrored], [line["eval/return_mean"] for line in logged], rtol=1e-6
    )


def test_plain_display_prints_one_line_per_episode(
    tmp_path: Path, fake_agent: MakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(tmp_path, fake_agent)
    run.display = Display(Console(), CONFIG.steps)
    run.folder.create({}, save_first=run.save)
    run.train()
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "length 200" in line]) == 8
    assert len([line for line in lines if "evaluation return" in line]) == 4


def test_config_json_is_what_was_given(tmp_path: Path, fake_agent: MakeAgent) -> None:
    run = trainer(tmp_path, fake_agent)
    run.folder.create({"agent": "fake"}, save_first=run.save)
    assert json.loads((tmp_path / "config.json").read_text()) == {"format": 1, "agent": "fake"}


@pytest.mark.parametrize("steps", [600, 700])
def test_each_control_step_of_a_held_action_counts(
    tmp_path: Path, fake_agent: MakeAgent, steps: int
) -> None:
    """Actions held for 3 of Pendulum's 200 steps: an episode has 67, the last held for 2."""
    config = replace(CONFIG, task="Pendulum-v1+repeat3", steps=steps, eval_every=250)
    run = trainer(tmp_path, fake_agent, config)
    run.folder.create({}, save_first=run.save)
    run.train()
    lines = read_metrics(run.folder.metrics)
    training = [line for line in lines if "train/return" in line]
    episodes = -(-steps // 200)
    assert [line["env_step"] for line in training] == [200 * (i + 1) for i in range(episodes)]
    assert {line["train/length"] for line in training} == {67}
    evaluated = [line["env_step"] for line in lines if "eval/return_mean" in line]
    assert evaluated == [251, 502, *([600] if steps == 600 else [750, 800])]
