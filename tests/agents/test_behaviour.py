"""Learning from dreams: returns against sums by brute force, policies against known optima."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.agents.behaviour import Behaviour, BehaviourConfig, dream, lambda_returns
from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.rssm import RSSM, RSSMConfig, RSSMState
from mpc_robot.nn.actor import ActorConfig
from mpc_robot.nn.descent import DescentConfig
from mpc_robot.nn.latents import GaussianConfig

BOUNDS = (-np.ones(1), np.ones(1))
V3 = BehaviourConfig(
    ActorConfig((16,)),
    critic_hidden=(16,),
    horizon=3,
    actor_descent=DescentConfig(1e-2),
    critic_descent=DescentConfig(1e-2),
)
V2 = replace(
    V3,
    critic="gaussian",
    slow="target",
    slow_rate=1.0,
    slow_every=4,
    replay_scale=0.0,
    reinforce=0.0,
    percentiles=None,
)
V1 = replace(V2, actor=ActorConfig((16,), "tanh"), slow="none", entropy=0.0)
VERSIONS = {"v1": V1, "v2": V2, "v3": V3}
every_version = pytest.mark.parametrize("config", VERSIONS.values(), ids=VERSIONS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_hand(reward: Any, discount: Any, beyond: Any, trace: float) -> list[float]:
    """Returns as the weighted sum of all n-step returns (arXiv:1912.01603, eq. 4 to 6)."""
    length, returns = len(reward), []
    for t in range(length):
        total, weight = 0.0, 1.0
        for n in range(1, length - t + 1):
            alive, worth = 1.0, 0.0
            for k in range(t, t + n):
                worth += alive * reward[k]
                alive *= discount[k]
            worth += alive * beyond[t + n - 1]
            share = weight * (1.0 if n == length - t else 1.0 - trace)
            total, weight = total + share * worth, weight * trace
        returns.append(total)
    return returns


@pytest.mark.parametrize("trace", [0.0, 0.3, 0.95, 1.0])
def test_lambda_returns_are_the_weighted_sum_of_all_n_step_returns(trace: float) -> None:
    reward, beyond = (torch.randn(6, 4, generator=generator(seed)).double() for seed in (1, 2))
    discount = torch.rand(6, 4, generator=generator(3)).double()
    discount[2, 1] = 0.0  # an episode that ended there
    ours = lambda_returns(reward, discount, beyond, trace)
    columns = zip(reward.T.tolist(), discount.T.tolist(), beyond.T.tolist(), strict=True)
    expected = torch.tensor([by_hand(*column, trace) for column in columns]).T
    torch.testing.assert_close(ours, expected.double(), rtol=1e-5, atol=1e-6)


def test_nothing_is_earned_after_the_end() -> None:
    reward, beyond = torch.ones(4, 1), torch.full((4, 1), 100.0)
    discount = torch.tensor([[0.5], [0.0], [0.5], [0.5]])
    assert lambda_returns(reward, discount, beyond, 1.0)[:2].flatten().tolist() == [1.5, 1.0]


def sequences(rows: int = 2, length: int = 4) -> Sequences:
    """In which nothing ever begins or ends."""
    no = torch.zeros(rows, length, dtype=torch.bool)
    reward = torch.arange(float(rows * length)).view(rows, length)
    return Sequences(None, torch.zeros(rows, length, 1), reward[..., None], reward, no, no, no)


def behaviour(config: BehaviourConfig, features: int = 2, seed: int = 0) -> Behaviour:
    return Behaviour(features, BOUNDS, config, generator(seed))


def test_real_returns_go_on_beyond_truncation_but_not_beyond_termination() -> None:
    """Of rewards 1, 2, 3 after states worth 10 each, in the middle of which an episode ends."""
    ours, seen = behaviour(replace(V3, discount=0.5, trace=1.0)), sequences(rows=1)
    worth, ends = torch.full((1, 4), 10.0), torch.tensor([[False, True, False, False]])
    returns, known = ours._earned(seen, worth)
    assert returns.tolist() == [[1 + 0.5 * (2 + 0.5 * (3 + 5)), 2 + 0.5 * (3 + 5), 3 + 5]]
    assert known.tolist() == [[1.0, 1.0, 1.0]]
    returns, known = ours._earned(replace(seen, truncated=ends), worth)
    assert (returns[0, 0], returns[0, 2]) == (1 + 5, 3 + 5)
    assert known.tolist() == [[1.0, 0.0, 1.0]]
    returns, known = ours._earned(replace(seen, terminated=ends), worth)
    assert (returns[0, 0], returns[0, 2]) == (1.0, 3 + 5)
    assert known.tolist() == [[1.0, 0.0, 1.0]]


class Line:
    """A world whose state is a number, moved by half of the action and drawn to 0.

    It is duck-typed as an RSSM; its episodes go on with a probability of ``goes_on``.
    """

    def __init__(self, goes_on: float = 1.0) -> None:
        self.goes_on = goes_on

    def imagine(self, state: RSSMState, action: Tensor, rng: torch.Generator) -> RSSMState:
        return RSSMState(state.deter + 0.5 * action, state.stoch)

    def reward(self, features: Tensor) -> Tensor:
        return -(features[..., 0] ** 2)

    def continues(self, features: Tensor) -> Tensor:
        return torch.full_like(features[..., 0], self.goes_on)


def places(rows: int, length: int, seed: int = 0) -> RSSMState:
    deter = 0.5 * torch.randn(rows, length, 1, generator=generator(seed))
    return RSSMState(deter, torch.ones(rows, length, 1))


def test_a_dream_tells_what_its_actions_earn_and_how_likely_they_are() -> None:
    ours, world = behaviour(replace(V3, discount=0.5)), Line(goes_on=0.8)
    alive, start = torch.tensor([1.0, 0.0]), places(2, 1).flatten()
    path = dream(
        world,  # type: ignore[arg-type]
        ours.actor,
        start,
        alive,
        config=ours.config,
        rng=generator(),
    )
    place = start.deter[:, 0]
    for t in range(3):
        torch.testing.assert_close(path.features[t, :, 0], place)
        place = place + 0.5 * path.raw[t, :, 0].clamp(-1.0, 1.0)
        torch.testing.assert_close(path.reward[t], -(place**2))
        assert path.weight[t].tolist() == pytest.approx([0.4**t, 0.0])
    assert path.discount.flatten().tolist() == pytest.approx([0.4] * 6)


@pytest.mark.parametrize(
    ("squash", "reinforce"), [("tanh", 0.0), ("clip", 0.0), ("clip", 0.5), ("clip", 1.0)]
)
def test_in_a_known_world_the_best_policy_is_found(
    squash: Literal["clip", "tanh"], reinforce: float
) -> None:
    """It is to go to 0 in one step from wherever that is near enough."""
    actor, entropy = ActorConfig((16,), squash), 0.0 if squash == "tanh" else V3.entropy
    config = replace(V3, actor=actor, reinforce=reinforce, replay_scale=0.0, entropy=entropy)
    ours, world, rng = behaviour(config), Line(), generator()
    seen = sequences(rows=32)
    for seed in range(120):
        ours.learn(world, places(32, 4, seed), seen, rng)  # type: ignore[arg-type]
    here = torch.tensor([-0.4, -0.2, 0.0, 0.2, 0.4])[:, None]
    with torch.no_grad():
        reached = here + 0.5 * ours.actor.mode(torch.cat([here, torch.ones(5, 1)], dim=1))
    assert reached.abs().max() < 0.15


@every_version
def test_the_critic_learns_what_states_are_worth(config: BehaviourConfig) -> None:
    """Where all earn 1 a step and go on with a half: 1 / (1 - 0.5 * 0.9)."""

    class Even(Line):
        def reward(self, features: Tensor) -> Tensor:
            return torch.ones_like(features[..., 0])

    ours, rng = behaviour(replace(config, discount=0.9, slow_rate=1.0)), generator()
    seen = replace(sequences(rows=16), reward=torch.ones(16, 4))
    ours.config = replace(ours.config, replay_scale=0.0)
    for seed in range(150):
        ours.learn(Even(goes_on=0.5), places(16, 4, seed), seen, rng)  # type: ignore[arg-type]
    values = ours.critic(torch.tensor([[-0.5, 1.0], [0.0, 1.0], [0.5, 1.0]]))
    assert values.tolist() == pytest.approx([1 / 0.55] * 3, rel=0.05)


def small_world() -> tuple[RSSM, RSSMState]:
    """A recurrent model that nobody has trained, whose rewards vary, and states of it."""
    shape = RSSMConfig(latent=GaussianConfig(4), deter=16, hidden=16, units=16, rewards="gaussian")
    model = RSSM(BOUNDS, shape, generator(), vector_dim=1)
    with torch.no_grad():
        model.reward.network[-1].weight.normal_(generator=generator(7))
    state = RSSMState(*(torch.randn(500, 4, n, generator=generator(n)) for n in (16, 4)))
    return model, state


def ascent(reinforce: float) -> Tensor:
    """The first gradient of a policy, by the parameters of its last layer."""
    whole = DescentConfig(1e-2, "norm", most=1e9)
    ours = behaviour(replace(V1, reinforce=reinforce, horizon=1, actor_descent=whole))
    with torch.no_grad():
        ours.actor.network[-1].bias[1] = -4.5  # a deviation of about 1: smooth, but not wide
    states = RSSMState(places(3000, 4).deter + 0.5, torch.ones(3000, 4, 1))
    ours.learn(Line(), states, sequences(3000), generator(5))  # type: ignore[arg-type]
    weight, bias = ours.actor.network[-1].weight.grad, ours.actor.network[-1].bias.grad
    assert weight is not None and bias is not None
    return torch.cat([*weight, bias])


def test_likelihood_ratios_and_value_gradients_point_the_same_way() -> None:
    ratios, values = ascent(1.0), ascent(0.0)
    assert torch.cosine_similarity(ratios, values, dim=0) > 0.9
    assert 0.7 < ratios.norm() / values.norm() < 1.4


@every_version
def test_dreams_leave_the_world_model_as_it_is(config: BehaviourConfig) -> None:
    model, states = small_world()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ours = behaviour(config, model.features)
    ours.learn(model, states, sequences(500), generator())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())


def test_the_slow_critic_follows() -> None:
    ours, world, rng = behaviour(V3), Line(), generator()
    assert ours.slow is not None
    slow, fast = ours.slow.network[-1].bias, ours.critic.network[-1].bias
    expected = slow.clone()
    for _ in range(3):
        ours.learn(world, places(2, 4), sequences(), rng)  # type: ignore[arg-type]
        expected = 0.98 * expected + 0.02 * fast.detach()
        torch.testing.assert_close(slow, expected)


def test_a_target_critic_is_replaced_now_and_then() -> None:
    ours, world, rng = behaviour(V2), Line(), generator()
    assert ours.slow is not None
    same = []
    for _ in range(8):
        ours.learn(world, places(2, 4), sequences(), rng)  # type: ignore[arg-type]
        same.append(torch.equal(ours.slow.network[-1].bias, ours.critic.network[-1].bias))
    assert same == [False, False, False, True] * 2
    assert behaviour(V1).slow is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"horizon": 0}, "horizon: expected at least 1, got 0"),
        ({"discount": 1.0}, r"discount: expected in \(0, 1\)"),
        ({"reinforce": 1.5}, r"reinforce: expected in \[0, 1\]"),
        ({"entropy": np.inf}, "entropy: expected finite, at least 0, got inf"),
        ({"critic_hidden": ()}, "critic_hidden: expected positive widths"),
        ({"percentiles": (0.9, 0.1)}, "percentiles: expected shares that ascend"),
        ({"starts": 1}, "starts: expected at least 2 for replay_scale, got 1"),
    ],
)
def test_settings_that_make_no_sense(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(V3, **setting)
