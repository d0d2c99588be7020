"""What SAC, MBPO and double-horizon MBPO share: how they act, what they remember, what is saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mpc_robot.agents.actor_critic import ActorCritic, ActorCriticConfig
from mpc_robot.agents.base import restoring
from mpc_robot.controllers.policy import PolicyController
from mpc_robot.data.replay import Experience, ReplayBuffer
from mpc_robot.envs.base import EnvSpec, PixelSpec, Task


def uniform_action(spec: EnvSpec | PixelSpec, rng: torch.Generator) -> npt.NDArray[np.float64]:
    """A random action ``[A]`` within bounds."""
    share = torch.rand(spec.action_dim, generator=rng).double().numpy()
    return spec.action_low + share * (spec.action_high - spec.action_low)


class OffPolicyAgent:
    """Networks that act, and a replay of real steps by whatever policy; ``update`` is up to heirs.

    Attributes:
        rng: draws everything.
        networks: policy, critics and temperature.
        replay: all real steps.
        steps: how many there were.
    """

    def __init__(
        self,
        task: Task,
        spec: EnvSpec,
        actor_critic: ActorCriticConfig,
        seed: int,
        *,
        warmup_steps: int,
        capacity: int = 1_000_000,
    ) -> None:
        """An agent that knows nothing yet.

        Args:
            task: what to do.
            spec: shapes and bounds.
            actor_critic: networks and their rates.
            seed: of ``rng``.
            warmup_steps: random steps before the policy acts.
            capacity: steps that are remembered.
        """
        self.task, self.spec = task, spec
        self.rng = torch.Generator().manual_seed(seed)
        self.networks = ActorCritic(task, spec, actor_critic, self.rng)
        self.replay = ReplayBuffer(spec.observation_dim, spec.action_dim, capacity)
        self.steps = 0
        self._warmup_steps = warmup_steps

    def act(self, observation: npt.NDArray[np.float64], explore: bool) -> npt.NDArray[np.float64]:
        """A random action during warm-up, then the policy's."""
        if explore and self.steps < self._warmup_steps:
            return uniform_action(self.spec, self.rng)
        return self.networks.decide(observation, explore, self.rng)

    def observe(self, experience: Experience) -> None:
        """Remember a real step."""
        self.replay.add(experience)
        self.steps += 1

    def controller(self) -> PolicyController:
        """The policy as it is now and will become, without exploration."""
        return PolicyController(self.networks.mode)

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, replay, counter and random state."""
        return {
            "networks": dict(self.networks.state_dict()),
            "optimizers": self.networks.optimizers_state(),
            "replay": self.replay.state_dict(),
            "rng": self.rng.get_state(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the agent that was saved.

        Raises:
            CheckpointError: if a part is missing or does not fit this task and config; the agent
                is of no use then.
        """
        with restoring(self):
            self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.networks.load_state_dict(state["networks"])
        self.networks.load_optimizers_state(state["optimizers"])
        self.replay.load_state_dict(state["replay"])
        self.rng.set_state(state["rng"])
        self.steps = state["steps"]
