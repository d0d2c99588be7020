"""What an Adam remembers, for checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What an Adam remembers of each parameter, with string keys."""
    return {str(key): dict(value) for key, value in optimizer.state_dict()["state"].items()}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an Adam back what :func:`optimizer_state` returned."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    whole = optimizer.state_dict()
    whole["state"] = {
        int(key): {name: _laid_out(value, parameters[int(key)]) for name, value in kept.items()}
        for key, kept in state.items()
    }
    optimizer.load_state_dict(whole)


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """A copy in the memory order of a parameter of that shape, which fused Adam takes for given."""
    if value.shape != parameter.shape:
        return value.clone()
    return torch.empty_like(parameter, requires_grad=False).copy_(value)
