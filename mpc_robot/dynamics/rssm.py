"""Recurrent state-space model (PlaNet, arXiv:1811.04551): a world model of frames or vectors.

Its state has a deterministic part, which remembers, and a random part, which is drawn from the
prior where nothing is seen and from the posterior where something is. Latents are Gaussian in
Dreamer v1 (arXiv:1912.01603) and categorical in v2 (arXiv:2010.02193) and v3 (arXiv:2301.04104).
What it is trained on is in :mod:`mpc_robot.dynamics.rssm_loss`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mpc_robot.data.sequences import Sequences
from mpc_robot.dynamics.base import Sensed, Trajectories, Transition
from mpc_robot.errors import require, require_choices
from mpc_robot.nn.heads import ContinueHead, GaussianHead, TwoHotHead
from mpc_robot.nn.latents import CategoricalConfig, Latent, LatentConfig
from mpc_robot.nn.layers import MLP, NormedGRU, NormedSiLU, linear
from mpc_robot.nn.senses import Senses, SensesConfig


@dataclass(frozen=True)
class RSSMConfig:
    """Shape of the model and weights of its losses; values of v3 (arXiv:2301.04104) in brackets.

    Attributes:
        latent: the random part of the state.
        senses: networks between observations and features.
        deter: entries of the deterministic part, G [512 to 12288].
        blocks: that the recurrent layer is made of [8].
        hidden: width of the layers between the parts of the state [64 to 1536].
        units: width of a hidden layer of reward and continue heads [as ``hidden``].
        layers: hidden layers of these heads [1; v1: 2; v2: 4].
        rewards: ``twohot`` or ``gaussian``, the likelihood of rewards [twohot; v1, v2: gaussian].
        decoder_scale: weight of squared errors of what was seen, as its networks scale it [1, of
            raw frames; v1, v2: 0.5].
        explained: share of a sequence's steps, drawn anew each time, whose observations are decoded
            in training [1]: decoding frames is half of the work, and less of it is not less right.
        reward_scale: weight of the reward's likelihood [1]: beside that of thousands of pixels, its
            gradient is next to nothing, and what is paid for must be known first.
        dynamics_scale: weight of the divergence that trains the prior [1; v1: 1; v2: 0.8].
        representation_scale: weight of the divergence that trains the posterior [0.1; v1: 1;
            v2: 0.2].
        free_nats: divergence below which nothing is gained [1; v1: 3; v2: 1].
        free: whether that is of each ``state`` or of their ``mean`` [state; v1, v2: mean].
    """

    latent: LatentConfig = field(default_factory=lambda: CategoricalConfig(16, 16))
    senses: SensesConfig = field(default_factory=SensesConfig)
    deter: int = 128
    blocks: int = 1
    hidden: int = 128
    units: int = 128
    layers: int = 1
    rewards: Literal["twohot", "gaussian"] = "twohot"
    decoder_scale: float = 1.0
    explained: float = 1.0
    reward_scale: float = 1.0
    dynamics_scale: float = 1.0
    representation_scale: float = 0.1
    free_nats: float = 1.0
    free: Literal["state", "mean"] = "state"

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        for name in ("deter", "blocks", "hidden", "units", "layers"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        even = self.deter % self.blocks == 0
        require(even, "deter", f"a multiple of {self.blocks} blocks", self.deter)
        require(0.0 < self.explained <= 1.0, "explained", "a share in (0, 1]", self.explained)
        for name in (
            *("decoder_scale", "reward_scale", "dynamics_scale", "representation_scale"),
            "free_nats",
        ):
            sound = 0.0 <= getattr(self, name) < torch.inf
            require(sound, name, "finite, at least 0", getattr(self, name))


@dataclass(frozen=True)
class RSSMState:
    """Where the model believes that the world is.

    Attributes:
        deter: ``[..., G]``.
        stoch: ``[..., S]``.
    """

    deter: Tensor
    stoch: Tensor

    @property
    def features(self) -> Tensor:
        """Both parts ``[..., G + S]``, which all heads see."""
        return torch.cat([self.deter, self.stoch], dim=-1)

    def detach(self) -> RSSMState:
        """The same state, through which no gradient flows."""
        return RSSMState(self.deter.detach(), self.stoch.detach())

    def to(self, device: torch.device) -> RSSMState:
        """The same state on a device."""
        return RSSMState(self.deter.to(device), self.stoch.to(device))

    def last(self, steps: int) -> RSSMState:
        """Of sequences of states ``[B, T, ...]``, at most so many steps at their end."""
        return RSSMState(self.deter[:, -steps:], self.stoch[:, -steps:])

    def flatten(self) -> RSSMState:
        """The states of all sequences as rows ``[B * T, ...]``."""
        return RSSMState(self.deter.flatten(0, -2), self.stoch.flatten(0, -2))


class RSSM(nn.Module):
    """A learned Dynamics whose observation is what a filter made of all that was seen.

    To a planner, the features ``[G + S]`` of its state are the observation: ``start`` takes those
    of a :class:`mpc_robot.dynamics.rssm_filter.LatentFilter`, and trajectories hold them.

    It can live on any device. Planners need not know: what they are told is where their actions
    are. Chance is drawn on the CPU wherever the model is, so that a seed means the same everywhere.
    """

    low: Tensor
    high: Tensor
    observes: Sensed = "observation"

    def __init__(
        self,
        bounds: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
        config: RSSMConfig,
        rng: torch.Generator,
        *,
        frame_shape: tuple[int, int, int] | None = None,
        vector_dim: int | None = None,
        entries: Sequence[int] | None = None,
    ) -> None:
        """A model that knows nothing yet.

        Args:
            bounds: least and greatest action ``[A]``.
            config: its shape.
            rng: draws the initial weights.
            frame_shape: of the frames among the observations, None if there are none.
            vector_dim: of the vectors among the observations, None if there are none.
            entries: that are seen of these vectors, None for all.

        Raises:
            ValueError: if observations have neither part, or frames do not fit the convolutions.
        """
        super().__init__()
        self.config, self.latent = config, config.latent
        for name, bound in zip(("low", "high"), bounds, strict=True):
            given = torch.as_tensor(bound, dtype=torch.float32)
            self.register_buffer(name, given, persistent=False)
        hidden, latent = config.hidden, config.latent
        self.senses = Senses(
            self.features,
            config.senses,
            rng,
            frame_shape=frame_shape,
            vector_dim=vector_dim,
            entries=entries,
        )
        self.action_in = linear(len(self.low), hidden, rng, bias=False)
        self.stoch_in = linear(latent.size, hidden, rng)
        self.core_in = NormedSiLU(hidden)
        self.core = NormedGRU(hidden, config.deter, config.blocks, rng)
        self.prior = MLP((config.deter, hidden, latent.outputs), rng)
        self.embed_in = linear(self.senses.dim, hidden, rng, bias=False)
        self.deter_in = linear(config.deter, hidden, rng)
        self.posterior_out = nn.Sequential(NormedSiLU(hidden), linear(hidden, latent.outputs, rng))
        heads = (config.units,) * config.layers
        head = TwoHotHead if config.rewards == "twohot" else GaussianHead
        self.reward: TwoHotHead | GaussianHead = head(self.features, heads, rng)
        self.continues = ContinueHead(self.features, heads, rng)

    @property
    def features(self) -> int:
        """Entries of a state's features, G + S."""
        return self.config.deter + self.latent.size

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.low.device

    # What was: states that explain what was seen.

    def initial(self, rows: int) -> RSSMState:
        """The state before anything was seen, ``rows`` times."""
        zeros = self.stoch_in.weight.new_zeros
        return RSSMState(zeros(rows, self.config.deter), zeros(rows, self.latent.size))

    def observe(
        self, seen: Sequences, rng: torch.Generator, before: RSSMState | None = None
    ) -> tuple[RSSMState, Latent, Latent]:
        """States ``[B, T]`` of sequences, and the posteriors and priors of their random parts.

        ``before [B]``: the states to go on from, where the first observation is no ``is_first``.
        All that does not depend on the state before is done for all steps at once.
        """
        known = (~seen.is_first).float().T[..., None]
        evidence = self.embed_in(self.senses.encode(seen.frame, seen.vector)).transpose(0, 1)
        driven = self._driven(seen.action).transpose(0, 1) * known
        length, rows = known.shape[:2]
        noise = self._noise((length, rows), rng)
        state = self.initial(rows) if before is None else before
        states, raw = list[RSSMState](), list[Tensor]()
        steps = zip(known, driven, evidence, noise, strict=True)
        for keep, drive, embedded, drawn in steps:
            deter = self._remember(RSSMState(state.deter * keep, state.stoch * keep), drive)
            raw.append(self.posterior_out(embedded + self.deter_in(deter)))
            state = RSSMState(deter, self.latent.distribution(raw[-1]).sample(drawn))
            states.append(state)
        deter = torch.stack([each.deter for each in states], dim=1)
        stoch = torch.stack([each.stoch for each in states], dim=1)
        posterior = self.latent.distribution(torch.stack(raw, dim=1))
        prior = self.latent.distribution(self.prior(deter))
        return RSSMState(deter, stoch), posterior, prior

    def explain(self, seen: Sequences, rng: torch.Generator) -> RSSMState:
        """States of sequences, one after the other, as rows ``[B * T]``."""
        return self.observe(seen, rng)[0].flatten()

    def told(self, seen: Sequences) -> Tensor:
        """What there is to explain ``[B, T, ...]``: shades from 0 to 1, or entries of vectors."""
        if seen.frame is not None:
            return seen.frame.float() / 255.0
        if seen.vector is None:
            raise RuntimeError("sequences: expected frames or vectors, got neither")
        return self.senses.chosen(seen.vector)

    def show(self, state: RSSMState) -> Tensor:
        """What states look like ``[..., H, W, C]``, shades from 0 to 1; or entries ``[..., C]``."""
        return next(part for part in self.senses.decode(state.features) if part is not None)

    def earned(self, state: RSSMState) -> Tensor:
        """The reward that came with states ``[...]``."""
        reward: Tensor = self.reward(state.features)
        return reward

    # What if: states that follow from actions alone.

    def start(self, sensed: npt.NDArray[np.float64], num: int) -> RSSMState:
        """``num`` rows of the state whose features ``[G + S]`` a filter gave.

        Raises:
            ValueError: if they are of another size.
        """
        right = np.shape(sensed) == (self.features,)
        require(right, "sensed", f"features of shape ({self.features},)", np.shape(sensed))
        rows = torch.as_tensor(sensed, dtype=torch.float32).to(self.device).expand(num, -1)
        deter, stoch = rows.split([self.config.deter, self.latent.size], dim=-1)
        return RSSMState(deter, stoch)

    def imagine(self, state: RSSMState, action: Tensor, rng: torch.Generator) -> RSSMState:
        """The next states of rows ``[B]`` under ``action [B, A]``, drawn from the prior."""
        return self._imagined(state, action, self._noise((len(action),), rng))

    def step(self, state: RSSMState, action: Tensor, rng: torch.Generator) -> Transition[RSSMState]:
        """Imagine one step of rows ``[B]`` under ``action [B, A]``."""
        following = self.imagine(state, action.to(self.device), rng)
        told = (head(following.features) for head in (self.reward, self.continues))
        return Transition(following, *(part.to(action.device) for part in told))

    def rollout(self, state: RSSMState, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """Follow ``actions [N, H, A]``, one particle each; its observations are features.

        Chance is the same for all candidates, so that none is better for having been lucky.
        """
        states = [state]
        for action in actions.to(self.device).unbind(dim=1):
            states.append(self._imagined(states[-1], action, self._noise((1,), rng)))
        features = torch.stack([each.features for each in states], dim=1)
        ahead = features[:, 1:]
        told = (features, self.reward(ahead), self.continues(ahead))
        return Trajectories(*(part[:, None].to(actions.device) for part in told))

    def _imagined(self, state: RSSMState, action: Tensor, noise: Tensor) -> RSSMState:
        """The next states of rows ``[B]``, drawn from the prior by ``noise`` of B rows or 1."""
        deter = self._remember(state, self._driven(action))
        prior = self.latent.distribution(self.prior(deter))
        return RSSMState(deter, prior.sample(noise))

    def _noise(self, rows: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Of random parts, for so many rows."""
        return self.latent.noise(rows, rng).to(self.device)

    def _driven(self, action: Tensor) -> Tensor:
        """What actions ``[..., A]``, scaled to [-1, 1], add to the core's input."""
        scaled = (action - self.low) * (2.0 / (self.high - self.low)) - 1.0
        driven: Tensor = self.action_in(scaled)
        return driven

    def _remember(self, state: RSSMState, driven: Tensor) -> Tensor:
        """The next deterministic part ``[B, G]``."""
        deter: Tensor = self.core(self.core_in(driven + self.stoch_in(state.stoch)), state.deter)
        return deter
