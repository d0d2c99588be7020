"""SAC (arXiv:1801.01290, arXiv:1812.05905): learn a policy from replayed steps, without a model.

The policy maximises reward plus entropy, the critics learn what actions are worth by temporal
differences, and the weight of the entropy is tuned. With more critics and updates it is REDQ
(arXiv:2101.05982); with layer norm and dropout in the critics DroQ (arXiv:2110.02034), but that
layers are normalised after the activation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mpc_robot.agents.actor_critic import ActorCritic, ActorCriticConfig
from mpc_robot.agents.base import Metrics
from mpc_robot.agents.off_policy import OffPolicyAgent
from mpc_robot.data.replay import Batch
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.errors import require


@dataclass(frozen=True)
class SACConfig:
    """Settings of SAC; those of arXiv:1812.05905 in brackets.

    Attributes:
        actor_critic: networks and their rates.
        discount: of rewards per control step [0.99].
        batch_size: steps per update [256].
        updates_per_step: critic updates per env step [1] (REDQ and DroQ: 20); the policy's is the
            last of them.
        warmup_steps: random steps before learning begins [10,000].
        capacity: steps that are remembered [1,000,000].
    """

    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    discount: float = 0.99
    batch_size: int = 256
    updates_per_step: int = 1
    warmup_steps: int = 1_000
    capacity: int = 1_000_000

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(0.0 < self.discount < 1.0, "discount", "in (0, 1)", self.discount)
        for name in ("batch_size", "updates_per_step", "warmup_steps", "capacity"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))


def critic_loss(
    networks: ActorCritic, batch: Batch, discount: float, rng: torch.Generator
) -> Tensor:
    """Squared temporal differences, summed over critics (arXiv:1812.05905, eq. 5)."""
    with torch.no_grad():
        beyond = networks.soft_value(batch.next_observation, rng)
        target = batch.reward + discount * batch.continues * beyond
    values = networks.values(batch.observation, batch.action, dropping=rng)
    return 0.5 * ((values - target) ** 2).mean(dim=1).sum()


def policy_loss(
    networks: ActorCritic, observation: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What the policy minimises (arXiv:1812.05905, eq. 9), and log-probabilities ``[B]``.

    Valued by the least of two critics; by the mean of more (REDQ, arXiv:2101.05982), and of those
    that drop out (DroQ, arXiv:2110.02034).
    """
    action, log_prob = networks.act(observation, rng)
    values = networks.values(observation, action, dropping=rng)
    averaged = len(values) > 2 or networks.config.dropout > 0.0
    worth = values.mean(dim=0) if averaged else values.amin(dim=0)
    return (networks.temperature * log_prob - worth).mean(), log_prob


def update_critics(
    networks: ActorCritic, batch: Batch, discount: float, rng: torch.Generator
) -> Metrics:
    """One step of the critics on a batch."""
    loss = critic_loss(networks, batch, discount, rng)
    networks.learn_values(loss)
    return {"critic/loss": loss.item()}


def update_policy(networks: ActorCritic, observation: Tensor, rng: torch.Generator) -> Metrics:
    """One step of the policy and of the temperature."""
    loss, log_prob = policy_loss(networks, observation, rng)
    networks.learn_policy(loss)
    networks.learn_temperature(log_prob)
    return {
        "policy/loss": loss.item(),
        "policy/entropy": -log_prob.mean().item(),
        "policy/temperature": networks.temperature.item(),
    }


class SAC(OffPolicyAgent):
    """The Agent: a replay of real steps and the networks that learn from it."""

    def __init__(self, task: Task, spec: EnvSpec, config: SACConfig, seed: int) -> None:
        """An agent that knows nothing yet."""
        super().__init__(
            task,
            spec,
            config.actor_critic,
            seed,
            warmup_steps=config.warmup_steps,
            capacity=config.capacity,
        )
        self.config = config

    def update(self) -> Metrics:
        """Learn from replayed steps once warm-up has ended."""
        if self.steps < self.config.warmup_steps:
            return {}
        for _ in range(self.config.updates_per_step - 1):
            self._learn_values()
        metrics, batch = self._learn_values()
        return metrics | update_policy(self.networks, batch.observation, self.rng)

    def _learn_values(self) -> tuple[Metrics, Batch]:
        """One step of the critics, and the batch that it was on."""
        batch = self.replay.sample(self.config.batch_size, self.rng)
        return update_critics(self.networks, batch, self.config.discount, self.rng), batch
