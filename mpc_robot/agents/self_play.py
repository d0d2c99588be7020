"""Games of a learner against itself, many side by side; for AlphaZero and MuZero."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mpc_robot.agents.base import Metrics
from mpc_robot.controllers.tree_search import Decision
from mpc_robot.envs.openspiel import state_after
from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Played:
    """A game of T moves that has ended.

    Attributes:
        opening: moves that were drawn before it began ``[L]``.
        actions: that were taken ``[T]``.
        policy: of the search before each ``[T, A]``.
        value: by the search, of the player to move ``[T]``.
        returns: of both players at the end ``[2]``.
    """

    opening: npt.NDArray[np.int64]
    actions: npt.NDArray[np.int64]
    policy: Floats
    value: Floats
    returns: Floats

    def __len__(self) -> int:
        """T."""
        return len(self.actions)

    def states(self, game: Any) -> Iterator[Any]:
        """OpenSpiel's states before each move; each is changed when the next is asked for."""
        state = state_after(game, self.opening)
        for action in self.actions.tolist():
            yield state
            state.apply_action(action)


class SelfPlay:
    """Games side by side; where one ends another begins.

    They begin after up to so many random moves, of which nothing is learned: a learner that has
    found how to open would see no other game.

    Attributes:
        states: OpenSpiel's, of the games as they stand.
    """

    def __init__(self, game: Any, games: int, opening_moves: int, rng: np.random.Generator) -> None:
        """So many new games of ``game``, after up to ``opening_moves`` that ``rng`` draws."""
        self.game, self.opening_moves, self._rng = game, opening_moves, rng
        self.states = [self._begun() for _ in range(games)]
        self._policies: list[list[Floats]] = [[] for _ in range(games)]
        self._values: list[list[float]] = [[] for _ in range(games)]

    def move(self, action: npt.NDArray[np.int64], decision: Decision) -> list[Played]:
        """Take ``action[G]``, remember what the search thought, and hand over games that ended."""
        ended, values = list[Played](), decision.improved_value
        for i, (state, taken) in enumerate(zip(self.states, action.tolist(), strict=True)):
            state.apply_action(taken)
            self._policies[i].append(decision.policy[i])
            self._values[i].append(float(values[i]))
            if state.is_terminal():
                ended.append(self._take(i))
        return ended

    def play_round(
        self,
        decide: Callable[[], tuple[npt.NDArray[np.int64], Decision]],
        remember: Callable[[Played], None],
    ) -> Iterator[tuple[int, Metrics]]:
        """Play until as many games have ended as are played side by side.

        Args:
            decide: moves ``[G]`` in the games as they stand, and what the search thought of them.
            remember: called with each game that has ended.

        Yields:
            Moves that were just made, one in each game; and at the end what became of the games.
        """
        ended = list[Played]()
        while len(ended) < len(self.states):
            new = self.move(*decide())
            for played in new:
                remember(played)
            ended += new
            over = len(ended) >= len(self.states)
            yield len(self.states), outcome(ended) if over else {}

    def lengths(self) -> npt.NDArray[np.int64]:
        """Moves made so far in each game ``[G]``, but for its opening."""
        return np.array([len(values) for values in self._values])

    def state_dict(self) -> dict[str, Any]:
        """The games under way, one after the other."""
        policies = [policy for each in self._policies for policy in each]
        return {
            "lengths": self.lengths(),
            "openings": np.array([len(state.history()) for state in self.states]) - self.lengths(),
            "actions": np.array([a for state in self.states for a in state.history()], np.int64),
            "policy": np.array(policies).reshape(-1, self.game.num_distinct_actions()),
            "value": np.array([value for each in self._values for value in each]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the games of a ``state_dict``.

        Raises:
            KeyError: if a part is missing.
            ValueError: if there are not as many games.
        """
        lengths, games = state["lengths"], len(self.states)
        require(len(lengths) == games, "games", f"{games} under way", len(lengths))
        ends = np.cumsum(lengths)[:-1]
        histories = np.split(state["actions"], np.cumsum(lengths + state["openings"])[:-1])
        parts = (np.split(state[name], ends) for name in ("policy", "value"))
        for i, (actions, policy, value) in enumerate(zip(histories, *parts, strict=True)):
            self.states[i] = state_after(self.game, actions)
            self._policies[i], self._values[i] = list(policy), value.tolist()

    def _take(self, i: int) -> Played:
        """Game ``i``, which has ended; a new one begins in its place."""
        state, policies, values = self.states[i], self._policies[i], self._values[i]
        self.states[i], self._policies[i], self._values[i] = self._begun(), [], []
        history, returns = np.array(state.history()), np.array(state.returns())
        opening, actions = np.split(history, [len(history) - len(values)])
        return Played(opening, actions, np.array(policies), np.array(values), returns)

    def _begun(self) -> Any:
        """A game after some random moves, none of which ends it."""
        state = self.game.new_initial_state()
        for _ in range(int(self._rng.integers(self.opening_moves + 1))):
            following = state.child(self._rng.choice(state.legal_actions()))
            if following.is_terminal():
                break
            state = following
        return state


def outcome(ended: Sequence[Played]) -> Metrics:
    """What became of games: the return is that of the player who began."""
    return {
        "train/return": float(np.mean([played.returns[0] for played in ended])),
        "train/length": float(np.mean([len(played) for played in ended])),
        "train/terminated": 1.0,
    }
