"""Planning in the latent space of a world model (PlaNet, arXiv:1811.04551).

A filter makes a belief of what was seen, and a search looks for the best actions from there in the
model. Unlike PlaNet, whose plans are worth what they earn within their horizon, what Dreamer's
critic holds of the state where a plan ends may count too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from mpc_robot.agents.behaviour import Behaviour
from mpc_robot.controllers.cem import CEMConfig
from mpc_robot.controllers.filtered import FilteredController
from mpc_robot.controllers.mpc import MPC
from mpc_robot.controllers.optimizers import OptimizerConfig, make_optimizer
from mpc_robot.controllers.parameterization import ActionSpline
from mpc_robot.dynamics.rssm import RSSM
from mpc_robot.dynamics.rssm_filter import LatentFilter
from mpc_robot.envs.base import EnvSpec, PixelSpec
from mpc_robot.errors import require


@dataclass(frozen=True)
class LatentPlanningConfig:
    """How to search in latent space; PlaNet's values (arXiv:1811.04551) in brackets.

    Attributes:
        optimizer: the search [CEM: 1000 candidates, 100 elites, 10 iterations].
        horizon: actions that a plan looks ahead [12]; chance adds up, and what follows them the
            critic knows.
        critic: whether what the critic holds of a plan's end counts [no]; rewards are discounted
            as for the critic, with or without it [not].
    """

    optimizer: OptimizerConfig = field(
        default_factory=lambda: CEMConfig(num_samples=100, num_elites=10, iterations=4)
    )
    horizon: int = 6
    critic: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require(self.horizon >= 1, "horizon", "at least 1 action", self.horizon)


def latent_planner(
    model: RSSM,
    behaviour: Behaviour,
    spec: PixelSpec | EnvSpec,
    config: LatentPlanningConfig | None = None,
) -> FilteredController:
    """MPC in ``model`` from what its own filter believes."""
    config = config or LatentPlanningConfig()
    spline = ActionSpline(config.horizon, spec.action_low, spec.action_high)
    optimizer = make_optimizer(spline, config.optimizer)

    def worth(features: Tensor) -> Tensor:
        """Of where plans end, told where a planner's features are."""
        held: Tensor = behaviour.critic(features.to(model.device))
        return held.to(features.device)

    planner = MPC(model, optimizer, behaviour.config.discount, worth if config.critic else None)
    return FilteredController(LatentFilter(model), planner)
