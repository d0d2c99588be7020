"""How fast are tree searches, and how much of it is anything but the model?

    python -m benchmarks.search
    python -m benchmarks.search --peers mctx PYTHON

Measured on one core: simulations per second in a model that costs nothing and in a small net, over
batches and budgets, and beside mctx in an interpreter that it is installed for; on connect four
with random games, beside OpenSpiel's searches (extra ``games``). What is compared is measured in
turns. Rates count the processor's time; mctx's is that of all its threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.common import RESULTS, Row, about
from benchmarks.peers.process import PeerError, PeerProcess
from benchmarks.planning import measure_and_publish, take_turns, timed, typical

from mpc_robot.controllers.tree_rules import GumbelConfig, PUCTConfig, RuleConfig, UCTConfig
from mpc_robot.controllers.tree_search import SearchConfig, search
from mpc_robot.controllers.trees import Trees
from mpc_robot.dynamics.row_games import RowGameModel
from mpc_robot.dynamics.search_model import Expansion, Ints, Nodes
from mpc_robot.envs.games import CONNECT_FOUR
from mpc_robot.envs.openspiel import load_game

RULES: dict[str, RuleConfig] = {"puct": PUCTConfig(), "gumbel": GumbelConfig()}
SIMULATIONS = "simulations_per_s"
IN_A_ROW = 10
"""Searches of one before it is another's turn: the first of them finds a cold cache."""


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        json: print the result as one JSON object on the last line.
        quick: only see that everything runs; the numbers mean little.
        peers: interpreters with a peer installed, by the peer's name: mctx.
        out: where to write the result.
    """

    json: bool = False
    quick: bool = False
    peers: dict[str, Path] = field(default_factory=dict)
    out: Path = RESULTS / "search" / "search.json"


@dataclass(frozen=True)
class Case:
    """A search, equal for everybody.

    Attributes:
        rule: ``puct``, which mctx calls muzero, or ``gumbel``.
        batch: trees.
        simulations: per tree.
        actions: of a state.
        hidden: width of the net that is searched in; 0 for a model that costs nothing.
    """

    rule: str
    batch: int = 32
    simulations: int = 50
    actions: int = 4
    hidden: int = 0

    def __str__(self) -> str:
        """As in ``puct, 32 trees x 50, 4 actions, null model``."""
        model = f"net of {self.hidden}" if self.hidden else "null model"
        size = f"{self.batch} trees x {self.simulations}, {self.actions} actions"
        return f"{self.rule}, {size}, {model}"


CASES = (
    *(Case(rule) for rule in RULES),
    *(Case(rule, actions=18) for rule in RULES),
    *(Case(rule, hidden=128) for rule in RULES),
    Case("puct", batch=1),
    Case("puct", batch=256),
    Case("puct", simulations=400),
)


class NetModel:
    """A small net with random weights, or, of width 0, nothing at all."""

    def __init__(self, case: Case) -> None:
        """The net of a case."""
        rng, hidden = np.random.default_rng(0), case.hidden
        into = rng.normal(size=(hidden + case.actions, hidden)) / max(hidden, 1) ** 0.5
        out = rng.normal(size=(hidden, case.actions + 2)) / max(hidden, 1) ** 0.5
        self._inner, self._outer = into.astype(np.float32), out.astype(np.float32)
        self._one_hot = np.eye(case.actions, dtype=np.float32)
        zeros, ones = np.zeros(case.batch), np.ones(case.batch)
        state = np.zeros((case.batch, max(hidden, 1)), np.float32)
        self._root = Nodes(state, zeros, np.zeros((case.batch, case.actions)))
        self._nothing = Expansion(zeros, ones, self._root)
        self._hidden = hidden

    def root(self, sensed: Any, rng: np.random.Generator) -> Nodes[npt.NDArray[np.float32]]:
        """Zeros."""
        return self._root

    def expand(
        self, embedding: npt.NDArray[np.float32], action: Ints, rng: np.random.Generator
    ) -> Expansion[npt.NDArray[np.float32]]:
        """What the net says, or zeros."""
        if not self._hidden:
            return self._nothing
        state = np.tanh(np.concatenate([embedding, self._one_hot[action]], 1) @ self._inner)
        heads = state @ self._outer
        nodes = Nodes(state, heads[:, 1], heads[:, 2:])
        return Expansion(heads[:, 0], self._nothing.discount, nodes)


def ours(case: Case) -> Callable[[], object]:
    """One search of all trees of a case."""
    model, rng = NetModel(case), np.random.default_rng(0)
    config = SearchConfig(RULES[case.rule], case.simulations)
    return lambda: search(model, Trees(model.root(None, rng), rng), config, rng)


def measure_case(case: Case, rounds: int) -> list[Row]:
    """Simulations of ours alone."""
    times = take_turns({"ours": ours(case)}, rounds)["ours"]
    return [Row(str(case), SIMULATIONS, case.batch * case.simulations / typical(times), "1/s")]


def measure_peer(name: str, python: Path, case: Case, rounds: int) -> list[Row]:
    """Simulations of ours and of a peer in turns.

    Raises:
        PeerError: if the peer does not run.
    """
    with PeerProcess(name, python, asdict(case)) as peer:
        run = ours(case)
        run()
        mine, theirs = list[tuple[float, float]](), list[tuple[float, float]]()
        for _ in range(rounds):
            mine += [timed(run) for _ in range(IN_A_ROW)]
            theirs += [peer.plan()[:2] for _ in range(IN_A_ROW)]
    num, other = case.batch * case.simulations, f"{name} {peer.version} {case}"
    their_s, our_s = typical(np.array(theirs)), typical(np.array(mine))
    return [
        Row(other, SIMULATIONS, num / their_s, "1/s"),
        Row(str(case), SIMULATIONS, num / our_s, "1/s", other, their_s / our_s),
    ]


def connect_four(batch: int, simulations: int) -> Callable[[], object]:
    """A search with random games of as many first moves of connect four."""
    model, rng = RowGameModel(CONNECT_FOUR), np.random.default_rng(0)
    config, boards = SearchConfig(UCTConfig(), simulations), CONNECT_FOUR.empty(batch)
    return lambda: search(model, Trees(model.root(boards, rng), rng), config, rng)


def openspiel_searches(simulations: int) -> dict[str, Callable[[], object]]:
    """OpenSpiel's searches of the same, in Python and in C++.

    Raises:
        ModuleNotFoundError: if OpenSpiel is not installed.
    """
    game = load_game("connect_four")
    import pyspiel  # noqa: PLC0415  an extra
    from open_spiel.python.algorithms import mcts  # noqa: PLC0415

    state, rng, c = game.new_initial_state(), np.random.default_rng(0), 2.0**0.5
    slow = mcts.MCTSBot(
        game, c, simulations, mcts.RandomRolloutEvaluator(1, rng), solve=False, random_state=rng
    )
    fast = pyspiel.MCTSBot(
        game, pyspiel.RandomRolloutEvaluator(1, 0), c, simulations, 100, False, 0, False
    )
    return {
        "OpenSpiel, Python": partial(slow.mcts_search, state),
        "OpenSpiel, C++": partial(fast.mcts_search, state),
    }


def measure_connect_four(simulations: int, rounds: int) -> list[Row]:
    """One tree and many, beside OpenSpiel's, which know one."""
    batches = {f"connect four, {batch} trees x {simulations}": batch for batch in (1, 32)}
    others = openspiel_searches(simulations)
    calls = {case: connect_four(batch, simulations) for case, batch in batches.items()}
    times = take_turns({**calls, **others}, rounds)
    rates = {
        name: batches.get(name, 1) * simulations / typical(seconds)
        for name, seconds in times.items()
    }
    rows = [Row(f"connect four, {name}", SIMULATIONS, rates[name], "1/s") for name in others]
    for case in batches:
        for name in others:
            ratio = rates[case] / rates[name]
            rows.append(Row(case, SIMULATIONS, rates[case], "1/s", f"connect four, {name}", ratio))
    return rows


def measure(options: Options) -> dict[str, Any]:
    """Everything, as a result for disk."""
    result, notes = about("search"), list[str]()
    rounds, rows = 2 if options.quick else 20, list[Row]()
    cases = CASES[:2] if options.quick else CASES
    for case in cases:
        rows += measure_case(case, rounds)
    try:
        rows += measure_connect_four(20 if options.quick else 1000, 2 if options.quick else 6)
    except ModuleNotFoundError as failure:
        notes.append(str(failure))
    for name, python in options.peers.items():
        try:
            for case in cases:
                rows += measure_peer(name, python, case, rounds)
        except PeerError as failure:
            notes.append(str(failure))
    return {**result, "rows": [asdict(row) for row in rows], "notes": notes}


def main(argv: list[str] | None = None) -> None:
    """Measure, write, tell."""
    measure_and_publish(Options, measure, __doc__, argv)


if __name__ == "__main__":
    main()
