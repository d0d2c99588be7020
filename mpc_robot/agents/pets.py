"""PETS (arXiv:1805.12114): learn a probabilistic ensemble, plan in it, learn from what happened.

Collect a little at random; then, at every step, plan in the model by sampling action sequences and
carrying particles along them, apply the first action, and refit the model on all experience now
and then. There is no policy: the controller is MPC over the learned dynamics.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mpc_robot.agents.base import Metrics, restoring
from mpc_robot.agents.value import ValueConfig, ValueFunction
from mpc_robot.controllers.icem import ICEMConfig
from mpc_robot.controllers.mpc import MPC
from mpc_robot.controllers.optimizers import OptimizerConfig, make_optimizer
from mpc_robot.controllers.parameterization import Interpolation, spline_for
from mpc_robot.data.replay import Experience, ReplayBuffer
from mpc_robot.dynamics.ensemble import EnsembleConfig, ProbabilisticEnsemble
from mpc_robot.dynamics.ensemble_fit import FitConfig, fit
from mpc_robot.envs.base import EnvSpec, Task
from mpc_robot.errors import require, require_choices


@dataclass(frozen=True)
class PETSConfig:
    """Settings of PETS; the paper's values (arXiv:1805.12114, cart-pole) in brackets.

    Attributes:
        ensemble: the model.
        fit: how the model learns.
        optimizer: the search for a plan [CEM; here iCEM, arXiv:2008.06389, which needs fewer
            candidates].
        horizon: how far a plan looks ahead, s [0.5 at 50 Hz].
        knots: free actions of a plan, spread over the horizon [one per step].
        interpolation: what happens between knots [none].
        discount: of rewards per control step [1]; below 1 with a value function.
        value: closes the horizon with a learned value function; None for nothing [none].
        warmup_steps: random steps before the first fit [one episode].
        warmup_hold: steps for which a random action of the warm-up is held [1].
        fit_every: env steps between fits [one episode].
    """

    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    optimizer: OptimizerConfig = field(default_factory=ICEMConfig)
    horizon: float = 0.5
    knots: int | None = None
    interpolation: Interpolation = "zero"
    discount: float = 1.0
    value: ValueConfig | None = None
    warmup_steps: int = 200
    warmup_hold: int = 1
    fit_every: int = 200

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that makes no sense."""
        require_choices(self)
        require(0.0 < self.horizon < inf, "horizon", "a positive time in s", self.horizon)
        most = 1.0 if self.value is None else 0.9999
        require(0.0 < self.discount <= most, "discount", f"in (0, {most:g}]", self.discount)
        require(self.warmup_steps > 1, "warmup_steps", "at least 2", self.warmup_steps)
        for name in ("warmup_hold", "fit_every"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))


class PETS:
    """The Agent: a replay of real steps, an ensemble fitted to it, and a planner inside it."""

    def __init__(self, task: Task, spec: EnvSpec, config: PETSConfig, seed: int) -> None:
        """An agent that knows nothing yet.

        Raises:
            ValueError: if the horizon is shorter than one control step, or another setting does
                not fit the task.
        """
        self.task, self.spec, self.config = task, spec, config
        self.rng = torch.Generator().manual_seed(seed)
        self.model = ProbabilisticEnsemble(task, spec, config.ensemble, self.rng)
        self.value = (
            ValueFunction(spec, config.discount, config.value, self.rng) if config.value else None
        )
        self.replay = ReplayBuffer(spec.observation_dim, spec.action_dim)
        self.steps = 0
        self._warmup_action = np.zeros(spec.action_dim)
        self._planner = self.controller()
        self._begin_episode()

    def act(self, observation: npt.NDArray[np.float64], explore: bool) -> npt.NDArray[np.float64]:
        """A random action during warm-up, then the first of the best plan in the model."""
        if explore and self.steps < self.config.warmup_steps:
            return self._random_action()
        return self._planner.act(observation)

    def observe(self, experience: Experience) -> None:
        """Remember a real step; at the end of an episode forget the plan."""
        self.replay.add(experience)
        self.steps += 1
        if experience.terminated or experience.truncated:
            self._begin_episode()

    def update(self) -> Metrics:
        """Refit where due: when warm-up ends, then every ``fit_every`` steps."""
        metrics = self._plan_metrics()
        since = self.steps - self.config.warmup_steps
        if since < 0 or since % self.config.fit_every:
            return metrics
        data = self.replay.all()
        metrics |= fit(self.model, data, self.config.fit, self.rng)
        return metrics if self.value is None else metrics | self.value.fit(data, self.rng)

    def controller(self) -> MPC:
        """MPC over the model as it is now and will become, with a plan of its own."""
        config = self.config
        spline = spline_for(self.spec, config.horizon, config.knots, config.interpolation)
        optimizer = make_optimizer(spline, config.optimizer)
        return MPC(self.model, optimizer, config.discount, self.value)

    def state_dict(self) -> dict[str, Any]:
        """Model, replay, counters and random state, as of the end of an episode."""
        return {
            "model": dict(self.model.state_dict()),
            "value": {} if self.value is None else dict(self.value.state_dict()),
            "replay": self.replay.state_dict(),
            "rng": self.rng.get_state(),
            "steps": self.steps,
            "warmup_action": self._warmup_action,
            "plan_seed": self._plan_seed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the agent that was saved.

        Raises:
            CheckpointError: if a part is missing or does not fit this task and config; the agent
                is of no use then.
        """
        with restoring(self):
            self.model.load_state_dict(state["model"])
            if self.value is not None:
                self.value.load_state_dict(state["value"])
            self.replay.load_state_dict(state["replay"])
            self.rng.set_state(state["rng"])
            self.steps = state["steps"]
            self._warmup_action = state["warmup_action"]
            self._plan_seed = state["plan_seed"]
        self._planner.reset(self._plan_seed)

    def _plan_metrics(self) -> Metrics:
        """What the last plan promises; whether the model could value no candidate at all."""
        plan = self._planner.plan
        if plan is None:
            return {}
        found = isfinite(plan.value)
        return {"plan/failed": float(not found)} | ({"plan/return": plan.value} if found else {})

    def _begin_episode(self) -> None:
        """A fresh plan, searched with random numbers that a checkpoint can name."""
        self._plan_seed = int(torch.randint(2**31, (), generator=self.rng))
        self._planner.reset(self._plan_seed)

    def _random_action(self) -> npt.NDArray[np.float64]:
        """Uniform within bounds, held for a while so that slow joints move too."""
        if self.steps % self.config.warmup_hold == 0:
            share = torch.rand(self.spec.action_dim, generator=self.rng).double().numpy()
            low, high = self.spec.action_low, self.spec.action_high
            self._warmup_action = low + share * (high - low)
        return self._warmup_action.copy()
