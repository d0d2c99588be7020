"""Tabular Dyna: Dyna-Q, Dyna-Q+ and prioritized sweeping, for numbered states and actions.

Sutton and Barto, Reinforcement Learning, 2nd edition (2018), chapter 8: the boxes "Tabular Dyna-Q"
(p. 164) and "Prioritized sweeping for a deterministic environment" (p. 170), and Dyna-Q+ of section
8.3. Letters in brackets are the steps of the boxes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from mpc_robot.agents.base import Metrics, restoring
from mpc_robot.controllers.base import Plan
from mpc_robot.data.replay import Experience
from mpc_robot.dynamics.base import Sensed
from mpc_robot.dynamics.tabular import TabularModel
from mpc_robot.envs.base import TableSpec, Task
from mpc_robot.errors import require

Pair = tuple[int, int]
"""A state and an action."""


@dataclass(frozen=True)
class DynaQConfig:
    """Settings of tabular Dyna; the book's values for the Dyna maze (Example 8.1) in brackets.

    Attributes:
        step_size: alpha, share of an error that an update removes [0.1].
        discount: gamma, of rewards per step [0.95].
        exploration: epsilon, probability of a random action [0.1].
        planning_steps: n, updates in the model per real step [0, 5 and 50].
        bonus: kappa, reward in planning per square root of the steps since an action was last
            tried, which makes it Dyna-Q+ [0, for Dyna-Q].
        threshold: theta, least error worth an update in prioritized sweeping; None plans at random
            [none].
    """

    step_size: float = 0.1
    discount: float = 0.95
    exploration: float = 0.1
    planning_steps: int = 5
    bonus: float = 0.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(0.0 < self.step_size <= 1.0, "step_size", "in (0, 1]", self.step_size)
        for name in ("discount", "exploration"):
            require(0.0 <= getattr(self, name) <= 1.0, name, "in [0, 1]", getattr(self, name))
        require(self.planning_steps >= 0, "planning_steps", "at least 0", self.planning_steps)
        require(0.0 <= self.bonus < inf, "bonus", "at least 0", self.bonus)
        if self.threshold is not None:
            require(0.0 <= self.threshold < inf, "threshold", "at least 0", self.threshold)
            require(self.bonus == 0.0, "bonus", "0 with a threshold", self.bonus)
            least = "at least 1 with a threshold"
            require(self.planning_steps >= 1, "planning_steps", least, self.planning_steps)


DYNA_Q_PLUS = DynaQConfig(step_size=1.0, planning_steps=10, bonus=7e-4)
"""Dyna-Q+ for mazes of the book's size that change; nothing is random there to be averaged."""

SWEEPING = DynaQConfig(step_size=1.0, threshold=1e-4)
"""Prioritized sweeping: what a smaller step leaves of an error, nothing puts back in the queue."""


class DynaQ:
    """The Agent: action values, improved by what happens and by what the model says would happen.

    Attributes:
        values: Q ``[S + 1][A]``; the last row is the terminal state's and stays 0.
        model: what each action last did in each state.
        queue: the pairs most worth an update, for prioritized sweeping.
        updates: of the values so far, by real steps and by planning.
    """

    def __init__(self, task: Task, spec: TableSpec, config: DynaQConfig, seed: int) -> None:
        """An agent that knows nothing yet."""
        self.task, self.spec, self.config = task, spec, config
        self.values = [[0.0] * spec.num_actions for _ in range(spec.num_states + 1)]
        self.model = TabularModel(spec.num_states, spec.num_actions)
        self.queue = PriorityQueue()
        self.updates = 0
        # Two, so that however much is planned, the first episode is the same (Example 8.1).
        seeds = np.random.SeedSequence(seed).spawn(2)
        self._acting, self._planning = (np.random.default_rng(each) for each in seeds)
        self._last: Pair | None = None

    def act(self, observation: npt.NDArray[np.float64], explore: bool) -> npt.NDArray[np.float64]:
        """(a, b) The number ``[1]`` of an epsilon-greedy action in the state of number ``[1]``."""
        epsilon = self.config.exploration if explore else 0.0
        return _epsilon_greedy(self.values[int(observation[0])], epsilon, self._acting)

    def observe(self, experience: Experience) -> None:
        """(c) Take in a real step: Model(S, A) ← R, S'; (e) of Dyna-Q, (d) of sweeping."""
        state, action = int(experience.observation[0]), int(experience.action[0])
        following = int(experience.next_observation[0])
        if experience.terminated:
            following = self.model.terminal
        self.model.learn(state, action, float(experience.reward), following)
        self._last = state, action

    def update(self) -> Metrics:
        """Learn from the last real step, and plan."""
        if self._last is None:
            return {}
        before = self.updates
        if self.config.threshold is None:
            self._dyna_q(*self._last)
        else:
            self._sweep(*self._last, self.config.threshold)
        self._last = None
        return {"plan/updates": float(self.updates - before)}

    def _dyna_q(self, state: int, action: int) -> None:
        """The box "Tabular Dyna-Q", p. 164."""
        self._improve(state, action)  # (d): the model holds just what happened
        for pair in self._remembered():  # (f)
            self._improve(*pair)

    def _sweep(self, state: int, action: int, threshold: float) -> None:
        """The box "Prioritized sweeping for a deterministic environment", p. 170."""
        self._enqueue(state, action, threshold)  # (e), (f)
        for _ in range(self.config.planning_steps):  # (g)
            if not self.queue:
                return
            first = self.queue.pop()
            self._improve(*first)
            for pair in self.model.predecessors[first[0]]:
                self._enqueue(*pair, threshold)

    def _enqueue(self, state: int, action: int, threshold: float) -> None:
        """P ← |error|; if P > theta, insert the pair with priority P."""
        priority = abs(self._error(state, action))
        if priority > threshold:
            self.queue.insert((state, action), priority)

    def _improve(self, state: int, action: int) -> None:
        """Q(S, A) ← Q(S, A) + alpha * error."""
        self.values[state][action] += self.config.step_size * self._error(state, action)
        self.updates += 1

    def _error(self, state: int, action: int) -> float:
        """R + kappa sqrt(tau) + gamma max Q(S', .) - Q(S, A), where R, S' ← Model(S, A).

        After a real step tau is 0, and this is the error of what just happened.
        """
        reward, following = self.model.predict(state, action)
        bonus = self.config.bonus * sqrt(self.model.age(state, action))
        future = self.config.discount * max(self.values[following])
        return reward + bonus + future - self.values[state][action]

    def _remembered(self) -> Iterator[Pair]:
        """A random state seen before, and a random action taken there before, n times.

        Dyna-Q+ plans with any action, also with those never tried (section 8.3, footnote).
        """
        any_action = range(self.spec.num_actions)
        for first, second in self._planning.random((self.config.planning_steps, 2)).tolist():
            state = _pick(self.model.states, first)
            actions = any_action if self.config.bonus else self.model.tried[state]
            yield state, _pick(actions, second)

    def controller(self) -> GreedyPolicy:
        """The greedy policy of the values as they are now and will become."""
        return GreedyPolicy(self.values)

    def state_dict(self) -> dict[str, Any]:
        """Values, model, queue, counter and random states."""
        return {
            "values": np.array(self.values),
            "model": self.model.state_dict(),
            "queue": self.queue.state_dict(),
            "updates": self.updates,
            "acting": self._acting.bit_generator.state,
            "planning": self._planning.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the agent that was saved.

        Raises:
            CheckpointError: if a part is missing or does not fit this task; the agent is of no use
                then.
        """
        with restoring(self):
            self.model.load_state_dict(state["model"])
            self.queue.load_state_dict(state["queue"])
            self.values[:] = state["values"].tolist()  # in place: controllers look at it
            self.updates = state["updates"]
            self._acting.bit_generator.state = state["acting"]
            self._planning.bit_generator.state = state["planning"]


class GreedyPolicy:
    """The Controller that takes an action of the greatest value; ties are broken randomly."""

    observes: Sensed = "observation"
    plan: Plan | None = None

    def __init__(self, values: list[list[float]]) -> None:
        """Act by ``values [S][A]``, also by what they become; starts as after ``reset(0)``."""
        self.values = values
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Start the random numbers anew."""
        self._rng = np.random.default_rng(seed)

    def act(self, sensed: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The number ``[1]`` of the action, for the number ``[1]`` of a state."""
        return _epsilon_greedy(self.values[int(sensed[0])], 0.0, self._rng)


class PriorityQueue:
    """Pairs by priority; of several insertions of a pair only the highest remains (section 8.4)."""

    def __init__(self) -> None:
        """Empty."""
        self._priority: dict[Pair, float] = {}
        self._heap: list[tuple[float, Pair]] = []

    def __len__(self) -> int:
        """Pairs in it."""
        return len(self._priority)

    def insert(self, pair: Pair, priority: float) -> None:
        """Put a pair in, or up if it is in already; never down."""
        if priority > self._priority.get(pair, -inf):
            self._priority[pair] = priority
            heapq.heappush(self._heap, (-priority, pair))

    def pop(self) -> Pair:
        """Take out the pair of highest priority; raises IndexError if there is none."""
        while True:
            negative, pair = heapq.heappop(self._heap)
            if self._priority.get(pair) == -negative:  # else it was put up since
                del self._priority[pair]
                return pair

    def state_dict(self) -> dict[str, Any]:
        """Pairs ``[n, 2]`` and their priorities ``[n]``."""
        pairs = np.array(list(self._priority), dtype=np.int64).reshape(-1, 2)
        return {"pairs": pairs, "priorities": np.array(list(self._priority.values()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what ``state_dict`` returned; raises KeyError if a part is missing."""
        pairs, priorities = state["pairs"].tolist(), state["priorities"].tolist()
        self._priority = {(s, a): p for (s, a), p in zip(pairs, priorities, strict=True)}
        self._heap = [(-priority, pair) for pair, priority in self._priority.items()]
        heapq.heapify(self._heap)


def _epsilon_greedy(
    values: Sequence[float], epsilon: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """The number ``[1]`` of any action with probability epsilon, else of a best one."""
    exploring, which = rng.random(2).tolist()
    best = max(values)
    greedy = [action for action, value in enumerate(values) if value == best]
    return np.array([float(_pick(range(len(values)) if exploring < epsilon else greedy, which))])


def _pick(items: Sequence[int], share: float) -> int:
    """The item that lies this share of the way along, in [0, 1)."""
    return items[int(share * len(items))]
