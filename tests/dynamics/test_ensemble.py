"""The ensemble against systems whose answer is known, and against plain loops."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.dynamics.ensemble_fit import FitConfig, fit
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.errors import ModelDivergedError

A = np.array([[1.0, 0.1], [-0.2, 0.9]])
B = np.array([[0.0], [0.3]])
NOISE = np.array([0.1, 0.02])
SPEC = EnvSpec(2, -np.ones(1), np.ones(1), 0.1, 100)


def reward(obs: Any, action: Any, next_obs: Any) -> Any:
    return -(next_obs**2).sum(-1) - 0.1 * (action**2).sum(-1) + 0.0 * obs[..., 0]


def ended(next_obs: Any) -> Any:
    return next_obs[..., 0] > 1.5


KNOWN = Task("linear", "linear", reward=reward, terminated=ended)
LEARNED = Task("linear", "linear")


def experience(count: int, seed: int = 0) -> Experience:
    rng = np.random.default_rng(seed)
    obs, action = rng.normal(size=(count, 2)), rng.uniform(-1, 1, (count, 1))
    following = obs @ A.T + action @ B.T + NOISE * rng.normal(size=(count, 2))
    return Experience(
        observation=obs,
        action=action,
        reward=reward(obs, action, following),
        next_observation=following,
        terminated=ended(following),
        truncated=np.zeros(count, dtype=bool),
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ensemble(task: Task = KNOWN, spec: EnvSpec = SPEC, **config: Any) -> ProbabilisticEnsemble:
    small = {"members": 4, "elites": 4, "hidden": 32, "layers": 2, "particles": 4}
    return ProbabilisticEnsemble(task, spec, EnsembleConfig(**{**small, **config}), generator())


def fitted(task: Task = KNOWN, count: int = 3000, **config: Any) -> ProbabilisticEnsemble:
    model = ensemble(task, **config)
    fit(model, experience(count), FitConfig(max_steps=800), generator(1))
    return model


@pytest.fixture(scope="module")
def linear() -> ProbabilisticEnsemble:
    return fitted()


def constant_drift(drifts: Tensor, std: float, **config: Any) -> ProbabilisticEnsemble:
    """Members that add ``drifts [M]`` to a one-entry observation, with noise ``std``."""
    spec = EnvSpec(1, -np.ones(1), np.ones(1), 0.1, 100)
    task = Task("drift", "drift", reward=lambda o, a, n: n[..., 0], terminated=None)
    count = len(drifts)
    model = ensemble(task, spec, members=count, elites=count, **config)
    with torch.no_grad():
        for weight, bias in zip(model.network.weights, model.network.biases, strict=True):
            weight.zero_()
            bias.zero_()
        model.network.biases[-1][:, 0, 0] = drifts
        model.network.biases[-1][:, 0, 1] = 2.0 * np.log(std)
        model.network.biases[-1][:, 0, 2] = -50.0
        model.max_log_variance.fill_(10.0)
        model.min_log_variance.fill_(-40.0)
    return model


# What it learns.


def test_it_recovers_a_linear_gaussian_system(linear: ProbabilisticEnsemble) -> None:
    points, actions = torch.zeros(1, 2), torch.zeros(1, 1)

    def mean(obs: Tensor, act: Tensor) -> Tensor:
        return linear.predict(obs, act).mean.mean(dim=0)[0]

    by_obs, by_act = torch.autograd.functional.jacobian(mean, (points, actions))
    np.testing.assert_allclose(by_obs[:, 0].numpy(), A, atol=0.04)
    np.testing.assert_allclose(by_act[:, 0].numpy(), B, atol=0.04)
    test = experience(500, seed=7)
    said = linear.predict(torch.tensor(test.observation).float(), torch.tensor(test.action).float())
    np.testing.assert_allclose(said.aleatoric.mean(0).sqrt().detach().numpy(), NOISE, rtol=0.15)


def test_faithful_members_recover_the_system_and_its_noise() -> None:
    model = ensemble()
    config = FitConfig(max_steps=1100, patience=1100, loss="faithful")
    fit(model, experience(1000), config, generator(1))
    at, action = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3]])
    said = model.predict(at, action)
    expected = at.numpy() @ A.T + action.numpy() @ B.T
    np.testing.assert_allclose(said.mean.mean(0).detach().numpy(), expected, atol=0.05)
    np.testing.assert_allclose(said.aleatoric[0].sqrt().detach().numpy(), NOISE, rtol=0.2)


def test_a_faithful_mean_is_as_wrong_about_hard_rows_as_about_easy_ones() -> None:
    """The gradient of a mean is its error by what is typical, however noisy it calls the row."""
    model = constant_drift(torch.zeros(1), std=1.0)
    features, ended = torch.zeros(1, 3, 2), torch.zeros(1, 3)
    targets = torch.tensor([[[0.5], [2.0], [-1.0]]])
    log_variance = torch.tensor([[[-2.0], [0.0], [1.0]]])
    means = torch.zeros(1, 3, 1, requires_grad=True)
    model.heads = lambda *_: (means, log_variance, torch.zeros(1, 3))  # type: ignore[method-assign]
    (gradient,) = torch.autograd.grad(model.faithful_loss(features, targets, ended).sum(), means)
    typical = (math.exp(-2.0) + 1.0 + math.e) / 3
    np.testing.assert_allclose(
        gradient[0, :, 0], [-0.5 / typical / 3, -2 / typical / 3, 1 / typical / 3], rtol=1e-5
    )


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_predictive_intervals_are_calibrated(linear: ProbabilisticEnsemble, level: float) -> None:
    test = experience(2000, seed=8)
    said = linear.predict(torch.tensor(test.observation).float(), torch.tensor(test.action).float())
    mean = said.mean.mean(0).detach().numpy()
    std = (said.aleatoric + said.disagreement).sqrt().detach().numpy()
    inside = np.abs(test.next_observation - mean) < stats.norm.ppf(0.5 + level / 2) * std
    np.testing.assert_allclose(inside.mean(axis=0), level, atol=0.05)


def test_members_disagree_where_nothing_was_seen_and_noise_does_not_say_so() -> None:
    model = fitted(count=300)
    near = model.predict(torch.zeros(1, 2), torch.zeros(1, 1)).disagreement
    far = model.predict(torch.full((1, 2), 12.0), torch.zeros(1, 1)).disagreement
    assert (far > 20 * near).all()


def test_reward_and_termination_are_learned_where_the_task_gives_none() -> None:
    model = fitted(LEARNED, count=4000)
    test = experience(1000, seed=9)
    obs, action = torch.tensor(test.observation).float(), torch.tensor(test.action).float()
    said = model.predict(obs, action)
    explained = np.corrcoef(said.mean.mean(0)[:, 2].detach().numpy(), test.reward)[0, 1]
    assert explained > 0.98
    clear = np.abs((test.observation @ A.T + test.action @ B.T)[:, 0] - 1.5) > 0.3
    dead = said.continues.mean(0).detach().numpy() < 0.5
    assert (dead == test.terminated)[clear].mean() > 0.98
    assert dead.any()


def test_entries_that_are_no_inputs_do_not_matter_and_are_predicted() -> None:
    task = dataclasses.replace(KNOWN, model_inputs=(1,))
    model = fitted(task, count=500)
    here, there = torch.tensor([[0.0, 0.3]]), torch.tensor([[5.0, 0.3]])
    action = torch.zeros(1, 1)
    change = [model.predict(o, action).mean - o for o in (here, there)]
    torch.testing.assert_close(*change, atol=1e-5, rtol=0)
    paths = [
        model.rollout(o, torch.zeros(1, 1, 1), generator()).observations[:, :, 1] - o
        for o in (here, there)
    ]
    torch.testing.assert_close(*paths, atol=1e-5, rtol=0)


# How it is trained.


def test_a_fit_never_ends_worse_on_the_holdout_than_it_began() -> None:
    model = fitted(count=400)
    before = [p.detach().clone() for p in model.parameters()]
    data = experience(400)
    wild = FitConfig(learning_rate=3.0, max_steps=20)
    model.input_normalizer.fit(
        model.features(torch.tensor(data.observation).float(), torch.tensor(data.action).float())
    )
    fit(model, data, wild, generator(2))
    said = model.predict(torch.zeros(1, 2), torch.zeros(1, 1))
    assert said.mean.isfinite().all()
    after = list(model.parameters())
    assert sum(torch.equal(a, b) for a, b in zip(after, before, strict=True)) == len(after)


def test_a_second_fit_starts_from_the_first() -> None:
    model, data = ensemble(), experience(1000)
    settings = FitConfig(max_steps=2000, patience=3)
    first = fit(model, data, settings, generator(1))
    second = fit(model, data, settings, generator(1))
    assert second["model/steps"] < 0.5 * first["model/steps"]
    assert second["model/nll"] <= first["model/nll"] + 0.05


def test_the_worst_members_are_no_elites() -> None:
    model = fitted(count=500, members=5, elites=3, particles=3)
    with torch.no_grad():
        for member in (1, 3):
            model.network.weights[-1][member] += 5.0
    fit(model, experience(500), FitConfig(learning_rate=1e-9, max_steps=1), generator(1))
    assert model.elites.tolist() == [0, 2, 4]


def test_bootstrap_gives_members_different_data() -> None:
    spread = []
    for bootstrap in (False, True):
        model = ensemble()
        with torch.no_grad():  # alike members differ only by what they are shown
            for parameter in (*model.network.weights, *model.network.biases):
                parameter.copy_(parameter[:1].expand_as(parameter))
        config = FitConfig(max_steps=15, batch_size=10_000, bootstrap=bootstrap)
        fit(model, experience(60), config, generator(1))
        spread.append(model.predict(torch.zeros(1, 2), torch.zeros(1, 1)).disagreement.mean())
    assert spread[1] > 100 * spread[0]


@pytest.mark.parametrize(("share", "believed"), [(0.0, 0.1), (0.5, 0.55)])
def test_the_latest_steps_can_count_for_more(share: float, believed: float) -> None:
    """A world that moved on: since the last tenth of all steps every change is 1, before it was 0.

    What is best to believe is the share of the new world in what was learned from.
    """
    data = experience(2_000)
    moved = (np.arange(2_000) >= 1_800)[:, None]
    data = dataclasses.replace(data, next_observation=data.observation + moved)
    config = FitConfig(
        max_steps=200,
        recent_share=share,
        recent_steps=200,
        patience=50,
        learning_rate=0.01,
        loss="faithful",
    )
    model = ensemble(hidden=8)
    steps = fit(model, data, config, generator(1))["model/steps"]
    obs, action = (torch.as_tensor(c, dtype=torch.float32) for c in (data.observation, data.action))
    change = (model.predict(obs, action).mean - obs).mean().item()
    assert change == pytest.approx(believed, abs=0.05)
    assert steps < 230


def test_in_imagination_a_goal_stays_where_it_is() -> None:
    """The third entry differs between episodes and never changes within one."""
    data = experience(200)
    goal = np.repeat([[0.3], [-0.7]], 100, axis=0)
    data = dataclasses.replace(
        data,
        observation=np.hstack([data.observation, goal]),
        next_observation=np.hstack([data.next_observation, goal]),
    )
    model = ensemble(spec=EnvSpec(3, -np.ones(1), np.ones(1), 0.1, 100))
    fit(model, data, FitConfig(max_steps=50), generator(1))
    start = torch.tensor([[0.0, 0.0, 0.3]])
    path = model.rollout(start, torch.zeros(1, 10, 1), generator()).observations
    assert path[..., 0].std() > 0.01
    torch.testing.assert_close(path[..., 2], torch.full_like(path[..., 2], 0.3), atol=1e-3, rtol=0)


def test_same_seed_same_bits() -> None:
    first, second = fitted(count=300), fitted(count=300)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    actions = torch.rand(5, 4, 1, generator=generator())
    paths = [m.rollout(torch.zeros(5, 2), actions, generator(3)) for m in (first, second)]
    assert torch.equal(paths[0].observations, paths[1].observations)


# How it imagines.


@pytest.mark.parametrize(
    ("propagation", "variance"), [("tsinf", 36.0), ("ts1", 6.0), ("moment", 6.0), ("mean", 0.0)]
)
def test_particles_spread_as_the_rule_says(propagation: Any, variance: float) -> None:
    """Members that drift by +1 and -1: after H = 6 steps (H d)^2 if kept, H d^2 if drawn anew."""
    model = constant_drift(
        torch.tensor([1.0, -1.0]), std=1e-6, propagation=propagation, particles=4000
    )
    path = model.rollout(torch.zeros(1, 1), torch.zeros(1, 6, 1), generator()).observations
    end = path[0, :, -1, 0]
    assert end.mean().abs() < 0.1
    assert end.var(correction=0).item() == pytest.approx(variance, rel=0.1, abs=1e-6)


def test_ts1_equals_a_monte_carlo_reference(linear: ProbabilisticEnsemble) -> None:
    """Against independent draws of a member and of noise for every particle and step."""
    horizon, particles = 5, 8000
    model = ensemble(propagation="ts1", particles=particles)
    model.load_state_dict(linear.state_dict())
    actions = torch.linspace(-1, 1, horizon)[None, :, None]
    mine = model.rollout(torch.tensor([[0.5, -0.5]]), actions, generator()).observations[0, :, -1]
    rng, state = generator(5), torch.tensor([[0.5, -0.5]]).expand(particles, 2)
    for h in range(horizon):
        with torch.no_grad():
            said = model.predict(state, actions[0, h].expand(particles, 1))
        member = torch.randint(4, (particles,), generator=rng)
        rows = torch.arange(particles)
        noise = torch.randn(particles, 2, generator=rng)
        state = said.mean[member, rows] + said.variance[member, rows].sqrt() * noise
    torch.testing.assert_close(mine.mean(0), state.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(mine.T.cov(), state.T.cov(), atol=1e-3, rtol=0.06)


@pytest.mark.parametrize("task", [KNOWN, LEARNED], ids=["known", "learned"])
def test_a_rollout_is_the_prediction_plus_its_noise(task: Task) -> None:
    """The folded weights against the plain network, with the noise drawn beside it."""
    model = fitted(task, count=500, particles=8)
    obs = torch.tensor([[0.4, -0.2], [1.0, 0.1], [-2.0, 0.5]])
    actions = torch.tensor([0.2, -0.7, 0.9]).view(3, 1, 1)
    out = model.rollout(obs, actions, generator(4))
    noise = torch.randn(1, 8, 1, model.outputs, generator=generator(4))[0, :, 0]
    with torch.no_grad():
        said = model.predict(obs, actions[:, 0])
    for particle in range(8):
        member = particle // 2
        sample = said.mean[member] + said.variance[member].sqrt() * noise[particle]
        torch.testing.assert_close(
            out.observations[:, particle, 1], sample[:, :2], atol=2e-5, rtol=1e-4
        )
        if task is LEARNED:
            torch.testing.assert_close(
                out.rewards[:, particle, 0], sample[:, 2], atol=2e-4, rtol=1e-3
            )
            torch.testing.assert_close(
                out.continues[:, particle, 0], said.continues[member], atol=1e-5, rtol=1e-4
            )


def test_known_reward_and_termination_come_from_the_task(linear: ProbabilisticEnsemble) -> None:
    obs, actions = torch.tensor([[1.4, 0.5], [0.0, 0.0]]), torch.ones(2, 4, 1)
    out = linear.rollout(obs, actions, generator())
    before, after = out.observations[:, :, :-1], out.observations[:, :, 1:]
    expected = reward(before, actions[:, None], after)
    torch.testing.assert_close(out.rewards, expected)
    assert torch.equal(out.continues == 0, ended(after))
    assert (out.continues == 0).any()
    assert (out.continues == 1).any()


def test_candidates_differ_by_their_actions_alone(linear: ProbabilisticEnsemble) -> None:
    actions = torch.rand(1, 5, 1, generator=generator()).expand(3, -1, -1)
    paths = linear.rollout(torch.zeros(3, 2), actions, generator()).observations
    torch.testing.assert_close(paths[0], paths[1], atol=1e-5, rtol=0)


def test_half_precision_plans_alike(linear: ProbabilisticEnsemble) -> None:
    half = ensemble(inference_dtype="bfloat16")
    half.load_state_dict(linear.state_dict())
    actions = torch.rand(50, 10, 1, generator=generator()) * 2 - 1
    returns = [
        model.rollout(torch.zeros(50, 2), actions, generator()).returns().mean(1).numpy()
        for model in (linear, half)
    ]
    assert not np.array_equal(*returns)
    assert stats.spearmanr(*returns).statistic > 0.99


def test_a_step_keeps_rows_apart_and_draws_members() -> None:
    drifts = torch.tensor([1.0, 2.0, 4.0])
    model = constant_drift(drifts, std=1e-6, particles=3)
    state = 100.0 * torch.arange(32.0)[:, None]
    change = (model.step(state, torch.zeros(32, 1), generator()).state - state)[:, 0]
    counts = [int((change - drift).abs().lt(1e-3).sum()) for drift in drifts]
    assert sum(counts) == 32
    assert min(counts) >= 10


def test_a_step_can_be_differentiated(linear: ProbabilisticEnsemble) -> None:
    action = torch.zeros(6, 1, requires_grad=True)
    state = torch.zeros(6, 2)
    linear.step(state, action, generator()).state[:, 1].sum().backward()
    assert action.grad is not None
    np.testing.assert_allclose(action.grad.numpy(), B[1, 0], atol=0.06)


def test_new_weights_are_folded_anew(linear: ProbabilisticEnsemble) -> None:
    model, actions = ensemble(), torch.ones(1, 3, 1)
    before = model.rollout(torch.zeros(1, 2), actions, generator()).observations
    model.load_state_dict(linear.state_dict())
    after = model.rollout(torch.zeros(1, 2), actions, generator()).observations
    expected = linear.rollout(torch.zeros(1, 2), actions, generator()).observations
    assert not torch.equal(before, after)
    assert torch.equal(after, expected)


# What it refuses.


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"members": 0}, "members: expected at least 1, got 0"),
        ({"elites": 6}, "elites: expected at most 5 members, got 6"),
        ({"particles": 7}, "particles: expected a multiple of 5 elites, got 7"),
    ],
)
def test_settings_that_make_no_sense(config: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EnsembleConfig(**config)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_not_all_steps_are_the_latest(share: float) -> None:
    with pytest.raises(ValueError, match=r"recent_share: expected a share in \[0, 1\)"):
        FitConfig(recent_share=share)


@pytest.mark.parametrize(("rows", "most"), [(200, 17), (2_000, 17)])
def test_a_fit_takes_no_more_steps_than_it_may(rows: int, most: int) -> None:
    """In the middle of its second pass of 12 steps, and of its first pass of 113."""
    config = FitConfig(batch_size=16, max_steps=most)
    assert fit(ensemble(), experience(rows), config, generator(1))["model/steps"] == most


@pytest.mark.parametrize(
    "field", ["holdout", "batch_size", "max_steps", "patience", "recent_steps"]
)
def test_training_settings_that_make_no_sense(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected"):
        FitConfig(**{field: 0})


def test_a_model_needs_data() -> None:
    with pytest.raises(ValueError, match="expected at least 2 steps to fit a model, got 1"):
        fit(ensemble(), experience(1), FitConfig(), generator())


def test_data_that_no_member_can_fit_are_said_to_be_so() -> None:
    data = experience(100)
    wild = dataclasses.replace(data, next_observation=data.next_observation * 1e300)
    with pytest.raises(ModelDivergedError, match="no member fits the 100 steps"):
        fit(ensemble(), wild, FitConfig(max_steps=5), generator())


def test_inputs_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="model_inputs: expected indices below 2"):
        ensemble(dataclasses.replace(KNOWN, model_inputs=(0, 2)))
