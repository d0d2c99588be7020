"""World Models on a dot that is pushed along a line."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from tests.agents.dreamers import TINY
from tests.second_device import second_device

from mpc_robot.agents import agent_kind
from mpc_robot.agents.devices import place
from mpc_robot.agents.linear_controller import Acting
from mpc_robot.agents.world_models import WorldModels
from mpc_robot.controllers import RandomController
from mpc_robot.data.replay import Experience
from mpc_robot.data.sequences import SequenceReplay
from mpc_robot.dynamics.mdn_rnn import MDNRNNConfig
from mpc_robot.envs import get_task, make_env, pixel_spec
from mpc_robot.errors import CheckpointError
from mpc_robot.nn.vae import VAEConfig
from mpc_robot.training import checkpoint
from mpc_robot.training.evaluation import evaluate
from mpc_robot.training.metrics import TIME, read_metrics
from mpc_robot.training.runs import open_run, start_run
from mpc_robot.training.trainer import TrainConfig
from mpc_robot.training.trust_dream import dream_errors

DOCS = Path(__file__).parents[2] / "docs" / "imagination.md"
SEE, REMEMBER, ACT, AGAIN = 40, 55, 71, 86  # actions before each stage


class Dot(gym.Env[np.ndarray, np.ndarray]):
    """A white dot on black, moved by up to 2 of 16 pixels; worth more, the nearer to the right."""

    metadata = {"render_fps": 10, "render_modes": []}  # noqa: RUF012 - Gymnasium's own way
    observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.x = self.np_random.uniform(0.0, 12.0)
        return self.frame(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.x = float(np.clip(self.x + 2.0 * action[0], 0.0, 12.0))
        return self.frame(), 1.0 - abs(self.x - 9.0) / 9.0, False, False, {}

    def frame(self) -> np.ndarray:
        seen = np.zeros((16, 16, 3), np.uint8)
        seen[6:10, round(self.x) : round(self.x) + 4] = 255
        return seen


@pytest.fixture(autouse=True)
def dot(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = gym.envs.registration.EnvSpec("Dot-v0", Dot, max_episode_steps=20)
    monkeypatch.setitem(gym.registry, "Dot-v0", spec)


def make(seed: int = 0, **settings: Any) -> WorldModels:
    task = get_task("Dot-v0")
    with closing(make_env(task)) as env:
        return WorldModels(task, pixel_spec(env), dataclasses.replace(TINY, **settings), seed)


def live(agent: WorldModels, steps: int) -> list[tuple[float, dict[str, float]]]:
    """Actions and metrics of so many steps, which end with an episode."""
    lived: list[tuple[float, dict[str, float]]] = []
    with closing(make_env(agent.task)) as env:
        while len(lived) < steps:
            observation, ended = env.reset(seed=len(lived))[0], False
            while not ended:
                action = agent.act(observation, explore=True)
                reached, reward, _, ended, _ = env.step(action)
                agent.observe(Experience(observation, action, reward, reached, False, ended))
                lived.append((float(action[0]), agent.update()))
                observation = reached
    return lived


def test_random_actions_are_uniform_and_held_for_a_random_time() -> None:
    agent = make(hold=4, collect_steps=10_000)
    frame = np.zeros((16, 16, 3), np.uint8)
    actions = np.array([agent.act(frame, explore=True)[0] for _ in range(2_000)])
    changes = np.flatnonzero(np.diff(actions)) + 1
    held = np.diff(np.concatenate([[0], changes]))
    assert set(held) == {1, 2, 3, 4} and held.mean() == pytest.approx(2.5, abs=0.15)
    drawn = np.unique(actions)
    np.testing.assert_allclose(np.quantile(drawn, [0.25, 0.5, 0.75]), [-0.5, 0.0, 0.5], atol=0.08)


def test_random_actions_rest_where_there_is_nothing_below_zero() -> None:
    agent = make(hold=1, collect_steps=10_000)
    agent.spec = dataclasses.replace(agent.spec, action_low=np.zeros(1))
    frame = np.zeros((16, 16, 3), np.uint8)
    actions = np.array([agent.act(frame, explore=True)[0] for _ in range(2_000)])
    assert (actions == 0.0).mean() == pytest.approx(0.5, abs=0.05)
    pressed = np.quantile(actions[actions > 0.0], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(pressed, [0.25, 0.5, 0.75], atol=0.05)


def test_on_another_device_it_learns_and_acts_as_here() -> None:
    short = {"collect_steps": 20, "vae_updates": 6, "memory_updates": 6, "generations": 3}
    here, there = make(**short), make(**short)
    lived = live(here, 40)  # beyond the first round, so that what was learned acts
    with second_device() as device:
        place(there, str(device))
        assert live(there, 40) == lived
        assert there.model.device == there._acting.model.device == device
        assert checkpoint._encode(there.state_dict()) == checkpoint._encode(here.state_dict())
        evaluations = [evaluate(each.task, each.controller(), 1, seed=3) for each in (here, there)]
    assert here.round == 1
    returns = [evaluation.returns.tolist() for evaluation in evaluations]
    assert returns[0] == returns[1]


def test_the_stages_follow_one_another_and_the_rounds_end() -> None:
    lived = live(make(), 200)
    names = ["", "vae/frame", "memory/latent", "dream/return_mean"]
    for first, last, name in zip(
        (0, SEE, REMEMBER, ACT), (SEE, REMEMBER, ACT, AGAIN), names, strict=True
    ):
        for start in (0, AGAIN):  # both rounds
            for _, metrics in lived[start + first : start + last]:
                assert name in metrics if name else metrics == {}
                assert np.isfinite(list(metrics.values())).all()
    assert all(metrics == {} for _, metrics in lived[2 * AGAIN :])


def test_after_the_first_round_a_relative_of_the_controller_collects_each_episode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent, acted = make(exploration=0.2), list[torch.Tensor]()
    live(agent, 180)  # both rounds, so that none ends within an episode
    by = Acting.controlled_by

    def spied(acting: Acting, weights: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        acted.append(weights)
        return by(acting, weights, whole)

    monkeypatch.setattr(Acting, "controlled_by", spied)
    live(agent, 30 * 20)
    episodes = torch.stack(acted).unflatten(0, (30, 20))
    assert (episodes == episodes[:, :1]).all(), "one controller for all of an episode"
    assert len(episodes[:, 0].unique(dim=0)) == 30
    apart = episodes[:, 0] - agent.weights
    assert apart.mean().item() == pytest.approx(0.0, abs=0.05)
    assert apart.std().item() == pytest.approx(0.2, abs=0.04)


def test_while_a_round_learns_what_the_last_one_learned_acts() -> None:
    agent = make()
    live(agent, 80)  # within the first round
    frame = np.zeros((16, 16, 3), np.uint8)
    frame[6:10, 3:7] = 255
    assert agent.round == 0 and agent.controller().act(frame) == 0.0
    assert agent.world_model() is None
    live(agent, 20)
    assert agent.round == 1
    first = agent.controller().act(frame)
    seen, known = (
        {name: part.clone() for name, part in network.state_dict().items()}
        for network in (agent.vae, agent.model)
    )
    live(agent, 60)
    assert agent.round == 1 and agent.stage == 3
    assert any(not torch.equal(part, seen[name]) for name, part in agent.vae.state_dict().items())
    assert agent.controller().act(frame) == first != 0.0
    world = agent.world_model()
    assert world is not None
    for network, then in ((world.vae, seen), (world.model, known)):
        assert all(torch.equal(part, then[name]) for name, part in network.state_dict().items())


def test_dreams_begin_anywhere_where_no_beginning_is_remembered() -> None:
    agent = make(vae_updates=10_000)
    agent.replay = SequenceReplay(1, frame_shape=(16, 16, 3), capacity=20, rows_per_chunk=5)
    with closing(make_env(get_task("Dot-v0"))) as env:
        observation, _ = env.reset(seed=0)
        for step in range(40):  # the clock does not count here
            reached = env.unwrapped.step(np.sin([step]))[0]  # type: ignore[attr-defined]
            agent.replay.add(Experience(observation, np.zeros(1), 0.0, reached, False, False))
            observation = reached
    agent.encode()
    held = agent.replay.sequences(np.array([0]), len(agent.replay)).frame
    assert held is not None
    agent._drawn = lambda codes: codes[..., :2]  # type: ignore[method-assign,index]
    shown = len(held[0].flatten(1).unique(dim=0))
    begun = agent._beginnings(200).latent.round(decimals=3)
    assert len(begun.unique(dim=0)) == shown > 3


def test_codes_are_what_is_seen_in_each_frame() -> None:
    """Over several chunks, the last of which is not full."""
    agent = make(vae_updates=10_000, capacity=2_000)
    agent.replay = SequenceReplay(1, frame_shape=(16, 16, 3), capacity=64, rows_per_chunk=16)
    live(agent, 60)
    agent.encode()
    assert len(agent.codes) == len(agent.replay) == 63
    every = torch.Generator().manual_seed(0)
    drawn, same = (r.sample(1, 63, every) for r in (agent.replay, agent.codes))
    assert drawn.frame is not None and same.vector is not None
    seen = agent.vae.encode(drawn.frame)
    expected = torch.cat([seen.mean, seen.std], dim=-1)
    torch.testing.assert_close(same.vector, expected.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(same.action, drawn.action) and torch.equal(same.is_first, drawn.is_first)
    assert torch.where(same.is_first[0])[0].tolist() == [0, 21, 42]


def test_dreams_begin_early_in_episodes_with_what_is_remembered_there() -> None:
    agent = make(begin_within=7, collect_steps=60)
    live(agent, 60)
    agent.encode()
    every = agent.codes.sequences(np.array([0]), 63)
    assert every.vector is not None
    agent._drawn = lambda codes: codes[..., :2]  # type: ignore[method-assign,index]
    begun = agent._beginnings(600).whole
    known = agent.model.observe(every.vector[..., :2], every)[0].whole[0]
    early = torch.cat([known[first : first + 7] for first in (0, 21, 42)])
    apart, which = (begun[:, None] - early).abs().sum(dim=-1).min(dim=1)
    assert apart.max() < 1e-5
    assert len(which.unique()) == 21, "all of the first seven"


def test_latents_are_drawn_as_wide_as_they_were_seen() -> None:
    codes = torch.tensor([3.0, -1.0, 0.5, 2.0]).expand(4_000, 4)
    drawn = make()._drawn(codes)
    torch.testing.assert_close(drawn.mean(dim=0), codes[0, :2], atol=0.15, rtol=0.0)
    torch.testing.assert_close(drawn.std(dim=0), codes[0, 2:], atol=0.1, rtol=0.0)


def test_frames_are_scaled_once_for_all_rounds() -> None:
    """Else what the last round learned to see would be seen otherwise by the next."""
    agent = make()
    live(agent, 100)
    assert (agent.round, agent.stage) == (1, 0)
    scale = {name: part.clone() for name, part in agent.vae.scale.state_dict().items()}
    live(agent, 40)
    assert (agent.round, agent.stage) == (1, 1)
    assert all(torch.equal(scale[k], part) for k, part in agent.vae.scale.state_dict().items())


def test_what_was_believed_ends_with_the_memory_that_believed_it() -> None:
    """A round ends in the middle of an episode: what follows is as in an episode that begins."""
    agent, frame = make(exploration=0.0), np.zeros((16, 16, 3), np.uint8)
    live(agent, 100)
    agent.act(frame, explore=True)
    agent.stage, agent.done = 3, TINY.generations - 1
    agent.update()
    assert agent.round == 2
    assert agent.act(frame, explore=True) == agent.controller().act(frame)


def test_its_controller_acts_without_exploring_by_what_the_agent_becomes() -> None:
    agent, frame = make(), np.zeros((16, 16, 3), np.uint8)
    controller = agent.controller()
    assert controller.act(frame) == 0.0  # nothing is known: at rest
    live(agent, 100)
    controller.reset(0)
    agent._forget()
    for _ in range(3):
        assert controller.act(frame) == agent.act(frame, explore=False) != 0.0


def test_same_seed_same_bits_and_other_seed_other_bits() -> None:
    first, again, other = (live(make(seed), 100) for seed in (1, 1, 2))
    assert first == again and first[-1] != other[-1]


def train(path: Path, steps: int) -> None:
    config = TrainConfig(
        "world-models",
        "Dot-v0",
        seed=2,
        steps=steps,
        eval_every=50,
        eval_episodes=1,
        checkpoint_every=20,
    )
    start_run(path, config, TINY).train()


def told_and_kept(path: Path) -> tuple[Any, Any]:
    lines = read_metrics(path / "metrics.jsonl")
    told = [{k: v for k, v in line.items() if not k.startswith(TIME)} for line in lines]
    state = checkpoint.load(path / "checkpoint", {"task": "Dot-v0", "agent": "world-models"})
    return told, checkpoint._encode(state["agent"])


def test_a_run_that_was_stopped_in_every_stage_goes_on_to_the_bit(tmp_path: Path) -> None:
    """After 20, 60 and 80 actions it collects, learns to remember and to act; then once more."""
    train(tmp_path / "whole", 160)
    train(tmp_path / "stopped", 20)
    for steps in (60, 80, 140, 160):
        open_run(tmp_path / "stopped", steps=steps).train()
    whole, stopped = told_and_kept(tmp_path / "whole"), told_and_kept(tmp_path / "stopped")
    assert whole[1] == stopped[1]
    assert [line for line in whole[0] if "train/return" in line] == [
        line for line in stopped[0] if "train/return" in line
    ]  # there is an evaluation more at each end


def test_no_part_of_a_checkpoint_may_be_missing_or_of_another_size() -> None:
    whole = make().state_dict()
    for part in whole:
        lacking = {key: value for key, value in whole.items() if key != part}
        with pytest.raises(CheckpointError, match=part):
            make().load_state_dict(lacking)
    with pytest.raises(CheckpointError, match="size mismatch"):
        make(memory=MDNRNNConfig(hidden=5)).load_state_dict(whole)


def test_rewards_of_any_scale_leave_no_nan_behind() -> None:
    agent = make()
    add = agent.observe
    agent.observe = lambda e: add(dataclasses.replace(e, reward=1e30 * e.reward))  # type: ignore[method-assign]
    live(agent, 100)
    for module in (agent.vae, agent.model):
        assert all(value.isfinite().all() for value in module.state_dict().values())
    assert agent.weights.isfinite().all()


def test_what_was_learned_in_the_dream_holds_in_reality() -> None:
    """The dot is brought to where it is worth most, by a controller that never moved it."""
    agent = make(
        vae=VAEConfig(latents=2, channels=(8, 8), strides=(4, 2), units=32),
        memory=MDNRNNConfig(hidden=16, mixtures=2, units=16),
        rounds=1,
        collect_steps=300,
        updates_per_step=10,
        vae_updates=200,
        vae_batch=16,
        vae_rate=1e-2,
        memory_updates=300,
        memory_batch=16,
        memory_length=8,
        memory_rate=1e-2,
        generations=30,
        population=12,
        rollouts=6,
        begin_within=1,
        dream_steps=15,
        sigma=0.5,
    )
    live(agent, 380)
    assert agent.round == 1
    # To go right at all times earns less than 14, and to walk at random about 10.
    reality = evaluate(agent.task, agent.controller(), 6, seed=0)
    assert reality.mean > 20 * 0.8
    # What it dreams is nearer to what happens than that nothing does, and worth what it is.
    rng = torch.Generator().manual_seed(0)
    walks = evaluate(agent.task, RandomController(-np.ones(1), np.ones(1)), 4, seed=1)
    world = agent.world_model()
    assert world is not None
    errors = dream_errors(world, walks.episodes, rng, ahead=3)
    assert errors.better_steps == 3
    assert errors.reward.mean() < 0.1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rounds", 0),
        ("memory_length", 1),
        ("population", 3),
        ("collect_steps", 5),
        ("begin_within", 0),
        ("exploration", -0.1),
        ("sigma", 0.0),
        ("dream_steps", 0),
    ],
)
def test_settings_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .* got {value}"):
        dataclasses.replace(TINY, **{field: value})  # type: ignore[arg-type]


def test_a_round_collects_what_its_dreams_begin_with() -> None:
    with pytest.raises(ValueError, match="collect_steps: expected at least 41, got 40"):
        dataclasses.replace(TINY, begin_within=41)


@pytest.mark.parametrize(
    ("task", "rounds", "actions"),
    [
        ("CartpoleBalance-v0+pixels+repeat2", 2, 8_700),
        ("CartpoleSwingup-v0+pixels", 2, 8_700),
        ("CarRacing-v3+pixels+repeat4", 12, 3_235),
        ("Dot-v0", 1, 12_300),
    ],
)
def test_presets_take_as_long_as_is_said(task: str, rounds: int, actions: int) -> None:
    """Rounds, and actions of each, that docs/imagination.md names."""
    preset = agent_kind("world-models").preset(task)
    assert (preset.rounds, preset.round_actions) == (rounds, actions)
    assert f"{actions:,}" in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize(("collect", "actions", "rounds"), [(49, 80, 1), (50, 81, 0)])
def test_a_round_is_over_after_the_actions_it_takes(
    collect: int, actions: int, rounds: int
) -> None:
    agent = make(collect_steps=collect, vae_updates=31, updates_per_step=4)
    assert agent.config.round_actions == actions
    live(agent, 80)
    assert agent.round == rounds
