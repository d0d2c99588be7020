"""Operations of training are counted as they are done."""

from __future__ import annotations

import torch
from benchmarks.training import operations


def test_products_are_counted_forwards_and_backwards_and_nothing_else() -> None:
    left, right = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7, requires_grad=True)

    def call() -> None:
        """One product, and the two of its gradients, each of 2 * 3 * 5 * 7 operations."""
        (left @ right).tanh().sum().backward()  # type: ignore[no-untyped-call]

    assert operations(call) == 3 * 210


def test_views_of_what_has_gradients_are_followed_where_gradients_are_off() -> None:
    network = torch.nn.utils.skip_init(torch.nn.Linear, 5, 7, bias=False)
    rows = torch.ones(2, 4, 5, requires_grad=True) * 2.0

    @torch.no_grad()
    def call() -> None:
        """A module given such a view."""
        network(rows[-1])

    assert operations(call) == 2 * 4 * 5 * 7
