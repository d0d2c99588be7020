"""Monte Carlo tree search: try what looks best, ask the model what follows, remember, repeat.

Many trees are searched at once: in each simulation every tree is walked down to an action that was
not tried there (select), the model is asked once for all of them (expand), and what it says goes
into the trees and up to their roots (back up). Which action looks best is a rule's matter:
:mod:`mpc_robot.controllers.tree_rules`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from mpc_robot.controllers.base import Plan
from mpc_robot.controllers.mpc import checked
from mpc_robot.controllers.tree_arrays import attach
from mpc_robot.controllers.tree_rules import (
    NO_HALVING,
    GumbelConfig,
    Halving,
    Numbers,
    PUCTConfig,
    RuleConfig,
    dirichlet,
    halving,
    numbers,
)
from mpc_robot.controllers.tree_selection import decide, select
from mpc_robot.controllers.trees import Trees
from mpc_robot.dynamics.base import Sensed
from mpc_robot.dynamics.rows import put
from mpc_robot.dynamics.search_model import ControlModel, SearchModel
from mpc_robot.errors import ModelDivergedError, require

Embedding = TypeVar("Embedding")
Floats = npt.NDArray[np.float64]
CHUNK = 1024
"""Simulations that room is made for at once: there may be no time for all."""


@dataclass(frozen=True)
class SearchConfig:
    """How to search.

    Attributes:
        rule: which action to try next, and its settings.
        simulations: per tree (MuZero: 50 Atari, 800 board games).
        budget: time after which no further simulation begins, s; the first is always done.
        reuse: a controller goes on with what its last tree holds of the state it expected, where
            nobody else has moved since; only for models that do not err.
    """

    rule: RuleConfig = field(default_factory=PUCTConfig)
    simulations: int = 50
    budget: float = math.inf
    reuse: bool = False

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require(self.simulations >= 1, "simulations", "at least 1", self.simulations)
        require(self.budget > 0, "budget", "positive", self.budget)
        fits = not (self.reuse and isinstance(self.rule, GumbelConfig))
        require(fits, "reuse", "False with Gumbel, whose halving begins with no visits", True)


@dataclass(frozen=True)
class Decision:
    """What B searches came to.

    Attributes:
        action: the best action ``[B]``.
        policy: of each root ``[B, A]``: shares of the visits, or Gumbel MuZero's improved policy.
        value: mean return from each root, of the player to move ``[B]``.
        visits: times that each action was tried ``[B, A]``.
        q: mean return of each action ``[B, A]``, 0 where it was never tried.
        simulations: how many there was time for.
    """

    action: npt.NDArray[np.int64]
    policy: Floats
    value: Floats
    visits: npt.NDArray[np.int32]
    q: Floats
    simulations: int

    @property
    def improved_value(self) -> Floats:
        """What the policy expects of those actions that were tried ``[B]``.

        Unlike ``value`` it does not count what was only tried: halving tries bad actions often. It
        is ``value`` where the policy rules out all that was tried.
        """
        share = self.policy * (self.visits > 0)
        whole = share.sum(axis=1)
        mean = (share * self.q).sum(axis=1) / np.maximum(whole, 1e-300)
        value: Floats = np.where(whole > 0.0, mean, self.value)
        return value


def search(
    model: SearchModel[Embedding],
    trees: Trees[Embedding],
    config: SearchConfig,
    rng: np.random.Generator,
) -> Decision:
    """Let ``trees`` grow by so many simulations, or for so long, and decide at their roots.

    Raises:
        ValueError: if the model's answers have another shape, or Gumbel's rule is to go on with a
            tree that was searched before.
        ModelDivergedError: if no action of a root leads anywhere finite.
    """
    if isinstance(config.rule, GumbelConfig) and (trees.arrays.nodes["visits"][:, 0] > 1).any():
        raise ValueError("trees: expected new ones for Gumbel's rule, got some with visits")
    deadline = time.monotonic() + config.budget
    legal = trees.arrays.edges["legal"][:, 0] > 0
    rule, plan = numbers(config.rule), NO_HALVING
    if isinstance(config.rule, GumbelConfig):
        plan = halving(config.rule, legal, config.simulations, rng)
    elif isinstance(config.rule, PUCTConfig):
        _add_noise(trees, config.rule, rng)
    done = 0
    while done < config.simulations and (done == 0 or time.monotonic() < deadline):
        if done % CHUNK == 0:
            trees.reserve(min(CHUNK, config.simulations - done))
        simulate(model, trees, rule, plan, rng)
        done += 1
    return _decision(trees, rule, plan, done)


def simulate(
    model: SearchModel[Embedding],
    trees: Trees[Embedding],
    rule: Numbers,
    plan: Halving,
    rng: np.random.Generator,
) -> None:
    """One simulation in each tree."""
    tree, leaves = (*trees.arrays,), np.empty((4, len(trees)), np.int64)
    found = select(tree, rule, plan, leaves)
    if found == 0:
        return
    row, parent, action, node = leaves[:, :found]
    expansion = model.expand(trees.states(row, parent), action, rng)
    put(trees.embeddings, (row, node), expansion.nodes.embedding)
    attach(tree, leaves, trees.answers(expansion, found))


def _add_noise(trees: Trees[Any], config: PUCTConfig, rng: np.random.Generator) -> None:
    """Mix Dirichlet noise into the priors of the roots."""
    tree, share = trees.arrays, config.dirichlet_fraction
    if share > 0:
        legal, root = tree.edges["legal"][:, 0] > 0, tree.edges[:, 0]
        logits = np.where(legal, root["logit"], -np.inf)
        prior = np.exp(logits - logits.max(axis=1, keepdims=True))
        prior /= prior.sum(axis=1, keepdims=True)
        noise = dirichlet(legal, config.dirichlet_alpha, rng)
        root["prior"] = (1 - share) * prior + share * noise


def _decision(trees: Trees[Any], rule: Numbers, plan: Halving, simulations: int) -> Decision:
    """What the trees say."""
    tree = trees.arrays
    policy, action = np.empty((len(trees), trees.num_actions)), np.empty(len(trees), np.int64)
    decide((*tree,), rule, plan, policy, action)
    if (action < 0).any():
        raise ModelDivergedError(
            f"root {(action < 0).argmax()}: expected an action with a finite outcome, got none"
        )
    root, edges = tree.nodes[:, 0], tree.edges[:, 0]
    value, visits, q = root["total"] / root["visits"], edges["count"].copy(), edges["q"].copy()
    return Decision(action, policy, value, visits, q, simulations)


def _followed(trees: Trees[Any], last: Decision) -> bool:
    """Whether the trees are now those below the last action, and nobody else has moved since."""
    player = trees.arrays.nodes["player"][:, 0].copy()
    return trees.after(last.action) and (trees.arrays.nodes["player"][:, 0] == player).all()


class TreeSearch(Generic[Embedding]):
    """A Controller that searches a tree in a model at every step, and takes its best action.

    Attributes:
        plan: what it last intended: the actions tried most, from the root down.
        trees: the last tree, None after a reset.
        decision: what the last search came to, None after a reset.
    """

    def __init__(
        self,
        model: ControlModel[Embedding],
        config: SearchConfig | None = None,
        *,
        replan_every: int = 1,
    ) -> None:
        """Search in ``model``; starts as after ``reset(0)``.

        Args:
            model: the model.
            config: how to search; None for the defaults.
            replan_every: control steps that an action is held for, as long as the model's own.

        Raises:
            ValueError: if an action is held for no step.
        """
        require(replan_every >= 1, "replan_every", "at least 1", replan_every)
        self.model, self.config = model, config or SearchConfig()
        self.replan_every = replan_every
        self.reset(0)

    @property
    def observes(self) -> Sensed:
        """What the model starts from."""
        return self.model.observes

    def reset(self, seed: int) -> None:
        """Forget the tree; the same seed gives the same actions again."""
        self.plan: Plan | None = None
        self.trees: Trees[Embedding] | None = None
        self.decision: Decision | None = None
        self._held, self._left = np.empty(0), 0  # the action in force, and for how many steps more
        self._rng = np.random.default_rng(seed)

    def act(self, sensed: Floats) -> Floats:
        """The best action ``[A]`` from ``sensed``, or the one that is held.

        Raises:
            ValueError: if ``sensed`` is not a vector of finite numbers.
            ModelDivergedError: if no action leads anywhere finite.
        """
        start = checked(sensed)
        if self._left == 0:
            self._held, self._left = self._decide(start), self.replan_every
        self._left -= 1
        return self._held.copy()

    def _decide(self, start: Floats) -> Floats:
        """Search from ``start``; the best action there."""
        trees, last = self.trees, self.decision
        self.trees = self.decision = self.plan = None  # if the search comes to nothing
        if trees is None or last is None or not (self.config.reuse and _followed(trees, last)):
            trees = Trees(self.model.root(start[None], self._rng), self._rng)
        decision = search(self.model, trees, self.config, self._rng)
        self.trees, self.decision, self.plan = trees, decision, self._intended(trees, decision)
        root = trees.states(np.zeros(1, np.int64), np.zeros(1, np.int64))
        action: Floats = self.model.vector(root, decision.action)[0].astype(np.float64)
        return action

    def _intended(self, trees: Trees[Embedding], decision: Decision) -> Plan:
        """The action decided on, and the tree's principal variation after it."""
        path = trees.principal_variation(int(decision.action[0]))
        nodes, actions = (np.array(part) for part in zip(*path, strict=True))
        states = trees.states(np.zeros(len(nodes), np.int64), nodes)
        held = self.model.vector(states, actions).repeat(self.replan_every, axis=0)
        vectors = torch.as_tensor(held, dtype=torch.float32)
        nobody = vectors.new_empty(0, *vectors.shape)
        value = float(decision.value[0])
        return Plan(vectors, vectors, torch.zeros_like(vectors), nobody, value)
