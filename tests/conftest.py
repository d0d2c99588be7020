"""What every test must leave as it was."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch


def global_random_states() -> tuple[object, bytes, int, bytes]:
    """The states that a result must not depend on: Python's, NumPy's and torch's."""
    _, keys, position, *_ = np.random.get_state()
    return random.getstate(), keys.tobytes(), position, torch.get_rng_state().numpy().tobytes()


@pytest.fixture(autouse=True)
def nothing_draws_from_a_global_generator() -> Iterator[None]:
    before = global_random_states()
    yield
    assert global_random_states() == before
