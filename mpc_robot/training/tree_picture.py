"""Pictures of the trees that a controller searches, while it acts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mpc_robot.controllers.base import Controller
from mpc_robot.controllers.tree_drawing import tree_svg
from mpc_robot.controllers.tree_search import TreeSearch
from mpc_robot.training.files import replacing
from mpc_robot.training.plan_video import Filmed


def draw_first_tree(controller: Controller, path: Path) -> Controller:
    """A controller that acts alike and leaves an SVG of the tree behind its first decision.

    Raises:
        ValueError: if the controller searches no tree.
    """
    search, drawn = _searching(controller), False

    def show() -> None:
        """Only once."""
        nonlocal drawn
        if not drawn:
            write_tree(search, path)
        drawn = True

    return Filmed(controller, show)


def draw_last_tree(controller: Controller, path: Path) -> Controller:
    """A controller that acts alike, with an SVG of the tree behind whatever it did last.

    Raises:
        ValueError: if the controller searches no tree.
    """
    search = _searching(controller)
    return Filmed(controller, lambda: write_tree(search, path))


def write_tree(search: TreeSearch[Any], path: Path) -> None:
    """Draw the last tree of a search, whose edges say the actions that can be applied.

    Raises:
        ValueError: if nothing was searched yet.
        OSError: if the file can not be written.
    """
    trees = search.trees
    if trees is None:
        raise ValueError("tree: expected a search that has decided something, got none")

    def name(node: int, action: int) -> str:
        """The entries of an action, to three digits."""
        state = trees.states(np.zeros(1, np.int64), np.array([node]))
        vector = search.model.vector(state, np.array([action]))[0]
        return ", ".join(f"{entry:.3g}" for entry in vector)

    with replacing(path) as draft:
        draft.write_text(tree_svg(trees, name=name))


def _searching(controller: Controller) -> TreeSearch[Any]:
    """The controller, if it is a tree search."""
    if not isinstance(controller, TreeSearch):
        kind = type(controller).__name__
        raise ValueError(f"tree: expected a controller that searches a tree, got {kind}")
    return controller
