"""MuZero's model (arXiv:1911.08265): a hidden state that need only tell what a search asks for.

Three functions: the representation makes a hidden state of an observation, the dynamics say what
an action does to it and earns, and the prediction says what a state is worth and what to do there.
Where an episode has ended, the model shall earn nothing any more. Of games for two, whose ends
decide everything, it also says whether they go on, and a search looks no further than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mpc_robot.dynamics.base import Sensed, Trajectories, Transition
from mpc_robot.dynamics.search_model import Expansion, Ints, Nodes
from mpc_robot.errors import require
from mpc_robot.nn.choices import Choices
from mpc_robot.nn.features import Features
from mpc_robot.nn.layers import MLP, NormedSiLU, linear
from mpc_robot.nn.support import Support

Hidden = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int8]]
"""At nodes of a tree: latents ``[B, S]``, candidates ``[B, K, A]``, and who is to move ``[B]``."""


@dataclass(frozen=True)
class MuZeroModelConfig:
    """Shape of the networks; of arXiv:1911.08265 in brackets, which has residual convolutions.

    Attributes:
        latent: entries of a hidden state, S.
        hidden: width of each hidden layer.
        layers: hidden layers of each function [16 residual blocks].
        support: greatest value and reward, on the transformed scale [300].
        bins: of values and of rewards, an odd number [601].
        candidates: continuous actions that are tried in each state, K (arXiv:2104.06303: 20).
    """

    latent: int = 64
    hidden: int = 128
    layers: int = 1
    support: float = 50.0
    bins: int = 101
    candidates: int = 16

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        for name in ("latent", "hidden", "layers", "candidates"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(0.0 < self.support < torch.inf, "support", "positive", self.support)
        odd = self.bins >= 3 and self.bins % 2 == 1
        require(odd, "bins", "an odd number of at least 3", self.bins)


def min_max_scaled(latent: Tensor) -> Tensor:
    """Rows ``[..., S]`` from 0 to 1, as actions are (arXiv:1911.08265, appendix G)."""
    low, high = latent.aminmax(dim=-1, keepdim=True)
    return (latent - low) / (high - low).clamp(min=1e-5)


def trunk(inputs: int, config: MuZeroModelConfig, rng: torch.Generator) -> nn.Sequential:
    """Hidden layers, each with layer norm: ``[..., inputs] -> [..., hidden]``."""
    layers: list[nn.Module] = []
    for fan_in in (inputs, *(config.hidden for _ in range(config.layers - 1))):
        layers += [linear(fan_in, config.hidden, rng), NormedSiLU(config.hidden)]
    return nn.Sequential(*layers)


class MuZeroModel(nn.Module):
    """The three functions; a ControlModel for tree search, and a Dynamics of hidden states.

    To a planner, a hidden state ``[S]`` is what its trajectories hold in place of observations.

    Attributes:
        features: what it sees of an observation.
        choices: what may be done.
        numbers: how values and rewards are said.
        going: log odds that a game goes on after an action, None where there is one player.
    """

    observes: Sensed = "observation"

    def __init__(
        self,
        inputs: Sequence[int],
        choices: Choices,
        discount: float,
        config: MuZeroModelConfig,
        rng: torch.Generator,
        *,
        players: int = 1,
    ) -> None:
        """A model that knows nothing yet: it says 0 of everything, and does anything.

        Args:
            inputs: entries of an observation that it sees.
            choices: what may be done.
            discount: of rewards per step, in (0, 1].
            config: shape of the networks.
            rng: draws the initial weights.
            players: 2 where two take turns, of whom one wins what the other loses. The last K
                entries of an observation then tell which of the candidates are legal.
        """
        super().__init__()
        self.choices, self.discount, hidden = choices, discount, config.hidden
        self.players = players
        self.features = Features(inputs)
        self.numbers = Support(config.support, config.bins)
        self.representation = nn.Sequential(
            trunk(self.features.dim, config, rng), linear(hidden, config.latent, rng)
        )
        self.effect = trunk(config.latent + choices.inputs, config, rng)
        self.change = linear(hidden, config.latent, rng)
        self.reward = MLP((hidden, config.bins), rng, zero=True)
        self.prediction = trunk(config.latent, config, rng)
        self.policy = MLP((hidden, choices.outputs), rng, zero=True)
        self.value = MLP((hidden, config.bins), rng, zero=True)
        self.going = MLP((hidden, 1), rng, zero=True) if players == 2 else None
        self.projection = MLP((config.latent,) * 3, rng)
        self.projected = MLP((config.latent,) * 3, rng)

    # The three functions, on tensors.

    def represent(self, observation: Tensor) -> Tensor:
        """The hidden state ``[..., S]`` of an observation ``[..., D]``."""
        return min_max_scaled(self.representation(self.features(observation)))

    def advance(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """The next hidden state ``[B, S]`` after ``action [B, A]``, and what ``reward`` is for."""
        effect = self.effect(torch.cat([latent, self.choices.encode(action)], dim=-1))
        return min_max_scaled(latent + self.change(effect)), effect

    def predict(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """The policy ``[..., outputs]`` and logits of the value ``[..., bins]``."""
        seen = self.prediction(latent)
        return self.policy(seen), self.value(seen)

    @torch.no_grad()
    def evaluate(self, observation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """What the observations ``[B, D]`` are worth, without any search ``[B]``."""
        rows = torch.as_tensor(observation, dtype=torch.float32)
        return self.numbers.mean(self.predict(self.represent(rows))[1]).double().numpy()

    # What a tree search asks.

    @torch.no_grad()
    def root(self, sensed: npt.NDArray[np.floating], rng: np.random.Generator) -> Nodes[Hidden]:
        """The states that were observed ``[B, D]``."""
        latent = self.represent(torch.as_tensor(sensed, dtype=torch.float32))
        policy, value = self.predict(latent)
        player = np.zeros(len(sensed), np.int8)  # whoever is to move
        nodes = self._nodes(latent, policy, self.numbers.mean(value), player, rng)
        legal = sensed[:, -self.choices.num :] > 0 if self.players == 2 else None
        return replace(nodes, legal=legal)

    @torch.no_grad()
    def expand(
        self, embedding: Hidden, action: Ints, rng: np.random.Generator
    ) -> Expansion[Hidden]:
        """One step from each state by a candidate's number ``[B]``."""
        latent, candidates, player = embedding
        taken = candidates[np.arange(len(action)), action]
        following, effect = self.advance(torch.from_numpy(latent), torch.from_numpy(taken))
        policy, value_logits = self.predict(following)
        reward, value = self.numbers.mean(torch.stack([self.reward(effect), value_logits]))
        other = (player + 1) % self.players
        nodes = self._nodes(following, policy, value, other, rng)
        discount = np.full(len(action), self.discount)
        if self.going is not None:
            discount[(self.going(effect) < 0.0)[:, 0].numpy()] = 0.0
        return Expansion(reward.numpy(), discount, nodes)

    def vector(self, embedding: Hidden, action: Ints) -> npt.NDArray[np.float64]:
        """The actions ``[B, A]`` of these candidates, as they are applied."""
        return self.choices.apply(embedding[1][np.arange(len(action)), action])

    def _nodes(
        self,
        latent: Tensor,
        policy: Tensor,
        value: Tensor,
        player: npt.NDArray[np.int8],
        rng: np.random.Generator,
    ) -> Nodes[Hidden]:
        """States ``[B, S]``, what is said of them, and candidates for what to do there."""
        candidates, logits = self.choices.propose(policy, rng)
        hidden = latent.numpy(), candidates.numpy(), player
        return Nodes(hidden, value.numpy(), logits.numpy(), player=player)

    # What a planner asks.

    @torch.no_grad()
    def start(self, sensed: npt.NDArray[np.float64], num: int) -> Tensor:
        """``num`` rows of the hidden state of an observation ``[D]``."""
        observation = torch.as_tensor(sensed, dtype=torch.float32)
        return self.represent(observation[None]).expand(num, -1)

    @torch.no_grad()
    def step(self, state: Tensor, action: Tensor, rng: torch.Generator) -> Transition[Tensor]:
        """One step of ``state [B, S]`` under ``action [B, A]``, as it is applied."""
        taken = torch.from_numpy(self.choices.read(action.double().numpy()))
        following, effect = self.advance(state, taken)
        reward: Tensor = self.numbers.mean(self.reward(effect))
        return Transition(following, reward, torch.ones_like(reward))

    def rollout(self, state: Tensor, actions: Tensor, rng: torch.Generator) -> Trajectories:
        """Follow ``actions [N, H, A]``, one particle each; its observations are hidden states."""
        states, rewards = [state], list[Tensor]()
        for action in actions.unbind(dim=1):
            step = self.step(states[-1], action, rng)
            states.append(step.state)
            rewards.append(step.reward)
        earned = torch.stack(rewards, dim=1)[:, None]
        return Trajectories(torch.stack(states, dim=1)[:, None], earned, torch.ones_like(earned))
