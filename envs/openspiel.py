"""OpenSpiel's games for two as environments: an opponent plays one side (extra `games`).

A task is called as OpenSpiel calls the game, such as ``connect_four`` or ``go(board_size=5)``.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from mpc_robot.envs.base import Task, control_period, episode_limit
from mpc_robot.envs.opponents import Opponent, opponent_named
from mpc_robot.errors import require

ENV_ID = "mpc_robot/OpenSpiel-v0"
OPPONENT = "mcts-100"
"""Whom a game is played against where nobody else is named."""
PLANNED = ("tic_tac_toe", "connect_four", "go")
"""Games that are known even where OpenSpiel is not installed, so that the extra can be named."""
Moves = npt.NDArray[np.float64]
"""The moves of a game so far ``[L]``, -1 from then on; L is the longest that a game can be."""


def load_game(name: str) -> Any:
    """An OpenSpiel game by its name, such as ``connect_four`` or ``go(board_size=5)``.

    Raises:
        ModuleNotFoundError: if OpenSpiel is not installed; names the extra that installs it.
        ValueError: if OpenSpiel does not know the game.
    """
    try:
        import pyspiel  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "OpenSpiel games need the extra `games`: pip install 'mpc-robot[games]'",
            name=error.name,
        ) from error
    try:
        return pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        raise ValueError(f"game: expected one that OpenSpiel knows, got {name!r}") from error


def check_game(game: Any, *, players: tuple[int, ...] = (2,)) -> None:
    """Make sure that all is known of a game, and that what one player wins the other loses.

    Args:
        game: to check.
        players: how many there may be.

    Raises:
        TypeError: if it is another kind of game.
    """
    kind, count = game.get_type(), game.num_players()
    traits = [
        str(t).rpartition(".")[2] for t in (kind.dynamics, kind.chance_mode, kind.information)
    ]
    expected = ["SEQUENTIAL", "DETERMINISTIC", "PERFECT_INFORMATION"]
    zero_sum = str(kind.utility).endswith(".ZERO_SUM")
    if traits != expected or count not in players or (count == 2 and not zero_sum):
        raise TypeError(
            f"game: expected {', '.join(expected)}, for {' or '.join(map(str, players))}, two with "
            f"ZERO_SUM, got {kind.short_name}: {', '.join(traits)}, {count} players, {kind.utility}"
        )


def is_game(name: str) -> bool:
    """Whether a name is one of OpenSpiel's."""
    kind = name.partition("(")[0]
    if kind in PLANNED or importlib.util.find_spec("pyspiel") is None:
        return kind in PLANNED
    import pyspiel  # noqa: PLC0415  an extra

    return kind in pyspiel.registered_names()


def register_games() -> None:
    """Make games known to ``gymnasium.make``, as one environment with the game as an argument."""
    if ENV_ID not in gym.registry:
        gym.register(ENV_ID, "mpc_robot.envs.openspiel:GameEnv")


def game_task(name: str, opponent: str = OPPONENT) -> Task:
    """The task of winning a game.

    Raises:
        ModuleNotFoundError: if OpenSpiel is not installed; names the extra that installs it.
        ValueError: if OpenSpiel does not know the game.
    """
    longest = load_game(name).max_game_length()
    kwargs = {"game": name, "opponent": opponent, "max_episode_steps": longest}
    return Task(name, ENV_ID, f"{name} of OpenSpiel", env_kwargs=kwargs)


def is_against(task: Task) -> bool:
    """Whether a task is a game against somebody."""
    return task.env_id == ENV_ID


def against(task: Task, opponent: str | Opponent) -> Task:
    """The same game against somebody else.

    Raises:
        ValueError: if the task is no game.
    """
    require(is_against(task), "opponent", "a game to play against", task.name)
    return replace(task, env_kwargs={**task.env_kwargs, "opponent": opponent})


class GameEnv(gym.Env[Moves, Any]):
    """A game against an opponent, who begins every other game, the second one first.

    An observation is all moves so far. The reward is what has been won since the last action; it
    comes at the end in most games.

    Attributes:
        game: OpenSpiel's.
        opponent: who answers.
        seat: which player the actions are of, 0 or 1; 1 before the first reset.
        state: OpenSpiel's, of the game as it stands.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi"],
        "render_fps": 1,
    }

    def __init__(
        self, game: str, opponent: str | Opponent = OPPONENT, render_mode: str | None = None
    ) -> None:
        """Play ``game`` against ``opponent``, one of ours by its name or anybody else.

        Raises:
            ModuleNotFoundError: if OpenSpiel is not installed; names the extra that installs it.
            TypeError: if it is not a game for two of whom one wins what the other loses, or
                something in it is random or hidden.
            ValueError: if OpenSpiel does not know the game, or the opponent does not play it.
            UnknownNameError: if there is no such opponent.
        """
        self.game = load_game(game)
        check_game(self.game)
        if isinstance(opponent, str):
            opponent = opponent_named(opponent, self.game)
        self.opponent: Opponent = opponent
        actions, longest = self.game.num_distinct_actions(), self.game.max_game_length()
        self.observation_space = gym.spaces.Box(-1, actions - 1, (longest,), np.float64)
        self.action_space = gym.spaces.Discrete(actions)
        self.render_mode = render_mode
        self.seat, self.state = 1, self.game.new_initial_state()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Moves, dict[str, Any]]:
        """Begin anew in the seat not taken last; ``seed`` decides how the opponent plays."""
        super().reset(seed=seed)
        self.seat, self.state = 1 - self.seat, self.game.new_initial_state()
        self.opponent.reset(int(self.np_random.integers(2**31)))
        self._let_answer()
        return self._moves(), {}

    def step(self, action: int) -> tuple[Moves, float, bool, bool, dict[str, Any]]:
        """Move, and let the opponent answer; raises ValueError if that is against the rules."""
        legal, before = self.state.legal_actions(), self.state.returns()[self.seat]
        require(action in legal, "action", f"one of {legal}", action)
        self.state.apply_action(action)
        self._let_answer()
        won = self.state.returns()[self.seat] - before
        return self._moves(), won, self.state.is_terminal(), False, {}

    def render(self) -> Any:
        """The board as text."""
        return str(self.state)

    def _let_answer(self) -> None:
        """Let the opponent move as long as it is their turn."""
        while self.state.current_player() == 1 - self.seat:
            self.state.apply_action(self.opponent.move(self.state))

    def _moves(self) -> Moves:
        """All moves so far."""
        moves, history = np.full(self.game.max_game_length(), -1.0), self.state.history()
        moves[: len(history)] = history
        return moves


def state_after(game: Any, moves: npt.NDArray[Any]) -> Any:
    """OpenSpiel's state after the moves ``[L]`` of an observation."""
    state = game.new_initial_state()
    for move in moves[moves >= 0].tolist():
        state.apply_action(int(move))
    return state


@dataclass(frozen=True)
class GameSpec:
    """A game, as its environment knows it.

    Attributes:
        game: OpenSpiel's.
        dt: control period, s: a move is taken to last one.
        max_episode_steps: steps after which an episode is truncated, which no game reaches.
    """

    game: Any
    dt: float
    max_episode_steps: int | None

    @property
    def num_actions(self) -> int:
        """How many moves there are, legal or not."""
        return int(self.game.num_distinct_actions())


def game_spec(env: gym.Env[Any, Any]) -> GameSpec:
    """Read the game off an environment.

    Raises:
        ValueError: if it is no game.
    """
    base = env.unwrapped
    if not isinstance(base, GameEnv):
        raise ValueError(f"environment: expected a game of OpenSpiel, got {base}")
    return GameSpec(base.game, control_period(env), episode_limit(env))


class Views:
    """What a net sees of states of a game: OpenSpiel's observations, and which player is to move.

    Attributes:
        shape: of one view: planes ``[C, H, W]``, or a vector ``[D]``; the last plane or entry is 0
            or 1, the player to move.
    """

    def __init__(self, game: Any, sides: tuple[int, int] | None = None) -> None:
        """Views of the states of ``game``.

        Args:
            game: OpenSpiel's.
            sides: planes of the pieces of the player who begins and of the other, which change
                places when the latter is to move, so that the first is the mover's
                (arXiv:1712.01815); None for views as OpenSpiel has them.

        Raises:
            ValueError: if there are no such planes.
        """
        from open_spiel.python import observation  # type: ignore[import-untyped] # noqa: PLC0415

        self._tensor, self._sides = observation.make_observation(game), sides
        given = tuple(game.observation_tensor_shape())
        planes = given[0] if len(given) == 3 else 0
        there = sides is None or (0 <= min(sides) < max(sides) < planes)
        require(there, "sides", f"two of {planes} planes", sides)
        flat = given if len(given) == 3 else (math.prod(given),)
        self.shape: tuple[int, ...] = (flat[0] + 1, *flat[1:])

    def __call__(self, states: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Views ``[B, *shape]`` of B states, each by the player to move."""
        views = np.empty((len(states), math.prod(self.shape)), np.float32)
        known = self._tensor.tensor.size
        for view, state in zip(views, states, strict=True):
            player = state.current_player()
            self._tensor.set_from(state, player)
            view[:known], view[known:] = self._tensor.tensor, player
            if self._sides is not None and player == 1:
                planes = view.reshape(self.shape)
                planes[list(self._sides)] = planes[list(self._sides[::-1])]
        return views.reshape(-1, *self.shape)


def results(returns: npt.NDArray[np.float64]) -> Mapping[str, float]:
    """Shares of games won, drawn and lost, by their returns ``[G]``."""
    return {
        "win": float((returns > 0).mean()),
        "draw": float((returns == 0).mean()),
        "loss": float((returns < 0).mean()),
    }
