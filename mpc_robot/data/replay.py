"""What was seen: a replay buffer of real experience that remembers episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Experience:
    """One real step, or a batch of them with a leading axis.

    Attributes:
        observation: ``[..., D]`` before the action; of pixels a frame ``[H, W, C]``.
        action: ``[..., A]`` as applied.
        reward: ``[...]``.
        next_observation: ``[..., D]``; at the end of an episode the true last observation.
        terminated: ``[...]`` bool, the task ended for good.
        truncated: ``[...]`` bool, the clock ran out; the future would have gone on.
    """

    observation: Floats
    action: Floats
    reward: Any
    next_observation: Floats
    terminated: Any
    truncated: Any


@dataclass(frozen=True)
class Batch:
    """B steps as a learner takes them, float32; truncation is no part of what is learned.

    Attributes:
        observation: ``[B, D]``.
        action: ``[B, A]``.
        reward: ``[B]``.
        next_observation: ``[B, D]``.
        continues: ``[B]``, 0 where the task ended for good.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    next_observation: Tensor
    continues: Tensor


class ReplayBuffer:
    """The last ``capacity`` real steps, oldest first; storage grows as needed, up to capacity."""

    _COLUMNS = ("observation", "action", "reward", "next_observation", "terminated", "truncated")

    def __init__(self, observation_dim: int, action_dim: int, capacity: int = 1_000_000) -> None:
        """Raises ValueError if ``capacity`` is not positive."""
        if capacity < 1:
            raise ValueError(f"capacity: expected at least 1, got {capacity}")
        self.capacity = capacity
        self._start = 0
        self._size = 0
        self._data = {
            "observation": np.empty((0, observation_dim)),
            "action": np.empty((0, action_dim)),
            "reward": np.empty(0),
            "next_observation": np.empty((0, observation_dim)),
            "terminated": np.empty(0, dtype=bool),
            "truncated": np.empty(0, dtype=bool),
        }

    def __len__(self) -> int:
        """Steps held."""
        return self._size

    def add(self, experience: Experience) -> None:
        """Append one step; beyond capacity the oldest is forgotten.

        Raises:
            ValueError: if a part of it has another shape than this buffer's rows.
        """
        self._check_rows({name: np.shape(getattr(experience, name)) for name in self._COLUMNS})
        if self._size == self._allocated < self.capacity:
            self._grow()
        at = (self._start + self._size) % self._allocated
        for name in self._COLUMNS:
            self._data[name][at] = getattr(experience, name)
        if self._size < self.capacity:
            self._size += 1
        else:
            self._start = (self._start + 1) % self.capacity

    def all(self) -> Experience:
        """Every step held, oldest first, as copies ``[n, ...]``."""
        order = (self._start + np.arange(self._size)) % max(self._allocated, 1)
        return Experience(**{name: self._data[name][order] for name in self._COLUMNS})

    def sample(self, num: int, rng: torch.Generator) -> Batch:
        """``num`` steps drawn with replacement; raises ValueError if there are none."""
        require(self._size > 0, "replay", "at least one step to draw from", self._size)
        drawn = torch.randint(self._size, (num,), generator=rng).numpy()
        rows = (self._start + drawn) % self._allocated

        def column(name: str) -> Tensor:
            """The rows of one column."""
            return torch.from_numpy(self._data[name][rows].astype(np.float32))

        return Batch(
            column("observation"),
            column("action"),
            column("reward"),
            column("next_observation"),
            1.0 - column("terminated"),
        )

    def state_dict(self) -> dict[str, Any]:
        """The contents as arrays, oldest first."""
        return {name: getattr(self.all(), name) for name in self._COLUMNS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what ``state_dict`` returned, or the newest of it if that is beyond capacity.

        Raises:
            ValueError: if a column's shape does not fit this buffer.
        """
        self._check_rows({name: state[name].shape[1:] for name in self._COLUMNS})
        self._data = {
            name: np.array(state[name][-self.capacity :], dtype=self._data[name].dtype)
            for name in self._COLUMNS
        }
        self._start, self._size = 0, self._allocated

    def _check_rows(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for name, got in shapes.items():
            expected = self._data[name].shape[1:]
            if got != expected:
                raise ValueError(f"replay {name}: expected rows of shape {expected}, got {got}")

    @property
    def _allocated(self) -> int:
        return len(self._data["reward"])

    def _grow(self) -> None:
        """Double the storage; only ever called while the oldest step is at index 0."""
        rows = min(max(2 * self._allocated, 1024), self.capacity)
        for name, column in self._data.items():
            larger = np.empty((rows, *column.shape[1:]), dtype=column.dtype)
            larger[: self._size] = column[: self._size]
            self._data[name] = larger
