"""CMA-ES that is saved, draws from its own generator, and climbs."""

from __future__ import annotations

from pathlib import Path

import cma
import numpy as np
import pytest
import torch

from mpc_robot.agents.evolution import CMAES
from mpc_robot.training import checkpoint


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def hill(candidates: torch.Tensor) -> torch.Tensor:
    """Highest, at 0, where every entry is 1; a thousand times steeper in the last."""
    steep = torch.logspace(0, 3, candidates.shape[-1])
    return -(steep * (candidates - 1.0) ** 2).sum(dim=-1)


def test_it_climbs_a_long_ridge() -> None:
    search = CMAES(np.zeros(6), 0.3, 12, generator())
    for _ in range(150):
        scores = search.evolve(hill)
    assert scores.shape == (12,) and scores.max().item() > -1e-6
    np.testing.assert_allclose(search.mean, 1.0, atol=1e-3)


def test_it_is_the_library_fed_with_the_same_numbers() -> None:
    ours, rng = CMAES(np.ones(4), 0.5, 8, generator(3)), generator(3)

    def normal(*shape: int) -> np.ndarray:
        return torch.randn(shape, generator=rng, dtype=torch.float64).numpy()

    options = {"popsize": 8, "verbose": -9, "seed": np.nan, "randn": normal}
    theirs = cma.CMAEvolutionStrategy(np.ones(4), 0.5, options)
    for _ in range(5):
        scores = ours.evolve(lambda found: -(found**2).sum(dim=-1))
        asked = theirs.ask()
        losses = [float((torch.as_tensor(x).float() ** 2).sum()) for x in asked]
        np.testing.assert_allclose(-scores.numpy(), losses, rtol=1e-6)
        theirs.tell(asked, losses)
        np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-9)
        assert ours.sigma == pytest.approx(theirs.sigma, rel=1e-9)


@pytest.mark.parametrize(("size", "population", "before"), [(7, 4, 10), (300, 8, 10), (7, 4, 0)])
def test_saved_between_generations_it_goes_on_to_the_bit(
    size: int, population: int, before: int, tmp_path: Path
) -> None:
    """Also with few candidates, with eigenvectors of a while ago, and with nothing learned yet."""
    rng, other = generator(1), generator(2)
    original, restored = (CMAES(np.zeros(size), 0.2, population, g) for g in (rng, other))
    original.evolve(lambda found: torch.full((population,), torch.nan))
    for _ in range(before):
        original.evolve(hill)
    checkpoint.save(tmp_path, {"search": original.state_dict()}, {}, 0)
    restored.load_state_dict(checkpoint.load(tmp_path, {})["search"])
    other.set_state(rng.get_state())
    for _ in range(8):
        assert torch.equal(original.evolve(hill), restored.evolve(hill))
        assert (original.mean == restored.mean).all() and original.sigma == restored.sigma


@pytest.mark.parametrize("worst", [torch.nan, torch.inf, -torch.inf])
def test_what_nobody_can_value_is_not_followed(worst: float) -> None:
    """Candidates beyond 0.5 in any entry would be the best, if they had a number."""

    def score(found: torch.Tensor) -> torch.Tensor:
        return torch.where((found > 0.5).any(dim=-1), worst, found.sum(dim=-1))

    search = CMAES(np.zeros(3), 0.3, 8, generator())
    for _ in range(30):
        search.evolve(score)
    assert 0.0 < search.mean.max() < 0.7 and np.isfinite(search.mean).all()


def test_a_generation_without_any_value_teaches_nothing() -> None:
    search = CMAES(np.zeros(3), 0.3, 8, generator())
    search.evolve(lambda found: found.sum(dim=-1))
    mean, sigma = search.mean, search.sigma
    for _ in range(3):
        search.evolve(lambda found: torch.full((8,), torch.nan))
    assert (search.mean == mean).all() and search.sigma == sigma
    search.evolve(lambda found: found.sum(dim=-1))
    assert (search.mean != mean).all()
