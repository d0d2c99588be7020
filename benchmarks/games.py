"""Who learns to win? AlphaZero and MuZero by their presets, then matched against named opponents.

    python -m benchmarks.games
    python -m benchmarks.games --only connect_four --threads 2

Each game is learned by playing against oneself alone; a run that was interrupted goes on. Half of
the games of a match are begun by the opponent. Time counts training without evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from benchmarks.common import RESULTS, Row, about, write_result
from benchmarks.learning import learn_one
from rich.console import Console

from mpc_robot.envs.openspiel import against, results
from mpc_robot.training.evaluation import Evaluation, evaluate
from mpc_robot.training.runs import open_run
from mpc_robot.training.trainer import TrainConfig

MATCH = 1
"""Seed of the match."""


@dataclass(frozen=True)
class Case:
    """A game to be learned.

    Attributes:
        train: what to learn, and for how many moves of self-play.
        opponent: whom the match is against.
        games: of the match.
        wanted: the least share of games won, or not lost.
        counts: which of these: ``win``, or ``win`` and ``draw``.
        limit_s: time that training may take, s; None if nothing was said of it.
    """

    train: TrainConfig
    opponent: str
    games: int
    wanted: float
    counts: tuple[str, ...]
    limit_s: float | None


def training(agent: str, game: str, steps: int, evaluations: int) -> TrainConfig:
    """A learner on a game, evaluated so many times on the way."""
    every = steps // evaluations
    return TrainConfig(
        agent, game, steps=steps, eval_every=every, checkpoint_every=every // 2, eval_episodes=20
    )


CASES = {
    "tic_tac_toe": Case(
        training("alphazero", "tic_tac_toe", 100_000, 5),
        opponent="perfect",
        games=200,
        wanted=1.0,
        counts=("win", "draw"),
        limit_s=600.0,
    ),
    "tic_tac_toe-muzero": Case(
        training("muzero", "tic_tac_toe", 400_000, 5),
        opponent="perfect",
        games=100,
        wanted=1.0,
        counts=("win", "draw"),
        limit_s=None,
    ),
    "connect_four": Case(
        training("alphazero", "connect_four", 1_000_000, 10),
        opponent="mcts-1000",
        games=200,
        wanted=0.8,
        counts=("win",),
        limit_s=10_800.0,
    ),
    "go_5x5": Case(
        training("alphazero", "go(board_size=5)", 1_000_000, 10),
        opponent="mcts-400",
        games=200,
        wanted=0.8,
        counts=("win",),
        limit_s=10_800.0,
    ),
}


def match(path: Path, opponent: str, games: int) -> Evaluation:
    """Games of what a run has learned against somebody."""
    run = open_run(path)
    return evaluate(against(run.task, opponent), run.agent.controller(), games, MATCH)


def rows(case: Case, train_s: float, shares: Mapping[str, float]) -> list[Row]:
    """What came of a match, and what was asked."""
    name, asked = f"{case.train.agent} on {case.train.task}", f"at least {case.wanted:.0%}"
    metric = " or ".join(case.counts)
    good = sum(shares[part] for part in case.counts)
    return [
        Row(name, f"{metric} against {case.opponent}", good, "1", asked, good / case.wanted),
        Row(name, "training", train_s, "s", *_limit(train_s, case.limit_s)),
        *(Row(name, part, share, "1") for part, share in shares.items()),
    ]


def _limit(train_s: float, limit_s: float | None) -> tuple[str | None, float | None]:
    return (None, None) if limit_s is None else ("the limit", train_s / limit_s)


def measure(case: Case, path: Path, console: Console) -> dict[str, Any]:
    """Learn, play the match, and say what came of it."""
    learned = learn_one(case.train, path, console)
    evaluation = match(path, case.opponent, case.games)
    shares = results(evaluation.returns)
    return {
        **learned,
        **about("games"),
        "opponent": case.opponent,
        "games": case.games,
        "results": shares,
        "rows": [asdict(row) for row in rows(case, learned["wall_s"][-1], shares)],
    }


def main(
    only: tuple[str, ...] = tuple(CASES),
    runs: Path = Path("runs") / "games",
    out: Path = RESULTS / "games",
    threads: int = 1,
) -> None:
    """Learn the games that have no result yet, and write their results.

    Args:
        only: the games.
        runs: folder of the run folders.
        out: folder of the results.
        threads: of torch; two are faster where nothing else runs.
    """
    torch.set_num_threads(threads)
    for name in only:
        if not (out / f"{name}.json").exists():
            result = measure(CASES[name], runs.absolute() / name, Console())
            write_result(out / f"{name}.json", result)
            for row in result["rows"]:
                print(f"{row['case']}, {row['metric']}: {row['value']:.4g} {row['unit']}")


if __name__ == "__main__":
    tyro.cli(main)
