"""Settings of AlphaZero by game."""

from __future__ import annotations

from mpc_robot.agents.alphazero import AlphaZeroConfig
from mpc_robot.nn.policy_value import PolicyValueConfig

TIC_TAC_TOE = AlphaZeroConfig(
    net=PolicyValueConfig(blocks=2, channels=32, value_units=32),
    games=64,
    simulations=24,
    opening_moves=6,
    sides=(2, 1),
    symmetry="dihedral",
    capacity=30_000,
    reuse=16.0,
    first_update=1_000,
)
CONNECT_FOUR = AlphaZeroConfig(opening_moves=6, sides=(0, 1), symmetry="mirror", capacity=200_000)
GO_5X5 = AlphaZeroConfig(
    discount=0.98, opening_moves=8, sides=(0, 1), symmetry="dihedral", capacity=200_000, reuse=8.0
)

PRESETS = {
    "tic_tac_toe": TIC_TAC_TOE,
    "connect_four": CONNECT_FOUR,
    "go(board_size=5)": GO_5X5,
}
"""OpenSpiel's name of a game -> settings; games begin so differently that both sides win some."""


def alphazero_preset(task: str) -> AlphaZeroConfig:
    """The settings for a task's name."""
    return PRESETS.get(task, AlphaZeroConfig())
