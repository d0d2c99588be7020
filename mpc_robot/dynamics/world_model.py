"""What a world model can be asked, whatever it is made of."""

from __future__ import annotations

from typing import Protocol, TypeVar

import torch
from torch import Tensor

from mpc_robot.data.sequences import Sequences

State = TypeVar("State")


class WorldModel(Protocol[State]):
    """States that explain what was seen, or follow from actions alone; each looks like something.

    A state is a dataclass of tensors whose first axis are rows. Observations are frames, of shades
    from 0 to 1, or those entries of vectors that the model explains.
    """

    @property
    def device(self) -> torch.device:
        """Where its weights are; what it is given must be there."""
        ...

    def told(self, seen: Sequences) -> Tensor:
        """What it tries to explain of sequences ``[B, T, ...]``."""
        ...

    def explain(self, seen: Sequences, rng: torch.Generator) -> State:
        """States of sequences, one after the other, as rows ``[B * T]``."""
        ...

    def imagine(self, state: State, action: Tensor, rng: torch.Generator) -> State:
        """States that may follow those of rows ``[B]`` under ``action [B, A]``."""
        ...

    def show(self, state: State) -> Tensor:
        """What states of rows look like ``[B, ...]``."""
        ...

    def earned(self, state: State) -> Tensor:
        """The reward that came with states of rows ``[B]``."""
        ...
