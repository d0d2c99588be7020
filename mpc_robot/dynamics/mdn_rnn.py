"""Mixture density recurrent network: the memory of World Models (arXiv:1803.10122).

An LSTM remembers the latents and actions of an episode, and says by mixtures of Gaussians what the
next latent may be. Latents are a VAE's (:mod:`mpc_robot.nn.vae`), so that a batch of imagined
futures is a batch of small vectors. Reward and end of the episode are read off the next latent and
the memory, as in the dreams of the paper's second experiment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.base import Sensed, Trajectories, Transition
from mpc_robot.errors import require
from mpc_robot.nn.heads import ContinueHead, TwoHotHead
from mpc_robot.nn.layers import linear
from mpc_robot.nn.mixtures import Mixture


@dataclass(frozen=True)
class MDNRNNConfig:
    """Shape of the model; values of World Models (arXiv:1803.10122, appendix A.2) in brackets.

    Attributes:
        hidden: entries of the LSTM's output, G [256; 512 in its second experiment].
        mixtures: Gaussians per latent, K [5].
        units: width of the one hidden layer of reward and continue heads.
        temperature: of imagined latents: above 1 dreams are less certain, so that a controller can
            not live off their mistakes [1.0; 1.15 in its second experiment].
    """

    hidden: int = 256
    mixtures: int = 5
    units: int = 64
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        for name in ("hidden", "mixtures", "units"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(0.0 < self.temperature < torch.inf, "temperature", "positive", self.temperature)


@dataclass(frozen=True)
class MDNRNNState:
    """What is now, and what the model remembers of what was.

    Attributes:
        latent: ``[..., Z]``.
        hidden: output of the LSTM before this latent was seen ``[..., G]``.
        cell: its cell ``[..., G]``.
    """

    latent: Tensor
    hidden: Tensor
    cell: Tensor

    @property
    def features(self) -> Tensor:
        """Latent and output ``[..., Z + G]``, which the heads and a controller see."""
        return torch.cat([self.latent, self.hidden], dim=-1)

    @property
    def whole(self) -> Tensor:
        """All three parts ``[..., Z + 2 G]``, features first."""
        return torch.cat([self.latent, self.hidden, self.cell], dim=-1)


class MDNRNN(nn.Module):
    """A learned Dynamics of latents whose observation is what a filter made of all that was seen.

    To a planner, the whole of its state, ``[Z + 2 G]``, is the observation: ``start`` takes that of
    a :class:`mpc_robot.dynamics.mdn_rnn_filter.MemoryFilter`, and trajectories hold it.

    It can live on any device, as :class:`mpc_robot.dynamics.rssm.RSSM` can, and draws as that does.
    """

    low: Tensor
    high: Tensor
    observes: Sensed = "observation"

    def __init__(
        self,
        bounds: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
        latents: int,
        config: MDNRNNConfig,
        rng: torch.Generator,
    ) -> None:
        """A model that knows nothing yet, of Z latents and actions within ``bounds [A]``."""
        super().__init__()
        self.config, self.latents = config, latents
        for name, bound in zip(("low", "high"), bounds, strict=True):
            given = torch.as_tensor(bound, dtype=torch.float32)
            self.register_buffer(name, given, persistent=False)
        inputs, hidden = latents + len(self.low), config.hidden
        self.input = linear(inputs, 4 * hidden, rng)
        self.own = linear(hidden, 4 * hidden, rng, bias=False)
        self.mixture = linear(hidden, 3 * latents * config.mixtures, rng)
        self.reward = TwoHotHead(self.features, (config.units,), rng)
        self.continues = ContinueHead(self.features, (config.units,), rng)

    @property
    def features(self) -> int:
        """Entries of a state's features, Z + G."""
        return self.latents + self.config.hidden

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.low.device

    def begin(self, latent: Tensor) -> MDNRNNState:
        """The states of episodes that begin with ``latent [B, Z]``: nothing is remembered."""
        nothing = latent.new_zeros(len(latent), self.config.hidden)
        return MDNRNNState(latent, nothing, nothing)

    # What was: memories that should foresee what was seen.

    def observe(self, latents: Tensor, seen: Sequences) -> tuple[MDNRNNState, Mixture]:
        """States of sequences of ``latents [B, T, Z]``, and what was foreseen of all but the first.

        What was foreseen is ``[B, T - 1, Z]``; it means nothing of the first of an episode.
        """
        driven = self._driven(latents[:, :-1], seen.action[:, 1:])
        known = (~seen.is_first[:, 1:]).float()[..., None]
        state = self.begin(latents[:, 0])
        hidden, cell = [state.hidden], [state.cell]
        for drive, keep in zip(driven.unbind(dim=1), known.unbind(dim=1), strict=True):
            after = self._remember(drive, hidden[-1], cell[-1])
            hidden.append(after[0] * keep)
            cell.append(after[1] * keep)
        states = MDNRNNState(latents, torch.stack(hidden, dim=1), torch.stack(cell, dim=1))
        return states, self._foreseen(states.hidden[:, 1:])

    def remember(self, state: MDNRNNState, action: Tensor, latent: Tensor) -> MDNRNNState:
        """The states ``[B]`` in which ``latent [B, Z]`` was seen after ``action [B, A]``."""
        driven = self._driven(state.latent, action)
        return MDNRNNState(latent, *self._remember(driven, state.hidden, state.cell))

    # What if: latents that follow from actions alone.

    def start(self, sensed: npt.NDArray[np.float64], num: int) -> MDNRNNState:
        """``num`` rows of the state whose whole, ``[Z + 2 G]``, a filter gave.

        Raises:
            ValueError: if it is of another size.
        """
        size = self.features + self.config.hidden
        right = np.shape(sensed) == (size,)
        require(right, "sensed", f"a state of shape ({size},)", np.shape(sensed))
        rows = torch.as_tensor(sensed, dtype=torch.float32).to(self.device).expand(num, -1)
        sizes = [self.latents, self.config.hidden, self.config.hidden]
        return MDNRNNState(*rows.split(sizes, dim=-1))

    def noise(self, rows: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """What chance decides in a step of so many rows: uniform and normal, ``[rows, Z]`` each."""
        shape = (rows, self.latents)
        uniform, normal = torch.rand(shape, generator=rng), torch.randn(shape, generator=rng)
        return uniform.to(self.device), normal.to(self.device)

    def imagine(
        self, state: MDNRNNState, action: Tensor, noise: tuple[Tensor, Tensor]
    ) -> Transition[MDNRNNState]:
        """One step of rows ``[B]`` under ``action [B, A]``, with :meth:`noise` of as many rows."""
        driven = self._driven(state.latent, action)
        hidden, cell = self._remember(driven, state.hidden, state.cell)
        foreseen = self._foreseen(hidden)
        latent = foreseen.sample(*noise, self.config.temperature)
        following = MDNRNNState(latent, hidden, cell)
        features = following.features
        return Transition(following, self.reward(features), self.continues(features))

    def step(
        self, state: MDNRNNState, action: Tensor, rng: torch.Generator
    ) -> Transition[MDNRNNState]:
        """Imagine one step of rows ``[B]`` under ``action [B, A]``, each by chance of its own."""
        after = self.imagine(state, action.to(self.device), self.noise(len(action), rng))
        told = (part.to(action.device) for part in (after.reward, after.continues))
        return Transition(after.state, *told)

    def rollout(self, state: MDNRNNState, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """Follow ``actions [N, H, A]``, one particle each; its observations are whole states."""
        where = actions.device
        passed, rewards, continues = [state.whole.to(where)], list[Tensor](), list[Tensor]()
        for action in actions.unbind(dim=1):
            after = self.step(state, action, rng)
            state = after.state
            passed.append(state.whole.to(where))
            rewards.append(after.reward)
            continues.append(after.continues)
        observations = torch.stack(passed, dim=1)
        earned, alive = torch.stack(rewards, dim=1), torch.stack(continues, dim=1)
        return Trajectories(observations[:, None], earned[:, None], alive[:, None])

    def _driven(self, latent: Tensor, action: Tensor) -> Tensor:
        """What latents ``[..., Z]`` and actions ``[..., A]``, scaled to [-1, 1], add to gates."""
        scaled = (action - self.low) * (2.0 / (self.high - self.low)) - 1.0
        driven: Tensor = self.input(torch.cat([latent, scaled], dim=-1))
        return driven

    def _remember(self, driven: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Output and cell ``[B, G]`` after a step of the LSTM, which forgets little at first."""
        enter, forget, candidate, leave = (driven + self.own(hidden)).chunk(4, dim=-1)
        cell = torch.sigmoid(forget + 1.0) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        return torch.sigmoid(leave) * torch.tanh(cell), cell

    def _foreseen(self, hidden: Tensor) -> Mixture:
        """The next latent, by the output ``[..., G]``, which bounds it however long one dreams."""
        said = self.mixture(hidden).unflatten(-1, (3, self.latents, self.config.mixtures))
        return Mixture(*said.unbind(dim=-3))


def memory_loss(model: MDNRNN, latents: Tensor, seen: Sequences) -> tuple[Tensor, dict[str, float]]:
    """The loss of sequences of ``latents [B, T, Z]``, and metrics.

    Negative log-likelihoods, in nats, of what followed in the same episode: the latent
    (arXiv:1803.10122, appendix A.2), its reward, and whether the episode went on.
    """
    states, foreseen = model.observe(latents, seen)
    features = states.features[:, 1:]
    losses = {
        "latent": -foreseen.log_prob(latents[:, 1:]),
        "reward": model.reward.loss(features, seen.reward[:, 1:].contiguous()),
        "continue": model.continues.loss(features, (~seen.terminated[:, 1:]).float()),
    }
    known = (~seen.is_first[:, 1:]).float()
    weights = known / known.sum().clamp(min=1.0)
    means = {name: (loss * weights).sum() for name, loss in losses.items()}
    total = torch.stack(tuple(means.values())).sum()
    return total, {f"memory/{name}": mean.item() for name, mean in means.items()}
