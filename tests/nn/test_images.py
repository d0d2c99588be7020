"""Frames to features and back: shapes, gradients, and that what was seen can be drawn again."""

from __future__ import annotations

import pytest
import torch

from mpc_robot.nn.images import FrameDecoder, FrameEncoder, centred, shades

SHAPE = (16, 16, 3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames(*rows: int) -> torch.Tensor:
    return torch.randint(256, (*rows, *SHAPE), generator=generator(9)).to(torch.uint8)


def test_shades_are_centred_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert (centred(every).min(), centred(every).max()) == (-0.5, 0.5)
    assert torch.equal(shades(centred(every)), every)
    assert shades(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


@pytest.mark.parametrize(("channels", "strides"), [((4, 8), (4, 2)), ((4, 8, 8), (2, 2, 2))])
def test_any_leading_shape_and_each_frame_by_itself(
    channels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    encoder = FrameEncoder(SHAPE, channels, strides, generator())
    seen = frames(2, 3)
    features = encoder(seen)
    assert features.shape == (2, 3, encoder.dim) and encoder.dim == 2 * 2 * 8
    torch.testing.assert_close(features[1, 2], encoder(seen[1, 2:])[0])
    decoder = FrameDecoder(encoder.dim, SHAPE, channels, strides, generator())
    drawn = decoder(features)
    assert drawn.shape == (2, 3, *SHAPE)
    torch.testing.assert_close(drawn[1, 2], decoder(features[1, 2:])[0], atol=1e-5, rtol=1e-4)


def test_a_pixel_reaches_the_features_near_it_only() -> None:
    """A stride of 4 sees patches that do not overlap; a stride of 2, one more on each side."""
    encoder = FrameEncoder((32, 32, 3), (4, 4), (4, 4), generator())
    seen = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    seen[1, 20, 3] = 255  # patch 1 from above, 0 from the left
    near, far = encoder(seen)
    changed = (near != far).unflatten(0, (2, 2, 4)).any(dim=-1)
    assert changed.tolist() == [[False, False], [True, False]]


def test_what_was_seen_can_be_drawn_again() -> None:
    """A white square in each of four places on black is learned by heart."""
    encoder = FrameEncoder(SHAPE, (8, 16), (4, 2), generator())
    decoder = FrameDecoder(encoder.dim, SHAPE, (8, 16), (4, 2), generator())
    seen = torch.zeros(4, *SHAPE, dtype=torch.uint8)
    for i in range(4):
        seen[i, 3 * i : 3 * i + 5, 12 - 3 * i : 16 - 3 * i] = 255
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-2)
    for _ in range(300):
        loss = ((decoder(encoder(seen)) - centred(seen)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * centred(seen).var().item()


@pytest.mark.parametrize(
    ("strides", "message"),
    [((3, 2), "strides: expected each 2 or 4"), ((4, 4, 2), "product that divides"), ((), "each")],
)
def test_strides_that_do_not_fit(strides: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameEncoder(SHAPE, (4,) * len(strides), strides, generator())
