"""A search tree as a picture: SVG text, the same for the same tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from mpc_robot.controllers.trees import Trees
from mpc_robot.errors import require

APART, BELOW, MARGIN, RADIUS = 64, 88, 40, 20
"""Pixels between neighbours and between generations, around the picture, and of a node."""

Name = Callable[[int, int], str]
"""What an action is called: its node's number in the tree and its own."""


@dataclass(frozen=True)
class Mark:
    """A node in the picture.

    Attributes:
        node: its number in the tree.
        parent: index of the parent's mark, -1 for the root.
        action: that led here from the parent.
        depth: actions from the root.
        x: where, in widths of a node.
        best: whether it is on the way of what was tried most.
    """

    node: int
    parent: int
    action: int
    depth: int
    x: float
    best: bool


def tree_svg(
    trees: Trees[Any],
    row: int = 0,
    *,
    most: int = 60,
    name: Name = lambda node, action: str(action),
) -> str:
    """The tree ``row`` with its ``most`` visited nodes, as an SVG document.

    A node says its mean return above its visits, for the player to move there, and is coloured by
    whose move it is; an edge says its action, and is as wide as its share of the visits. What was
    tried most, from the root down, is dark.

    Args:
        trees: drawn from.
        row: which of the trees.
        most: nodes to draw.
        name: of an action in a node.

    Raises:
        ValueError: if there is no such tree, or nothing to draw.
    """
    require(0 <= row < len(trees), "row", f"from 0 to {len(trees) - 1}", row)
    require(most >= 1, "most", "at least 1", most)
    marks = _layout(trees, row, most)
    across = max(mark.x for mark in marks) * APART + 2 * MARGIN
    down = max(mark.depth for mark in marks) * BELOW + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across:g}" height="{down:g}" '
        'font-family="sans-serif" font-size="11" text-anchor="middle">',
        f'<rect width="{across:g}" height="{down:g}" fill="white"/>',
        *(_edge(trees, row, marks, mark, name) for mark in marks[1:]),
        *(_node(trees, row, mark) for mark in marks),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _layout(trees: Trees[Any], row: int, most: int) -> list[Mark]:
    """Marks of the nodes, parents first; leaves side by side, each parent above its children."""
    nodes, edges = trees.arrays.nodes[row], trees.arrays.edges[row]
    ranked = sorted(range(trees.arrays.trees[row].used), key=lambda n: (-nodes[n].visits, n))
    shown = set(ranked[:most])  # a parent has more visits than its children, so it is among them
    order, stack = list[tuple[int, int, bool]](), [(0, -1, True)]
    while stack:
        node, parent, best = stack.pop()
        order.append((node, parent, best))
        children = [int(edge.child) for edge in edges[node] if int(edge.child) in shown]
        favourite = max(children, key=lambda n: (nodes[n].visits, -n), default=-1)
        here = len(order) - 1
        stack += [(n, here, best and n == favourite) for n in reversed(children)]
    return _placed(trees, row, order)


def _placed(trees: Trees[Any], row: int, order: list[tuple[int, int, bool]]) -> list[Mark]:
    """Where each of ``(node, parent, best)`` goes, given in depth-first order."""
    below: list[list[float]] = [[] for _ in order]
    across, depth = [0.0] * len(order), [0] * len(order)
    for i, (_, parent, _) in enumerate(order[1:], start=1):
        depth[i] = depth[parent] + 1
    parents = {parent for _, parent, _ in order}
    leaves = [i for i in range(len(order)) if i not in parents]
    for x, i in enumerate(leaves):
        across[i] = float(x)
    for i in range(len(order) - 1, -1, -1):  # children before their parents
        if below[i]:
            across[i] = (below[i][0] + below[i][-1]) / 2
        if i > 0:
            below[order[i][1]].append(across[i])
    nodes = trees.arrays.nodes[row]
    return [
        Mark(node, parent, int(nodes[node].action), depth[i], across[i], best)
        for i, (node, parent, best) in enumerate(order)
    ]


def _at(mark: Mark) -> tuple[float, float]:
    """Pixels from the left and from the top."""
    return MARGIN + mark.x * APART, MARGIN + mark.depth * BELOW


def _edge(trees: Trees[Any], row: int, marks: list[Mark], mark: Mark, name: Name) -> str:
    """A line from the parent, and the action on it."""
    (x1, y1), (x2, y2) = _at(marks[mark.parent]), _at(mark)
    nodes = trees.arrays.nodes[row]
    share = nodes[mark.node].visits / max(nodes[marks[mark.parent].node].visits, 1)
    colour = "#222" if mark.best else "#aaa"
    label = escape(name(marks[mark.parent].node, mark.action))
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" '
        f'stroke-width="{1 + 4 * share:.2f}"/>'
        f'<text x="{(x1 + x2) / 2:g}" y="{(y1 + y2) / 2:g}" stroke="white" stroke-width="3" '
        f'paint-order="stroke" fill="#222">{label}</text>'
    )


def _node(trees: Trees[Any], row: int, mark: Mark) -> str:
    """A circle, a square for a terminal state, with value and visits."""
    node, (x, y) = trees.arrays.nodes[row, mark.node], _at(mark)
    fill = "#dbe9f6" if node.player == 0 else "#fbe3d0"
    style = f'fill="{fill}" stroke="{"#222" if mark.best else "#888"}"'
    shape = f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS}" {style}/>'
    if mark.node > 0 and node.discount == 0.0:
        left, top, side = x - RADIUS, y - RADIUS, 2 * RADIUS
        shape = f'<rect x="{left:g}" y="{top:g}" width="{side}" height="{side}" {style}/>'
    mean = node.total / node.visits
    return (
        f'{shape}<text x="{x:g}" y="{y - 2:g}">{mean:.2f}</text>'
        f'<text x="{x:g}" y="{y + 11:g}" fill="#555">{node.visits}</text>'
    )
