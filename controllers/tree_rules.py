"""Which action a tree search tries next: UCT, PUCT (AlphaZero, MuZero) and Gumbel MuZero.

Settings, and what a search draws at random or plans ahead; :mod:`mpc_robot.controllers
.tree_selection` has the formulas. ``Q`` is the mean return of an action, ``n`` how often it was
tried, ``N`` how often its state was visited, which counts the state's own evaluation, ``P`` the
prior policy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mpc_robot.errors import require

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
UCT_RULE, PUCT_RULE, GUMBEL_RULE = 0, 1, 2


@dataclass(frozen=True)
class Widening:
    """Progressive widening: of a state's actions, only the first ``ceil(C N^alpha)`` are tried.

    For actions that are samples (Couëtoux et al. 2011, "Continuous upper confidence trees").

    Attributes:
        coefficient: C.
        exponent: alpha, in (0, 1).
    """

    coefficient: float = 1.0
    exponent: float = 0.5

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        finite = 0 < self.coefficient < math.inf
        require(finite, "coefficient", "positive", self.coefficient)
        require(0 < self.exponent < 1, "exponent", "in (0, 1)", self.exponent)


@dataclass(frozen=True)
class UCTConfig:
    """Upper confidence bounds on trees: ``Q + c sqrt(ln N / n)`` (Kocsis and Szepesvári 2006).

    Attributes:
        exploration: c, in the unit of a return (sqrt 2 for returns from 0 to 1).
        widening: for sampled actions; None to try all of them.
    """

    exploration: float = math.sqrt(2)
    widening: Widening | None = None

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require(0 <= self.exploration < math.inf, "exploration", "at least 0", self.exploration)


@dataclass(frozen=True)
class PUCTConfig:
    """MuZero's rule (arXiv:1911.08265, equation 2), ``Q`` in its range so far in the tree.

    ``Q + P sqrt(N) / (1 + n) (c1 + ln((N + c2 + 1) / c2))``; what was never tried has ``Q = 0``.

    Attributes:
        c1: weight of the prior (1.25).
        c2: visits at which it begins to grow (19652).
        dirichlet_alpha: of the noise in the prior of the root (AlphaZero, arXiv:1712.01815: 0.3
            chess, 0.03 Go; MuZero 0.25 Atari).
        dirichlet_fraction: share of that noise, 0 for none (0.25, in self-play).
        widening: for sampled actions; None to try all of them.
    """

    c1: float = 1.25
    c2: float = 19652.0
    dirichlet_alpha: float = 0.3
    dirichlet_fraction: float = 0.25
    widening: Widening | None = None

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        for name in ("c1", "c2", "dirichlet_alpha"):
            require(0 < getattr(self, name) < math.inf, name, "positive", getattr(self, name))
        fraction = self.dirichlet_fraction
        require(0 <= fraction <= 1, "dirichlet_fraction", "in [0, 1]", fraction)


@dataclass(frozen=True)
class GumbelConfig:
    """Gumbel MuZero (Danihelka et al., ICLR 2022): improves its policy with few simulations.

    Attributes:
        considered: actions sampled without replacement at the root (16).
        value_scale: c_scale of how much values count against logits (0.1; 1 in board games).
        max_visit_init: c_visit, visits that values count as much as from the start (50).
        least_range: range of Q that is scaled to [0, 1] where that of a state's actions is less
            (0); with 2, from loss to win, small differences stay small in games.
        noise: scale of the Gumbel noise at the root: 1 to explore, 0 for the best action.
    """

    considered: int = 16
    value_scale: float = 0.1
    max_visit_init: float = 50.0
    least_range: float = 1e-8
    noise: float = 1.0

    def __post_init__(self) -> None:
        """Raises: ValueError: if a setting makes no sense."""
        require(self.considered >= 1, "considered", "at least 1", self.considered)
        for name in ("value_scale", "max_visit_init", "noise"):
            require(0 <= getattr(self, name) < math.inf, name, "at least 0", getattr(self, name))
        require(0 < self.least_range < math.inf, "least_range", "positive", self.least_range)


RuleConfig = UCTConfig | PUCTConfig | GumbelConfig


class Rule(NamedTuple):
    """A rule's settings as compiled code knows them: numbers, of which no references count.

    Attributes:
        kind: ``UCT_RULE``, ``PUCT_RULE`` or ``GUMBEL_RULE``.
        first: c of UCT, c1 of PUCT, c_scale of Gumbel.
        second: c2 of PUCT, c_visit of Gumbel.
        least: range of Q of Gumbel.
        coefficient: of progressive widening, infinite for none.
        exponent: of progressive widening.
    """

    kind: int
    first: float
    second: float
    least: float
    coefficient: float
    exponent: float


Numbers = tuple[int, float, float, float, float, float]
"""A :class:`Rule` without its names: compiled code takes named tuples several times as slowly."""

Halving = tuple[Floats, Ints]
"""What Gumbel's rule draws and plans at B roots for S simulations; empty for other rules.

The noise of the actions ``[B, A]``, and the visits of those considered in each simulation
``[B, S]``.
"""
NO_HALVING: Halving = (np.zeros((0, 0)), np.zeros((0, 0), np.int64))


def numbers(config: RuleConfig) -> Numbers:
    """The settings of a rule, in the order of :class:`Rule`."""
    if isinstance(config, GumbelConfig):
        scale, visits = float(config.value_scale), float(config.max_visit_init)
        return GUMBEL_RULE, scale, visits, float(config.least_range), math.inf, 0.0
    width = (math.inf, 0.0)
    if config.widening is not None:
        width = (float(config.widening.coefficient), config.widening.exponent)
    if isinstance(config, UCTConfig):
        return UCT_RULE, float(config.exploration), 0.0, 0.0, *width
    return PUCT_RULE, float(config.c1), float(config.c2), 0.0, *width


def halving(
    config: GumbelConfig,
    legal: npt.NDArray[np.bool_],
    simulations: int,
    rng: np.random.Generator,
) -> Halving:
    """Noise and schedule of a search from roots with the actions ``legal[B, A]``."""
    gumbel = config.noise * rng.gumbel(size=legal.shape)
    considered = np.minimum(legal.sum(axis=1), config.considered).tolist()
    return gumbel, np.array([sequential_halving(m, simulations) for m in considered])


@lru_cache(maxsize=1024)
def sequential_halving(considered: int, simulations: int) -> Ints:
    """Visits that an action must have had to be next, in each simulation ``[S]``.

    Rounds share the simulations evenly; after each, the better half of the actions stays, at last
    two (Karnin et al. 2013; Danihelka et al. 2022, section 3.4).
    """
    if considered <= 1:
        return np.arange(simulations)
    rounds, left, visits = math.ceil(math.log2(considered)), considered, 0
    schedule: list[int] = []
    while len(schedule) < simulations:
        for _ in range(max(1, simulations // (rounds * left))):
            schedule += [visits] * left
            visits += 1
        left = max(2, left // 2)
    return np.array(schedule[:simulations])


def dirichlet(
    legal: npt.NDArray[np.bool_], alpha: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Distributions over the legal actions ``[B, A]``, each drawn from Dirichlet's."""
    drawn = np.where(legal, rng.standard_gamma(alpha, legal.shape), 0.0)
    total = drawn.sum(axis=1, keepdims=True)
    uniform = legal / legal.sum(axis=1, keepdims=True)
    noise: npt.NDArray[np.float64] = np.where(total > 0, drawn / np.maximum(total, 1e-300), uniform)
    return noise
