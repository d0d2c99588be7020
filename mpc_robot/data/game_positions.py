"""Positions of games that were played, and what search and outcome said of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mpc_robot.errors import require


@dataclass(frozen=True)
class Positions:
    """B positions, float32 but for ``legal``; arrays, or tensors as a learner takes them.

    Attributes:
        view: what a net sees ``[B, ...]``.
        legal: which actions there are ``[B, A]``, bool.
        policy: what search made of it ``[B, A]``, probabilities.
        value: what came of it for the player to move ``[B]``, in [-1, 1].
    """

    view: Any
    legal: Any
    policy: Any
    value: Any


class GameReplay:
    """The last ``capacity`` positions; storage grows as needed, up to capacity.

    Views are kept in half precision, which is exact for planes of zeros and ones.
    """

    def __init__(self, view_shape: tuple[int, ...], num_actions: int, capacity: int) -> None:
        """Raises ValueError if ``capacity`` is not positive."""
        require(capacity >= 1, "capacity", "at least 1", capacity)
        self.capacity, self._size, self._next = capacity, 0, 0
        self._rows = Positions(
            np.empty((0, *view_shape), np.float16),
            np.empty((0, num_actions), np.bool_),
            np.empty((0, num_actions), np.float32),
            np.empty(0, np.float32),
        )

    def __len__(self) -> int:
        """Positions held."""
        return self._size

    def add(self, positions: Positions) -> None:
        """Append positions, no more than the capacity; beyond it the oldest are forgotten.

        Raises:
            ValueError: if there are more, or a part has another shape than this replay's rows.
        """
        num = len(positions.value)
        require(num <= self.capacity, "positions", f"at most {self.capacity}", num)
        self._check_rows({name: part.shape[1:] for name, part in vars(positions).items()})
        self._reserve(self._size + num)
        at = (self._next + np.arange(num)) % self._allocated
        for name, column in vars(self._rows).items():
            column[at] = getattr(positions, name)
        self._size = min(self._size + num, self.capacity)
        self._next = (self._next + num) % self.capacity

    def sample(self, num: int, rng: torch.Generator) -> Positions:
        """``num`` positions as tensors, with replacement; ValueError if there are none."""
        require(self._size > 0, "replay", "at least one position to draw from", self._size)
        rows = torch.randint(self._size, (num,), generator=rng).numpy()
        drawn = {name: torch.from_numpy(column[rows]) for name, column in vars(self._rows).items()}
        return Positions(**{**drawn, "view": drawn["view"].float()})

    def state_dict(self) -> dict[str, Any]:
        """The contents as arrays, and where the next goes."""
        held = {name: column[: self._size] for name, column in vars(self._rows).items()}
        return {**held, "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what ``state_dict`` returned.

        Raises:
            KeyError: if a part is missing.
            ValueError: if it does not fit this replay.
        """
        held, size = {name: state[name] for name in vars(self._rows)}, len(state["value"])
        self._check_rows({name: column.shape[1:] for name, column in held.items()})
        require(size <= self.capacity, "replay", f"at most {self.capacity} positions", size)
        self._rows = Positions(**{name: np.array(column) for name, column in held.items()})
        self._size, self._next = size, state["next"]
        if size < self.capacity:  # what was full where it was saved may go on with a later row
            rows = {name: np.roll(c, -self._next, axis=0) for name, c in vars(self._rows).items()}
            self._rows, self._next = Positions(**rows), size

    @property
    def _allocated(self) -> int:
        return len(self._rows.value)

    def _reserve(self, size: int) -> None:
        """Make room for ``size`` positions, twice as much as there was at least."""
        if self._allocated >= min(size, self.capacity):
            return
        rows, larger = min(max(size, 2 * self._allocated), self.capacity), {}
        for name, column in vars(self._rows).items():
            larger[name] = np.empty((rows, *column.shape[1:]), column.dtype)
            larger[name][: self._size] = column[: self._size]
        self._rows = Positions(**larger)

    def _check_rows(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for name, got in shapes.items():
            expected = getattr(self._rows, name).shape[1:]
            require(got == expected, f"replay {name}", f"rows of shape {expected}", got)
