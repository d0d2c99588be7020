"""A model that is a table: what each action last did in each state, and when.

``Model(S, A)`` of Sutton and Barto, Reinforcement Learning, 2nd edition (2018), chapter 8, for
deterministic environments with numbered states and actions.
"""

from __future__ import annotations

from bisect import insort
from typing import Any

import numpy as np


class TabularModel:
    """Remembered transitions, the states they lead from, and how long ago they were tried.

    There is one state more than the environment has: ``terminal``, where every episode ends that
    terminates. What was never tried leads back to where it started with a reward of zero, and
    counts as tried at time 0 (section 8.3, footnote).

    Attributes:
        terminal: number of the terminal state.
        time: real steps so far.
        states: states observed before an action, in order.
        tried: actions taken in each state, in order.
        predecessors: the state-action pairs predicted to lead to each state.
    """

    def __init__(self, num_states: int, num_actions: int) -> None:
        """A model that has seen nothing yet."""
        self.terminal = num_states
        self.time = 0
        self.states: list[int] = []
        self.tried: list[list[int]] = [[] for _ in range(num_states)]
        self.predecessors: list[set[tuple[int, int]]] = [set() for _ in range(num_states + 1)]
        self._reward = [[0.0] * num_actions for _ in range(num_states)]
        self._following = [[state] * num_actions for state in range(num_states)]
        self._last_visit = [[0] * num_actions for _ in range(num_states)]

    def learn(self, state: int, action: int, reward: float, following: int) -> None:
        """Take in a real step, in place of what the action did there before."""
        if not self.tried[state]:
            insort(self.states, state)
        if action not in self.tried[state]:
            insort(self.tried[state], action)
        self.predecessors[self._following[state][action]].discard((state, action))
        self.predecessors[following].add((state, action))
        self.time += 1
        self._reward[state][action] = reward
        self._following[state][action] = following
        self._last_visit[state][action] = self.time

    def predict(self, state: int, action: int) -> tuple[float, int]:
        """Reward and next state, as when the action was last taken there."""
        return self._reward[state][action], self._following[state][action]

    def age(self, state: int, action: int) -> int:
        """Real steps, tau, since the action was last taken there, or in all if it never was."""
        return self.time - self._last_visit[state][action]

    def state_dict(self) -> dict[str, Any]:
        """The table as arrays ``[S, A]``; actions never tried have a last visit of 0."""
        return {
            "time": self.time,
            "reward": np.array(self._reward),
            "following": np.array(self._following),
            "last_visit": np.array(self._last_visit),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the model that was saved.

        Raises:
            KeyError: if a part is missing.
            ValueError: if it is of another number of states or actions; nothing was changed then.
        """
        expected = (self.terminal, len(self._reward[0]))
        for name in ("reward", "following", "last_visit"):
            if state[name].shape != expected:
                raise ValueError(f"{name}: expected shape {expected}, got {state[name].shape}")
        self.time = state["time"]
        self._reward = state["reward"].tolist()
        self._following = state["following"].tolist()
        self._last_visit = state["last_visit"].tolist()
        self.tried = [[a for a, at in enumerate(row) if at] for row in self._last_visit]
        self.states = [s for s, tried in enumerate(self.tried) if tried]
        self.predecessors = [set() for _ in range(self.terminal + 1)]
        for s in self.states:
            for a in self.tried[s]:
                self.predecessors[self._following[s][a]].add((s, a))
