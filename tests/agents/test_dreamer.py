"""Dreamer on frames and vectors: what it remembers, when it learns, and how it acts and plans."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.agents.dreamers import SMALL, live, make, small

from mpc_robot.agents import agent_kind
from mpc_robot.agents.dreamer import Dreamer, DreamerConfig, senses_spec
from mpc_robot.agents.dreamer_presets import VERSIONS, dreamer_preset, with_size
from mpc_robot.agents.latent_planning import LatentPlanningConfig
from mpc_robot.controllers import CEMConfig, MPPIConfig
from mpc_robot.controllers.optimizers import OptimizerConfig
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.rssm_filter import LatentFilter, LatentFilters
from mpc_robot.envs import get_task, make_env
from mpc_robot.errors import CheckpointError
from mpc_robot.nn.latents import CategoricalConfig
from mpc_robot.training import checkpoint
from mpc_robot.training.metrics import TIME, read_metrics
from mpc_robot.training.runs import open_run, start_run
from mpc_robot.training.trainer import TrainConfig

both = pytest.mark.parametrize("name", ["Spot-v0", "Cart-v0"])


@both
def test_it_learns_when_it_is_time(name: str) -> None:
    lived = live(make(name), 20)
    assert [step for step, metrics in enumerate(lived, 1) if metrics] == [10, 13, 16, 19]
    for metrics in lived:
        assert np.isfinite(list(metrics.values())).all()
    part = "model/frame" if name == "Spot-v0" else "model/vector"
    assert {part, "model/reward", "critic/loss", "policy/entropy"} <= lived[-2].keys()


def test_the_world_is_learned_for_as_long_as_is_asked_for_before_behaviour_is() -> None:
    agent = make()
    for steps, updates in ((9, 0), (1, 1), (3, 2)):
        live(agent, steps)
        assert agent.behaviour.updates.item() == updates
        remembered = agent.state_dict()["model_descent"]
        taken = {part["step"].item() for part in remembered.values()}
        assert taken == ({SMALL.pretrain + updates} if updates else set())


@both
def test_what_is_seen_is_scaled_by_what_warm_up_showed(name: str) -> None:
    def scales() -> dict[str, torch.Tensor]:
        parts = agent.model.senses.state_dict()
        return {key: part.clone() for key, part in parts.items() if key.endswith(("mean", "std"))}

    agent = make(name)
    at_first = scales()
    live(agent, 9)
    unknown = scales()
    live(agent, 1)
    known = scales()
    live(agent, 10)
    for key, part in scales().items():
        assert torch.equal(unknown[key], at_first[key]) and torch.equal(known[key], part)
        assert not torch.equal(known[key], at_first[key])
    if name == "Spot-v0":  # one column of 16 is bright, wherever it is
        assert known["frame.scale.mean"].mean().item() == pytest.approx(255 / 16, rel=1e-5)


def test_what_a_policy_may_not_see_is_not_seen() -> None:
    """Such as how far a robot has come, which is none of its model's business."""
    task = replace(get_task("Cart-v0"), policy_inputs=(1,))
    with closing(make_env(task)) as env:
        agent = Dreamer(task, senses_spec(env), SMALL, seed=0)
    live(agent, 12)
    beliefs = [
        LatentFilter(agent.model).update(np.array([place, 0.5]), None) for place in (-9.0, 9.0)
    ]
    np.testing.assert_array_equal(*beliefs)
    _, decoded = agent.model.senses.decode(torch.zeros(1, agent.model.features))
    assert decoded is not None and decoded.shape == (1, 1)


def test_what_was_seen_is_remembered_as_frames() -> None:
    agent = make()
    live(agent, 20)
    seen = agent.replay.sample(1, 22, torch.Generator())
    assert seen.frame is not None and seen.frame.dtype == torch.uint8
    assert seen.is_first[0].nonzero().flatten().tolist() == [0, 11]
    assert seen.truncated[0].nonzero().flatten().tolist() == [10, 21]
    bright = seen.frame[0, :, 0, :, 0].float().argmax(dim=1)
    surprise = (bright[1:11] - bright[:10] - seen.action[0, 1:11, 0]).abs()
    assert (surprise <= 1.0).float().mean() > 0.7, "but at the edge, where it goes nowhere"


@both
def test_it_believes_what_a_filter_does_along_the_episode_and_then_forgets(name: str) -> None:
    agent = make(name)
    live(agent, 10 if name == "Spot-v0" else 25)  # whole episodes
    belief, rng = LatentFilter(agent.model), torch.Generator()
    rng.set_state(agent.rng.get_state())
    belief.reset(int(torch.randint(2**62, (), generator=rng)))
    with closing(make_env(agent.task)) as env:
        observation, done = env.reset(seed=3)[0], None
        for _ in range(5):
            features = belief.update(observation, done)
            done = agent.act(observation, explore=False)
            expected = agent.behaviour.actor.mode(torch.as_tensor(features).float())
            assert done == pytest.approx(expected.detach().numpy())
            observation = env.step(done)[0]


def test_beliefs_of_several_worlds_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together as each alone, if chance decides nothing; one that begins anew forgets itself."""
    monkeypatch.setattr(CategoricalConfig, "noise", lambda self, rows, rng: torch.zeros(1))
    model = make("Cart-v0").model
    several, alone = LatentFilters(model, 3), [LatentFilter(model) for _ in range(3)]
    drawn = np.random.default_rng(0)
    done: list[np.ndarray | None] = [None] * 3
    for worlds in ([0, 1, 2], [0, 2], [0, 1, 2], [1]):
        if worlds == [1]:
            several.begin(1, 7)
            alone[1].reset(7)
            done[1] = None
        seen = [drawn.normal(size=2) for _ in worlds]
        taken = [done[world] for world in worlds]
        features = several.update(worlds, seen, taken)
        for row, world in enumerate(worlds):
            expected = alone[world].update(seen[row], taken[row])
            np.testing.assert_allclose(features[row], expected, atol=1e-6)
            done[world] = drawn.uniform(-2.0, 2.0, 1)
    restored = LatentFilters(model, 3)
    restored.load_state_dict(several.state_dict())
    found = [each.update([0, 2], seen * 2, [done[0], done[2]]) for each in (several, restored)]
    np.testing.assert_array_equal(*found)


def test_several_environments_are_acted_in_and_remembered_apart() -> None:
    agent = make("Cart-v0", config=replace(SMALL, environments=2, warmup_steps=20))
    with closing(make_env(agent.task)) as one, closing(make_env(agent.task)) as two:
        envs, steps = (one, two), 0
        seen = [env.reset(seed=i)[0] for i, env in enumerate(envs)]
        for t in range(25):
            actions = agent.act_in([0, 1], seen, explore=True)
            assert actions.shape == (2, 1)
            for i, env in enumerate(envs):
                reached, reward, terminated, truncated, _ = env.step(actions[i])
                step = Experience(
                    seen[i], actions[i], float(reward), reached, terminated, truncated
                )
                agent.observe_in(i, step)
                seen[i], steps = reached, steps + 1
                assert bool(agent.update()) == (steps >= 20 and (steps - 20) % 3 == 0)
            assert truncated == (t == 24)
    kept = [replay.sample(1, 26, torch.Generator()) for replay in agent.replay.replays]
    assert all(part.is_first[0].nonzero().flatten().tolist() == [0] for part in kept)
    assert not torch.equal(kept[0].action, kept[1].action)


def test_a_run_in_several_environments_goes_on_to_the_bit(tmp_path: Path) -> None:
    settings = replace(SMALL, environments=2, length=8, warmup_steps=60, update_every=40)
    config = TrainConfig("dreamer", "Pendulum-v1", 2, 800, 10_000, 1, 100)
    whole, stopped = whole_and_stopped(tmp_path, config, settings, stop=400)
    assert told(whole, "train/") == told(stopped, "train/")
    assert [line["env_step"] for line in told(whole, "train/")] == [400, 800]
    assert learned(whole, "Pendulum-v1") == learned(stopped, "Pendulum-v1")


def whole_and_stopped(
    path: Path, config: TrainConfig, settings: DreamerConfig, stop: int
) -> tuple[Path, Path]:
    """A run to its end, and one that went on after it had been stopped."""
    whole, stopped = path / "whole", path / "stopped"
    start_run(whole, config, settings).train()
    start_run(stopped, replace(config, steps=stop), settings).train()
    open_run(stopped, steps=config.steps).train()
    return whole, stopped


def told(path: Path, part: str = "") -> list[dict[str, Any]]:
    """The lines of metrics that have such a part, without times."""
    lines = [line for line in read_metrics(path / "metrics.jsonl") if part in "".join(line)]
    return [{k: v for k, v in line.items() if not k.startswith(TIME)} for line in lines]


def learned(path: Path, task: str) -> dict[str, bytes]:
    """The agent in a run's checkpoint."""
    state = checkpoint.load(path / "checkpoint", {"task": task, "agent": "dreamer"})
    return checkpoint._encode(state["agent"])


def test_a_run_on_frames_that_was_stopped_goes_on_to_the_bit(tmp_path: Path) -> None:
    config = TrainConfig("dreamer", "Spot-v0", 2, 60, 20, 1, 10)
    whole, stopped = whole_and_stopped(tmp_path, config, SMALL, stop=40)
    assert told(whole) == told(stopped)
    assert learned(whole, "Spot-v0") == learned(stopped, "Spot-v0")


def test_a_checkpoint_of_other_sizes_is_refused() -> None:
    wider = replace(SMALL, model=replace(SMALL.model, hidden=9))
    with pytest.raises(CheckpointError, match="size mismatch for action_in"):
        make().load_state_dict(make(config=wider).state_dict())


@both
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_learns_and_acts_alike_from_the_same_seed(name: str, version: str) -> None:
    one, same, other = (live(make(name, seed, small(version)), 20) for seed in (1, 1, 2))
    assert one == same != other
    assert np.isfinite([value for metrics in one for value in metrics.values()]).all()


@pytest.mark.parametrize(("size", "millions"), [("1m", 1.0), ("12m", 12.0)])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_size_is_about_what_it_is_called(version: str, size: str, millions: float) -> None:
    preset = dreamer_preset(version, "CartpoleBalance-v0+pixels+repeat2")
    agent = make(config=with_size(preset, size))
    parts = (agent.model, agent.behaviour.actor, agent.behaviour.critic)
    count = sum(p.numel() for part in parts for p in part.parameters()) / 1e6
    assert 0.4 * millions < count < 1.1 * millions
    assert agent.config.model.free == preset.model.free
    assert agent.config.behaviour.slow == preset.behaviour.slow


def test_presets_know_frames_from_vectors() -> None:
    for name in VERSIONS:
        frames = dreamer_preset(name, "CartpoleBalance-v0+pixels+repeat2")
        vectors = dreamer_preset(name, "CartpoleBalance-v0")
        assert frames.model.explained < 1.0 == vectors.model.explained
        assert frames.model.decoder_scale < vectors.model.decoder_scale
        assert replace(frames, model=vectors.model, update_every=1) == vectors
        assert frames.update_every == (1 if name == "v3" else 2)
    assert dreamer_preset("v3", "CartpoleSwingup-v0+pixels+repeat2").update_every == 2


def test_versions_are_names_on_the_command_line() -> None:
    kinds = {name: agent_kind(name) for name in ("dreamer-v1", "dreamer-v2", "dreamer")}
    presets = [kind.preset("Hopper-v5") for kind in kinds.values()]
    assert presets == [dreamer_preset(name, "Hopper-v5") for name in ("v1", "v2", "v3")]


@both
@pytest.mark.parametrize(
    "optimizer", [CEMConfig(20, 4, 2), MPPIConfig(20, iterations=2)], ids=["cem", "mppi"]
)
def test_it_plans_in_its_model(name: str, optimizer: OptimizerConfig) -> None:
    agent = make(name)
    planner = agent.planner(LatentPlanningConfig(optimizer, horizon=4))

    def acted(seed: int) -> list[float]:
        planner.reset(seed)
        with closing(make_env(agent.task)) as env:
            seen, done = env.reset(seed=0)[0], list[float]()
            for _ in range(3):
                action = planner.act(seen)
                assert env.action_space.contains(action)
                done.append(float(action[0]))
                seen = env.step(action)[0]
            return done

    assert acted(1) == acted(1) != acted(2)
    assert planner.plan is not None and planner.plan.actions.shape == (4, 1)


def test_a_plan_is_worth_what_is_imagined_and_what_the_critic_holds_of_its_end() -> None:
    """By brute force, with a critic and rewards that say something."""
    agent = make("Cart-v0")
    with torch.no_grad():
        for head in (agent.model.reward, agent.behaviour.critic):
            head.network[-1].bias.copy_(torch.linspace(-1.0, 1.0, 255))
    start, actions = np.zeros(agent.model.features), torch.zeros(3, 4, 1)
    scores = []
    for critic in (True, False):
        planner: Any = agent.planner(LatentPlanningConfig(CEMConfig(8, 2, 1), 4, critic)).controller
        planner.reset(0)
        scores.append(planner._score(start, actions))
    rng, discount = torch.Generator().manual_seed(0), agent.config.behaviour.discount
    state = agent.model.start(start, 3)
    total, alive = torch.zeros(3), torch.ones(3)
    for t in range(4):
        step = agent.model.step(state, actions[:, t], rng)
        total = total + discount**t * alive * step.reward
        alive, state = alive * step.continues, step.state
    worth = agent.behaviour.critic(state.features).detach()
    torch.testing.assert_close(scores[1], total)
    torch.testing.assert_close(scores[0], total + discount**4 * alive * worth)
    assert worth.abs().min() > 0.1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"update_every": 0}, "update_every: expected at least 1, got 0"),
        ({"environments": 0}, "environments: expected at least 1, got 0"),
        ({"length": 1}, "length: expected at least 2, got 1"),
        ({"warmup_steps": 3}, "warmup_steps: expected at least the length 4 in each of env"),
        ({"environments": 3}, "warmup_steps: .* in each of environments 3, got 10"),
    ],
)
def test_settings_that_make_no_sense(setting: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **setting)  # type: ignore[arg-type]


def test_exploring_is_drawn_from_the_policy_and_disturbed_in_the_first_version() -> None:
    """Of policies that are as certain as they can be."""
    spread = {}
    for version in VERSIONS:
        agent = make("Cart-v0", config=small(version))
        agent.steps = agent.config.warmup_steps
        with torch.no_grad():
            agent.behaviour.actor.network[-1].bias[1] = -30.0
        actions = agent._explore(torch.zeros(2_000, agent.model.features))
        assert agent.act(np.zeros(2), explore=True) != agent.act(np.zeros(2), explore=True)
        assert agent.act(np.zeros(2), explore=False) == 0.0
        spread[version] = (actions.std() / agent.spec.action_high[0]).item()
    assert spread == pytest.approx({"v1": 0.3, "v2": 0.1, "v3": 0.1}, rel=0.1)
