"""CMA-ES (arXiv:1604.00772): climb what can only be evaluated, by a population of candidates.

The search itself is the library ``cma``. Here it maximises, draws from a generator that is passed
in, and can be saved between generations.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.controllers.base import finite_or_worst

Floats = npt.NDArray[np.float64]
Score = Callable[[Tensor], Tensor]
"""How good candidates are: float32 ``[P, n] -> [P]``, higher is better."""

_STATE = (
    "mean",
    "sigma",
    "pc",
    "countiter",
    "sm.C",
    "sm.B",
    "sm.D",
    "sm.last_update",
    "sm.count_tell",
    "adapt_sigma.ps",
)
"""All that a generation hands on: the distribution, its eigenvectors, both paths and counters."""


class CMAES:
    """A normal distribution of candidates ``[n]`` that moves to where they score best."""

    def __init__(self, mean: Floats, sigma: float, population: int, rng: torch.Generator) -> None:
        """Start at ``mean [n]`` with a standard deviation of ``sigma`` in every direction."""
        import cma  # noqa: PLC0415 - it loads pyplot, which would slow every start

        def normal(*shape: int) -> Floats:
            """Standard normal numbers."""
            return torch.randn(shape, generator=rng, dtype=torch.float64).numpy()

        self._search = cma.CMAEvolutionStrategy(
            mean,
            sigma,
            {
                "popsize": population,
                "randn": normal,
                "seed": np.nan,  # leaves NumPy's global generator alone
                # The other kind draws from the global generator.
                "AdaptSigma": cma.sigma_adaptation.CMAAdaptSigmaCSA,
                "CMA_mirrors": 0,  # of few candidates, some would depend on the last generation's
                "verbose": -9,
            },
        )

    @property
    def mean(self) -> Floats:
        """Middle of the distribution ``[n]``: what to use, for it averages over noisy scores."""
        return np.array(self._search.mean)

    @property
    def sigma(self) -> float:
        """Overall step size."""
        return float(self._search.sigma)

    def evolve(self, score: Score) -> Tensor:
        """One generation; its scores ``[P]``, of which those that are not finite are the worst.

        Where none is finite, nothing is learned.
        """
        candidates = self._search.ask()
        scores = finite_or_worst(score(torch.as_tensor(np.array(candidates)).float()))
        if scores.isfinite().any():
            self._search.tell(candidates, (-scores.double()).tolist())
        # Products depend on the order in memory, to the bit, and a checkpoint knows but one.
        self._search.sm.B = np.ascontiguousarray(self._search.sm.B)
        return scores

    def state_dict(self) -> dict[str, Any]:
        """What the next generation follows from, besides the random numbers."""
        return {name: np.copy(attrgetter(name)(self._search)) for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; draws from the generator, whose own state is to be set afterwards."""
        if state["countiter"] > 0:
            first = self._search.ask()  # in the first generation it prepares itself
            self._search.tell(first, list(range(len(first))))
        for name in _STATE:
            owner, _, attribute = name.rpartition(".")
            holder = attrgetter(owner)(self._search) if owner else self._search
            setattr(holder, attribute, np.copy(state[name])[()])
