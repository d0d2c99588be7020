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
