"""The mazes against a search of their drawings, and the lengths of paths that the book gives."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mpc_robot.envs import get_task, make_env
from mpc_robot.envs.mazes import (
    DYNA,
    MAZES,
    MOVES,
    OPEN_BOTH,
    OPEN_LEFT,
    OPEN_RIGHT,
    Maze,
    finer,
)

UP, DOWN, RIGHT, LEFT = range(4)


def shortest_path(layout: str) -> int:
    """Breadth-first over the characters of a drawing."""
    lines = layout.split()
    cells = {(r, c): char for r, line in enumerate(lines) for c, char in enumerate(line)}
    (start,) = (cell for cell, char in cells.items() if char == "S")
    seen, queue = {start}, deque([(start, 0)])
    while True:
        (r, c), steps = queue.popleft()
        if cells[r, c] == "G":
            return steps
        for near in ((r - 1, c), (r + 1, c), (r, c + 1), (r, c - 1)):
            if cells.get(near, "#") != "#" and near not in seen:
                seen.add(near)
                queue.append((near, steps + 1))


@pytest.mark.parametrize(
    ("layout", "steps"), [(DYNA, 14), (OPEN_RIGHT, 10), (OPEN_LEFT, 16), (OPEN_BOTH, 10)]
)
def test_shortest_paths_are_those_of_the_book(layout: str, steps: int) -> None:
    assert shortest_path(layout) == steps
    assert [len(line) for line in layout.split()] == [9] * 6


def test_the_dyna_maze_has_the_books_47_states() -> None:
    assert len(DYNA.replace("\n", "").replace("#", "")) == 47


@pytest.mark.parametrize("layout", [DYNA, OPEN_RIGHT])
def test_moves_are_those_of_a_walk_over_the_drawing(layout: str) -> None:
    lines, rng, env = layout.split(), np.random.default_rng(0), Maze({0: layout})
    steps = {UP: (-1, 0), DOWN: (1, 0), RIGHT: (0, 1), LEFT: (0, -1)}
    state, _ = env.reset()
    for _ in range(3000):
        row, column = divmod(state, 9)
        assert lines[row][column] in ".S"
        action = int(rng.integers(4))
        to_row, to_column = row + steps[action][0], column + steps[action][1]
        if not (0 <= to_row < 6 and 0 <= to_column < 9) or lines[to_row][to_column] == "#":
            to_row, to_column = row, column
        goal = lines[to_row][to_column] == "G"
        state, reward, terminated, truncated, _ = env.step(action)
        assert (state, reward, terminated, truncated) == (9 * to_row + to_column, goal, goal, False)
        if terminated:
            state, _ = env.reset()


def enter(env: Maze, cell: tuple[int, int], action: int) -> tuple[int, int]:
    """Where the action leads from a cell."""
    env.state = 9 * cell[0] + cell[1]
    row, column = divmod(env.step(action)[0], 9)
    return row, column


@pytest.mark.parametrize(
    ("name", "change", "right", "left"),
    [
        ("BlockingMaze-v0", 1000, (True, False), (False, True)),
        ("ShortcutMaze-v0", 3000, (False, True), (True, True)),
    ],
)
def test_walls_change_after_so_many_steps_whatever_the_episode(
    name: str, change: int, right: tuple[bool, bool], left: tuple[bool, bool]
) -> None:
    env = Maze(MAZES[name])
    for _ in range(change - 2):
        env.reset()
        env.step(DOWN)
    for now in (0, 1):
        assert (enter(env, (4, 8), UP) == (3, 8)) is right[now]
        assert (enter(env, (4, 0), UP) == (3, 0)) is left[now]
    assert env.time == change + 2


@pytest.mark.parametrize("name", MAZES)
def test_gymnasium_finds_nothing_wrong(name: str) -> None:
    check_env(gym.make(f"mpc_robot/{name}").unwrapped, skip_render_check=True)


def test_only_the_maze_that_does_not_change_limits_its_episodes() -> None:
    limits = [make_env(get_task(f"mpc_robot/{name}")).spec for name in MAZES]
    assert [spec is not None and spec.max_episode_steps for spec in limits] == [20_000, None, None]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 2), (2, 2), (3, 4)])
def test_a_finer_maze_is_the_same_maze(rows: int, columns: int) -> None:
    fine = finer(DYNA, rows, columns).split()
    for corner in ((0, 0), (rows - 1, columns - 1)):
        coarse = [line[corner[1] :: columns] for line in fine[corner[0] :: rows]]
        assert "\n".join(coarse).replace("S", ".") == DYNA.strip().replace("S", ".")
    text = "".join(fine)
    assert len(text.replace("#", "")) == 47 * rows * columns
    assert text.count("S") == 1
    assert fine[2 * rows][0] == "S"


def test_pictures_show_where_the_agent_is() -> None:
    text = Maze({0: DYNA}, render_mode="ansi")
    assert text.render() == DYNA.strip().replace("S", "A")
    env = Maze({0: DYNA}, render_mode="rgb_array")
    before = np.asarray(env.render())
    env.step(UP)
    changed = (env.render() != before).any(-1)
    assert before.dtype == np.uint8
    height, width = before.shape[0] // 6, before.shape[1] // 9
    blocks = changed.reshape(6, height, 9, width).mean((1, 3))
    assert np.argwhere(blocks).tolist() == [[1, 0], [2, 0]]
    assert set(blocks.ravel()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("layouts", "problem"),
    [
        ({5: DYNA}, "layouts: expected one that holds from time step 0"),
        ({0: DYNA, 9: "S.G"}, "layouts: expected the same size"),
        ({0: "S.\n..G"}, "layout: expected lines of equal length"),
        ({0: "S?G"}, r"layout: expected cells .* got \['\?'\]"),
        ({0: "SSG"}, "layout: expected one S, got 2"),
        ({0: "..G"}, "layout: expected one S, got 0"),
        ({0: "S.."}, "layout: expected a G"),
        ({0: ""}, "layout: expected lines"),
    ],
)
def test_what_is_no_maze_is_refused(layouts: dict[int, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Maze(layouts)


@pytest.mark.parametrize("action", [-1, len(MOVES), 1.5])
def test_an_action_that_does_not_exist_moves_nothing(action: Any) -> None:
    env = Maze({0: DYNA})
    with pytest.raises(ValueError, match="action: expected a number from 0 to 3"):
        env.step(action)
    assert (env.state, env.time) == (18, 0)
