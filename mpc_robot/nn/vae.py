"""Variational autoencoder (arXiv:1312.6114) of frames: what a frame shows, in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mpc_robot.errors import require
from mpc_robot.nn.images import FrameDecoder, FrameEncoder, FrameNormalizer
from mpc_robot.nn.latents import Gaussian
from mpc_robot.nn.layers import MLP, NormedSiLU, linear


@dataclass(frozen=True)
class VAEConfig:
    """Shape and loss; values of World Models (arXiv:1803.10122, appendix A.1) in brackets.

    Attributes:
        latents: that a frame becomes, Z [32].
        channels: of each convolution [32, 64, 128, 256].
        strides: of each convolution, 2 or 4 [2 each].
        units: width of a layer between convolutions and latents, on either side: where a thing is
            and how it is turned must meet somewhere [1,024 in the decoder].
        tolerance: divergence per latent below which nothing is gained, nats [0.5].
        frame_scale: weight of squared errors of scaled frames; with more, smaller things are worth
            their nats [1, of shades from 0 to 1].
    """

    latents: int = 32
    channels: tuple[int, ...] = (16, 32, 64)
    strides: tuple[int, ...] = (4, 2, 2)
    units: int = 256
    tolerance: float = 0.5
    frame_scale: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        for name in ("latents", "units"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        pairs = len(self.channels) == len(self.strides)
        require(pairs, "strides", f"one per entry of channels {self.channels}", self.strides)
        sound = 0.0 <= self.tolerance < torch.inf
        require(sound, "tolerance", "finite, at least 0 nats", self.tolerance)
        require(0.0 < self.frame_scale < torch.inf, "frame_scale", "positive", self.frame_scale)


class VAE(nn.Module):
    """Frames ``[..., H, W, C]`` to latents ``[..., Z]`` and back."""

    def __init__(
        self, frame_shape: tuple[int, int, int], config: VAEConfig, rng: torch.Generator
    ) -> None:
        """One that knows nothing yet; raises ValueError if frames do not fit the convolutions."""
        super().__init__()
        self.config, layers = config, (config.channels, config.strides)
        self.scale = FrameNormalizer(frame_shape)
        self.encoder = FrameEncoder(frame_shape, *layers, rng)
        self.posterior = MLP((self.encoder.dim, config.units, 2 * config.latents), rng)
        self.decoder = nn.Sequential(
            linear(config.latents, config.units, rng),
            NormedSiLU(config.units),
            FrameDecoder(config.units, frame_shape, *layers, rng),
        )

    def encode(self, frame: Tensor) -> Gaussian:
        """What uint8 frames ``[..., H, W, C]`` may stand for: latents ``[..., Z]``."""
        mean, log_variance = self.posterior(self.encoder(self.scale(frame))).chunk(2, dim=-1)
        return Gaussian(mean, torch.exp(0.5 * log_variance))

    def decode(self, latent: Tensor) -> Tensor:
        """Frames ``[..., H, W, C]`` of latents, scaled."""
        drawn: Tensor = self.decoder(latent)
        return drawn


def divergence(posterior: Gaussian, tolerance: float) -> Tensor:
    """``KL(posterior || N(0, 1))`` of Z latents, but at least Z times ``tolerance``, ``[...]``."""
    prior = Gaussian(torch.zeros_like(posterior.mean), torch.ones_like(posterior.std))
    return posterior.kl(prior).clamp(min=tolerance * posterior.mean.shape[-1])


def vae_loss(vae: VAE, frame: Tensor, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    """The loss of frames ``[B, H, W, C]``, and metrics.

    Squared errors of scaled frames, summed over pixels, and the divergence from the prior
    (arXiv:1803.10122, appendix A.1).
    """
    posterior = vae.encode(frame)
    noise = torch.randn(posterior.mean.shape, generator=rng).to(posterior.mean.device)
    drawn = vae.decode(posterior.sample(noise))
    error = ((drawn - vae.scale(frame)) ** 2).flatten(-3).sum(dim=-1).mean()
    excess = divergence(posterior, vae.config.tolerance).mean()
    loss = vae.config.frame_scale * error + excess
    return loss, {"vae/frame": error.item(), "vae/divergence": excess.item()}
