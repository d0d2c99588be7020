"""Seam 5, Agent: a learner that turns real experience into a better controller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mpc_robot.controllers.base import Controller
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.world_model import WorldModel
from mpc_robot.errors import CheckpointError

Metrics = dict[str, float]
"""Flat slash names to numbers, such as ``{"model/nll": -3.1}``."""


class Agent(Protocol):
    """What the one Trainer drives. Counters, schedules and random numbers live inside the agent."""

    def act(self, observation: npt.NDArray[np.float64], explore: bool) -> npt.NDArray[np.float64]:
        """The action ``[A]`` to apply now; ``explore`` allows noise and random warm-up actions."""
        ...

    def observe(self, experience: Experience) -> None:
        """Take in one real step; where it ends an episode, forget what belongs to the episode."""
        ...

    def update(self) -> Metrics:
        """Learn if learning is due after the last step; the metrics of it, or empty."""
        ...

    def controller(self) -> Controller:
        """A controller with what has been learned so far and random numbers of its own."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that learning depends on: weights, optimizers, normalisers, replay, RNG.

        A nested dict with string keys whose leaves are tensors, numpy arrays or JSON values.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the agent whose ``state_dict`` this was; a missing part is a CheckpointError."""
        ...


@runtime_checkable
class SelfPlayer(Agent, Protocol):
    """An agent that, given a game, learns from games against itself."""

    def play_round(self) -> Iterator[tuple[int, Metrics]]:
        """Play for a while; between rounds, ``state_dict`` holds the games under way.

        Yields:
            Moves just made, and what there is to say of them; at the end of the round
            ``train/return``, ``train/length`` and ``train/terminated`` of games that ended, of the
            player who began. After each, the agent may be asked to update.
        """
        ...


@runtime_checkable
class Collective(Agent, Protocol):
    """An agent that can act in several environments at once.

    Attributes:
        environments: how many it is to act in.
    """

    environments: int

    def act_in(
        self, places: Sequence[int], observations: Sequence[Any], explore: bool
    ) -> npt.NDArray[np.float64]:
        """Actions ``[K, A]`` to apply now in K environments, named by their places."""
        ...

    def observe_in(self, place: int, experience: Experience) -> None:
        """Take in one real step of the environment in that place."""
        ...


@runtime_checkable
class Imaginative(Agent, Protocol):
    """An agent that learns to act in what it imagines, which can be looked at."""

    def world_model(self) -> WorldModel[Any] | None:
        """What its controller believes in, None while that has learned nothing."""
        ...


@contextmanager
def restoring(agent: object) -> Iterator[None]:
    """Around what takes over a saved state.

    Raises:
        CheckpointError: if a part is missing or does not fit; the agent is of no use then.
    """
    try:
        yield
    except (KeyError, RuntimeError, ValueError) as error:
        name = type(agent).__name__
        raise CheckpointError(f"checkpoint does not hold this {name} agent: {error}") from error
