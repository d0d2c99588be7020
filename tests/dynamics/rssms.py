"""Small recurrent state-space models, and what they see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.rssm import RSSM, RSSMConfig
from mpc_robot.dynamics.rssm_presets import rssm_v1, rssm_v2
from mpc_robot.nn.latents import CategoricalConfig, GaussianConfig
from mpc_robot.nn.senses import SensesConfig

BOUNDS = -2 * np.ones(1), 2 * np.ones(1)
SENSES = SensesConfig(channels=(4, 8), strides=(4, 2), units=32, layers=1)
SMALL = RSSMConfig(CategoricalConfig(4, 4), SENSES, deter=32, hidden=32, units=32)
VERSIONS = {
    "v1": replace(rssm_v1(SMALL), latent=GaussianConfig(6)),
    "v2": rssm_v2(SMALL),
    "v3": SMALL,
    "blocks": replace(SMALL, blocks=4),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(config: RSSMConfig = SMALL, seed: int = 0) -> RSSM:
    return RSSM(BOUNDS, config, generator(seed), vector_dim=2)


def sequences(rows: int = 3, length: int = 5, seed: int = 0) -> Sequences:
    """Random ones whose second row starts anew in the middle."""
    rng, no = generator(seed), torch.zeros(rows, length, dtype=torch.bool)
    first = no.clone()
    first[:, 0] = True
    first[1:2, length // 2] = True
    vector, action = (torch.randn(rows, length, n, generator=rng) for n in (2, 1))
    reward = torch.randn(rows, length, generator=rng)
    return Sequences(None, vector, action, reward, first, no, no)
