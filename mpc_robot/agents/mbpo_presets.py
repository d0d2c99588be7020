"""Settings of MBPO that differ from one task to another, as published.

Source: arXiv:1906.08253, appendix C, and github.com/jannerm/mbpo, ``examples/config``. There the
target entropy is that of all action entries together, here it is per entry.
"""

from __future__ import annotations

from mpc_robot.agents.actor_critic import ActorCriticConfig
from mpc_robot.agents.mbpo import MBPOConfig
from mpc_robot.dynamics.ensemble import EnsembleConfig


def _entropy(total: float, actions: int) -> ActorCriticConfig:
    """SAC's networks with a target entropy, given for all action entries together."""
    return ActorCriticConfig(target_entropy=total / actions)


PRESETS = {
    "InvertedPendulum-v5": MBPOConfig(_entropy(-0.05, 1), updates_per_step=10, warmup_steps=500),
    "InvertedDoublePendulum-v5": MBPOConfig(_entropy(-0.5, 1), warmup_steps=500),
    "Hopper-v5": MBPOConfig(_entropy(-1.0, 3), rollout_lengths=(1, 15)),
    "Walker2d-v5": MBPOConfig(_entropy(-3.0, 6)),
    "HalfCheetah-v5": MBPOConfig(_entropy(-3.0, 6), updates_per_step=40),
    "Ant-v5": MBPOConfig(
        _entropy(-4.0, 8), rollout_lengths=(1, 25), rollout_growth=(20_000, 100_000)
    ),
    "Humanoid-v5": MBPOConfig(
        _entropy(-2.0, 17),
        EnsembleConfig(members=7, elites=5, hidden=400, layers=4, propagation="ts1"),
        fit_every=1_000,
        fits_kept=5,
        rollout_lengths=(1, 25),
        rollout_growth=(20_000, 300_000),
    ),
    # Not in the paper, and as short as its pendulums.
    **dict.fromkeys(
        ("CartpoleBalance-v0", "CartpoleSwingup-v0", "Reacher-v5", "ReacherTwoLink-v0"),
        MBPOConfig(warmup_steps=500),
    ),
}


def mbpo_preset(task: str) -> MBPOConfig:
    """The settings for a task's name."""
    return PRESETS.get(task, MBPOConfig())
