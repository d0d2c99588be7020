"""Tree search as plainly as one can write it: one tree, recursion, no arrays; the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Outcome:
    """What a model says of one node, and of the step that led to it."""

    state: int
    value: float
    logits: tuple[float, ...]
    legal: tuple[bool, ...]
    player: int = 0
    reward: float = 0.0
    discount: float = 1.0


Step = Callable[[int, int], Outcome]
Coin = Callable[[int, int], int]


@dataclass
class Node:
    """A node; ``index`` says how many there were before."""

    outcome: Outcome
    index: int = 0
    visits: int = 0
    total: float = 0.0
    children: dict[int, Node] = field(default_factory=dict)

    @property
    def actions(self) -> list[int]:
        return [a for a, legal in enumerate(self.outcome.legal) if legal]

    @property
    def prior(self) -> dict[int, float]:
        weights = {a: math.exp(self.outcome.logits[a]) for a in self.actions}
        return {a: weight / sum(weights.values()) for a, weight in weights.items()}

    def count(self, action: int) -> int:
        return self.children[action].visits if action in self.children else 0

    def q(self, action: int) -> float:
        """Mean return of an action, for the player to move here."""
        child = self.children[action]
        sign = 1.0 if child.outcome.player == self.outcome.player else -1.0
        mean = child.total / child.visits
        return child.outcome.reward + child.outcome.discount * sign * mean

    def counts(self) -> list[int]:
        return [self.count(a) for a in range(len(self.outcome.legal))]


class Search:
    """Searches from one root; subclasses say what to try next.

    ``coin`` decides between equals: of two actions of a node, the one whose number is greater.
    """

    def __init__(self, step: Step, root: Node, coin: Coin) -> None:
        self.step, self.root, self.coin = step, root, coin
        self.seen: list[float] = []
        self.size = 1

    def run(self, simulations: int) -> Node:
        if self.root.visits == 0:
            self.root.visits, self.root.total = 1, self.root.outcome.value
        for _ in range(simulations):
            self.visit(self.root)
        return self.root

    def visit(self, node: Node) -> float:
        """One simulation from a node on; its return, for the player to move there."""
        action = self.choose(node)
        new = action not in node.children
        if new:
            node.children[action] = Node(self.step(node.outcome.state, action), self.size)
            self.size += 1
        child = node.children[action]
        terminal = child.outcome.discount == 0.0
        if new or terminal:
            worth = 0.0 if terminal else child.outcome.value
            child.visits += 1
            child.total += worth
        else:
            worth = self.visit(child)
        self.seen.append(node.q(action))
        sign = 1.0 if child.outcome.player == node.outcome.player else -1.0
        back = child.outcome.reward + child.outcome.discount * sign * worth
        node.visits += 1
        node.total += back
        return back

    def choose(self, node: Node) -> int:
        raise NotImplementedError


class UCT(Search):
    c = 0.7

    def choose(self, node: Node) -> int:
        def bound(a: int) -> float:
            if node.count(a) == 0:
                return math.inf
            return node.q(a) + self.c * math.sqrt(math.log(node.visits) / node.count(a))

        return max(node.actions, key=lambda a: (bound(a), self.coin(node.index, a)))


class PUCT(Search):
    c1, c2 = 1.25, 19652.0

    def choose(self, node: Node) -> int:
        low, high = min(self.seen, default=0.0), max(self.seen, default=0.0)

        def bound(a: int) -> float:
            known = node.count(a) > 0 and high > low
            q = (node.q(a) - low) / (high - low) if known else 0.0
            weight = self.c1 + math.log((node.visits + self.c2 + 1) / self.c2)
            return q + node.prior[a] * math.sqrt(node.visits) / (1 + node.count(a)) * weight

        return max(node.actions, key=lambda a: (bound(a), self.coin(node.index, a)))


class Gumbel(Search):
    """Written from the paper's text: rounds at the root, shares of the policy below."""

    def __init__(
        self,
        step: Step,
        root: Node,
        noise: npt.NDArray[Any],
        considered: int,
        simulations: int,
        *,
        least_range: float,
    ) -> None:
        super().__init__(step, root, lambda node, action: 0)
        self.least_range = least_range
        self.noise, self.simulations = noise, simulations
        self.scale, self.visit_init = 0.1, 50.0
        by_score = sorted(root.actions, key=lambda a: -(noise[a] + root.outcome.logits[a]))
        self.left = by_score[:considered]
        self.rounds = max(1, math.ceil(math.log2(len(self.left))))
        self.queue: list[int] = []

    def sigma(self, node: Node) -> dict[int, float]:
        tried = [a for a in node.actions if node.count(a) > 0]
        total = sum(node.count(a) for a in tried)
        missing = node.outcome.value
        if tried:
            mass = sum(node.prior[a] for a in tried)
            mean = sum(node.prior[a] * node.q(a) for a in tried) / mass
            missing = (node.outcome.value + total * mean) / (1 + total)
        q = {a: node.q(a) if a in tried else missing for a in node.actions}
        low, high = min(q.values()), max(q.values())
        factor = (
            (self.visit_init + max(node.counts())) * self.scale / max(high - low, self.least_range)
        )
        return {a: factor * (q[a] - low) for a in node.actions}

    def improved(self, node: Node) -> dict[int, float]:
        sigma = self.sigma(node)
        scores = {a: node.outcome.logits[a] + sigma[a] for a in node.actions}
        weights = {a: math.exp(s - max(scores.values())) for a, s in scores.items()}
        return {a: weight / sum(weights.values()) for a, weight in weights.items()}

    def choose(self, node: Node) -> int:
        if node is not self.root:
            policy, tried = self.improved(node), sum(node.counts())
            return max(node.actions, key=lambda a: policy[a] - node.count(a) / (1 + tried))
        if not self.queue:
            self.start_round()
        return self.queue.pop(0)

    def score(self, action: int) -> float:
        sigma = self.sigma(self.root)
        return self.noise[action] + self.root.outcome.logits[action] + sigma[action]

    def start_round(self) -> None:
        """Drop the worse half, unless this is the first round, and give the rest their visits."""
        if self.root.children and len(self.left) > 1:
            keep = max(2, len(self.left) // 2)
            self.left = sorted(self.left, key=self.score, reverse=True)[:keep]
        each = max(1, self.simulations // (self.rounds * len(self.left)))
        self.queue = self.left * each

    def best(self) -> int:
        most = max(self.root.counts())
        return max((a for a in self.root.actions if self.root.count(a) == most), key=self.score)
