"""``mpc-robot dream`` on runs that see frames, on those that see vectors, and on others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tests.agents.dreamers import SMALL, TINY

from mpc_robot.agents import agent_kind
from mpc_robot.cli.command import FAILED, GOOD, WRONG_WORDS, main
from mpc_robot.training.runs import start_run
from mpc_robot.training.trainer import TrainConfig


class Drift(gym.Env[np.ndarray, np.ndarray]):
    """A shade that the action moves, as a frame or as a vector of one entry."""

    metadata = {"render_fps": 10, "render_modes": []}  # noqa: RUF012 - Gymnasium's own way
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)

    def __init__(self, *, frames: bool) -> None:
        self.frames = frames
        self.observation_space = (
            gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
            if frames
            else gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.shade = self.np_random.uniform(0.3, 0.7)
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.shade = float(np.clip(self.shade + 0.1 * action[0], 0.0, 1.0))
        return self._seen(), self.shade, False, False, {}

    def _seen(self) -> np.ndarray:
        if self.frames:
            return np.full((16, 16, 3), round(255 * self.shade), np.uint8)
        return np.array([self.shade])


@pytest.fixture(autouse=True)
def drift(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, frames in (("Frames-v0", True), ("Vectors-v0", False)):
        kwargs = {"frames": frames}
        spec = gym.envs.registration.EnvSpec(name, Drift, max_episode_steps=20, kwargs=kwargs)
        monkeypatch.setitem(gym.registry, name, spec)


BRIEF = replace(TINY, rounds=1, collect_steps=10, vae_updates=4, memory_updates=4, generations=2)
"""World Models whose round is over within an episode."""


def trained(path: Path, task: str, agent: str = "dreamer") -> Path:
    config = TrainConfig(agent, task, 0, 20, 20, 1, 20)
    start_run(path, config, {"dreamer": SMALL, "world-models": BRIEF}[agent]).train()
    return path


@pytest.mark.parametrize(
    ("agent", "task", "shown"),
    [
        ("dreamer", "Frames-v0", "dream.mp4"),
        ("dreamer", "Vectors-v0", "dream.png"),
        ("world-models", "Frames-v0", "dream.mp4"),
    ],
)
def test_dream_shows_what_is_imagined_and_reports_its_errors(
    agent: str, task: str, shown: str, tmp_path: Path, said: Callable[[], dict[str, Any]]
) -> None:
    run = trained(tmp_path / "run", task, agent)
    assert main(["dream", str(run), "--episodes", "2", "--ahead", "6", "--json"]) == GOOD
    outcome = said()
    assert Path(outcome["shown"]) == run / shown
    assert (run / shown).stat().st_size > 1_000
    for name in ("imagined", "unchanged", "reconstructed", "reward"):
        assert len(outcome[name]) == 16, "20 steps, after 5 observations of 21"
    text = (run / "report.md").read_text(encoding="utf-8")
    assert "## 5. What does it dream?" in text and "report_dream.png" in text
    assert (run / "report_dream.png").exists()
    assert f"| 1 s (10 steps) | {outcome['imagined'][9]:.3g} |" in text


def test_eval_plans_in_latent_space(tmp_path: Path, said: Callable[[], dict[str, Any]]) -> None:
    run = trained(tmp_path / "run", "Frames-v0")
    returns = []
    for how in ([], ["--plan"]):
        assert main(["eval", str(run), "--episodes", "1", *how, "--json"]) == GOOD
        outcome = said()
        assert outcome["plan"] == bool(how) and outcome["lengths"] == [20]
        returns.append(outcome["returns"])
    assert returns[0] != returns[1]


def test_others_do_not_dream(
    fake_kind: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig("fake", "Pendulum-v1")
    start_run(tmp_path / "run", config, agent_kind("fake").preset("Pendulum-v1"))
    assert main(["dream", str(tmp_path / "run")]) == FAILED
    meant = "a run of the agent dreamer or world-models"
    assert f"dream: expected {meant}, got fake" in capsys.readouterr().err


def test_a_run_too_short_for_world_models_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A round of 10 + 2 + 3 + 4 actions, each held for two steps."""
    words = [
        *("train", "--agent", "world-models", "--task", "Frames-v0+repeat2", "--steps", "20"),
        *("--out", str(tmp_path / "run"), "--eval-episodes", "1"),
        *("--config.collect-steps", "10", "--config.memory-length", "4"),
        *("--config.vae-updates", "4", "--config.memory-updates", "5"),
        *("--config.updates-per-step", "2", "--config.generations", "4"),
        *("--config.vae.channels", "4", "--config.vae.strides", "4"),
    ]
    assert main(words) == GOOD
    warning = "warning: steps: 20 pay for no controller, whose round takes 38"
    assert warning in capsys.readouterr().out
    assert main(["dream", str(tmp_path / "run")]) == FAILED
    refused = "dream: expected a round of learning to be over, got 20 env steps"
    assert refused in capsys.readouterr().err
    assert main([*words[:6], "38", "--out", str(tmp_path / "long"), *words[9:]]) == GOOD
    assert "warning: steps" not in capsys.readouterr().out


def test_nothing_ahead_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dream", str(tmp_path), "--ahead", "0"]) == WRONG_WORDS
    assert "ahead: expected at least 1 step, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["dream", "RUN"], ["eval", "RUN"], ["train", "--resume", "RUN", "--steps", "40"]]
)
def test_a_device_that_is_not_there(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "run", "Vectors-v0")
    before = (run / "config.json").read_bytes()
    words = [str(run) if word == "RUN" else word for word in words]
    assert main([*words, "--device", "nowhere"]) == FAILED
    assert "device: expected one that torch can use here" in capsys.readouterr().err
    assert (run / "config.json").read_bytes() == before


def test_nothing_is_begun_on_a_device_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--agent", "dreamer", "--task", "Vectors-v0", "--device", "nowhere"]
    assert main([*words, "--out", str(tmp_path / "run")]) == FAILED
    assert "device: expected one that torch can use here" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
