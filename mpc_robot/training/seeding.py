"""Seeds of everything random in a run, each a pure function of the run's one seed."""

from __future__ import annotations

import numpy as np

TRAINING = 0
EVALUATION = 1
"""Streams that never share a seed: training episodes and evaluations."""


def derive_seed(seed: int, *path: int) -> int:
    """A seed of 32 bits for one purpose, such as ``derive_seed(seed, TRAINING, episode)``.

    Raises:
        ValueError: if ``seed`` is negative.
    """
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}")
    return int(np.random.SeedSequence(seed, spawn_key=path).generate_state(1)[0])
