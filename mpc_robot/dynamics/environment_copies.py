"""A Gymnasium environment as the model of a tree search, by copies of itself.

For environments in plain Python with numbered actions, such as CartPole or FrozenLake. What
simulates in other languages cannot be copied so; MuJoCo tasks have
:class:`mpc_robot.dynamics.simulator.Simulator`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from mpc_robot.dynamics.base import Sensed
from mpc_robot.dynamics.rows import objects
from mpc_robot.dynamics.search_model import Expansion, Ints, Nodes
from mpc_robot.errors import require

Environments = npt.NDArray[np.object_]
Place = Callable[[Any, npt.NDArray[np.float64]], None]
"""Put an unwrapped environment into the state that was observed ``[D]``."""


def place_state(env: Any, observation: npt.NDArray[np.float64]) -> None:
    """Where the observation is the state: CartPole, MountainCar and others with ``state``."""
    env.state = tuple(float(entry) for entry in observation)
    if hasattr(env, "steps_beyond_terminated"):  # CartPole's memory of having ended
        env.steps_beyond_terminated = None


def place_angle(env: Any, observation: npt.NDArray[np.float64]) -> None:
    """Acrobot, whose angles are observed as cosine and sine."""
    c1, s1, c2, s2, *rates = observation
    env.state = np.array([math.atan2(s1, c1), math.atan2(s2, c2), *rates])


def place_number(env: Any, observation: npt.NDArray[np.float64]) -> None:
    """Toy text, whose states are numbered."""
    env.s = int(observation[0])


PLACES: dict[str, Place] = {
    "AcrobotEnv": place_angle,
    "CartPoleEnv": place_state,
    "CliffWalkingEnv": place_number,
    "FrozenLakeEnv": place_number,
    "MountainCarEnv": place_state,
    "TaxiEnv": place_number,
}
"""How to place Gymnasium's own environments, by the name of their class."""


class EnvironmentCopies:
    """A ControlModel that steps deep copies of an environment.

    A step that is random has one outcome per action and state in the tree, drawn when it is first
    tried. Time limits are not part of it: truncation ends no episode.
    """

    observes: Sensed = "observation"

    def __init__(
        self,
        env: gym.Env[Any, Any],
        discount: float = 0.99,
        *,
        rollout: int = 0,
        place: Place | None = None,
    ) -> None:
        """Search in copies of ``env``, which stays as it is.

        Args:
            env: reset before, with Discrete actions, as :func:`mpc_robot.envs.make_env` makes it.
            discount: of rewards per step, in (0, 1].
            rollout: steps of random actions whose return a state is valued by; 0 values it 0.
            place: puts the environment where an observation says; None for Gymnasium's own.

        Raises:
            TypeError: if the environment's actions are not numbered, nobody knows how to place it,
                or it cannot be copied.
            ValueError: if a setting makes no sense.
        """
        require(0 < discount <= 1, "discount", "in (0, 1]", discount)
        require(rollout >= 0, "rollout", "at least 0", rollout)
        base: Any = env.unwrapped
        if not isinstance(base.action_space, gym.spaces.Discrete):
            raise TypeError(f"action space: expected a Discrete one, got {base.action_space}")
        name = type(base).__name__
        if place is None and name not in PLACES:
            expected = f"one of {', '.join(PLACES)}, or place=... to put it into an observed state"
            raise TypeError(f"environment: expected {expected}, got {name}")
        self.discount, self.rollout, self._place = discount, rollout, place or PLACES[name]
        self._first, self._actions = int(base.action_space.start), int(base.action_space.n)
        self._shared = [base.observation_space, base.action_space, base.spec]
        try:
            self._env = self._copy(base)
        except Exception as error:
            expected = "an environment in plain Python that copy.deepcopy can copy"
            raise TypeError(f"environment: expected {expected}, got {name}: {error}") from error

    def root(
        self, sensed: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> Nodes[Environments]:
        """The states that were observed ``[B, D]``."""
        envs = [self._copy(self._env) for _ in sensed]
        for env, observation in zip(envs, sensed, strict=True):
            self._place(env, observation)
        return self._nodes(envs, [False] * len(envs), rng)

    def expand(
        self, embedding: Environments, action: Ints, rng: np.random.Generator
    ) -> Expansion[Environments]:
        """One step in a copy of each environment."""
        envs = [self._copy(env) for env in embedding]
        steps = [self._step(env, int(a), rng) for env, a in zip(envs, action, strict=True)]
        reward, ended = (np.array(part) for part in zip(*steps, strict=True))
        discount = np.where(ended, 0.0, self.discount)
        return Expansion(reward, discount, self._nodes(envs, list(ended), rng))

    def vector(self, embedding: Environments, action: Ints) -> npt.NDArray[np.float64]:
        """The numbers themselves ``[B, 1]``."""
        return action[:, None].astype(np.float64)

    def _copy(self, env: Any) -> Any:
        """A deep copy, but for what never changes."""
        return copy.deepcopy(env, {id(part): part for part in self._shared})

    def _step(self, env: Any, action: int, rng: np.random.Generator) -> tuple[float, bool]:
        """Step with random numbers of the search's own; reward, and whether it terminated."""
        env.np_random = np.random.default_rng(rng.integers(2**63))
        _, reward, terminated, _, _ = env.step(action + self._first)
        return float(reward), bool(terminated)

    def _nodes(
        self, envs: list[Any], ended: list[bool], rng: np.random.Generator
    ) -> Nodes[Environments]:
        value = [
            0.0 if end else self._random_return(env, rng)
            for env, end in zip(envs, ended, strict=True)
        ]
        return Nodes(objects(envs), np.array(value), np.zeros((len(envs), self._actions)))

    def _random_return(self, env: Any, rng: np.random.Generator) -> float:
        """Discounted return of random actions from a state on."""
        total, weight = 0.0, 1.0
        tried = self._copy(env) if self.rollout else env
        for _ in range(self.rollout):
            reward, ended = self._step(tried, int(rng.integers(self._actions)), rng)
            total, weight = total + weight * reward, weight * self.discount
            if ended:
                break
        return total
