"""Symmetries of games on boards: what is known of a position is known of its mirror image too."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.data.game_positions import Positions
from mpc_robot.errors import require

Symmetry = Literal["none", "mirror", "dihedral"]
"""What leaves a game the same: nothing, left for right, or every turn and reflection."""


class Symmetries:
    """The S ways in which a board can be turned and reflected, with its actions.

    Attributes:
        points: where each point's contents come from ``[S, H * W]``.
        actions: where each action's probability comes from ``[S, A]``.
    """

    def __init__(self, view_shape: tuple[int, ...], num_actions: int, kind: Symmetry) -> None:
        """Those of a board whose actions are its points, and perhaps a pass, or its columns.

        Raises:
            ValueError: if there is no such board, or the actions are others.
        """
        board = len(view_shape) == 3 or kind == "none"
        require(board, "symmetry", f"none for views of shape {view_shape}", kind)
        height, width = view_shape[1:] if len(view_shape) == 3 else (0, 0)
        turnable = kind != "dihedral" or height == width
        require(turnable, "symmetry", f"none or mirror for a board of {height} x {width}", kind)
        images = _images(np.arange(height * width).reshape(height, width), kind)
        self.points = torch.from_numpy(np.array([image.ravel() for image in images]))
        self.actions = self._of_actions(num_actions, images, kind)

    def apply(self, positions: Positions, rng: torch.Generator) -> Positions:
        """Each position turned in some random way."""
        num = len(self.actions)
        if num == 1:
            return positions
        return self.turned(positions, torch.randint(num, positions.value.shape, generator=rng))

    def turned(self, positions: Positions, which: Tensor) -> Positions:
        """Each position turned in the way ``which[B]``, from 0, which turns nothing, to S - 1."""
        flat, actions = positions.view.flatten(2), self.actions[which]
        view = flat.gather(2, self.points[which][:, None].expand_as(flat))
        return Positions(
            view.view_as(positions.view),
            positions.legal.gather(1, actions),
            positions.policy.gather(1, actions),
            positions.value,
        )

    def _of_actions(
        self, num_actions: int, images: list[npt.NDArray[np.int64]], kind: Symmetry
    ) -> Tensor:
        """What becomes of the actions as the board is turned."""
        points, width = images[0].size, images[0].shape[1]
        if kind == "none":
            return torch.arange(num_actions)[None]
        if kind == "mirror" and num_actions == width:
            return torch.from_numpy(np.array([image[0] for image in images]))
        fits = num_actions in (points, points + 1)
        require(fits, "symmetry", f"none for {num_actions} actions on {points} points", kind)
        passing = torch.full((len(images), num_actions - points), points)
        return torch.cat([self.points, passing], dim=1)


def _images(board: npt.NDArray[np.int64], kind: Symmetry) -> list[npt.NDArray[np.int64]]:
    """A board, and what it looks like turned."""
    if kind == "none":
        return [board]
    turns = [np.rot90(board, quarter) for quarter in range(4 if kind == "dihedral" else 1)]
    return [*turns, *(turn[:, ::-1] for turn in turns)]
