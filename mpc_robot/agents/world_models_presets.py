"""Settings of World Models that a laptop can pay for, by task."""

from __future__ import annotations

from mpc_robot.agents.world_models import WorldModelsConfig
from mpc_robot.dynamics.mdn_rnn import MDNRNNConfig
from mpc_robot.envs.pixels import split_view
from mpc_robot.nn.vae import VAEConfig

_CARTPOLE = WorldModelsConfig(
    vae=VAEConfig(latents=16, channels=(16, 32, 32), frame_scale=0.75),
    memory=MDNRNNConfig(hidden=128, mixtures=3),
    rounds=2,
    collect_steps=8_000,
    hold=5,
    updates_per_step=20,
    vae_updates=6_000,
    vae_batch=32,
    memory_updates=6_000,
    memory_batch=24,
    generations=100,
    population=32,
    rollouts=8,
)
_CAR_RACING = WorldModelsConfig(
    vae=VAEConfig(frame_scale=0.75),
    memory=MDNRNNConfig(hidden=128),
    rounds=12,
    collect_steps=2_950,
    updates_per_step=20,
    vae_updates=1_500,
    vae_rate=5e-4,
    memory_updates=3_000,
    generations=60,
    population=32,
    begin_within=100,
    dream_steps=60,
)

PRESETS = {
    "CartpoleBalance-v0": _CARTPOLE,
    "CartpoleSwingup-v0": _CARTPOLE,
    "CarRacing-v3": _CAR_RACING,
}


def world_models_preset(task: str) -> WorldModelsConfig:
    """The settings for a task's name, however its frames are stacked and its actions held."""
    return PRESETS.get(split_view(task)[0], WorldModelsConfig())
