"""Positions of games: kept as they came, and turned as the game itself can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mpc_robot.data.game_positions import GameReplay, Positions
from mpc_robot.data.symmetries import Symmetries, Symmetry
from mpc_robot.envs.openspiel import Views, load_game


def numbered(first: int, num: int) -> Positions:
    """Positions that say who they are in every part."""
    value = np.arange(first, first + num, dtype=np.float32)
    view = value[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)
    legal = (np.arange(first, first + num) % 2 == 0)[:, None] * np.ones((1, 3), np.bool_)
    return Positions(view, legal, value[:, None].repeat(3, axis=1), value)


def held(replay: GameReplay) -> set[int]:
    drawn = replay.sample(500, torch.Generator().manual_seed(0))
    assert (drawn.view == drawn.value[:, None, None, None]).all()
    assert (drawn.policy == drawn.value[:, None]).all()
    assert (drawn.legal == (drawn.value % 2 == 0)[:, None]).all()
    assert drawn.view.dtype == torch.float32
    return {int(value) for value in drawn.value}


def test_the_newest_positions_are_held_up_to_capacity() -> None:
    replay = GameReplay((1, 2, 2), 3, capacity=10)
    first = 0
    for num in (3, 1, 4, 1, 5, 9, 2):
        replay.add(numbered(first, num))
        first += num
        assert held(replay) == set(range(max(0, first - 10), first))
        assert len(replay) == min(first, 10)


def test_what_was_saved_goes_on_as_the_original_would() -> None:
    for num in (4, 23):
        replay, again = (GameReplay((1, 2, 2), 3, capacity=10) for _ in range(2))
        for first in range(0, num, 3):
            replay.add(numbered(first, 3))
        again.load_state_dict(replay.state_dict())
        for one in (replay, again):
            one.add(numbered(90, 4))
        draws = [one.sample(50, torch.Generator().manual_seed(1)) for one in (replay, again)]
        assert draws[0].value.tolist() == draws[1].value.tolist()


def test_a_full_replay_goes_on_in_a_larger_one() -> None:
    replay, larger = GameReplay((1, 2, 2), 3, capacity=10), GameReplay((1, 2, 2), 3, capacity=20)
    for first in range(0, 15, 3):
        replay.add(numbered(first, 3))
    larger.load_state_dict(replay.state_dict())
    for first, size in ((15, 13), (18, 16)):
        larger.add(numbered(first, 3))
        assert len(larger) == size and held(larger) == set(range(5, first + 3))


def test_positions_of_other_shapes_are_refused() -> None:
    replay = GameReplay((1, 2, 2), 4, capacity=10)
    with pytest.raises(ValueError, match=r"replay legal: expected rows of shape \(4,\), got \(3,"):
        replay.add(numbered(0, 2))
    with pytest.raises(ValueError, match="positions: expected at most 10, got 11"):
        replay.add(numbered(0, 11))
    with pytest.raises(ValueError, match="replay: expected at least one position"):
        replay.sample(1, torch.Generator())


def position(game: Any, actions: list[int]) -> tuple[Positions, bool]:
    """The last position of a game, and whether it has ended; the policy is the last action."""
    state, policy = game.new_initial_state(), torch.zeros(1, game.num_distinct_actions())
    for action in actions[:-1]:
        state.apply_action(action)
    view = torch.from_numpy(Views(game)([state]))
    legal, policy[0, actions[-1]] = torch.tensor(state.legal_actions_mask())[None].bool(), 1.0
    state.apply_action(actions[-1])
    return Positions(view, legal, policy, torch.tensor([state.returns()[0]])), state.is_terminal()


@pytest.mark.parametrize(
    ("name", "kind", "ways"),
    [
        ("tic_tac_toe", "dihedral", 8),
        ("connect_four", "mirror", 2),
        ("go(board_size=5)", "dihedral", 8),
        ("go(board_size=5)", "mirror", 2),
    ],
)
def test_a_turned_game_is_a_game(name: str, kind: Symmetry, ways: int) -> None:
    """Turn every move of a game: what the rules make of it is the turned position."""
    pytest.importorskip("pyspiel")
    game, rng = load_game(name), np.random.default_rng(0)
    symmetries = Symmetries(Views(game).shape, game.num_distinct_actions(), kind)
    assert len(symmetries.actions) == ways
    for way in range(ways):
        state, actions = game.new_initial_state(), list[int]()
        while not state.is_terminal():
            actions.append(int(rng.choice(state.legal_actions())))
            state.apply_action(actions[-1])
        for length in range(1, len(actions) + 1):
            given, ended = position(game, actions[:length])
            becomes = symmetries.actions[way].argsort()[actions[:length]].tolist()
            expected, also_ended = position(game, becomes)
            turned = symmetries.turned(given, torch.tensor([way]))
            assert ended == also_ended and turned.value == expected.value
            for part in ("view", "legal", "policy"):
                assert torch.equal(getattr(turned, part), getattr(expected, part))


def test_every_way_is_taken_and_they_differ() -> None:
    symmetries = Symmetries((1, 3, 3), 9, "dihedral")
    view = torch.arange(9.0).view(1, 1, 3, 3).expand(400, -1, -1, -1)
    flat = torch.arange(9.0).expand(400, -1)
    given = Positions(view, flat > -1, flat, torch.zeros(400))
    turned = symmetries.apply(given, torch.Generator().manual_seed(0))
    assert len({tuple(row) for row in turned.policy.tolist()}) == 8
    assert torch.equal(turned.view.flatten(1), turned.policy)
    same = Symmetries((1, 3, 3), 9, "none").apply(given, torch.Generator())
    assert same is given


def test_boards_and_actions_that_cannot_be_turned_are_refused() -> None:
    for shape, actions, kind in (((5,), 5, "mirror"), ((1, 2, 3), 6, "dihedral")):
        with pytest.raises(ValueError, match="symmetry: expected none"):
            Symmetries(shape, actions, kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="symmetry: expected none for 5 actions on 9 points"):
        Symmetries((1, 3, 3), 5, "dihedral")
