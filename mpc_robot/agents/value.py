"""What a state is worth beyond a plan's horizon, learned from the returns of real episodes.

A planner that looks ahead half a second walks into what happens after a second. Closing its
horizon with a value function lets it see further (POLO, arXiv:1811.01848); here the value is that
of the planner's own recent behaviour, by regression on lambda-returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mpc_robot.data.replay import Experience
from mpc_robot.envs.base import EnvSpec
from mpc_robot.errors import require
from mpc_robot.nn.ensemble_mlp import EnsembleMLP
from mpc_robot.nn.normalizer import Normalizer

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ValueConfig:
    """How the value function learns.

    Attributes:
        members: networks whose mean is the value.
        hidden: width of the two hidden layers.
        lambda_: of the lambda-returns, in [0, 1]: 1 is the Monte-Carlo return, 0 one step.
        recent: latest real steps that it learns from.
        gradient_steps: of Adam, per fit.
        learning_rate: of Adam.
        batch_size: rows per member and gradient step.
    """

    members: int = 3
    hidden: int = 64
    lambda_: float = 0.95
    recent: int = 5_000
    gradient_steps: int = 200
    learning_rate: float = 1e-3
    batch_size: int = 256

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        for name in ("members", "hidden", "recent", "gradient_steps", "batch_size"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(0.0 <= self.lambda_ <= 1.0, "lambda_", "in [0, 1]", self.lambda_)
        require(0.0 < self.learning_rate < inf, "learning_rate", "positive", self.learning_rate)


class ValueFunction(nn.Module):
    """Discounted return to expect from an observation, by the behaviour seen lately."""

    def __init__(
        self, spec: EnvSpec, discount: float, config: ValueConfig, rng: torch.Generator
    ) -> None:
        """``rng`` draws the initial weights."""
        super().__init__()
        self.config, self.discount = config, discount
        sizes = [spec.observation_dim, config.hidden, config.hidden, 1]
        self.network = EnsembleMLP(config.members, sizes, rng)
        self.inputs = Normalizer(spec.observation_dim)
        self.outputs = Normalizer(1)

    def forward(self, observation: Tensor) -> Tensor:
        """Value of each observation, ``[..., D] -> [...]``."""
        rows = self.inputs(observation).reshape(1, -1, observation.shape[-1])
        scaled: Tensor = self.network(rows.expand(self.config.members, -1, -1)).mean(dim=0)
        return (scaled * self.outputs.std + self.outputs.mean).view(observation.shape[:-1])

    def fit(self, data: Experience, rng: torch.Generator) -> dict[str, float]:
        """Regress on the lambda-returns of the latest steps of ``data [n, ...]``."""
        latest = slice(-self.config.recent, None)
        observation = torch.as_tensor(data.observation[latest], dtype=torch.float32)
        following = torch.as_tensor(data.next_observation[latest], dtype=torch.float32)
        with torch.no_grad():
            beyond = self(following).double().numpy()
        ends = data.terminated[latest], data.truncated[latest]
        returns = lambda_returns(
            data.reward[latest], beyond, ends, self.discount, self.config.lambda_
        )
        targets = torch.as_tensor(returns, dtype=torch.float32)[:, None]
        self.inputs.fit(observation)
        self.outputs.fit(targets)
        return {"value/error": self._regress(self.inputs(observation), self.outputs(targets), rng)}

    def _regress(self, inputs: Tensor, targets: Tensor, rng: torch.Generator) -> float:
        """Mean squared error over the last fit, in units of the targets' variance."""
        optimizer = torch.optim.Adam(self.network.parameters(), self.config.learning_rate)
        shape, losses = (self.config.members, self.config.batch_size), []
        for _ in range(self.config.gradient_steps):
            rows = torch.randint(len(inputs), shape, generator=rng)
            loss = functional.mse_loss(self.network(inputs[rows]), targets[rows])
            optimizer.zero_grad(set_to_none=True)
            (loss * self.config.members).backward()
            optimizer.step()
            losses.append(loss.item())
        return float(np.mean(losses))


def lambda_returns(
    reward: Floats,
    value_beyond: Floats,
    ends: tuple[Flags, Flags],
    discount: float,
    lambda_: float,
) -> Floats:
    """Lambda-returns of consecutive steps ``[n]`` (Sutton and Barto, 2nd edition, eq. 12.18).

    ``value_beyond [n]`` is the value of each step's next observation. It is bootstrapped from
    where an episode was truncated or the data end, and counts nothing where it terminated;
    ``ends`` says which steps terminated and which were truncated.
    """
    terminated, truncated = ends
    returns, following = np.empty(len(reward)), 0.0
    for t in reversed(range(len(reward))):
        if truncated[t] or t == len(reward) - 1:
            following = value_beyond[t]
        onward = (1.0 - lambda_) * value_beyond[t] + lambda_ * following
        following = reward[t] + discount * (0.0 if terminated[t] else onward)
        returns[t] = following
    return returns
