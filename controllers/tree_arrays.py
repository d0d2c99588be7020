"""B search trees in arrays, and how nodes are added to them; compiled.

The return of a state is that of the player to move there. Discounts are stored with a sign:
negative where the player changes, so that what one wins the other loses.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mpc_robot.envs.compiled import compiled, inlined

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Record = Any
Records = Any
"""A structured array whose fields are attributes, which compiled code knows but no type checker."""


def _record(*fields: tuple[str, str]) -> Any:
    """The type of a record with such fields."""
    return np.dtype((np.record, np.dtype(list(fields), align=True)))


TREE = _record(("used", "i8"), ("low", "f8"), ("high", "f8"), ("seed", "u8"))
"""Nodes in use, least and greatest Q of any action so far, and what decides between equals."""

NODE = _record(
    ("parent", "i4"),
    ("action", "i4"),
    ("visits", "i4"),
    ("player", "i4"),
    ("total", "f8"),
    ("value", "f8"),
    ("reward", "f8"),
    ("discount", "f8"),
)
"""A state.

``parent`` and ``action`` lead here, with ``reward``, of whoever acted, and then ``discount``, which
has a sign and is 0 for a terminal state. ``player`` is to move. ``visits`` are the simulations that
came by, the state's own evaluation included; ``total`` is the sum of their returns from here on,
``value`` the model's own.
"""

EDGE = _record(
    ("child", "i4"),
    ("count", "i4"),
    ("q", "f8"),
    ("prior", "f8"),
    ("logit", "f8"),
    ("legal", "i8"),
)
"""An action in a state.

``child`` is the node it leads to, -1 if it was never tried; ``count`` how often it was, ``q`` its
mean return. ``prior`` is its probability by the policy, at the root with noise, ``logit`` without.
``legal`` is 0 for what is against the rules or came to nothing finite, else 1.
"""


class Tree(NamedTuple):
    """B trees of up to N nodes with A actions each; node 0 is the root, -1 is no node.

    Attributes:
        trees: ``[B]`` of ``TREE``.
        nodes: ``[B, N]`` of ``NODE``.
        edges: ``[B, N, A]`` of ``EDGE``.
    """

    trees: Records
    nodes: Records
    edges: Records


Parts = tuple[Records, Records, Records]
"""A :class:`Tree` without names: compiled code takes named tuples several times as slowly."""

Answers = tuple[Floats, Floats, Floats, Floats, npt.NDArray[np.bool_], npt.NDArray[np.int8]]
"""What a model says of K new nodes (see ``Expansion``): reward, discount, value, logits, legal and
player."""


def empty_tree(batch: int, nodes: int, actions: int) -> Tree:
    """Room for trees, nothing in them."""
    shape = (batch, nodes, actions)
    return Tree(np.zeros(batch, TREE), np.zeros(shape[:2], NODE), np.zeros(shape, EDGE))


@compiled
def attach(tree: Parts, leaves: Ints, answers: Answers) -> None:
    """Add the new nodes to their trees, and back up what they are worth.

    An action whose outcome is not finite may not be tried again, and counts for nothing.

    Args:
        tree: where to.
        leaves: tree, parent and action of each, as ``select`` found them ``[4, >= K]``.
        answers: what is there.
    """
    trees, nodes, edges = tree
    reward, discount, value, logits, legal, player = answers
    for k in range(len(reward)):
        b, parent, action = leaves[0, k], leaves[1, k], leaves[2, k]
        edge = edges[b, parent, action]
        worth = 0.0 if discount[k] == 0.0 else value[k]
        if not math.isfinite(reward[k] + discount[k] * worth):
            edge.legal = 0
            continue
        edge.child = number = trees[b].used
        trees[b].used += 1
        node = nodes[b, number]
        node.parent, node.action, node.reward = parent, action, reward[k]
        other = player[k] != nodes[b, parent].player
        node.discount = -discount[k] if other else discount[k]
        node.player, node.value, node.visits, node.total = player[k], value[k], 0, 0.0
        put_actions(edges[b, number], logits[k], legal[k])
        back_up(trees[b], nodes[b], edges[b], number, worth)


@compiled
def plant(tree: Tree, rows: Ints, answers: Answers) -> None:
    """Start trees ``rows[K]`` anew from roots."""
    _, _, values, logits, legal, player = answers
    for k in range(len(rows)):
        b, value = rows[k], values[k]
        this, root = tree.trees[b], tree.nodes[b, 0]
        this.used, this.low, this.high = 1, np.inf, -np.inf
        root.parent, root.action, root.reward, root.discount = -1, -1, 0.0, 1.0
        root.player, root.value, root.visits, root.total = player[k], value, 0, 0.0
        put_actions(tree.edges[b, 0], logits[k], legal[k])
        back_up(this, tree.nodes[b], tree.edges[b], 0, value)


@inlined
def put_actions(edges: Records, logits: Floats, legal: npt.NDArray[np.bool_]) -> None:
    """Write the actions of a new node, which nobody tried yet."""
    highest, total = -np.inf, 0.0
    for a in range(len(edges)):
        edge, logit = edges[a], logits[a]
        edge.legal = 1 if legal[a] and math.isfinite(logit) else 0
        edge.child, edge.count, edge.q, edge.logit = -1, 0, 0.0, logit
        if edge.legal:
            highest = max(highest, logit)
    for a in range(len(edges)):
        edges[a].prior = math.exp(edges[a].logit - highest) if edges[a].legal else 0.0
        total += edges[a].prior
    for a in range(len(edges)):
        edges[a].prior /= max(total, 1e-300)


@inlined
def back_up(this: Record, nodes: Records, edges: Records, leaf: int, worth: float) -> None:
    """Add a return to a node and, discounted and with the rewards between, to all above it."""
    node = nodes[leaf]
    while True:
        node.visits += 1
        node.total += worth
        if node.parent < 0:
            return
        edge = edges[node.parent, node.action]
        edge.count = node.visits
        edge.q = node.reward + node.discount * node.total / node.visits
        this.low, this.high = min(this.low, edge.q), max(this.high, edge.q)
        worth = node.reward + node.discount * worth
        node = nodes[node.parent]


@compiled
def subtrees(tree: Tree, action: Ints, kept: Ints, number: Ints) -> bool:
    """Number the nodes below ``action[B]`` at the roots anew, in the order they have.

    Args:
        tree: what to look at.
        action: at the roots.
        kept: old number of each new one ``[B, N]``; 0 where there is none.
        number: new number of each old one ``[B, N + 1]``, or -1, which it is of number -1.

    Returns:
        False if an action was never tried, or ends the episode.
    """
    kept[:], number[:] = 0, -1
    for b in range(len(action)):
        top = tree.edges[b, 0, action[b]].child
        if top < 0 or tree.nodes[b, top].discount == 0.0:
            return False
        number[b, top], kept[b, 0], size = 0, top, 1
        for node in range(top + 1, tree.trees[b].used):
            if number[b, tree.nodes[b, node].parent] >= 0:
                number[b, node], kept[b, size] = size, node
                size += 1
    for b in range(len(action)):
        tree.trees[b].used = (number[b] >= 0).sum()
    return True
