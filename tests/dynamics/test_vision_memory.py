"""V and M as one world model: what it explains, imagines and shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpc_robot.dynamics.mdn_rnn import MDNRNN, MDNRNNConfig
from mpc_robot.dynamics.mdn_rnn_filter import MemoryFilter
from mpc_robot.dynamics.vision_memory import VisionMemory
from mpc_robot.nn.vae import VAE, VAEConfig
from mpc_robot.training.evaluation import Episode
from mpc_robot.training.trust_dream import dream_errors, explain, sequence_of

SHAPE = (8, 8, 3)
BOUNDS = np.array([-2.0]), np.array([2.0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def world() -> VisionMemory:
    vae = VAE(SHAPE, VAEConfig(latents=2, channels=(4,), strides=(4,), units=8), generator(1))
    vae.scale.fit(torch.randint(0, 256, (50, *SHAPE), generator=generator(2), dtype=torch.uint8))
    model = MDNRNN(BOUNDS, 2, MDNRNNConfig(hidden=5, mixtures=2, units=4), generator(3))
    rng = generator(5)
    with torch.no_grad():  # heads begin at zero
        for weight in (*vae.parameters(), *model.parameters()):
            weight.add_(torch.randn(weight.shape, generator=rng), alpha=0.2)
    return VisionMemory(vae, model)


def episode(steps: int = 9) -> Episode:
    rng = np.random.default_rng(4)
    frames = rng.integers(0, 256, (steps + 1, *SHAPE)).astype(np.uint8)
    actions, rewards = rng.uniform(-2.0, 2.0, (steps, 1)), rng.normal(size=steps)
    return Episode(frames, actions, rewards, terminated=False, truncated=True)


def test_it_explains_an_episode_as_a_controller_lives_it() -> None:
    ours, real = world(), episode()
    belief = MemoryFilter(ours.vae, ours.model)
    lived = [belief.update(real.observations[0], None)]
    for frame, action in zip(real.observations[1:], real.actions, strict=True):
        lived.append(belief.update(frame, action))
    whole = explain(ours, real, generator())
    np.testing.assert_allclose(whole.states.whole, np.stack(lived), atol=1e-5)
    torch.testing.assert_close(whole.truth, torch.as_tensor(real.observations / 255.0).float())
    features = torch.as_tensor(np.stack(lived)[:, :7]).float()
    torch.testing.assert_close(whole.reward, ours.model.reward(features), atol=1e-4, rtol=1e-4)


def test_what_it_shows_is_what_the_autoencoder_draws() -> None:
    """By pixel: the drawn one in units of its standard deviation, from its mean, in shades."""
    ours = world()
    whole = explain(ours, episode(), generator())
    drawn = ours.vae.decode(whole.states.latent)
    shades = (ours.vae.scale.mean + drawn * ours.vae.scale.std) / 255.0
    assert whole.shown.shape == (10, *SHAPE)
    torch.testing.assert_close(whole.shown, shades.clamp(0.0, 1.0), atol=1e-5, rtol=0.0)


def test_what_it_imagines_is_drawn_from_what_memory_foresees() -> None:
    """Its share of draws below the middle of each latent is that of the mixture, by its own law."""
    ours = world()
    states = explain(ours, episode(), generator()).states
    seen = sequence_of(episode())
    with torch.no_grad():
        foreseen = ours.model.observe(states.latent[None], seen)[1]
        start = type(states)(*(part[3].expand(20_000, -1) for part in vars(states).values()))
        action = seen.action[0, 4].expand(20_000, -1)
        drawn = ours.imagine(start, action, generator(7)).latent
    weights = foreseen.logits[0, 3].softmax(dim=-1)
    means, stds = foreseen.mean[0, 3], foreseen.log_std[0, 3].exp()
    middle = (weights * means).sum(dim=-1)
    below = torch.distributions.Normal(means, stds).cdf(middle[:, None])
    expected = (weights * below).sum(dim=-1)
    share = (drawn < middle).float().mean(dim=0)
    torch.testing.assert_close(share, expected, atol=0.015, rtol=0.0)


def test_same_seed_same_errors_and_vectors_are_refused() -> None:
    ours = world()
    first, again, other = (
        dream_errors(ours, [episode()], generator(seed), ahead=3).imagined for seed in (0, 0, 1)
    )
    assert (first == again).all() and (first != other).any()
    real = episode()
    blind = Episode(real.observations[:, 0, 0] / 255.0, real.actions, real.rewards, False, True)
    with pytest.raises(RuntimeError, match="expected frames, got none"):
        explain(ours, blind, generator())
