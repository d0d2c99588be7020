"""MBPO: how far it imagines, from where, how much of it is kept, and what is learned from it."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.agents.actor_critic import ActorCriticConfig
from mpc_robot.agents.mbpo import MBPO, MBPOConfig, branch, rollout_length
from mpc_robot.agents.mbpo_presets import PRESETS, mbpo_preset
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.base import Transition
from mpc_robot.dynamics.ensemble import EnsembleConfig
from mpc_robot.dynamics.ensemble_fit import FitConfig
from mpc_robot.envs import TASKS, env_spec, make_env
from mpc_robot.envs.base import EnvSpec, Task

SPEC = EnvSpec(2, -2 * np.ones(1), 2 * np.ones(1), 0.1, 40)
A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])


def reward(obs: Any, action: Any, next_obs: Any) -> Any:
    q, v, u = obs[..., 0], obs[..., 1], action[..., 0]
    return -(q * q + 0.1 * v * v + 0.1 * u * u) + 0.0 * next_obs[..., 0]


CART = Task("cart", "cart", reward=reward, terminated=lambda n: n[..., 0] > 1e9)
SMALL = MBPOConfig(
    ActorCriticConfig((32,), (32,), learning_rate=3e-3, tau=0.02, temperature=0.1),
    EnsembleConfig(members=4, elites=3, hidden=32, layers=1, propagation="ts1", particles=3),
    FitConfig(max_steps=100, learning_rate=3e-3, batch_size=64),
    discount=0.95,
    batch_size=64,
    updates_per_step=5,
    warmup_steps=80,
    fit_every=40,
    imagined_steps=400,
    fits_kept=2,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def agent_of(config: MBPOConfig = SMALL, task: Task = CART) -> MBPO:
    return MBPO(task, SPEC, config, seed=0)


def episode(agent: MBPO, start: np.ndarray) -> None:
    """One truncated episode from ``start [2]``."""
    state = start
    for t in range(40):
        action = agent.act(state, explore=True)
        following = A @ state + B @ action
        earned = float(reward(state, action, following))
        agent.observe(Experience(state, action, earned, following, False, t == 39))
        agent.update()
        state = following


class Counter:
    """A model in which the first entry counts steps; it is a NaN, or over, where it is told."""

    def __init__(self, ends: float = 0.0, at: int = 10**9, bad: float = 0.0) -> None:
        self.ends, self.at, self.bad = ends, at, bad

    def step(self, state: Tensor, action: Tensor, rng: torch.Generator) -> Transition[Tensor]:
        following = state + torch.tensor([1.0, 0.0])
        here = following[:, 0] == self.at
        following = torch.where(here[:, None], following + self.bad, following)
        continues = torch.where(here, 1.0 - self.ends, torch.ones(len(state)))
        return Transition(following, 10.0 * state[:, 0], continues)


def branched(model: Any, starts: int, length: int) -> Any:
    start = torch.stack([torch.zeros(starts), torch.arange(starts)], dim=1).float()
    return branch(model, agent_of().networks, start, length, generator())


@pytest.mark.parametrize(
    ("lengths", "growth"), [((1, 15), (20_000, 150_000)), ((1, 1), (5, 6)), ((2, 25), (0, 997))]
)
def test_rollouts_grow_by_the_papers_formula(
    lengths: tuple[int, int], growth: tuple[int, int]
) -> None:
    """``min(max(x + (e - a) / (b - a) (y - x), x), y)`` of appendix C, rounded down."""
    (x, y), (a, b) = lengths, growth
    for e in [*range(0, 160_000, 613), a, b, a + 1, b - 1]:
        exact = min(max(x + Fraction(e - a, b - a) * (y - x), Fraction(x)), Fraction(y))
        assert rollout_length(lengths, growth, e) == exact.numerator // exact.denominator


def test_hoppers_rollouts_are_as_long_as_published() -> None:
    hopper = mbpo_preset("Hopper-v5")
    found = [
        rollout_length(hopper.rollout_lengths, hopper.rollout_growth, 1_000 * epoch)
        for epoch in (0, 20, 29, 30, 85, 149, 150, 300)
    ]
    assert found == [1, 1, 1, 2, 8, 14, 15, 15]


def test_rollouts_are_followed_step_by_step() -> None:
    steps = branched(Counter(), starts=6, length=4)
    assert len(steps.reward) == 24
    for t in range(4):
        now = steps.observation[:, 0] == t
        assert sorted(steps.observation[now, 1].tolist()) == list(range(6))
    assert torch.equal(steps.next_observation - steps.observation, torch.tensor([[1.0, 0.0]] * 24))
    assert torch.equal(steps.reward, 10.0 * steps.observation[:, 0])
    assert (steps.continues == 1).all() and (steps.action.abs() <= 2).all()


def test_what_is_done_is_drawn_from_the_policy() -> None:
    agent, start = agent_of(), torch.randn(6, 2, generator=generator(1))
    model: Any = Counter()
    steps = branch(model, agent.networks, start, 1, generator(2))
    torch.testing.assert_close(steps.action, agent.networks.act(start, generator(2))[0])


def test_a_rollout_ends_where_its_episode_would() -> None:
    steps = branched(Counter(ends=1.0, at=2), starts=6, length=4)
    assert len(steps.reward) == 12
    assert torch.equal(steps.continues, (steps.next_observation[:, 0] != 2).float())


def test_where_termination_is_learned_as_many_go_on_as_are_likely_to() -> None:
    steps = branched(Counter(ends=0.3, at=1), starts=2000, length=2)
    assert torch.equal(steps.continues[:2000], torch.full((2000,), 0.7))
    assert len(steps.reward) - 2000 == pytest.approx(1400, abs=80)


def test_nothing_is_kept_of_what_is_not_finite() -> None:
    steps = branched(Counter(at=3, bad=torch.nan), starts=6, length=5)
    assert len(steps.reward) == 12
    assert all(column.isfinite().all() for column in vars(steps).values())


def test_each_step_is_by_an_elite_drawn_anew() -> None:
    """Members that say 1, 2, 4, 8 and are sure of it: the second is no elite."""
    agent = agent_of()
    with torch.no_grad():
        for parameter in agent.model.parameters():
            parameter.zero_()
        agent.model.network.biases[-1][:, 0, 0] = torch.tensor([1.0, 2.0, 4.0, 8.0])
        agent.model.max_log_variance.fill_(-30.0)
        agent.model.min_log_variance.fill_(-40.0)
        agent.model.elites.copy_(torch.tensor([0, 2, 3]))
    start = torch.zeros(3000, 2)
    steps = branch(agent.model, agent.networks, start, 2, generator())
    change = (steps.next_observation - steps.observation)[:, 0].round().view(2, 3000)
    for said in (1.0, 4.0, 8.0):
        assert (change == said).float().mean(dim=1).tolist() == pytest.approx([1 / 3] * 2, abs=0.01)
    same = (change[0] == change[1]).float().mean().item()
    assert same == pytest.approx(1 / 3, abs=0.03)


def test_a_batch_has_its_share_of_real_steps() -> None:
    agent = agent_of(dataclasses.replace(SMALL, batch_size=256))
    for _ in range(20):
        agent.observe(Experience(np.zeros(2), np.zeros(1), 7.0, np.zeros(2), False, False))
    assert (agent._batch().reward == 7.0).sum() == 256
    agent.imagined = branched(Counter(), 100, 1)
    batch = agent._batch()
    assert len(batch.reward) == 256 and (batch.reward == 7.0).sum() == int(0.05 * 256)
    assert len(batch.observation[batch.reward == 0.0, 1].unique()) > 80


def test_what_is_imagined_is_bounded_and_the_newest() -> None:
    agent = agent_of(dataclasses.replace(SMALL, rollout_lengths=(1, 7), rollout_growth=(10, 20)))
    for start in np.random.default_rng(0).uniform(-1, 1, (2, 2)):
        episode(agent, start)
    assert len(agent.imagined.reward) == 400
    for since, length, added in ((10, 1, 400), (15, 4, 400), (18, 5, 400), (20, 7, 399)):
        before = agent.imagined.reward
        metrics = agent._imagine(since)
        assert metrics == {"model/rollout_length": length, "model/imagined": added}
        assert len(agent.imagined.reward) == 800
        assert torch.equal(agent.imagined.reward[: 800 - added], before[added - 800 :])
        assert not torch.isin(agent.imagined.reward[-added:], before).any()


def test_what_is_imagined_comes_from_where_it_was() -> None:
    agent = agent_of()
    for start in np.random.default_rng(0).uniform(-1, 1, (2, 2)):
        episode(agent, start)
    seen = {tuple(row) for row in agent.replay.all().observation.astype(np.float32)}
    assert {tuple(row) for row in agent.imagined.observation.numpy()} <= seen


def test_a_reward_that_is_known_can_be_taken_at_its_word() -> None:
    for learned in (True, False):
        agent = agent_of(dataclasses.replace(SMALL, learn_reward=learned))
        for start in np.random.default_rng(0).uniform(-1, 1, (2, 2)):
            episode(agent, start)
        steps = agent.imagined
        known = reward(steps.observation, steps.action, steps.next_observation)
        assert torch.allclose(steps.reward, known) is not learned


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_model_that_diverges_is_put_back_and_training_goes_on() -> None:
    agent = agent_of(dataclasses.replace(SMALL, real_share=0.0))
    for start in np.random.default_rng(0).uniform(-1, 1, (2, 2)):
        episode(agent, start)
    before = {name: value.clone() for name, value in agent.model.state_dict().items()}
    glitch = Experience(np.zeros(2), np.zeros(1), 1e300, np.zeros(2), False, False)
    weights = agent.networks.policy.network.weights[0].detach().clone()
    for _ in range(40):
        agent.observe(glitch)
        metrics = agent.update()
    assert metrics["model/diverged"] == 1.0 and np.isfinite(list(metrics.values())).all()
    for name, value in agent.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not torch.equal(agent.networks.policy.network.weights[0], weights)
    assert agent.imagined.reward.isfinite().all()


def test_it_learns_the_best_action_from_a_model_of_what_it_earns() -> None:
    """One step from s by a earns ``-(a - 1.2 s)²``: the best action is 1.2 s."""
    nets = dataclasses.replace(SMALL.actor_critic, target_entropy=-1.0, learning_rate=5e-3)
    config = dataclasses.replace(SMALL, actor_critic=nets, updates_per_step=4, real_share=0.0)
    bandit = Task("bandit", "bandit", terminated=lambda n: n[..., 0] < 1e9)
    agent, rng = MBPO(bandit, SPEC, config, seed=0), np.random.default_rng(0)
    for _ in range(240):
        state = rng.uniform(-1, 1, 2)
        action = agent.act(state, explore=True)
        earned = -float((action[0] - 1.2 * state[0]) ** 2)
        agent.observe(Experience(state, action, earned, state, True, False))
        agent.update()
    policy, states = agent.controller(), rng.uniform(-0.9, 0.9, (20, 2))
    errors = [policy.act(state)[0] - 1.2 * state[0] for state in states]
    assert np.abs(errors).mean() < 0.25  # a policy that has not learned misses by 0.5


@pytest.mark.parametrize(
    ("task", "entropy", "updates", "lengths"),
    [
        ("InvertedPendulum-v5", -0.05, 10, (1, 1)),
        ("InvertedDoublePendulum-v5", -0.5, 20, (1, 1)),
        ("Hopper-v5", -1.0, 20, (1, 15)),
        ("Walker2d-v5", -3.0, 20, (1, 1)),
        ("HalfCheetah-v5", -3.0, 40, (1, 1)),
        ("Ant-v5", -4.0, 20, (1, 25)),
        ("Humanoid-v5", -2.0, 20, (1, 25)),
    ],
)
def test_presets_are_the_published_settings(
    task: str, entropy: float, updates: int, lengths: tuple[int, int]
) -> None:
    preset, spec = mbpo_preset(task), env_spec(make_env(TASKS[task]))
    networks = MBPO(TASKS[task], spec, preset, seed=0).networks
    assert networks.entropy_aim == pytest.approx(entropy)
    assert preset.updates_per_step == updates
    assert preset.rollout_lengths == lengths


def test_presets_are_of_tasks_and_others_get_the_defaults() -> None:
    assert set(PRESETS) <= set(TASKS)
    assert mbpo_preset("Nobody-v0") == MBPOConfig()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 1.0),
        ("real_share", -0.1),
        ("real_share", 1.5),
        ("warmup_steps", 1),
        ("batch_size", 0),
        ("updates_per_step", 0),
        ("fit_every", 0),
        ("imagined_steps", 0),
        ("fits_kept", 0),
        ("rollout_lengths", (0, 1)),
        ("rollout_lengths", (5, 1)),
        ("rollout_lengths", (1, 401)),
        ("rollout_growth", (10, 10)),
        ("rollout_growth", (-1, 10)),
    ],
)
def test_settings_that_make_no_sense(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .*got"):
        dataclasses.replace(SMALL, **{field: value})
