"""Settings of double-horizon MBPO that differ from one task to another: none but the warm-up."""

from __future__ import annotations

from dataclasses import replace

from mpc_robot.agents.dhmbpo import DHMBPOConfig

_DEFAULT = DHMBPOConfig()

WARMUP_STEPS = {
    "CartpoleBalance-v0": 250,
    "CartpoleSwingup-v0": 250,
    "InvertedPendulum-v5": 250,
    "InvertedDoublePendulum-v5": 500,
    "Reacher-v5": 500,
    "ReacherTwoLink-v0": 250,
}
"""Random steps in tasks of which a few episodes tell nearly all."""


def dhmbpo_preset(task: str) -> DHMBPOConfig:
    """The settings for a task's name."""
    return replace(_DEFAULT, warmup_steps=WARMUP_STEPS.get(task, _DEFAULT.warmup_steps))
