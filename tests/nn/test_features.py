"""What a network sees of an observation, against NumPy."""

import numpy as np
import torch

from mpc_robot.nn.features import Features


def observations(count: int) -> torch.Tensor:
    drawn = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    return drawn * torch.tensor([1.0, 10.0, 0.0, 0.1]) + torch.tensor([0.0, 5.0, 3.0, -2.0])


def test_chosen_entries_as_they_are_until_fitted() -> None:
    features, rows = Features([3, 1]), observations(5)
    assert features.dim == 2
    assert torch.equal(features(rows), rows[:, [3, 1]])


def test_fitted_entries_have_no_mean_and_unit_variance() -> None:
    features, rows = Features([0, 2, 3]), observations(1000)
    features.fit(rows)
    seen = rows.double().numpy()[:, [0, 2, 3]]
    std = seen.std(axis=0)
    expected = (seen - seen.mean(axis=0)) / np.where(std < 1e-6, 1.0, std)
    np.testing.assert_allclose(features(rows).numpy(), expected, atol=1e-5)
    assert torch.equal(features(rows.view(10, 100, 4)), features(rows).view(10, 100, 3))


def test_the_statistics_are_part_of_a_checkpoint() -> None:
    fitted, restored = Features([0, 1]), Features([0, 1])
    fitted.fit(observations(100))
    restored.load_state_dict(fitted.state_dict())
    assert torch.equal(restored(observations(3)), fitted(observations(3)))
