"""Settings of World Models that a laptop can pay for, by task."""

from __future__ import annotations

from mpc_robot.agents.world_models import WorldModelsConfig
from mpc_robot.dynamics.mdn_rnn import MDNRNNConfig
from mpc_robot.envs.pixels import split_view
from mpc_robot.nn.vae import VAEConfig

_CARTPOLE = WorldModelsConfig(
    vae=VAEConfig(latents=16, channels=(16, 32, 32), frame_scale=0.75),
    memory=MDNRNNConfig(hidden=64, mixtures=3, temperature=1.0),
    collect_steps=8_000,
    hold=5,
    updates_per_step=8,
    vae_updates=12_000,
    vae_batch=32,
    memory_updates=6_000,
    memory_batch=16,
    memory_length=16,
    memory_rate=2e-3,
    generations=200,
    population=32,
    rollouts=8,
    dream_steps=100,
)
_CAR_RACING = WorldModelsConfig(
    vae=VAEConfig(frame_scale=0.75),
    memory=MDNRNNConfig(temperature=1.1),
    rounds=2,
    hold=5,
)

PRESETS = {
    "CartpoleBalance-v0": _CARTPOLE,
    "CartpoleSwingup-v0": _CARTPOLE,
    "CarRacing-v3": _CAR_RACING,
}


def world_models_preset(task: str) -> WorldModelsConfig:
    """The settings for a task's name, however its frames are stacked and its actions held."""
    return PRESETS.get(split_view(task)[0], WorldModelsConfig())
