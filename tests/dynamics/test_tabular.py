"""The table against a plain record of what was seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpc_robot.dynamics.tabular import TabularModel

STATES, ACTIONS = 6, 3


def history(steps: int, seed: int) -> list[tuple[int, int, float, int]]:
    """Random steps, some into the terminal state, many repeated with another outcome."""
    rng = np.random.default_rng(seed)
    sizes = (STATES, ACTIONS, 100, STATES + 1)
    return [
        (int(s), int(a), float(r), int(n)) for s, a, r, n in rng.integers(sizes, size=(steps, 4))
    ]


def after(steps: list[tuple[int, int, float, int]]) -> TabularModel:
    model = TabularModel(STATES, ACTIONS)
    for step in steps:
        model.learn(*step)
    return model


@pytest.mark.parametrize("steps", [0, 5, 40])
def test_the_last_outcome_of_each_action_is_remembered(steps: int) -> None:
    seen = history(steps, seed=1)
    model = after(seen)
    last = {(s, a): (r, n) for s, a, r, n in seen}
    when = {(s, a): at for at, (s, a, _, _) in enumerate(seen, start=1)}
    pairs = [(s, a) for s in range(STATES) for a in range(ACTIONS)]
    for s, a in pairs:
        assert model.predict(s, a) == last.get((s, a), (0.0, s))
        assert model.age(s, a) == steps - when.get((s, a), 0)
    assert model.states == sorted({s for s, _ in last})
    assert [[(s, a) for a in model.tried[s]] for s in range(STATES)] == [
        [pair for pair in pairs if pair in last and pair[0] == s] for s in range(STATES)
    ]
    for state in range(STATES + 1):
        assert model.predecessors[state] == {pair for pair, out in last.items() if out[1] == state}


def test_the_terminal_state_is_none_of_the_environments() -> None:
    assert TabularModel(STATES, ACTIONS).terminal == STATES


def test_a_restored_model_goes_on_alike() -> None:
    seen = history(60, seed=2)
    whole, restored = after(seen), TabularModel(STATES, ACTIONS)
    restored.load_state_dict(after(seen[:25]).state_dict())
    for step in seen[25:]:
        restored.learn(*step)
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(restored.state_dict()[name], value)
    assert (restored.states, restored.tried) == (whole.states, whole.tried)
    assert restored.predecessors == whole.predecessors


def test_what_was_saved_does_not_change_any_more() -> None:
    model = after(history(10, seed=3))
    saved = model.state_dict()
    copies = {name: np.copy(value) for name, value in saved.items()}
    for step in history(10, seed=4):
        model.learn(*step)
    for name, value in copies.items():
        np.testing.assert_array_equal(saved[name], value)


@pytest.mark.parametrize("name", ["reward", "following", "last_visit"])
def test_a_table_of_another_size_is_refused_and_nothing_changed(name: str) -> None:
    model, seen = after(history(10, seed=5)), history(10, seed=5)
    state: dict[str, Any] = after(history(20, seed=6)).state_dict()
    state[name] = np.zeros((STATES, ACTIONS + 1))
    with pytest.raises(ValueError, match=rf"{name}: expected shape \(6, 3\), got \(6, 4\)"):
        model.load_state_dict(state)
    assert model.time == 10
    assert all(model.predict(s, a) == (r, n) for s, a, r, n in seen[-1:])


@pytest.mark.parametrize("name", ["time", "reward", "following", "last_visit"])
def test_no_part_may_be_missing(name: str) -> None:
    state = after(history(5, seed=7)).state_dict()
    del state[name]
    with pytest.raises(KeyError, match=name):
        TabularModel(STATES, ACTIONS).load_state_dict(state)
