"""A trained policy as a controller."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.controllers.base import Plan
from mpc_robot.controllers.mpc import checked
from mpc_robot.dynamics.base import Sensed


class PolicyController:
    """Does what a policy holds best, ``[1, D] -> [1, A]``, without exploring."""

    observes: Sensed = "observation"
    plan: Plan | None = None

    def __init__(self, mode: Callable[[Tensor], Tensor]) -> None:
        """``mode`` maps observations to actions within bounds, both float32."""
        self._mode = mode

    def reset(self, seed: int) -> None:
        """Nothing to forget, and nothing random."""

    @torch.no_grad()
    def act(self, sensed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The policy's action ``[A]`` for an observation ``[D]``.

        Raises:
            ValueError: if ``sensed`` is not a vector of finite numbers.
        """
        observation = torch.as_tensor(checked(sensed), dtype=torch.float32)
        return self._mode(observation[None])[0].numpy().astype(np.float64)
