"""Replay of positions: what was seen and done, and what a search held of it, then or since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mpc_robot.data.replay import Experience
from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Opinions:
    """What was held of B positions.

    Attributes:
        candidates: actions considered ``[B, K, A]``.
        policy: how often to take each ``[B, K]``; all 0 where nobody knows.
        value: discounted return to expect ``[B]``.
    """

    candidates: Float32s
    policy: Float32s
    value: Floats


@dataclass(frozen=True)
class Windows:
    """B positions and what came after, L steps at most; beyond an episode, its last position.

    Attributes:
        observation: ``[B, L + 1, D]``.
        action: taken at each position ``[B, L + 1, A]``, 0 at the last of an episode.
        reward: that it earned ``[B, L + 1]``, 0 at the last of an episode.
        opinions: of each position ``[B, L + 1, ...]``, worth 0 where an episode terminated.
        left: steps that are known ``[B]``, L at most.
        terminated: whether the episode ended for good after them ``[B]``.
    """

    observation: Float32s
    action: Float32s
    reward: Floats
    opinions: Opinions
    left: Ints
    terminated: npt.NDArray[np.bool_]


class PositionReplay:
    """The last ``capacity`` positions, those that ended an episode among them.

    Whatever is the newest position counts as the last of its episode until another follows, as one
    that the clock ended would: nobody knows what comes after.
    """

    def __init__(
        self, observation_dim: int, action_dim: int, candidates: int, capacity: int
    ) -> None:
        """An empty replay; memory is claimed as it fills.

        Args:
            observation_dim: D.
            action_dim: A.
            candidates: K, actions considered at a position.
            capacity: positions held at most.

        Raises:
            ValueError: if ``capacity`` is less than 2.
        """
        require(capacity >= 2, "capacity", "at least 2", capacity)
        self.capacity = capacity
        self._size = self._next = 0
        self._in_episode = False
        kinds: dict[str, tuple[tuple[int, ...], type[Any]]] = {
            "observation": ((observation_dim,), np.float32),
            "action": ((action_dim,), np.float32),
            "reward": ((), np.float64),
            "last": ((), np.bool_),
            "terminated": ((), np.bool_),
            "candidates": ((candidates, action_dim), np.float32),
            "policy": ((candidates,), np.float32),
            "value": ((), np.float64),
            "priority": ((), np.float64),
        }
        self._data = {
            name: np.zeros((capacity, *shape), dtype) for name, (shape, dtype) in kinds.items()
        }

    def __len__(self) -> int:
        """Positions held."""
        return self._size

    @property
    def observations(self) -> Float32s:
        """All that were seen, in no order ``[n, D]``; not a copy."""
        return self._data["observation"][: self._size]

    @property
    def going(self) -> Ints:
        """The positions from which the task goes on ``[n]``."""
        return np.flatnonzero(~self._data["terminated"][: self._size])

    def add(
        self, experience: Experience, action: Float32s, opinions: Opinions, beyond: float
    ) -> None:
        """Append a step, and at the start of an episode the position that it started from.

        Args:
            experience: the step.
            action: that was taken ``[A]``, in the units of ``opinions``.
            opinions: of the position that it was taken at, B = 1.
            beyond: what the position that it led to is worth, if it did not terminate.
        """
        if not self._in_episode:
            self._append(experience.observation, 0.0, terminated=False)
        data, newest = self._data, (self._next - 1) % self.capacity
        data["action"][newest], data["reward"][newest] = action, experience.reward
        data["last"][newest] = False
        data["priority"][newest] = data["priority"][: self._size].max() or 1.0
        for name in ("candidates", "policy", "value"):
            data[name][newest] = getattr(opinions, name)[0]
        ended, terminated = experience.terminated, bool(experience.terminated)
        self._append(experience.next_observation, 0.0 if ended else beyond, terminated=terminated)
        self._in_episode = not (terminated or experience.truncated)

    def draw(self, num: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """``num`` positions to go on from, and the probability of each, its share of priority.

        Raises:
            ValueError: if no step was ever taken.
        """
        mass = self._data["priority"][: self._size].cumsum()
        require(self._size > 0, "replay", "at least one step to draw from", 0)
        rows = mass.searchsorted(rng.random(num) * mass[-1], side="right")
        rows = rows.clip(max=self._size - 1)
        return rows, self._data["priority"][rows] / mass[-1]

    def prioritise(self, rows: Ints, priority: Floats) -> None:
        """Let these positions be drawn in proportion to ``priority [B]``, positive and finite.

        Raises:
            ValueError: if one is not.
        """
        sound = bool((np.isfinite(priority) & (priority > 0.0)).all())
        require(sound, "priority", "positive and finite numbers", priority)
        self._data["priority"][rows] = priority

    def windows(self, rows: Ints, length: int) -> Windows:
        """The positions ``rows [B]`` and those that followed, L = ``length`` at most."""
        data = self._data
        at = (rows[:, None] + np.arange(length + 1)) % self.capacity
        last = data["last"][at]
        left = np.where(last.any(axis=1), last.argmax(axis=1), length)
        at = np.take_along_axis(at, np.minimum(np.arange(length + 1), left[:, None]), axis=1)
        return Windows(
            data["observation"][at],
            data["action"][at],
            data["reward"][at],
            self.opinions(at),
            left,
            data["terminated"][at[:, -1]],
        )

    def opinions(self, rows: Ints) -> Opinions:
        """What is held of ``rows [...]``."""
        data = self._data
        return Opinions(data["candidates"][rows], data["policy"][rows], data["value"][rows])

    def revise(self, rows: Ints, opinions: Opinions) -> None:
        """Hold something else of ``rows [B]``; what ended for good stays worth nothing."""
        data = self._data
        acted, goes_on = ~data["last"][rows], ~data["terminated"][rows]
        for name, where in (("candidates", acted), ("policy", acted), ("value", goes_on)):
            data[name][rows[where]] = getattr(opinions, name)[where]

    def state_dict(self) -> dict[str, Any]:
        """What is held, as it lies, and where the next position goes."""
        held = {name: column[: self._size].copy() for name, column in self._data.items()}
        return held | {"next": self._next, "in_episode": self._in_episode}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what ``state_dict`` returned.

        Raises:
            ValueError: if it does not fit this replay.
        """
        for name, column in self._data.items():
            got = state[name].shape
            fits = got[1:] == column.shape[1:] and got[0] <= self.capacity
            expected = f"at most {self.capacity} rows of shape {column.shape[1:]}"
            require(fits, f"replay {name}", expected, got)
        self._size, self._next = len(state["value"]), state["next"]
        self._in_episode = state["in_episode"]
        # What was full where it was saved begins at its next row.
        shift = self._next if self._size < self.capacity else 0
        for name, column in self._data.items():
            column[: self._size] = np.roll(state[name], -shift, axis=0)
        if self._size < self.capacity:
            self._next = self._size

    def _append(self, observation: Floats, value: float, *, terminated: bool) -> None:
        """Write a position where no action was taken yet, over the oldest if it is full."""
        at = self._next
        for column in self._data.values():
            column[at] = 0
        self._data["observation"][at], self._data["value"][at] = observation, value
        self._data["last"][at], self._data["terminated"][at] = True, terminated
        self._next = (at + 1) % self.capacity
        self._size = min(self._size + 1, self.capacity)
