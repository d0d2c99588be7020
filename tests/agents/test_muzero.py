"""MuZero against sums worked out one by one, and problems solved by value iteration."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from mpc_robot.agents.muzero import MuZero, MuZeroConfig, choices_of, muzero_spec
from mpc_robot.agents.muzero_loss import (
    importance_weights,
    losses,
    n_step_values,
    step_weights,
    targets_of,
    unrolled,
)
from mpc_robot.data.replay import Experience
from mpc_robot.data.searched import Opinions, Windows
from mpc_robot.dynamics.muzero import MuZeroModel, MuZeroModelConfig
from mpc_robot.envs import DiscreteSpec, EnvSpec, Task, get_task, make_env
from mpc_robot.nn.choices import Moves, Numbers
from mpc_robot.nn.descent import DescentConfig

SMALL = MuZeroConfig(
    MuZeroModelConfig(latent=16, hidden=32, support=5.0, bins=21),
    simulations=4,
    discount=0.9,
    unroll=3,
    n_step=2,
    batch_size=32,
    warmup_steps=50,
    descent=DescentConfig(3e-3, "norm", 5.0),
    reanalyse_batch=64,
    target_every=25,
    entropy_weight=0.0,
)
TASK = Task("task", "task")


# What is learned from.


def brute_force(rewards: list[float], values: list[float], at: int, steps: int, g: float) -> float:
    """The sum as the paper writes it, along an episode whose last position has ``values[-1]``."""
    total, end = 0.0, len(rewards)
    for j in range(steps):
        if at + j >= end:
            return total + g ** max(end - at, 0) * values[-1]
        total += g**j * rewards[at + j]
    return total + g**steps * values[at + steps]


@pytest.mark.parametrize("length", [1, 2, 4, 9])
@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("steps", [1, 3])
def test_targets_are_the_sums_to_the_end_of_the_episode(
    length: int, terminated: bool, steps: int
) -> None:
    rng, unroll = np.random.default_rng(length), 4
    rewards, values = rng.normal(size=length), rng.normal(size=length + 1)
    values[-1] *= not terminated
    window = unroll + steps
    reward, value = np.zeros((1, window)), np.full((1, window + 1), values[-1])
    known = min(length, window)
    reward[0, :known], value[0, : known + 1] = rewards[:known], values[: known + 1]
    got = n_step_values(reward, value, np.array([known]), steps, 0.9)
    wanted = [brute_force(list(rewards), list(values), k, steps, 0.9) for k in range(unroll + 1)]
    np.testing.assert_allclose(got[0], wanted)


def windows(left: int, terminated: bool) -> Windows:
    """One window of 5 steps, ended after ``left`` of them, beside another that goes on."""
    position = np.arange(6.0)
    seen = np.stack([np.minimum(position, left), position])
    acted = np.stack([position < left, position < 5])
    policy = np.where(acted[..., None], [0.25, 0.75], 0.0).astype(np.float32)
    value = np.where(acted, 1.0, 0.0 if terminated else 4.0)
    return Windows(
        seen[..., None].astype(np.float32),
        np.where(acted, 1.0, 0.0)[..., None].astype(np.float32),
        np.where(acted, 2.0, 0.0),
        Opinions(np.zeros((2, 6, 2, 1), np.float32), policy, value),
        np.array([left, 5]),
        np.array([terminated, False]),
    )


def test_after_the_end_for_good_nothing_is_earned_and_that_is_known() -> None:
    targets = targets_of(windows(1, terminated=True), unroll=3, n_step=2, discount=0.5)
    assert targets.known[0].tolist() == [1.0, 1.0, 1.0, 1.0]
    assert targets.value[0].tolist() == [2.0, 0.0, 0.0, 0.0]
    assert targets.reward[0].tolist() == [2.0, 0.0, 0.0]
    assert targets.seen[0].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert targets.policy[0].sum(dim=-1).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert targets.action[0, :, 0].tolist() == [1.0, 1.0, 1.0]  # the other's where it is over
    assert targets.value[1].tolist() == [2.0 + 0.5 * 2.0 + 0.25 * 1.0] * 3 + [2.0 + 1.0]


def test_after_the_clock_ended_it_nothing_is_known() -> None:
    targets = targets_of(windows(2, terminated=False), unroll=3, n_step=2, discount=0.5)
    assert targets.known[0].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert targets.value[0, :2].tolist() == [2.0 + 1.0 + 0.25 * 4.0, 2.0 + 0.5 * 4.0]
    assert targets.seen[0].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_weights_make_up_for_what_is_drawn_more_often() -> None:
    """With beta = 1 a weighted mean over draws is the plain mean over what is drawn from."""
    rng = np.random.default_rng(0)
    share = np.array([0.1, 0.2, 0.3, 0.4])
    rows = rng.choice(4, 100_000, p=share)
    weights, numbers = importance_weights(share[rows], 1.0), np.array([3.0, -1.0, 2.0, 10.0])
    assert np.average(numbers[rows], weights=weights) == pytest.approx(numbers.mean(), abs=0.1)
    assert weights.max() == 1.0
    np.testing.assert_allclose(importance_weights(share, 0.5), (0.1 / share) ** 0.5)


# What is minimised.


def model_of(spec: EnvSpec | DiscreteSpec) -> MuZeroModel:
    rng = torch.Generator().manual_seed(0)
    return MuZeroModel([0], choices_of(spec, 2), 0.9, SMALL.model, rng)


NUMBERED = DiscreteSpec(1, 2, 0.1, 10)
MOVED = EnvSpec(1, -2 * np.ones(1), 2 * np.ones(1), 0.1, 10)


def test_the_first_position_weighs_as_much_as_all_that_are_foretold() -> None:
    torch.testing.assert_close(step_weights(4), torch.tensor([1.0, 0.25, 0.25, 0.25, 0.25]))


def test_the_gradient_is_halved_at_each_step_of_the_dynamics() -> None:
    """A model whose steps leave the state alone: 1/2, 1/4 and 1/8 of the gradient come back."""

    class Still:
        def advance(self, latent: torch.Tensor, action: torch.Tensor) -> tuple[Any, Any]:
            return 1.0 * latent, latent

    first = torch.ones(1, 2, requires_grad=True)
    model: Any = Still()
    latents, effects = unrolled(model, first, torch.zeros(1, 3, 1))
    assert torch.equal(latents, torch.ones(1, 4, 2)) and effects.shape == (1, 3, 2)
    for step, share in enumerate((1.0, 0.5, 0.25, 0.125)):
        (gradient,) = torch.autograd.grad(latents[0, step].sum(), first, retain_graph=True)
        assert gradient.tolist() == [[share, share]]


@pytest.mark.parametrize("spec", [NUMBERED, MOVED], ids=["numbers", "moves"])
def test_what_is_not_known_is_no_loss(spec: Any) -> None:
    """At first every bin has the same probability: each loss is log 21, or nothing."""
    model = model_of(spec)
    targets = targets_of(windows(2, terminated=False), unroll=3, n_step=2, discount=0.5)
    parts, value = losses(model, targets)
    bins = float(np.log(21))
    torch.testing.assert_close(parts["value"][0], torch.tensor([bins, bins, 0.0, 0.0]))
    torch.testing.assert_close(parts["reward"][0], torch.tensor([0.0, bins, bins, 0.0]))
    torch.testing.assert_close(value, torch.zeros(2), atol=1e-5, rtol=0.0)
    assert (parts["policy"][0] != 0).tolist() == [True, True, False, False]
    assert (parts["consistency"][0] != 0).tolist() == [False, True, True, False]


def test_the_policys_loss_is_the_cross_entropy() -> None:
    model = model_of(NUMBERED)
    with torch.no_grad():
        model.policy[-1].bias.copy_(torch.tensor([0.0, 1.0]))  # type: ignore[union-attr,operator]
    targets = targets_of(windows(5, terminated=False), unroll=3, n_step=2, discount=0.5)
    numbers = torch.tensor([0.0, 1.0])[:, None].expand(2, 4, 2, 1)
    parts, _ = losses(model, dataclasses.replace(targets, candidates=numbers))
    chance = 1.0 / (1.0 + np.e)
    expected = -0.25 * np.log(chance) - 0.75 * np.log(1.0 - chance)
    torch.testing.assert_close(parts["policy"], torch.full((2, 4), float(expected)))


# The whole of it.


class Corridor(gym.Env[Any, Any]):
    """Four places in a row, seen as their number from -1 to 1.

    Action 0 goes left, 1 right. To the left of all there is 1.2, to the right 4, and the end.
    """

    metadata = {"render_fps": 10, "render_modes": []}  # noqa: RUF012 - Gymnasium's own way
    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(4))
        return self.seen(), {}

    def seen(self) -> Any:
        return np.array([self.place / 1.5 - 1.0])

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += 2 * int(action) - 1
        reward = {-1: 1.2, 4: 4.0}.get(self.place, 0.0)
        return self.seen(), reward, not 0 <= self.place < 4, False, {}


def value_iteration(discount: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What is best in each place of the corridor, and what it is worth."""
    values = np.zeros(6)
    for _ in range(50):
        left = np.array([1.2, 0, 0, 0]) + discount * values[:4]
        right = np.array([0, 0, 0, 4.0]) + discount * values[2:]
        values[1:5] = np.maximum(left, right)
    return (right > left).astype(int), values[1:5]


def live(agent: MuZero, steps: int) -> None:
    with closing(make_env(agent.task)) as env:
        ended = True
        for step in range(steps):
            if ended:
                observation = env.reset(seed=step)[0]
            action = agent.act(observation, explore=True)
            reached, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            agent.observe(
                Experience(observation, action, float(reward), reached, terminated, truncated)
            )
            agent.update()
            observation = reached


def test_it_plans_in_a_corridor_as_value_iteration_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discounted by 0.5, the first place is better left at once: 1.2 beats 4 / 8."""
    spec = gym.envs.registration.EnvSpec("Corridor-v0", Corridor, max_episode_steps=20)
    monkeypatch.setitem(gym.registry, "Corridor-v0", spec)
    task = get_task("Corridor-v0")
    with closing(make_env(task)) as env:
        config = dataclasses.replace(SMALL, discount=0.5)
        agent = MuZero(task, muzero_spec(env), config, seed=0)
    live(agent, 900)
    places = np.linspace(-1.0, 1.0, 4)[:, None]
    best, worth = value_iteration(0.5)
    assert best.tolist() == [0, 1, 1, 1]
    planner = agent.controller()
    assert [int(planner.act(place)[0]) for place in places] == best.tolist()
    np.testing.assert_allclose(agent.model.evaluate(places), worth, rtol=0.3)


def test_it_finds_the_best_of_continuous_actions() -> None:
    """One step from s by a earns ``-(a - 1.2 s)²``: the best action is 1.2 s."""
    config = dataclasses.replace(SMALL, entropy_weight=0.01, n_step=1, unroll=1)
    agent, rng = MuZero(TASK, MOVED, config, seed=0), np.random.default_rng(0)
    for _ in range(400):
        state = rng.uniform(-1, 1, 1)
        action = agent.act(state, explore=True)
        assert abs(action[0]) <= 2.0
        earned = -float((action[0] - 1.2 * state[0]) ** 2)
        agent.observe(Experience(state, action, earned, state, True, False))
        agent.update()
    planner = agent.controller()
    states = np.linspace(-0.9, 0.9, 7)
    errors = [planner.act(np.array([s]))[0] - 1.2 * s for s in states]
    assert np.abs(errors).mean() < 0.3


@pytest.mark.parametrize(("ends", "worth"), [("terminated", 1.0), ("truncated", 2.0)])
def test_the_clock_is_not_the_end(ends: str, worth: float) -> None:
    """A reward of 1 at every step is worth 1 if there are no more, 1 / (1 - 0.5) if there are."""
    agent = MuZero(TASK, NUMBERED, dataclasses.replace(SMALL, discount=0.5), seed=0)
    step = Experience(np.zeros(1), np.zeros(1), 1.0, np.zeros(1), False, False)
    for _ in range(180):
        action = agent.act(np.zeros(1), explore=True)
        agent.observe(dataclasses.replace(step, action=action, **{ends: True}))
        agent.update()
    assert agent.model.evaluate(np.zeros((1, 1)))[0] == pytest.approx(worth, rel=0.1)


def test_old_positions_are_searched_again_in_turn() -> None:
    """All of them, 4 at a time; those that nobody had searched have a policy then."""
    config = dataclasses.replace(SMALL, warmup_steps=1000, reanalyse_batch=4)
    agent = MuZero(TASK, NUMBERED, config, seed=0)
    for step in range(9):
        position = np.array([float(step)])
        agent.observe(Experience(position, np.zeros(1), 0.0, position + 1, False, step == 8))
    searched = []
    for _ in range(3):
        agent.reanalyse()
        policies = agent.replay.opinions(np.arange(10)).policy.sum(axis=1)
        searched.append(int(policies.round().sum()))
    assert searched == [4, 8, 9]


def test_what_it_takes() -> None:
    for name, kind in (("CartPole-v1", Numbers), ("Pendulum-v1", Moves)):
        with closing(make_env(get_task(name))) as env:
            assert isinstance(choices_of(muzero_spec(env), 3), kind)
    with pytest.raises(ValueError, match="observation space: expected a Box"):
        muzero_spec(make_env(get_task("FrozenLake-v1")))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 0.0),
        ("simulations", 0),
        ("unroll", 0),
        ("n_step", 0),
        ("batch_size", 0),
        ("updates_per_step", 0.0),
        ("value_weight", -1.0),
        ("consistency_weight", -1.0),
        ("priority_exponent", -1.0),
        ("capacity", 1),
    ],
)
def test_settings_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .*got"):
        dataclasses.replace(SMALL, **{field: value})
