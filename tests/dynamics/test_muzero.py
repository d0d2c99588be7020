"""MuZero's model: what it says at first, and that search and planners ask the same of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mpc_robot.dynamics.muzero import MuZeroModel, MuZeroModelConfig, min_max_scaled
from mpc_robot.nn.choices import Choices, Moves, Numbers

SMALL = MuZeroModelConfig(latent=6, hidden=16, support=5.0, bins=11)
MOVES = Moves(np.array([-2.0]), np.array([2.0]), 4)
SEEN = np.array([[0.1, -0.2, 3.0], [1.0, 0.0, -1.0]])
both = pytest.mark.parametrize("choices", [Numbers(3), MOVES], ids=["numbers", "moves"])


def new(choices: Choices, *, said: bool = True) -> MuZeroModel:
    """A model that says something, as after learning, or nothing yet."""
    rng = torch.Generator().manual_seed(0)
    model = MuZeroModel([0, 2], choices, 0.9, SMALL, rng)
    if said:
        with torch.no_grad():
            for head in (model.reward, model.policy, model.value):
                last: Any = head[-1]
                last.weight.copy_(torch.randn(last.weight.shape, generator=rng))
    return model


def seeded() -> np.random.Generator:
    return np.random.default_rng(0)


def test_rows_are_scaled_from_0_to_1() -> None:
    rows = min_max_scaled(torch.tensor([[1.0, 3.0, 2.0], [-4.0, -4.0, -4.0]]))
    assert rows.tolist() == [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]


@both
def test_at_first_it_says_0_and_does_anything(choices: Choices) -> None:
    model = new(choices, said=False)
    root = model.root(SEEN, seeded())
    step = model.expand(root.embedding, np.array([0, 1]), seeded())
    for number in (root.value, root.logits, step.reward, step.nodes.value):
        np.testing.assert_allclose(number, 0.0, atol=1e-5)
    assert step.discount.tolist() == [0.9, 0.9]


@both
def test_it_sees_only_its_inputs(choices: Choices) -> None:
    model, other = new(choices), SEEN.copy()
    other[:, 1] = 77.0
    root, same = model.root(SEEN, seeded()), model.root(other, seeded())
    np.testing.assert_array_equal(root.embedding[0], same.embedding[0])
    np.testing.assert_array_equal(root.value, model.evaluate(SEEN).astype(np.float32))


@both
def test_search_and_planners_are_told_the_same(choices: Choices) -> None:
    model, action = new(choices), np.array([2, 1])
    root = model.root(SEEN, seeded())
    expansion = model.expand(root.embedding, action, seeded())
    applied = torch.as_tensor(model.vector(root.embedding, action))
    start = torch.cat([model.start(row, 1) for row in SEEN])
    step = model.step(start, applied, torch.Generator())
    np.testing.assert_allclose(expansion.reward, step.reward.numpy(), atol=1e-5)
    np.testing.assert_allclose(expansion.nodes.embedding[0], step.state.numpy(), atol=1e-6)
    assert expansion.reward.std() > 0 and step.continues.tolist() == [1.0, 1.0]
    futures = model.rollout(start, applied[:, None].expand(2, 3, 1), torch.Generator())
    assert futures.observations.shape == (2, 1, 4, 6)
    torch.testing.assert_close(futures.rewards[:, 0, 0], step.reward)
    later = model.step(step.state, applied, torch.Generator())
    torch.testing.assert_close(futures.rewards[:, 0, 1], later.reward)
    torch.testing.assert_close(futures.observations[:, 0, 2], later.state)


def test_numbers_are_applied_as_they_are_and_moves_within_bounds() -> None:
    action = np.array([2, 1])
    numbers = new(Numbers(3))
    assert numbers.vector(numbers.root(SEEN, seeded()).embedding, action).tolist() == [[2.0], [1.0]]
    moves = new(MOVES)
    root = moves.root(SEEN, seeded()).embedding
    chosen = root[1][[0, 1], action].astype(np.float64)
    np.testing.assert_allclose(moves.vector(root, action), 2.0 * chosen.clip(-1.0, 1.0))


@pytest.mark.parametrize(
    ("field", "value"),
    [("latent", 0), ("hidden", 0), ("layers", 0), ("candidates", 0), ("support", 0.0), ("bins", 4)],
)
def test_settings_that_make_no_sense(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .*got {value}"):
        MuZeroModelConfig(**{field: value})
