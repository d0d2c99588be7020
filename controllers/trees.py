"""B search trees and the model states at their nodes; a search makes them grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from mpc_robot.controllers.tree_arrays import (
    Answers,
    Ints,
    Tree,
    empty_tree,
    plant,
    subtrees,
)
from mpc_robot.dynamics.rows import put, room, take
from mpc_robot.dynamics.search_model import Expansion, Nodes
from mpc_robot.errors import ModelDivergedError

Embedding = TypeVar("Embedding")


class Trees(Generic[Embedding]):
    """B trees side by side, at first only roots.

    Attributes:
        arrays: the trees.
        embeddings: model states at the nodes, rows ``[B, N, ...]``.
    """

    def __init__(self, roots: Nodes[Embedding], rng: np.random.Generator) -> None:
        """Plant trees at ``roots``, what a model's ``root`` says; ``rng`` decides between equals.

        Raises:
            ValueError: if a shape is wrong, or there is no legal action at a root.
            ModelDivergedError: if the value of a root is not finite.
        """
        batch, actions = np.shape(roots.logits)
        self.arrays: Tree = empty_tree(batch, 1, actions)
        self.embeddings: Embedding = room(roots.embedding, batch, 1)
        self._all, self._nobody = np.ones((batch, actions), np.bool_), np.zeros(batch, np.int8)
        self._rng = rng
        self.plant(roots, np.arange(batch))

    def __len__(self) -> int:
        """B, how many trees."""
        return len(self.arrays.trees)

    @property
    def num_actions(self) -> int:
        """A, actions of a node."""
        return int(self.arrays.edges.shape[2])

    def plant(self, roots: Nodes[Embedding], rows: Ints) -> None:
        """Start the trees ``rows[K]`` anew from K roots, say of new games.

        Raises:
            ValueError: if a shape is wrong, or there is no legal action at a root.
            ModelDivergedError: if the value of a root is not finite.
        """
        start = Expansion(np.zeros(len(rows)), np.ones(len(rows)), roots)
        answers = self.answers(start, len(rows))
        _, _, value, logits, legal, _ = answers
        unknown = ~np.isfinite(value)
        if unknown.any():
            raise ModelDivergedError(f"root {unknown.argmax()}: expected a finite value, got NaN")
        dead = ~(legal & np.isfinite(logits)).any(axis=1)
        if dead.any():
            raise ValueError(f"root {dead.argmax()}: expected a legal action, got none")
        self.arrays.trees["seed"][rows] = self._rng.integers(2**63, size=len(rows), dtype=np.uint64)
        plant(self.arrays, np.ascontiguousarray(rows, np.int64), answers)
        put(self.embeddings, (rows, np.zeros_like(rows)), roots.embedding)

    def reserve(self, more: int) -> None:
        """Make room for ``more`` nodes in every tree."""
        old, arrays = self.arrays.nodes.shape[1], self.arrays
        need = int(arrays.trees["used"].max()) + more
        if need <= old:
            return
        batch = len(self)
        self.arrays = empty_tree(batch, need, self.num_actions)
        self.arrays.trees[:] = arrays.trees
        self.arrays.nodes[:, :old], self.arrays.edges[:, :old] = arrays.nodes, arrays.edges
        embeddings, first = self.embeddings, np.zeros(1, np.int64)
        self.embeddings = room(self.states(first, first), batch, need)
        put(self.embeddings, (np.arange(batch)[:, None], np.arange(old)[None]), embeddings)

    def states(self, rows: Ints, nodes: Ints) -> Embedding:
        """The model's states at ``nodes[K]`` of the trees ``rows[K]``."""
        return take(self.embeddings, (rows, nodes))

    def after(self, action: npt.ArrayLike) -> bool:
        """Keep of every tree what is below ``action[B]`` at its root, now that it was taken.

        Right where the model does not err: the new roots are the states it expected.

        Returns:
            False, and nothing was changed, if some action leads out of its tree or to the end.

        Raises:
            ValueError: if there is not one action per tree.
        """
        taken = np.asarray(action, dtype=np.int64)
        if taken.shape != (len(self),) or not ((taken >= 0) & (taken < self.num_actions)).all():
            expected = f"{len(self)} numbers from 0 to {self.num_actions - 1}"
            raise ValueError(f"action: expected {expected}, got {taken}")
        batch, nodes = self.arrays.nodes.shape
        kept, number = np.empty((batch, nodes), np.int64), np.empty((batch, nodes + 1), np.int64)
        if not subtrees(self.arrays, taken, kept, number):
            return False
        tree, every = self.arrays, np.arange(batch)[:, None]
        tree.nodes[:], tree.edges[:] = tree.nodes[every, kept], tree.edges[every, kept]
        tree.nodes["parent"] = number[every, tree.nodes["parent"]]
        tree.edges["child"] = number[every[..., None], tree.edges["child"]]
        self.embeddings = take(self.embeddings, (every, kept))
        return True

    def answers(self, expansion: Expansion[Embedding], num: int) -> Answers:
        """What a model said of ``num`` nodes, of the types and shapes that compiled code relies on.

        Raises:
            ValueError: naming the part of another shape.
        """
        nodes, shape = expansion.nodes, (num, self.num_actions)
        legal = self._all[:num] if nodes.legal is None else nodes.legal
        player = self._nobody[:num] if nodes.player is None else nodes.player
        return (
            _as("reward", expansion.reward, np.float64, shape[:1]),
            _as("discount", expansion.discount, np.float64, shape[:1]),
            _as("value", nodes.value, np.float64, shape[:1]),
            _as("logits", nodes.logits, np.float64, shape),
            _as("legal", legal, np.bool_, shape),
            _as("player", player, np.int8, shape[:1]),
        )

    def principal_variation(self, action: int, row: int = 0) -> list[tuple[int, int]]:
        """Node and action of each step, from ``action`` at the root along what was tried most."""
        path, edges = [(0, action)], self.arrays.edges[row]
        node = int(edges[0, action].child)
        while edges[node]["count"].any():
            action = int(edges[node]["count"].argmax())
            path.append((node, action))
            node = int(edges[node, action].child)
        return path


def _as(name: str, values: Any, dtype: Any, shape: Sequence[int]) -> npt.NDArray[Any]:
    """``values`` as a contiguous array of that type, which must have that shape."""
    array = np.ascontiguousarray(values, dtype)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array
