"""Steps down a loss against torch's own Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch

from mpc_robot.nn.descent import Descent, DescentConfig


def pair() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.tensor([1.0, -2.0])), torch.nn.Parameter(torch.tensor(3.0))]


def loss(parameters: list[torch.nn.Parameter], scale: float = 1.0) -> torch.Tensor:
    vector, number = parameters
    return scale * (vector.pow(4).sum() + vector.sum() * number)


def test_it_is_adam_with_clipped_gradients() -> None:
    ours, theirs = pair(), pair()
    descent = Descent(ours, DescentConfig(0.1, "norm", most=2.0))
    adam = torch.optim.Adam(theirs, lr=0.1)
    for step in range(5):
        adam.zero_grad()
        expected = loss(theirs, 10.0**-step)
        expected.backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs, 2.0)
        adam.step()
        assert descent.step(loss(ours, 10.0**-step)) == pytest.approx(norm.item())
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)


def test_only_its_own_parameters_change() -> None:
    parameters = pair()
    Descent(parameters[:1], DescentConfig(0.1)).step(loss(parameters))
    assert parameters[0].tolist() != [1.0, -2.0]
    assert parameters[1].item() == 3.0 and parameters[1].grad is None


@pytest.mark.parametrize("clip", ["norm", "adaptive"])
@pytest.mark.parametrize("scale", [torch.nan, torch.inf])
def test_what_is_not_finite_changes_nothing(
    clip: Literal["norm", "adaptive"], scale: float
) -> None:
    parameters = pair()
    descent = Descent(parameters, DescentConfig(0.1, clip))
    assert not descent.step(loss(parameters, scale)) < torch.inf
    assert parameters[0].tolist() == [1.0, -2.0] and descent.state_dict() == {}


def weights() -> list[torch.nn.Parameter]:
    """As a convolution's, in the order of channels last."""
    numbers = torch.arange(24.0).view(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    return [torch.nn.Parameter(numbers), torch.nn.Parameter(torch.tensor(3.0))]


@pytest.mark.parametrize("make", [pair, weights])
def test_it_goes_on_to_the_bit(make: Callable[[], list[torch.nn.Parameter]]) -> None:
    ours, theirs = make(), make()
    one, other = (Descent(each, DescentConfig(0.1)) for each in (ours, theirs))
    for _ in range(3):
        one.step(loss(ours))
    for mine, yours in zip(ours, theirs, strict=True):
        yours.data.copy_(mine.data)
    state = {
        key: {name: value.contiguous() for name, value in kept.items()}  # as a file holds it
        for key, kept in one.state_dict().items()
    }
    other.load_state_dict(state)
    for _ in range(2):
        one.step(loss(ours))
        other.step(loss(theirs))
    assert all(torch.equal(mine, yours) for mine, yours in zip(ours, theirs, strict=True))


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="rate: expected positive, got 0"):
        DescentConfig(0.0)
