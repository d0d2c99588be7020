"""The net of AlphaZero: shapes, what it says at first, and that it can learn."""

from __future__ import annotations

import pytest
import torch

from mpc_robot.nn.policy_value import PolicyValueConfig, PolicyValueNet


def net(shape: tuple[int, ...], precision: str = "float32", blocks: int = 2) -> PolicyValueNet:
    config = PolicyValueConfig(blocks, channels=16, value_units=8, precision=precision)  # type: ignore[arg-type]
    return PolicyValueNet(shape, 7, config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(4, 6, 7), (12,)])
def test_it_says_nothing_at_first_and_then_what_it_learned(shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(1)
    views = torch.randn(5, *shape, generator=rng)
    policy = torch.randn(5, 7, generator=rng).softmax(1)
    value = torch.tensor([1.0, -1.0, 0.5, 0.0, -0.5])
    model = net(shape)
    logits, said = model(views)
    assert logits.shape == (5, 7) and said.shape == (5,)
    assert not logits.any() and not said.any()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        logits, said = model(views)
        loss = ((said - value) ** 2).mean() - (policy * logits.log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits, said = model(views)
    torch.testing.assert_close(said, value, atol=0.1, rtol=0)
    torch.testing.assert_close(logits.softmax(1), policy, atol=0.1, rtol=0)
    assert (said.abs() <= 1).all()


def test_blocks_begin_as_the_identity() -> None:
    views = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    deep, flat = net((4, 5, 5), blocks=3), net((4, 5, 5), blocks=0)
    torch.testing.assert_close(deep.trunk(views), flat.trunk(views))


def test_half_precision_says_nearly_the_same() -> None:
    views = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    exact, rough = net((4, 5, 5)), net((4, 5, 5), "bfloat16")
    for layer in (exact.policy, exact.value):
        torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    rough.load_state_dict(exact.state_dict())
    for one, other in zip(exact(views), rough(views), strict=True):
        torch.testing.assert_close(one, other, atol=0.05, rtol=0.05)
        assert other.dtype == torch.float32 and not torch.equal(one, other)


def test_sizes_that_make_no_sense_are_refused() -> None:
    for name in ("blocks", "channels", "value_units"):
        with pytest.raises(ValueError, match=f"{name}: expected at least"):
            PolicyValueConfig(**{name: -1})
