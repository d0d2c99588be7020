"""Scaling against NumPy's statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpc_robot.nn.normalizer import Normalizer


def test_data_come_out_with_zero_mean_and_unit_variance() -> None:
    data = np.random.default_rng(0).normal([5.0, -300.0], [0.1, 20.0], (1000, 2))
    scale = Normalizer(2)
    scale.fit(torch.as_tensor(data, dtype=torch.float32))
    np.testing.assert_allclose(scale.mean.numpy(), data.mean(0), rtol=1e-5)
    np.testing.assert_allclose(scale.std.numpy(), data.std(0), rtol=1e-4)
    scaled = scale(torch.as_tensor(data, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(scaled, (data - data.mean(0)) / data.std(0), atol=1e-3)
    np.testing.assert_allclose(scale.inverse(torch.as_tensor(scaled)), data, rtol=1e-4)


def test_an_entry_that_never_varies_is_only_centred() -> None:
    scale = Normalizer(2)
    scale.fit(torch.tensor([[7.0, 0.0], [7.0, 0.0], [7.0, 0.0]]))
    assert torch.equal(scale(torch.tensor([7.0, 0.0])), torch.zeros(2))
    assert torch.equal(scale(torch.tensor([8.0, 1.0])), torch.ones(2))
    scale.fit(torch.tensor([[7.0, 0.0], [7.0, 2.0]]), unvarying=0.5)
    assert scale.std.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_statistics_that_are_not_finite_are_not_taken(bad: float) -> None:
    ours = Normalizer(2)
    ours.fit(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    ours.fit(torch.tensor([[0.0, 1.0], [bad, 7.0]]))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name])


def test_it_is_the_identity_until_fitted_and_part_of_the_state() -> None:
    fresh, fitted = Normalizer(1), Normalizer(1)
    assert fresh(torch.tensor([3.0])).item() == 3.0
    fitted.fit(torch.tensor([[1.0], [3.0]]))
    fresh.load_state_dict(fitted.state_dict())
    assert fresh(torch.tensor([4.0])).item() == 2.0
