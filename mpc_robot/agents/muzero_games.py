"""MuZero on games for two (arXiv:1911.08265): it plays itself, and is told no rules.

It is told only which moves are legal at the root of a search. All rewards and values are those of
the player to move, so that they change sign with every move.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from mpc_robot.agents.base import Metrics, restoring
from mpc_robot.agents.muzero import MuZero, MuZeroConfig, muzero_spec, think
from mpc_robot.agents.self_play import Played, SelfPlay
from mpc_robot.controllers.tree_search import Decision, TreeSearch
from mpc_robot.data.replay import Experience
from mpc_robot.data.searched import Opinions
from mpc_robot.dynamics.base import Sensed
from mpc_robot.dynamics.muzero import Hidden, MuZeroModel
from mpc_robot.dynamics.search_model import Expansion, Ints, Nodes
from mpc_robot.envs.base import DiscreteSpec, EnvSpec, Task
from mpc_robot.envs.openspiel import GameEnv, GameSpec, Views, game_spec, state_after

Floats = npt.NDArray[np.float64]


class Table:
    """Positions of a game as the model sees them: OpenSpiel's view, and which moves are legal."""

    def __init__(self, game: Any, sides: tuple[int, int] | None) -> None:
        """Of ``game``, in which players take turns; ``sides`` as :class:`Views` has them."""
        self.game, self._views = game, Views(game, sides)
        self.seen, self.num_actions = int(np.prod(self._views.shape)), game.num_distinct_actions()

    def __call__(self, states: Sequence[Any]) -> npt.NDArray[np.float32]:
        """What is seen of states ``[B, D + A]``; of those where the game is over, zeros."""
        rows = np.zeros((len(states), self.seen + self.num_actions), np.float32)
        for row, state in zip(rows, states, strict=True):
            if not state.is_terminal():
                row[: self.seen] = self._views([state]).ravel()
                row[self.seen + np.array(state.legal_actions())] = 1.0
        return rows

    def after(self, moves: Floats) -> npt.NDArray[np.float32]:
        """What is seen after moves ``[B, L]``, as the environment tells them."""
        return self([state_after(self.game, row) for row in moves])


class ObservedTable:
    """The ControlModel of a task that is a game: roots are the moves so far, as its env tells."""

    observes: Sensed = "observation"

    def __init__(self, model: MuZeroModel, table: Table) -> None:
        """Search in ``model``."""
        self.model, self.table = model, table

    def root(self, sensed: Floats, rng: np.random.Generator) -> Nodes[Hidden]:
        """The positions after the moves ``[B, L]``."""
        return self.model.root(self.table.after(sensed), rng)

    def expand(
        self, embedding: Hidden, action: Ints, rng: np.random.Generator
    ) -> Expansion[Hidden]:
        """One move in each, as the model imagines it."""
        return self.model.expand(embedding, action, rng)

    def vector(self, embedding: Hidden, action: Ints) -> Floats:
        """The numbers themselves ``[B, 1]``."""
        return self.model.vector(embedding, action)


class MuZeroOfGames(MuZero):
    """The Agent that learns from games against itself.

    Attributes:
        table: how it sees a position.
        self_play: the games under way.
    """

    def __init__(self, task: Task, spec: GameSpec, config: MuZeroConfig, seed: int) -> None:
        """An agent that knows nothing yet; raises ValueError if the game has no such sides."""
        self.table = Table(spec.game, config.sides)
        entries = self.table.seen + spec.num_actions
        sizes = DiscreteSpec(entries, spec.num_actions, spec.dt, spec.max_episode_steps)
        seeing = replace(task, policy_inputs=tuple(range(self.table.seen)))
        super().__init__(seeing, sizes, config, seed, players=2)
        self.task = task
        self.self_play = SelfPlay(spec.game, config.games, config.opening_moves, self.rng)

    def act(self, observation: Floats, explore: bool) -> Floats:
        """The number ``[1]`` of a move after the moves ``[L]`` that were observed."""
        return super().act(self.table.after(observation[None])[0], explore)

    def observe(self, experience: Experience) -> None:
        """Nothing: it learns from its own games alone."""

    def play_round(self) -> Iterator[tuple[int, Metrics]]:
        """Play against itself until as many games have ended as are played side by side.

        Yields moves that were just made, one in each game; and at the end what became of the games.
        """
        return self.self_play.play_round(self._decide, self.remember)

    def _decide(self) -> tuple[npt.NDArray[np.int64], Decision]:
        """Moves in the games as they stand, and what the search thought of them."""
        seen = self.table(self.self_play.states)
        _, decision = think(self.model, seen, self.exploring, self.rng)
        return decision.action, decision

    def remember(self, played: Played) -> None:
        """Put the positions of a game that has ended into the replay."""
        seen, rewards = self._replayed(played)
        candidates = np.arange(self.table.num_actions, dtype=np.float32)[None, :, None]
        last = len(played) - 1
        for t, taken in enumerate(played.actions):
            policy = played.policy[t : t + 1].astype(np.float32)
            opinions = Opinions(candidates, policy, played.value[t : t + 1])
            action, over = np.array([taken], np.float64), t == last
            step = Experience(seen[t], action, rewards[t], seen[t + 1], over, False)
            beyond = 0.0 if over else played.value[t + 1]
            self.replay.add(step, action.astype(np.float32), opinions, beyond)
        self.steps += len(played)

    def controller(self) -> TreeSearch[Hidden]:
        """Searches the model as it is now and will become, without exploration."""
        return TreeSearch(ObservedTable(self.model, self.table), self.deciding)

    def state_dict(self) -> dict[str, Any]:
        """Besides what MuZero has, the games under way."""
        return super().state_dict() | {"self_play": self.self_play.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the agent that was saved.

        Raises:
            CheckpointError: if a part is missing or does not fit this game and config; the agent
                is of no use then.
        """
        super().load_state_dict(state)
        with restoring(self):
            self.self_play.load_state_dict(state["self_play"])

    def _replayed(self, played: Played) -> tuple[Floats, list[float]]:
        """What was seen at each position of a game, its end too, and what each move earned."""
        state = state_after(self.table.game, played.opening)
        seen, rewards = [self.table([state])[0]], []
        for action in played.actions.tolist():
            mover = state.current_player()
            state.apply_action(action)
            seen.append(self.table([state])[0])
            rewards.append(float(state.rewards()[mover]))
            if state.current_player() == mover:
                name = self.table.game.get_type().short_name
                raise ValueError(f"task: expected players who take turns, got {name}")
        return np.array(seen, np.float64), rewards


def muzero_or_game_spec(env: gym.Env[Any, Any]) -> EnvSpec | DiscreteSpec | GameSpec:
    """The sizes of an environment of vectors, or the game that it is.

    Raises:
        ValueError: if it has other observations or actions.
    """
    return game_spec(env) if isinstance(env.unwrapped, GameEnv) else muzero_spec(env)


def build_muzero(
    task: Task, spec: EnvSpec | DiscreteSpec | GameSpec, config: MuZeroConfig, seed: int
) -> MuZero:
    """MuZero for an environment or for a game."""
    if isinstance(spec, GameSpec):
        return MuZeroOfGames(task, spec, config, seed)
    return MuZero(task, spec, config, seed)
