"""What SAC, MBPO and double-horizon MBPO have in common: a policy, critics and a temperature."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from math import inf, isfinite, log
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.errors import require, require_choices
from mpc_robot.nn.critic import QEnsemble
from mpc_robot.nn.features import Features
from mpc_robot.nn.optimizers import load_optimizer_state, optimizer_state
from mpc_robot.nn.policy import SquashedGaussian

ACTIVATIONS = {"relu": functional.relu, "silu": functional.silu}
LEAST_SPREAD = 1e-2
"""Of targets, in units of reward: lest values that are all alike be told apart by noise."""


@dataclass(frozen=True)
class ActorCriticConfig:
    """Shapes and rates; those of SAC (arXiv:1801.01290, arXiv:1812.05905) in brackets.

    Attributes:
        hidden: width of the policy's hidden layers [256, 256].
        critic_hidden: width of the critics' hidden layers [256, 256].
        critics: how many critics there are [2].
        subset: critics drawn at random, the least of which is the target [2] (REDQ,
            arXiv:2101.05982: 2 of 10).
        activation: between layers [relu].
        layer_norm: normalise what the critics' hidden layers give [no] (DroQ, arXiv:2110.02034:
            yes, but before the activation).
        dropout: share of the critics' hidden values that training drops [0] (DroQ: 0.01).
        learning_rate: of Adam, for policy, critics and temperature [3e-4].
        tau: share by which the target critics follow at each update [0.005].
        temperature: weight of the entropy at the beginning [1].
        target_entropy: that the temperature aims at, per action entry [-1].
        max_grad_norm: gradients are scaled down to this norm; None for not at all [None].
    """

    hidden: tuple[int, ...] = (256, 256)
    critic_hidden: tuple[int, ...] = (256, 256)
    critics: int = 2
    subset: int = 2
    activation: Literal["relu", "silu"] = "relu"
    layer_norm: bool = False
    dropout: float = 0.0
    learning_rate: float = 3e-4
    tau: float = 0.005
    temperature: float = 1.0
    target_entropy: float = -1.0
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        for name in ("hidden", "critic_hidden"):
            widths = getattr(self, name)
            sound = len(widths) > 0 and min(widths) > 0
            require(sound, name, "positive widths of one layer or more", widths)
        require(self.critics >= 1, "critics", "at least 1", self.critics)
        known = 1 <= self.subset <= self.critics
        require(known, "subset", f"1 to {self.critics} critics", self.subset)
        require(0.0 <= self.dropout < 1.0, "dropout", "a share in [0, 1)", self.dropout)
        require(0.0 < self.tau <= 1.0, "tau", "a share in (0, 1]", self.tau)
        for name in ("learning_rate", "temperature", "max_grad_norm"):
            value = getattr(self, name)
            require(value is None or 0.0 < value < inf, name, "positive", value)
        aim = self.target_entropy
        require(isfinite(aim), "target_entropy", "finite", aim)


class ActorCritic(nn.Module):
    """The networks and their optimizers.

    Attributes:
        features: what policy and critics see of an observation.
        policy: what acts.
        critic: what values actions.
        target: the critics' slow followers.
        log_temperature: log weight of the entropy.
    """

    batches: Tensor
    target_moments: Tensor

    def __init__(
        self, task: Task, spec: EnvSpec, config: ActorCriticConfig, rng: torch.Generator
    ) -> None:
        """Initial weights are drawn from ``rng``."""
        super().__init__()
        self.config = config
        everything = range(spec.observation_dim)
        self.features = Features(everything if task.policy_inputs is None else task.policy_inputs)
        activation = ACTIVATIONS[config.activation]
        bounds = (spec.action_low, spec.action_high)
        self.policy = SquashedGaussian(self.features.dim, bounds, config.hidden, rng, activation)
        self.critic = QEnsemble(
            (self.features.dim, spec.action_dim),
            config.critics,
            config.critic_hidden,
            rng,
            activation=activation,
            layer_norm=config.layer_norm,
            dropout=config.dropout,
        )
        self.target = deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("batches", torch.tensor(0))
        self.register_buffer("target_moments", torch.zeros(2, dtype=torch.float64))
        self.log_temperature = nn.Parameter(torch.tensor(log(config.temperature)))
        self.entropy_aim = config.target_entropy * spec.action_dim
        rate = config.learning_rate
        self._optimizers = {
            "policy": torch.optim.Adam(self.policy.parameters(), rate, fused=True),
            "critic": torch.optim.Adam(self.critic.parameters(), rate, fused=True),
            "temperature": torch.optim.Adam([self.log_temperature], rate),
        }

    def act(self, observation: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The policy's own action ``[B, A]`` and its log-probability ``[B]``."""
        return self.policy.sample(self.features(observation), rng)

    def mode(self, observation: Tensor) -> Tensor:
        """The action ``[B, A]`` that the policy holds best."""
        return self.policy.mode(self.features(observation))

    @torch.no_grad()
    def decide(
        self, observation: npt.NDArray[np.float64], explore: bool, rng: torch.Generator
    ) -> npt.NDArray[np.float64]:
        """An action ``[A]`` for an observation ``[D]``: one drawn, or the one held best."""
        row = torch.as_tensor(observation, dtype=torch.float32)[None]
        action = self.act(row, rng)[0] if explore else self.mode(row)
        return action[0].double().numpy()

    def values(
        self, observation: Tensor, action: Tensor, dropping: torch.Generator | None = None
    ) -> Tensor:
        """Each critic's value of each action, ``[M, B]``."""
        values: Tensor = self.critic(self.features(observation), action, dropping)
        return values

    def target_value(self, observation: Tensor, action: Tensor, rng: torch.Generator) -> Tensor:
        """What the target critics hold of actions, by the least of a few of them, ``[B]``."""
        return self.target.least(self.features(observation), action, self.config.subset, rng)

    def soft_value(self, observation: Tensor, rng: torch.Generator) -> Tensor:
        """What the target critics hold of acting on from here, entropy included, ``[B]``.

        (SAC, arXiv:1812.05905, eq. 3, by the least of a few critics.)
        """
        seen = self.features(observation)
        action, log_prob = self.policy.sample(seen, rng)
        least = self.target.least(seen, action, self.config.subset, rng, dropping=rng)
        return least - self.temperature * log_prob

    @property
    def temperature(self) -> Tensor:
        """Weight of the entropy, as a constant."""
        return self.log_temperature.detach().exp()

    def follow_scale(self, targets: Tensor) -> None:
        """Let critics say values in units of the mean and spread of targets, any shape.

        So what they learn is of the order of 1 however great rewards are (Pop-Art,
        arXiv:1602.07714); moments are those of the last ``1 / tau`` batches.
        """
        exact = targets.double()  # their squares may not fit, and differ little, in single
        moments = torch.stack([exact.mean(), (exact**2).mean()])
        if moments.isfinite().all():
            self.batches.add_(1)
            rate = max(self.config.tau, 1.0 / self.batches.item())
            self.target_moments.lerp_(moments, rate)
            mean, square = self.target_moments
            spread = (square - mean**2).clamp(min=LEAST_SPREAD**2).sqrt()
            for critics in (self.critic, self.target):
                critics.rescale(mean, spread)

    def learn_values(self, loss: Tensor) -> bool:
        """A step of the critics down ``loss``, followed by their targets; False if none is made."""
        stepped = self._descend("critic", self.critic, loss)
        if stepped:
            self._follow()
        return stepped

    def learn_policy(self, loss: Tensor) -> bool:
        """A step of the policy down ``loss``; the critics stay as they are."""
        return self._descend("policy", self.policy, loss)

    def learn_temperature(self, log_prob: Tensor) -> None:
        """A step towards the entropy aimed at, from log-probabilities ``[B]`` of own actions.

        (arXiv:1812.05905, eq. 18, with the logarithm of the temperature in its place.)
        """
        excess = (log_prob.detach() + self.entropy_aim).mean()
        if excess.isfinite():
            self._step("temperature", -self.log_temperature * excess, [self.log_temperature])

    def optimizers_state(self) -> dict[str, Any]:
        """The optimizers' state, for a checkpoint."""
        return {name: optimizer_state(one) for name, one in self._optimizers.items()}

    def load_optimizers_state(self, state: dict[str, Any]) -> None:
        """Go on with the optimizers as they were."""
        for name, one in self._optimizers.items():
            load_optimizer_state(one, state[name])

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the target critics follow."""
        for slow, fast in zip(self.target.parameters(), self.critic.parameters(), strict=True):
            slow.lerp_(fast, self.config.tau)

    def _descend(self, name: str, module: nn.Module, loss: Tensor) -> bool:
        """A step of one part; none, and False, where the loss or its gradient is not finite."""
        return bool(loss.isfinite()) and self._step(name, loss, list(module.parameters()))

    def _step(self, name: str, loss: Tensor, parameters: list[nn.Parameter]) -> bool:
        """Only the parameters named get a gradient."""
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        most = self.config.max_grad_norm
        norm = nn.utils.clip_grad_norm_(parameters, inf if most is None else most, foreach=True)
        if not norm.isfinite():
            return False
        self._optimizers[name].step()
        return True
