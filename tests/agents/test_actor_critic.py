"""Policy, critics and temperature: each step goes where it should, and nowhere else."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mpc_robot.agents.actor_critic import LEAST_SPREAD, ActorCritic, ActorCriticConfig
from mpc_robot.envs.base import EnvSpec, Task

SPEC = EnvSpec(3, np.array([-2.0, 0.0]), np.array([2.0, 1.0]), 0.1, 100)
TASK = Task("task", "task")
SMALL = ActorCriticConfig(hidden=(8,), critic_hidden=(8,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def networks(task: Task = TASK, **settings: Any) -> ActorCritic:
    return ActorCritic(task, SPEC, dataclasses.replace(SMALL, **settings), generator())


def copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def unchanged(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in module.named_parameters())


def some_rows(count: int = 6) -> tuple[Tensor, Tensor]:
    drawn = generator(1)
    return torch.randn(count, 3, generator=drawn), torch.rand(count, 2, generator=drawn)


def loss_of_everything(ours: ActorCritic) -> Tensor:
    """Depends on policy, critics and temperature alike."""
    action, log_prob = ours.act(some_rows()[0], generator(2))
    values = ours.values(some_rows()[0], action)
    return values.mean() + (ours.log_temperature.exp() * log_prob).mean()


@pytest.mark.parametrize("part", ["policy", "critic"])
def test_a_step_reaches_the_named_part_alone(part: str) -> None:
    ours = networks()
    others = {"policy", "critic", "target"} - {part}
    before = {name: copies(getattr(ours, name)) for name in ("policy", "critic")}
    learn = ours.learn_policy if part == "policy" else ours.learn_values
    assert learn(loss_of_everything(ours))
    assert not unchanged(getattr(ours, part), before[part])
    for name in others & {"policy", "critic"}:
        assert unchanged(getattr(ours, name), before[name])
    for name in others:
        assert all(value.grad is None for value in getattr(ours, name).parameters())
    assert ours.temperature == 1.0 and ours.log_temperature.grad is None


def test_the_first_step_of_adam_is_its_rate_along_the_sign_of_the_gradient() -> None:
    ours = networks(learning_rate=0.01)
    parameters = list(ours.policy.parameters())
    gradients = torch.autograd.grad(loss_of_everything(ours), parameters)
    before = [value.detach().clone() for value in parameters]
    ours.learn_policy(loss_of_everything(ours))
    for value, start, gradient in zip(parameters, before, gradients, strict=True):
        clear = gradient.abs() > 1e-4
        torch.testing.assert_close((value - start)[clear], -0.01 * gradient.sign()[clear])


def test_targets_follow_by_their_share() -> None:
    ours = networks(tau=0.1)
    before = copies(ours.critic)
    assert unchanged(ours.target, before)
    for _ in range(2):
        followed = copies(ours.target)
        ours.learn_values(ours.values(*some_rows()).mean())
        for name, value in ours.target.named_parameters():
            leader = dict(ours.critic.named_parameters())[name]
            torch.testing.assert_close(value, 0.9 * followed[name] + 0.1 * leader)
    assert not unchanged(ours.target, before)


def infinite_gradient(value: Tensor) -> Tensor:
    """0, but its slope is not a number."""
    return (value * 0.0).sqrt().sum()


@pytest.mark.parametrize("bad", [lambda v: v.sum() * torch.nan, lambda v: v.sum() / 0.0])
def test_a_loss_that_is_not_finite_leaves_all_as_it_is(bad: Any) -> None:
    ours = networks()
    assert ours.learn_values(loss_of_everything(ours))  # the target has somewhere to follow to
    before = copies(ours)
    assert not ours.learn_values(bad(ours.values(*some_rows())))
    assert not ours.learn_policy(bad(ours.act(some_rows()[0], generator())[1]))
    ours.learn_temperature(torch.tensor([torch.nan]))
    ours.learn_temperature(torch.tensor([torch.inf, 1.0]))
    assert unchanged(ours, before)


def test_a_gradient_that_is_not_finite_leaves_all_as_it_is() -> None:
    ours = networks()
    before = copies(ours)
    assert not ours.learn_values(infinite_gradient(ours.values(*some_rows())))
    assert not ours.learn_policy(infinite_gradient(ours.mode(some_rows()[0])))
    assert unchanged(ours, before)
    assert ours.learn_policy(loss_of_everything(ours))
    assert all(value.isfinite().all() for value in ours.parameters())


def test_gradients_are_scaled_down_to_a_norm() -> None:
    clipped, free = networks(max_grad_norm=0.01), networks()
    for ours in (clipped, free):
        ours.learn_policy(1e3 * loss_of_everything(ours))
    flat = [
        torch.cat([p.grad.flatten() for p in ours.policy.parameters() if p.grad is not None])
        for ours in (clipped, free)
    ]
    assert flat[0].norm().item() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(flat[0] / flat[0].norm(), flat[1] / flat[1].norm())


@pytest.mark.parametrize(("entropy", "direction"), [(-1.5, 0.0), (-2.5, 1.0), (2.0, -1.0)])
def test_the_temperature_rises_where_entropy_is_short(entropy: float, direction: float) -> None:
    """The aim is -0.75 for each of two action entries; there the temperature rests."""
    ours = networks(target_entropy=-0.75, temperature=0.5, learning_rate=0.01)
    ours.learn_temperature(torch.tensor([-entropy - 0.3, -entropy + 0.3]))
    change = (ours.temperature.log() - np.log(0.5)).item()
    assert change == pytest.approx(0.01 * direction, abs=1e-5)


def test_the_temperature_finds_the_entropy_aimed_at() -> None:
    """Of a policy whose entropy is ``1 + log(temperature)``: the fixed point is exp(-3)."""
    ours = networks(learning_rate=0.03)
    for _ in range(1000):
        ours.learn_temperature(-(1.0 + ours.temperature.log())[None])
    assert ours.temperature.item() == pytest.approx(np.exp(-3.0), rel=0.01)


def test_a_soft_value_is_the_least_target_less_the_weighted_log_probability() -> None:
    ours = networks(temperature=0.3)
    with torch.no_grad():
        for bias in ours.target.network.biases:
            bias.normal_(generator=generator(5))
    observation = some_rows()[0]
    action, log_prob = ours.act(observation, generator(3))
    each = ours.target(ours.features(observation), action)
    expected = torch.minimum(each[0], each[1]) - 0.3 * log_prob
    torch.testing.assert_close(ours.soft_value(observation, generator(3)), expected)
    assert not torch.allclose(each, ours.values(observation, action))


def test_critics_say_values_in_units_of_all_targets_so_far() -> None:
    ours, drawn = networks(tau=0.01), generator(4)
    seen, action = some_rows()
    before = ours.values(seen, action)
    batches = [50.0 + 20.0 * torch.randn(40, generator=drawn) for _ in range(3)]
    for batch in batches:
        ours.follow_scale(batch)
        ours.follow_scale(torch.tensor([1.0, torch.nan]))
    for critics in (ours.critic, ours.target):
        assert critics.center.item() == pytest.approx(torch.cat(batches).mean().item(), rel=1e-5)
        spread = torch.cat(batches).std(correction=0).item()
        assert critics.width.item() == pytest.approx(spread, rel=1e-4)
    torch.testing.assert_close(ours.values(seen, action), before, atol=1e-4, rtol=1e-4)


def test_the_units_of_values_follow_the_latest_targets_by_their_share() -> None:
    """Half of the third batch, and a quarter each of those before."""
    ours = networks(tau=0.5)
    for said in (0.0, 4.0, 10.0):
        ours.follow_scale(torch.tensor([said, said]))
    assert ours.critic.center.item() == pytest.approx(6.0)
    assert ours.critic.width.item() == pytest.approx((16.0 / 4 + 100.0 / 2 - 36.0) ** 0.5)


@pytest.mark.parametrize(("mean", "spread"), [(1870.0, 0.05), (1e20, 1e19)])
def test_the_spread_of_targets_is_told_from_their_size(mean: float, spread: float) -> None:
    ours = networks()
    targets = mean + spread * torch.tensor([-1.0, 1.0, 1.0, -1.0])
    ours.follow_scale(targets)
    assert ours.critic.center.item() == pytest.approx(mean)
    assert ours.critic.width.item() == pytest.approx(spread, rel=0.01)  # as targets are rounded


def test_targets_that_are_all_alike_leave_a_least_unit() -> None:
    ours = networks()
    ours.follow_scale(torch.full((8,), 3.0))
    assert ours.critic.width.item() == pytest.approx(LEAST_SPREAD)


def test_only_what_a_policy_may_see_is_seen() -> None:
    ours = networks(dataclasses.replace(TASK, policy_inputs=(0, 2)))
    observation, action = some_rows()
    other = observation.clone()
    other[:, 1] += 100.0
    assert torch.equal(ours.mode(observation), ours.mode(other))
    assert torch.equal(ours.values(observation, action), ours.values(other, action))
    other[:, 2] += 1.0
    assert not torch.equal(ours.mode(observation), ours.mode(other))


def test_decisions_are_the_mode_or_drawn() -> None:
    ours, observation = networks(), np.array([0.1, -0.2, 0.3])
    row = torch.tensor(observation, dtype=torch.float32)[None]
    held = ours.decide(observation, False, generator())
    np.testing.assert_array_equal(held, ours.mode(row)[0].detach().numpy())
    drawn = np.array([ours.decide(observation, True, generator(seed)) for seed in range(200)])
    assert held.shape == (2,) and held.dtype == np.float64
    assert len(np.unique(drawn[:, 0])) == 200
    assert (drawn >= SPEC.action_low).all() and (drawn <= SPEC.action_high).all()


def test_optimizers_go_on_as_they_were() -> None:
    """Both go on from the same state, and neither changes the other's."""
    ours, restored = networks(), networks(learning_rate=3e-4)
    for _ in range(3):
        ours.learn_values(loss_of_everything(ours))
        ours.learn_policy(loss_of_everything(ours))
        ours.learn_temperature(torch.tensor([0.7]))
    restored.load_state_dict(ours.state_dict())
    restored.load_optimizers_state(ours.optimizers_state())
    for _ in range(2):
        for each in (ours, restored):
            each.learn_values(loss_of_everything(each))
            each.learn_policy(loss_of_everything(each))
            each.learn_temperature(torch.tensor([0.7]))
    assert unchanged(restored, copies(ours))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden", ()),
        ("hidden", (8, 0)),
        ("critic_hidden", (-1,)),
        ("critics", 0),
        ("subset", 0),
        ("subset", 3),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("tau", 0.0),
        ("tau", 1.1),
        ("tau", float("nan")),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("activation", "tanh"),
        ("target_entropy", float("nan")),
        ("temperature", -1.0),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("max_grad_norm", 0.0),
    ],
)
def test_settings_that_make_no_sense(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .*got"):
        dataclasses.replace(SMALL, **{field: value})
