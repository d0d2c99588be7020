"""Replay of sequences: frames, vectors or both, each held once, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.data.chunks import Arrays, Chunk
from mpc_robot.data.replay import Experience
from mpc_robot.errors import require

ROWS_PER_CHUNK = 1_000


def require_capacity(capacity: int, length: int) -> None:
    """Raises ValueError where a full replay could come to hold no sequence of such a length."""
    least = ROWS_PER_CHUNK * (1 + -(-(length - 1) // ROWS_PER_CHUNK))
    fits = capacity >= least and capacity % ROWS_PER_CHUNK == 0
    require(fits, "capacity", f"a multiple of {ROWS_PER_CHUNK}, at least {least}", capacity)


@dataclass(frozen=True)
class Sequences:
    """B sequences of T observations, and how each observation came about.

    Attributes:
        frame: uint8 ``[B, T, H, W, C]``, or None.
        vector: float32 ``[B, T, D]``, or None.
        action: the action before each observation ``[B, T, A]``; 0 before an episode's first.
        reward: what it earned ``[B, T]``; 0 before an episode's first observation.
        is_first: bool ``[B, T]``, whether what came before is unknown: at the first observation of
            an episode, and of each sequence.
        terminated: bool ``[B, T]``, the observation ended the task for good.
        truncated: bool ``[B, T]``, the clock ran out there; the future would have gone on.
    """

    frame: Tensor | None
    vector: Tensor | None
    action: Tensor
    reward: Tensor
    is_first: Tensor
    terminated: Tensor
    truncated: Tensor

    def last(self, steps: int) -> Sequences:
        """At most so many steps at the end of each; what came before is known then."""
        return self._each(lambda part: part[:, -steps:])

    def to(self, device: torch.device) -> Sequences:
        """The same on a device."""
        return self._each(lambda part: part.to(device))

    def rows(self, chosen: Tensor) -> Sequences:
        """Some of the sequences."""
        return self._each(lambda part: part[chosen])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Sequences:
        """With a change of every part that is there."""
        changed: dict[str, Any] = {
            name: None if part is None else change(part) for name, part in vars(self).items()
        }
        return Sequences(**changed)

    @staticmethod
    def joined(parts: Sequence[Sequences]) -> Sequences:
        """The sequences of several batches, one after the other."""
        columns: dict[str, Any] = {
            name: None if column is None else torch.cat([vars(part)[name] for part in parts])
            for name, column in vars(parts[0]).items()
        }
        return Sequences(**columns)


class SequenceReplay:
    """The last observations of real experience, at most ``capacity``, in the order they were made.

    When it is full it forgets a whole chunk of the oldest. Memory is claimed as it fills. Full
    chunks never change, so that checkpoints write each only once.
    """

    def __init__(
        self,
        action_dim: int,
        *,
        frame_shape: tuple[int, int, int] | None = None,
        vector_dim: int | None = None,
        capacity: int = 100_000,
        rows_per_chunk: int = ROWS_PER_CHUNK,
    ) -> None:
        """An empty replay.

        Args:
            action_dim: A, entries of an action.
            frame_shape: of the frames among the observations, None if there are none.
            vector_dim: D, of the vectors among the observations, None if there are none.
            capacity: observations held at most, a multiple of ``rows_per_chunk``.
            rows_per_chunk: observations that are forgotten, and saved, together.

        Raises:
            ValueError: if observations have neither part, or the capacity makes no sense.
        """
        seen = frame_shape is not None or vector_dim is not None
        require(seen, "frame_shape, vector_dim", "at least one of them", None)
        whole = capacity > 0 and rows_per_chunk > 0 and capacity % rows_per_chunk == 0
        require(whole, "capacity", f"a multiple of {rows_per_chunk} rows", capacity)
        self.capacity, self.rows_per_chunk = capacity, rows_per_chunk
        self._start = self._size = 0
        self._chunks: deque[Chunk] = deque()
        kinds: dict[str, tuple[tuple[int, ...] | None, type[Any]]] = {
            "frame": (frame_shape, np.uint8),
            "vector": (None if vector_dim is None else (vector_dim,), np.float32),
            "action": ((action_dim,), np.float32),
            "reward": ((), np.float32),
            "is_first": ((), np.bool_),
            "terminated": ((), np.bool_),
            "truncated": ((), np.bool_),
        }
        self._data = {
            name: np.empty((capacity, *shape), dtype)
            for name, (shape, dtype) in kinds.items()
            if shape is not None
        }

    def __len__(self) -> int:
        """Observations held."""
        return self._size

    @property
    def nbytes(self) -> int:
        """Bytes that it takes when it is full."""
        return sum(column.nbytes for column in self._data.values())

    def add(self, experience: Experience) -> None:
        """Append a step, and at the start of an episode the observation that it started from.

        An observation is a frame or a vector, or ``{"frame": ..., "vector": ...}`` of both. A step
        that does not start where the last one led begins an episode.

        Raises:
            ValueError: if a part has another shape than this replay's, or is missing.
        """
        before, after = senses_of(experience.observation), senses_of(experience.next_observation)
        action = np.asarray(experience.action)
        for senses in (before, after):
            parts = {**senses, "action": action}
            self._check_shapes({name: part.shape for name, part in parts.items()})
        if not self._follows(before):
            nothing = np.zeros_like(action)
            self._append({**before, **_step(nothing, 0.0, first=True)})
        ends = {"terminated": experience.terminated, "truncated": experience.truncated}
        self._append({**after, **_step(action, experience.reward), **ends})

    def sample(self, num: int, length: int, rng: torch.Generator) -> Sequences:
        """``num`` sequences of ``length``, uniform among all that are held, across episodes too.

        Raises:
            ValueError: if fewer than ``length`` observations are held.
        """
        require(self._size >= length, "replay", f"at least {length} observations", self._size)
        starts = torch.randint(self._size - length + 1, (num,), generator=rng).numpy()
        return self.sequences(starts, length)

    def sequences(self, starts: npt.NDArray[np.int64], length: int) -> Sequences:
        """Those of ``length`` that begin at ``starts [B]``, counted from the oldest observation."""
        rows = (self._start + starts[:, None] + np.arange(length)) % self.capacity
        drawn = {name: torch.from_numpy(column[rows]) for name, column in self._data.items()}
        drawn["is_first"][:, 0] = True
        frame, vector = drawn.pop("frame", None), drawn.pop("vector", None)
        return Sequences(frame, vector, **drawn)

    def early(self, within: int) -> npt.NDArray[np.int64]:
        """Which observations are among the first ``within`` of an episode and did not end it.

        Counted from the oldest, ``[E]``; where no beginning of an episode is left, all that ended
        none.
        """
        at = np.arange(self._size)
        rows = (self._start + at) % self.capacity
        begun = np.maximum.accumulate(np.where(self._data["is_first"][rows], at, -within))
        goes_on = ~self._data["terminated"][rows]
        early = goes_on & (at - begun < within)
        return np.flatnonzero(early if early.any() else goes_on)

    def state_dict(self) -> dict[str, Any]:
        """The full chunks, oldest first, and the rows after them; to be saved before it goes on."""
        rows = self._size % self.rows_per_chunk
        return {"chunks": list(self._chunks), "rest": self._rows(self._size - rows, rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what ``state_dict`` returned, or the newest of it if that is beyond capacity.

        Raises:
            ValueError: if it does not fit this replay.
        """
        self._check_shapes({name: column.shape[1:] for name, column in state["rest"].items()})
        self._start = self._size = 0
        self._chunks.clear()
        self._data = {name: np.empty_like(column) for name, column in self._data.items()}
        for chunk in (*state["chunks"], Chunk(lambda: state["rest"])):
            arrays = chunk.arrays()  # one at a time in memory
            for row in range(len(arrays["reward"])):
                self._append({name: column[row] for name, column in arrays.items()})

    def _follows(self, senses: Mapping[str, npt.NDArray[Any]]) -> bool:
        """Whether these are the newest observation, which ended no episode."""
        newest = (self._start + self._size - 1) % self.capacity
        if self._size == 0 or self._data["terminated"][newest] or self._data["truncated"][newest]:
            return False
        held = ((self._data[name][newest], part) for name, part in senses.items())
        return all(np.array_equal(one, part.astype(one.dtype)) for one, part in held)

    def _append(self, row: Mapping[str, Any]) -> None:
        """Write a row, forgetting the oldest chunk where there is no room."""
        if self._size == self.capacity:
            self._start = (self._start + self.rows_per_chunk) % self.capacity
            self._size -= self.rows_per_chunk
            self._chunks.popleft()
        at = (self._start + self._size) % self.capacity
        for name, column in self._data.items():
            column[at] = row[name]
        self._size += 1
        if self._size % self.rows_per_chunk == 0:
            whole = self._slice(at + 1 - self.rows_per_chunk, at + 1)
            self._chunks.append(Chunk(lambda: whole))

    def _rows(self, first: int, num: int) -> Arrays:
        """Copies of rows of the chunk that is being filled."""
        at = (self._start + first) % self.capacity
        return {name: column.copy() for name, column in self._slice(at, at + num).items()}

    def _slice(self, start: int, stop: int) -> Arrays:
        return {name: column[start:stop] for name, column in self._data.items()}

    def _check_shapes(self, got: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse parts of an observation that are missing or too many, or of another shape."""
        parts = [name for name in ("frame", "vector") if name in self._data]
        given = [name for name in ("frame", "vector") if name in got]
        require(given == parts, "replay observation", " and ".join(parts), " and ".join(given))
        for name, shape in got.items():
            expected = self._data[name].shape[1:]
            require(shape == expected, f"replay {name}", f"shape {expected}", shape)


def senses_of(observation: Any) -> dict[str, npt.NDArray[Any]]:
    """The parts of an observation: frames are of uint8 and have three axes."""
    if isinstance(observation, Mapping):
        return {name: np.asarray(part) for name, part in observation.items()}
    part = np.asarray(observation)
    return {"frame" if part.dtype == np.uint8 and part.ndim == 3 else "vector": part}


def _step(action: npt.NDArray[Any], reward: Any, *, first: bool = False) -> dict[str, Any]:
    """How an observation came about that ended nothing."""
    ends = {"terminated": False, "truncated": False}
    return {"action": action, "reward": reward, "is_first": first, **ends}
