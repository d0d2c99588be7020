"""The recurrent state-space model: what it learns, foresees, forgets, and where gradients stop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mpc_robot.controllers import MPC, CEMConfig, make_optimizer
from mpc_robot.controllers.filtered import FilteredController
from mpc_robot.controllers.parameterization import spline_for
from mpc_robot.data.replay import Experience
from mpc_robot.data.sequences import SequenceReplay, Sequences
from mpc_robot.dynamics.rssm import RSSM, RSSMConfig, RSSMState
from mpc_robot.dynamics.rssm_filter import LatentFilter, LatentFilters
from mpc_robot.dynamics.rssm_loss import _unexplained, divergences, model_loss
from mpc_robot.dynamics.rssm_presets import SIZES, rssm_v1, rssm_v2
from mpc_robot.envs.base import EnvSpec
from mpc_robot.nn.latents import CategoricalConfig, GaussianConfig
from mpc_robot.nn.senses import SensesConfig

BOUNDS = -2 * np.ones(1), 2 * np.ones(1)
SENSES = SensesConfig(channels=(4, 8), strides=(4, 2), units=32, layers=1)
SMALL = RSSMConfig(CategoricalConfig(4, 4), SENSES, deter=32, hidden=32, units=32)
VERSIONS = {
    "v1": replace(rssm_v1(SMALL), latent=GaussianConfig(6)),
    "v2": rssm_v2(SMALL),
    "v3": SMALL,
    "blocks": replace(SMALL, blocks=4),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(config: RSSMConfig = SMALL, seed: int = 0) -> RSSM:
    return RSSM(BOUNDS, config, generator(seed), vector_entries=range(2))


def sequences(rows: int = 3, length: int = 5, seed: int = 0) -> Sequences:
    """Random ones whose second row starts anew in the middle."""
    rng, no = generator(seed), torch.zeros(rows, length, dtype=torch.bool)
    first = no.clone()
    first[:, 0] = True
    first[1:2, length // 2] = True
    vector, action = (torch.randn(rows, length, n, generator=rng) for n in (2, 1))
    reward = torch.randn(rows, length, generator=rng)
    return Sequences(None, vector, action, reward, first, no, no)


@pytest.mark.parametrize("config", VERSIONS.values(), ids=VERSIONS)
def test_sequences_are_observed_step_by_step(config: RSSMConfig) -> None:
    """All at once is what a state carried from one observation to the next gives."""
    ours, seen = model(config), sequences()
    states, posterior, _ = ours.observe(seen, generator(1))
    assert states.features.shape == (3, 5, ours.features)
    noise = ours.latent.noise((5, 3), generator(1))
    state = ours.initial(3)
    for t in range(5):
        keep = (~seen.is_first[:, t]).float()[:, None]
        before = RSSMState(state.deter * keep, state.stoch * keep)
        deter = ours._remember(before, ours._driven(seen.action[:, t]) * keep)
        assert seen.vector is not None
        embedded = ours.embed_in(ours.senses.encode(None, seen.vector[:, t]))
        latent = ours.latent.distribution(ours.posterior_out(embedded + ours.deter_in(deter)))
        state = RSSMState(deter, latent.sample(noise[t]))
        torch.testing.assert_close(states.deter[:, t], deter, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(states.stoch[:, t], state.stoch, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(posterior.mode()[:, t], latent.mode(), rtol=1e-4, atol=1e-5)


def test_nothing_of_an_episode_reaches_the_next() -> None:
    """Neither what came before the first observation, nor the action that is said to have."""
    ours, seen = model(), sequences(rows=2, length=6)
    assert seen.vector is not None
    other = replace(seen, vector=seen.vector.clone(), action=seen.action.clone())
    assert other.vector is not None
    other.vector[1, :3] += 1.0
    other.action[1, :4] += 1.0  # also the one before the first observation, at 3
    one, changed = (ours.observe(each, generator())[0].features for each in (seen, other))
    assert torch.equal(one[1, 3:], changed[1, 3:]) and not torch.equal(one[1, :3], changed[1, :3])
    assert torch.equal(one[0], changed[0])


def test_without_evidence_the_posterior_is_the_prior() -> None:
    """Where what is seen says nothing, and both networks are the same, they do not diverge."""
    ours = model()
    with torch.no_grad():
        ours.embed_in.weight.zero_()
        first, norm, last = ours.prior
        ours.deter_in.load_state_dict(first.state_dict())
        ours.posterior_out[0].load_state_dict(norm.state_dict())
        ours.posterior_out[1].load_state_dict(last.state_dict())
    _, posterior, prior = ours.observe(sequences(), generator())
    torch.testing.assert_close(posterior.kl(prior), torch.zeros(3, 5), atol=1e-6, rtol=0)


def test_the_model_imagines_by_the_prior_of_what_it_has_observed() -> None:
    """From a filtered state, the next prior is the one that observing compares with."""
    ours, seen = model(VERSIONS["v1"]), sequences(rows=1)
    states, _, prior = ours.observe(seen, generator())
    before = RSSMState(states.deter[:, 2], states.stoch[:, 2])
    deter = ours._remember(before, ours._driven(seen.action[:, 3]))
    torch.testing.assert_close(deter, states.deter[:, 3])
    expected = prior.mode()[:, 3]
    torch.testing.assert_close(ours.latent.distribution(ours.prior(deter)).mode(), expected)


def test_a_rollout_is_its_steps() -> None:
    ours = model()
    actions = torch.rand(1, 4, 1, generator=generator(2))
    state = ours.start(np.linspace(-1, 1, ours.features), 1)
    futures = ours.rollout(state, actions, generator(3))
    assert futures.observations.shape == (1, 1, 5, ours.features)
    rng = generator(3)
    for t in range(4):
        torch.testing.assert_close(futures.observations[:, 0, t], state.features)
        taken = ours.step(state, actions[:, t], rng)
        torch.testing.assert_close(futures.rewards[:, 0, t], taken.reward)
        torch.testing.assert_close(futures.continues[:, 0, t], taken.continues)
        state = taken.state
    assert ((futures.continues > 0) & (futures.continues < 1)).all()


def test_chance_is_the_same_for_all_candidates() -> None:
    ours = model()
    actions = torch.rand(1, 4, 1, generator=generator(2)).repeat(6, 1, 1)
    actions[3:] += 1.0
    state = ours.start(np.linspace(-1, 1, ours.features), 6)
    features = ours.rollout(state, actions, generator(3)).observations
    assert features.shape == (6, 1, 5, ours.features)
    torch.testing.assert_close(features[:3], features[:1].expand(3, -1, -1, -1))
    alone = ours.start(np.linspace(-1, 1, ours.features), 1)
    for each in (0, 5):
        one = ours.rollout(alone, actions[each : each + 1], generator(3)).observations
        torch.testing.assert_close(features[each : each + 1], one)
    assert not torch.allclose(features[3:], features[:3])
    other = ours.rollout(state, actions, generator(4)).observations
    assert not torch.allclose(other, features)


def test_a_start_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sensed: expected features of shape \(48,\), got \(2,\)"):
        model().start(np.zeros(2), 3)


def reached(loss: torch.Tensor, ours: RSSM) -> set[str]:
    """The parts of the model that a gradient reaches."""
    ours.zero_grad()
    loss.backward()
    parts = ("senses", "embed_in", "posterior_out", "prior", "core")
    return {
        part
        for part in parts
        if any(p.grad is not None and p.grad.any() for p in ours.get_submodule(part).parameters())
    }


@pytest.mark.parametrize("config", VERSIONS.values(), ids=VERSIONS)
def test_each_divergence_trains_its_own_side(config: RSSMConfig) -> None:
    """Of a first observation, before which there was no other posterior."""
    ours, seen = model(config), sequences(length=1)
    _, posterior, prior = ours.observe(seen, generator())
    dynamics, _ = divergences(posterior, prior, replace(SMALL, free_nats=0.0))
    torch.testing.assert_close(dynamics, posterior.kl(prior))
    assert reached(dynamics.sum(), ours) == {"prior", "core"}
    _, posterior, prior = ours.observe(seen, generator())
    _, representation = divergences(posterior, prior, replace(SMALL, free_nats=0.0))
    assert reached(representation.sum(), ours) == {"senses", "embed_in", "posterior_out", "core"}


def test_free_nats_are_free() -> None:
    ours = model()
    _, posterior, prior = ours.observe(sequences(), generator())
    least, most = posterior.kl(prior).min().item(), posterior.kl(prior).max().item()
    dynamics, representation = divergences(posterior, prior, replace(SMALL, free_nats=most + 1.0))
    assert (dynamics == most + 1.0).all() and (representation == most + 1.0).all()
    assert reached((dynamics + representation).sum(), ours) == set()
    between = replace(SMALL, free_nats=(least + most) / 2)
    dynamics, _ = divergences(posterior, prior, between)
    assert (dynamics >= (least + most) / 2).all() and dynamics.max().item() == pytest.approx(most)


def test_free_nats_of_the_mean_bind_no_state() -> None:
    """As in Dreamer v1: a state below them counts as it is where the mean lies above."""
    ours = model()
    _, posterior, prior = ours.observe(sequences(), generator())
    mean = posterior.kl(prior).mean()
    low, high = (replace(SMALL, free="mean", free_nats=k * mean.item()) for k in (0.9, 1.1))
    for of_mean, expected in ((low, mean), (high, torch.tensor(high.free_nats))):
        for divergence in divergences(posterior, prior, of_mean):
            torch.testing.assert_close(divergence, expected)


@pytest.mark.parametrize("config", VERSIONS.values(), ids=VERSIONS)
def test_gradients_flow_back_through_time_but_not_into_another_episode(config: RSSMConfig) -> None:
    ours, seen = model(config), sequences(rows=2, length=6)
    assert seen.vector is not None
    vector = seen.vector.clone().requires_grad_()
    states, _, _ = ours.observe(replace(seen, vector=vector), generator())
    ours.reward.network[-1].weight.data.normal_(generator=generator(5))  # it says 0 at first
    ours.reward(states.features[:, -1]).sum().backward()
    assert vector.grad is not None
    flows = vector.grad.abs().sum(dim=-1) > 0
    assert flows[0].all()
    assert flows[1].tolist() == [False, False, False, True, True, True]


def test_same_seed_same_bits() -> None:
    def trained(seed: int) -> dict[str, torch.Tensor]:
        ours, rng = model(seed=seed), generator(seed)
        optimizer = torch.optim.Adam(ours.parameters(), lr=1e-3)
        for _ in range(2):
            loss, _, _ = model_loss(ours, sequences(), rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return ours.state_dict()

    one, same, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_truncation_is_no_part_of_what_is_learned() -> None:
    ours, seen = model(), sequences()
    yes = torch.ones_like(seen.truncated)

    def loss(which: Sequences) -> float:
        return model_loss(ours, which, generator())[0].item()

    assert loss(replace(seen, truncated=yes)) == loss(seen)
    _, _, metrics = model_loss(ours, replace(seen, terminated=yes), generator())
    assert metrics["model/continue"] == pytest.approx(np.log(2))


MATRIX, PUSH = np.array([[1.0, 0.2], [-0.2, 0.9]]), np.array([0.0, 0.3])


def parts(seen: Sequences, which: Any) -> Sequences:
    """Some rows or steps of sequences without frames."""
    names = ("vector", "action", "reward", "is_first", "terminated", "truncated")
    return Sequences(None, *(getattr(seen, name)[which] for name in names))


def experience(episodes: int, length: int, seed: int) -> SequenceReplay:
    """A spring with friction that is pushed at random; the reward is its position."""
    rng, replay = np.random.default_rng(seed), SequenceReplay(1, vector_dim=2, capacity=10_000)
    for _ in range(episodes):
        x = rng.normal(size=2)
        for step in range(length):
            u = rng.uniform(-2, 2, 1)
            after = MATRIX @ x + PUSH * u
            replay.add(Experience(x, u, after[0], after, False, step == length - 1))
            x = after
    return replay


def test_a_linear_system_is_predicted() -> None:
    """Eight steps ahead, open loop: the mean of ten futures is off by a tenth of the variance."""
    config = replace(VERSIONS["v1"], decoder_scale=50.0, free_nats=1.0)
    ours, replay, rng = model(config), experience(40, 24, 0), generator()
    optimizer = torch.optim.Adam(ours.parameters(), lr=4e-3)
    for _ in range(150):
        loss, _, _ = model_loss(ours, replay.sample(16, 10, rng), rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ours.parameters(), 100.0)
        optimizer.step()
    truth = experience(60, 12, 1).sample(200, 13, rng)
    starts = truth.is_first[:, 1:].any(dim=1).logical_not()  # that lie in one episode
    truth = parts(truth, starts)
    assert truth.vector is not None
    with torch.no_grad():
        states, _, _ = ours.observe(parts(truth, (slice(None), slice(5))), rng)
        state = RSSMState(states.deter[:, -1], states.stoch[:, -1])
        futures = [ours.rollout(state, truth.action[:, 5:], rng) for _ in range(10)]
        drawn = [ours.senses.decode(each.observations[:, 0, 1:])[1] for each in futures]
        vector = torch.stack([each for each in drawn if each is not None]).mean(dim=0)
        reward = torch.stack([each.rewards[:, 0] for each in futures]).mean(dim=0)
    wrong = ((vector - truth.vector[:, 5:]) ** 2).mean(dim=(0, 2))
    assert (wrong < 0.1 * truth.vector.var()).all()
    missed = ((reward - truth.reward[:, 5:]) ** 2).mean()
    assert missed < 0.1 * truth.reward.var()


def test_a_planner_acts_on_what_a_filter_believes() -> None:
    """PlaNet: observations make a belief, in which CEM plans; the same seed acts the same."""
    ours, spec = model(), EnvSpec(2, *BOUNDS, dt=0.1, max_episode_steps=None)
    cem = make_optimizer(
        spline_for(spec, 0.4), CEMConfig(num_samples=20, num_elites=4, iterations=2)
    )
    controller = FilteredController(LatentFilter(ours), MPC(ours, cem))
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(4, 2))

    def acted(seed: int) -> list[float]:
        controller.reset(seed)
        return [float(controller.act(each)[0]) for each in observations]

    one, same, other = acted(1), acted(1), acted(2)
    assert one == same != other
    assert all(-2 <= action <= 2 for action in one)
    assert controller.plan is not None and controller.observes == "observation"


def test_a_filter_is_the_model_observing() -> None:
    """Step by step with the action between, as over the whole sequence with Gaussian means."""
    ours = model(replace(VERSIONS["v1"], latent=GaussianConfig(6, min_std=1e-6)))
    with torch.no_grad():
        last = ours.posterior_out[1]
        last.bias[6:] -= 30.0  # next to no spread, so that nothing random matters
        last.weight[6:] = 0.0
    seen, belief = sequences(rows=1), LatentFilter(ours)
    assert seen.vector is not None
    for t in range(5):
        action = None if t == 0 else seen.action[0, t].numpy()
        features = belief.update(seen.vector[0, t].numpy(), action)
    expected = ours.observe(seen, generator())[0].features[0, -1]
    np.testing.assert_allclose(features, expected.detach().numpy(), atol=1e-4)


def test_what_is_decoded_is_a_fair_share_of_all() -> None:
    """Of 12 steps 3 are decoded: over many draws, the mean loss is that of decoding all."""
    ours, seen = model(VERSIONS["v1"]), sequences(length=12)

    def decoded(share: float, seed: int) -> float:
        ours.config = replace(ours.config, explained=share)
        rng = generator(0)
        states, _, _ = ours.observe(seen, rng)
        loss = _unexplained(ours, states.features, seen, generator(seed))["vector"]
        return loss.mean().item()

    whole = decoded(1.0, 0)
    parts = [decoded(0.25, seed) for seed in range(40)]
    assert len(set(parts)) > 30
    assert np.mean(parts) == pytest.approx(whole, rel=3 * np.std(parts) / whole / np.sqrt(40))


def test_filters_go_on_to_the_bit() -> None:
    ours, seen = model(), sequences(rows=1).vector
    assert seen is not None
    observations = seen[0].numpy()

    def updated(filters: LatentFilters, t: int) -> np.ndarray:
        return filters.update([0, 1], [observations[t], observations[4 - t]], 2 * [np.ones(1)])

    one, other = LatentFilters(ours, 2), LatentFilters(ours, 2)
    one.begin(0, 3)
    for t in range(3):
        updated(one, t)
    other.load_state_dict(one.state_dict())
    for t in range(3, 5):
        np.testing.assert_array_equal(updated(one, t), updated(other, t))
    fresh = LatentFilters(ours, 2)
    other.load_state_dict(fresh.state_dict())
    np.testing.assert_array_equal(updated(fresh, 0), updated(other, 0))


def test_frames_and_vectors_are_seen_and_explained_together() -> None:
    ours = RSSM(BOUNDS, SMALL, generator(), frame_shape=(16, 16, 3), vector_entries=range(2))
    rng = generator(4)
    assert ours.senses.frame is not None and ours.senses.vector is not None
    for last in (ours.senses.frame.decoder.layers[-1], ours.senses.vector.decoder[-1]):
        torch.nn.init.normal_(last.weight, std=0.01, generator=rng)  # they say the mean at first
    frame = torch.randint(256, (3, 5, 16, 16, 3), generator=rng).to(torch.uint8)
    seen = replace(sequences(), frame=frame)
    loss, states, metrics = model_loss(ours, seen, rng)
    assert metrics.keys() >= {"model/frame", "model/vector", "model/reward", "model/continue"}
    drawn, vector = ours.senses.decode(states.features)
    assert drawn is not None and vector is not None
    assert (drawn.shape, vector.shape) == ((3, 5, 16, 16, 3), (3, 5, 2))
    expected = ((drawn - frame / 255.0) ** 2).sum(dim=(2, 3, 4)).mean().item()
    assert metrics["model/frame"] == pytest.approx(expected, rel=1e-4)
    loss.backward()
    for part in (ours.senses.frame.encoder, ours.senses.vector.encoder):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())
    belief = LatentFilter(ours)
    both = {"frame": frame[0, 0].numpy(), "vector": np.zeros(2)}
    assert belief.update(both, None).shape == (ours.features,)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 1.0), ("1m", 1.0), ("12m", 12.0)])
def test_sizes_are_what_they_are_called(size: str, millions: float) -> None:
    """Of a model of frames, to which policy and critic come."""
    ours = RSSM(BOUNDS, SIZES[size], generator(), frame_shape=(64, 64, 3))
    count = sum(p.numel() for p in ours.parameters()) / 1e6
    assert 0.5 * millions < count < 1.1 * millions


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"deter": 0}, "deter: expected at least 1"),
        ({"deter": 32, "blocks": 5}, "deter: expected a multiple of 5 blocks, got 32"),
        ({"free_nats": -1.0}, "free_nats: expected at least 0"),
        ({"explained": 0.0}, r"explained: expected a share in \(0, 1\]"),
    ],
)
def test_settings_that_make_no_sense(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **setting)  # type: ignore[arg-type]


def test_a_model_that_sees_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="frame_shape, vector_entries: expected at least one"):
        RSSM(BOUNDS, SMALL, generator())
