"""Settings of MuZero that differ from one task to another."""

from __future__ import annotations

from mpc_robot.agents.muzero import MuZeroConfig
from mpc_robot.controllers.tree_rules import GumbelConfig
from mpc_robot.dynamics.muzero import MuZeroModelConfig

PRESETS = {
    "CartPole-v1": MuZeroConfig(
        model=MuZeroModelConfig(latent=32, hidden=64, support=20.0, bins=41),
        gumbel=GumbelConfig(least_range=2.0),
        discount=0.99,
        n_step=10,
        entropy_weight=0.0,
        warmup_steps=500,
    ),
    "InvertedPendulum-v5": MuZeroConfig(
        model=MuZeroModelConfig(latent=32, hidden=64, support=20.0, bins=41),
        gumbel=GumbelConfig(considered=8, least_range=1.0),
        simulations=32,
        simulations_of_controller=32,
        discount=0.99,
        n_step=10,
        warmup_steps=500,
    ),
    "Pendulum-v1": MuZeroConfig(
        model=MuZeroModelConfig(latent=32, hidden=64),
        gumbel=GumbelConfig(least_range=3.0),
        discount=0.98,
    ),
    "tic_tac_toe": MuZeroConfig(
        model=MuZeroModelConfig(support=0.4152, bins=21),
        gumbel=GumbelConfig(value_scale=0.1, least_range=2.0),
        simulations=32,
        simulations_of_controller=64,
        updates_per_step=0.125,
        discount=1.0,
        unroll=9,
        n_step=9,
        value_weight=1.0,
        entropy_weight=0.0,
        warmup_steps=2_000,
        priority_exponent=0.0,
        capacity=30_000,
        opening_moves=6,
        sides=(2, 1),
    ),
}
"""By name of the task: what is worth little needs few bins, and short episodes little warm-up.

Differences between actions that are small beside a step's reward stay small in a search. Games are
followed to their end, without discount, and values are scaled from loss to win, which are 0.4152 on
the transformed scale. A learned model errs: were values to count in it as much as by the rules of a
game (``value_scale`` 1), searches would be worse than the policy that they begin with.
"""


def muzero_preset(task: str) -> MuZeroConfig:
    """The settings for a task's name."""
    return PRESETS.get(task, MuZeroConfig())
