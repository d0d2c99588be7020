"""Adaptive clipping against its definition, on gradients whose norms are known."""

from __future__ import annotations

import pytest
import torch

from mpc_robot.nn.clipping import clip_adaptively


def parameter(value: list[float], gradient: list[float] | None) -> torch.nn.Parameter:
    one = torch.nn.Parameter(torch.tensor(value))
    one.grad = None if gradient is None else torch.tensor(gradient)
    return one


def clipped(one: torch.nn.Parameter, most: float = 0.3) -> torch.Tensor:
    clip_adaptively([one], most)
    assert one.grad is not None
    return one.grad


def test_a_gradient_is_at_most_a_share_of_what_it_changes() -> None:
    gradient = clipped(parameter([3.0, 4.0], [6.0, -8.0]))
    torch.testing.assert_close(gradient, torch.tensor([0.9, -1.2]))  # norm 0.3 * 5 of 10


def test_a_small_gradient_stays_as_it_is() -> None:
    assert clipped(parameter([3.0, 4.0], [0.6, -0.8])).tolist() == pytest.approx([0.6, -0.8])
    assert clipped(parameter([3.0, 4.0], [0.0, 0.0])).tolist() == [0.0, 0.0]


def test_what_is_zero_can_still_change() -> None:
    gradient = clipped(parameter([0.0, 0.0], [0.0, 5.0]))
    assert gradient.tolist() == pytest.approx([0.0, 3e-4])


def test_each_tensor_is_clipped_by_itself_and_the_norm_is_of_all() -> None:
    tame, wild = parameter([10.0], [2.0]), parameter([1.0], [-8.0])
    idle, other = parameter([1.0], None), parameter([10.0], [-0.5])
    norm = clip_adaptively([tame, wild, idle, other], 0.3)
    assert norm.item() == pytest.approx((2.0**2 + 8.0**2 + 0.5**2) ** 0.5)
    grads = [each.grad.item() for each in (tame, wild, other) if each.grad is not None]
    assert grads == pytest.approx([2.0, -0.3, -0.5]) and idle.grad is None


def test_what_is_not_finite_is_told() -> None:
    assert not clip_adaptively([parameter([1.0], [torch.nan])], 0.3).isfinite()
