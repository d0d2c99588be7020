"""What a world model sees: what is drawn and missed before anything is learned, in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from mpc_robot.nn.images import LEAST_STD
from mpc_robot.nn.senses import Senses, SensesConfig

SHAPE = (8, 8, 3)
CONFIG = SensesConfig(channels=(4, 4), strides=(2, 2), units=8, layers=2)
FEATURES = 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def senses(frame_shape: tuple[int, int, int] | None, vector_dim: int | None) -> Senses:
    return Senses(FEATURES, CONFIG, generator(), frame_shape=frame_shape, vector_dim=vector_dim)


def seen(*rows: int) -> tuple[Tensor, Tensor]:
    """Frames ``[*rows, *SHAPE]`` that vary little to the left, and vectors ``[*rows, 3]``."""
    rng = generator(1)
    frame = torch.randint(256, (*rows, *SHAPE), generator=rng)
    frame[..., :4, :] = 100 + frame[..., :4, :] % 5
    size = torch.tensor([0.1, 3.0, 2_000.0])
    return frame.to(torch.uint8), size * (1.0 + torch.randn(*rows, 3, generator=rng))


def test_at_first_the_mean_is_drawn_and_what_is_missed_is_how_all_varies() -> None:
    ours, (frame, vector) = senses(SHAPE, 3), seen(6, 7)
    ours.fit(frame, vector)
    features = torch.randn(6, 7, FEATURES, generator=generator(2))
    drawn, said = ours.decode(features)
    assert drawn is not None and said is not None
    torch.testing.assert_close(drawn[3, 4], frame.float().mean(dim=(0, 1)) / 255.0)
    squashed = torch.sign(vector) * torch.log1p(vector.abs())
    middle = squashed.mean(dim=(0, 1))
    torch.testing.assert_close(said[2, 5], torch.sign(middle) * torch.expm1(middle.abs()))
    losses = ours.losses(features, frame, vector)
    varied = squashed.var(dim=(0, 1), correction=0) / squashed.square().mean(dim=(0, 1))
    assert losses["vector"].mean().item() == pytest.approx(varied.sum().item(), rel=1e-5)
    variance = frame.double().var(dim=(0, 1), correction=0)
    expected = (variance / variance.clamp(min=LEAST_STD**2)).sum().item()
    assert losses["frame"].mean().item() == pytest.approx(expected, rel=1e-5)
    assert losses["frame"].shape == losses["vector"].shape == (6, 7)
    assert 8 * 4 * 3 < expected < 8 * 4 * 3 * 1.2  # the right half, and a little of the left


def test_what_hardly_varied_is_not_blown_up() -> None:
    """A pole that hung down all along, and an entry that is always 0; then both change."""
    ours, cosine = senses(None, 2), torch.linspace(-1.0, -0.99, 50)
    ours.fit(None, torch.stack([cosine, torch.zeros(50)], dim=1))
    assert ours.vector is not None
    scaled = ours.vector.scaled(torch.tensor([[-0.995, 0.0], [1.0, 1.0]]))
    expected = torch.tensor([[0.0, 0.0], [2.0, 0.693]])
    torch.testing.assert_close(scaled, expected, atol=0.01, rtol=0.0)


def test_rounding_and_what_is_not_finite_set_no_scale() -> None:
    ours, good = senses(None, 3), torch.linspace(-1.0, 1.0, 50)
    wrong = good.clone()
    wrong[7] = torch.inf
    ours.fit(None, torch.stack([1e-9 * good, wrong, good], dim=1))
    assert ours.vector is not None
    scaled = ours.vector.scaled(torch.full((1, 3), 0.1))
    size = torch.log1p(good.abs()).square().mean().sqrt()
    expected = torch.log1p(torch.tensor(0.1)) * torch.tensor([[1.0, 1.0, 1.0 / size]])
    torch.testing.assert_close(scaled, expected)


def test_features_are_those_of_each_part_side_by_side() -> None:
    ours, (frame, vector) = senses(SHAPE, 3), seen(20)
    both = ours.encode(frame, vector)
    assert both.shape == (20, ours.dim)
    assert ours.frame is not None and ours.vector is not None
    frames, vectors = ours.frame.encode(frame), ours.vector.encode(vector)
    assert torch.equal(both, torch.cat([frames, vectors], dim=-1))
    assert frames.std() > 0 and vectors.std() > 0


def test_what_is_not_there_is_not_drawn() -> None:
    vector = seen(2)[1]
    features = torch.zeros(2, FEATURES)
    drawn, said = senses(SHAPE, None).decode(features)
    assert drawn is not None and said is None
    drawn, said = senses(None, 3).decode(features)
    assert drawn is None and said is not None
    assert senses(None, 3).losses(features, None, vector).keys() == {"vector"}
    with pytest.raises(ValueError, match="frame_shape, vector_dim: expected at least one"):
        senses(None, None)


def test_entries_that_are_not_chosen_are_not_seen() -> None:
    ours = Senses(FEATURES, CONFIG, generator(), vector_dim=3, entries=[2, 0])
    vector, other = seen(20)[1], seen(20)[1]
    other[:, 1] += 5.0
    assert torch.equal(ours.encode(None, vector), ours.encode(None, other))
    assert torch.equal(ours.chosen(vector), vector[:, [2, 0]])
    drawn = ours.decode(torch.zeros(4, FEATURES))[1]
    assert drawn is not None and drawn.shape == (4, 2)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"frame": np.zeros(SHAPE, np.uint8)},
            "observation: expected frame and vector, got 'frame'",
        ),
        (
            {"frame": np.zeros(SHAPE, np.uint8), "vector": np.zeros(5)},
            r"vector: .* \(3,\), got \(5,",
        ),
        ({"frame": np.zeros((4, 4, 3)), "vector": np.zeros(3)}, r"frame: .* \(8, 8, 3\), got \(4,"),
        (
            {"frame": np.zeros(SHAPE, np.uint8), "vector": np.array([0.0, np.nan, np.inf])},
            r"vector\[1\]: expected a finite number, got .*nan",
        ),
    ],
)
def test_what_is_not_what_is_seen_is_refused(
    parts: dict[str, npt.NDArray[Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        senses(SHAPE, 3).check(parts)
    senses(SHAPE, 3).check({"frame": np.zeros(SHAPE, np.uint8), "vector": np.ones(3)})
