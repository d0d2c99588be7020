"""How far a learned model can be trusted: its answers beside episodes it never learned from.

Errors are given in standard deviations of each observation entry over these episodes: 0 is
perfect, and 1 is as bad as always answering with the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr
from scipy.stats import spearmanr
from torch import Tensor

from mpc_robot.dynamics.base import Dynamics
from mpc_robot.dynamics.ensemble import Prediction, ProbabilisticEnsemble
from mpc_robot.training.evaluation import Episode

Floats = npt.NDArray[np.float64]

PARTICLES = 20
"""Particles that a prediction is made of, at least; more than a planner can afford."""

CHUNK = 50
"""Starts that are followed at once, to bound memory."""

LEVELS = np.linspace(0.05, 0.95, 19)
"""Quantiles at which predictions are compared with what happened."""


@dataclass(frozen=True)
class OpenLoopError:
    """Predictions of K steps from S true states under the true actions, in standard deviations.

    Attributes:
        entries: distance of the particles' mean from the truth ``[S, K, D]``; inf where the model
            diverged.
        unchanged: the same, had one predicted that nothing changes ``[S, K, D]``.
        spread: standard deviation of the particles ``[S, K, D]``; inf where the model diverged.
        scale: what one standard deviation is ``[D]``, in the entry's own units.
    """

    entries: Floats
    unchanged: Floats
    spread: Floats
    scale: Floats

    @property
    def overall(self) -> Floats:
        """Root mean square of the error over the entries ``[S, K]``."""
        return root_mean_square(self.entries)

    @property
    def overall_unchanged(self) -> Floats:
        """The same for the prediction that nothing changes ``[S, K]``."""
        return root_mean_square(self.unchanged)

    def trusted_steps(self, threshold: float) -> int:
        """Steps up to which nine of ten predictions are good.

        Good: the 90th percentile of the overall error exceeds neither ``threshold`` nor that of
        predicting that nothing changes, at this step and at all before.
        """
        limit = np.minimum(threshold, over_starts(self.overall_unchanged, 0.9))
        good = over_starts(self.overall, 0.9) <= limit
        return int(np.logical_and.accumulate(good).sum())


@dataclass(frozen=True)
class Calibration:
    """Whether what the model calls a p-quantile is exceeded as often as that.

    Attributes:
        names: what the O outputs are: entries of the observation, then the reward if learned.
        observed: share of true one-step outcomes below the predicted quantile of each of
            ``LEVELS`` ``[L, O]``.
        outside: share of outcomes outside the central 90 % interval ``[O]``; 0.1 is right, more
            is over-confident.
    """

    names: tuple[str, ...]
    observed: Floats
    outside: Floats

    @property
    def error(self) -> Floats:
        """Expected calibration error ``[O]``: mean distance of observed from predicted shares."""
        error: Floats = np.abs(self.observed - LEVELS[:, None]).mean(axis=0)
        return error


@dataclass(frozen=True)
class Ranking:
    """Whether the model is wrong where it is unsure.

    Attributes:
        uncertainty: what the model says of itself ``[n]``, in standard deviations.
        error: how wrong it was ``[n]``, in standard deviations.
    """

    uncertainty: Floats
    error: Floats

    @property
    def correlation(self) -> float:
        """Spearman's rank correlation in [-1, 1]; NaN where either never varies."""
        if min(len(np.unique(self.uncertainty)), len(np.unique(self.error))) < 2:
            return float("nan")
        return float(spearmanr(self.uncertainty, self.error).statistic)


def open_loop_error(
    model: Dynamics[Tensor],
    episodes: Sequence[Episode],
    horizon: int,
    rng: torch.Generator,
    max_starts: int = 200,
) -> OpenLoopError:
    """Start a model at true states and let it follow the true actions, without looking again.

    Args:
        model: one whose state is the observation ``[B, D]``.
        episodes: what really happened.
        horizon: steps to predict, K.
        rng: draws the starts and the particles.
        max_starts: starts at most; all that are followed by K true steps if there are fewer.

    Raises:
        ValueError: if no episode is that long.
    """
    starts = _draw_starts(episodes, horizon, max_starts, rng)
    truth = np.stack([episodes[e].observations[t : t + horizon + 1] for e, t in starts])
    actions = np.stack([episodes[e].actions[t : t + horizon] for e, t in starts])
    predicted, spread = _predict(model, truth[:, 0], actions, rng)
    scale = entry_scale([episode.observations for episode in episodes])
    return OpenLoopError(
        entries=_error(predicted, truth[:, 1:], scale),
        unchanged=_error(truth[:, :1], truth[:, 1:], scale),
        spread=np.where(np.isfinite(spread), spread, np.inf) / scale,
        scale=scale,
    )


def calibration(model: ProbabilisticEnsemble, episodes: Sequence[Episode]) -> Calibration:
    """Compare one-step outcomes with the mixture of the elites' Gaussians, all weighing the same.

    The quantile that an outcome turned out to be is uniform on [0, 1] if the model is right.
    """
    answers = _answers(model, episodes)
    outcome = np.concatenate([episode.observations[1:] for episode in episodes])
    names = entry_names(outcome.shape[1])
    if model.task.reward is None:
        rewards = np.concatenate([episode.rewards for episode in episodes])
        outcome, names = np.column_stack([outcome, rewards]), (*names, "reward")
    mean, std = answers.mean.double().numpy(), answers.variance.double().sqrt().numpy()
    quantile = ndtr((outcome - mean) / std).mean(axis=0)
    return Calibration(
        names=names,
        observed=np.stack([(quantile <= level).mean(axis=0) for level in LEVELS]),
        outside=(np.abs(quantile - 0.5) > 0.45).mean(axis=0),
    )


def one_step_ranking(model: ProbabilisticEnsemble, episodes: Sequence[Episode]) -> Ranking:
    """The elites' disagreement about the next observation beside the error of their mean."""
    scale = entry_scale([episode.observations for episode in episodes])
    answers = _answers(model, episodes)
    truth = np.concatenate([episode.observations[1:] for episode in episodes])
    dim = truth.shape[1]
    error = _error(answers.mean.double().mean(dim=0)[:, :dim].numpy(), truth, scale)
    disagreement = answers.disagreement[:, :dim].double().sqrt().numpy() / scale
    return Ranking(root_mean_square(disagreement), root_mean_square(error))


def ranking_after(predictions: OpenLoopError, step: int) -> Ranking:
    """The particles' spread after so many steps (1 is the first) beside the error there."""
    spread = root_mean_square(predictions.spread[:, step - 1])
    return Ranking(spread, predictions.overall[:, step - 1])


def entry_scale(observations: Sequence[Floats]) -> Floats:
    """Standard deviation of each entry of several ``[N, D]``; 1 for one that never varies."""
    seen = np.concatenate(observations)
    std = seen.std(axis=0)
    constant = std <= 1e-8 * (1.0 + np.abs(seen.mean(axis=0)))  # rounding leaves a little
    return np.where(constant, 1.0, std)


def entry_names(dim: int) -> tuple[str, ...]:
    """What to call the entries of an observation, which has no better names."""
    return tuple(f"entry {i}" for i in range(dim))


def root_mean_square(values: Floats) -> Floats:
    """Over the last axis."""
    root: Floats = np.sqrt((values**2).mean(axis=-1))
    return root


def over_starts(values: Floats, share: float) -> Floats:
    """The value of ``values[S, ...]`` that this share of starts does not exceed ``[...]``."""
    # An observed value, never between two: one of them may be infinite.
    quantile: Floats = np.quantile(values, share, axis=0, method="higher")
    return quantile


def _draw_starts(
    episodes: Sequence[Episode], horizon: int, most: int, rng: torch.Generator
) -> list[tuple[int, int]]:
    """Episode and step of each start."""
    if horizon < 1:
        raise ValueError(f"horizon: expected at least 1 step, got {horizon}")
    possible = [
        (e, t)
        for e, episode in enumerate(episodes)
        for t in range(len(episode.rewards) - horizon + 1)
    ]
    if not possible:
        raise ValueError(f"episodes: expected one of {horizon} steps or more, got none")
    return [possible[i] for i in torch.randperm(len(possible), generator=rng)[:most].tolist()]


def _predict(
    model: Dynamics[Tensor], start: Floats, actions: Floats, rng: torch.Generator
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the particles after each step ``[S, K, D]``."""
    states = torch.as_tensor(start, dtype=torch.float32).split(CHUNK)
    followed = torch.as_tensor(actions, dtype=torch.float32).split(CHUNK)
    chunks = [
        _particles(model, state, act, rng) for state, act in zip(states, followed, strict=True)
    ]
    mean = torch.cat([particles.mean(dim=1) for particles in chunks])
    spread = torch.cat([particles.std(dim=1, correction=0) for particles in chunks])
    return mean.numpy(), spread.numpy()


def _particles(
    model: Dynamics[Tensor], state: Tensor, actions: Tensor, rng: torch.Generator
) -> Tensor:
    """At least ``PARTICLES`` futures of each row ``[S, P, K, D]``, in float64."""
    futures: list[Tensor] = []
    while sum(particles.shape[1] for particles in futures) < PARTICLES:
        futures.append(model.rollout(state, actions, rng).observations[:, :, 1:].double())
    return torch.cat(futures, dim=1)


def _error(predicted: Floats, truth: Floats, scale: Floats) -> Floats:
    """Distance in standard deviations; infinite where the prediction is no number."""
    distance = np.abs(predicted - truth) / scale
    return np.where(np.isfinite(distance), distance, np.inf)


@torch.inference_mode()
def _answers(model: ProbabilisticEnsemble, episodes: Sequence[Episode]) -> Prediction:
    """What the elites say of every step of the episodes."""
    before = np.concatenate([episode.observations[:-1] for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    return model.predict(
        torch.as_tensor(before, dtype=torch.float32), torch.as_tensor(actions, dtype=torch.float32)
    )
