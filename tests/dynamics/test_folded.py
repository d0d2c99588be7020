"""The fast rollout against the plain network, one particle and one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.envs.base import EnvSpec, Task

SPEC = EnvSpec(3, -np.ones(2), np.ones(2), 0.1, 100)
LEARNED = Task("any", "any")
STEPS, ELITES, EACH = 3, 3, 2
PARTICLES = ELITES * EACH


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ensemble(task: Task = LEARNED, **config: Any) -> ProbabilisticEnsemble:
    """Untrained members with biases, in units that are not those of the network."""
    shape = {"members": 4, "elites": ELITES, "hidden": 24, "layers": 3, "particles": PARTICLES}
    model = ProbabilisticEnsemble(task, SPEC, EnsembleConfig(**(shape | config)), generator())
    rng = generator(1)
    with torch.no_grad():
        for bias in model.network.biases:
            bias.normal_(generator=rng)
        model.input_normalizer.fit(2.0 + 3.0 * torch.randn(50, 5, generator=rng))
        model.target_normalizer.fit(0.1 + 0.3 * torch.randn(50, model.outputs, generator=rng))
    model.elites = torch.tensor([3, 0, 2])
    return model


def candidates(count: int) -> tuple[Tensor, Tensor]:
    rng = generator(2)
    return torch.randn(count, 3, generator=rng), torch.rand(count, STEPS, 2, generator=rng) * 2 - 1


def one_by_one(
    model: ProbabilisticEnsemble, state: Tensor, actions: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """TSinf by the textbook: every particle asks its own member what comes next."""
    paths, rewards, continues = [], [], []
    for particle in range(PARTICLES):
        now, path = state, [state]
        for h in range(STEPS):
            with torch.no_grad():
                said = model.predict(now, actions[:, h])
            member = particle // EACH
            sample = said.mean[member] + said.variance[member].sqrt() * noise[h, particle]
            now = sample[:, :3]
            path.append(now)
            rewards.append(sample[:, 3])
            continues.append(said.continues[member])
        paths.append(torch.stack(path, dim=1))
    shape = (PARTICLES, STEPS, len(state))
    return (
        torch.stack(paths, dim=1),
        torch.stack(rewards).view(shape).permute(2, 0, 1),
        torch.stack(continues).view(shape).permute(2, 0, 1),
    )


@pytest.mark.parametrize("count", [5, 130])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_rollout_is_what_its_particles_do_one_by_one(count: int, layer_norm: bool) -> None:
    """With few candidates, and with so many that they come in blocks and by member."""
    model = ensemble(layer_norm=layer_norm)
    state, actions = candidates(count)
    out = model.rollout(state, actions, generator(3))
    noise = torch.randn(STEPS, PARTICLES, 1, model.outputs, generator=generator(3))
    expected = one_by_one(model, state, actions, noise)
    for mine, reference in zip(
        (out.observations, out.rewards, out.continues), expected, strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("propagation", ["ts1", "tsinf", "mean", "moment"])
def test_a_candidate_is_imagined_alike_among_many_and_among_few(propagation: Any) -> None:
    model = ensemble(propagation=propagation, particles=1 if propagation == "mean" else PARTICLES)
    state, actions = candidates(300)
    many = model.rollout(state, actions, generator(3))
    few = model.rollout(state[-3:], actions[-3:], generator(3))
    torch.testing.assert_close(many.observations[-3:], few.observations, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(many.rewards[-3:], few.rewards, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(many.continues[-3:], few.continues, atol=1e-4, rtol=1e-4)


def test_the_mean_follows_the_members_mean() -> None:
    model = ensemble(propagation="mean", particles=1)
    state, actions = candidates(7)
    out = model.rollout(state, actions, generator(3)).observations
    assert out.shape == (7, 1, STEPS + 1, 3)
    for h in range(STEPS):
        with torch.no_grad():
            said = model.predict(state, actions[:, h])
        state = said.mean[..., :3].mean(dim=0)
        torch.testing.assert_close(out[:, 0, h + 1], state, atol=1e-4, rtol=1e-4)


def test_moment_matching_draws_from_the_gaussian_of_all_particles() -> None:
    model = ensemble(propagation="moment")
    state, actions = candidates(4)
    out = model.rollout(state, actions, generator(3)).observations[:, :, 1]
    noise = torch.randn(STEPS, PARTICLES, 1, model.outputs, generator=generator(3))[0, ..., :3]
    with torch.no_grad():
        said = model.predict(state, actions[:, 0])
    std = (said.aleatoric + said.disagreement).sqrt()[:, :3]
    expected = said.mean.mean(dim=0)[:, :3] + std * noise
    torch.testing.assert_close(out, expected.transpose(0, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [5, 130])
def test_ts1_gives_every_particle_a_member_of_its_own_and_members_equal_shares(count: int) -> None:
    """Without noise each particle must be where exactly one member said, two for each member."""
    model = ensemble(propagation="ts1")
    with torch.no_grad():
        model.max_log_variance.fill_(-40.0)
        model.min_log_variance.fill_(-50.0)
    state, actions = candidates(count)
    out = model.rollout(state, actions, generator(3)).observations
    for h in range(STEPS):
        took = torch.zeros(ELITES)
        for particle in range(PARTICLES):
            with torch.no_grad():
                said = model.predict(out[:, particle, h], actions[:, h]).mean[..., :3]
            miss = (said - out[:, particle, h + 1]).abs().amax(dim=(1, 2))
            assert miss.min() < 1e-4
            took[miss.argmin()] += 1
        assert took.tolist() == [EACH] * ELITES


@pytest.mark.parametrize("propagation", ["ts1", "tsinf", "mean", "moment"])
def test_to_be_differentiated_it_imagines_the_same(propagation: Any) -> None:
    model = ensemble(propagation=propagation)
    state, actions = candidates(7)
    fast = model.rollout(state, actions, generator(3))
    slow = model.rollout(state, actions.requires_grad_(), generator(3))
    for name, values in vars(fast).items():
        torch.testing.assert_close(values, getattr(slow, name), atol=1e-4, rtol=1e-4)
    assert not fast.rewards.requires_grad
    with torch.no_grad():
        again = model.rollout(state, actions, generator(3))
    assert torch.equal(again.rewards, fast.rewards)


@pytest.mark.parametrize("propagation", ["ts1", "tsinf", "mean", "moment"])
def test_its_derivatives_are_differences_of_returns(propagation: Any) -> None:
    model = ensemble(propagation=propagation).double()
    model.input_normalizer, model.target_normalizer = (
        normalizer.double() for normalizer in (model.input_normalizer, model.target_normalizer)
    )
    state, actions = (part.double()[:1] for part in candidates(1))

    def total(actions: Tensor) -> Tensor:
        return model.rollout(state, actions, generator(3)).returns().mean()

    (slope,) = torch.autograd.grad(total(actions.requires_grad_()), actions)
    for index in np.ndindex(STEPS, 2):
        nudge = torch.zeros_like(actions)
        nudge[(0, *index)] = 1e-5
        difference = (total(actions + nudge) - total(actions - nudge)) / 2e-5
        assert slope[(0, *index)].item() == pytest.approx(difference.item(), rel=1e-4, abs=1e-7)
