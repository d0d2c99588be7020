"""The variational autoencoder: its divergence against torch.distributions, and what it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import distributions

from mpc_robot.nn.latents import Gaussian
from mpc_robot.nn.vae import VAE, VAEConfig, divergence, vae_loss

SHAPE = (16, 16, 3)
SMALL = VAEConfig(latents=3, channels=(8, 16), strides=(4, 2), units=16, frame_scale=2.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def squares() -> torch.Tensor:
    """A white square in each of four places on black."""
    seen = torch.zeros(4, *SHAPE, dtype=torch.uint8)
    for i in range(4):
        seen[i, 3 * i : 3 * i + 5, 12 - 3 * i : 16 - 3 * i] = 255
    return seen


def test_the_divergence_is_that_of_torch_distributions_above_the_tolerance() -> None:
    rng = generator()
    ours = Gaussian(torch.randn(5, 3, generator=rng), torch.rand(5, 3, generator=rng) + 0.1)
    theirs = distributions.kl_divergence(
        distributions.Normal(ours.mean, ours.std), distributions.Normal(0.0, 1.0)
    ).sum(dim=-1)
    torch.testing.assert_close(divergence(ours, 0.0), theirs)
    most = theirs.max().item() / 3
    torch.testing.assert_close(divergence(ours, most), torch.full((5,), 3 * most))


def test_within_the_tolerance_nothing_is_gained() -> None:
    mean = torch.tensor([[0.1, 0.1], [3.0, 0.0]], requires_grad=True)
    divergence(Gaussian(mean, torch.ones(2, 2)), tolerance=0.5).sum().backward()  # type: ignore[no-untyped-call]
    assert mean.grad is not None
    assert mean.grad.tolist() == [[0.0, 0.0], [3.0, 0.0]]  # of half the squared mean


def test_the_loss_is_what_is_drawn_wrongly_and_the_divergence() -> None:
    """Where latents have no spread, the frame drawn is known: that of their means."""
    vae, seen = VAE(SHAPE, SMALL, generator()), squares()
    with torch.no_grad():
        vae.posterior[-1].weight[3:] = 0.0
        vae.posterior[-1].bias[3:] = -40.0
        vae.decoder[-1].layers[-1].weight.normal_(generator=generator(2))
        vae.scale.fit(seen)
    mean = vae.encode(seen).mean
    error = (vae.decode(mean) - vae.scale(seen)).square().sum(dim=(1, 2, 3)).mean()
    loss, metrics = vae_loss(vae, seen, generator())
    assert metrics["vae/frame"] == pytest.approx(error.item(), rel=1e-4)
    # Of a variance e^-40, the divergence is half of 40 - 1 + mean², for each of three latents.
    expected = 0.5 * (39.0 * 3 + (mean**2).sum(dim=-1).mean().item())
    assert metrics["vae/divergence"] == pytest.approx(expected, rel=1e-4)
    total = 2.0 * metrics["vae/frame"] + metrics["vae/divergence"]
    assert loss.item() == pytest.approx(total, rel=1e-6)


def test_it_learns_what_tells_frames_apart() -> None:
    config = replace(SMALL, frame_scale=5.0)
    vae, seen, rng = VAE(SHAPE, config, generator()), squares(), generator(1)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
    for _ in range(200):
        loss, metrics = vae_loss(vae, seen.repeat(2, 1, 1, 1), rng)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    spread = (vae.scale(seen) - vae.scale(seen).mean(dim=0)).square().sum() / 4
    assert metrics["vae/frame"] < 0.4 * spread.item()
    assert metrics["vae/divergence"] < 15.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("latents", 0), ("units", 0), ("strides", (2,)), ("tolerance", -0.1), ("frame_scale", 0.0)],
)
def test_settings_that_make_no_sense(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .* got"):
        VAEConfig(**{field: value})  # type: ignore[arg-type]
