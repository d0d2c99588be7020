"""AlphaZero (arXiv:1712.01815): learn a game by playing it against oneself, by search.

A net says of a position which moves to consider and who will win; a tree search in the game itself,
guided by the net, says it better; the net learns what the search said and who won. The search is
Gumbel MuZero's, which improves the policy with few simulations (Danihelka et al., ICLR 2022,
"Policy improvement by planning with Gumbel"), or PUCT with Dirichlet noise, as MuZero has it.

For games of two players, one of whom wins what the other loses, without chance or secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from mpc_robot.agents.base import Metrics, restoring
from mpc_robot.agents.self_play import Played, SelfPlay
from mpc_robot.controllers.tree_rules import GumbelConfig, PUCTConfig
from mpc_robot.controllers.tree_search import Decision, SearchConfig, TreeSearch, search
from mpc_robot.controllers.trees import Trees
from mpc_robot.data.game_positions import GameReplay, Positions
from mpc_robot.data.replay import Experience
from mpc_robot.data.symmetries import Symmetries, Symmetry
from mpc_robot.dynamics.openspiel import ObservedGame, OpenSpielModel, States
from mpc_robot.envs.base import Task
from mpc_robot.envs.openspiel import GameSpec, Views, state_after
from mpc_robot.errors import require, require_choices
from mpc_robot.nn.descent import Descent, DescentConfig
from mpc_robot.nn.policy_value import PolicyValueConfig, PolicyValueNet

Floats = npt.NDArray[np.float64]
GUMBEL = GumbelConfig(value_scale=1.0, least_range=2.0)
"""Gumbel's rule for games: values are scaled from loss to win, not by how they differ."""
ILLEGAL = -1e9
"""Logit of what is against the rules."""


@dataclass(frozen=True)
class AlphaZeroConfig:
    """Settings of AlphaZero; those of arXiv:1712.01815 for Go in brackets.

    Attributes:
        net: policy and value.
        rule: of the search, with the noise of self-play [PUCT, Dirichlet 0.03 at 0.25].
        simulations: of each search in self-play [800].
        simulations_of_controller: of each search when it matters [800].
        discount: of what is won a move later [1]: with less, who wins hurries and who loses
            resists, where else all moves of a game that is decided are worth the same.
        games: played side by side, whose positions the net sees together.
        opening_moves: random moves, up to so many, before a game of self-play begins [0]: else a
            learner that knows how to open sees nothing else, and does not know what others do.
        drawn_moves: first moves of a game that are drawn from the search's policy in place of its
            best [30, by arXiv:1712.01815's predecessor].
        sides: planes of the game's observations that hold the pieces of either player, which the
            net sees as the mover's and the other's [so]; None where there are none.
        symmetry: what leaves the game the same, for positions to be learned turned in every way
            [none; its predecessor all eight].
        search_share: share of the search's value, beside the outcome, in what the value learns [0].
        capacity: positions that are remembered [those of 1,000,000 games].
        reuse: times that each position is learned from, on average.
        batch_size: positions per update [4096].
        first_update: positions played before learning begins.
        descent: of the net [without momentum, at a rate of 0.2 falling to 0.0002].
        value_weight: of the value's squared error beside the policy's cross-entropy [1].
    """

    net: PolicyValueConfig = field(default_factory=PolicyValueConfig)
    rule: GumbelConfig | PUCTConfig = GUMBEL
    simulations: int = 32
    simulations_of_controller: int = 100
    discount: float = 1.0
    games: int = 128
    opening_moves: int = 0
    drawn_moves: int = 0
    sides: tuple[int, int] | None = None
    symmetry: Symmetry = "none"
    search_share: float = 0.0
    capacity: int = 100_000
    reuse: float = 4.0
    batch_size: int = 256
    first_update: int = 5_000
    descent: DescentConfig = field(default_factory=lambda: DescentConfig(1e-3, "norm", 5.0))
    value_weight: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        counts = ("simulations", "simulations_of_controller", "games", "capacity", "batch_size")
        for name in (*counts, "first_update"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("opening_moves", "drawn_moves"):
            require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        room = self.first_update <= self.capacity
        require(room, "capacity", f"at least first_update, {self.first_update}", self.capacity)
        require(0.0 < self.discount <= 1.0, "discount", "in (0, 1]", self.discount)
        require(0.0 <= self.search_share <= 1.0, "search_share", "in [0, 1]", self.search_share)
        require(0.0 < self.reuse < np.inf, "reuse", "positive", self.reuse)
        sound = 0.0 <= self.value_weight < np.inf
        require(sound, "value_weight", "at least 0", self.value_weight)


def policy_loss(logits: Tensor, positions: Positions) -> Tensor:
    """Cross-entropy from the search's policy to the net's over legal actions, mean, nats."""
    masked = logits.masked_fill(~positions.legal, ILLEGAL)
    loss: Tensor = -(positions.policy * functional.log_softmax(masked, dim=1)).sum(dim=1).mean()
    return loss


def value_loss(value: Tensor, positions: Positions) -> Tensor:
    """Mean squared error of who will win."""
    return functional.mse_loss(value, positions.value)


def without_noise(rule: GumbelConfig | PUCTConfig) -> GumbelConfig | PUCTConfig:
    """The rule as it plays when it matters."""
    if isinstance(rule, GumbelConfig):
        return replace(rule, noise=0.0)
    return replace(rule, dirichlet_fraction=0.0)


def positions_of(
    game: Any,
    played: Played,
    views: Views,
    *,
    discount: float = 1.0,
    scale: float = 1.0,
    search_share: float = 0.0,
) -> Positions:
    """What can be learned from a game that was played.

    Args:
        game: OpenSpiel's.
        played: what happened.
        views: what the net sees.
        discount: of what is won a move later.
        scale: a return that counts as 1.
        search_share: share of the search's value in the target beside what was won after all.
    """
    seen, legal = [], np.zeros(played.policy.shape, np.bool_)
    mover, known = np.empty(len(played), np.int64), np.empty(len(played))
    for i, state in enumerate(played.states(game)):
        seen.append(views([state])[0])
        legal[i, state.legal_actions()] = True
        mover[i], known[i] = state.current_player(), state.returns()[0]
    earned, won = np.diff(known, append=played.returns[0]), np.zeros(len(played) + 1)
    for i in reversed(range(len(played))):
        won[i] = earned[i] + discount * won[i + 1]
    movers = np.where(mover == 0, won[:-1], -won[:-1])
    value = (1.0 - search_share) * movers + search_share * played.value
    return Positions(np.array(seen), legal, played.policy, value / scale)


class AlphaZero:
    """The Agent: a net, games under way against itself, and the positions of those that ended.

    Attributes:
        net: policy and value.
        replay: positions with what search and outcome said of them.
        self_play: the games under way.
        updates: of the net so far.
    """

    def __init__(self, task: Task, spec: GameSpec, config: AlphaZeroConfig, seed: int) -> None:
        """An agent that knows nothing yet.

        Raises:
            ValueError: if the game has not the symmetry or the sides that it is to have.
        """
        self.task, self.spec, self.config = task, spec, config
        self.views = Views(spec.game, config.sides)
        shape, actions = self.views.shape, spec.num_actions
        self.rng, self._search_rng = (
            torch.Generator().manual_seed(seed),
            np.random.default_rng(seed),
        )
        self.net = PolicyValueNet(shape, actions, config.net, self.rng)
        self.replay = GameReplay(shape, actions, config.capacity)
        self.self_play = SelfPlay(spec.game, config.games, config.opening_moves, self._search_rng)
        self.updates = 0
        self.model = OpenSpielModel(spec.game, self.evaluate, discount=config.discount)
        self._scale = max(abs(spec.game.max_utility()), abs(spec.game.min_utility()))
        self._symmetries = Symmetries(shape, actions, config.symmetry)
        self._descent = Descent(self.net.parameters(), config.descent)
        self._owed = 0.0

    @torch.inference_mode()
    def evaluate(self, states: Sequence[Any]) -> tuple[Floats, Floats]:
        """Logits ``[B, A]`` and values ``[B]`` of states, in the unit of the game's returns."""
        logits, value = self.net(torch.from_numpy(self.views(states)))
        return logits.double().numpy(), self._scale * value.double().numpy()

    def act(self, observation: Floats, explore: bool) -> Floats:
        """The number ``[1]`` of a move after the moves ``[L]`` that were observed."""
        states = [state_after(self.spec.game, observation)]
        config = self._exploring() if explore else self._deciding()
        return self._searched(states, config).action.astype(np.float64)

    def observe(self, experience: Experience) -> None:
        """Nothing: it learns from its own games alone."""

    def play_round(self) -> Iterator[tuple[int, Metrics]]:
        """Play against itself until as many games have ended as are played side by side.

        Yields moves that were just made, one in each game; and at the end what became of the games.
        """
        return self.self_play.play_round(self._decide, self._remember)

    def update(self) -> Metrics:
        """Learn as often as is due by the positions that are new; means over those updates."""
        if len(self.replay) < self.config.first_update:
            return {}
        due, self._owed = divmod(self._owed, 1.0)
        losses = [self._learn() for _ in range(int(due))]
        return (
            {k: float(np.mean([loss[k] for loss in losses])) for k in losses[0]} if losses else {}
        )

    def controller(self) -> TreeSearch[States]:
        """A search with the net as it is now and will become, without exploration."""
        return TreeSearch(ObservedGame(self.model), self._deciding())

    def state_dict(self) -> dict[str, Any]:
        """Net, optimizer, positions, games under way, counters and random states."""
        return {
            "net": dict(self.net.state_dict()),
            "descent": self._descent.state_dict(),
            "replay": self.replay.state_dict(),
            "self_play": self.self_play.state_dict(),
            "updates": self.updates,
            "owed": self._owed,
            "rng": self.rng.get_state(),
            "search_rng": self._search_rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the agent that was saved.

        Raises:
            CheckpointError: if a part is missing or does not fit this task and config; the agent
                is of no use then.
        """
        with restoring(self):
            self.net.load_state_dict(state["net"])
            self._descent.load_state_dict(state["descent"])
            self.replay.load_state_dict(state["replay"])
            self.self_play.load_state_dict(state["self_play"])
            self.updates, self._owed = state["updates"], state["owed"]
            self.rng.set_state(state["rng"])
            self._search_rng.bit_generator.state = state["search_rng"]

    def _exploring(self) -> SearchConfig:
        """How to search in games against oneself."""
        return SearchConfig(self.config.rule, self.config.simulations)

    def _deciding(self) -> SearchConfig:
        """How to search when it matters."""
        rule = without_noise(self.config.rule)
        return SearchConfig(rule, self.config.simulations_of_controller)

    def _searched(self, states: Sequence[Any], config: SearchConfig) -> Decision:
        """One search from each state."""
        trees = Trees(self.model.root(states, self._search_rng), self._search_rng)
        return search(self.model, trees, config, self._search_rng)

    def _decide(self) -> tuple[npt.NDArray[np.int64], Decision]:
        """Moves in the games as they stand, and what the search thought of them."""
        decision = self._searched(self.self_play.states, self._exploring())
        return self._chosen(decision), decision

    def _chosen(self, decision: Decision) -> npt.NDArray[np.int64]:
        """The move to make in each game: the best, or at first one drawn from the policy."""
        below = self._search_rng.random((len(decision.action), 1)) < decision.policy.cumsum(axis=1)
        drawn = np.where(below.any(axis=1), below.argmax(axis=1), decision.action)
        early = self.self_play.lengths() < self.config.drawn_moves
        return np.where(early, drawn, decision.action)

    def _remember(self, played: Played) -> None:
        """Put the positions of a game into the replay."""
        new = positions_of(
            self.spec.game,
            played,
            self.views,
            discount=self.config.discount,
            scale=self._scale,
            search_share=self.config.search_share,
        )
        self.replay.add(new)
        self._owed += len(played) * self.config.reuse / self.config.batch_size

    def _learn(self) -> Metrics:
        """One step of the net on a batch."""
        batch = self.replay.sample(self.config.batch_size, self.rng)
        batch = self._symmetries.apply(batch, self.rng)
        logits, value = self.net(batch.view)
        policy, worth = policy_loss(logits, batch), value_loss(value, batch)
        self._descent.step(policy + self.config.value_weight * worth)
        self.updates += 1
        return {"policy/loss": policy.item(), "value/loss": worth.item()}
