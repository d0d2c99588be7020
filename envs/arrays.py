"""Write a formula once for NumPy and torch: rewards run on the robot and inside a planner."""

from __future__ import annotations

from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

Array = TypeVar("Array", npt.NDArray[Any], torch.Tensor)
"""Floats, or the booleans that a comparison of them makes."""


def namespace(array: npt.NDArray[Any] | torch.Tensor) -> ModuleType:
    """The module whose ``sin``, ``where``, ``clip`` … work on ``array``: numpy or torch."""
    return torch if isinstance(array, torch.Tensor) else np


def like(values: npt.ArrayLike, array: Array) -> Array:
    """``values`` as an array of the kind, type and device of ``array``."""
    if isinstance(array, torch.Tensor):
        return torch.as_tensor(np.asarray(values), dtype=array.dtype, device=array.device)
    return np.asarray(values, dtype=array.dtype)


def norm(vector: Array) -> Array:
    """Euclidean length over the last axis, ``[..., n] -> [...]``; its gradient at 0 is 0."""
    if isinstance(vector, torch.Tensor):
        return torch.linalg.vector_norm(vector, dim=-1)  # type: ignore[no-any-return]
    return np.sqrt((vector**2).sum(-1))  # type: ignore[no-any-return]
