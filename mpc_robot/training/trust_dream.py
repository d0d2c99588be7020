"""Hold what a world model imagines against episodes that it never learned from.

The model sees an episode up to some step, and is then only told the actions that were really taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from torch import Tensor

from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.rows import take
from mpc_robot.dynamics.world_model import State, WorldModel
from mpc_robot.errors import require
from mpc_robot.training.evaluation import Episode
from mpc_robot.training.trust_model import Floats, entry_scale

AHEAD = 50
"""Steps that are imagined, at most (PlaNet, arXiv:1811.04551)."""
CONTEXT = 5
"""Observations that are seen before, at least (PlaNet, arXiv:1811.04551)."""
STARTS = 10
"""Steps of an episode from which is imagined, at most."""


@dataclass(frozen=True)
class DreamErrors:
    """Imagination of K steps from S steps of episodes beside what then happened.

    Of frames, errors are squared differences of shades from 0 to 1, mean over pixels; of vectors,
    squared differences in standard deviations of each entry, mean over entries.

    Attributes:
        unit: ``shades²`` or ``standard deviations²``.
        imagined: error of what was imagined ``[S, K]``.
        unchanged: error, had one imagined that nothing changes ``[S, K]``.
        reconstructed: error of what the model makes of an observation that it has seen ``[S, K]``.
        reward: distance of imagined from real rewards ``[S, K]``, in the task's unit.
    """

    unit: str
    imagined: Floats
    unchanged: Floats
    reconstructed: Floats
    reward: Floats

    @property
    def better_steps(self) -> int:
        """Steps for which imagining is better, on average, than to say that nothing changes."""
        better = self.imagined.mean(axis=0) < self.unchanged.mean(axis=0)
        return int(np.logical_and.accumulate(better).sum())


@dataclass(frozen=True)
class Foreseen(Generic[State]):
    """What was seen of an episode of T steps, and what a model makes of it.

    Frames are of shades from 0 to 1, and of vectors there is what the model explains. All but the
    states is on the CPU.

    Attributes:
        truth: what was seen ``[T + 1, ...]``.
        states: that explain it ``[T + 1]``.
        shown: what these look like ``[T + 1, ...]``.
        reward: what they say that was earned ``[T + 1]``; of the first it means nothing.
    """

    truth: Tensor
    states: State
    shown: Tensor
    reward: Tensor


def sequence_of(episode: Episode) -> Sequences:
    """An episode of T steps as one sequence of T + 1 observations."""
    seen, frames = torch.as_tensor(episode.observations)[None], is_frame(episode)
    step = torch.arange(seen.shape[1])[None]
    last = step == step[0, -1]
    nothing = np.zeros_like(episode.actions[:1])
    return Sequences(
        frame=seen if frames else None,
        vector=None if frames else seen.float(),
        action=torch.as_tensor(np.concatenate([nothing, episode.actions])).float()[None],
        reward=torch.as_tensor(np.concatenate([[0.0], episode.rewards])).float()[None],
        is_first=step == 0,
        terminated=last & episode.terminated,
        truncated=last & episode.truncated,
    )


def is_frame(episode: Episode) -> bool:
    """Whether an episode was seen as frames."""
    return bool(episode.observations.dtype == np.uint8)


@torch.no_grad()
def explain(model: WorldModel[State], episode: Episode, rng: torch.Generator) -> Foreseen[State]:
    """Let a model see a whole episode."""
    seen = sequence_of(episode).to(model.device)
    states = model.explain(seen, rng)
    parts = (part.cpu() for part in (model.show(states), model.earned(states)))
    return Foreseen(model.told(seen)[0].cpu(), states, *parts)


@torch.no_grad()
def imagine(
    model: WorldModel[State], state: State, actions: Floats, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One future of each state ``[S]`` under ``actions [S, K, A]``.

    Returns:
        What it looks like ``[S, K, ...]``, and what it earns ``[S, K]``.
    """
    shown, earned = list[Tensor](), list[Tensor]()
    for action in torch.as_tensor(actions).float().to(model.device).unbind(dim=1):
        state = model.imagine(state, action, rng)
        shown.append(model.show(state).cpu())
        earned.append(model.earned(state).cpu())
    return torch.stack(shown, dim=1), torch.stack(earned, dim=1)


def dream_errors(
    model: WorldModel[State], episodes: Sequence[Episode], rng: torch.Generator, ahead: int = AHEAD
) -> DreamErrors:
    """Imagine from steps of episodes, spread evenly, and compare with what then happened.

    Args:
        model: what imagines.
        episodes: what really happened.
        rng: draws what is random in beliefs and in what is imagined.
        ahead: steps to imagine, K; fewer if no episode is long enough.

    Raises:
        ValueError: if no episode has a step after those that the model has to see before.
    """
    longest = max(len(episode.rewards) for episode in episodes)
    require(longest >= CONTEXT, "episodes", f"one of at least {CONTEXT} steps", longest)
    ahead = min(ahead, longest - CONTEXT + 1)
    frames = is_frame(episodes[0])
    scale = torch.ones(())
    if not frames:
        told = [model.told(sequence_of(each).to(model.device))[0].cpu() for each in episodes]
        scale = torch.as_tensor(entry_scale([each.double().numpy() for each in told])).float()
    parts = [
        _errors_in(model, episode, ahead, scale, rng)
        for episode in episodes
        if len(episode.rewards) >= CONTEXT - 1 + ahead
    ]
    columns = (torch.cat(column).double().numpy() for column in zip(*parts, strict=True))
    return DreamErrors("shades²" if frames else "standard deviations²", *columns)


def _errors_in(
    model: WorldModel[State], episode: Episode, ahead: int, scale: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The errors of one episode, in the order of :class:`DreamErrors`, each ``[S, K]``."""
    whole, last = explain(model, episode, rng), len(episode.rewards) - ahead
    first = CONTEXT - 1
    starts = np.linspace(first, last, min(STARTS, last - first + 1)).astype(int)
    after = torch.as_tensor(starts[:, None] + np.arange(1, ahead + 1))
    before = torch.as_tensor(starts)
    state = take(whole.states, (starts,))
    imagined, earned = imagine(model, state, episode.actions[after - 1], rng)
    truth = whole.truth[after]

    def error(guess: Tensor) -> Tensor:
        """Mean of squared differences over all but the first two axes."""
        return (((guess - truth) / scale) ** 2).flatten(2).mean(dim=2)

    reward = torch.as_tensor(episode.rewards)[after - 1]
    return (
        error(imagined),
        error(whole.truth[before][:, None]),
        error(whole.shown[after]),
        (earned - reward).abs(),
    )
