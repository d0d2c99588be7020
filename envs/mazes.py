"""The mazes of Sutton and Barto, Reinforcement Learning, 2nd edition (2018), chapter 8.

A state is the number of a cell, row by row; an action is a number of ``MOVES``. Where a wall or the
edge is in the way the agent stays where it is. Reaching the goal earns 1 and ends the episode, all
else earns 0. The changing mazes, Examples 8.2 and 8.3, count their time over all episodes: a new
environment starts at time 0. As in the book they do not limit an episode, so that a Trainer, whose
runs must be resumable, does not take them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from mpc_robot.errors import require

WALL, START, GOAL, FREE = "#SG."
MOVES = {"up": (-1, 0), "down": (1, 0), "right": (0, 1), "left": (0, -1)}

DYNA = """
.......#G
..#....#.
S.#....#.
..#......
.....#...
.........
"""
"""Figure 8.2: the shortest path has 14 steps."""

OPEN_RIGHT = """
........G
.........
.........
########.
.........
...S.....
"""
"""Figures 8.4: the shortest path has 10 steps."""

OPEN_LEFT = """
........G
.........
.........
.########
.........
...S.....
"""
"""Figures 8.4 and 8.5: the shortest path has 16 steps."""

OPEN_BOTH = """
........G
.........
.........
.#######.
.........
...S.....
"""
"""Figure 8.5: the shortest path has 10 steps again."""

MAZES: dict[str, dict[int, str]] = {
    "DynaMaze-v0": {0: DYNA},
    "BlockingMaze-v0": {0: OPEN_RIGHT, 1000: OPEN_LEFT},
    "ShortcutMaze-v0": {0: OPEN_LEFT, 3000: OPEN_BOTH},
}
"""Name -> the time step from which each layout holds."""

LONGEST_EPISODE = {"DynaMaze-v0": 20_000}
"""Steps; a random walk takes 869 on average, so that practically none is cut short."""

_COLOURS = {WALL: (60, 60, 60), START: (120, 160, 230), GOAL: (110, 190, 110), FREE: (240,) * 3}
_AGENT = (220, 80, 60)
_PIXELS = 32
"""Width of a cell in a picture."""


def register_mazes() -> None:
    """Make the mazes known to ``gymnasium.make`` as ``mpc_robot/DynaMaze-v0`` and so on."""
    for name, layouts in MAZES.items():
        env_id, limit = f"mpc_robot/{name}", LONGEST_EPISODE.get(name)
        if env_id not in gym.registry:
            entry_point, kwargs = "mpc_robot.envs.mazes:Maze", {"layouts": layouts}
            gym.register(env_id, entry_point, max_episode_steps=limit, kwargs=kwargs)


class Maze(gym.Env[Any, Any]):
    """A grid world whose walls may change at given times."""

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 10,
    }

    def __init__(self, layouts: Mapping[int, str], render_mode: str | None = None) -> None:
        """Start in the layout of time step 0.

        Args:
            layouts: time step -> what the maze looks like from then on: lines of equal length of
                ``#`` wall, ``.`` free, one ``S`` start and at least one ``G`` goal.
            render_mode: None, ``ansi`` (text) or ``rgb_array``.

        Raises:
            ValueError: if a layout is none, if they differ in size, or none holds at time 0.
        """
        require(0 in layouts, "layouts", "one that holds from time step 0", list(layouts))
        self._grids = {time: parse(layout) for time, layout in layouts.items()}
        shapes = {grid.shape for grid in self._grids.values()}
        require(len(shapes) == 1, "layouts", "the same size at all times", sorted(shapes))
        self._moves = {time: following(grid) for time, grid in self._grids.items()}
        self.observation_space = gym.spaces.Discrete(self._grids[0].size)
        self.action_space = gym.spaces.Discrete(len(MOVES))
        self.render_mode = render_mode
        self.time = 0
        self._enter(0)
        self.state = self._start

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Back to the start; time goes on. Nothing is random, so that any seed is the same."""
        super().reset(seed=seed)
        self.state = self._start
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Move; raises ValueError if there is no such action."""
        require(self.action_space.contains(action), "action", "a number from 0 to 3", action)
        if self.time in self._grids:
            self._enter(self.time)
        self.time += 1
        self.state = self._now[self.state][action]
        arrived = self.state in self._goals
        return self.state, float(arrived), arrived, False, {}

    def render(self) -> Any:
        """The maze as it is, the agent drawn as ``A`` or red."""
        if self.render_mode == "ansi":
            cells = self._grid.copy()
            cells.flat[self.state] = "A"
            return "\n".join("".join(row) for row in cells)
        picture = np.array([[_COLOURS[cell] for cell in row] for row in self._grid], np.uint8)
        picture[divmod(self.state, self._grid.shape[1])] = _AGENT
        return picture.repeat(_PIXELS, axis=0).repeat(_PIXELS, axis=1)

    def _enter(self, time: int) -> None:
        """Let the layout of that time step hold from now on."""
        self._grid, self._now = self._grids[time], self._moves[time]
        self._start = int(np.flatnonzero(self._grid == START)[0])
        self._goals = set(np.flatnonzero(self._grid == GOAL).tolist())


def parse(layout: str) -> npt.NDArray[np.str_]:
    """The characters of a layout ``[rows, columns]``.

    Raises:
        ValueError: if lines differ in length, or cells are not those of a maze.
    """
    lines = layout.split()
    lengths = sorted({len(line) for line in lines})
    require(len(lengths) == 1, "layout", "lines of equal length", lengths)
    cells = "".join(lines)
    strange = sorted(set(cells) - {WALL, START, GOAL, FREE})
    require(not strange, "layout", f"cells {WALL}, {START}, {GOAL} and {FREE}", strange)
    require(cells.count(START) == 1, "layout", f"one {START}", cells.count(START))
    require(GOAL in cells, "layout", f"a {GOAL}", layout)
    return np.array([list(line) for line in lines])


def following(grid: npt.NDArray[np.str_]) -> list[list[int]]:
    """Where each action leads from each cell ``[S][A]``."""
    rows, columns = grid.shape

    def move(cell: int, down: int, right: int) -> int:
        """The cell next to it, or itself where a wall or the edge is in the way."""
        row, column = cell // columns + down, cell % columns + right
        inside = 0 <= row < rows and 0 <= column < columns
        return row * columns + column if inside and grid[row, column] != WALL else cell

    return [[move(cell, *step) for step in MOVES.values()] for cell in range(grid.size)]


def finer(layout: str, rows: int, columns: int) -> str:
    """The layout with each cell split into ``rows`` x ``columns`` (Example 8.4).

    Walls and goals stay as large as they were; the start is the upper left of its parts.
    """
    lines = ["".join(cell * columns for cell in line) for line in layout.split()]
    text = "\n".join(line for line in lines for _ in range(rows))
    before, start, after = text.partition(START)
    return before + start + after.replace(START, FREE)
