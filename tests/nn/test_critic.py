"""Critics, evaluated together, against one after the other."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mpc_robot.nn.critic import QEnsemble


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def critics(members: int = 5, layer_norm: bool = False, dropout: float = 0.0) -> QEnsemble:
    made = QEnsemble(
        (3, 2),
        members,
        (16, 8),
        generator(),
        activation=functional.relu,
        layer_norm=layer_norm,
        dropout=dropout,
    )
    with torch.no_grad():
        for bias in made.network.biases:
            bias.normal_(generator=generator(1))
    return made


def rows(count: int = 7) -> tuple[Tensor, Tensor]:
    drawn = generator(2)
    return torch.randn(count, 3, generator=drawn), torch.randn(count, 2, generator=drawn)


def one_by_one(network: QEnsemble, seen: Tensor, action: Tensor) -> Tensor:
    """Each member by ordinary linear layers, ``[M, B]``."""
    values, layers = [], network.network
    for member in range(layers.members):
        x = torch.cat([seen, action], dim=1)
        for i, (weight, bias) in enumerate(zip(layers.weights, layers.biases, strict=True)):
            x = functional.linear(x, weight[member].T, bias[member, 0])
            if i < 2:
                x = torch.clamp(x, min=0.0)
                if layers.layer_norm:
                    spread = (x.var(dim=1, correction=0, keepdim=True) + 1e-5).sqrt()
                    x = (x - x.mean(dim=1, keepdim=True)) / spread
        values.append(x[:, 0])
    return torch.stack(values)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_members_are_ordinary_networks(layer_norm: bool) -> None:
    made = critics(layer_norm=layer_norm)
    torch.testing.assert_close(made(*rows()), one_by_one(made, *rows()))


def test_other_units_change_no_value_but_what_networks_say() -> None:
    made = critics()
    values, least = made(*rows()), made.least(*rows(), 5, generator())
    for center, width in ((2.0, 30.0), (-7.0, 0.5)):
        made.rescale(torch.tensor(center), torch.tensor(width))
        torch.testing.assert_close(made(*rows()), values, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(made.least(*rows(), 5, generator()), least, atol=1e-4, rtol=1e-4)
        said = (values - center) / width
        torch.testing.assert_close(one_by_one(made, *rows()), said, atol=1e-3, rtol=1e-4)


def test_the_least_of_all_is_their_minimum() -> None:
    made = critics(2)
    least = made.least(*rows(), 2, generator())
    torch.testing.assert_close(least, one_by_one(made, *rows()).min(dim=0).values)


def test_the_least_of_a_few_is_that_of_any_two_alike_for_all_rows() -> None:
    made, drawn = critics(4), generator(3)
    with torch.no_grad():  # so that each is the least of some rows
        made.network.biases[-1].sub_(made(*rows(300)).mean(dim=1)[:, None, None])
    values = one_by_one(made, *rows(300))
    of_pairs = {p: values[list(p)].amin(dim=0) for p in itertools.combinations(range(4), 2)}
    found = []
    for _ in range(60):
        least = made.least(*rows(300), 2, drawn)
        found.append(
            [pair for pair, value in of_pairs.items() if torch.allclose(value, least, atol=1e-5)]
        )
    assert {len(pairs) for pairs in found} == {1}
    assert {pairs[0] for pairs in found} == set(of_pairs)


def test_only_training_drops_values() -> None:
    made = critics(dropout=0.5)
    torch.testing.assert_close(made(*rows()), one_by_one(made, *rows()))
    assert not torch.allclose(made(*rows(), dropping=generator()), made(*rows()))
    assert torch.equal(made(*rows(), dropping=generator(4)), made(*rows(), dropping=generator(4)))
