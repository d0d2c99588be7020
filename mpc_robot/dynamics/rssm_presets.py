"""Sizes of recurrent state-space models, and what sets the versions of Dreamer apart in them."""

from __future__ import annotations

from dataclasses import replace

from mpc_robot.dynamics.rssm import RSSMConfig
from mpc_robot.nn.latents import CategoricalConfig, GaussianConfig
from mpc_robot.nn.senses import SensesConfig


def _published(deter: int, hidden: int, classes: int, depth: int) -> RSSMConfig:
    """The widths of a size of arXiv:2301.04104, table B.1, and channels per depth.

    There is a layer less than there before the prior and in the core, hence fewer weights.
    """
    channels = (2 * depth, 3 * depth, 4 * depth, 4 * depth)
    return RSSMConfig(
        latent=CategoricalConfig(32, classes),
        senses=SensesConfig(channels, (2, 2, 2, 2), units=hidden, layers=3),
        deter=deter,
        blocks=8,
        hidden=hidden,
        units=hidden,
    )


SIZES = {
    "tiny": RSSMConfig(),
    "1m": _published(512, 64, 4, 4),
    "12m": _published(2048, 256, 16, 16),
    "25m": _published(3072, 384, 24, 24),
    "50m": _published(4096, 512, 32, 32),
}
"""Name -> config of v3; ``tiny`` is made for two cores."""


def sized(config: RSSMConfig, size: RSSMConfig) -> RSSMConfig:
    """A model as ``config`` has it, but with the networks of another size."""
    latent = config.latent
    if isinstance(latent, CategoricalConfig) and isinstance(size.latent, CategoricalConfig):
        latent = replace(latent, variables=size.latent.variables, classes=size.latent.classes)
    return replace(
        config,
        latent=latent,
        senses=size.senses,
        deter=size.deter,
        blocks=size.blocks,
        hidden=size.hidden,
        units=size.units,
    )


def rssm_v1(size: RSSMConfig) -> RSSMConfig:
    """Dreamer v1 (arXiv:1912.01603): 30 Gaussian latents, one divergence, 3 free nats."""
    return replace(
        size,
        latent=GaussianConfig(),
        rewards="gaussian",
        decoder_scale=0.5,
        dynamics_scale=1.0,
        representation_scale=1.0,
        free_nats=3.0,
        free="mean",
    )


def rssm_v2(size: RSSMConfig) -> RSSMConfig:
    """Dreamer v2 (arXiv:2010.02193): categorical latents and KL balancing of 0.8.

    No nats are free, as in its settings for Atari; those for control leave 1.
    """
    latent = size.latent
    if isinstance(latent, CategoricalConfig):
        latent = replace(latent, unimix=0.0)
    return replace(
        size,
        latent=latent,
        rewards="gaussian",
        decoder_scale=0.5,
        dynamics_scale=0.8,
        representation_scale=0.2,
        free_nats=0.0,
        free="mean",
    )
