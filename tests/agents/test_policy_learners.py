"""What holds for every agent that trains a policy, on a cart and on what goes wrong with it."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.agents.dreamers import SMALL

from mpc_robot.agents import agent_kind
from mpc_robot.agents.actor_critic import ActorCriticConfig
from mpc_robot.agents.dhmbpo import DHMBPOConfig
from mpc_robot.agents.mbpo import MBPOConfig
from mpc_robot.agents.muzero import MuZeroConfig
from mpc_robot.agents.sac import SACConfig
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.ensemble import EnsembleConfig
from mpc_robot.dynamics.ensemble_fit import FitConfig
from mpc_robot.dynamics.muzero import MuZeroModelConfig
from mpc_robot.envs import get_task, make_env
from mpc_robot.errors import CheckpointError, PlantError
from mpc_robot.training import checkpoint
from mpc_robot.training.metrics import TIME, read_metrics
from mpc_robot.training.runs import open_run, start_run
from mpc_robot.training.trainer import TrainConfig

NETS = ActorCriticConfig(hidden=(8,), critic_hidden=(8,))
MODEL = EnsembleConfig(members=3, elites=2, hidden=8, layers=1, propagation="ts1", particles=2)
FIT = FitConfig(max_steps=20, batch_size=32)
WARMUP = 20
TINY: dict[str, Any] = {
    "sac": SACConfig(NETS, batch_size=16, warmup_steps=WARMUP),
    "mbpo": MBPOConfig(
        NETS,
        MODEL,
        FIT,
        batch_size=40,
        updates_per_step=2,
        warmup_steps=WARMUP,
        fit_every=20,
        imagined_steps=30,
        fits_kept=2,
        rollout_lengths=(1, 4),
        rollout_growth=(10, 50),
    ),
    "dhmbpo": DHMBPOConfig(
        dataclasses.replace(NETS, critics=3, layer_norm=True, dropout=0.01),
        MODEL,
        FIT,
        batch_size=16,
        training_horizon=2,
        distribution_horizon=3,
        rollouts=8,
        rollout_every=7,
        rollouts_kept=2,
        warmup_steps=WARMUP,
        fit_every=20,
        fit_growth=1e9,
    ),
    "dreamer": dataclasses.replace(SMALL, update_every=1, warmup_steps=WARMUP),
    "muzero": MuZeroConfig(
        MuZeroModelConfig(latent=6, hidden=8, bins=11, candidates=3),
        simulations=3,
        unroll=2,
        n_step=2,
        batch_size=8,
        warmup_steps=WARMUP,
        reanalyse_every=7,
        reanalyse_batch=10,
        target_every=9,
        capacity=40,
    ),
}
every_agent = pytest.mark.parametrize("name", TINY)
of_real_steps = pytest.mark.parametrize("name", ["sac", "mbpo", "dhmbpo"])


def make(name: str, task: str = "Cart-v0", seed: int = 0, **settings: Any) -> Any:
    known, kind = get_task(task), agent_kind(name)
    with closing(make_env(known)) as env:
        spec = kind.spec(env)
    return kind.build(known, spec, dataclasses.replace(TINY[name], **settings), seed)


def live(agent: Any, steps: int, seed: int = 0) -> list[tuple[float, dict[str, float]]]:
    """Actions and metrics of so many steps in the agent's task."""
    lived: list[tuple[float, dict[str, float]]] = []
    with closing(make_env(agent.task)) as env:
        while len(lived) < steps:
            observation, ended = env.reset(seed=seed + len(lived))[0], False
            while not ended and len(lived) < steps:
                action = agent.act(observation, explore=True)
                reached, reward, terminated, truncated, _ = env.step(action)
                ended = terminated or truncated
                agent.observe(
                    Experience(observation, action, reward, reached, terminated, truncated)
                )
                lived.append((float(action[0]), agent.update()))
                observation = reached
    return lived


def finite(agent: Any) -> bool:
    modules = [getattr(agent, name, None) for name in ("networks", "behaviour", "model")]
    return all(
        v.isfinite().all() for module in modules if module for v in module.state_dict().values()
    )


@every_agent
def test_it_warms_up_by_random_actions_then_learns(name: str) -> None:
    lived = live(make(name), 50)
    actions = np.array([action for action, _ in lived[:WARMUP]])
    assert len(np.unique(actions)) == WARMUP and np.abs(actions).max() > 1.0
    assert all(metrics == {} for _, metrics in lived[: WARMUP - 1])
    for _, metrics in lived[WARMUP - 1 :]:
        assert {"critic/loss", "policy/entropy"} <= metrics.keys()
        assert np.isfinite(list(metrics.values())).all()


@of_real_steps
def test_the_model_is_fitted_when_due(name: str) -> None:
    lived = live(make(name), 70)
    fitted = [step for step, (_, metrics) in enumerate(lived, 1) if "model/nll" in metrics]
    assert fitted == ([] if name == "sac" else [20, 40, 60])


@every_agent
def test_same_seed_same_bits_and_other_seed_other_bits(name: str) -> None:
    first, again, other = (live(make(name, seed=seed), 45) for seed in (1, 1, 2))
    assert first == again and first[-1] != other[-1]


@every_agent
def test_a_restored_agent_goes_on_to_the_bit(name: str) -> None:
    original = make(name)
    live(original, 55)
    restored = make(name, seed=99)
    restored.load_state_dict(original.state_dict())
    assert live(restored, 30) == live(original, 30)


def train(path: Path, name: str, task: str = "Cart-v0", steps: int = 100) -> Any:
    config = TrainConfig(
        name, task, seed=2, steps=steps, eval_every=50, eval_episodes=1, checkpoint_every=25
    )
    run = start_run(path, config, TINY[name])
    run.train()
    return run


@every_agent
def test_a_run_that_was_stopped_goes_on_to_the_bit(name: str, tmp_path: Path) -> None:
    train(tmp_path / "whole", name, steps=100)
    train(tmp_path / "stopped", name, steps=50)
    open_run(tmp_path / "stopped", steps=100).train()
    told, kept = [], []
    for path in (tmp_path / "whole", tmp_path / "stopped"):
        lines = read_metrics(path / "metrics.jsonl")
        told.append([{k: v for k, v in line.items() if not k.startswith(TIME)} for line in lines])
        state = checkpoint.load(path / "checkpoint", {"task": "Cart-v0", "agent": name})
        kept.append(checkpoint._encode(state["agent"]))
    assert told[0] == told[1]
    assert kept[0] == kept[1]


@every_agent
def test_no_part_of_a_checkpoint_may_be_missing(name: str) -> None:
    whole = make(name).state_dict()
    for part in whole:
        lacking = {key: value for key, value in whole.items() if key != part}
        with pytest.raises(CheckpointError, match=part):
            make(name).load_state_dict(lacking)


@of_real_steps
def test_a_checkpoint_of_other_sizes_is_refused(name: str) -> None:
    wider = dataclasses.replace(NETS, hidden=(9,))
    state = make(name, actor_critic=wider).state_dict()
    with pytest.raises(CheckpointError, match="size mismatch"):
        make(name).load_state_dict(state)


@of_real_steps
def test_its_controller_acts_as_it_does_without_exploring(name: str) -> None:
    agent, observation = make(name), np.array([0.3, -0.2])
    controller = agent.controller()
    before = controller.act(observation)
    assert before == agent.act(observation, explore=False)
    live(agent, 40)
    assert controller.act(observation) == agent.act(observation, explore=False) != before


@every_agent
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("task", ["HugeCart-v0", "EndlessCart-v0"])
def test_rewards_of_any_scale_leave_no_nan_behind(name: str, task: str) -> None:
    """1e30, the square of which is none of float32, and 1e200, which itself is none."""
    agent = make(name, task)
    lived = live(agent, 60)
    assert finite(agent)
    assert all(abs(action) <= 2.0 for action, _ in lived)


@every_agent
def test_episodes_of_one_step(name: str, tmp_path: Path) -> None:
    run = train(tmp_path, name, "ShortCart-v0", steps=45)
    assert run.progress.episode == 45 and finite(run.agent)


@every_agent
def test_episodes_that_end_at_once(name: str) -> None:
    """Nothing follows: whatever the model imagines ends after one step."""
    agent = make(name, "EdgeCart-v0")
    assert all(np.isfinite(list(metrics.values())).all() for _, metrics in live(agent, 60))
    assert finite(agent)


@every_agent
def test_an_environment_with_nan_is_a_broken_plant(name: str, tmp_path: Path) -> None:
    with pytest.raises(PlantError, match=r"observation\[0\]: expected a finite number, got nan"):
        train(tmp_path, name, "NanCart-v0")
    assert open_run(tmp_path).progress.env_step == 0
