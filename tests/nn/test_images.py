"""Frames to features and back: scale, shapes, gradients, and that what was seen is drawn again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mpc_robot.nn.images import LEAST_STD, FrameDecoder, FrameEncoder, FrameNormalizer

SHAPE = (16, 16, 3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames(*rows: int) -> torch.Tensor:
    return torch.randint(256, (*rows, *SHAPE), generator=generator(9)).to(torch.uint8)


def test_each_place_has_zero_mean_and_unit_variance() -> None:
    """But one that hardly varies is not enlarged; statistics by NumPy."""
    seen = frames(4, 5)
    seen[..., 0, 0, 0] = 10
    seen[0, 0, 0, 1, 0], seen[..., 0, 2, 0] = 11, 200
    scale = FrameNormalizer(SHAPE)
    scale.fit(seen)
    scaled, raw = scale(seen).numpy(), seen.numpy().astype(np.float64)
    std = raw.std(axis=(0, 1)).clip(min=LEAST_STD)
    np.testing.assert_allclose(scaled, (raw - raw.mean(axis=(0, 1))) / std, atol=1e-5)
    assert not scaled[..., 0, 0, 0].any() and not scaled[..., 0, 2, 0].any()
    np.testing.assert_allclose(scaled[..., 4:, :, :].std(axis=(0, 1)), 1.0, rtol=1e-5)


def test_scaled_frames_become_shades_again() -> None:
    scale = FrameNormalizer(SHAPE)
    seen = frames(6)
    for _ in range(2):  # before it is fitted, and after
        torch.testing.assert_close(scale.shades(scale(seen)), seen / 255.0)
        scale.fit(seen)
    assert scale.shades(torch.full(SHAPE, -9.0)).min() == 0.0
    assert scale.shades(torch.full(SHAPE, 9.0)).max() == 1.0


@pytest.mark.parametrize(("channels", "strides"), [((4, 8), (4, 2)), ((4, 8, 8), (2, 2, 2))])
def test_any_leading_shape_and_each_frame_by_itself(
    channels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    encoder = FrameEncoder(SHAPE, channels, strides, generator())
    seen = torch.randn(2, 3, *SHAPE, generator=generator(9))
    features = encoder(seen)
    assert features.shape == (2, 3, encoder.dim) and encoder.dim == 2 * 2 * 8
    torch.testing.assert_close(features[1, 2], encoder(seen[1, 2:])[0])
    decoder = FrameDecoder(encoder.dim, SHAPE, channels, strides, generator())
    drawn = decoder(features)
    assert not drawn.any()  # the mean frame, at first
    torch.nn.init.normal_(decoder.layers[-1].weight, generator=generator(1))
    drawn = decoder(features)
    assert drawn.shape == (2, 3, *SHAPE)
    torch.testing.assert_close(drawn[1, 2], decoder(features[1, 2:])[0], atol=1e-5, rtol=1e-4)


def test_a_pixel_reaches_the_features_near_it_only() -> None:
    """A stride of 4 sees patches that do not overlap; a stride of 2, one more on each side."""
    encoder = FrameEncoder((32, 32, 3), (4, 4), (4, 4), generator())
    seen = torch.zeros(2, 32, 32, 3)
    seen[1, 20, 3] = 1.0  # patch 1 from above, 0 from the left
    near, far = encoder(seen)
    changed = (near != far).unflatten(0, (2, 2, 4)).any(dim=-1)
    assert changed.tolist() == [[False, False], [True, False]]


def test_what_was_seen_can_be_drawn_again() -> None:
    """A white square in each of four places on black is learned by heart."""
    encoder = FrameEncoder(SHAPE, (8, 16), (4, 2), generator())
    decoder = FrameDecoder(encoder.dim, SHAPE, (8, 16), (4, 2), generator())
    seen = torch.full((4, *SHAPE), -0.5)
    for i in range(4):
        seen[i, 3 * i : 3 * i + 5, 12 - 3 * i : 16 - 3 * i] = 0.5
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-2)
    for _ in range(300):
        loss = ((decoder(encoder(seen)) - seen) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * seen.var().item()


@pytest.mark.parametrize(
    ("strides", "message"),
    [((3, 2), "strides: expected each 2 or 4"), ((4, 4, 2), "product that divides"), ((), "each")],
)
def test_strides_that_do_not_fit(strides: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameEncoder(SHAPE, (4,) * len(strides), strides, generator())


def test_scaling_leaves_what_it_is_given_alone() -> None:
    frame = torch.full(SHAPE, 200.0)
    FrameNormalizer(SHAPE)(frame)
    assert (frame == 200.0).all()
