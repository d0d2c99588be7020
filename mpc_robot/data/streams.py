"""A replay of sequences of several environments, whose steps come in turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mpc_robot.data.replay import Experience
from mpc_robot.data.sequences import SequenceReplay, Sequences
from mpc_robot.errors import require


class Streams:
    """A replay for each environment, so that what comes one after another belongs together."""

    def __init__(self, num: int, make: Callable[[], SequenceReplay]) -> None:
        """``num`` empty replays."""
        require(num >= 1, "streams", "at least 1", num)
        self.replays = tuple(make() for _ in range(num))

    def __len__(self) -> int:
        """Observations held."""
        return sum(map(len, self.replays))

    def add(self, stream: int, experience: Experience) -> None:
        """Append a step of one environment; ValueError as of :meth:`SequenceReplay.add`."""
        self.replays[stream].add(experience)

    def sample(self, num: int, length: int, rng: torch.Generator) -> Sequences:
        """``num`` sequences of ``length``, uniform among all that are held.

        Raises:
            ValueError: if no environment has so many observations yet.
        """
        starts = np.array([max(0, len(replay) - length + 1) for replay in self.replays])
        most = max(map(len, self.replays))
        require(starts.sum() > 0, "replay", f"at least {length} observations", most)
        drawn = torch.randint(int(starts.sum()), (num,), generator=rng).numpy()
        ends = starts.cumsum()
        stream = np.searchsorted(ends, drawn, side="right")
        first = drawn - (ends - starts)[stream]
        parts = [
            replay.sequences(first[stream == i], length) for i, replay in enumerate(self.replays)
        ]
        joined_as = stream.argsort(kind="stable")
        return Sequences.joined(parts).rows(torch.as_tensor(joined_as.argsort()))

    def state_dict(self) -> dict[str, Any]:
        """Of each replay."""
        return {str(i): replay.state_dict() for i, replay in enumerate(self.replays)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what ``state_dict`` returned.

        Raises:
            ValueError: if it is of another number of environments, or does not fit their replays.
        """
        require(len(state) == len(self.replays), "streams", str(len(self.replays)), len(state))
        for i, replay in enumerate(self.replays):
            replay.load_state_dict(state[str(i)])
