"""Where an agent's networks live: on the CPU, or on an accelerator if it gains by one."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from mpc_robot.agents.base import Agent

CPU = "cpu"


@runtime_checkable
class Movable(Protocol):
    """An agent that may live elsewhere than on the CPU; its checkpoints are the same everywhere."""

    def to(self, device: torch.device) -> None:
        """Live on a device; to be said before anything is seen, learned or loaded."""
        ...


def place(agent: Agent, device: str) -> None:
    """Have a new agent live on a device, named as torch does: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        ValueError: if torch can not use it here, or the agent knows the CPU only.
    """
    where = usable(device)
    if where.type == CPU:
        return
    if not isinstance(agent, Movable):
        name = type(agent).__name__
        raise ValueError(f"device: expected {CPU}, where {name} lives, got {device!r}")
    agent.to(where)


def usable(device: str) -> torch.device:
    """The device of that name; ValueError if torch knows none such or can not use it here."""
    try:
        there = torch.zeros((), device=device)
        there.item()
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device: expected one that torch can use here, such as {CPU}, got {device!r}: {reason}"
        ) from error
    return there.device
