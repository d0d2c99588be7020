"""``mpc-robot play``: play a game against what a run has learned."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from mpc_robot.cli.common import Common, CommonOptions, Failed, Outcome
from mpc_robot.envs import make_env
from mpc_robot.envs.openspiel import against
from mpc_robot.errors import require
from mpc_robot.training.evaluation import run_episode
from mpc_robot.training.runs import open_run
from mpc_robot.training.seeding import derive_seed
from mpc_robot.training.tree_picture import draw_last_tree

Say = Callable[[str], None]


class Human:
    """The Opponent who types moves, by OpenSpiel's words for them or by their numbers."""

    def __init__(self, say: Say) -> None:
        """Talk to them by ``say``; they answer on standard input."""
        self._say = say

    def reset(self, seed: int) -> None:
        """A new game begins."""
        self._say("A new game.")

    def move(self, state: Any) -> int:
        """Ask for a move until it is a legal one.

        Raises:
            Failed: if there is no more input.
        """
        player, legal = state.current_player(), state.legal_actions()
        words = {move: state.action_to_string(player, move) for move in legal}
        known = {**{str(move): move for move in legal}, **{words[move]: move for move in legal}}
        self._say(f"{state}\nYour move:")
        while True:
            line = sys.stdin.readline()
            if not line:
                raise Failed("no more moves came: the game was left", {"moves": state.history()})
            if line.strip() in known:
                return int(known[line.strip()])
            moves = ", ".join(f"{move} ({word})" for move, word in words.items())
            self._say(f"Expected one of {moves}; got {line.strip()!r}. Your move:")


@dataclass(frozen=True)
class Play:
    """Play a game against what a run has learned, in the terminal.

    Moves are typed as numbers or in OpenSpiel's words; anything else lists those that are legal.

    Attributes:
        path: the run's folder.
        games: how many; you begin every other one.
        seed: of what is random in how it plays.
        tree: SVG that shows, after each of its moves, the tree behind it.
    """

    path: tyro.conf.Positional[Path]
    games: int = 2
    seed: int = 0
    tree: Path | None = None
    common: Common = field(default_factory=CommonOptions)

    def __post_init__(self) -> None:
        """Raises ValueError if no game is to be played."""
        require(self.games >= 1, "games", "at least 1", self.games)

    def __call__(self, console: Console) -> Outcome:
        """Play, and tell who won each game."""
        run = open_run(self.path)

        def say(text: str) -> None:
            """As it is: boards are full of brackets and numbers."""
            console.print(text, markup=False, highlight=False, soft_wrap=True)

        yours, controller = list[float](), run.agent.controller()
        if self.tree:
            controller = draw_last_tree(controller, self.tree)
        with closing(make_env(against(run.task, Human(say)))) as env:
            board: Any = env.unwrapped
            for number in range(self.games):
                episode = run_episode(env, controller, derive_seed(self.seed, number))
                yours.append(-episode.total)
                say(f"{board.state}\n{_told(yours[-1])}")
        tree = None if self.tree is None else str(self.tree)
        return {"run": str(self.path), "task": run.config.task, "returns": yours, "tree": tree}


def _told(won: float) -> str:
    """The result of a game for whoever got so much out of it."""
    return "A draw." if won == 0 else "You won." if won > 0 else "You lost."
