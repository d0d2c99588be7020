"""Planning with what a policy trainer has learned: the policy proposes, critics close the horizon.

As in TD-MPC (arXiv:2203.04955) the search begins around what the policy would do, and candidates
drawn from the policy compete with those of the optimizer; the model is the ensemble that the
policy was trained in.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mpc_robot.agents.actor_critic import ActorCritic
from mpc_robot.controllers.base import Plan
from mpc_robot.controllers.icem import ICEMConfig
from mpc_robot.controllers.mpc import MPC
from mpc_robot.controllers.optimizers import OptimizerConfig, make_optimizer
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.dynamics.ensemble import ProbabilisticEnsemble
from mpc_robot.envs.base import EnvSpec
from mpc_robot.errors import require


@dataclass(frozen=True)
class GuidedPlanningConfig:
    """How to search around a policy.

    Attributes:
        optimizer: the search; its noise is small, for the policy is nearly right.
        horizon: steps that a plan looks ahead.
        proposals: candidates that are drawn from the policy.
    """

    optimizer: OptimizerConfig = field(
        default_factory=lambda: ICEMConfig(
            num_samples=64, iterations=2, initial_std=0.2, noise_beta=1.0
        )
    )
    horizon: int = 5
    proposals: int = 15

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(self.horizon >= 1, "horizon", "at least 1 step", self.horizon)
        require(self.proposals >= 0, "proposals", "not negative", self.proposals)


class PolicyProposals:
    """What the policy would do in the model, as the mean and as candidates of a search."""

    def __init__(self, model: ProbabilisticEnsemble, networks: ActorCritic, num: int) -> None:
        """``num``: candidates that are drawn, besides the one of its best actions."""
        self._model, self._networks, self._num = model, networks, num

    def __call__(self, sensed: npt.NDArray[np.float64], plan: Plan, rng: torch.Generator) -> Plan:
        """The plan with the policy's own actions in place of the last plan's mean."""
        state = self._model.start(sensed, 1 + self._num)
        actions = []
        for _ in range(len(plan.knots)):
            best = self._networks.mode(state[:1])
            action = torch.cat([best, self._networks.act(state[1:], rng)[0]])
            actions.append(action)
            state = self._model.step(state, action, rng).state
        candidates = torch.stack(actions, dim=1)
        return replace(plan, knots=candidates[0], elites=torch.cat([plan.elites, candidates]))


def guided_planner(
    model: ProbabilisticEnsemble,
    networks: ActorCritic,
    spec: EnvSpec,
    discount: float,
    config: GuidedPlanningConfig | None = None,
) -> MPC:
    """MPC in ``model`` around the policy of ``networks``, closed by the mean of its critics."""
    config = config or GuidedPlanningConfig()

    def worth(observation: Tensor) -> Tensor:
        """What the policy's best action is worth, ``[..., D] -> [...]``."""
        rows = observation.reshape(-1, observation.shape[-1])
        values = networks.values(rows, networks.mode(rows)).mean(dim=0)
        return values.view(observation.shape[:-1])

    spline = ActionSpline(config.horizon, spec.action_low, spec.action_high)
    optimizer = make_optimizer(spline, config.optimizer)
    propose = PolicyProposals(model, networks, config.proposals)
    return MPC(model, optimizer, discount, worth, propose=propose)
