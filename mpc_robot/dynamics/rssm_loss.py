"""What a recurrent state-space model is trained on: explain what was seen, and foresee it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.rssm import RSSM, RSSMConfig, RSSMState
from mpc_robot.nn.latents import Latent


def divergences(posterior: Latent, prior: Latent, config: RSSMConfig) -> tuple[Tensor, Tensor]:
    """What trains the prior and what trains the posterior, nats ``[...]``, or ``[]`` of a mean.

    Both are ``KL(posterior || prior)``, but gradients flow into one side only: into the prior so
    that it foresees (dynamics), into the posterior so that it can be foreseen (representation).
    With weights 0.8 and 0.2 it is KL balancing (arXiv:2010.02193, algorithm 2); below
    ``free_nats`` no gradient flows (arXiv:2301.04104v2, eq. 3).
    """
    dynamics, representation = posterior.detach().kl(prior), posterior.kl(prior.detach())
    if config.free == "mean":
        dynamics, representation = dynamics.mean(), representation.mean()
    return dynamics.clamp(min=config.free_nats), representation.clamp(min=config.free_nats)


def model_loss(
    model: RSSM, seen: Sequences, rng: torch.Generator
) -> tuple[Tensor, RSSMState, dict[str, float]]:
    """The loss of sequences ``[B, T]``, the states that explain them, and metrics.

    Squared errors of what was seen, likelihoods of rewards and of going on, and divergences
    (arXiv:2301.04104v2, eq. 2 and 3). Truncation is no part of what is learned.
    """
    config = model.config
    states, posterior, prior = model.observe(seen, rng)
    features = states.features
    dynamics, representation = divergences(posterior, prior, config)
    losses = {
        **_unexplained(model, features, seen, rng),
        "reward": model.reward.loss(features, seen.reward),
        "continue": model.continues.loss(features, (~seen.terminated).float()),
        "dynamics": dynamics,
        "representation": representation,
    }
    weights = {
        "frame": config.decoder_scale,
        "vector": config.decoder_scale,
        "reward": config.reward_scale,
        "dynamics": config.dynamics_scale,
        "representation": config.representation_scale,
    }
    means = {name: loss.mean() for name, loss in losses.items()}
    total = sum(
        (weights.get(name, 1.0) * mean for name, mean in means.items()), features.new_zeros(())
    )
    return total, states, {f"model/{name}": mean.item() for name, mean in means.items()}


def _unexplained(
    model: RSSM, features: Tensor, seen: Sequences, rng: torch.Generator
) -> dict[str, Tensor]:
    """What the decoder leaves unexplained, of as many random steps as the config says."""
    length = features.shape[1]
    explained = math.ceil(model.config.explained * length)
    steps = torch.randperm(length, generator=rng)[:explained].to(model.device)
    frame = None if seen.frame is None else seen.frame[:, steps]
    vector = None if seen.vector is None else seen.vector[:, steps]
    return model.senses.losses(features[:, steps], frame, vector)
