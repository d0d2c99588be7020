"""The mixture density recurrent network: what it remembers, foresees, imagines, and learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributions, nn
from torch.nn.utils import skip_init

from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.mdn_rnn import MDNRNN, MDNRNNConfig, MDNRNNState, memory_loss
from mpc_robot.dynamics.mdn_rnn_filter import MemoryFilter
from mpc_robot.nn.vae import VAE, VAEConfig

BOUNDS = np.array([-2.0, 0.0]), np.array([2.0, 1.0])
SMALL = MDNRNNConfig(hidden=8, mixtures=3, units=8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(config: MDNRNNConfig = SMALL, latents: int = 4) -> MDNRNN:
    return MDNRNN(BOUNDS, latents, config, generator())


def sequences(rows: int = 3, length: int = 6) -> tuple[torch.Tensor, Sequences]:
    """Random latents ``[B, T, 4]``, and what led to them; the second row starts anew at 3."""
    rng, no = generator(1), torch.zeros(rows, length, dtype=torch.bool)
    first, ended = no.clone(), no.clone()
    first[:, 0] = first[1:2, 3] = ended[1:2, 2] = True
    latents = torch.randn(rows, length, 4, generator=rng)
    action = torch.rand(rows, length, 2, generator=rng)
    reward = torch.randn(rows, length, generator=rng)
    return latents, Sequences(None, None, action, reward, first, ended, no)


def test_the_memory_is_an_lstm_of_latent_and_scaled_action() -> None:
    """torch's own cell with the same weights, whose forget gates are opened by 1."""
    ours, (latents, seen) = model(), sequences(rows=1)
    cell: nn.LSTMCell = skip_init(nn.LSTMCell, 6, 8)
    states, _ = ours.observe(latents, seen)
    hidden = torch.zeros(1, 8), torch.zeros(1, 8)
    with torch.no_grad():
        cell.weight_ih.copy_(ours.input.weight)
        cell.weight_hh.copy_(ours.own.weight)
        cell.bias_ih.copy_(ours.input.bias)
        cell.bias_hh.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(8))
        for t in range(1, 6):
            scaled = seen.action[:, t] * torch.tensor([0.5, 2.0]) - torch.tensor([0.0, 1.0])
            hidden = cell(torch.cat([latents[:, t - 1], scaled], dim=-1), hidden)
            torch.testing.assert_close(states.hidden[:, t], hidden[0])
            torch.testing.assert_close(states.cell[:, t], hidden[1])


def test_sequences_are_observed_as_they_are_remembered_step_by_step() -> None:
    ours, (latents, seen) = model(), sequences()
    states, _ = ours.observe(latents, seen)
    state = ours.begin(latents[:, 0])
    for t in range(1, 6):
        state = ours.remember(state, seen.action[:, t], latents[:, t])
        fresh = ours.begin(latents[:, t])
        first = seen.is_first[:, t, None]
        hidden = torch.where(first, fresh.hidden, state.hidden)
        state = MDNRNNState(latents[:, t], hidden, torch.where(first, fresh.cell, state.cell))
        torch.testing.assert_close(states.whole[:, t], state.whole)


def test_nothing_of_an_episode_reaches_the_next_nor_is_it_learned_from() -> None:
    """Another first half of the second row changes what is said of that half alone."""
    ours, (latents, seen) = model(), sequences()
    other, action = latents.clone(), seen.action.clone()
    other[1, :3] += 1.0
    action[1, :4] += 1.0  # also the one before the first latent, at 3
    changed = Sequences(
        None, None, action, seen.reward, seen.is_first, seen.terminated, seen.truncated
    )
    one, two = ours.observe(latents, seen)[0], ours.observe(other, changed)[0]
    assert torch.equal(one.whole[1, 3:], two.whole[1, 3:])
    assert not torch.equal(one.whole[1, :3], two.whole[1, :3])
    elsewhere = seen.reward.clone()
    elsewhere[1, 3] += 9.0  # of the first latent of an episode
    elsewhere[:, 0] += 9.0
    same = Sequences(
        None, None, seen.action, elsewhere, *(seen.is_first, seen.terminated, seen.truncated)
    )
    assert memory_loss(ours, latents, seen)[1] == memory_loss(ours, latents, same)[1]


def test_the_loss_is_the_likelihood_of_what_followed() -> None:
    """Mixtures by torch.distributions, going on by a coin, over all but the first latents."""
    ours, (latents, seen) = model(), sequences()
    states, foreseen = ours.observe(latents, seen)
    _, metrics = memory_loss(ours, latents, seen)
    followed = ~seen.is_first[:, 1:]
    parts = distributions.Normal(foreseen.mean, foreseen.log_std.exp())
    mixed = distributions.MixtureSameFamily(
        distributions.Categorical(logits=foreseen.logits), parts
    )
    nll = -mixed.log_prob(latents[:, 1:]).sum(dim=-1)[followed].mean()
    coin = distributions.Bernoulli(probs=ours.continues(states.features[:, 1:]))
    goes_on = -coin.log_prob((~seen.terminated[:, 1:]).float())[followed].mean()
    assert metrics["memory/latent"] == pytest.approx(nll.item(), rel=1e-5)
    assert metrics["memory/continue"] == pytest.approx(goes_on.item(), rel=1e-4)


def test_what_is_imagined_is_drawn_from_what_is_foreseen_and_follows_from_the_seed() -> None:
    ours, (latents, seen) = model(), sequences()
    states, foreseen = ours.observe(latents, seen)
    before = MDNRNNState(latents[:, 1], states.hidden[:, 1], states.cell[:, 1])
    after = ours.step(before, seen.action[:, 2], generator(7))
    noise = ours.noise(3, generator(7))
    torch.testing.assert_close(after.state.hidden, states.hidden[:, 2])
    drawn = foreseen.sample(
        *(torch.zeros(3, 5, 4).index_copy(1, torch.tensor([1]), n[:, None]) for n in noise)
    )
    torch.testing.assert_close(after.state.latent, drawn[:, 1])
    torch.testing.assert_close(after.reward, ours.reward(after.state.features))
    assert ((after.continues > 0) & (after.continues < 1)).all()


def test_a_hot_dream_is_drawn_from_a_wider_mixture() -> None:
    """Components are likelier alike by 2, and their variances are twice as large."""
    ours = model(replace(SMALL, temperature=2.0))
    state, action = ours.begin(torch.randn(50, 4, generator=generator(2))), torch.ones(50, 2)
    uniform, normal = ours.noise(50, generator(3))
    foreseen = ours._foreseen(ours.remember(state, action, state.latent).hidden)
    latent = ours.imagine(state, action, (uniform, normal)).state.latent
    torch.testing.assert_close(latent, foreseen.sample(uniform, normal, 2.0))
    assert not torch.allclose(latent, foreseen.sample(uniform, normal))


def test_a_rollout_is_its_steps() -> None:
    ours, rng = model(), generator(3)
    sensed = torch.randn(20, generator=rng).double().numpy()
    actions = torch.rand(5, 4, 2, generator=rng)
    rolled = ours.rollout(ours.start(sensed, 5), actions, generator(4))
    state, again = ours.start(sensed, 5), generator(4)
    assert rolled.observations.shape == (5, 1, 5, 20)
    np.testing.assert_allclose(rolled.observations[2, 0, 0].detach().numpy(), sensed, rtol=1e-6)
    for t in range(4):
        after = ours.step(state, actions[:, t], again)
        state = after.state
        torch.testing.assert_close(rolled.observations[:, 0, t + 1], state.whole)
        torch.testing.assert_close(rolled.rewards[:, 0, t], after.reward)
        torch.testing.assert_close(rolled.continues[:, 0, t], after.continues)


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sensed: expected a state of shape \(20,\), got \(19,\)"):
        model().start(np.zeros(19), 2)


def test_it_learns_a_jump_that_nobody_can_foresee_but_by_its_two_ends() -> None:
    """A latent jumps to -1 or 1 by chance, and stays there: one Gaussian can not say so.

    The best likelihood is a coin once, and then certainty but for the noise of 0.1.
    """
    rng, config = generator(5), MDNRNNConfig(hidden=8, mixtures=2, units=4)
    ours = MDNRNN(BOUNDS, 1, config, generator())
    optimizer = torch.optim.Adam(ours.parameters(), lr=2e-2)
    no = torch.zeros(64, 3, dtype=torch.bool)
    first = no.clone()
    first[:, 0] = True
    seen = Sequences(None, None, torch.zeros(64, 3, 2), torch.zeros(64, 3), first, no, no)
    for _ in range(250):
        side = torch.randint(2, (64, 1, 1), generator=rng) * 2.0 - 1.0
        latents = side * torch.tensor([0.0, 1.0, 1.0])[:, None]
        latents = latents + 0.1 * torch.randn(64, 3, 1, generator=rng)
        loss, metrics = memory_loss(ours, latents, seen)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    noise = 0.5 + 0.5 * np.log(2 * np.pi) + np.log(0.1)  # entropy of the noise, nats
    assert metrics["memory/latent"] == pytest.approx(noise + 0.5 * np.log(2.0), abs=0.25)
    state = ours.begin(torch.zeros(400, 1))
    jumped = ours.step(state, torch.zeros(400, 2), generator(6)).state.latent[:, 0].detach()
    assert ((jumped.abs() - 1.0).abs() < 0.6).float().mean() > 0.95
    assert 0.35 < (jumped > 0).float().mean() < 0.65


def test_a_filter_remembers_as_the_model_observes() -> None:
    """Frame by frame, each by its likeliest latent; after a reset nothing is left."""
    vae = VAE((16, 16, 3), VAEConfig(latents=4, channels=(4,), strides=(4,)), generator())
    ours, rng = model(), generator(8)
    frames = torch.randint(256, (1, 4, 16, 16, 3), generator=rng).to(torch.uint8)
    _, seen = sequences(rows=1, length=4)
    states, _ = ours.observe(vae.encode(frames).mode(), seen)
    belief = MemoryFilter(vae, ours)
    for _ in range(2):
        for t in range(4):
            done = None if t == 0 else seen.action[0, t].double().numpy()
            whole = belief.update(frames[0, t].numpy(), done)
            torch.testing.assert_close(torch.from_numpy(whole).float(), states.whole[0, t])
        belief.reset(0)


@pytest.mark.parametrize(
    ("bad", "action", "told"),
    [
        (np.zeros((16, 16, 3)), 0.5, r"frame: expected bytes \(uint8\), got 'float64'"),
        (np.zeros((16, 16), np.uint8), 0.5, r"frame: expected shape \(16, 16, 3\)"),
        (np.zeros((16, 16, 3), np.uint8), np.nan, r"action\[0\]: expected a finite number"),
    ],
    ids=["floats", "size", "action"],
)
def test_a_frame_that_is_refused_leaves_no_trace(bad: np.ndarray, action: float, told: str) -> None:
    vae = VAE((16, 16, 3), VAEConfig(latents=4, channels=(4,), strides=(4,)), generator())
    one, other = MemoryFilter(vae, model()), MemoryFilter(vae, model())
    frame = np.full((16, 16, 3), 9, np.uint8)
    for each in (one, other):
        each.update(frame, None)
    with pytest.raises(ValueError, match=told):
        one.update(bad, np.full(2, action))
    following = (each.update(2 * frame, np.ones(2)) for each in (one, other))
    np.testing.assert_array_equal(*following)


@pytest.mark.parametrize(
    ("field", "value"), [("hidden", 0), ("mixtures", 0), ("units", -1), ("temperature", 0.0)]
)
def test_settings_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .* got {value}"):
        MDNRNNConfig(**{field: value})  # type: ignore[arg-type]
