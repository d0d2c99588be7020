"""The recurrent state-space model: what it foresees and forgets, and where gradients stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.dynamics.rssms import BOUNDS, SMALL, VERSIONS, generator, model, sequences

from mpc_robot.dynamics.rssm import RSSM, RSSMConfig, RSSMState
from mpc_robot.dynamics.rssm_presets import SIZES


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
        ({"free_nats": -1.0}, "free_nats: expected finite, at least 0"),
        ({"free_nats": np.inf}, "free_nats: expected finite, at least 0, got inf"),
        ({"explained": 0.0}, r"explained: expected a share in \(0, 1\]"),
    ],
)
def test_settings_that_make_no_sense(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **setting)  # type: ignore[arg-type]


def test_a_model_that_sees_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="frame_shape, vector_dim: expected at least one"):
        RSSM(BOUNDS, SMALL, generator())


def test_actions_are_seen_as_shares_of_their_range() -> None:
    """Three quarters of the way from 0 to 1 is half of the way from the middle of -1 and 1."""
    pedal, wheel = (
        RSSM((low * np.ones(1), np.ones(1)), SMALL, generator(), vector_dim=2)
        for low in (0.0, -1.0)
    )
    ours, same, other = (
        world.imagine(world.initial(1), torch.tensor([[action]]), generator(1)).deter
        for world, action in ((pedal, 0.75), (wheel, 0.5), (wheel, 0.75))
    )
    assert torch.equal(ours, same) and not torch.allclose(ours, other)


def test_the_last_states_are_those_of_the_last_observations() -> None:
    states, _, _ = model().observe(sequences(), generator())
    last = states.last(2).flatten()
    torch.testing.assert_close(last.features, states.features[:, 3:].flatten(0, 1))
